//! What the loader says about a file: findings with places in the text, rendered like a compiler's or as JSON.

pub(crate) mod printable;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::codes::Code;
use crate::document::Span;

/// Longest excerpt in bytes: rendering reads all of it for each finding.
const MAX_EXCERPT: usize = 16 << 10;

/// Longest message, label or hint in characters: they may repeat a value of the file, which may be all of it.
const MAX_TEXT: usize = 400;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted; something in it is probably not meant.
    Warning,
    /// Something worth knowing.
    Note,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What it is about.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// One lower-case clause.
    pub message: String,
    /// The place; `None` when it is about the whole file.
    pub span: Option<Span>,
    /// What stands beside the marked place.
    pub label: String,
    /// Other places with what they have to do with it.
    pub related: Vec<(Span, String)>,
    /// What to do.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(
        code: Code,
        severity: Severity,
        span: Option<Span>,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        Self {
            code,
            severity,
            message,
            span,
            label: String::new(),
            related: Vec::new(),
            hint: None,
        }
    }

    pub(crate) fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, Some(span), message)
    }

    pub(crate) fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, Some(span), message)
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn related(mut self, span: Span, text: impl Into<String>) -> Self {
        self.related.push((span, text.into()));
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Writes out what of its texts a terminal would act on: they repeat what the file says.
    fn make_printable(&mut self) {
        let texts = [&mut self.message, &mut self.label].into_iter();
        let related = self.related.iter_mut().map(|(_, text)| text);
        for text in texts.chain(related).chain(&mut self.hint) {
            if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
                text.truncate(end);
                text.push('…');
            }
            if let Cow::Owned(shown) = printable::line(text) {
                *text = shown;
            }
        }
    }

    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

/// A finding as data: one object of `--json` output. Lines and columns are 1-based; the end is exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// For example `BH0105`.
    pub code: Code,
    /// `error`, `warning` or `note`.
    pub severity: Severity,
    /// One clause.
    pub message: String,
    /// What is wrong at the marked place, possibly empty.
    pub label: String,
    /// The file's name as given.
    pub file: Arc<str>,
    /// First line, 0 when the finding is about the whole file.
    pub line: u32,
    /// First column in characters.
    pub column: u32,
    /// Last line.
    pub end_line: u32,
    /// Column after the last character.
    pub end_column: u32,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The findings about one file, in its order, with what is needed to show them.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    /// The file's name as given.
    pub file: Arc<str>,
    /// The file's text.
    pub text: Arc<str>,
    /// The findings, sorted by place.
    pub items: Vec<Diagnostic>,
    /// How many more there were beyond the limit.
    pub suppressed: usize,
}

impl Diagnostics {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many findings are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.items.iter().filter(|item| item.severity == Severity::Error).count()
    }

    /// Adds findings of the same file, each at its place.
    pub fn add(&mut self, found: impl IntoIterator<Item = Diagnostic>) {
        self.items.extend(found);
        self.items.sort_by_key(place);
    }

    /// Findings as data.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.items.iter().map(|item| self.record(item)).collect()
    }

    /// All findings as text for a terminal of at most 140 columns; ends with a newline unless empty.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut all: Vec<String> =
            self.items.iter().map(|item| self.render_one(&renderer, item)).collect();
        if self.suppressed > 0 {
            all.push(format!("and {} more", self.suppressed));
        }
        if all.is_empty() {
            return String::new();
        }
        let mut text = all.join("\n\n");
        text.push('\n');
        text
    }

    fn record(&self, item: &Diagnostic) -> Record {
        let span = item.span.unwrap_or_default();
        let covered = self.text.get(range(span)).unwrap_or("");
        let (end_line, end_column) = match covered.rsplit_once('\n') {
            Some((before, last)) => {
                (1 + count(before.matches('\n').count()), count(last.chars().count()) + 1)
            }
            None => (0, span.column + count(covered.chars().count())),
        };
        Record {
            code: item.code,
            severity: item.severity,
            message: item.message.clone(),
            label: item.label.clone(),
            file: Arc::clone(&self.file),
            line: span.line,
            column: span.column,
            end_line: span.line + end_line,
            end_column,
            hint: item.hint.clone(),
        }
    }

    fn render_one(&self, renderer: &Renderer, item: &Diagnostic) -> String {
        let level = match item.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let title = level.primary_title(item.message.as_str()).id(item.code.to_string());
        let mut group = Group::with_title(title);
        let mut places: Vec<(Span, &str, AnnotationKind)> = Vec::new();
        places.extend(item.span.map(|span| (span, item.label.as_str(), AnnotationKind::Primary)));
        places.extend(
            item.related.iter().map(|(span, text)| (*span, text.as_str(), AnnotationKind::Context)),
        );
        if let (Some(first), Some(last)) =
            (places.iter().map(|p| p.0.start).min(), places.iter().map(|p| p.0.start).max())
        {
            // Two places far apart are two excerpts, so that a large file is not searched line by line.
            let near = self.lines_between(first, last) <= 40;
            let chunks: Vec<&[(Span, &str, AnnotationKind)]> =
                if near { vec![places.as_slice()] } else { places.chunks(1).collect() };
            for chunk in chunks {
                group = group.element(self.excerpt(chunk));
            }
        }
        if let Some(hint) = &item.hint {
            group = group.element(Level::HELP.with_name(Some("hint")).message(hint.as_str()));
        }
        renderer.render(&[group])
    }

    fn lines_between(&self, first: u32, last: u32) -> usize {
        let between = self.text.get(first as usize..last as usize).unwrap_or("");
        if between.len() > MAX_EXCERPT { usize::MAX } else { between.matches('\n').count() }
    }

    /// The lines with their marks; of lines that nobody could read on a terminal only the place.
    fn excerpt<'a>(&'a self, places: &[(Span, &'a str, AnnotationKind)]) -> Element<'a> {
        let first = places.iter().map(|place| place.0.start as usize).min().unwrap_or(0);
        let last = places.iter().map(|place| self.shown(place.0).end).max().unwrap_or(0);
        let begin = self.line_start(first);
        let end = self.line_end(last);
        let line = places.iter().map(|place| place.0.line as usize).min().unwrap_or(1);
        if end - begin > MAX_EXCERPT {
            let column = places.first().map_or(1, |place| place.0.column as usize);
            return Origin::path(printable::line(&self.file)).line(line).char_column(column).into();
        }
        let source = printable::excerpt(self.text.get(begin..end).unwrap_or(""));
        let marks = places.iter().map(|(span, text, kind)| {
            let shown = self.shown(*span);
            let mark =
                kind.span(shown.start.saturating_sub(begin)..shown.end.saturating_sub(begin));
            if text.is_empty() { mark } else { mark.label(*text) }
        });
        Snippet::source(source)
            .line_start(line)
            .path(printable::line(&self.file))
            .annotations(marks)
            .into()
    }

    /// Where the line with this byte begins, looked for as far as an excerpt may reach.
    fn line_start(&self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let from = at.saturating_sub(MAX_EXCERPT + 1);
        let before = bytes.get(from..at).unwrap_or(&[]);
        before.iter().rposition(|byte| *byte == b'\n').map_or(from, |found| from + found + 1)
    }

    /// Where the line with this byte ends, looked for as far as an excerpt may reach.
    fn line_end(&self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let to = bytes.len().min(at + MAX_EXCERPT + 1);
        let after = bytes.get(at..to).unwrap_or(&[]);
        after.iter().position(|byte| *byte == b'\n').map_or(to, |found| at + found)
    }

    /// The bytes that are marked: of a span over several lines the first line only.
    fn shown(&self, span: Span) -> Range<usize> {
        let whole = range(span);
        let text = self.text.get(whole.clone()).unwrap_or("");
        let first = text.split('\n').next().unwrap_or("").trim_end();
        whole.start..whole.start + first.len()
    }
}

/// In the order of the file.
fn place(item: &Diagnostic) -> (u32, Code) {
    (item.span.map_or(0, |span| span.start), item.code)
}

fn range(span: Span) -> Range<usize> {
    span.start as usize..span.end as usize
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The plain rendering.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Diagnostics {}

/// Collects findings while a file is read; bounded.
#[derive(Debug)]
pub(crate) struct Problems<'a> {
    pub(crate) text: &'a str,
    items: Vec<Diagnostic>,
    limit: usize,
    suppressed: usize,
    errors: usize,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(text: &'a str, limit: usize) -> Self {
        Self { text, items: Vec::new(), limit, suppressed: 0, errors: 0 }
    }

    pub(crate) fn push(&mut self, mut item: Diagnostic) {
        item.make_printable();
        self.errors += usize::from(item.severity == Severity::Error);
        if self.items.len() < self.limit || (self.errors == 1 && item.severity == Severity::Error) {
            self.items.push(item);
        } else {
            self.suppressed += 1;
        }
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Makes errors of all warnings with this code.
    pub(crate) fn escalate(&mut self, code: Code) {
        for item in self.items.iter_mut().filter(|item| item.code == code) {
            self.errors += usize::from(item.severity != Severity::Error);
            item.severity = Severity::Error;
        }
    }

    /// Takes warnings and notes back; errors stay.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Diagnostic) -> bool) {
        self.items.retain(|item| item.severity == Severity::Error || keep(item));
    }

    /// Whether further warnings, and errors but the first, are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= self.limit
    }

    /// The part of `span` that holds `word`, or all of it.
    pub(crate) fn within(&self, span: Span, word: &str) -> Span {
        let text = self.text.get(range(span)).unwrap_or("");
        match text.find(word) {
            Some(at) if !text.contains('\n') && !word.is_empty() => Span {
                start: span.start + count(at),
                end: span.start + count(at + word.len()),
                line: span.line,
                column: span.column + count(text.get(..at).unwrap_or("").chars().count()),
            },
            _ => span,
        }
    }

    /// Findings by place. Warnings about a file with errors are left out: they may only be about what is missing.
    pub(crate) fn finish(mut self, file: Arc<str>) -> Diagnostics {
        if self.errors > 0 {
            self.items.retain(|item| item.severity == Severity::Error);
        }
        self.items.sort_by_key(place);
        Diagnostics {
            file,
            text: Arc::from(self.text),
            items: self.items,
            suppressed: self.suppressed,
        }
    }
}
