//! When a policy ends: a date, or an RFC 3339 time with its offset.
//!
//! The form and the ranges are checked here, part by part, and only then handed to `jiff`: it takes more than RFC 3339
//! (an offset of 25 hours, a 60th second that it makes the 59th, other separators), and a time that ends a protection
//! means what it says or is refused at the part that is wrong.

use std::ops::{Range, RangeInclusive};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use model::ParseError;
use schemars::{Schema, json_schema};

use crate::codes::Code;
use crate::decode::FromText;

/// When a policy ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until(pub(crate) Timestamp);

const HINT: &str = "write 2026-12-31 (ends with that day, UTC) or 2026-12-31T18:00:00Z";

impl FromText for Until {
    const CODE: Code = Code::Until;
    const WHAT: &'static str = "a date or time";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let mut scan = Scan { text, at: 0 };
        let date = scan.date()?;
        let end = if scan.rest().is_empty() {
            let end = date.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC));
            end.map(|zoned| zoned.timestamp()).ok()
        } else {
            scan.time()?;
            text.parse::<Timestamp>().ok()
        };
        end.map(Self).ok_or_else(|| {
            ParseError::new(format!("`{text}` is too late to be reckoned with"), 0..text.len())
                .with_hint("a policy without `until` never ends")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "anyOf": [{ "format": "date" }, { "format": "date-time" }] })
    }
}

/// Reads a text from left to right.
struct Scan<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scan<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// The text is not of the form; nothing is said about the part because it may be anything.
    fn not_a_time(&self) -> ParseError {
        let message = format!("`{}` is not a date or time", self.text);
        ParseError::new(message, 0..self.text.len()).with_hint(HINT)
    }

    fn takes(&mut self, one_of: &str) -> Result<(), ParseError> {
        if !self.rest().starts_with(|c| one_of.contains(c)) {
            return Err(self.not_a_time());
        }
        self.at += 1;
        Ok(())
    }

    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Result<(i16, Range<usize>), ParseError> {
        let place = self.at..self.at + digits;
        let number = self
            .text
            .get(place.clone())
            .filter(|part| part.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|part| part.parse().ok());
        self.at = place.end;
        number.map(|number| (number, place)).ok_or_else(|| self.not_a_time())
    }

    /// Two digits within a range; `what` is what they count.
    fn two(&mut self, range: RangeInclusive<i16>, what: &str) -> Result<i8, ParseError> {
        let (number, place) = self.number(2)?;
        i8::try_from(number).ok().filter(|_| range.contains(&number)).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            let message = format!("{what} go from {first:02} to {last:02}, this is {number:02}");
            ParseError::new(message, place).with_hint(instead(what, number))
        })
    }

    fn date(&mut self) -> Result<Date, ParseError> {
        let (year, _) = self.number(4)?;
        self.takes("-")?;
        let month = self.two(1..=12, "months")?;
        self.takes("-")?;
        let (day, place) = self.number(2)?;
        let first = Date::new(year, month, 1).map_err(|_| self.not_a_time())?;
        let most = first.days_in_month();
        i8::try_from(day).ok().and_then(|day| Date::new(year, month, day).ok()).ok_or_else(|| {
            let message =
                format!("{year:04}-{month:02} has the days 01 to {most}, this is {day:02}");
            ParseError::new(message, place)
                .with_hint(format!("write {year:04}-{month:02}-{most} for the end of that month"))
        })
    }

    /// `T18:00:00`, perhaps a fraction, and an offset; to the end of the text.
    fn time(&mut self) -> Result<(), ParseError> {
        self.takes("Tt")?;
        self.two(0..=23, "hours")?;
        self.takes(":")?;
        self.two(0..=59, "minutes")?;
        self.takes(":")?;
        self.two(0..=59, "seconds")?;
        if self.rest().starts_with('.') {
            let digits = self.rest().bytes().skip(1).take_while(u8::is_ascii_digit).count();
            if !(1..=9).contains(&digits) {
                return Err(self.not_a_time());
            }
            self.at += 1 + digits;
        }
        if self.rest().is_empty() {
            let message = "the time has no offset";
            return Err(ParseError::new(message, 0..self.text.len()).with_hint(format!(
                "write {}Z for UTC, or for example +01:00 after it",
                self.text
            )));
        }
        if self.rest().starts_with(['+', '-']) {
            self.at += 1;
            self.two(0..=23, "hours of an offset")?;
            self.takes(":")?;
            self.two(0..=59, "minutes of an offset")?;
        } else {
            self.takes("Zz")?;
        }
        if self.rest().is_empty() { Ok(()) } else { Err(self.not_a_time()) }
    }
}

/// What to write for what cannot be.
fn instead(what: &str, number: i16) -> &'static str {
    match (what, number) {
        ("hours", 24) => "midnight is 00:00:00 of the next day",
        ("seconds", 60) => "leap seconds are not known in advance: write :59",
        ("hours of an offset", _) => "an offset is hours and minutes from UTC, +01:00 or -05:30",
        _ => HINT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match Until::from_text(text) {
            Ok(until) => until.0.to_string(),
            Err(error) => {
                let hint = error.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                format!("{:?} {}{hint}", error.at, error.message)
            }
        }
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(shown("2026-12-31"), "2027-01-01T00:00:00Z");
        assert_eq!(shown("2028-02-29"), "2028-03-01T00:00:00Z");
        assert_eq!(shown("2026-12-31T18:00:00+01:00"), "2026-12-31T17:00:00Z");
        assert_eq!(shown("2026-12-31t18:00:00.5z"), "2026-12-31T18:00:00.5Z");
        assert_eq!(shown("2026-12-31T00:00:00-23:59"), "2026-12-31T23:59:00Z");
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        insta::assert_snapshot!(shown("2026-12-31T00:00:00+25:00"), @"20..22 hours of an offset go from 00 to 23, this is 25 (an offset is hours and minutes from UTC, +01:00 or -05:30)");
        insta::assert_snapshot!(shown("2026-12-31T00:00:00+23:60"), @"23..25 minutes of an offset go from 00 to 59, this is 60 (write 2026-12-31 (ends with that day, UTC) or 2026-12-31T18:00:00Z)");
        insta::assert_snapshot!(shown("2026-02-30"), @"8..10 2026-02 has the days 01 to 28, this is 30 (write 2026-02-28 for the end of that month)");
        insta::assert_snapshot!(shown("2027-02-29T00:00:00Z"), @"8..10 2027-02 has the days 01 to 28, this is 29 (write 2027-02-28 for the end of that month)");
        insta::assert_snapshot!(shown("2026-04-00"), @"8..10 2026-04 has the days 01 to 30, this is 00 (write 2026-04-30 for the end of that month)");
        insta::assert_snapshot!(shown("2026-13-01"), @"5..7 months go from 01 to 12, this is 13 (write 2026-12-31 (ends with that day, UTC) or 2026-12-31T18:00:00Z)");
        insta::assert_snapshot!(shown("2026-12-31T24:00:00Z"), @"11..13 hours go from 00 to 23, this is 24 (midnight is 00:00:00 of the next day)");
        insta::assert_snapshot!(shown("2026-12-31T23:60:00Z"), @"14..16 minutes go from 00 to 59, this is 60 (write 2026-12-31 (ends with that day, UTC) or 2026-12-31T18:00:00Z)");
        insta::assert_snapshot!(shown("2026-12-31T23:59:60Z"), @"17..19 seconds go from 00 to 59, this is 60 (leap seconds are not known in advance: write :59)");
        insta::assert_snapshot!(shown("2026-12-31T18:00:00"), @"0..19 the time has no offset (write 2026-12-31T18:00:00Z for UTC, or for example +01:00 after it)");
        insta::assert_snapshot!(shown("9999-12-31"), @"0..10 `9999-12-31` is too late to be reckoned with (a policy without `until` never ends)");
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "2026",
            "2026-1-1",
            "31.12.2026",
            "20261231",
            "2026-12-31 18:00:00Z",
            "2026-12-31T18:00Z",
            "20261231T180000Z",
            "2026-12-31T18:00:00+01",
            "2026-12-31T18:00:00+0100",
            "2026-12-31T18:00:00Z[UTC]",
            "2026-12-31T18:00:00.Z",
            "2026-12-31T18:00:00,5Z",
            "2026-12-31T18:00:00.1234567890Z",
            "+02026-12-31",
            "-002026-12-31T00:00:00Z",
            "２０２６-12-31",
            "tomorrow",
        ] {
            assert!(shown(text).contains("is not a date or time"), "{}", shown(text));
        }
    }
}
