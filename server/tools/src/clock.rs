//! Kind *clock*: the present, and arithmetic with dates and times (`jiff`, with time zones of its own, so that every machine
//! knows the same).
//!
//! In: dates as `2025-03-04`, times as `2025-03-04T10:00`, zones as `Europe/Berlin`. Out: the same. The present is the
//! environment's where it gives one.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Unit, ZonedDateTime};
use serde_json::{Map, Value, json};
use whetstone_domain::{ClockOperation, Tool, ToolFailure};

use crate::{Reply, definition, refuse};

const UNITS: [(&str, Unit); 6] = [
    ("minutes", Unit::Minute),
    ("hours", Unit::Hour),
    ("days", Unit::Day),
    ("weeks", Unit::Week),
    ("months", Unit::Month),
    ("years", Unit::Year),
];

pub(crate) struct Clock {
    operation: ClockOperation,
    now: Option<ZonedDateTime>,
}

impl Clock {
    /// A clock that stands at `now`, or goes.
    pub(crate) fn new(operation: ClockOperation, now: Option<&str>) -> Result<Self, String> {
        Ok(Self { operation, now: present(now)? })
    }

    /// The tool as a prompt lists it.
    pub(crate) fn define(&self, name: &str) -> Tool {
        let (date, zone) = (|| definition::text("As 2025-03-04 or 2025-03-04T10:00"), || definition::text("As Europe/Berlin"));
        let count = || definition::integer("May be negative");
        match self.operation {
            ClockOperation::Now => definition::tool(name, "Present date and time", &[("timezone", zone(), false)]),
            ClockOperation::Convert => definition::tool(
                name,
                "Convert a time to another time zone",
                &[("time", date(), true), ("from", zone(), true), ("to", zone(), true)],
            ),
            ClockOperation::Between => {
                let unit = json!({"type": "string", "enum": UNITS.map(|(name, _)| name), "default": "days"});
                definition::tool(
                    name,
                    "How long it is between two dates",
                    &[("start", date(), true), ("end", date(), true), ("unit", unit, false)],
                )
            }
            ClockOperation::Add => {
                let mut parameters = vec![("start", date(), true)];
                parameters.extend(["years", "months", "weeks", "days", "hours", "minutes"].map(|unit| (unit, count(), false)));
                definition::tool(name, "Add a period to a date", &parameters)
            }
            ClockOperation::Weekday => definition::tool(name, "Day of the week of a date", &[("date", date(), true)]),
        }
    }

    /// Gives the same whenever it is asked, at least within a step.
    pub(crate) fn repeatable(&self) -> bool {
        self.operation != ClockOperation::Now || self.now.is_some()
    }

    /// Answers a call.
    pub(crate) fn call(&self, arguments: &Map<String, Value>) -> Reply {
        self.answer(arguments).or_else(|reason| refuse(ToolFailure::BadArguments, reason))
    }

    fn answer(&self, arguments: &Map<String, Value>) -> Result<String, String> {
        let text = |key: &str| match arguments.get(key) {
            Some(Value::String(text)) if text.len() <= 64 => Ok(text.as_str()),
            Some(Value::String(_)) => Err(format!("argument {key:?} is too long")),
            Some(_) => Err(format!("argument {key:?} must be a text")),
            None => Err(format!("argument {key:?} is missing")),
        };
        let moment = |key: &str| text(key).and_then(read);
        let zone = |key: &str| text(key).and_then(zone);
        Ok(match self.operation {
            ClockOperation::Now => {
                let now = self.now.clone().unwrap_or_else(ZonedDateTime::now);
                let shown = match arguments.contains_key("timezone") {
                    true => now.with_time_zone(zone("timezone")?),
                    false => now.with_time_zone(TimeZone::UTC),
                };
                shown.strftime("%Y-%m-%dT%H:%M (%A)").to_string()
            }
            ClockOperation::Convert => {
                let from = moment("time")?.0.to_zoned_datetime(zone("from")?).map_err(|e| e.to_string())?;
                write(from.with_time_zone(zone("to")?).datetime())
            }
            ClockOperation::Between => {
                let unit = if arguments.contains_key("unit") { text("unit")? } else { "days" };
                let known = || UNITS.map(|(name, _)| name).join(", ");
                let &(_, unit) =
                    UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| format!("unit {unit:?}; known are {}", known()))?;
                let span = moment("start")?.0.until((unit, moment("end")?.0)).map_err(|e| e.to_string())?;
                match unit {
                    Unit::Minute => span.get_minutes(),
                    Unit::Hour => i64::from(span.get_hours()),
                    Unit::Day => i64::from(span.get_days()),
                    Unit::Week => i64::from(span.get_weeks()),
                    Unit::Month => i64::from(span.get_months()),
                    _ => i64::from(span.get_years()),
                }
                .to_string()
            }
            ClockOperation::Add => {
                let (start, is_date) = moment("start")?;
                let count = |key: &str| match arguments.get(key) {
                    None => Ok(0),
                    Some(value) => value.as_i64().ok_or_else(|| format!("argument {key:?} must be an integer")),
                };
                let (hours, minutes) = (count("hours")?, count("minutes")?);
                // one after the other: a span of jiff's is positive or negative as a whole
                let spans = [
                    Span::new().try_years(count("years")?),
                    Span::new().try_months(count("months")?),
                    Span::new().try_weeks(count("weeks")?),
                    Span::new().try_days(count("days")?),
                    Span::new().try_hours(hours),
                    Span::new().try_minutes(minutes),
                ];
                let end = spans.into_iter().try_fold(start, |time, span| time.checked_add(span?)).map_err(|e| e.to_string())?;
                if is_date && hours == 0 && minutes == 0 { end.date().to_string() } else { write(end) }
            }
            ClockOperation::Weekday => moment("date")?.0.strftime("%A").to_string(),
        })
    }
}

/// An environment's present, where it gives one.
pub(crate) fn present(now: Option<&str>) -> Result<Option<ZonedDateTime>, String> {
    let now = now.map(|text| {
        text.parse::<ZonedDateTime>().map_err(|e| format!("\"now\" is {text:?}, not as 2025-03-04T10:00:00+01:00[Europe/Berlin]: {e}"))
    });
    now.transpose()
}

/// A date or time, and whether it is a date only.
fn read(text: &str) -> Result<(DateTime, bool), String> {
    if let (Ok(date), true) = (text.parse::<Date>(), text.len() <= 10) {
        return Ok((date.at(0, 0, 0, 0), true));
    }
    // a parser of local times drops them
    let time = text.find(['T', 't', ' ']).map_or("", |at| &text[at..]);
    if text.contains('[') || time.contains(['+', '-', 'Z', 'z']) {
        return Err(format!("{text:?} names an offset or a time zone; write the time alone, as 2025-03-04T10:00"));
    }
    text.parse::<DateTime>().map(|t| (t, false)).map_err(|_| format!("{text:?} is no date as 2025-03-04 and no time as 2025-03-04T10:00"))
}

fn write(time: DateTime) -> String {
    time.strftime("%Y-%m-%dT%H:%M").to_string()
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| format!("unknown time zone {name:?}; give one as Europe/Berlin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(operation: ClockOperation, arguments: Value) -> Reply {
        let clock = Clock::new(operation, Some("2025-03-04T10:00:00+01:00[Europe/Berlin]")).expect("a clock");
        clock.call(arguments.as_object().expect("an object"))
    }

    #[test]
    fn the_present_is_the_environments_in_any_zone() {
        assert_eq!(asked(ClockOperation::Now, json!({})), Ok("2025-03-04T09:00 (Tuesday)".into()));
        assert_eq!(asked(ClockOperation::Now, json!({"timezone": "Asia/Tokyo"})), Ok("2025-03-04T18:00 (Tuesday)".into()));
        assert!(asked(ClockOperation::Now, json!({"timezone": "Mars/Base"})).is_err());
        assert!(Clock::new(ClockOperation::Now, Some("tomorrow")).is_err());
    }

    #[test]
    fn dates_are_added_compared_named_and_moved_between_zones() {
        use ClockOperation::{Add, Between, Convert, Weekday};
        for (operation, arguments, gives) in [
            (Add, json!({"start": "2024-02-28", "days": 2}), "2024-03-01"),
            (Add, json!({"start": "2025-01-31", "months": 1}), "2025-02-28"),
            (Add, json!({"start": "2025-03-04", "weeks": -1, "years": 1}), "2026-02-25"),
            (Add, json!({"start": "2025-03-04T23:30", "minutes": 45}), "2025-03-05T00:15"),
            (Add, json!({"start": "2025-03-04", "hours": 30}), "2025-03-05T06:00"),
            (Between, json!({"start": "2025-03-04", "end": "2025-12-24"}), "295"),
            (Between, json!({"start": "2025-12-24", "end": "2025-03-04"}), "-295"),
            (Between, json!({"start": "2025-03-04", "end": "2025-03-31", "unit": "weeks"}), "3"),
            (Between, json!({"start": "2020-02-29", "end": "2025-03-04", "unit": "years"}), "5"),
            (Between, json!({"start": "2025-03-04T10:00", "end": "2025-03-05T09:30", "unit": "hours"}), "23"),
            (Weekday, json!({"date": "2025-03-04"}), "Tuesday"),
            (Convert, json!({"time": "2025-07-01T09:00", "from": "Europe/Berlin", "to": "America/New_York"}), "2025-07-01T03:00"),
        ] {
            assert_eq!(asked(operation, arguments.clone()).as_deref(), Ok(gives), "{operation:?} {arguments}");
        }
    }

    #[test]
    fn an_offset_or_a_zone_is_refused_with_the_way_to_write_it_never_dropped() {
        use ClockOperation::{Add, Between, Convert, Weekday};
        for time in [
            "2025-07-01T09:00+05:00",
            "2025-07-01T09:00:00.5-0330",
            "2025-07-01 09:00+05",
            "2025-07-01T09:00[Asia/Tokyo]",
            "2025-07-01[Asia/Tokyo]",
            "2025-07-01T09:00+09:00[Asia/Tokyo]",
            "20250701T0900-0330",
            "2025-07-01T09:00Z",
        ] {
            for (operation, arguments) in [
                (Convert, json!({"time": time, "from": "Europe/Berlin", "to": "Asia/Tokyo"})),
                (Add, json!({"start": time, "hours": 1})),
                (Between, json!({"start": "2025-03-04", "end": time})),
                (Weekday, json!({"date": time})),
            ] {
                let (failure, reason) = asked(operation, arguments).expect_err(time);
                assert_eq!(failure, ToolFailure::BadArguments);
                assert!(reason.contains("write the time alone, as 2025-03-04T10:00"), "{reason}");
            }
        }
    }

    #[test]
    fn what_is_no_date_or_leaves_the_calendar_is_named() {
        use ClockOperation::{Add, Between, Weekday};
        for (operation, arguments) in [
            (Weekday, json!({"date": "2025-02-30"})),
            (Weekday, json!({"date": "yesterday"})),
            (Weekday, json!({"date": "x".repeat(10_000)})),
            (Weekday, json!({"date": "2025-03-04\u{0}"})),
            (Weekday, json!({})),
            (Weekday, json!({"date": 5})),
            (Add, json!({"start": "2025-03-04", "days": i64::MAX})),
            (Add, json!({"start": "2025-03-04", "years": 9000})),
            (Add, json!({"start": "2025-03-04", "days": 1.5})),
            (Between, json!({"start": "2025-03-04", "end": "2025-03-05", "unit": "moons"})),
        ] {
            assert!(matches!(asked(operation, arguments.clone()), Err((ToolFailure::BadArguments, _))), "{operation:?} {arguments}");
        }
    }
}
