//! Where the comments of a text stand, as the parser tells it.

use granit_parser::{Event, Options, Parser};

/// A comment: its bytes from the `#` to the end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Comment {
    /// First byte, the `#`.
    pub(crate) start: usize,
    /// Byte after the last one; white space at the end of the line is no part of it.
    pub(crate) end: usize,
    /// Whether nothing else stands before it in its line.
    pub(crate) is_alone: bool,
    /// Bytes before it in its line.
    pub(crate) column: usize,
}

/// Every comment in the order of the text; `None` for a text that cannot be read.
///
/// **Limits.** As many as the text has lines.
pub(crate) fn comments(text: &str) -> Option<Vec<Comment>> {
    let mut options = Options::default();
    options.set_emit_comments(true);
    // A comment is shorter than the text, so this bounds what is held back without refusing a long one.
    options.max_buffered_comment_events = text.len();
    let mut found = Vec::new();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, mark) = next.ok()?;
        if !matches!(event, Event::Comment(..)) {
            continue;
        }
        let range = mark.byte_range()?;
        let written = text.get(range.clone())?.lines().next()?.trim_end();
        let before = before(text, range.start);
        found.push(Comment {
            start: range.start,
            end: range.start + written.len(),
            is_alone: before.trim().is_empty(),
            column: before.len(),
        });
    }
    found.sort_by_key(|comment| comment.start);
    Some(found)
}

/// What stands before a byte in its line.
pub(crate) fn before(text: &str, at: usize) -> &str {
    let all = text.get(..at).unwrap_or("");
    all.get(all.rfind('\n').map_or(0, |newline| newline + 1)..).unwrap_or("")
}
