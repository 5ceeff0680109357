//! Ports of rules, as both APIs write them.

use std::sync::Arc;

use model::Transport;

use super::Port;
use super::fields::{Object, number, refuse, text};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems};
use crate::tree::Node;

/// The ports of a `NetworkPolicy` rule; `None` for every protocol and port (the field is missing or empty).
pub(super) fn of_network(rule: Object<'_, '_>, problems: &mut Problems<'_>) -> Option<Vec<Port>> {
    of_rule(rule, network_port, problems)
}

fn of_rule<'o, 't>(
    rule: Object<'o, 't>,
    read: impl Fn(Object<'o, 't>, &mut Problems<'_>) -> Option<Port>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Port>> {
    let nodes = rule.list("ports", problems);
    if nodes.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    for node in nodes {
        let object = Object::of(node, "a port", problems);
        out.extend(object.and_then(|object| read(object, problems)));
    }
    Some(out)
}

fn network_port(object: Object<'_, '_>, problems: &mut Problems<'_>) -> Option<Port> {
    object.only(&["protocol", "port", "endPort"], problems);
    let protocol = transport(object, problems)?;
    let end = object.get("endPort");
    let Some(node) = object.get("port") else {
        if let Some(end) = end {
            refuse(problems, end.span, "`endPort` needs a `port`, the first of the range");
        }
        return Some(Port::Numbers(protocol, 0, u16::MAX));
    };
    if let Some(first) = number(node) {
        let first = port(node, first, problems)?;
        let Some(end) = end else { return Some(Port::Numbers(protocol, first, first)) };
        let last = port_number(end, "endPort", problems)?;
        if last < first {
            refuse(problems, end.span, format!("`endPort` is lower than the port {first}"));
        }
        return Some(Port::Numbers(protocol, first, last.max(first)));
    }
    let name = port_name(node, problems)?;
    if let Some(end) = end {
        refuse(problems, end.span, "`endPort` needs a number as `port`, not a name");
    }
    Some(Port::Named(name, Some(protocol), node.span))
}

/// The ports of a rule of an administrator's policy; `None` for every protocol and port.
pub(super) fn of_admin(rule: Object<'_, '_>, problems: &mut Problems<'_>) -> Option<Vec<Port>> {
    of_rule(rule, admin_port, problems)
}

fn admin_port(object: Object<'_, '_>, problems: &mut Problems<'_>) -> Option<Port> {
    const FORMS: [&str; 3] = ["portNumber", "portRange", "namedPort"];
    object.only(&FORMS, problems);
    if FORMS.iter().filter(|form| object.get(form).is_some()).count() != 1 {
        let message = "a port has exactly one of `portNumber`, `portRange` and `namedPort`";
        refuse(problems, object.span(), message);
        return None;
    }
    if let Some(form) = object.object("portNumber", problems) {
        form.only(&["protocol", "port"], problems);
        let protocol = transport(form, problems)?;
        let first = required(form, "port", problems)?;
        return Some(Port::Numbers(protocol, first, first));
    }
    if let Some(form) = object.object("portRange", problems) {
        form.only(&["protocol", "start", "end"], problems);
        let protocol = transport(form, problems)?;
        let (first, last) = (required(form, "start", problems)?, required(form, "end", problems)?);
        if last < first {
            refuse(problems, form.span(), format!("the range {first}-{last} is empty"));
        }
        return Some(Port::Numbers(protocol, first, last.max(first)));
    }
    let node = object.get("namedPort")?;
    Some(Port::Named(port_name(node, problems)?, None, node.span))
}

/// The protocol: TCP when none is given.
fn transport(object: Object<'_, '_>, problems: &mut Problems<'_>) -> Option<Transport> {
    let Some(node) = object.get("protocol") else { return Some(Transport::Tcp) };
    let found = protocol(text(node, "protocol", problems)?);
    if found.is_none() {
        refuse(problems, node.span, "the protocol is TCP, UDP or SCTP");
    }
    found
}

/// The protocol with this name in the API.
pub(super) fn protocol(word: &str) -> Option<Transport> {
    Transport::ALL.into_iter().find(|each| each.as_str().to_ascii_uppercase() == word)
}

fn required(object: Object<'_, '_>, key: &str, problems: &mut Problems<'_>) -> Option<u16> {
    let Some(node) = object.get(key) else {
        refuse(problems, object.span(), format!("`{key}` is missing"));
        return None;
    };
    port_number(node, key, problems)
}

fn port_number(node: &Node<'_>, key: &str, problems: &mut Problems<'_>) -> Option<u16> {
    let Some(found) = number(node) else {
        refuse(problems, node.span, format!("`{key}` is a number from 1 to 65535"));
        return None;
    };
    port(node, found, problems)
}

fn port(node: &Node<'_>, number: u32, problems: &mut Problems<'_>) -> Option<u16> {
    let found = u16::try_from(number).ok().filter(|port| *port > 0);
    if found.is_none() {
        refuse(problems, node.span, format!("a port is a number from 1 to 65535, not {number}"));
    }
    found
}

/// A port's name: at most 15 lower-case letters, digits and dashes, at least one letter (RFC 6335 section 5.1).
fn port_name(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Arc<str>> {
    let name = text(node, "port", problems)?;
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let has_letter = name.bytes().any(|b| b.is_ascii_lowercase());
    if name.len() > 15 || !name.bytes().all(fine) || !has_letter {
        let message = format!("`{name}` is neither a port from 1 to 65535 nor a port's name");
        let hint = "a name has at most 15 lower-case letters, digits and dashes";
        problems.push(Diagnostic::error(Code::Manifest, node.span, message).hint(hint));
        return None;
    }
    Some(name.into())
}
