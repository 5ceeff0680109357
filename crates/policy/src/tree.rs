//! YAML text to a tree of values that know where they stand.
//!
//! Reads the parser's events directly instead of deserializing, for one reason: a deserializer stops at the first
//! mistake, and people want to see all of them. Scalars stay text; what they mean is decided by the key they belong to,
//! so `no`, `1.0` or `0x10` never turn into something else on the way.
//!
//! **Limits.** Depth and number of values are bounded; anchors, aliases, tags and further documents are refused, so the
//! tree is never larger than the text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as Mark};

use crate::Limits;
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::Span;

/// A value and its place.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) value: Value<'a>,
    pub(crate) span: Span,
}

/// What stands there.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// Nothing, `~` or `null`.
    Null,
    /// Could not be replaced; that was reported already.
    Broken,
    /// A single value.
    Scalar(Scalar<'a>),
    /// A list.
    List(Vec<Node<'a>>),
    /// A mapping; keys are scalars and unique.
    Map(Vec<(Key<'a>, Node<'a>)>),
}

/// A single value as text.
#[derive(Debug)]
pub(crate) struct Scalar<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Where the text itself begins, if it stands in the file exactly as here.
    pub(crate) exact: Option<u32>,
    /// Whether it is written as a block, `|` or `>`: its span then begins at the text in the next line.
    pub(crate) is_block: bool,
}

/// A key of a mapping.
#[derive(Debug)]
pub(crate) struct Key<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Where the text itself begins, if it stands in the file exactly as here.
    pub(crate) exact: Option<u32>,
    pub(crate) span: Span,
}

impl Value<'_> {
    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null | Self::Broken => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Reads the text. `None` means that reading had to stop; the reason is then among the problems.
pub(crate) fn read<'a>(
    text: &'a str,
    limits: &Limits,
    problems: &mut Problems<'_>,
) -> Option<Node<'a>> {
    let built = build(text, limits, false, problems);
    let root = built.map_err(|stop| problems.push(*stop.why)).ok()?.pop();
    if root.is_none() {
        problems.push(
            Diagnostic::error(
                Code::MissingKey,
                Span { line: 1, column: 1, ..Span::default() },
                "the file is empty",
            )
            .hint("a file begins with `bulkhead: 1`"),
        );
    }
    root
}

/// Reads a text of any number of documents, in its order.
pub(crate) fn read_all<'a>(
    text: &'a str,
    limits: &Limits,
    problems: &mut Problems<'_>,
) -> Result<Vec<Node<'a>>, Stop> {
    build(text, limits, true, problems)
}

/// Where reading had to stop.
pub(crate) struct Stop {
    /// The reason.
    pub(crate) why: Box<Diagnostic>,
    /// The first byte of the line, when it is indented with a tab.
    pub(crate) tabbed: Option<usize>,
}

fn build<'a>(
    text: &'a str,
    limits: &Limits,
    is_stream: bool,
    problems: &mut Problems<'_>,
) -> Result<Vec<Node<'a>>, Stop> {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    let (stack, roots) = (Vec::new(), Vec::new());
    let mut builder = Builder { text, limits, stack, roots, values: 0, documents: 0, is_stream };
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Ok((event, mark)) => {
                builder.event(event, mark, problems).map_err(|why| Stop { why, tabbed: None })
            }
            Err(error) => {
                let why = Box::new(syntax_error(text, &error));
                let at = why.span.map_or(0, |span| span.start as usize);
                Err(Stop { why, tabbed: tabbed_line(text, at) })
            }
        };
        step?;
    }
    Ok(builder.roots)
}

impl Node<'_> {
    /// Whether a byte is inside of a list in brackets or a mapping in braces.
    pub(crate) fn is_in_flow(&self, text: &str, at: usize) -> bool {
        if !(self.span.start as usize..self.span.end as usize).contains(&at) {
            return false;
        }
        let first = text.as_bytes().get(self.span.start as usize);
        match &self.value {
            Value::List(_) | Value::Map(_) if matches!(first, Some(b'[' | b'{')) => true,
            Value::List(items) => items.iter().any(|item| item.is_in_flow(text, at)),
            Value::Map(entries) => entries.iter().any(|(_, value)| value.is_in_flow(text, at)),
            _ => false,
        }
    }
}

/// The beginning of the line of this byte, when a tab is in its indentation.
fn tabbed_line(text: &str, at: usize) -> Option<usize> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |before| before + 1);
    let line = text.get(start..)?;
    let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
    line.get(..indentation)?.contains('\t').then_some(start)
}

fn syntax_error(text: &str, error: &ScanError) -> Diagnostic {
    let marker = error.marker();
    let at = marker.byte_offset().unwrap_or(0).min(text.len());
    let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let width = text
        .get(at..)
        .and_then(|rest| rest.chars().next())
        .filter(|c| *c != '\n')
        .map_or(0, char::len_utf8);
    let span = Span {
        start: small(at),
        end: small(at + width),
        line: small(marker.line().max(1)),
        column: small(marker.col() + 1),
    };
    let hint = syntax_hint(text.get(..at).unwrap_or(""), text.get(at..).unwrap_or(""));
    let message = format!("this is not YAML: {}", error.info());
    Diagnostic::error(Code::Syntax, span, message).label("reading stopped here").hint(hint)
}

/// Whether the line before the last one is `key:value`: text for YAML, which goes on in the next line.
fn lacks_a_space(before: &str) -> bool {
    let line = before.rsplit('\n').nth(1).unwrap_or("").trim();
    let key = line.split(':').next().unwrap_or("");
    key.len() < line.len()
        && !line.ends_with(':')
        && !line.contains(": ")
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// What is probably meant where reading stopped between these two texts.
fn syntax_hint(all_before: &str, after: &str) -> &'static str {
    let before = all_before.rsplit('\n').next().unwrap_or("");
    let ahead = after.split('\n').next().unwrap_or("");
    match after.chars().next() {
        Some('\t') => "indent with spaces: YAML does not allow tabs there",
        _ if before.contains('\t') => "indent with spaces: YAML does not allow tabs there",
        Some('\u{feff}') => "remove the byte order mark: files were joined here",
        Some(c) if c.is_control() && c != '\n' => {
            "remove the control character; text in double quotes writes it as an escape, \"\\e\""
        }
        Some('{') if before.ends_with('$') => "quote the value: \"${NAME}\"",
        Some(':') if lacks_a_space(all_before) => {
            "write a space after the colon of the line before: `key: value`"
        }
        Some(':') if ahead.starts_with("::") => {
            "an IPv6 address in a list or in braces needs quotes: \"fd00:5::/48\""
        }
        Some('-') if ahead.starts_with("->") => {
            "quote the whole text: \"[app=web, role=ops] -> app=db\""
        }
        _ if before.contains("] ->") => "quote the whole text: \"[app=web, role=ops] -> app=db\"",
        _ if before.trim_start().starts_with('@') || after.starts_with(['@', '`']) => {
            "quote a value that begins with this character"
        }
        _ => {
            "look at this line and the one before: a missing colon, quote or bracket, or wrong indentation"
        }
    }
}

/// Offsets fit because the size of the text is limited.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

struct Builder<'a, 'l> {
    text: &'a str,
    limits: &'l Limits,
    stack: Vec<Frame<'a>>,
    /// One for each document.
    roots: Vec<Node<'a>>,
    values: usize,
    documents: usize,
    /// Whether there may be several documents.
    is_stream: bool,
}

enum Frame<'a> {
    List { span: Span, items: Vec<Node<'a>> },
    Map { span: Span, entries: Vec<(Key<'a>, Node<'a>)>, key: Option<Key<'a>> },
}

/// Nothing, or why reading had to stop; boxed because there is one for every event.
type Step = Result<(), Box<Diagnostic>>;

impl<'a> Builder<'a, '_> {
    fn event(&mut self, event: Event<'a>, mark: Mark, problems: &mut Problems<'_>) -> Step {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 && !self.is_stream {
                    let hint = "use one file for each document";
                    return Self::refused(Self::span(&mark), "a second document", hint);
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return Self::refused(Self::span(&mark), "an alias", "write the value out");
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(&mark, anchor, tag.is_some())?;
                let node = self.scalar(text, style, Self::span(&mark));
                self.add(node)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.plain(&mark, anchor, tag.is_some())?;
                self.open(Frame::List { span: Self::span(&mark), items: Vec::new() })?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.plain(&mark, anchor, tag.is_some())?;
                self.open(Frame::Map { span: Self::span(&mark), entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = self.close(&mark, problems);
                if let Some(node) = node {
                    self.add(node)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn refused(span: Span, what: &str, hint: &str) -> Step {
        let message = format!("{what} is not accepted in this file");
        Err(Box::new(Diagnostic::error(Code::Yaml, span, message).hint(hint)))
    }

    fn plain(&self, mark: &Mark, anchor: usize, tagged: bool) -> Step {
        let span = Self::span(mark);
        if anchor != 0 {
            return Self::refused(span, "an anchor", "write the value out where it is needed");
        }
        if tagged {
            let hint = "remove the word that begins with `!`; quote it if it is a value";
            return Self::refused(span, "a tag", hint);
        }
        if self.stack.len() >= self.limits.depth {
            let message = format!("values are nested deeper than {}", self.limits.depth);
            return Err(Box::new(Diagnostic::error(Code::Limit, span, message)));
        }
        Ok(())
    }

    fn span(mark: &Mark) -> Span {
        let range = mark.byte_range().unwrap_or(0..0);
        Span {
            start: small(range.start),
            end: small(range.end.max(range.start)),
            line: small(mark.start.line()),
            column: small(mark.start.col() + 1),
        }
    }

    fn scalar(&self, text: Cow<'a, str>, style: ScalarStyle, span: Span) -> Node<'a> {
        if style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null") {
            return Node { value: Value::Null, span };
        }
        let written = self.text.get(span.start as usize..span.end as usize).unwrap_or("");
        let quote = u32::from(style != ScalarStyle::Plain);
        let inner = match style {
            ScalarStyle::Plain => Some(written),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                written.get(1..written.len().saturating_sub(1))
            }
            ScalarStyle::Literal | ScalarStyle::Folded => None,
        };
        let exact = (inner == Some(&*text)).then_some(span.start + quote);
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        Node { value: Value::Scalar(Scalar { text, exact, is_block }), span }
    }

    fn open(&mut self, frame: Frame<'a>) -> Step {
        if let Some(Frame::Map { key: None, span, .. }) = self.stack.last() {
            let message = "a key has to be a single word, not a list or mapping";
            return Err(Box::new(Diagnostic::error(Code::WrongKind, *span, message)));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn add(&mut self, node: Node<'a>) -> Step {
        self.values += 1;
        if self.values > self.limits.values {
            let message = format!("the file has more than {} values", self.limits.values);
            return Err(Box::new(Diagnostic::error(Code::Limit, node.span, message)));
        }
        match self.stack.last_mut() {
            None => self.roots.push(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, .. }) => match (key.take(), node.value) {
                (Some(key), value) => entries.push((key, Node { value, span: node.span })),
                (None, Value::Scalar(scalar)) if scalar.text == "<<" => {
                    let hint = "write the keys out: what applies is read where it applies";
                    return Self::refused(node.span, "a merge key", hint);
                }
                (None, Value::Scalar(scalar)) => {
                    *key = Some(Key { text: scalar.text, exact: scalar.exact, span: node.span });
                }
                (None, _) => {
                    *key = Some(Key { text: Cow::Borrowed(""), exact: None, span: node.span });
                }
            },
        }
        Ok(())
    }

    fn close(&mut self, mark: &Mark, problems: &mut Problems<'_>) -> Option<Node<'a>> {
        let end = Self::span(mark).end;
        Some(match self.stack.pop()? {
            Frame::List { mut span, items } => {
                span.end = Self::end_of(self.text, span.start, end);
                Node { value: Value::List(items), span }
            }
            Frame::Map { mut span, entries, .. } => {
                span.end = Self::end_of(self.text, span.start, end);
                Node { value: Value::Map(unique(entries, problems)), span }
            }
        })
    }

    /// A block collection ends where the next token begins: give back the white space and comments after its last line.
    fn end_of(text: &str, start: u32, end: u32) -> u32 {
        let inside = text.get(start as usize..end as usize).unwrap_or("");
        start + small(inside.trim_end().len())
    }
}

/// Drops later entries with a key that was there before, and says so.
fn unique<'a>(
    mut entries: Vec<(Key<'a>, Node<'a>)>,
    problems: &mut Problems<'_>,
) -> Vec<(Key<'a>, Node<'a>)> {
    let again = repeated(&entries);
    for (first, second) in &again {
        let (Some((first, _)), Some((second, _))) = (entries.get(*first), entries.get(*second))
        else {
            continue;
        };
        problems.push(
            Diagnostic::error(
                Code::DuplicateKey,
                second.span,
                format!("`{}` is given twice", second.text),
            )
            .label("again here")
            .related(first.span, "first here")
            .hint("rename one of them, or merge the two"),
        );
    }
    if !again.is_empty() {
        let mut drop = again.into_iter().map(|(_, second)| second).peekable();
        let mut at = 0;
        entries.retain(|_| {
            let gone = drop.next_if_eq(&at).is_some();
            at += 1;
            !gone
        });
    }
    entries
}

/// Positions of entries whose key stood before, each with the position of the first.
fn repeated(entries: &[(Key<'_>, Node<'_>)]) -> Vec<(usize, usize)> {
    let mut again = Vec::new();
    if entries.len() <= 16 {
        for (at, (key, _)) in entries.iter().enumerate() {
            let first = entries.iter().take(at).position(|(before, _)| before.text == key.text);
            again.extend(first.map(|first| (first, at)));
        }
        return again;
    }
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
    for (at, (key, _)) in entries.iter().enumerate() {
        match seen.entry(&key.text) {
            Entry::Occupied(first) => again.push((*first.get(), at)),
            Entry::Vacant(free) => {
                free.insert(at);
            }
        }
    }
    again
}
