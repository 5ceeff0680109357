//! What the API reference says of one connection, read sentence by sentence: no tables, no sets, no sharing with the product.
//!
//! `NetworkPolicy`: <https://kubernetes.io/docs/concepts/services-networking/network-policies/>; administrators' policies:
//! <https://network-policy-api.sigs.k8s.io/api-overview/>.

use std::net::Ipv4Addr;

use crate::model::{Cluster, Labels, Peer, Pod, Policy, Port, Rule, Selector};

#[derive(Clone, Copy)]
enum End<'c> {
    Pod(&'c Pod),
    Address(Ipv4Addr),
}

/// "For a connection from a source pod to a destination pod to be allowed, both the egress policy on the source pod and the
/// ingress policy on the destination pod need to allow the connection."
pub(crate) fn between(
    cluster: &Cluster,
    from: usize,
    to: usize,
    protocol: &str,
    port: u16,
) -> bool {
    let (from, to) = (&cluster.pods[from], &cluster.pods[to]);
    side(cluster, from, End::Pod(to), true, protocol, port)
        && side(cluster, to, End::Pod(from), false, protocol, port)
}

pub(crate) fn from_outside(
    cluster: &Cluster,
    address: Ipv4Addr,
    to: usize,
    protocol: &str,
    port: u16,
) -> bool {
    side(cluster, &cluster.pods[to], End::Address(address), false, protocol, port)
}

pub(crate) fn to_outside(
    cluster: &Cluster,
    from: usize,
    address: Ipv4Addr,
    protocol: &str,
    port: u16,
) -> bool {
    side(cluster, &cluster.pods[from], End::Address(address), true, protocol, port)
}

fn side(
    cluster: &Cluster,
    pod: &Pod,
    other: End<'_>,
    is_egress: bool,
    protocol: &str,
    port: u16,
) -> bool {
    // The pod that the port belongs to.
    let target = if is_egress { other } else { End::Pod(pod) };
    let matches = |rule: &Rule, namespace: &str| {
        let peers = rule.peers.is_empty()
            || rule.peers.iter().any(|peer| selects(cluster, peer, other, namespace));
        let ports = rule.ports.is_empty()
            || rule.ports.iter().any(|each| is_port(each, target, protocol, port));
        peers && ports
    };
    let rules = |policy: &Policy| {
        if is_egress { policy.egress.clone() } else { policy.ingress.clone() }
    };
    // "Rules with lower priority values have higher precedence"; of two with one priority, we say the lower name.
    let mut admin: Vec<(usize, &Policy)> = cluster.admin.iter().enumerate().collect();
    admin.sort_by_key(|(at, policy)| (policy.priority, *at));
    'admin: for (_, policy) in admin {
        if !is_subject(cluster, policy, pod) {
            continue;
        }
        for rule in rules(policy) {
            if matches(&rule, "") {
                match rule.action {
                    "Allow" => return true,
                    "Deny" => return false,
                    _ => break 'admin,
                }
            }
        }
    }
    let isolating: Vec<&Policy> = cluster
        .network
        .iter()
        .filter(|policy| policy.namespace == pod.namespace && holds(&policy.pods, &pod.labels))
        .filter(|policy| governs(policy, is_egress))
        .collect();
    if !isolating.is_empty() {
        return isolating
            .iter()
            .any(|policy| rules(policy).iter().any(|rule| matches(rule, policy.namespace)));
    }
    for policy in cluster.baseline.iter().filter(|policy| is_subject(cluster, policy, pod)) {
        for rule in rules(policy) {
            if matches(&rule, "") {
                return rule.action == "Allow";
            }
        }
    }
    true
}

/// "If no policyTypes are specified on a NetworkPolicy then by default Ingress will always be set and Egress will be set if the
/// NetworkPolicy has any egress rules."
fn governs(policy: &Policy, is_egress: bool) -> bool {
    match policy.types.as_deref() {
        None | Some([]) => !is_egress || !policy.egress.is_empty(),
        Some(types) => types.contains(if is_egress { &"Egress" } else { &"Ingress" }),
    }
}

fn is_subject(cluster: &Cluster, policy: &Policy, pod: &Pod) -> bool {
    let namespaces = policy.namespaces.as_ref().expect("given");
    holds(namespaces, &namespace(cluster, pod.namespace)) && holds(&policy.pods, &pod.labels)
}

/// "The Kubernetes control plane sets an immutable label kubernetes.io/metadata.name on all namespaces."
fn namespace(cluster: &Cluster, name: &'static str) -> Labels {
    let declared = cluster.namespaces.iter().find(|(each, _)| *each == name);
    let mut labels = declared.map(|(_, labels)| labels.clone()).unwrap_or_default();
    labels.push(("kubernetes.io/metadata.name", name));
    labels
}

fn selects(cluster: &Cluster, peer: &Peer, other: End<'_>, own: &str) -> bool {
    match (peer, other) {
        (Peer::Block(net, except), End::Address(address)) => {
            contains(net, address) && !except.iter().any(|hole| contains(hole, address))
        }
        (Peer::Pods(namespaces, pods), End::Pod(pod)) => {
            let here = match namespaces {
                Some(namespaces) => holds(namespaces, &namespace(cluster, pod.namespace)),
                None => pod.namespace == own,
            };
            here && pods.as_ref().is_none_or(|pods| holds(pods, &pod.labels))
        }
        _ => false,
    }
}

fn is_port(port: &Port, target: End<'_>, protocol: &str, number: u16) -> bool {
    match port {
        Port::Number(wanted, first, last) => {
            wanted.unwrap_or("TCP") == protocol
                && first.is_none_or(|first| (first..=last.unwrap_or(first)).contains(&number))
        }
        Port::Named(wanted, name) => {
            let End::Pod(pod) = target else { return false };
            let fits = wanted.is_none_or(|wanted| wanted == protocol);
            fits && pod
                .ports
                .iter()
                .any(|(n, p, each)| n == name && *p == protocol && *each == number)
        }
    }
}

fn contains(net: &str, address: Ipv4Addr) -> bool {
    let (base, len) = net.split_once('/').expect("a network");
    let (base, len): (Ipv4Addr, u32) = (base.parse().expect("an address"), len.parse().expect("n"));
    len == 0 || (base.to_bits() ^ address.to_bits()) >> (32 - len) == 0
}

fn holds(selector: &Selector, labels: &Labels) -> bool {
    selector.iter().all(|(key, operator, values)| {
        let value = labels.iter().find(|(each, _)| each == key).map(|(_, value)| *value);
        match *operator {
            "In" => value.is_some_and(|value| values.contains(&value)),
            "NotIn" => value.is_none_or(|value| !values.contains(&value)),
            "Exists" => value.is_some(),
            _ => value.is_none(),
        }
    })
}
