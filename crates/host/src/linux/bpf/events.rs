//! Reports of the programs, read from the ring buffer.

#![expect(unsafe_code, reason = "a record is read as the plain structure that it is")]

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use aya::maps::{Map, MapData, RingBuf};
use verdict::abi::Event;

use super::Error;

/// The reader of the ring buffer. One at a time: two would share the records between them.
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    pub(super) fn open(maps: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Reports(Box::new(source));
        let data = MapData::from_pin(maps.join("EVENTS")).map_err(failed)?;
        let map = Map::from_map_data(data).map_err(failed)?;
        Ok(Self { ring: RingBuf::try_from(map).map_err(failed)? })
    }

    /// Moves up to `limit` reports to the end of `into`, oldest first; says how many.
    ///
    /// Poll it every 20 ms or so: the programs wake nobody before a quarter of the buffer is full,
    /// and then [`Events::as_fd`] becomes readable. What found no room is counted by
    /// [`super::Meters::lost`].
    pub fn drain(&mut self, into: &mut Vec<Event>, limit: usize) -> usize {
        let before = into.len();
        while into.len() - before < limit {
            let Some(record) = self.ring.next() else { break };
            into.extend(decode(&record));
        }
        into.len() - before
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// A record's event; none when the record is too short to be ours.
fn decode(record: &[u8]) -> Option<Event> {
    let enough = record.len() >= size_of::<Event>();
    // SAFETY: as many bytes as an event has, which is plain memory (see `sys::Plain`).
    enough.then(|| unsafe { record.as_ptr().cast::<Event>().read_unaligned() })
}
