//! `${NAME}` in values: replaced only if `vars:` lists the name, and never anything but the inside of one value.
//!
//! `$${` is the one way to write the text `${`; a `$` that no `{` follows is text, so that a shell's `$HOME` and `$$` need
//! no care. Values are looked at as they are read, so that no escape (`"\u0024{NAME}"`) gets around it.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::Span;
use crate::nearest::did_you_mean;
use crate::tree::{Node, Scalar, Value};

/// Most bytes that one variable may have.
const MAX_VALUE: usize = 4096;

/// A listed variable: where, its value, and whether something used it.
struct Variable {
    span: Span,
    value: Option<String>,
    used: bool,
}

/// What was read of `vars`, and how many bytes their values may still make together.
struct Variables {
    known: HashMap<String, Variable>,
    left: usize,
    most: usize,
}

/// Replaces the listed variables in the whole tree, with at most `most` bytes of values together.
pub(crate) fn replace(
    root: &mut Node<'_>,
    from: &dyn Fn(&str) -> Option<String>,
    most: usize,
    problems: &mut Problems<'_>,
) {
    let mut variables = Variables { known: listed(root, from, problems), left: most, most };
    walk(root, &mut variables, problems);
    let mut unused: Vec<_> =
        variables.known.iter().filter(|(_, variable)| !variable.used).collect();
    unused.sort_by_key(|(_, variable)| variable.span);
    for (name, variable) in unused {
        problems.push(
            Diagnostic::warning(
                Code::Unused,
                variable.span,
                format!("the variable `{name}` is not used"),
            )
            .hint(format!("use it as ${{{name}}}, or remove it from `vars`")),
        );
    }
}

fn listed(
    root: &Node<'_>,
    from: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems<'_>,
) -> HashMap<String, Variable> {
    let mut known = HashMap::new();
    let Value::Map(entries) = &root.value else { return known };
    let Some(Value::List(names)) =
        entries.iter().find(|(key, _)| key.text == "vars").map(|(_, node)| &node.value)
    else {
        return known;
    };
    for node in names {
        let Value::Scalar(scalar) = &node.value else { continue };
        if !is_variable_name(&scalar.text) {
            continue;
        }
        let value = from(&scalar.text);
        let missing = match &value {
            None => Some("is not set"),
            Some(value) if value.len() > MAX_VALUE => Some("is longer than 4096 bytes"),
            Some(value) if value.contains(char::is_control) => Some("contains control characters"),
            Some(_) => None,
        };
        if let Some(missing) = missing {
            problems.push(
                Diagnostic::error(
                    Code::Variable,
                    node.span,
                    format!("the variable `{}` {missing}", scalar.text),
                )
                .hint("set it in the environment of this command, or remove it from `vars`"),
            );
        }
        let variable = Variable { span: node.span, value, used: false };
        known.insert(scalar.text.clone().into_owned(), variable);
    }
    known
}

/// Whether the text can be the name of a variable: letters, digits and underscores, not beginning with a digit.
pub(crate) fn is_variable_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn walk(node: &mut Node<'_>, known: &mut Variables, problems: &mut Problems<'_>) {
    match &mut node.value {
        Value::Null | Value::Broken => {}
        Value::Scalar(scalar) => {
            if scalar.text.contains("${") && !scalar_value(scalar, node.span, known, problems) {
                node.value = Value::Broken;
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| walk(item, known, problems)),
        Value::Map(entries) => {
            for (key, value) in entries {
                if key.text.contains("${") {
                    problems.push(
                        Diagnostic::error(
                            Code::Variable,
                            key.span,
                            "a key cannot contain a variable",
                        )
                        .hint("variables are replaced in values only"),
                    );
                }
                walk(value, known, problems);
            }
        }
    }
}

/// Replaces what is in one value. `false` if something could not be replaced.
fn scalar_value(
    scalar: &mut Scalar<'_>,
    span: Span,
    variables: &mut Variables,
    problems: &mut Problems<'_>,
) -> bool {
    let mut complete = true;
    let mut made = String::with_capacity(scalar.text.len());
    let mut rest: &str = &scalar.text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (rest.get(..at).unwrap_or(""), rest.get(at + 2..).unwrap_or(""));
        if let Some(escaped) = before.strip_suffix('$') {
            made.push_str(escaped);
            made.push_str("${");
            rest = after;
            continue;
        }
        made.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            problems.push(unclosed(after, problems.within(span, &format!("${{{after}"))));
            return false;
        };
        if let Some(variable) = variables.known.get_mut(name) {
            variable.used = true;
            complete &= variable.value.is_some();
            let value = variable.value.as_deref().unwrap_or("");
            let Some(left) = variables.left.checked_sub(value.len()) else {
                return too_much(variables.most, span, problems);
            };
            variables.left = left;
            made.push_str(value);
        } else {
            complete = false;
            problems.push(unknown(
                name,
                problems.within(span, &format!("${{{name}")),
                &variables.known,
            ));
        }
        rest = behind;
    }
    made.push_str(rest);
    scalar.text = Cow::Owned(made);
    scalar.exact = None;
    complete
}

/// Reports that the values together would be larger than any file.
fn too_much(most: usize, span: Span, problems: &mut Problems<'_>) -> bool {
    let message = format!("the values of variables make more than {most} bytes, from here on");
    problems.push(Diagnostic::error(Code::Limit, span, message).hint(
        "name it once: a label, a segment or a port name stands for many addresses and ports",
    ));
    false
}

/// The finding for a `${` without its end; `after` is the rest of the value.
fn unclosed(after: &str, span: Span) -> Diagnostic {
    let name: String =
        after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
    let hint = if is_variable_name(&name) {
        format!("write ${{{name}}}, or $${{ for the text ${{")
    } else {
        "write $${ for the text ${".to_owned()
    };
    Diagnostic::error(Code::Variable, span, "this variable has no end")
        .label("`}` is missing")
        .hint(hint)
}

fn unknown(name: &str, span: Span, known: &HashMap<String, Variable>) -> Diagnostic {
    let hint = if is_variable_name(name) {
        did_you_mean(name, known.keys().map(String::as_str)).unwrap_or_else(|| {
            format!("list it: `vars: [{name}]`, or write $${{{name}}} for the text itself")
        })
    } else {
        "write $${ for the text ${".to_owned()
    };
    Diagnostic::error(Code::Variable, span, format!("`${{{name}}}` is not a listed variable"))
        .hint(hint)
}
