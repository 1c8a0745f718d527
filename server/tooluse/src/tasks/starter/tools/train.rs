//! Scenes for training: a shop, trails, projects, journeys, an office.

use serde_json::{Value, json};
use whetstone_domain::{ClockOperation, ExpectedAnswer, Runnable};

use super::super::draw::Draw;
use super::calendar::{self, START_OF_2025, WEEKDAYS};
use super::data::{PEOPLE, PRODUCTS, PROJECTS, TRAILS};
use super::draft::{
    Draft, RunningTool, Scene, between, calculator, call, choice, compute, convert, hundredths, lookup, phrase, plain, some, tool,
};

pub(super) const SCENES: [Scene; 6] = [one_kind, two_kinds, trails, deadline, journey, office];

/// Singular and plural of a product, and its price in cents.
type Priced = ((&'static str, &'static str), i64);

fn prices(draw: &mut Draw) -> (RunningTool, Vec<Priced>) {
    let products = some(draw, &PRODUCTS, 5);
    let priced: Vec<_> = products.into_iter().map(|p| (p, 5 * between(draw, 20, 900))).collect();
    let rows: Vec<(&str, Value)> = priced.iter().map(|((one, _), cents)| (*one, plain(hundredths(*cents)))).collect();
    (lookup("get_price", "Price of a product in euros", ("product", "Name of the product, singular"), &rows), priced)
}

fn counter() -> RunningTool {
    calculator("calculate", "Compute an arithmetic expression")
}

fn one_kind(draw: &mut Draw) -> Draft {
    let (lookup, priced) = prices(draw);
    let ((one, many), cents) = priced[0];
    let n = between(draw, 2, 24);
    let total = hundredths(n * cents);
    let asks =
        ["What do {a} {b} cost?", "How much are {a} {b} in total?", "I need {a} {b}. What will I pay?", "Total price of {a} {b}, please."];
    Draft {
        domain: "shop",
        request: phrase(draw, &asks, &[&n.to_string(), many]),
        tools: vec![lookup, counter()],
        calls: vec![call("get_price", &[("product", json!(one))]), compute("calculate", &format!("{n} * {}", hundredths(cents)), total)],
        answer: ExpectedAnswer::one(plain(total)),
        difficulty: 2,
    }
}

fn two_kinds(draw: &mut Draw) -> Draft {
    let (lookup, priced) = prices(draw);
    let [((a, many_a), cents_a), ((b, many_b), cents_b)] = [priced[0], priced[1]];
    let (n, m) = (between(draw, 2, 9), between(draw, 2, 9));
    let total = hundredths(n * cents_a + m * cents_b);
    let asks = [
        "What do {a} {b} and {c} {d} cost together?",
        "How much are {a} {b} and {c} {d}?",
        "I buy {a} {b} and {c} {d}. What is the bill?",
        "Give me the price of {a} {b} plus {c} {d}.",
    ];
    let expression = format!("{n} * {} + {m} * {}", hundredths(cents_a), hundredths(cents_b));
    Draft {
        domain: "shop",
        request: phrase(draw, &asks, &[&n.to_string(), many_a, &m.to_string(), many_b]),
        tools: vec![lookup, counter()],
        calls: vec![
            call("get_price", &[("product", json!(a))]),
            call("get_price", &[("product", json!(b))]),
            compute("calculate", &expression, total),
        ],
        answer: ExpectedAnswer::one(plain(total)),
        difficulty: 3,
    }
}

fn trails(draw: &mut Draw) -> Draft {
    let names = some(draw, &TRAILS, 2);
    let miles = between(draw, 4, 40);
    let metres = miles * 1_609_344 / 1000;
    // at least one kilometre and a tenth apart, so that rounding decides nothing
    let apart = between(draw, 1 + metres / 10_000, 2 + metres / 3_000) * if draw.percent(50) { 1 } else { -1 };
    let kilometres = (metres / 1000 + apart).max(1);
    let longer = if 1000 * kilometres > metres { names[1] } else { names[0] };
    let asks = [
        "The {a} trail is {b} miles long, the {c} trail {d} kilometers. Convert the miles to kilometers: which one is longer?",
        "Convert the {b} miles of the {a} trail to kilometers and tell me whether it or the {c} trail with {d} kilometers is longer.",
        "Convert the miles to kilometers: which is the longer walk, {a} with {b} miles or {c} with {d} kilometers?",
    ];
    let about = tool(
        "convert_length",
        "Convert a length",
        &[
            ("value", "number", "The length"),
            ("from_unit", "string", "mile, kilometer, meter or foot"),
            ("to_unit", "string", "mile, kilometer, meter or foot"),
        ],
    );
    let units = [("mile", 1609.344), ("kilometer", 1000.0), ("meter", 1.0), ("foot", 0.3048)];
    Draft {
        domain: "outdoors",
        request: phrase(draw, &asks, &[names[0], &miles.to_string(), names[1], &kilometres.to_string()]),
        tools: vec![convert(about, ["value", "from_unit", "to_unit"], &units)],
        calls: vec![call("convert_length", &[("value", json!(miles)), ("from_unit", json!("mile")), ("to_unit", json!("kilometer"))])],
        answer: choice(longer, names),
        difficulty: 2,
    }
}

fn deadline(draw: &mut Draw) -> Draft {
    let today = START_OF_2025 + between(draw, 0, 500);
    let projects = some(draw, &PROJECTS, 5);
    let days: Vec<i64> = projects.iter().map(|_| between(draw, 3, 250)).collect();
    let dates: Vec<String> = days.iter().map(|d| calendar::iso(today + d)).collect();
    let rows: Vec<(&str, Value)> = projects.iter().copied().zip(dates.iter().map(|d| json!(d))).collect();
    let asks = [
        "Today is {b}. How many days are left until the deadline of project {a}?",
        "It is {b}. In how many days is project {a} due?",
        "How many days does project {a} still have, counted from {b}?",
    ];
    let now = calendar::iso(today);
    Draft {
        domain: "office",
        request: phrase(draw, &asks, &[projects[0], &now]),
        tools: vec![
            lookup("get_deadline", "Deadline of a project", ("project", "Name of the project"), &rows),
            (
                tool(
                    "days_between",
                    "Days from one date to another",
                    &[("start", "string", "YYYY-MM-DD"), ("end", "string", "YYYY-MM-DD")],
                ),
                Runnable::Clock { operation: ClockOperation::Between },
            ),
        ],
        calls: vec![
            call("get_deadline", &[("project", json!(projects[0]))]),
            call("days_between", &[("start", json!(now)), ("end", json!(dates[0]))]),
        ],
        answer: ExpectedAnswer::one(days[0]),
        difficulty: 3,
    }
}

fn journey(draw: &mut Draw) -> Draft {
    let start = START_OF_2025 + between(draw, 0, 500);
    let days = between(draw, 3, 60);
    let (leaving, back) = (calendar::iso(start), calendar::iso(start + days));
    let asks = [
        "I leave on {a} and come back {b} days later. What day of the week is that?",
        "My trip starts on {a} and I return after {b} days. On which weekday?",
        "Which weekday is it {b} days after {a}?",
    ];
    Draft {
        domain: "calendar",
        request: phrase(draw, &asks, &[&leaving, &days.to_string()]),
        tools: vec![
            (
                tool("add_days", "The date some days after another", &[("start", "string", "YYYY-MM-DD"), ("days", "integer", "How many")]),
                Runnable::Clock { operation: ClockOperation::Add },
            ),
            (
                tool("day_of_week", "Day of the week of a date", &[("date", "string", "YYYY-MM-DD")]),
                Runnable::Clock { operation: ClockOperation::Weekday },
            ),
        ],
        calls: vec![call("add_days", &[("start", json!(leaving)), ("days", json!(days))]), call("day_of_week", &[("date", json!(back))])],
        answer: choice(calendar::weekday(start + days), WEEKDAYS),
        difficulty: 2,
    }
}

fn office(draw: &mut Draw) -> Draft {
    let people = some(draw, &PEOPLE, 8);
    let (staff, managers) = people.split_at(4);
    let chiefs: Vec<&str> = staff.iter().map(|_| managers[draw.below(managers.len())]).collect();
    let numbers: Vec<i64> = people.iter().enumerate().map(|(i, _)| between(draw, 200 + 90 * i as i64, 289 + 90 * i as i64)).collect();
    let above: Vec<(&str, Value)> = staff.iter().copied().zip(chiefs.iter().map(|c| json!(c))).collect();
    let phones: Vec<(&str, Value)> = people.iter().copied().zip(numbers.iter().map(|n| json!(n))).collect();
    let wanted = people.iter().position(|p| *p == chiefs[0]).map_or(0, |at| numbers[at]);
    let asks = [
        "What is the phone extension of {a}'s manager?",
        "I want to call the manager of {a}. Which extension do I dial?",
        "Find the extension of whoever {a} reports to.",
    ];
    Draft {
        domain: "office",
        request: phrase(draw, &asks, &[staff[0]]),
        tools: vec![
            lookup("find_manager", "Who an employee reports to", ("employee", "Full name"), &above),
            lookup("get_extension", "Phone extension of a person", ("person", "Full name"), &phones),
        ],
        calls: vec![call("find_manager", &[("employee", json!(staff[0]))]), call("get_extension", &[("person", json!(chiefs[0]))])],
        answer: ExpectedAnswer::one(wanted),
        difficulty: 2,
    }
}
