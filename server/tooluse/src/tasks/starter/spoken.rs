//! Station *problem*, helper of the wide set: values that a call writes in one way and people say in many. In: nothing. Out: pools
//! of dates, times of day, durations, amounts of money, weights and distances with their words.

use std::collections::BTreeMap;

use serde_json::Value;

use super::content::Choice;

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const HOURS: [&str; 12] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

/// The pools by name.
pub(super) fn pools() -> BTreeMap<String, Vec<Choice>> {
    let listed = |pairs: &[(i64, &[&str])]| pairs.iter().map(|&(value, say)| choice(value, say.iter().map(|s| (*s).to_owned()))).collect();
    BTreeMap::from([
        ("written_date".to_owned(), dates()),
        ("spoken_time".to_owned(), times()),
        ("euro_cents".to_owned(), cents()),
        ("minutes".to_owned(), listed(&MINUTES)),
        ("grams".to_owned(), listed(&GRAMS)),
        ("meters".to_owned(), listed(&METERS)),
        ("plain_currency".to_owned(), CURRENCIES.iter().map(|&(code, words)| choice(code, [words.to_owned()])).collect()),
    ])
}

const CURRENCIES: [(&str, &str); 7] = [
    ("EUR", "euros"),
    ("USD", "US dollars"),
    ("GBP", "British pounds"),
    ("CHF", "Swiss francs"),
    ("PLN", "zloty"),
    ("CAD", "Canadian dollars"),
    ("NOK", "Norwegian kroner"),
];

const MINUTES: [(i64, &[&str]); 16] = [
    (15, &["15 minutes", "a quarter of an hour"]),
    (20, &["20 minutes", "twenty minutes"]),
    (25, &["25 minutes"]),
    (30, &["30 minutes", "half an hour"]),
    (40, &["40 minutes", "forty minutes"]),
    (45, &["45 minutes", "three quarters of an hour"]),
    (50, &["50 minutes"]),
    (75, &["75 minutes", "1 hour and 15 minutes"]),
    (80, &["1 hour and 20 minutes", "80 minutes"]),
    (90, &["90 minutes", "one and a half hours", "1.5 hours"]),
    (100, &["1 hour and 40 minutes", "100 minutes"]),
    (120, &["two hours", "2 hours", "120 minutes"]),
    (135, &["2 hours and 15 minutes", "two and a quarter hours"]),
    (150, &["two and a half hours", "2.5 hours"]),
    (180, &["three hours", "3 hours"]),
    (240, &["four hours", "4 hours"]),
];

const GRAMS: [(i64, &[&str]); 14] = [
    (250, &["250 grams", "a quarter of a kilo"]),
    (400, &["400 grams", "0.4 kg"]),
    (500, &["500 grams", "half a kilo"]),
    (750, &["750 grams", "0.75 kg"]),
    (1200, &["1.2 kg", "1200 grams"]),
    (1500, &["1.5 kg", "one and a half kilos"]),
    (2000, &["2 kg", "two kilos"]),
    (2500, &["2.5 kg", "two and a half kilos"]),
    (3250, &["3.25 kg"]),
    (4000, &["4 kg", "four kilos"]),
    (5500, &["5.5 kilos", "5.5 kg"]),
    (8000, &["8 kg", "eight kilos"]),
    (12000, &["12 kg", "twelve kilos"]),
    (20000, &["20 kg", "twenty kilos"]),
];

const METERS: [(i64, &[&str]); 12] = [
    (600, &["600 meters", "0.6 km"]),
    (800, &["800 meters", "0.8 km"]),
    (1200, &["1.2 km", "1200 meters"]),
    (1500, &["1.5 km", "one and a half kilometers"]),
    (2000, &["2 km", "two kilometers"]),
    (2500, &["2.5 km", "two and a half kilometers"]),
    (3500, &["3.5 km", "three and a half kilometers"]),
    (5000, &["5 km", "five kilometers"]),
    (7250, &["7.25 km"]),
    (9000, &["9 km", "nine kilometers"]),
    (12000, &["12 km", "twelve kilometers"]),
    (18000, &["18 km", "18 kilometers"]),
];

fn choice(value: impl Into<Value>, say: impl IntoIterator<Item = String>) -> Choice {
    Choice { value: value.into(), say: say.into_iter().collect() }
}

/// Ninety days over three years.
fn dates() -> Vec<Choice> {
    let day = |i: usize| {
        let (year, month, day) = (2025 + i % 3, (i * 7) % 12, 1 + (i * 11) % 28);
        let name = MONTHS[month];
        let weekday = WEEKDAYS[weekday(year, month + 1, day)];
        let th = ordinal(day);
        choice(
            format!("{year}-{:02}-{day:02}", month + 1),
            [
                format!("{name} {day}, {year}"),
                format!("{day} {name} {year}"),
                format!("{name} {th}, {year}"),
                format!("the {th} of {name} {year}"),
                format!("{weekday}, {name} {day}, {year}"),
                format!("{year}/{:02}/{day:02}", month + 1),
            ],
        )
    };
    (0..90).map(day).collect()
}

/// 0 = Sunday (Sakamoto's method).
pub(super) fn weekday(year: usize, month: usize, day: usize) -> usize {
    let shift = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4][month - 1];
    let y = year - usize::from(month < 3);
    (y + y / 4 - y / 100 + y / 400 + shift + day) % 7
}

fn ordinal(n: usize) -> String {
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

/// Every quarter of an hour from 7:00 to 20:45.
fn times() -> Vec<Choice> {
    let part = |hour: usize| match hour {
        0..12 => "in the morning",
        12..18 => "in the afternoon",
        _ => "in the evening",
    };
    let spoken = |hour: usize| HOURS[(hour + 11) % 12];
    let at = |quarter: usize| {
        let (hour, minute) = (quarter / 4, 15 * (quarter % 4));
        let half = if hour < 12 { "am" } else { "pm" };
        let clock = (hour + 11) % 12 + 1;
        let mut say = vec![if minute == 0 { format!("{clock} {half}") } else { format!("{clock}:{minute:02} {half}") }];
        match (hour, minute) {
            (12, 0) => say = vec!["noon".to_owned()],
            (12, 15 | 30) => {}
            (_, 0) => say.push(format!("{} {}", spoken(hour), part(hour))),
            (_, 15) => say.push(format!("a quarter past {} {}", spoken(hour), part(hour))),
            (_, 30) => say.push(format!("half past {} {}", spoken(hour), part(hour))),
            (11, 45) => {}
            (_, _) => say.push(format!("a quarter to {} {}", spoken(hour + 1), part(hour + 1))),
        }
        choice(format!("{hour:02}:{minute:02}"), say)
    };
    (28..84).map(at).collect()
}

/// Amounts of money in euro cents.
fn cents() -> Vec<Choice> {
    let amount = |i: i64| {
        let euros = 12 + (i * 137) % 1900;
        let cents = [0, 50, 99, 5, 75, 20][(i % 6) as usize];
        // 1,234 as written in English
        let grouped = if euros >= 1000 { format!("{},{:03}", euros / 1000, euros % 1000) } else { euros.to_string() };
        let say = match cents {
            0 => vec![format!("{grouped} euros"), format!("€{grouped}"), format!("EUR {euros}")],
            c if c < 10 => vec![format!("€{grouped}.{c:02}"), format!("{grouped} euros and {c} cents")],
            c => vec![format!("€{grouped}.{c:02}"), format!("{grouped}.{c:02} euros"), format!("{grouped} euros and {c} cents")],
        };
        choice(100 * euros + cents, say)
    };
    (0..72).map(amount).collect()
}
