//! Objects that are no policies as they are written, but were meant to be some.

use super::fields::Object;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::document::Span;
use crate::nearest::nearest;

/// Kinds of policies, in small letters, as a typing mistake is looked for in.
const POLICIES: [(&str, &str); 3] = [
    ("networkpolicy", "NetworkPolicy"),
    ("adminnetworkpolicy", "AdminNetworkPolicy"),
    ("baselineadminnetworkpolicy", "BaselineAdminNetworkPolicy"),
];

/// What else is in the API groups of policies.
const OTHERS: [&str; 4] = ["Ingress", "IngressClass", "IPAddress", "ServiceCIDR"];

/// Why an object of a kind that is not read may be a policy; `None` when it is none.
///
/// Left out, a policy lets more pass than its author wants, so this is an error where policies are enforced.
pub(super) fn policy(kind: &str, group: &str, object: Object<'_, '_>) -> Option<Diagnostic> {
    let small = kind.to_ascii_lowercase();
    let meant = nearest(&small, POLICIES.map(|(small, _)| small));
    let meant = POLICIES.iter().find(|(small, _)| Some(*small) == meant).map(|(_, kind)| *kind);
    let is_in_group = matches!(group, "networking.k8s.io" | "policy.networking.k8s.io")
        && !OTHERS.contains(&kind);
    if meant.is_none() && !is_in_group && !small.contains("networkpol") && kind != "List" {
        return None;
    }
    let message = match kind {
        "List" => "a List has `items`".to_owned(),
        _ if group.is_empty() => format!("there is no kind `{kind}` that can be enforced"),
        _ => format!("there is no kind `{kind}` of `{group}` that can be enforced"),
    };
    let hint = match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "left out, it would let more pass than its author wants".to_owned(),
    };
    Some(Diagnostic::error(Code::ManifestBeyond, object.span(), message).hint(hint))
}

/// What is no object of Kubernetes, and may be a policy all the same.
pub(super) fn no_object(what: &str, span: Span) -> Diagnostic {
    let message = format!("this is no object of Kubernetes: {what}");
    let hint = "an object has `apiVersion`, `kind` and `metadata`; several are several documents, or the `items` of a `List`";
    Diagnostic::error(Code::Manifest, span, message).hint(hint)
}
