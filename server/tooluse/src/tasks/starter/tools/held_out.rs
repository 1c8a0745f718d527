//! Scenes for evaluation: inns, a pantry, ferries, a library, towns. None of their tools is ever shown in training.

use serde_json::{Value, json};
use whetstone_domain::{ClockOperation, ExpectedAnswer, Runnable};

use super::super::draw::Draw;
use super::calendar::{self, START_OF_2025};
use super::data::{AUTHORS, BOOKS, GOODS, INNS, ISLANDS, TOWNS};
use super::draft::{Draft, Scene, between, calculator, call, choice, compute, convert, hundredths, lookup, phrase, plain, some, tool};

pub(super) const SCENES: [Scene; 5] = [inn, pantry, ferry, library, towns];

fn inn(draw: &mut Draw) -> Draft {
    let inns = some(draw, &INNS, 5);
    let rates: Vec<i64> = inns.iter().map(|_| 50 * between(draw, 90, 480)).collect();
    let rows: Vec<(&str, Value)> = inns.iter().copied().zip(rates.iter().map(|r| plain(hundredths(*r)))).collect();
    let nights = between(draw, 2, 14);
    let total = hundredths(nights * rates[0]);
    let asks = [
        "How much are {a} nights at the {b}?",
        "What would {a} nights in the {b} come to?",
        "We stay at the {b} for {a} nights. What will the room cost altogether?",
    ];
    Draft {
        domain: "lodging",
        request: phrase(draw, &asks, &[&nights.to_string(), inns[0]]),
        tools: vec![
            lookup("room_rate", "Rate per night of an inn", ("inn", "Name of the inn"), &rows),
            calculator("evaluate_math", "Evaluate a formula"),
        ],
        calls: vec![
            call("room_rate", &[("inn", json!(inns[0]))]),
            compute("evaluate_math", &format!("{nights} * {}", hundredths(rates[0])), total),
        ],
        answer: ExpectedAnswer::one(plain(total)),
        difficulty: 2,
    }
}

fn pantry(draw: &mut Draw) -> Draft {
    let goods = some(draw, &GOODS, 2);
    let pounds = between(draw, 2, 30);
    let grams = pounds * 45_359 / 100;
    let apart = between(draw, grams / 20, grams / 4) * if draw.percent(50) { 1 } else { -1 };
    let other = (grams + apart) / 10 * 10;
    let heavier = if other > grams { goods[1] } else { goods[0] };
    let asks = [
        "Put the pounds into grams: which weighs more, {b} pounds of {a} or {d} grams of {c}?",
        "I have {b} pounds of {a} and {d} grams of {c}. Put the pounds into grams: which is heavier?",
        "There are {b} pounds of {a} and {d} grams of {c} in the pantry. Put the pounds into grams: of which is there more by weight?",
    ];
    let about = tool(
        "weigh_in",
        "Express a weight in another unit",
        &[
            ("amount", "number", "How much"),
            ("unit", "string", "pound, ounce, gram or kilogram"),
            ("target", "string", "pound, ounce, gram or kilogram"),
        ],
    );
    let units = [("pound", 453.59237), ("ounce", 28.349523125), ("gram", 1.0), ("kilogram", 1000.0)];
    Draft {
        domain: "kitchen",
        request: phrase(draw, &asks, &[goods[0], &pounds.to_string(), goods[1], &other.to_string()]),
        tools: vec![convert(about, ["amount", "unit", "target"], &units)],
        calls: vec![call("weigh_in", &[("amount", json!(pounds)), ("unit", json!("pound")), ("target", json!("gram"))])],
        answer: choice(heavier, goods),
        difficulty: 2,
    }
}

fn ferry(draw: &mut Draw) -> Draft {
    let day = calendar::iso(START_OF_2025 + between(draw, 0, 500));
    let at = |minute: i64| format!("{day}T{:02}:{:02}", minute / 60, minute % 60);
    let present = between(draw, 6 * 60, 12 * 60);
    let islands = some(draw, &ISLANDS, 5);
    let waits: Vec<i64> = islands.iter().map(|_| between(draw, 8, 500)).collect();
    let rows: Vec<(&str, Value)> = islands.iter().copied().zip(waits.iter().map(|w| json!(at(present + w)))).collect();
    let asks = [
        "It is {b}. How many minutes is it until the next ferry to {a} leaves?",
        "The time is {b}. In how many minutes does the ferry to {a} depart?",
        "Counted from {b}, how many minutes do I have to wait for the ferry to {a}?",
    ];
    let mut apart = tool(
        "time_apart",
        "Time from one moment to another",
        &[("start", "string", "YYYY-MM-DDTHH:MM"), ("end", "string", "YYYY-MM-DDTHH:MM"), ("unit", "string", "What to count")],
    );
    apart.parameters["properties"]["unit"]["enum"] = json!(["minutes", "hours"]);
    Draft {
        domain: "ferries",
        request: phrase(draw, &asks, &[islands[0], &at(present)]),
        tools: vec![
            lookup("next_ferry", "When the next ferry to an island leaves", ("island", "Name of the island"), &rows),
            (apart, Runnable::Clock { operation: ClockOperation::Between }),
        ],
        calls: vec![
            call("next_ferry", &[("island", json!(islands[0]))]),
            call("time_apart", &[("start", json!(at(present))), ("end", json!(at(present + waits[0]))), ("unit", json!("minutes"))]),
        ],
        answer: ExpectedAnswer::one(waits[0]),
        difficulty: 3,
    }
}

fn library(draw: &mut Draw) -> Draft {
    let (books, authors) = (some(draw, &BOOKS, 5), some(draw, &AUTHORS, 5));
    let shelves: Vec<i64> = authors.iter().enumerate().map(|(i, _)| between(draw, 11 + 40 * i as i64, 50 + 40 * i as i64)).collect();
    let written: Vec<(&str, Value)> = books.iter().copied().zip(authors.iter().map(|a| json!(a))).collect();
    let placed: Vec<(&str, Value)> = authors.iter().copied().zip(shelves.iter().map(|s| json!(s))).collect();
    let asks = [
        "On which shelf do I find the works of whoever wrote {a}?",
        "Which shelf holds the books of the author of {a}?",
        "I liked {a}. What is the number of the shelf with more by its author?",
    ];
    Draft {
        domain: "library",
        request: phrase(draw, &asks, &[books[0]]),
        tools: vec![
            lookup("author_of", "Author of a book", ("title", "Title of the book"), &written),
            lookup("shelf_of", "Shelf number of an author", ("author", "Full name"), &placed),
        ],
        calls: vec![call("author_of", &[("title", json!(books[0]))]), call("shelf_of", &[("author", json!(authors[0]))])],
        answer: ExpectedAnswer::one(shelves[0]),
        difficulty: 2,
    }
}

fn towns(draw: &mut Draw) -> Draft {
    let towns = some(draw, &TOWNS, 5);
    let people: Vec<i64> = towns.iter().enumerate().map(|(i, _)| 900 + 700 * i as i64 + between(draw, 0, 600)).collect();
    // whichever of the two is named first may be the larger one
    let (first, second) = if draw.percent(50) { (0, 1 + draw.below(4)) } else { (1 + draw.below(4), 0) };
    let rows: Vec<(&str, Value)> = towns.iter().copied().zip(people.iter().map(|p| json!(p))).collect();
    let larger = if people[first] > people[second] { towns[first] } else { towns[second] };
    let asks = [
        "Which town has more inhabitants, {a} or {b}?",
        "Do more people live in {a} or in {b}?",
        "Compare {a} with {b}: where do more people live?",
    ];
    Draft {
        domain: "towns",
        request: phrase(draw, &asks, &[towns[first], towns[second]]),
        tools: vec![lookup("inhabitants_of", "Number of inhabitants of a town", ("town", "Name of the town"), &rows)],
        calls: vec![call("inhabitants_of", &[("town", json!(towns[first]))]), call("inhabitants_of", &[("town", json!(towns[second]))])],
        answer: choice(larger, [towns[first], towns[second]]),
        difficulty: 2,
    }
}
