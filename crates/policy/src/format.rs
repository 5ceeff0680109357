//! One way to lay a file out: `policy fmt`.
//!
//! The tree is printed again, with the comments where they stood. Order, the choice between block and flow style, and the way
//! in which a value is written stay the author's: what changes is indentation, spaces, blank lines, quotes and line breaks.
//!
//! **Ends of lines and documents.** A file whose lines all end in CR LF keeps that, and a `---` that is the first line stays.
//! Mixed ends of lines, and a `---` or `...` elsewhere, are refused with a sentence: they would be lost.
//!
//! **Meaning.** What comes out is read again and compared with what went in, value by value and comment by comment. If
//! anything differs nothing is returned, so a text can be left as it is but never change its meaning.

pub(crate) mod comments;
mod printer;
mod scalars;
#[cfg(test)]
mod tests;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Diagnostics, Problems};
use crate::tree::{self, Node, Value};
use crate::{Limits, Severity, Source};

use comments::{Comment, comments};
use printer::Printer;

/// Lays a file out. It may name what does not exist: only its YAML has to be right.
///
/// # Errors
/// Why the text cannot be read, or that it cannot be laid out without changing it.
pub fn format(source: &Source<'_>, limits: &Limits) -> Result<String, Box<Diagnostics>> {
    let mut problems = Problems::new(source.text, limits.findings);
    if source.text.len() > limits.bytes {
        return Err(Box::new(crate::text::too_large(source.name, source.text.len(), limits)));
    }
    let frame = match Frame::of(source.text) {
        Ok(frame) => frame,
        Err((at, message, hint)) => {
            let place = crate::text::place(source.text, at);
            problems.push(Diagnostic::error(Code::Yaml, place, message).hint(hint));
            return Err(Box::new(problems.finish(source.name.into())));
        }
    };
    let text = frame.lines(source.text);
    let mut problems = Problems::new(&text, limits.findings);
    let tree = tree::read(&text, limits, &mut problems).filter(|_| problems.errors() == 0);
    let out = tree.map(|tree| settled(&text, &tree));
    match out {
        Some(Some(out)) => return Ok(frame.around(out)),
        Some(None) => {
            let message = "this file cannot be laid out without changing what it says";
            problems.push(
                Diagnostic::new(Code::Yaml, Severity::Error, None, message.to_owned())
                    .hint("it is left as it is; write the value or comment in a simpler way"),
            );
        }
        None => {}
    }
    Err(Box::new(problems.finish(source.name.into())))
}

/// What stands around the values of a file and stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    /// Lines end in CR LF.
    returns: bool,
    /// The first line is `---`.
    marker: bool,
}

impl Frame {
    /// The frame of a text, or where what cannot be kept stands, what it is, and what to do.
    fn of(text: &str) -> Result<Self, (usize, &'static str, &'static str)> {
        let returns = text.contains("\r\n");
        let bare = |(at, _): &(usize, &str)| {
            let before = text.as_bytes().get(at.wrapping_sub(1));
            returns && before != Some(&b'\r')
        };
        let stray = |(at, _): &(usize, &str)| text.as_bytes().get(at + 1) != Some(&b'\n');
        let odd =
            text.match_indices('\n').find(bare).or_else(|| text.match_indices('\r').find(stray));
        if let Some((at, _)) = odd {
            let message =
                "the lines of this file end in different ways, which a layout would not keep";
            return Err((at, message, "end every line in LF: sed -i 's/\\r$//' FILE"));
        }
        let (mut at, mut marker) = (0, false);
        for line in text.split_inclusive('\n') {
            let bare = line.trim_end();
            if at == 0 && bare == "---" {
                marker = true;
            } else if ["---", "..."].iter().any(|mark| {
                line.strip_prefix(mark).is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])
                })
            }) {
                let message = "a mark of a document stands here, which a layout would not keep";
                return Err((
                    at,
                    message,
                    "leave it out, or make `---` the first line of the file",
                ));
            }
            at += line.len();
        }
        Ok(Self { returns, marker })
    }

    /// The text with lines that end in LF.
    fn lines(self, text: &str) -> std::borrow::Cow<'_, str> {
        if self.returns { text.replace("\r\n", "\n").into() } else { text.into() }
    }

    /// The layout with what stood around it.
    fn around(self, out: String) -> String {
        let out = if self.marker { format!("---\n{out}") } else { out };
        if self.returns { out.replace('\n', "\r\n") } else { out }
    }
}

/// How often a text is laid out until it stays as it is. A comment at an odd place may move once.
const ROUNDS: usize = 4;

/// The layout that stays as it is when it is laid out again; `None` if there is none that says the same.
fn settled(text: &str, tree: &Node<'_>) -> Option<String> {
    let said = comments(text)?;
    let limits = Limits::for_bytes(Limits::MAX_BYTES);
    let mut out = Printer::new(text, &said).print(tree);
    for _ in 0..ROUNDS {
        if !is_same(text, (tree, &said), &out, &limits) {
            return None;
        }
        let again = {
            let mut problems = Problems::new(&out, limits.findings);
            let tree = tree::read(&out, &limits, &mut problems)?;
            Printer::new(&out, &comments(&out)?).print(&tree)
        };
        if again == out {
            return Some(out);
        }
        out = again;
    }
    None
}

/// Whether a text has the same values and the same comments.
fn is_same(text: &str, (tree, said): (&Node<'_>, &[Comment]), out: &str, limits: &Limits) -> bool {
    let mut problems = Problems::new(out, limits.findings);
    let Some(again) = tree::read(out, limits, &mut problems) else { return false };
    let Some(still) = comments(out).filter(|_| problems.errors() == 0) else { return false };
    let written = |text: &'_ str, of: &Comment| text.get(of.start..of.end).map(str::to_owned);
    let said = said.iter().map(|each| written(text, each));
    same_value(tree, &again) && said.eq(still.iter().map(|each| written(out, each)))
}

/// Whether two trees have the same values; where they stand does not matter.
fn same_value(one: &Node<'_>, other: &Node<'_>) -> bool {
    match (&one.value, &other.value) {
        (Value::Null, Value::Null) => true,
        (Value::Scalar(one), Value::Scalar(other)) => one.text == other.text,
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same_value(a, b))
        }
        (Value::Map(one), Value::Map(other)) => {
            let same =
                |((a, one), (b, other)): (&(_, _), &(_, _))| same_entry((a, one), (b, other));
            one.len() == other.len() && one.iter().zip(other).all(same)
        }
        _ => false,
    }
}

fn same_entry(one: (&tree::Key<'_>, &Node<'_>), other: (&tree::Key<'_>, &Node<'_>)) -> bool {
    one.0.text == other.0.text && same_value(one.1, other.1)
}
