//! Arrays of the kernel that are mapped into our memory: a store reaches the next packet without a
//! system call.
//!
//! **Order.** Values are stored word by word; the words of one value may be seen apart. Only the one
//! store of the epoch makes a change visible as a whole, and it comes after all others.

#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::Error;
use super::sys::Plain;
use super::table;

/// A mapped array of values `V`, whose size is a multiple of 8 bytes.
pub(super) struct Shared<V> {
    _fd: OwnedFd,
    memory: NonNull<AtomicU64>,
    bytes: usize,
    entries: usize,
    types: PhantomData<fn(V)>,
}

// SAFETY: the memory is only accessed through atomics and stays mapped while the value lives.
unsafe impl<V> Send for Shared<V> {}
// SAFETY: as above.
unsafe impl<V> Sync for Shared<V> {}

impl<V: Plain> Shared<V> {
    const WORDS: usize = {
        assert!(size_of::<V>().is_multiple_of(8), "the kernel rounds values up to 8 bytes");
        size_of::<V>() / 8
    };

    /// Opens and maps the pinned array `name` in `folder`.
    pub(super) fn open(folder: &Path, name: &'static str) -> Result<Self, Error> {
        let (fd, entries) = table::open(folder, name, 4, size_of::<V>())?;
        let bytes = (entries * size_of::<V>()).next_multiple_of(rustix::param::page_size());
        // SAFETY: a new mapping at an address that the kernel chooses.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd()),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(Error::Share { name, source: io::Error::last_os_error() });
        }
        let Some(memory) = NonNull::new(memory.cast()) else {
            return Err(Error::Share { name, source: io::ErrorKind::InvalidData.into() });
        };
        Ok(Self { _fd: fd, memory, bytes, entries, types: PhantomData })
    }

    /// How many values it holds.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// One 64-bit word of a value; `None` behind the end.
    pub(super) fn word(&self, index: u32, word: usize) -> Option<&AtomicU64> {
        let inside = (index as usize) < self.entries && word < Self::WORDS;
        // SAFETY: inside of the mapping, aligned to 8 bytes, and only accessed atomically by us.
        inside.then(|| unsafe { self.memory.add(index as usize * Self::WORDS + word).as_ref() })
    }

    /// Reads a value; the default behind the end.
    pub(super) fn get(&self, index: u32) -> V {
        let mut value = V::default();
        let words = (&raw mut value).cast::<u64>();
        for word in 0..Self::WORDS {
            let Some(source) = self.word(index, word) else { break };
            // SAFETY: `V` is that many words of plain memory; its alignment may be lower.
            unsafe { words.add(word).write_unaligned(source.load(Ordering::Relaxed)) };
        }
        fence(Ordering::Acquire);
        value
    }

    /// Stores those words of a value that differ; `false` behind the end.
    pub(super) fn set(&self, index: u32, value: &V) -> bool {
        fence(Ordering::Release);
        let words = std::ptr::from_ref(value).cast::<u64>();
        for word in 0..Self::WORDS {
            let Some(target) = self.word(index, word) else { return false };
            // SAFETY: `V` is that many words of plain memory; its alignment may be lower.
            let new = unsafe { words.add(word).read_unaligned() };
            if target.load(Ordering::Relaxed) != new {
                target.store(new, Ordering::Relaxed);
            }
        }
        true
    }
}

impl<V> Drop for Shared<V> {
    fn drop(&mut self) {
        // SAFETY: our own mapping; no reference into it outlives `self`.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.bytes) };
    }
}
