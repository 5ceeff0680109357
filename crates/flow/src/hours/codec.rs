//! Hours as bytes: frames of a kind and a list of numbers in LEB128, rows of about 25 bytes.
//!
//! A file of an hour is a head, then actors, rules and rows in any order, each before it is used, then gaps and a beat. Rows carry their place in
//! the hour: one that comes again replaces the earlier one, so that what changed can be written behind what was.
//!
//! **Limits.** A frame holds at most [`CHUNK`] items. A reader trusts nothing: numbers beyond what is there, texts beyond
//! [`MAX_TEXT`] and frames that end early are [`Broken`].

use std::net::IpAddr;
use std::sync::Arc;

use model::{RuleId, RuleKind, RuleRef};

use super::{Actor, Beat, Gap, GapKind, Row};
use crate::Decision;

/// Items of one frame.
pub const CHUNK: usize = 4_096;
/// Longest text, in bytes.
pub const MAX_TEXT: usize = 4_096;
/// Actors and rules of one hour that are read.
const MAX_NAMES: usize = 1 << 20;
/// The layout that this version writes.
const LAYOUT: u64 = 1;

const HEAD: u8 = 1;
const ACTORS: u8 = 2;
const RULES: u8 = 3;
const ROWS: u8 = 4;
const GAPS: u8 = 5;
const BEAT: u8 = 6;

/// A frame that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// What a frame says. Actors and rules stay with the [`Reader`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The beginning: which hour, and since when it is recorded, in seconds since 1970.
    Head {
        /// Hours since 1970.
        hour: u32,
        /// Seconds since 1970.
        from: u32,
    },
    /// Actors or rules; the reader has them now.
    Names,
    /// Rows and their places.
    Rows(Vec<(u32, Row)>),
    /// Every gap of the hour.
    Gaps(Vec<Gap>),
    /// Everything until then is written.
    Beat(Beat),
}

/// Reads the frames of one hour.
#[derive(Debug, Default)]
pub struct Reader {
    base: u32,
    actors: Vec<Actor>,
    rules: Vec<RuleRef>,
}

impl Reader {
    /// Actors by the numbers that rows have.
    #[must_use]
    pub fn actors(&self) -> &[Actor] {
        &self.actors
    }

    /// Rules; the first has the number 1 in rows.
    #[must_use]
    pub fn rules(&self) -> &[RuleRef] {
        &self.rules
    }

    /// Reads the next frame.
    ///
    /// # Errors
    /// When it is none of this version, or cut short.
    pub fn frame(&mut self, bytes: &[u8]) -> Result<Frame, Broken> {
        let (kind, rest) = bytes.split_first().ok_or(Broken)?;
        let mut input = Input(rest);
        match *kind {
            HEAD => {
                if input.number()? != LAYOUT {
                    return Err(Broken);
                }
                let (hour, from): (u32, u32) = (input.narrow()?, input.narrow()?);
                self.base = hour.checked_mul(super::HOUR).ok_or(Broken)?;
                Ok(Frame::Head { hour, from })
            }
            ACTORS => {
                for _ in 0..input.count()? {
                    let actor = input.actor()?;
                    push(&mut self.actors, actor)?;
                }
                Ok(Frame::Names)
            }
            RULES => {
                for _ in 0..input.count()? {
                    let rule = input.rule()?;
                    push(&mut self.rules, rule)?;
                }
                Ok(Frame::Names)
            }
            ROWS => {
                let mut rows = Vec::new();
                self.rows(bytes, |at, row| rows.push((at, *row)))?;
                Ok(Frame::Rows(rows))
            }
            GAPS => {
                (0..input.count()?).map(|_| input.gap()).collect::<Result<_, _>>().map(Frame::Gaps)
            }
            BEAT => Ok(Frame::Beat(Beat {
                alive: input.narrow()?,
                lost: input.number()?,
                folded: input.number()?,
                clean: input.number()? != 0,
            })),
            _ => Err(Broken),
        }
    }

    /// Whether a frame has actors or rules.
    #[must_use]
    pub fn has_names(bytes: &[u8]) -> bool {
        matches!(bytes.first(), Some(&(ACTORS | RULES)))
    }

    /// Whether a frame has rows: [`Reader::rows`] then hands them out without a list of them.
    #[must_use]
    pub fn has_rows(bytes: &[u8]) -> bool {
        bytes.first() == Some(&ROWS)
    }

    /// Hands out the rows of a frame of rows.
    ///
    /// # Errors
    /// As [`Reader::frame`]; rows before the mistake were handed out.
    pub fn rows(&self, bytes: &[u8], mut each: impl FnMut(u32, &Row)) -> Result<(), Broken> {
        let (_, rest) = bytes.split_first().ok_or(Broken)?;
        let mut input = Input(rest);
        let (ends, rules) = (self.actors.len(), self.rules.len());
        let mut place = 0_u32;
        for _ in 0..input.count()? {
            place = place.wrapping_add(input.narrow()?);
            let row = input.row(self.base)?;
            let known = |end: u32| (end as usize) < ends;
            if !known(row.source) || !known(row.target) || row.rule as usize > rules {
                return Err(Broken);
            }
            each(place, &row);
        }
        Ok(())
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), Broken> {
    if list.len() >= MAX_NAMES {
        return Err(Broken);
    }
    list.push(item);
    Ok(())
}

/// The beginning of an hour.
pub(super) fn head(hour: u32, from: u32) -> Vec<u8> {
    let mut out = Output(vec![HEAD]);
    out.number(LAYOUT).number(hour.into()).number(from.into());
    out.0
}

/// The end of what is written.
pub(super) fn beat(beat: Beat) -> Vec<u8> {
    let mut out = Output(vec![BEAT]);
    out.number(beat.alive.into()).number(beat.lost).number(beat.folded);
    out.number(beat.clean.into());
    out.0
}

/// Every gap of an hour.
pub(super) fn gaps(all: &[Gap]) -> Vec<u8> {
    let all = all.get(..CHUNK).unwrap_or(all);
    let mut out = Output(vec![GAPS]);
    out.number(all.len() as u64);
    for gap in all {
        let kind = GapKind::ALL.iter().position(|kind| *kind == gap.kind).unwrap_or_default();
        out.number(gap.from.into()).number(gap.to.into()).number(kind as u64);
        out.number(gap.events.map_or(0, |events| events.saturating_add(1)));
    }
    out.0
}

/// Actors in the order of their numbers.
pub(super) fn actors(all: &[Actor]) -> impl Iterator<Item = Vec<u8>> {
    all.chunks(CHUNK).map(|chunk| {
        let mut out = Output(vec![ACTORS]);
        out.number(chunk.len() as u64);
        for actor in chunk {
            out.text(Some(&actor.network)).address(actor.address);
            out.text(actor.workload.as_deref())
                .number(actor.identity)
                .text(actor.labels.as_deref());
        }
        out.0
    })
}

/// Rules in the order of their numbers.
pub(super) fn rules(all: &[RuleRef]) -> impl Iterator<Item = Vec<u8>> {
    all.chunks(CHUNK).map(|chunk| {
        let mut out = Output(vec![RULES]);
        out.number(chunk.len() as u64);
        for rule in chunk {
            let kind = match rule.kind {
                RuleKind::Allow => 0,
                RuleKind::Deny => 1,
                RuleKind::Audit => 2,
            };
            out.number(rule.id.0.into()).number(kind);
            out.text(Some(&rule.path)).text(Some(&rule.file));
            out.number(rule.line.into()).number(rule.column.into());
        }
        out.0
    })
}

/// Rows with their places; `base` is the hour's beginning in seconds since 1970.
pub(super) fn rows<'r>(all: impl Iterator<Item = (u32, &'r Row)>, base: u32) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let all: Vec<(u32, &Row)> = all.collect();
    for chunk in all.chunks(CHUNK) {
        let mut frame = Output(Vec::with_capacity(32 * chunk.len()));
        frame.0.push(ROWS);
        frame.number(chunk.len() as u64);
        let mut before = 0;
        for (place, row) in chunk {
            frame.number(place.wrapping_sub(before).into()).row(row, base);
            before = *place;
        }
        out.push(frame.0);
    }
    out
}

/// Bytes on their way out.
struct Output(Vec<u8>);

impl Output {
    fn number(&mut self, mut number: u64) -> &mut Self {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
        self
    }

    /// Length plus one, then the bytes; 0 for none. What is too long is cut.
    fn text(&mut self, text: Option<&str>) -> &mut Self {
        let Some(text) = text else { return self.number(0) };
        let end = (0..=text.len().min(MAX_TEXT)).rev().find(|at| text.is_char_boundary(*at));
        let text = text.get(..end.unwrap_or_default()).unwrap_or_default();
        self.number(text.len() as u64 + 1);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn address(&mut self, address: Option<IpAddr>) -> &mut Self {
        match address {
            None => self.0.push(0),
            Some(IpAddr::V4(address)) => {
                self.0.push(4);
                self.0.extend(address.octets());
            }
            Some(IpAddr::V6(address)) => {
                self.0.push(6);
                self.0.extend(address.octets());
            }
        }
        self
    }

    fn row(&mut self, row: &Row, base: u32) {
        let decision = match row.decision {
            Decision::Allow => 0,
            Decision::Drop => 1,
            Decision::Audit => 2,
        };
        self.0.push(decision | u8::from(row.ingress) << 2 | row.folded << 3);
        self.0.extend([row.protocol, row.reason]);
        for number in [row.source, row.target, row.rule, row.port.into()] {
            self.number(number.into());
        }
        let (low, high) = row.source_ports;
        self.number(low.into()).number((high - low.min(high)).into());
        self.number(zigzag(i64::from(row.first) - i64::from(base)));
        self.number(row.last.saturating_sub(row.first).into());
        for number in [row.opened, row.closed] {
            self.number(number);
        }
        if row.closed > 0 {
            for number in row.there.into_iter().chain(row.back) {
                self.number(number);
            }
        }
    }
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// Bytes on their way in.
struct Input<'b>(&'b [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Result<u8, Broken> {
        let (byte, rest) = self.0.split_first().ok_or(Broken)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, Broken> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Broken)
    }

    fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, Broken> {
        T::try_from(self.number()?).map_err(|_| Broken)
    }

    fn count(&mut self) -> Result<usize, Broken> {
        self.narrow().ok().filter(|count| *count <= CHUNK).ok_or(Broken)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Broken)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn text(&mut self) -> Result<Option<Arc<str>>, Broken> {
        let length: usize = self.narrow()?;
        let Some(length) = length.checked_sub(1) else { return Ok(None) };
        if length > MAX_TEXT {
            return Err(Broken);
        }
        let (text, rest) = self.0.split_at_checked(length).ok_or(Broken)?;
        self.0 = rest;
        Ok(Some(std::str::from_utf8(text).map_err(|_| Broken)?.into()))
    }

    fn actor(&mut self) -> Result<Actor, Broken> {
        Ok(Actor {
            network: self.text()?.ok_or(Broken)?,
            address: match self.byte()? {
                0 => None,
                4 => Some(IpAddr::from(self.bytes::<4>()?)),
                6 => Some(IpAddr::from(self.bytes::<16>()?)),
                _ => return Err(Broken),
            },
            workload: self.text()?,
            identity: self.number()?,
            labels: self.text()?,
        })
    }

    fn rule(&mut self) -> Result<RuleRef, Broken> {
        let id = RuleId(self.narrow()?);
        let kind = match self.number()? {
            0 => RuleKind::Allow,
            1 => RuleKind::Deny,
            2 => RuleKind::Audit,
            _ => return Err(Broken),
        };
        let (path, file) = (self.text()?.ok_or(Broken)?, self.text()?.ok_or(Broken)?);
        Ok(RuleRef { id, path, file, line: self.narrow()?, column: self.narrow()?, kind })
    }

    fn gap(&mut self) -> Result<Gap, Broken> {
        let (from, to) = (self.narrow()?, self.narrow()?);
        let kind: usize = self.narrow()?;
        let kind = *GapKind::ALL.get(kind).ok_or(Broken)?;
        Ok(Gap { from, to, kind, events: self.number()?.checked_sub(1) })
    }

    fn row(&mut self, base: u32) -> Result<Row, Broken> {
        let [flags, protocol, reason] = self.bytes()?;
        let decision = match flags & 3 {
            0 => Decision::Allow,
            1 => Decision::Drop,
            2 => Decision::Audit,
            _ => return Err(Broken),
        };
        let (source, target, rule) = (self.narrow()?, self.narrow()?, self.narrow()?);
        let port = self.narrow()?;
        let (low, more): (u16, u16) = (self.narrow()?, self.narrow()?);
        let first = self.number()?;
        let first = (first >> 1).cast_signed() ^ -(first & 1).cast_signed();
        let first = i64::from(base).checked_add(first).and_then(|at| u32::try_from(at).ok());
        let first = first.ok_or(Broken)?;
        let last = first.checked_add(self.narrow()?).ok_or(Broken)?;
        let (opened, closed) = (self.number()?, self.number()?);
        let (mut there, mut back) = ([0; 2], [0; 2]);
        if closed > 0 {
            there = [self.number()?, self.number()?];
            back = [self.number()?, self.number()?];
        }
        Ok(Row {
            source,
            target,
            rule,
            port,
            source_ports: (low, low.checked_add(more).ok_or(Broken)?),
            protocol,
            decision,
            reason,
            ingress: flags & 4 != 0,
            folded: flags >> 3,
            first,
            last,
            opened,
            closed,
            there,
            back,
            dirty: false,
        })
    }
}
