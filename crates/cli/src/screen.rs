//! Where output goes, and its colours: they repeat what the words say and are never needed.

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
        out.write_all(text.as_bytes())?;
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
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Tells a person what is going on. Not data.
    #[expect(clippy::unused_self, reason = "everything that is printed goes through the screen")]
    pub(crate) fn tell(self, sentence: &str) {
        // Nothing can be done when standard error is closed.
        drop(writeln!(io::stderr().lock(), "{sentence}"));
    }
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
