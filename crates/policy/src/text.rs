//! A file's bytes to its text: UTF-8, and nothing that only looks like a file of ours.
//!
//! A byte order mark at the beginning is left out. Everything else that is not text is refused at its place, with the
//! command that converts it.

use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Diagnostics, Problems};
use crate::document::Span;
use crate::{Limits, Severity};

/// The text of a file with these bytes. `name` is only for messages.
///
/// # Errors
/// The one reason why the bytes are no text: larger than `limits.bytes`, another encoding, or NUL bytes.
pub fn text(name: &str, bytes: Vec<u8>, limits: &Limits) -> Result<String, Box<Diagnostics>> {
    if bytes.len() > limits.bytes {
        return Err(Box::new(too_large(name, bytes.len(), limits)));
    }
    if let Some(encoding) = utf_16_or_32(&bytes) {
        let found =
            Diagnostic::error(Code::Syntax, place("", 0), format!("the file is {encoding}")).hint(
                format!("files are UTF-8; convert it: iconv -f {encoding} -t UTF-8 OLD > NEW"),
            );
        return Err(Box::new(refused(name, "", found)));
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text),
        Err(error) => return Err(Box::new(not_utf_8(name, &error))),
    };
    let Some(at) = text.find('\0') else { return Ok(text) };
    let found = Diagnostic::error(Code::Syntax, place(&text, at), "the file has a NUL byte")
        .hint("this is no text file, or a disk or an editor has damaged it: write it again");
    Err(Box::new(refused(name, &text, found)))
}

/// The finding for a file that is larger than what is read.
pub(crate) fn too_large(name: &str, bytes: usize, limits: &Limits) -> Diagnostics {
    let message = format!("the file has {bytes} bytes, at most {} are read", limits.bytes);
    let found = Diagnostic::new(Code::Limit, Severity::Error, None, message)
        .hint("a host needs only the tenants whose workloads run on it: make one file per host");
    refused(name, "", found)
}

fn refused(name: &str, text: &str, found: Diagnostic) -> Diagnostics {
    let mut problems = Problems::new(text, 1);
    problems.push(found);
    problems.finish(Arc::from(name))
}

/// The encoding, as `iconv` calls it, by its mark or by the NUL in one of the first two characters.
fn utf_16_or_32(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [1..=0xff, 0, 1..=0xff, 0, ..] => Some("UTF-16LE"),
        [0, 1..=0xff, 0, 1..=0xff, ..] => Some("UTF-16BE"),
        _ => None,
    }
}

fn not_utf_8(name: &str, error: &std::string::FromUtf8Error) -> Diagnostics {
    let at = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(at).copied().unwrap_or(0);
    // Up to the end of the line, for the excerpt.
    let rest = error.as_bytes().get(at..).unwrap_or(&[]);
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    let line = line.get(..line.len().min(80)).unwrap_or(&[]);
    let before = error.as_bytes().get(..at).unwrap_or(&[]);
    let mut text = String::from_utf8_lossy(before).into_owned();
    text += &String::from_utf8_lossy(line);
    let found = Diagnostic::error(Code::Syntax, place(&text, at), "the file is not UTF-8")
        .label(format!("the byte {byte:#04x} begins no character"))
        .hint("save it as UTF-8, or convert it: iconv -f ISO-8859-1 -t UTF-8 OLD > NEW");
    refused(name, &text, found)
}

/// The place of the character at this byte.
pub(crate) fn place(text: &str, at: usize) -> Span {
    let before = text.get(..at).unwrap_or("");
    let line = before.rsplit('\n').next().unwrap_or("");
    let width = text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Span {
        start: small(at),
        end: small(at + width),
        line: small(1 + before.matches('\n').count()),
        column: small(1 + line.chars().count()),
    }
}
