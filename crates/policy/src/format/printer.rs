//! The tree as text, with the comments put back where they belong.
//!
//! A comment in a line of its own goes before what comes next, a comment behind something stays behind it. Comments after the
//! last entry of a block stay in that block as long as they are indented like it.

use crate::tree::{Key, Node, Value};

use super::comments::{Comment, before};
use super::scalars;

/// The longest line that a list in brackets or a mapping in braces is put into, in characters.
const WIDTH: usize = 150;
/// Spaces for each level.
const STEP: usize = 2;

/// See the module.
pub(super) struct Printer<'p> {
    text: &'p str,
    comments: &'p [Comment],
    /// The first comment that is not printed yet.
    next: usize,
    out: String,
}

/// Where a block is printed.
#[derive(Clone, Copy)]
struct Block {
    /// Spaces before its entries.
    indent: usize,
    /// Whether its first entry goes on in a line that has begun.
    goes_on: bool,
    /// The byte at which whatever comes after it begins.
    limit: usize,
    /// The column of what it belongs to, when its own entries are indented no deeper than that.
    outer: usize,
}

impl<'p> Printer<'p> {
    /// For a text and its comments.
    pub(super) fn new(text: &'p str, comments: &'p [Comment]) -> Self {
        Self { text, comments, next: 0, out: String::with_capacity(text.len() + 64) }
    }

    /// The text of a tree that was read from this text.
    pub(super) fn print(mut self, tree: &Node<'_>) -> String {
        let limit = self.text.len() + 1;
        let block = Block { indent: 0, goes_on: false, limit, outer: usize::MAX };
        match &tree.value {
            Value::Map(entries) if !self.is_flow(tree) => self.map(entries, block),
            Value::List(items) if !self.is_flow(tree) => self.list(items, block),
            _ => {
                self.lead(tree.span.start as usize, tree.span.start as usize, 0, true);
                match &tree.value {
                    // At the beginning of a line `---` is more than a text.
                    Value::Scalar(scalar) => self.out += &scalars::quoted(&scalar.text),
                    _ => self.inline(tree, 0),
                }
                self.end_line(tree.span.end as usize);
            }
        }
        self.flush(usize::MAX, 0, false);
        self.out
    }

    fn is_flow(&self, node: &Node<'_>) -> bool {
        let first = self.text.as_bytes().get(node.span.start as usize);
        matches!(first, Some(b'[' | b'{'))
    }

    fn is_block(&self, node: &Node<'_>) -> bool {
        matches!(node.value, Value::Map(_) | Value::List(_)) && !self.is_flow(node)
    }

    fn map(&mut self, entries: &[(Key<'_>, Node<'_>)], block: Block) {
        for (at, (key, value)) in entries.iter().enumerate() {
            let start = key.span.start as usize;
            let after = entries.get(at + 1).map_or(block.limit, |(key, _)| key.span.start as usize);
            if at > 0 || !block.goes_on {
                let inner = self.inner_start(value).unwrap_or(start);
                self.lead(start, inner, block.indent, at == 0);
                self.pad(block.indent);
            }
            self.key(key);
            let key_end = key.span.end as usize;
            let column = before(self.text, start).len();
            let inner =
                Block { indent: block.indent + STEP, goes_on: false, limit: after, outer: column };
            self.value(value, key_end, inner);
        }
        if let Some((key, _)) = entries.first() {
            let column = before(self.text, key.span.start as usize).len();
            self.tail(column, block);
        }
    }

    fn list(&mut self, items: &[Node<'_>], block: Block) {
        let mut column = usize::MAX;
        for (at, item) in items.iter().enumerate() {
            let start = first_leaf(item);
            let next = items.get(at + 1).map(first_leaf);
            let after = next.unwrap_or(block.limit);
            if at > 0 || !block.goes_on {
                self.lead(start, start, block.indent, at == 0);
                self.pad(block.indent);
            }
            let line = before(self.text, start);
            column = column.min(line.len() - line.trim_start().len());
            self.out.push('-');
            let inner = Block {
                indent: block.indent + STEP,
                goes_on: true,
                limit: after,
                outer: usize::MAX,
            };
            match &item.value {
                Value::Map(entries) if self.is_block(item) => {
                    self.out.push(' ');
                    self.map(entries, inner);
                }
                Value::List(items) if self.is_block(item) => {
                    self.out.push(' ');
                    self.list(items, inner);
                }
                Value::Null | Value::Broken => {
                    self.out.push_str(" null");
                    self.end_line(start);
                }
                _ => {
                    self.out.push(' ');
                    self.inline(item, block.indent);
                    self.end_line(self.end(item));
                }
            }
        }
        self.tail(column, block);
    }

    /// What stands behind a key, to the end of its last line.
    fn value(&mut self, value: &Node<'_>, key_end: usize, inner: Block) {
        self.out.push(':');
        match &value.value {
            Value::Map(entries) if self.is_block(value) => {
                self.end_line(key_end);
                self.map(entries, inner);
            }
            Value::List(items) if self.is_block(value) => {
                self.end_line(key_end);
                self.list(items, inner);
            }
            Value::Null | Value::Broken => self.end_line(key_end),
            _ => {
                self.out.push(' ');
                self.inline(value, inner.indent - STEP);
                self.end_line(self.end(value));
            }
        }
    }

    /// A value that goes on in the line, which is indented by `indent`.
    fn inline(&mut self, node: &Node<'_>, indent: usize) {
        match &node.value {
            Value::Scalar(scalar) if scalar.is_block && scalars::fits_block(&scalar.text) => {
                self.out += &scalars::block(&scalar.text, indent + STEP);
            }
            Value::List(_) | Value::Map(_) => self.flow(node, indent),
            _ => self.out += &self.one_line(node),
        }
    }

    /// A list in brackets or a mapping in braces: in one line if it fits and nothing is said in between.
    fn flow(&mut self, node: &Node<'_>, indent: usize) {
        let line = self.one_line(node);
        let used = before(&self.out, self.out.len()).chars().count();
        let end = node.span.end as usize;
        let is_commented = self.comments.get(self.next).is_some_and(|comment| comment.start < end);
        if !is_commented && used + line.chars().count() <= WIDTH {
            self.out += &line;
            return;
        }
        let inner = indent + STEP;
        let (open, close) =
            if matches!(node.value, Value::Map(_)) { ('{', '}') } else { ('[', ']') };
        self.out.push(open);
        self.out.push('\n');
        match &node.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    self.flush(
                        self.inner_start(value).unwrap_or(key.span.start as usize),
                        inner,
                        false,
                    );
                    self.pad(inner);
                    self.key(key);
                    self.out.push_str(": ");
                    self.inline_in_flow(value, inner);
                    self.out.push(',');
                    self.end_line((value.span.end as usize).max(key.span.end as usize));
                }
            }
            Value::List(items) => {
                for item in items {
                    self.flush(item.span.start as usize, inner, false);
                    self.pad(inner);
                    self.inline_in_flow(item, inner);
                    self.out.push(',');
                    self.end_line(self.end(item));
                }
            }
            _ => {}
        }
        self.flush(end, inner, false);
        self.pad(indent);
        self.out.push(close);
    }

    fn inline_in_flow(&mut self, node: &Node<'_>, indent: usize) {
        match &node.value {
            Value::List(_) | Value::Map(_) => self.flow(node, indent),
            _ => self.out += &self.one_line(node),
        }
    }

    fn one_line(&self, node: &Node<'_>) -> String {
        match &node.value {
            Value::Null | Value::Broken => "null".to_owned(),
            Value::Scalar(scalar) if scalar.is_block => scalars::quoted(&scalar.text),
            Value::Scalar(scalar) => {
                scalars::in_one_line(self.written(node), &scalar.text).into_owned()
            }
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|item| self.one_line(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Value::Map(entries) => {
                let pair = |(key, value): &(Key<'_>, Node<'_>)| {
                    format!("{}: {}", self.key_text(key), self.one_line(value))
                };
                format!("{{ {} }}", entries.iter().map(pair).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// The byte after what a value says; a block has its last line's end.
    fn end(&self, node: &Node<'_>) -> usize {
        node.span.start as usize + self.written(node).trim_end().len()
    }

    fn written(&self, node: &Node<'_>) -> &'p str {
        self.text.get(node.span.start as usize..node.span.end as usize).unwrap_or("")
    }

    fn key_text(&self, key: &Key<'_>) -> String {
        let written = self.text.get(key.span.start as usize..key.span.end as usize).unwrap_or("");
        scalars::in_one_line(written, &key.text).into_owned()
    }

    fn key(&mut self, key: &Key<'_>) {
        self.out += &self.key_text(key);
    }

    fn pad(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    /// Where a value that stands in the line of its key begins.
    fn inner_start(&self, value: &Node<'_>) -> Option<usize> {
        let is_inline =
            !self.is_block(value) && !matches!(value.value, Value::Null | Value::Broken);
        is_inline.then_some(value.span.start as usize)
    }

    /// Prints what stands before an entry that begins at `start`: comments up to `until`, and a blank line if there was one.
    fn lead(&mut self, start: usize, until: usize, indent: usize, is_first: bool) {
        let printed = self.flush(until, indent, is_first);
        if (printed || !is_first) && self.is_after_blank(start) {
            self.blank();
        }
    }

    /// Prints the comments that begin before `until`, each in a line of its own; whether there were any.
    fn flush(&mut self, until: usize, indent: usize, is_first: bool) -> bool {
        let mut printed = false;
        while let Some(comment) = self.comments.get(self.next).filter(|each| each.start < until) {
            if comment.is_alone && (printed || !is_first) && self.is_after_blank(comment.start) {
                self.blank();
            }
            self.pad(indent);
            self.comment(*comment);
            self.out.push('\n');
            printed = true;
        }
        printed
    }

    /// Prints comments after the last entry of a block that are indented like its entries.
    fn tail(&mut self, column: usize, block: Block) {
        let deeper = if column == block.outer { column.saturating_add(1) } else { column };
        while let Some(comment) = self.comments.get(self.next) {
            if !comment.is_alone || comment.column < deeper || comment.start >= block.limit {
                return;
            }
            if self.is_after_blank(comment.start) {
                self.blank();
            }
            self.pad(block.indent);
            self.comment(*comment);
            self.out.push('\n');
        }
    }

    fn comment(&mut self, comment: Comment) {
        self.out += self.text.get(comment.start..comment.end).unwrap_or("");
        self.next += 1;
    }

    /// Ends a line, with the comment that stands behind `end` in the file.
    fn end_line(&mut self, end: usize) {
        if let Some(comment) = self.comments.get(self.next).copied() {
            let between = self.text.get(end..comment.start);
            if !comment.is_alone && between.is_some_and(|between| !between.contains('\n')) {
                self.out.push_str("  ");
                self.comment(comment);
            }
        }
        self.out.push('\n');
    }

    /// A blank line, but not at the beginning and never two.
    fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// Whether the line before that of this byte is blank.
    fn is_after_blank(&self, at: usize) -> bool {
        let begin = at - before(self.text, at).len();
        let lines = self.text.get(..begin).and_then(|all| all.strip_suffix('\n'));
        lines.is_some_and(|lines| before(lines, lines.len()).trim().is_empty())
    }
}

/// The first byte of what an item of a list says.
fn first_leaf(node: &Node<'_>) -> usize {
    match &node.value {
        Value::Map(entries) => match entries.first() {
            Some((key, _)) => (node.span.start as usize).min(key.span.start as usize),
            None => node.span.start as usize,
        },
        _ => node.span.start as usize,
    }
}
