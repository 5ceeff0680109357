//! Where output goes, and its colours: they repeat what the words say and are never needed.
//!
//! **Security.** Names of processes, containers and images, and what workloads log, are other people's words. A terminal gets no control of theirs
//! ([`harmless`]); a file or a pipe gets every byte.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write as _};

use serde::Serialize;

use crate::args::Colour;

/// Standard output and error with their settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// Whether data is printed as JSON.
    pub(crate) json: bool,
    /// Colours of standard output.
    pub(crate) data: Paint,
    /// Colours of standard error.
    pub(crate) errors: Paint,
}

impl Screen {
    pub(crate) fn new(json: bool, colour: Colour) -> Self {
        let wanted = |terminal: bool| match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && std::env::var_os("NO_COLOR").is_none(),
        };
        Self {
            json,
            data: Paint(wanted(io::stdout().is_terminal()) && !json),
            errors: Paint(wanted(io::stderr().is_terminal())),
        }
    }

    /// Prints data: as JSON when that was asked for, else as the text that `render` makes.
    pub(crate) fn show<T: Serialize>(
        self,
        data: &T,
        render: impl FnOnce(&T, Paint) -> String,
    ) -> io::Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(data)? + "\n"
        } else {
            render(data, self.data)
        };
        self.text(&text)
    }

    /// Prints a text that is the same for people and programs.
    #[expect(clippy::unused_self, reason = "everything that is printed goes through the screen")]
    pub(crate) fn text(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let is_seen = out.is_terminal();
        out.write_all(shown(text, is_seen).as_bytes())?;
        out.flush()
    }

    /// Prints one record of a stream: a line of JSON, or a line of text.
    pub(crate) fn line<T: Serialize>(
        self,
        record: &T,
        render: impl FnOnce(&T, Paint) -> String,
    ) -> io::Result<()> {
        let text =
            if self.json { serde_json::to_string(record)? } else { render(record, self.data) };
        let mut out = io::stdout().lock();
        let is_seen = out.is_terminal();
        writeln!(out, "{}", shown(&text, is_seen))?;
        out.flush()
    }

    /// Tells a person what is going on. Not data.
    #[expect(clippy::unused_self, reason = "everything that is printed goes through the screen")]
    pub(crate) fn tell(self, sentence: &str) {
        // Nothing can be done when standard error is closed.
        error(&format!("{sentence}\n"));
    }
}

/// Writes to standard error, as harmless as [`Screen`] does.
pub(crate) fn error(text: &str) {
    let mut out = io::stderr().lock();
    let is_seen = out.is_terminal();
    drop(out.write_all(shown(text, is_seen).as_bytes()));
}

fn shown(text: &str, is_seen: bool) -> Cow<'_, str> {
    if is_seen { harmless(text) } else { Cow::Borrowed(text) }
}

/// A text that does nothing to a terminal but colour it: of controls only line ends, tabs and ECMA-48's select graphic rendition stay, and nothing
/// hides or turns text (Unicode's format characters for direction).
fn harmless(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = rendition(rest).unwrap_or_default();
        if let (true, Some((colour, behind))) = (length > 0, rest.split_at_checked(length)) {
            harmless += colour;
            rest = behind;
            continue;
        }
        if is_bad(c) {
            harmless.extend(c.escape_unicode());
        } else {
            harmless.push(c);
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    Cow::Owned(harmless)
}

/// How many bytes of a text's beginning are one select graphic rendition: `ESC [ 1 ; 31 m`.
fn rendition(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters.get(end..)?.starts_with('m').then_some(end + 3)
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(crate) fn hint(self, text: &str) -> String {
        self.with("36", text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// A verdict's word in its colour, padded to `width`.
    pub(crate) fn verdict(self, word: &str, width: usize) -> String {
        let padded = format!("{word:<width$}");
        match word {
            "drop" => self.bad(&padded),
            "allow" => self.good(&padded),
            "audit" => self.warn(&padded),
            _ => self.dim(&padded),
        }
    }

    /// ECMA-48 select graphic rendition.
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Says on standard error, when that is a terminal, how long something takes already; until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    end: Option<std::sync::mpsc::SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Waiting {
    /// Begins to wait; silent for `patience`.
    pub(crate) fn begin(screen: Screen, what: &'static str, patience: std::time::Duration) -> Self {
        if screen.json || !io::stderr().is_terminal() {
            return Self { end: None, thread: None };
        }
        let (end, ended) = std::sync::mpsc::sync_channel::<()>(1);
        let began = std::time::Instant::now();
        let thread = std::thread::spawn(move || {
            let mut wait = patience;
            let mut is_told = false;
            while ended.recv_timeout(wait) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                wait = std::time::Duration::from_secs(1);
                is_told = true;
                drop(write!(io::stderr().lock(), "\r{what}: {} s", began.elapsed().as_secs()));
            }
            if is_told {
                drop(write!(io::stderr().lock(), "\r\u{1b}[K"));
            }
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // It only writes to a terminal.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_peoples_words_do_nothing_to_a_terminal_but_colour_it() {
        let fine = "PORT  \u{1b}[1mNAME\u{1b}[0m \u{1b}[38;5;9mä\u{1b}[m\n\tx";
        assert_eq!(harmless(fine), fine);
        for (hostile, shown) in [
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{1b}[2J\u{1b}[H", "\\u{1b}[2J\\u{1b}[H"),
            ("\u{1b}[31", "\\u{1b}[31"),
            ("a\rb\u{8}c\u{9b}2J\u{7f}", "a\\u{d}b\\u{8}c\\u{9b}2J\\u{7f}"),
            ("nginx\u{202e}gpj", "nginx\\u{202e}gpj"),
            ("\u{1b}", "\\u{1b}"),
        ] {
            assert_eq!(harmless(hostile), shown);
        }
        assert_eq!(super::shown("\u{1b}[2J", false), "\u{1b}[2J", "a file gets what there is");
    }
}
