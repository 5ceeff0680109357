//! Writes the flow store: what the hour that goes on has counted, every few seconds, and hours that are over as a whole.
//!
//! **Failure.** What cannot be written stays in memory and is tried again; when an hour ends unwritten, that is a declared gap, as is everything
//! else that is missing: the time without an agent, and events that the kernel's buffer had no room for.
//!
//! **Clocks.** Time does not go back here by less than an hour: such a clock is waited for. One that is further behind what was written was
//! ahead before: what it wrote then keeps its wrong time, the hour is closed, and that of the clock goes on, which is a declared gap, as is a
//! clock that went forward by more than an hour, or a host that slept.

use std::sync::PoisonError;

use api::{Error, codes};
use flow::hours::{Beat, Budget, Gap, GapKind, HOUR, Hour, seconds};
use host::linux::bpf::Origin;
use jiff::Timestamp;
use store::hours::{HourFile, Hours, Keep};

use crate::fault::failed;
use crate::saved::Store;
use crate::shared::{Kept, Shared};

/// Name of the folder in the state folder.
pub(crate) const FOLDER: &str = "flows";
/// Size at which the file of the hour that goes on is written anew as a whole, in bytes: rows that changed are in it many times.
const LOG_BYTES: u64 = 8 * 1024 * 1024;
/// Seconds after which what is written is synced.
const SYNC: u32 = 30;
/// Records of an earlier version that are taken over.
const EARLIER: usize = 200_000;

/// The writer of the flow store.
#[derive(Debug)]
pub(crate) struct Writer {
    hours: Hours,
    /// Events that were lost when it wrote last.
    lost: u64,
    /// When it wrote last, in seconds since 1970.
    written: u32,
    synced: u32,
    /// The next write is of the whole: the file does not end with what was written last.
    anew: bool,
    /// Size of the file at which it is written anew.
    full: u64,
    failures: u64,
}

impl Writer {
    /// What time it is for what is written.
    fn now(&self, clock: u32) -> u32 {
        if is_behind(clock, self.written) { clock } else { clock.max(self.written) }
    }

    /// The hour of a moment: a new one, unless there is a file of it, since the clock went back. From when on there is nothing before it.
    fn take_up(&self, now: u32) -> (Hour, u32) {
        let new = || Hour::new(now / HOUR, now, Budget::default());
        let files = match self.hours.list() {
            Ok(files) => files,
            Err(error) => {
                super::complain(&told("read", &error));
                return (new(), now);
            }
        };
        let last = files.iter().rev().find(|file| file.hour <= now / HOUR);
        let known = last.and_then(|file| read(file).ok().flatten());
        let alive = known.as_ref().map_or(now, |(_, beat)| beat.alive.min(now));
        let same = known.map(|(hour, _)| hour).filter(|hour| hour.number() == now / HOUR);
        (same.unwrap_or_else(new), alive)
    }

    /// The hour that follows when it is time, and until when the one before was written.
    fn next(&self, number: u32, now: u32) -> Option<(Hour, u32)> {
        let is_back = now < self.written;
        if now / HOUR == number || now / HOUR < number && !is_back {
            return None;
        }
        let is_forward = is_behind(self.written, now);
        let (mut hour, before) = self.take_up(now);
        if is_back || is_forward {
            let from = if is_back { before } else { self.written };
            hour.miss(Gap { from, to: now, kind: GapKind::Clock, events: None });
        }
        Some((hour, if is_back || is_forward { self.written } else { now }))
    }

    /// Opens the store and puts the hour that goes on into the flows. Without it the agent works, and `replay` knows nothing: so it
    /// is told, and not fatal.
    pub(crate) fn open(shared: &Shared, store: &Store, origin: Origin) -> Option<Self> {
        let lost = shared.meters.lost().unwrap_or_default();
        match Self::begin(shared, store, origin, lost) {
            Ok(this) => Some(this),
            Err(error) => {
                super::complain(&error);
                None
            }
        }
    }

    fn begin(shared: &Shared, store: &Store, origin: Origin, lost: u64) -> Result<Self, Error> {
        let options = &shared.options;
        let folder = options.state_dir.join(FOLDER);
        let is_new = !folder.exists();
        let keep = Keep { bytes: options.flow_bytes, hours: options.flow_days.saturating_mul(24) };
        let hours = Hours::open(&folder, keep).map_err(|error| told("open", &error))?;
        let now = seconds(Timestamp::now());
        let mut this = Self {
            hours,
            lost,
            written: now,
            synced: now,
            anew: true,
            full: LOG_BYTES,
            failures: 0,
        };
        if is_new {
            this.take_over(store)?;
        }
        let mut hour = this.go_on(now, origin)?;
        this.flush(&mut hour, now, false)?;
        shared.flows().hour = Some(hour);
        this.note(shared);
        Ok(this)
    }

    /// The hour to go on with: the one that was begun, or a new one; with the gap since then, if there is one.
    fn go_on(&mut self, now: u32, origin: Origin) -> Result<Hour, Error> {
        let files = self.hours.list().map_err(|error| told("read", &error))?;
        // Those of a clock that was ahead are no beginning.
        let (files, ahead): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| !is_behind(now, file.hour.saturating_mul(HOUR)));
        let mut is_back = false;
        for file in ahead.iter().filter(|file| !file.sealed) {
            is_back = true;
            if let Some((hour, beat)) = read(file).map_err(|error| told("read", &error))? {
                let frames = hour.whole(beat.alive, beat.lost, beat.clean);
                let sealed = self.hours.seal(hour.number(), &frames);
                sealed.map_err(|error| told("write", &error))?;
            }
        }
        let gap = if is_back { GapKind::Clock } else { GapKind::Down };
        let Some(last) = files.last() else {
            let mut hour = Hour::new(now / HOUR, now, Budget::default());
            if is_back {
                hour.miss(Gap { from: now, to: now, kind: gap, events: None });
            }
            return Ok(hour);
        };
        let before = read(last).map_err(|error| told("read", &error))?;
        let beat = before.as_ref().map(|(_, beat)| *beat);
        // The kernel kept what happened meanwhile, or counted what it could not keep.
        let kept = beat.filter(|beat| beat.clean && origin != Origin::Fresh && !is_back);
        let missing = kept.map(|beat| self.lost.saturating_sub(beat.lost));
        let from = beat.filter(|_| missing == Some(0)).map_or(now, |beat| beat.alive.min(now));
        let mut hour = match before {
            Some((hour, _)) if hour.number() >= now / HOUR && !last.sealed => hour,
            Some((hour, beat)) if !last.sealed => {
                let frames = hour.whole(beat.alive, beat.lost, beat.clean);
                let sealed = self.hours.seal(hour.number(), &frames);
                sealed.map_err(|error| told("write", &error))?;
                Hour::new(now / HOUR, from, Budget::default())
            }
            // A clock that went back begins a new hour after the last.
            _ => Hour::new((now / HOUR).max(last.hour + 1), from, Budget::default()),
        };
        if let Some(beat) = beat.filter(|_| missing != Some(0)) {
            hour.miss(Gap { from: beat.alive.min(now), to: now, kind: gap, events: missing });
        }
        Ok(hour)
    }

    /// Takes the records of an earlier version over, which had no flow store.
    fn take_over(&mut self, store: &Store) -> Result<(), Error> {
        let records = store.history(EARLIER)?;
        let last = records.last().map_or(0, |record| seconds(record.at));
        let mut hour: Option<Hour> = None;
        for record in &records {
            let at = seconds(record.at);
            if hour.as_ref().is_none_or(|hour| hour.number() < at / HOUR) {
                // Hours in which nothing happened have no file: the one before them covers them, unless a clock was wrong.
                let begin = at / HOUR * HOUR;
                let over = hour.as_ref().map(|hour| (hour.number() + 1).saturating_mul(HOUR));
                let is_near = over.is_some_and(|over| begin - over.min(begin) <= 24 * 365 * HOUR);
                let from = if is_near { begin } else { at };
                let next = Hour::new(at / HOUR, from, Budget::default());
                if let (Some(before), Some(over)) = (hour.replace(next), over) {
                    self.seal(&before, if is_near { from } else { over })?;
                }
            }
            if let Some(hour) = &mut hour {
                hour.add(record);
            }
        }
        match hour {
            Some(hour) => self.seal(&hour, last),
            None => Ok(()),
        }
    }

    fn seal(&mut self, hour: &Hour, alive: u32) -> Result<(), Error> {
        let sealed = self.hours.seal(hour.number(), &hour.whole(alive, self.lost, false));
        sealed.map_err(|error| told("write", &error))
    }

    /// Writes what was counted since it was asked last. `clean` when nobody counts any more.
    pub(crate) fn write(&mut self, shared: &Shared, clean: bool) {
        // Who reads sees an hour in memory or on the disk, not in between.
        let turn = shared.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now(seconds(Timestamp::now()));
        if let Some((over, alive)) = self.turn(shared, now) {
            self.close(shared, &over, alive, now);
        }
        let mut flows = shared.flows();
        let Some(hour) = &mut flows.hour else { return };
        let (frames, number) = (self.frames(hour, now, clean), hour.number());
        drop(flows);
        let done = self.put(number, &frames, now);
        self.tell(done, now);
        drop(turn);
        self.note(shared);
    }

    /// Writes an hour that is over as a whole.
    fn close(&mut self, shared: &Shared, over: &Hour, alive: u32, now: u32) {
        self.anew = true;
        self.synced = self.synced.min(now);
        if let Err(error) = self.seal(over, alive) {
            let from = self.written.min(now);
            let gap = Gap { from, to: now, kind: GapKind::Unwritten, events: None };
            if let Some(hour) = &mut shared.flows().hour {
                hour.miss(gap);
            }
            self.tell(Err(error), now);
        }
        // A clock that just jumped says nothing about age.
        if alive != now {
            return;
        }
        if let Err(error) = self.hours.retain(now / HOUR) {
            super::complain(&told("shorten", &error));
        }
    }

    /// Begins the next hour when it is time; the one that is over, and until when it was written.
    fn turn(&mut self, shared: &Shared, now: u32) -> Option<(Hour, u32)> {
        let number = shared.flows().hour.as_ref()?.number();
        let next = self.next(number, now);
        let lost = shared.meters.lost().unwrap_or(self.lost);
        let mut flows = shared.flows();
        let flows = &mut *flows;
        let hour = flows.hour.as_mut()?;
        if let Some(events) = lost.checked_sub(self.lost).filter(|events| *events > 0) {
            let to = next.as_ref().map_or(now, |(_, alive)| *alive);
            let from = self.written.min(to);
            hour.miss(Gap { from, to, kind: GapKind::Lost, events: Some(events) });
        }
        self.lost = lost;
        let (next, alive) = next?;
        flows.kept.folded += hour.folded();
        flows.kept.missing += missing(hour);
        Some((flows.hour.replace(next)?, alive))
    }

    fn frames(&self, hour: &mut Hour, now: u32, clean: bool) -> Vec<Vec<u8>> {
        if self.anew {
            hour.forget_written();
        }
        hour.changes(now, self.lost, clean)
    }

    fn flush(&mut self, hour: &mut Hour, now: u32, clean: bool) -> Result<(), Error> {
        let frames = self.frames(hour, now, clean);
        let done = self.put(hour.number(), &frames, now);
        self.anew = done.is_err();
        done
    }

    fn put(&mut self, hour: u32, frames: &[Vec<u8>], now: u32) -> Result<(), Error> {
        let done = if self.anew {
            self.hours.restart(hour, frames).inspect(|bytes| self.full = LOG_BYTES.max(4 * bytes))
        } else {
            self.hours.append(hour, frames)
        };
        let bytes = done.map_err(|error| told("write", &error))?;
        self.anew = bytes > self.full;
        if now >= self.synced.saturating_add(SYNC) {
            self.synced = now;
            self.hours.sync().map_err(|error| told("write", &error))?;
        }
        Ok(())
    }

    fn tell(&mut self, done: Result<(), Error>, now: u32) {
        match done {
            Ok(()) => {
                self.written = now;
                self.failures = 0;
            }
            Err(error) => {
                self.anew = true;
                self.failures += 1;
                // Once a minute is enough.
                if self.failures % 20 == 1 {
                    super::complain(&error);
                }
            }
        }
    }

    /// Writes through to the disk.
    pub(crate) fn sync(&self) {
        if let Err(error) = self.hours.sync() {
            super::complain(&told("write", &error));
        }
    }

    /// Notes for the metrics how much there is.
    fn note(&self, shared: &Shared) {
        let Ok(files) = self.hours.list() else { return };
        let mut flows = shared.flows();
        flows.kept = Kept {
            bytes: files.iter().map(|file| file.bytes).sum(),
            hours: files.len() as u64,
            failing: self.failures > 0,
            ..flows.kept
        };
    }
}

/// Whether one moment is more than an hour before another.
fn is_behind(one: u32, other: u32) -> bool {
    one.saturating_add(HOUR) < other
}

/// Events of an hour that are missing, as far as they were counted.
pub(crate) fn missing(hour: &Hour) -> u64 {
    hour.gaps().iter().filter_map(|gap| gap.events).sum()
}

/// What a file has of its hour.
fn read(file: &HourFile) -> Result<Option<(Hour, Beat)>, store::Error> {
    let mut frames = file.frames()?;
    let mut all: Vec<Vec<u8>> = Vec::new();
    while let Some(frame) = frames.next_frame() {
        all.push(frame.to_vec());
    }
    Ok(Hour::read(all.iter().map(Vec::as_slice), Budget::default()))
}

/// A failure of the store in one clause.
pub(crate) fn told(what: &str, error: &store::Error) -> Error {
    failed(codes::STATE, format!("{what} the flow store"), error)
}

#[cfg(test)]
mod tests;
