//! Single values as they are printed: as the author wrote them where that is one line, else quoted or as a block.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A value or key in one line. `written` is how it stands in the file, `text` what it says.
pub(super) fn in_one_line<'a>(written: &'a str, text: &str) -> Cow<'a, str> {
    let written = written.trim_end();
    let is_one_line = !written.contains(['\n', '\r']);
    match written.chars().next() {
        Some('\'') if is_one_line && !text.contains(['\'', '"', '\\']) => {
            // Either kind of quotes says the same here.
            Cow::Owned(format!("\"{text}\""))
        }
        Some(_) if is_one_line => Cow::Borrowed(written),
        _ => Cow::Owned(quoted(text)),
    }
}

/// Whether a text can be printed as a block: whole lines that nothing is lost of.
pub(super) fn fits_block(text: &str) -> bool {
    let plain =
        |c: char| c == '\n' || c == '\t' || !c.is_control() && c != '\u{feff}' && !is_break(c);
    !text.starts_with([' ', '\t', '\n'])
        && !text.is_empty()
        && !text.ends_with("\n\n")
        && text.lines().all(|line| line.is_empty() || !line.trim().is_empty())
        && text.chars().all(plain)
}

/// Characters that are the end of a line to some readers.
fn is_break(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// A block of whole lines, each behind `indent` spaces; without the end of its last line.
pub(super) fn block(text: &str, indent: usize) -> String {
    let mut out = String::from(if text.ends_with('\n') { "|" } else { "|-" });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            let _ = write!(out, "{:indent$}{line}", "");
        }
    }
    out
}

/// A text in double quotes, in one line.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || c == '\u{feff}' || is_break(c) => {
                // Writing to a text cannot fail.
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
