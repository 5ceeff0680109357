//! The hours of the flow store, those on the disk and the one in memory, and what is missing between them.

use std::sync::PoisonError;
use std::time::Instant;

use api::{Error, Period};
use flow::hours::{Frame, Gap, GapKind, HOUR, Reader, Row, seconds};
use jiff::Timestamp;
use store::hours::HourFile;

use crate::history::hours::{FOLDER, told};
use crate::shared::Shared;

use super::Turn;

/// Most gaps that are told; the longest stay.
const GAPS: usize = 200;

/// What is recorded of a time.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Hours that are over, oldest first.
    pub(crate) files: Vec<HourFile>,
    /// Frames of the hour that goes on.
    pub(crate) current: Vec<Vec<u8>>,
    /// Rows that ended before are left out; seconds since 1970.
    pub(crate) since: u32,
    /// When it was asked.
    pub(crate) until: u32,
    /// No further hour is begun after this.
    pub(crate) deadline: Option<Instant>,
    /// Whose turn it is to read, when it is one that takes turns.
    pub(crate) turn: Option<Turn>,
    /// Whether everything was asked for.
    pub(crate) is_all: bool,
}

/// What was read: for the period.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Rows.
    pub(crate) rows: u64,
    /// Times that are covered: from and to.
    pub(crate) covers: Vec<(u32, u32)>,
    /// Gaps that were declared.
    pub(crate) gaps: Vec<Gap>,
    /// Hours of which no row was read, for want of time; those of several threads stand in any order.
    pub(crate) unread: Vec<u32>,
}

/// What is recorded of the last `since` seconds, or of all the time.
///
/// # Errors
/// `BH0214` when the folder cannot be read.
pub(crate) fn records(shared: &Shared, since: Option<u32>) -> Result<Records, Error> {
    let until = seconds(Timestamp::now());
    let start = since.map_or(0, |since| until.saturating_sub(since));
    let folder = shared.options.state_dir.join(FOLDER);
    let _turn = shared.turning.lock().unwrap_or_else(PoisonError::into_inner);
    let files = store::hours::list(&folder).map_err(|error| told("read", &error))?;
    let lost = shared.meters.lost().unwrap_or_default();
    let flows = shared.flows();
    let hour = flows.hour.as_ref();
    let number = hour.map_or(u32::MAX, flow::hours::Hour::number);
    let wanted = |file: &HourFile| file.hour < number && file.hour.saturating_add(1) * HOUR > start;
    Ok(Records {
        files: files.into_iter().filter(wanted).collect(),
        current: hour.map(|hour| hour.whole(until, lost, false)).unwrap_or_default(),
        since: start,
        until,
        deadline: None,
        turn: None,
        is_all: since.is_none(),
    })
}

impl Records {
    /// Whether no further hour is to be begun.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() > deadline)
            || self.turn.as_ref().is_some_and(Turn::is_over)
    }

    /// Since when there are records of what was read, in seconds since 1970.
    pub(crate) fn looked_since(&self, read: &Read) -> u32 {
        read.covers.iter().map(|(from, _)| *from).min().unwrap_or(self.until).max(self.since)
    }

    /// The period for an answer.
    pub(crate) fn period(&self, read: &Read) -> Period {
        let covered = read.covers.iter().map(|(from, _)| *from);
        let unread = read.unread.iter().map(|hour| (hour * HOUR).max(self.since));
        let first = covered.chain(unread).min().unwrap_or(self.until);
        let since = if self.is_all { first } else { self.since };
        let begins = (first > since).then(|| super::instant(first));
        let mut gaps = missing(read, since.max(first), self.until);
        let omitted_gaps = gaps.len().saturating_sub(GAPS) as u64;
        if omitted_gaps > 0 {
            gaps.sort_by_key(|gap| std::cmp::Reverse(gap.to - gap.from));
            gaps.truncate(GAPS);
            gaps.sort();
        }
        Period {
            since: super::instant(since),
            until: super::instant(self.until),
            begins,
            rows: read.rows,
            gaps: gaps.iter().map(super::gap).collect(),
            omitted_gaps,
        }
    }
}

/// Every gap between two moments: those that were declared, and what nothing covers.
fn missing(read: &Read, since: u32, until: u32) -> Vec<Gap> {
    let overlaps = |gap: &&Gap| gap.to >= since && gap.from <= until;
    let unread = unread(&read.unread);
    let mut gaps: Vec<Gap> = read.gaps.iter().chain(&unread).filter(overlaps).copied().collect();
    let declared = |from: u32, to: u32| {
        let is_down = |gap: &&Gap| {
            matches!(
                gap.kind,
                GapKind::Down | GapKind::Unwritten | GapKind::Clock | GapKind::Unread
            )
        };
        read.gaps.iter().chain(&unread).filter(is_down).any(|gap| gap.from <= from && gap.to >= to)
    };
    let mut covers = read.covers.clone();
    covers.sort_unstable();
    let mut end = since;
    for (from, to) in covers.into_iter().chain([(until, until)]) {
        if from > end && !declared(end, from) {
            gaps.push(Gap { from: end, to: from, kind: GapKind::Unreadable, events: None });
        }
        end = end.max(to);
    }
    gaps.sort_unstable();
    gaps
}

/// Hours that were not read as gaps; those that follow each other are one.
fn unread(hours: &[u32]) -> Vec<Gap> {
    let mut hours = hours.to_vec();
    hours.sort_unstable();
    hours.dedup();
    let mut gaps: Vec<Gap> = Vec::new();
    for hour in hours {
        let (from, to) = (hour.saturating_mul(HOUR), hour.saturating_add(1).saturating_mul(HOUR));
        match gaps.last_mut() {
            Some(gap) if gap.to == from => gap.to = to,
            _ => gaps.push(Gap { from, to, kind: GapKind::Unread, events: None }),
        }
    }
    gaps
}

impl Read {
    /// Adds what another thread has read.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.covers.extend(other.covers);
        self.gaps.extend(other.gaps);
        self.unread.extend(other.unread);
    }

    /// Reads a frame: rows that ended at `since` or later go to `each` with the names of their ends and rules. `false` when it
    /// is broken.
    pub(crate) fn frame(
        &mut self,
        reader: &mut Reader,
        bytes: &[u8],
        since: u32,
        mut each: impl FnMut(&Reader, &Row),
    ) -> bool {
        if Reader::has_rows(bytes) {
            let rows = &mut self.rows;
            let read = reader.rows(bytes, |_, row| {
                if row.last >= since {
                    *rows += 1;
                    each(reader, row);
                }
            });
            return read.is_ok();
        }
        match reader.frame(bytes) {
            Ok(Frame::Head { from, .. }) => self.covers.push((from, from)),
            Ok(Frame::Gaps(gaps)) => {
                // An hour tells all of its gaps anew, each time.
                self.gaps.retain(|gap| !gaps.contains(gap));
                self.gaps.extend(gaps);
            }
            Ok(Frame::Beat(beat)) => {
                if let Some(cover) = self.covers.last_mut() {
                    cover.1 = cover.1.max(beat.alive);
                }
            }
            Ok(Frame::Names | Frame::Rows(_)) => {}
            Err(_) => return false,
        }
        true
    }
}
