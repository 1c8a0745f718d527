//! Names for things, all made up; train and held-out have their own.

pub(super) const PRODUCTS: [(&str, &str); 14] = [
    ("notebook", "notebooks"),
    ("candle", "candles"),
    ("mug", "mugs"),
    ("umbrella", "umbrellas"),
    ("lamp", "lamps"),
    ("towel", "towels"),
    ("backpack", "backpacks"),
    ("bottle", "bottles"),
    ("pillow", "pillows"),
    ("poster", "posters"),
    ("kettle", "kettles"),
    ("scarf", "scarves"),
    ("basket", "baskets"),
    ("tray", "trays"),
];
pub(super) const TRAILS: [&str; 12] =
    ["Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fern", "Heather", "Juniper", "Linden", "Maple", "Rowan", "Willow"];
pub(super) const PROJECTS: [&str; 12] =
    ["Amber", "Beacon", "Comet", "Delta", "Ember", "Falcon", "Granite", "Harbor", "Indigo", "Jasper", "Lantern", "Meadow"];
pub(super) const PEOPLE: [&str; 16] = [
    "Aiko Mori",
    "Ben Castle",
    "Carla Nunes",
    "Dmitri Volk",
    "Elif Aksoy",
    "Femi Ade",
    "Greta Holm",
    "Hugo Prat",
    "Ines Duarte",
    "Jonas Falk",
    "Kavya Rao",
    "Liam O'Shea",
    "Mei Tan",
    "Nils Berg",
    "Olga Petrova",
    "Pablo Ruiz",
];
pub(super) const INNS: [&str; 10] = [
    "Anchor Inn",
    "Blue Door",
    "Chestnut Lodge",
    "Garden House",
    "Heron Hotel",
    "Lakeside",
    "Old Mill",
    "Rose Court",
    "Summit View",
    "Three Oaks",
];
pub(super) const GOODS: [&str; 10] = ["rice", "flour", "sugar", "lentils", "oats", "barley", "salt", "beans", "nuts", "raisins"];
pub(super) const ISLANDS: [&str; 10] = ["Brenna", "Calder", "Doro", "Eska", "Faro", "Hvallo", "Inis", "Korva", "Lund", "Skara"];
pub(super) const BOOKS: [&str; 10] = [
    "Winter Bees",
    "The Glass Orchard",
    "Salt Roads",
    "A House of Rain",
    "North of Nowhere",
    "Paper Lions",
    "The Ninth Tide",
    "Quiet Engines",
    "Under Slate",
    "Copper Sky",
];
pub(super) const AUTHORS: [&str; 10] = [
    "Rhea Lindqvist",
    "Samir Haddad",
    "Tessa Brandt",
    "Umar Siddiqui",
    "Vera Kolar",
    "Wim de Groot",
    "Xenia Marsh",
    "Yusuf Demir",
    "Zora Bell",
    "Anton Reyes",
];
pub(super) const TOWNS: [&str; 10] =
    ["Ashby", "Brackwell", "Colmere", "Dunford", "Eastvale", "Fenwick", "Greywater", "Hollin", "Kestrel Bay", "Larkhill"];
