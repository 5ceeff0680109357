//! The output of a workload on disk: time-stamped lines in two files of bounded size, and a reader that follows them.
//!
//! One line of the file is `2026-11-22T10:04:11.482Z out text`; `out` or `err` names the stream, and a `+` after it says
//! that the program's line goes on in the next one. Output is hostile: control characters and invalid UTF-8 never reach
//! the file, so that printing a log cannot drive the terminal.
//!
//! **Limits.** A line is cut at 8 KiB. The files together hold twice [`Log::max_bytes`], the oldest output is lost first.
//! What cannot be written (a full disk) is lost and counted in the next line that can be.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Log;

/// Bytes of a program's line that make one line of the file.
const MAX_LINE_BYTES: usize = 8 * 1024;
/// How often a follower looks for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// Which stream of the program a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
    /// The supervisor itself.
    Shim,
}

impl Stream {
    fn word(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
            Self::Shim => "run",
        }
    }
}

/// Appends to a workload's log.
#[derive(Debug)]
pub(super) struct LogWriter {
    log: Log,
    file: Option<File>,
    written_bytes: u64,
    lost_lines: u64,
}

impl LogWriter {
    /// Opens the log, or remembers to try again: a workload is never stopped because its log cannot be written.
    pub(super) fn open(log: &Log) -> Self {
        let mut writer = Self { log: log.clone(), file: None, written_bytes: 0, lost_lines: 0 };
        writer.reopen();
        writer
    }

    fn reopen(&mut self) {
        if let Some(parent) = self.log.path.parent() {
            // The open below reports what matters.
            fs::create_dir_all(parent).ok();
        }
        let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.log.path);
        self.file = opened.ok();
        let metadata = self.file.as_ref().and_then(|file| file.metadata().ok());
        self.written_bytes = metadata.map_or(0, |metadata| metadata.len());
    }

    fn previous(&self) -> PathBuf {
        previous(&self.log)
    }

    /// Writes one line; `goes_on` when the program's line is longer.
    pub(super) fn line(&mut self, stream: Stream, text: &[u8], goes_on: bool, now: &str) {
        let plus = if goes_on { "+" } else { "" };
        let mut line = format!("{now} {}{plus} ", stream.word());
        push_plain(&mut line, text);
        line.push('\n');
        if self.written_bytes + line.len() as u64 > self.log.max_bytes {
            self.rotate();
        }
        if self.lost_lines > 0 {
            line.insert_str(0, &format!("{now} run {} lines were lost\n", self.lost_lines));
        }
        if self.append(line.as_bytes()).is_ok() {
            self.lost_lines = 0;
            self.written_bytes += line.len() as u64;
        } else {
            self.lost_lines += 1;
            self.file = None;
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen();
        }
        self.file.as_mut().ok_or(io::ErrorKind::NotFound)?.write_all(line)
    }

    fn rotate(&mut self) {
        self.file = None;
        if fs::rename(&self.log.path, self.previous()).is_err() {
            // Bounded comes first: without a second file the first starts again.
            fs::write(&self.log.path, []).ok();
        }
        self.reopen();
    }
}

fn previous(log: &Log) -> PathBuf {
    let mut name = log.path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// Appends `text` with everything that could move a cursor written as an escape.
fn push_plain(line: &mut String, text: &[u8]) {
    for c in String::from_utf8_lossy(text).chars() {
        if (c.is_control() && c != '\t') || is_unseen(c) {
            line.extend(c.escape_unicode());
        } else {
            line.push(c);
        }
    }
}

/// What changes the order or the end of what is shown: controls of direction (UAX #9), line and paragraph separators.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Cuts the bytes of one stream into lines.
#[derive(Debug)]
pub(super) struct Lines {
    stream: Stream,
    pending: Vec<u8>,
}

impl Lines {
    /// Nothing read yet.
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Takes what was read and writes the lines that are complete.
    pub(super) fn push(&mut self, bytes: &[u8], writer: &mut LogWriter, now: &str) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = MAX_LINE_BYTES - self.pending.len();
            let end = rest.iter().take(room).position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(rest.len().min(room));
            let (line, after) = rest.split_at(taken);
            self.pending.extend_from_slice(line);
            rest = after;
            if end.is_some() {
                rest = rest.get(1..).unwrap_or_default();
                self.flush(false, writer, now);
            } else if self.pending.len() == MAX_LINE_BYTES {
                self.flush(true, writer, now);
            }
        }
    }

    /// Writes what has no line end, at the end of the stream.
    pub(super) fn finish(&mut self, writer: &mut LogWriter, now: &str) {
        if !self.pending.is_empty() {
            self.flush(false, writer, now);
        }
    }

    fn flush(&mut self, goes_on: bool, writer: &mut LogWriter, now: &str) {
        let text = self.pending.strip_suffix(b"\r").unwrap_or(&self.pending);
        writer.line(self.stream, text, goes_on, now);
        self.pending.clear();
    }
}

/// Reads a workload's log; see [`logs`].
#[derive(Debug)]
pub struct LogReader {
    log: Log,
    before: VecDeque<String>,
    current: Option<BufReader<File>>,
    partial: String,
}

/// Opens the log of a workload at its last `tail` lines, or at its beginning.
///
/// # Errors
/// When the files exist and cannot be read. A log that does not exist yet is an empty one.
pub fn logs(log: &Log, tail: Option<usize>) -> io::Result<LogReader> {
    let mut reader = LogReader {
        log: log.clone(),
        before: VecDeque::new(),
        current: None,
        partial: String::new(),
    };
    let limit = tail.unwrap_or(usize::MAX);
    for path in [previous(log), log.path.clone()] {
        reader.current = opened(&path)?;
        while let Some(line) = reader.read()? {
            reader.before.push_back(line);
            if reader.before.len() > limit {
                reader.before.pop_front();
            }
        }
    }
    Ok(reader)
}

fn opened(path: &std::path::Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl LogReader {
    #[expect(clippy::disallowed_methods, reason = "a file cannot be waited for")]
    /// The next line without its end, waiting at most `wait` for one; `None` when there is none (yet).
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn next_line(&mut self, wait: Duration) -> io::Result<Option<String>> {
        let until = Instant::now() + wait;
        loop {
            if let Some(line) = self.before.pop_front() {
                return Ok(Some(line));
            }
            if let Some(line) = self.read()? {
                return Ok(Some(line));
            }
            if self.is_rotated() {
                self.current = opened(&self.log.path)?;
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(left.min(FOLLOW_INTERVAL));
        }
    }

    fn read(&mut self) -> io::Result<Option<String>> {
        let Some(file) = &mut self.current else { return Ok(None) };
        file.read_line(&mut self.partial)?;
        if !self.partial.ends_with('\n') {
            return Ok(None);
        }
        self.partial.pop();
        Ok(Some(std::mem::take(&mut self.partial)))
    }

    /// Whether the file at the path is another one than the one being read.
    fn is_rotated(&self) -> bool {
        let Ok(there) = fs::metadata(&self.log.path) else { return false };
        let here = self.current.as_ref().and_then(|file| file.get_ref().metadata().ok());
        here.is_none_or(|here| here.ino() != there.ino())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T10:04:11.482Z";

    fn log(max_bytes: u64) -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().expect("a folder");
        let log = Log { path: dir.path().join("logs/shop.web.log"), max_bytes };
        (dir, log)
    }

    fn all(log: &Log, tail: Option<usize>) -> Vec<String> {
        let mut reader = logs(log, tail).expect("readable");
        let next = || reader.next_line(Duration::ZERO).expect("readable");
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn lines_have_time_and_stream() {
        let (_dir, log) = log(1 << 20);
        let mut writer = LogWriter::open(&log);
        let mut out = Lines::new(Stream::Out);
        out.push(b"one\r\ntw", &mut writer, NOW);
        Lines::new(Stream::Err).push(b"oops\n", &mut writer, NOW);
        out.push(b"o\n\nend", &mut writer, NOW);
        out.finish(&mut writer, NOW);
        let expected = ["out one", "err oops", "out two", "out ", "out end"];
        assert_eq!(all(&log, None), expected.map(|line| format!("{NOW} {line}")));
        assert_eq!(all(&log, Some(1)), [format!("{NOW} out end")]);
    }

    #[test]
    fn output_cannot_drive_a_terminal() {
        let (_dir, log) = log(1 << 20);
        let mut writer = LogWriter::open(&log);
        writer.line(Stream::Out, b"a\x1b[2Jb\xffc\td\x9b", false, NOW);
        assert_eq!(all(&log, None), [format!("{NOW} out a\\u{{1b}}[2Jb\u{fffd}c\td\u{fffd}")]);
    }

    #[test]
    fn output_cannot_turn_itself_around_or_end_the_line() {
        let (_dir, log) = log(1 << 20);
        let mut writer = LogWriter::open(&log);
        let unseen = "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        writer.line(Stream::Out, unseen.as_bytes(), false, NOW);
        writer.line(Stream::Out, "שלום 你好 é".as_bytes(), false, NOW);
        let escaped: String = unseen.chars().map(|c| c.escape_unicode().to_string()).collect();
        let expected = [format!("{NOW} out {escaped}"), format!("{NOW} out שלום 你好 é")];
        assert_eq!(all(&log, None), expected);
    }

    #[test]
    fn long_lines_are_cut_and_files_bounded() {
        let (_dir, log) = log(64 * 1024);
        let mut writer = LogWriter::open(&log);
        let mut out = Lines::new(Stream::Out);
        out.push(&vec![b'x'; MAX_LINE_BYTES + 1], &mut writer, NOW);
        out.push(b"\n", &mut writer, NOW);
        let lines = all(&log, None);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().any(|line| line.starts_with(&format!("{NOW} out+ xxx"))));
        assert!(lines.iter().any(|line| *line == format!("{NOW} out x")));
        for number in 0..20_000 {
            out.push(format!("line {number}\n").as_bytes(), &mut writer, NOW);
        }
        let size = |path| fs::metadata(path).expect("both files exist").len();
        assert!(size(log.path.clone()) <= log.max_bytes);
        assert!(size(previous(&log)) <= log.max_bytes);
        assert_eq!(all(&log, Some(1)), [format!("{NOW} out line 19999")]);
    }

    #[test]
    fn a_follower_survives_rotation() {
        let (_dir, log) = log(1000);
        let mut writer = LogWriter::open(&log);
        let mut reader = logs(&log, None).expect("an empty log");
        for number in 0..200 {
            writer.line(Stream::Out, format!("{number}").as_bytes(), false, NOW);
            let line = reader.next_line(Duration::from_secs(5)).expect("readable");
            assert_eq!(line, Some(format!("{NOW} out {number}")));
        }
    }

    #[test]
    fn an_unwritable_log_loses_lines_and_says_so() {
        let (_dir, log) = log(1000);
        fs::create_dir_all(&log.path).expect("a folder in the way");
        let mut writer = LogWriter::open(&log);
        writer.line(Stream::Out, b"lost", false, NOW);
        fs::remove_dir(&log.path).expect("it is empty");
        writer.line(Stream::Out, b"kept", false, NOW);
        let lines = all(&log, None);
        assert_eq!(lines, [format!("{NOW} run 1 lines were lost"), format!("{NOW} out kept")]);
    }
}
