//! Selector text to [`Selector`]: a hand-sized recursive-descent parser that knows where every token stands.

use std::ops::Range;

use thiserror::Error;

use super::{Field, Op, Selector, Term};
use crate::{LabelKey, LabelValue, Name};

/// Why a text does not parse, and which part of it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ParseError {
    /// One lower-case clause.
    pub message: String,
    /// The bytes of the text that the message is about. Empty at the end of the text when something is missing there.
    pub at: Range<usize>,
    /// What to write instead, when there is a good guess.
    pub hint: Option<String>,
}

pub(crate) fn parse_error(message: impl Into<String>, at: Range<usize>) -> ParseError {
    ParseError::new(message, at)
}

impl ParseError {
    /// An error about these bytes of the text.
    #[must_use]
    pub fn new(message: impl Into<String>, at: Range<usize>) -> Self {
        Self { message: message.into(), at, hint: None }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error about a text that begins `offset` bytes earlier.
    #[must_use]
    pub fn shifted(mut self, offset: usize) -> Self {
        self.at = self.at.start + offset..self.at.end + offset;
        self
    }
}

pub(super) fn selector(text: &str) -> Result<Selector, ParseError> {
    let mut cursor = Cursor { text, at: 0 };
    let mut terms = vec![term(&mut cursor)?];
    loop {
        cursor.skip_spaces();
        if cursor.rest().is_empty() {
            return Ok(Selector { terms });
        }
        if !cursor.eat(',') {
            let at = cursor.token();
            let message =
                format!("expected `,` or the end of the selector, found `{}`", cursor.slice(&at));
            return Err(parse_error(message, at)
                .with_hint("terms are separated by commas: app=web, tier=front"));
        }
        if terms.len() == Selector::MAX_TERMS {
            let message = format!("a selector has at most {} terms", Selector::MAX_TERMS);
            return Err(parse_error(message, cursor.at..text.len()));
        }
        terms.push(term(&mut cursor)?);
    }
}

fn term(cursor: &mut Cursor<'_>) -> Result<Term, ParseError> {
    cursor.skip_spaces();
    let begin = cursor.at;
    if cursor.eat('!') {
        cursor.skip_spaces();
        let at = cursor.word();
        let field = field(cursor, at)?;
        return labels_only(field, Op::Missing, begin..cursor.at);
    }
    let at = cursor.word();
    let field = field(cursor, at)?;
    cursor.skip_spaces();
    let op = if cursor.eat_text("!=") {
        Op::IsNot(value(cursor, &field)?)
    } else if cursor.eat_text("==") {
        return Err(parse_error("`==` is not an operator", cursor.at - 2..cursor.at)
            .with_hint("write a single `=`: app=web"));
    } else if cursor.eat('=') {
        Op::Is(value(cursor, &field)?)
    } else if cursor.eat_word("notin") {
        Op::NotIn(values(cursor, &field)?)
    } else if cursor.eat_word("in") {
        Op::In(values(cursor, &field)?)
    } else if cursor.rest().starts_with(':') {
        let at = cursor.at..cursor.at + 1;
        return Err(parse_error("`:` does not belong in a selector", at)
            .with_hint("write `key=value`: app=web"));
    } else {
        return labels_only(field, Op::Exists, begin..cursor.at);
    };
    Ok(Term { field, op })
}

fn labels_only(field: Field, op: Op, at: Range<usize>) -> Result<Term, ParseError> {
    if matches!(field, Field::Label(_)) {
        return Ok(Term { field, op });
    }
    let word = field.as_str();
    let message = format!("`{word}` needs a value here");
    Err(parse_error(message, at.start..at.start + at.len())
        .with_hint(format!("write `{word}=NAME`")))
}

fn field(cursor: &Cursor<'_>, at: Range<usize>) -> Result<Field, ParseError> {
    let text = cursor.slice(&at);
    match text {
        "tenant" => return Ok(Field::Tenant),
        "network" => return Ok(Field::Network),
        "segment" => return Ok(Field::Segment),
        "workload" => return Ok(Field::Workload),
        "host" | "world" | "unmanaged" | "any" => {
            return Err(parse_error(
                format!("`{text}` stands alone, it is not part of a selector"),
                at,
            )
            .with_hint(format!("write it as an entry of its own: [{text}, app=web]")));
        }
        "" => {
            let at = cursor.token();
            let found = cursor.slice(&at);
            let message = if found.is_empty() {
                "expected a label key, found the end of the selector".to_owned()
            } else {
                format!("expected a label key, found `{found}`")
            };
            return Err(parse_error(message, at));
        }
        _ => {}
    }
    LabelKey::new(text).map(Field::Label).map_err(|error| parse_error(error.to_string(), at))
}

fn value(cursor: &mut Cursor<'_>, field: &Field) -> Result<LabelValue, ParseError> {
    cursor.skip_spaces();
    let at = cursor.word();
    let text = cursor.slice(&at);
    if text.is_empty() && !matches!(cursor.rest().chars().next(), None | Some(',' | ')')) {
        let at = cursor.token();
        let message = format!("expected a value, found `{}`", cursor.slice(&at));
        return Err(parse_error(message, at));
    }
    if !matches!(field, Field::Label(_)) {
        Name::new(text).map_err(|error| parse_error(error.to_string(), at.clone()))?;
    }
    LabelValue::new(text).map_err(|error| parse_error(error.to_string(), at))
}

fn values(cursor: &mut Cursor<'_>, field: &Field) -> Result<Vec<LabelValue>, ParseError> {
    cursor.skip_spaces();
    if !cursor.eat('(') {
        let at = cursor.token();
        return Err(parse_error("expected `(` after `in` or `notin`", at)
            .with_hint(format!("write {} in (a, b)", field.as_str())));
    }
    let mut values = Vec::new();
    loop {
        values.push(value(cursor, field)?);
        cursor.skip_spaces();
        if cursor.eat(')') {
            return Ok(values);
        }
        if !cursor.eat(',') {
            return Err(parse_error("expected `,` or `)` in the list", cursor.token()));
        }
        if values.len() == Selector::MAX_VALUES {
            let message = format!("a list has at most {} values", Selector::MAX_VALUES);
            return Err(parse_error(message, cursor.at..cursor.text.len()));
        }
    }
}

/// A place in the text.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn slice(&self, at: &Range<usize>) -> &'a str {
        self.text.get(at.clone()).unwrap_or("")
    }

    fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn eat_text(&mut self, wanted: &str) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    /// Eats `wanted` only where the word ends.
    fn eat_word(&mut self, wanted: &str) -> bool {
        let found =
            self.rest().strip_prefix(wanted).is_some_and(|after| !after.starts_with(is_word));
        if found {
            self.at += wanted.len();
        }
        found
    }

    /// Eats the characters of a key or value, possibly none.
    fn word(&mut self) -> Range<usize> {
        let begin = self.at;
        let rest = self.rest();
        self.at += rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        begin..self.at
    }

    /// What stands here, for an error message: a word, or one character, or nothing at the end.
    fn token(&self) -> Range<usize> {
        let rest = self.rest();
        let length = match rest.find(|c: char| !is_word(c)) {
            Some(0) => rest.chars().next().map_or(0, char::len_utf8),
            Some(end) => end,
            None => rest.len(),
        };
        self.at..self.at + length
    }
}

/// Everything that is not punctuation of the language: a bad character inside of a word is reported as such.
fn is_word(c: char) -> bool {
    !(c.is_whitespace() || matches!(c, ',' | '=' | '!' | '(' | ')' | ':'))
}
