//! `host:`: the uplinks once each, and postures of its own default.

use model::{HostProcesses, Posture, Postures};

use crate::codes::Code;
use crate::decode::{Mapping as _, Val};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Host, Uplink};
use crate::raw::RawHost;

use super::{audit, empty_list};

/// A host has no more uplinks than this.
const MAX_UPLINKS: usize = 64;

/// Accounts whose processes send only what policies allow.
fn confined(raw: &RawHost, problems: &mut Problems<'_>) -> Vec<HostProcesses> {
    let mut confined = Vec::new();
    let Some(list) = &raw.confined else { return confined };
    if list.written == 0 {
        problems.push(empty_list(list.span, "leave the key out when nobody is meant"));
    }
    for processes in &list.items {
        if confined.contains(&processes.value) {
            let message = format!("`{}` is named twice", processes.value);
            problems.push(Diagnostic::error(Code::DuplicateKey, processes.span, message));
        } else {
            confined.push(processes.value.clone());
        }
    }
    confined
}

/// What the section says; nothing without one.
pub(super) fn host(raw: Option<&RawHost>, problems: &mut Problems<'_>) -> Option<Host> {
    let raw = raw?;
    let mut uplinks: Vec<Uplink> = Vec::new();
    if let Some(list) = &raw.interfaces {
        if list.written == 0 {
            problems.push(empty_list(
                list.span,
                "leave the key out for those that carry a default route",
            ));
        }
        if list.written > MAX_UPLINKS {
            let message = format!("{} uplinks are too many: at most {MAX_UPLINKS}", list.written);
            problems.push(Diagnostic::error(Code::Limit, list.span, message));
        }
        for uplink in list.items.iter().take(MAX_UPLINKS) {
            if uplinks.contains(&uplink.value) {
                let message = format!("the uplink `{}` is named twice", uplink.value);
                problems.push(Diagnostic::error(Code::DuplicateKey, uplink.span, message));
            } else {
                uplinks.push(uplink.value.clone());
            }
        }
    }
    let posture = raw.posture.as_ref();
    let one = |value: Option<&Val<Posture>>, default| value.map_or(default, |value| value.value);
    let postures = Postures {
        ingress: one(posture.and_then(|posture| posture.ingress.as_ref()), Posture::Deny),
        egress: one(posture.and_then(|posture| posture.egress.as_ref()), Posture::Allow),
    };
    let audit = audit::audit(raw.audit.as_ref(), problems);
    let confined = confined(raw, problems);
    Some(Host { uplinks, postures, audit, confined, span: raw.span() })
}
