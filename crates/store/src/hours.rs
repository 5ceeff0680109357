//! The flow store's files: one for each hour, of frames with checksums, in a folder of their own.
//!
//! An hour that is over is `<hour>.rows`, written under another name, synced, and renamed: it is whole or not there. The hour that goes on is
//! `<hour>.log`, written at its end every few seconds. What the frames say is their writer's business.
//!
//! **Why not in `redb`.** Rows are written once, read as a whole and in their order, and forgotten by the hour: a file for each
//! does that at the speed of the disk, and deleting one gives its room back at once. See ADR 0017.
//!
//! **Failure.** A frame that is cut short or has a wrong checksum ends its file: what came before it is read. Nothing here is fatal to who writes.
//!
//! **Limits.** [`Keep`]: the oldest hours go first, before room is needed, so that the folder is never larger.
//!
//! **Clocks.** A clock that is wrong must not delete the history: nothing is removed for its age before there are files of a whole day without
//! a pause of another. Hours later than the one that goes on were written by a clock that was ahead: where room is needed, they go first.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::Error;

/// Longest frame that is read, in bytes.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;
/// Bytes before each frame: length and CRC-32 of what follows, both little-endian.
const FRAME_HEAD: usize = 8;
/// Bytes that are read at once.
const READ: usize = 256 * 1024;
/// Hours that must have been written, without a pause as long, before others are too old.
const STEADY: u32 = 24;

/// How much is kept; whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Bytes of all files.
    pub bytes: u64,
    /// Hours that are over.
    pub hours: u32,
}

impl Default for Keep {
    /// 14 days or 1 GiB.
    fn default() -> Self {
        Self { bytes: 1 << 30, hours: 14 * 24 }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HourFile {
    /// Hours since 1970.
    pub hour: u32,
    /// Whether it is over, and whole.
    pub sealed: bool,
    /// How large it is.
    pub bytes: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// The folder, for who writes it.
#[derive(Debug)]
pub struct Hours {
    folder: PathBuf,
    keep: Keep,
    log: Option<Log>,
}

/// The file of the hour that goes on.
#[derive(Debug)]
struct Log {
    hour: u32,
    file: File,
    bytes: u64,
}

impl Hours {
    /// Opens the folder, or makes it, for its owner only. What a crash left half written is removed.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn open(folder: &Path, keep: Keep) -> Result<Self, Error> {
        let prepare = |source| Error::Prepare { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(prepare)?;
        for entry in fs::read_dir(folder).map_err(prepare)? {
            let path = entry.map_err(prepare)?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(&path).map_err(prepare)?;
            }
        }
        for file in list(folder)?.into_iter().filter(|file| !file.sealed) {
            // Cut off between the renaming of the whole and the removal of its log.
            if folder.join(name(file.hour, "rows")).exists() {
                fs::remove_file(&file.path).map_err(prepare)?;
            }
        }
        Ok(Self { folder: folder.to_owned(), keep, log: None })
    }

    /// Every file, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<HourFile>, Error> {
        list(&self.folder)
    }

    /// Writes frames to the end of the hour that goes on; how large its file is then. The first ones replace what was there.
    ///
    /// # Errors
    /// When there is no room or the disk fails; the file is then as it was before.
    pub fn append(&mut self, hour: u32, frames: &[Vec<u8>]) -> Result<u64, Error> {
        let bytes = encoded(frames);
        self.make_room(bytes.len() as u64)?;
        let log = match self.log.take().filter(|log| log.hour == hour) {
            Some(log) => log,
            None => self.begin(hour)?,
        };
        let log = self.log.insert(log);
        if let Err(source) = log.file.write_all(&bytes) {
            // The frames before stay readable, and the next ones follow them.
            let cut =
                log.file.set_len(log.bytes).and_then(|()| log.file.seek(io::SeekFrom::End(0)));
            if cut.is_err() {
                self.log = None;
            }
            return Err(writing(&self.folder, source));
        }
        log.bytes += bytes.len() as u64;
        Ok(log.bytes)
    }

    /// Writes through what was appended.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), Error> {
        let Some(log) = &self.log else { return Ok(()) };
        log.file.sync_data().map_err(|source| writing(&self.folder, source))
    }

    /// Writes an hour that is over as a whole, in place of what was written while it went on.
    ///
    /// # Errors
    /// When there is no room or the disk fails; what was there stays.
    pub fn seal(&mut self, hour: u32, frames: &[Vec<u8>]) -> Result<(), Error> {
        self.replace(hour, "rows", frames)?;
        self.log = None;
        match fs::remove_file(self.folder.join(name(hour, "log"))) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(writing(&self.folder, source))
            }
            _ => Ok(()),
        }
    }

    /// Begins the file of the hour that goes on anew, with all of it; also of one that was over, when the clock went back.
    ///
    /// # Errors
    /// When there is no room or the disk fails; what was there stays.
    pub fn restart(&mut self, hour: u32, frames: &[Vec<u8>]) -> Result<u64, Error> {
        self.replace(hour, "log", frames)?;
        let path = self.folder.join(name(hour, "log"));
        let opened = OpenOptions::new().append(true).open(&path);
        let file = opened.map_err(|source| writing(&path, source))?;
        let bytes = file.metadata().map_err(|source| writing(&path, source))?.len();
        // What it had when it was over is in it.
        if let Err(source) = fs::remove_file(self.folder.join(name(hour, "rows")))
            && source.kind() != io::ErrorKind::NotFound
        {
            return Err(writing(&self.folder, source));
        }
        self.log = Some(Log { hour, file, bytes });
        Ok(bytes)
    }

    /// Removes hours that are older than is kept; `now` is the hour that goes on. How many were removed: none as long as the clock may have
    /// jumped, which is a day after the last longer pause.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn retain(&mut self, now: u32) -> Result<u64, Error> {
        let oldest = now.saturating_sub(self.keep.hours);
        let files = self.list()?;
        let mut since = now;
        for hour in files.iter().rev().map(|file| file.hour).filter(|hour| *hour <= now) {
            if since - hour > STEADY {
                break;
            }
            since = hour;
        }
        if now - since < STEADY.min(self.keep.hours) {
            return Ok(0);
        }
        let old = files.into_iter().filter(|file| file.hour < oldest);
        old.map(|file| remove(&file).map(|()| 1)).sum()
    }

    /// Removes the oldest hours until `more` bytes fit.
    fn make_room(&self, more: u64) -> Result<(), Error> {
        let mut files = self.list()?;
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let current = self.log.as_ref().map(|log| log.hour);
        let ahead = |file: &HourFile| current.is_some_and(|current| file.hour > current);
        files.sort_by_key(|file| (!ahead(file), file.hour));
        for file in files.iter().filter(|file| Some(file.hour) != current) {
            if bytes.saturating_add(more) <= self.keep.bytes {
                return Ok(());
            }
            remove(file)?;
            bytes = bytes.saturating_sub(file.bytes);
        }
        if bytes.saturating_add(more) <= self.keep.bytes {
            return Ok(());
        }
        let source = io::Error::new(io::ErrorKind::StorageFull, "the bound of the flow store");
        Err(writing(&self.folder, source))
    }

    fn begin(&self, hour: u32) -> Result<Log, Error> {
        let path = self.folder.join(name(hour, "log"));
        let mut options = OpenOptions::new();
        let options = options.create(true).write(true).truncate(true).mode(0o600);
        let file = options.open(&path).map_err(|source| writing(&path, source))?;
        Ok(Log { hour, file, bytes: 0 })
    }

    fn replace(&self, hour: u32, extension: &str, frames: &[Vec<u8>]) -> Result<(), Error> {
        let bytes = encoded(frames);
        self.make_room(bytes.len() as u64)?;
        let (path, new) =
            (self.folder.join(name(hour, extension)), self.folder.join(name(hour, "tmp")));
        let written = (|| {
            let mut file = OpenOptions::new();
            let mut file = file.create(true).write(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        })();
        written.map_err(|source| {
            // What is half written takes room away from the next try.
            let _gone = fs::remove_file(&new);
            writing(&path, source)
        })
    }
}

/// Every file of a folder, oldest first; none when there is no folder.
///
/// # Errors
/// When it cannot be read.
pub fn list(folder: &Path) -> Result<Vec<HourFile>, Error> {
    let reading = |source| Error::Folder { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(reading)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(reading)?;
        let path = entry.path();
        let stem =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let sealed = match path.extension().and_then(|extension| extension.to_str()) {
            Some("rows") => true,
            Some("log" | "tmp") => false,
            _ => continue,
        };
        // A file that was removed meanwhile is none.
        let Some((hour, data)) = stem.zip(entry.metadata().ok()) else { continue };
        files.push(HourFile { hour, sealed, bytes: data.len(), path });
    }
    files.sort();
    Ok(files)
}

impl HourFile {
    /// Its frames, in their order.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn frames(&self) -> Result<Frames, Error> {
        let file = File::open(&self.path);
        let file = file.map_err(|source| Error::Folder { path: self.path.clone(), source })?;
        Ok(Frames { input: BufReader::with_capacity(READ, file), buffer: Vec::new() })
    }
}

/// The frames of a file as they are read.
#[derive(Debug)]
pub struct Frames {
    input: BufReader<File>,
    buffer: Vec<u8>,
}

impl Frames {
    /// The next frame; `None` at the end, or where the file is broken.
    pub fn next_frame(&mut self) -> Option<&[u8]> {
        let mut head = [0; FRAME_HEAD];
        self.input.read_exact(&mut head).ok()?;
        let [length, sum] = [head.first_chunk::<4>()?, head.last_chunk::<4>()?];
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if length > MAX_FRAME {
            return None;
        }
        self.buffer.resize(length, 0);
        self.input.read_exact(&mut self.buffer).ok()?;
        let is_whole = crc32fast::hash(&self.buffer) == u32::from_le_bytes(*sum);
        is_whole.then_some(self.buffer.as_slice())
    }
}

fn encoded(frames: &[Vec<u8>]) -> Vec<u8> {
    let length: usize = frames.iter().map(|frame| frame.len() + FRAME_HEAD).sum();
    let mut bytes = Vec::with_capacity(length);
    for frame in frames {
        bytes.extend(u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(crc32fast::hash(frame).to_le_bytes());
        bytes.extend(frame);
    }
    bytes
}

fn name(hour: u32, extension: &str) -> String {
    format!("{hour:08}.{extension}")
}

fn remove(file: &HourFile) -> Result<(), Error> {
    match fs::remove_file(&file.path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(writing(&file.path, source)),
        _ => Ok(()),
    }
}

fn writing(path: &Path, source: io::Error) -> Error {
    Error::Hours { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
