//! Peers and subjects of rules: pods by labels, addresses by networks.

use std::sync::Arc;

use ipnet::IpNet;

use super::fields::{Object, refuse, text};
use super::selector::selector;
use super::{Block, Namespaces, Peer, Pods, Selector};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::Span;
use crate::tree::Node;

/// The other side of a `NetworkPolicy` rule; `None` for everybody (the field is missing or empty).
pub(super) fn of_network(
    rule: Object<'_, '_>,
    key: &str,
    namespace: &Arc<str>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Peer>> {
    let nodes = rule.list(key, problems);
    if nodes.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    for node in nodes {
        let object = Object::of(node, "a peer", problems);
        out.extend(object.and_then(|object| network_peer(object, namespace, problems)));
    }
    Some(out)
}

fn network_peer(
    object: Object<'_, '_>,
    namespace: &Arc<str>,
    problems: &mut Problems<'_>,
) -> Option<Peer> {
    object.only(&["podSelector", "namespaceSelector", "ipBlock"], problems);
    let pods = object.object("podSelector", problems).map(|each| selector(each, problems));
    let others = object.object("namespaceSelector", problems).map(|each| selector(each, problems));
    if let Some(block) = object.object("ipBlock", problems) {
        if pods.is_some() || others.is_some() {
            refuse(problems, object.span(), "`ipBlock` stands alone, without selectors beside it");
        }
        return ip_block(block, problems).map(Peer::Block);
    }
    if pods.is_none() && others.is_none() {
        let message = "a peer has a `podSelector`, a `namespaceSelector` or an `ipBlock`";
        let hint = "an empty selector, `podSelector: {}`, is every pod; without a value it is none";
        let found = Diagnostic::error(Code::Manifest, object.span(), message).hint(hint);
        problems.push(found);
        return None;
    }
    let namespaces =
        others.map_or_else(|| Namespaces::Named(namespace.clone()), Namespaces::Matching);
    Some(Peer::Pods(Pods { namespaces, pods: pods.unwrap_or_default() }))
}

fn ip_block(object: Object<'_, '_>, problems: &mut Problems<'_>) -> Option<Block> {
    object.only(&["cidr", "except"], problems);
    let Some(node) = object.get("cidr") else {
        refuse(problems, object.span(), "`cidr` is missing");
        return None;
    };
    let net = cidr(node, problems)?;
    let mut except = Vec::new();
    for node in object.list("except", problems) {
        let Some(hole) = cidr(node, problems) else { continue };
        if net == hole || !net.contains(&hole) {
            refuse(problems, node.span, format!("`except` lies inside of the cidr {net}"));
            continue;
        }
        except.push(hole);
    }
    except.sort_unstable();
    except.dedup();
    Some(Block { net, except })
}

fn cidr(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<IpNet> {
    let written = text(node, "cidr", problems)?;
    let net = written.parse::<IpNet>().ok();
    if net.is_none() {
        refuse(problems, node.span, format!("`{written}` is not a network like 10.0.0.0/8"));
    }
    net.map(|net| net.trunc())
}

/// The other side of a rule of an administrator's policy, and a peer of it that is not judged.
pub(super) fn of_admin(
    rule: Object<'_, '_>,
    key: &str,
    is_beside: bool,
    problems: &mut Problems<'_>,
) -> (Vec<Peer>, Option<Span>) {
    let nodes = rule.list(key, problems);
    if nodes.is_empty() {
        refuse(problems, rule.span(), format!("a rule needs `{key}` with at least one peer"));
    }
    let mut out = Vec::new();
    let mut unjudged = None;
    for node in nodes {
        let Some(object) = Object::of(node, "a peer", problems) else { continue };
        unjudged = unjudged.or(admin_peer(object, (key == "to", is_beside), &mut out, problems));
    }
    (out, unjudged)
}

fn admin_peer(
    object: Object<'_, '_>,
    (is_egress, is_beside): (bool, bool),
    out: &mut Vec<Peer>,
    problems: &mut Problems<'_>,
) -> Option<Span> {
    const FORMS: [&str; 5] = ["namespaces", "pods", "networks", "nodes", "domainNames"];
    let forms = if is_egress { &FORMS[..] } else { FORMS.get(..2).unwrap_or(&FORMS) };
    object.only(forms, problems);
    if !object.has_one_of(forms) {
        let forms = forms.join("`, `");
        refuse(problems, object.span(), format!("a peer has exactly one of `{forms}`"));
        return None;
    }
    if let Some(pods) = pods(object, is_beside, problems) {
        out.push(Peer::Pods(pods));
    }
    if is_egress {
        let networks = object.list("networks", problems);
        if let Some(node) = object.get("networks").filter(|_| networks.is_empty()) {
            refuse(problems, node.span, "`networks` has at least one network");
        }
        for node in networks {
            let net = cidr(node, problems);
            // Beside a native file the addresses of workloads are known, and `translate` says what of them is meant.
            if net.is_some_and(|net| net.prefix_len() == 0) && !is_beside {
                problems.push(whole_internet(node));
            }
            out.extend(net.map(|net| Peer::Block(Block { net, except: Vec::new() })));
        }
        for form in ["nodes", "domainNames"] {
            if let Some(node) = object.get(form) {
                let message = format!("`{form}` is not judged: the peer matches nothing");
                problems.push(Diagnostic::warning(Code::ManifestBeyond, node.span, message));
                return Some(node.span);
            }
        }
    }
    None
}

/// The warning for a network that holds the addresses of pods, whatever those are.
fn whole_internet(node: &Node<'_>) -> Diagnostic {
    let message = "on a cluster this network means pods too; here it means addresses outside alone";
    Diagnostic::warning(Code::ManifestBeyond, node.span, message).hint(
        "name pods with `namespaces` or `pods` beside it: manifests do not tell their addresses",
    )
}

/// Pods as an administrator's policy names them: all of some namespaces, or some of them.
///
/// The API refuses `pods` without one of both selectors; beside a native file so do we. Manifests that are only analysed often
/// leave it out: there it is everything.
pub(super) fn pods(
    object: Object<'_, '_>,
    is_beside: bool,
    problems: &mut Problems<'_>,
) -> Option<Pods> {
    if let Some(namespaces) = object.object("namespaces", problems) {
        let namespaces = Namespaces::Matching(selector(namespaces, problems));
        return Some(Pods { namespaces, pods: Selector::default() });
    }
    let pods = object.object("pods", problems)?;
    pods.only(&["namespaceSelector", "podSelector"], problems);
    let mut of = |key: &str| {
        let found = pods.object(key, problems).map(|each| selector(each, problems));
        if found.is_none() && is_beside {
            let message = format!("`pods` needs a `{key}`");
            let hint = "an empty selector, `{}`, is everything";
            problems.push(Diagnostic::error(Code::Manifest, pods.span(), message).hint(hint));
        }
        found.unwrap_or_default()
    };
    let namespaces = Namespaces::Matching(of("namespaceSelector"));
    Some(Pods { namespaces, pods: of("podSelector") })
}
