//! Days of the Gregorian calendar, for answers that the clock tools must find as well. In: dates as (year, month, day) or days
//! since 1970-01-01. Out: the other, and names.
//!
//! After H. Hinnant, "chrono-compatible low-level date algorithms": years begin in March, so that leap days come last.

/// Days of the week, the day of 1970-01-01 first.
pub(super) const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
/// 2025-01-01.
pub(super) const START_OF_2025: i64 = 20_089;

/// `2025-03-04` of a day.
pub(super) fn iso(day: i64) -> String {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}")
}

/// Name of a day of the week.
pub(super) fn weekday(day: i64) -> &'static str {
    WEEKDAYS[day.rem_euclid(7) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates_and_names() {
        for (day, date, name) in [
            (0, "1970-01-01", "Thursday"),
            (START_OF_2025, "2025-01-01", "Wednesday"),
            (19_782, "2024-02-29", "Thursday"),
            (19_783, "2024-03-01", "Friday"),
            (20_453, "2025-12-31", "Wednesday"),
            (-1, "1969-12-31", "Wednesday"),
        ] {
            assert_eq!((iso(day).as_str(), weekday(day)), (date, name));
        }
    }
}
