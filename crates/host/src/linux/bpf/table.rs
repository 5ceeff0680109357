//! Hash tables and tries of the kernel, read and written in batches where it can.
//!
//! **Failure.** Kernels or map types without batch calls are served element by element.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use verdict::abi::{Row, RowKey};

use super::Error;
use super::sys::{self, MapShape, Plain};

/// Elements exchanged in one call.
const BATCH: usize = 16_384;

/// An open map with keys `K` and values `V`.
pub(super) struct Table<K, V> {
    fd: OwnedFd,
    name: &'static str,
    capacity: usize,
    types: PhantomData<fn(K, V)>,
}

/// Where a walk in pieces stands.
#[derive(Default)]
pub(super) enum Walk<K> {
    #[default]
    Start,
    Batched(Box<sys::Cursor>),
    Single(K),
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// Opens the pinned map `name` in `folder` and checks its shape.
    pub(super) fn open(folder: &Path, name: &'static str) -> Result<Self, Error> {
        let (fd, capacity) = open(folder, name, size_of::<K>(), size_of::<V>())?;
        Ok(Self { fd, name, capacity, types: PhantomData })
    }

    /// How many elements it holds at most.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn get(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = V::default();
        let found = sys::lookup(self.fd.as_fd(), key, &raw mut value);
        Ok(found.map_err(|source| self.unread(source))?.then_some(value))
    }

    /// Writes one value, whether it is there or not.
    pub(super) fn insert(&self, key: &K, value: &V) -> Result<(), Error> {
        sys::update(self.fd.as_fd(), key, value, 0).map_err(|source| self.unwritten(source))
    }

    /// Writes one value unless there is one; tells whether it was written.
    pub(super) fn insert_new(&self, key: &K, value: &V) -> Result<bool, Error> {
        match sys::update(self.fd.as_fd(), key, value, 1) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(source) => Err(self.unwritten(source)),
        }
    }

    /// Removes one value and returns it, in one step where the kernel can.
    pub(super) fn take(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = V::default();
        match sys::take(self.fd.as_fd(), key, &mut value) {
            Ok(found) => Ok(found.then_some(value)),
            Err(error) if is_unsupported(&error) => {
                let value = self.get(key)?;
                let gone = sys::delete(self.fd.as_fd(), key);
                Ok(value.filter(|_| gone.unwrap_or(false)))
            }
            Err(source) => Err(self.unwritten(source)),
        }
    }

    /// Writes many values.
    pub(super) fn insert_all(&self, keys: &[K], values: &[V]) -> Result<(), Error> {
        for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
            match sys::update_batch(self.fd.as_fd(), keys, values) {
                Ok(()) => {}
                Err(error) if is_unsupported(&error) => {
                    for (key, value) in keys.iter().zip(values) {
                        self.insert(key, value)?;
                    }
                }
                Err(source) => return Err(self.unwritten(source)),
            }
        }
        Ok(())
    }

    /// Removes many values; those that are not there do not matter.
    pub(super) fn remove_all(&self, keys: &[K]) -> Result<(), Error> {
        for keys in keys.chunks(BATCH) {
            if sys::delete_batch(self.fd.as_fd(), keys).is_err() {
                for key in keys {
                    sys::delete(self.fd.as_fd(), key).map_err(|source| self.unwritten(source))?;
                }
            }
        }
        Ok(())
    }

    /// Hands every element to `each`.
    pub(super) fn each(&self, mut each: impl FnMut(K, V)) -> Result<(), Error> {
        let mut walk = Walk::Start;
        while !self.step(&mut walk, BATCH, &mut each)? {}
        Ok(())
    }

    /// As [`Table::each`], but gives up between two batches once `stop` says so; whether the end was reached.
    pub(super) fn each_unless(
        &self,
        stop: &dyn Fn() -> bool,
        mut each: impl FnMut(K, V),
    ) -> Result<bool, Error> {
        let mut walk = Walk::Start;
        while !stop() {
            if self.step(&mut walk, BATCH, &mut each)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Hands about `count` elements to `each`; `true` at the end, when `walk` is at the start again.
    /// Elements that come or go meanwhile may be missed or seen twice.
    pub(super) fn step(
        &self,
        walk: &mut Walk<K>,
        count: usize,
        mut each: impl FnMut(K, V),
    ) -> Result<bool, Error> {
        let from = match walk {
            Walk::Start => None,
            Walk::Batched(cursor) => Some(**cursor),
            Walk::Single(_) => return self.step_singly(walk, count, each),
        };
        let mut room = count.min(self.capacity).max(64);
        loop {
            let (mut keys, mut values) = (vec![K::default(); room], vec![V::default(); room]);
            match sys::lookup_batch(self.fd.as_fd(), from.as_ref(), &mut keys, &mut values) {
                Ok((found, next)) => {
                    keys.into_iter()
                        .zip(values)
                        .take(found)
                        .for_each(|(key, value)| each(key, value));
                    *walk = next.map_or(Walk::Start, |next| Walk::Batched(Box::new(next)));
                    return Ok(matches!(walk, Walk::Start));
                }
                // One bucket holds more than there is room for.
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOSPC) && room < self.capacity =>
                {
                    room *= 2;
                }
                Err(error) if is_unsupported(&error) => return self.step_singly(walk, count, each),
                Err(source) => return Err(self.unread(source)),
            }
        }
    }

    fn step_singly(
        &self,
        walk: &mut Walk<K>,
        count: usize,
        mut each: impl FnMut(K, V),
    ) -> Result<bool, Error> {
        for _ in 0..count {
            let previous = if let Walk::Single(key) = walk { Some(&*key) } else { None };
            let next = sys::next_key(self.fd.as_fd(), previous);
            let Some(key) = next.map_err(|source| self.unread(source))? else {
                *walk = Walk::Start;
                return Ok(true);
            };
            if let Some(value) = self.get(&key)? {
                each(key, value);
            }
            *walk = Walk::Single(key);
        }
        Ok(false)
    }

    fn unread(&self, source: io::Error) -> Error {
        Error::Read { name: self.name, source }
    }

    fn unwritten(&self, source: io::Error) -> Error {
        Error::Write { name: self.name, source }
    }
}

/// Whether the kernel does not know a call for this type of map.
fn is_unsupported(error: &io::Error) -> bool {
    /// `ENOTSUPP`, which has no name in user space.
    const NOT_SUPPORTED: i32 = 524;
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS | NOT_SUPPORTED)
    )
}

/// Opens a pinned map and holds its sizes against what is expected; returns its capacity too.
pub(super) fn open(
    folder: &Path,
    name: &'static str,
    key: usize,
    value: usize,
) -> Result<(OwnedFd, usize), Error> {
    let failed = |source| Error::Open { name: format!("map {name}"), source };
    let fd = sys::open(&folder.join(name)).map_err(failed)?;
    let shape = sys::map_shape(fd.as_fd()).map_err(failed)?;
    let found = (shape.key_bytes as usize, shape.value_bytes as usize);
    if found != (key, value) {
        let difference = format!(
            "keys of {} and values of {} bytes instead of {key} and {value}",
            found.0, found.1
        );
        return Err(Error::ForeignMap { name, difference });
    }
    Ok((fd, shape.entries as usize))
}

/// A per-CPU array, read as one value per CPU.
pub(super) struct PerCpu<V> {
    fd: OwnedFd,
    name: &'static str,
    cpus: usize,
    types: PhantomData<fn(V)>,
}

impl<V: Plain> PerCpu<V> {
    pub(super) fn open(folder: &Path, name: &'static str, cpus: usize) -> Result<Self, Error> {
        let (fd, _) = open(folder, name, 4, size_of::<V>())?;
        Ok(Self { fd, name, cpus, types: PhantomData })
    }

    /// The values of all CPUs.
    pub(super) fn get(&self, index: u32) -> Result<Vec<V>, Error> {
        let mut values = vec![V::default(); self.cpus];
        let buffer: *mut [V] = values.as_mut_slice();
        sys::lookup(self.fd.as_fd(), &index, buffer)
            .map_err(|source| Error::Read { name: self.name, source })?;
        Ok(values)
    }
}

impl<K, V> AsFd for Table<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// For measurements: how long the kernel takes to put as many rows into a new map in one go.
///
/// # Errors
///
/// What the kernel refuses.
pub fn batch_write(entries: u32) -> Result<Duration, Error> {
    /// `BPF_MAP_TYPE_HASH`.
    const HASH: u32 = 1;
    let name = "rows";
    let unwritten = |source| Error::Write { name, source };
    let fd = sys::create_map(&MapShape {
        kind: HASH,
        key_bytes: u32::try_from(size_of::<RowKey>()).unwrap_or(0),
        value_bytes: u32::try_from(size_of::<Row>()).unwrap_or(0),
        entries: entries.max(1),
        ..MapShape::default()
    })
    .map_err(unwritten)?;
    let table = Table::<RowKey, Row> { fd, name, capacity: entries as usize, types: PhantomData };
    let keys: Vec<RowKey> =
        (0..entries).map(|at| RowKey { slot: u64::from(at) + 1, class: 1 }).collect();
    let values = vec![Row::default(); keys.len()];
    let start = Instant::now();
    table.insert_all(&keys, &values)?;
    Ok(start.elapsed())
}
