//! Text of a file's author on an operator's terminal: no control reaches it, and nothing is shown in another order.
//!
//! A file may hold any character, and quoted YAML text may write controls as escapes. Raw, they would colour, move or
//! erase what is on the terminal, and controls of direction would show a rule as another one (CVE-2021-42574).

use std::borrow::Cow;

/// Whether a terminal would act on the character, hide it, or turn the text around it. A tab and a newline are no such.
fn acts(c: char) -> bool {
    match c {
        '\t' | '\n' => false,
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' => true,
        _ => c.is_control(),
    }
}

/// The text with such characters, and newlines, written as `\u{1b}`.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    let acting = |c: char| acts(c) || c == '\n';
    if !text.contains(acting) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if acting(c) {
            shown += &c.escape_unicode().to_string();
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The excerpt with such characters replaced by as many bytes as they have, so that places stay what they are.
///
/// Controls of one byte are left: the renderer shows them as pictures (`␛`).
pub(super) fn excerpt(text: &str) -> Cow<'_, str> {
    let acting = |c: char| acts(c) && c.len_utf8() > 1;
    if !text.contains(acting) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.len_utf8() {
            2 if acts(c) => shown.push_str("??"),
            3 if acts(c) => shown.push('\u{fffd}'),
            4 if acts(c) => shown.push_str("\u{fffd}?"),
            _ => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_written_out() {
        assert_eq!(line("app=wéb, 网络"), "app=wéb, 网络");
        assert_eq!(line("\u{1b}[31m\u{9b}2J\n"), "\\u{1b}[31m\\u{9b}2J\\u{a}");
        assert_eq!(line("a\u{202e}b\u{200f}\u{feff}"), "a\\u{202e}b\\u{200f}\\u{feff}");
    }

    #[test]
    fn excerpts_keep_their_places() {
        for text in ["a\u{9b}2J\u{202e}b\u{e0041}c", "plain", "\u{1b}[0m\u{85}"] {
            let shown = excerpt(text);
            assert_eq!(shown.len(), text.len());
            assert!(!shown.contains(|c| acts(c) && c.len_utf8() > 1), "{shown:?}");
        }
    }
}
