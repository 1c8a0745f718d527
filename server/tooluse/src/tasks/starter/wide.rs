//! Station *problem*, helper: the wide set. In: the content of a split and a stream of draws; out: problems with several calls, with
//! tools that look like the right one and are not, and with values that must be brought into another form.
//!
//! Its streams are its own: the problems of the narrow set never change with it.

use whetstone_domain::problem::{Expected, ExpectedCall, Matcher, Message, Problem, Role};

use super::build::{self, Split};
use super::content::{Domain, Param, ToolSpec};
use super::draw::Draw;
use super::template::Piece;
use super::{dress, value};

/// Percent of problems whose right answer is no call.
const NO_CALL: usize = 12;
/// Percent of the rest with several calls of one tool.
const PARALLEL: usize = 22;
/// Percent of the rest with several calls of one tool or calls of two.
const SEVERAL: usize = 44;
/// Percent of single calls that go to the domain of values to be brought into another form.
const SPOKEN: usize = 40;
/// Percent of problems with a call that also offer the look-alike of a right tool, where there is one.
const TWIN: usize = 50;

/// Domains of the wide set alone.
const SPOKEN_DOMAINS: [&str; 2] = ["bookkeeping", "delivery"];

/// Look-alikes: (tool, name, what it does instead). They take the same arguments and serve none of the tool's requests.
const TWINS: [(&str, &str, &str); 42] = [
    ("send_email", "draft_email", "Save an e-mail as a draft without sending it."),
    ("block_sender", "unblock_sender", "Let messages of a blocked e-mail address arrive again."),
    ("mute_conversation", "pin_conversation", "Keep a chat at the top of the list for some hours."),
    ("calendar.create_event", "calendar.save_template", "Save a reusable template of an event; puts nothing into the calendar."),
    ("calendar.delete_event", "calendar.duplicate_event", "Make a copy of an event in the calendar."),
    ("set_reminder", "cancel_reminder", "Cancel a reminder that was set before."),
    ("get_forecast", "get_forecast_accuracy", "Tell how accurate the forecasts for a city were in recent days."),
    ("get_sun_times", "get_moon_times", "Get the times of moonrise and moonset for a city on a date."),
    ("convert_currency", "get_exchange_fee", "Tell the fee that a bank takes for exchanging an amount of money."),
    ("add_to_cart", "add_to_wishlist", "Put a product on the wish list."),
    ("check_stock", "request_restock", "Ask the store in a city to order a product that it does not have."),
    ("track_order", "cancel_order", "Cancel an order that has not been sent yet."),
    ("search_products", "search_recalls", "Search for products that their maker has recalled."),
    ("files.move_file", "files.copy_file", "Copy a file into another folder and keep the original where it is."),
    ("files.rename_folder", "files.link_folder", "Make a shortcut to a folder under another name."),
    ("db.select_rows", "db.export_rows", "Write chosen columns of the rows in a table to a spreadsheet file."),
    ("db.update_field", "db.validate_field", "Check whether a value would be allowed in a column, without changing it."),
    ("home.set_blinds", "home.set_awning", "Extend the awning outside a room to a given percentage."),
    ("home.set_light", "home.save_light_scene", "Save a brightness and color for a room as a scene for later; changes no light."),
    ("media.play_song", "media.download_song", "Download a song by an artist for listening offline."),
    ("media.record_show", "media.cancel_recording", "Cancel the scheduled recording of a television show."),
    ("math.gcd", "math.lcm", "Find the least common multiple of two whole numbers."),
    ("triangle_area", "rectangle_area", "Compute the area of a rectangle from its base and height."),
    ("compound_interest", "compound_debt", "Compute what a debt grows to with compound interest and a late fee."),
    ("get_weekday", "get_moon_phase", "Tell the phase of the moon on a date."),
    ("get_week_number", "get_day_of_year", "Tell how many days of its year have passed on a date."),
    ("list_public_holidays", "list_school_holidays", "List the school holidays of a country in a year."),
    ("create_invoice", "create_credit_note", "Write a credit note that gives a customer money back."),
    ("record_payment", "refund_payment", "Send a payment in euros back to who made it."),
    ("log_work_time", "log_break_time", "Log a break that does not count as working time."),
    ("book_meeting_room", "release_meeting_room", "Give back a meeting room that was booked before."),
    ("search_trains", "search_buses", "Find long-distance bus connections between two cities on a given date."),
    ("book_hotel", "review_hotel", "Publish a review of a stay at a named hotel."),
    ("rent_car", "sell_car", "List one's own car for sale in a city."),
    ("select_seat", "release_seat", "Give back a seat that was chosen on a flight."),
    ("log_meal", "plan_meal", "Plan a meal for a later day with its calories."),
    ("log_water", "log_coffee", "Log how much coffee was drunk."),
    ("request_refill", "cancel_refill", "Cancel a prescription refill that was requested before."),
    ("book_doctor_visit", "cancel_doctor_visit", "Cancel a visit that was booked with a named doctor."),
    ("vitals.record_weight", "vitals.set_target_weight", "Set the body weight in kilograms that one wants to reach."),
    ("insure_parcel", "report_parcel_damage", "Report damage to a parcel and its value in euros."),
    ("request_pickup", "cancel_pickup", "Cancel the pickup of a parcel that was ordered before."),
];

/// Descriptions of arguments that would be wrong for the look-alike: (of the tool, of the look-alike).
const REWORDED: [(&str, &str); 16] = [
    ("Number of days ahead, 1 to 14", "Number of past days, 1 to 14"),
    ("Path or name of the file to move", "Path or name of the file to copy"),
    ("Time worked, in minutes", "Length of the break, in minutes"),
    ("Day of the work, YYYY-MM-DD; today if left out", "Day of the break, YYYY-MM-DD; today if left out"),
    ("E-mail address to block", "E-mail address to unblock"),
    ("Why the address is blocked", "Why the address was blocked"),
    ("How many hours the chat stays silent", "How many hours the chat stays on top"),
    ("Column to change", "Column that the value is meant for"),
    ("New value", "Value to check"),
    ("Deposit in dollars", "Debt in dollars"),
    ("Years of saving", "Years until it is paid back"),
    ("What was eaten", "What is to be eaten"),
    ("Amount of water in milliliters", "Amount of coffee in milliliters"),
    ("Pickup city", "City of the sale"),
    ("Pickup date, YYYY-MM-DD", "First day of the offer, YYYY-MM-DD"),
    ("Rental length in days", "Length of the offer in days"),
];

/// Arguments of which one sentence may name several, one call each: (tool, argument).
const LISTS: [(&str, &str); 20] = [
    ("get_current_weather", "city"),
    ("get_air_quality", "city"),
    ("get_pollen_count", "city"),
    ("get_sun_times", "city"),
    ("get_current_time", "city"),
    ("get_forecast", "city"),
    ("get_weekday", "date"),
    ("get_week_number", "date"),
    ("list_public_holidays", "country"),
    ("convert_currency", "to_currency"),
    ("convert_length", "to_unit"),
    ("convert_weight", "to_unit"),
    ("convert_volume", "to_unit"),
    ("convert_speed", "to_unit"),
    ("math.factorial", "n"),
    ("check_stock", "city"),
    ("get_flight_status", "flight_number"),
    ("check_visa_requirements", "destination"),
    ("quote_shipment", "city"),
    ("travel.find_attractions", "city"),
];

/// Words after which a list reads well.
const PREPOSITIONS: [&str; 6] = [" in ", " of ", " for ", " to ", " into ", " on "];

/// The problem at an index.
pub(super) fn problem(split: &Split<'_>, id: String, draw: &mut Draw) -> Option<Problem> {
    if draw.percent(NO_CALL) {
        return split.without_call(id, draw);
    }
    let kind = draw.below(100);
    let asked = match kind {
        0..PARALLEL => parallel(split, draw).or_else(|| single(split, draw)),
        PARALLEL..SEVERAL => several(split, draw).or_else(|| single(split, draw)),
        _ => single(split, draw),
    }?;
    let Asked { domain, tools: called, request, calls, hard } = asked;
    let mut offered: Vec<ToolSpec> = called.iter().map(|t| (*t).clone()).collect();
    let twins: Vec<ToolSpec> = called.iter().filter_map(|t| twin(t)).collect();
    let with_twin = draw.percent(TWIN) && !twins.is_empty();
    if with_twin {
        offered.extend(draw.pick(&twins).cloned());
    }
    let most = offered.len() + draw.below(3);
    split.add_others(&mut offered, most, domain, &called, draw);
    let several = calls.len() > 1;
    let difficulty = if several || with_twin || hard { 3 } else { 1 + u8::from(offered.len() > 1) };
    draw.shuffle(&mut offered);
    Some(Problem {
        id,
        messages: vec![Message::new(Role::User, request)],
        tools: offered.iter().map(build::schema).collect(),
        expected: Expected { calls },
        matcher: Matcher::Bfcl,
        domain: domain.name.clone(),
        difficulty,
        environment: None,
        answer: None,
    })
}

struct Asked<'a> {
    domain: &'a Domain,
    tools: Vec<&'a ToolSpec>,
    request: String,
    calls: Vec<ExpectedCall>,
    /// A value must be brought into another form.
    hard: bool,
}

fn twin(tool: &ToolSpec) -> Option<ToolSpec> {
    let &(_, name, description) = TWINS.iter().find(|(of, ..)| *of == tool.name)?;
    let mut twin = ToolSpec { name: name.to_owned(), description: description.to_owned(), ..tool.clone() };
    for param in &mut twin.params {
        if let Some((_, other)) = REWORDED.iter().find(|(of, _)| *of == param.description) {
            param.description = (*other).to_owned();
        }
    }
    Some(twin)
}

fn expected(tool: &ToolSpec, values: &[Option<value::Drawn>]) -> ExpectedCall {
    let arguments = tool.params.iter().zip(values).filter_map(|(p, v)| value::accepted(p, v.as_ref()).map(|a| (p.name.clone(), a)));
    ExpectedCall { name: tool.name.clone(), arguments: arguments.collect() }
}

fn single<'a>(split: &Split<'a>, draw: &mut Draw) -> Option<Asked<'a>> {
    let spoken: Vec<_> = split.domains.iter().filter(|d| SPOKEN_DOMAINS.contains(&d.name.as_str())).copied().collect();
    let (domain, tool) = match draw.percent(SPOKEN) {
        true => {
            let domain = *draw.pick(&spoken)?;
            (domain, draw.pick(&domain.tools)?)
        }
        false => split.any_tool(draw)?,
    };
    let build::Asked { request, values, normalised } = build::ask(tool, draw)?;
    Some(Asked { domain, tools: vec![tool], request, calls: vec![expected(tool, &values)], hard: normalised })
}

/// Two or three calls of one tool: one sentence that names several values, or one sentence a call.
fn parallel<'a>(split: &Split<'a>, draw: &mut Draw) -> Option<Asked<'a>> {
    let count = 2 + usize::from(draw.percent(30));
    if draw.percent(50)
        && let Some(asked) = listed(split, count, draw)
    {
        return Some(asked);
    }
    for _ in 0..200 {
        let (domain, tool) = split.any_tool(draw)?;
        let Some(parts) = (0..count).map(|_| part(tool, draw)).collect::<Option<Vec<_>>>() else { continue };
        let calls: Vec<ExpectedCall> = parts.iter().map(|p| p.call.clone()).collect();
        if calls.iter().enumerate().all(|(i, c)| !calls[..i].contains(c)) && unlike(&parts) {
            let hard = parts.iter().any(|p| p.normalised);
            return Some(Asked { domain, tools: vec![tool], request: join(&parts, draw), calls, hard });
        }
    }
    None
}

/// A call of each of two tools, most often of one domain.
fn several<'a>(split: &Split<'a>, draw: &mut Draw) -> Option<Asked<'a>> {
    for _ in 0..200 {
        let (domain, first) = split.any_tool(draw)?;
        let (_, second) = if draw.percent(70) { (domain, draw.pick(&domain.tools)?) } else { split.any_tool(draw)? };
        if first.name == second.name || build::overlap(first, second) {
            continue;
        }
        let Some(parts) = [first, second].into_iter().map(|t| part(t, draw)).collect::<Option<Vec<_>>>() else { continue };
        if !unlike(&parts) {
            continue;
        }
        let calls = parts.iter().map(|p| p.call.clone()).collect();
        let hard = parts.iter().any(|p| p.normalised);
        return Some(Asked { domain, tools: vec![first, second], request: join(&parts, draw), calls, hard });
    }
    None
}

/// One sentence of a longer request.
struct Part {
    text: String,
    call: ExpectedCall,
    normalised: bool,
}

/// A request of one whole sentence; none where the phrasing drawn is none.
fn part(tool: &ToolSpec, draw: &mut Draw) -> Option<Part> {
    let phrasing = draw.pick(&tool.phrasings)?;
    let source = &phrasing.source;
    let inside = &source[..source.len().saturating_sub(1)];
    let whole = source.ends_with(['.', '?']) && !inside.contains(['.', '?', '!', ';', ':']) && source.split_whitespace().count() >= 4;
    let polite = ["please", "thank", "hi", "hello"].iter().any(|w| source.to_lowercase().split(' ').any(|x| x == *w));
    if !whole || polite {
        return None;
    }
    let values = value::draw_all(&tool.params, phrasing, draw);
    let words: Vec<String> = values.iter().map(|v| v.as_ref().map_or_else(String::new, |v| v.words.clone())).collect();
    let normalised = values.iter().flatten().any(|v| v.normalised);
    Some(Part { text: phrasing.render(&words), call: expected(tool, &values), normalised })
}

/// No sentence is said twice.
fn unlike(parts: &[Part]) -> bool {
    parts.iter().enumerate().all(|(i, p)| parts[..i].iter().all(|q| q.text != p.text))
}

fn join(parts: &[Part], draw: &mut Draw) -> String {
    let texts: Vec<&str> = parts.iter().map(|p| p.text.as_str()).collect();
    let questions = texts.iter().all(|t| t.ends_with('?'));
    let wishes = texts.iter().all(|t| t.ends_with('.'));
    let style = draw.below(6);
    let small = |text: &str| dress::small(text);
    match (&texts[..], style) {
        ([a, b], 0) => format!("Two things. {a} {b}"),
        ([a, b], 1) => small(b).map_or_else(|| format!("{a} {b}"), |b| format!("{a} Also, {b}")),
        ([a, b], 2) if questions || wishes => small(b).map_or_else(|| format!("{a} {b}"), |b| format!("{a} And {b}")),
        ([a, b], 3) => format!("First: {a} Second: {b}"),
        ([a, b, c], 0) => format!("Three things. {a} {b} {c}"),
        ([a, b, c], 1) => small(c).map_or_else(|| format!("{a} {b} {c}"), |c| format!("{a} {b} And finally, {c}")),
        ([a, b, c], 3) => format!("1. {a} 2. {b} 3. {c}"),
        _ => texts.join(" "),
    }
}

/// "What is the weather in Oslo and Rome?": a call for each.
fn listed<'a>(split: &Split<'a>, count: usize, draw: &mut Draw) -> Option<Asked<'a>> {
    let known = |tool: &ToolSpec, p: &Param| LISTS.iter().any(|(t, a)| *t == tool.name && *a == p.name);
    let tools: Vec<_> = split.domains.iter().flat_map(|d| d.tools.iter().map(move |t| (*d, t))).collect();
    let able: Vec<_> = tools.iter().filter_map(|&(d, t)| t.params.iter().position(|p| known(t, p)).map(|i| (d, t, i))).collect();
    let &(domain, tool, slot) = draw.pick(&able)?;
    let fits = |pieces: &[Piece]| {
        let once = pieces.iter().filter(|p| **p == Piece::Slot(slot)).count() == 1;
        let (before, after) = match pieces {
            [.., Piece::Text(before), Piece::Slot(s), Piece::Text(after)] if *s == slot => (before, after.as_str()),
            [.., Piece::Text(before), Piece::Slot(s)] if *s == slot => (before, ""),
            _ => return false,
        };
        once && after.len() <= 1 && PREPOSITIONS.iter().any(|p| before.ends_with(p)) && !before.ends_with("the city of ")
    };
    let phrasings: Vec<_> = tool.phrasings.iter().filter(|p| fits(&p.pieces)).collect();
    let phrasing = *draw.pick(&phrasings)?;
    let first = value::draw_all(&tool.params, phrasing, draw);
    let mut all = vec![first.clone()];
    for _ in 0..100 {
        if all.len() == count {
            break;
        }
        let again = value::draw_all(&tool.params, phrasing, draw);
        let taken = |v: &value::Drawn| all.iter().any(|a| a.iter().flatten().any(|o| o.value == v.value || o.words == v.words));
        if let Some(Some(other)) = again.get(slot)
            && !taken(other)
        {
            let mut row = first.clone();
            row[slot] = Some(other.clone());
            all.push(row);
        }
    }
    if all.len() < count {
        return None;
    }
    let mut words: Vec<String> = first.iter().map(|v| v.as_ref().map_or_else(String::new, |v| v.words.clone())).collect();
    let said: Vec<String> = all.iter().filter_map(|v| v[slot].as_ref().map(|v| v.words.clone())).collect();
    // a comma inside a value would make a list of it
    if said.iter().any(|s| s.contains(',')) {
        return None;
    }
    words[slot] = said.split_last().map(|(last, head)| format!("{} and {last}", head.join(", "))).unwrap_or_default();
    let hard = all.iter().flatten().flatten().any(|v| v.normalised);
    let calls = all.iter().map(|v| expected(tool, v)).collect();
    Some(Asked { domain, tools: vec![tool], request: phrasing.render(&words), calls, hard })
}

#[cfg(test)]
#[path = "wide_tests.rs"]
mod tests;
