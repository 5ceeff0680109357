//! Words and shapes of other tools, and what to write here instead: a better answer than "unknown".
//!
//! People come from compose files, Kubernetes manifests and firewall rules. What they write first should get the line that
//! they meant, not a list of keys.

use crate::tree::{Node, Value};

const PUBLISH: &str = "the tenant's `publish` leads a port of the host to a workload: publish: { web: { port: 80/tcp, to: web:80 } }";
const PER_TENANT: &str =
    "it stands in a tenant: tenants: { shop: { networks: .., workloads: .., policies: .. } }";
const SEGMENTS: &str = "segments stand in a network: main: { subnets: [10.0.0.0/16], segments: { front: { subnet: 10.0.1.0/24 } } }";
const MANIFEST: &str = "this is Kubernetes; here a policy is one line: web-to-db: { from: app=web, to: app=db, allow: [5432/tcp] }";
const PEERS: &str = "write from: app=web, and to: app=db";
const CONTAINER: &str = "the built-in runtime starts programs of the host (`run:`); a container is adopted with `netns:`";
const AUDIT: &str = "write audit: { ingress: true, egress: true }";
const NAMED: &str = "its name is its key: web: { .. }";

/// What to write instead of a key that is planned, or that another tool has.
pub(super) fn instead_of_key(kind: &str, key: &str) -> Option<&'static str> {
    match kind {
        "file" => of_file(key),
        "tenant" => of_tenant(key),
        "network" | "segment" => of_network(kind, key),
        "workload" => of_workload(key),
        "publish entry" => of_publish(key),
        "policy" => of_policy(key),
        "assertion" => of_assertion(key),
        _ => None,
    }
}

fn of_assertion(key: &str) -> Option<&'static str> {
    Some(match key {
        "deny" | "forbid" | "not" | "no" | "unreachable" => "write never: world -> app=db",
        "allow" | "require" | "must" | "ensure" | "reachable" => {
            "write always: app=web -> app=db:5432/tcp"
        }
        "isolate" | "separate" | "isolation" => "write isolated: tenant shop",
        "exclusive" | "just" => "write only: app=web -> app=db",
        "from" | "to" | "port" | "ports" => "one text says it: never: world -> app=db:5432/tcp",
        _ => return None,
    })
}

fn of_file(key: &str) -> Option<&'static str> {
    Some(match key {
        "version" => "the version of the format is `bulkhead: 1`",
        "services" | "containers" => {
            "services are workloads of a tenant: tenants: { shop: { workloads: { web: { run: [nginx] } } } }"
        }
        "networks" | "workloads" | "publish" => PER_TENANT,
        "segments" => SEGMENTS,
        "volumes" | "configs" | "secrets" => CONTAINER,
        "apiVersion" | "kind" | "metadata" | "spec" => MANIFEST,
        "assertions" | "asserts" => "write `assert: [..]`",
        "variables" | "env" | "environment" => "write `vars: [NAME]`",
        "rules" => "write `policies:`",
        "name" | "description" => "write a comment: # ..",
        "mode" | "enforcement" => AUDIT,
        "include" | "includes" | "extends" => "a host has one file; nothing is included",
        _ => return None,
    })
}

fn of_tenant(key: &str) -> Option<&'static str> {
    Some(match key {
        "services" | "containers" => "write `workloads:`",
        "segments" => SEGMENTS,
        "labels" => "labels belong to workloads: web: { labels: { app: web }, .. }",
        "ports" => PUBLISH,
        "vars" => "write it at the top of the file",
        "rules" | "policy" => "write `policies:`",
        "mode" | "enforcement" => AUDIT,
        _ => return None,
    })
}

fn of_network(kind: &str, key: &str) -> Option<&'static str> {
    Some(match (kind, key) {
        ("network", "subnet" | "cidr" | "ipam") => "a network has `subnets: [..]`",
        ("network", "driver" | "type") => "write `mode: nat`, or bridge, routed, none",
        ("network", "internal") => "write `mode: bridge`: nothing leaves it",
        ("segment", "subnets" | "cidr") => "a segment has `subnet: ..`",
        (_, "default" | "policy" | "ingress" | "egress") => {
            "write `posture: { ingress: deny, egress: deny }`"
        }
        ("segment", "mode") | (_, "enforcement") => AUDIT,
        (_, "gateway") => "the first address of each subnet is the gateway",
        (_, "sealed") => "write `profile: sealed`",
        _ => return None,
    })
}

fn of_workload(key: &str) -> Option<&'static str> {
    Some(match key {
        "replicas" => "replicas come in a later version: give each workload its own entry",
        "ports" | "expose" | "publish" => PUBLISH,
        "image" | "volumes" | "build" | "mounts" => CONTAINER,
        "command" | "cmd" | "args" | "entrypoint" => {
            "the program and its arguments are one list: run: [nginx, -g, daemon off;]"
        }
        "networks" => {
            "the first network is its own, further ones stand under also: network: front, also: [{ network: back }]"
        }
        "network_mode" => "a workload stands in a network: network: main",
        "environment" => "write env: { KEY: value }",
        "depends_on" => "nothing waits: what ends too early is started again (`restart:`)",
        "container_name" | "hostname" | "name" => NAMED,
        "container" | "pid" => "adopt its namespace: netns: /proc/PID/ns/net",
        "ip" | "ipv4_address" | "addresses" => "write address: [10.0.0.7]",
        "working_dir" | "cwd" => "write workdir: /data",
        "policies" | "allow" | "deny" => "policies stand beside `workloads`, in the tenant",
        _ => return None,
    })
}

fn of_publish(key: &str) -> Option<&'static str> {
    Some(match key {
        "rate" | "rate-limit" | "limits" => "write limit: [20/s per source, 500/s]",
        "expires" | "expiry" | "valid-until" => "write until: 2026-12-31",
        "contact" | "team" | "responsible" => "write owner: web team",
        "source" | "sources" | "ranges" | "allow" => "write from: [198.51.100.0/24]",
        "ports" => "one entry for each port: { port: 443/tcp, to: web:8443 }",
        "workload" | "target" | "container" => "write to: web:8443",
        "host" | "ip" => "write address: 203.0.113.7",
        "protocol" => "write it with the port: port: 443/tcp",
        _ => return None,
    })
}

fn of_policy(key: &str) -> Option<&'static str> {
    Some(match key {
        "ports" | "port" => "write `allow: [..]` or `deny: [..]`",
        "protocol" => "write it with the port: allow: [80/tcp]",
        "action" | "verdict" => "a policy has `allow: [..]`, `deny: [..]`, or both",
        "audit" => "write `mode: audit`",
        "podSelector" | "namespaceSelector" | "matchLabels" | "selector" | "endpointSelector" => {
            PEERS
        }
        "ingress" | "egress" | "policyTypes" | "spec" | "metadata" => {
            "one policy says both sides: { from: app=web, to: app=db, allow: [5432/tcp] }"
        }
        "source" | "src" | "sources" => "write from: app=web",
        "destination" | "dst" | "destinations" => "write to: app=db",
        "expires" | "expiry" | "valid-until" => "write until: 2026-12-31",
        "name" | "description" | "comment" => {
            "its name is its key; write the rest as a comment: # .."
        }
        "priority" | "order" => "order never matters: a deny beats an allow",
        "log" | "logging" => "every flow is recorded: bulkhead observe",
        _ => return None,
    })
}

/// What to write where a mapping is expected and something else stands.
pub(super) fn instead_of_mapping(kind: &str, value: &Value<'_>) -> Option<String> {
    let Value::Scalar(scalar) = value else { return None };
    let text = &*scalar.text;
    match kind {
        "audit" => Some(AUDIT.to_owned()),
        "posture" => Some(format!("write {{ ingress: {text}, egress: {text} }}")),
        "publish entry" => {
            let (host, workload) = text.rsplit_once(':').unwrap_or(("443", "8443"));
            let host = host.rsplit(':').next().unwrap_or(host);
            Some(format!("write {{ port: {host}/tcp, to: WORKLOAD:{workload} }}"))
        }
        _ => None,
    }
}

/// What to write where entries with names are expected and something else stands.
pub(super) fn instead_of_entries(value: &Value<'_>) -> String {
    let Value::List(items) = value else { return "write `name: value`, one line each".to_owned() };
    let pair = |item: &Node<'_>| match &item.value {
        Value::Scalar(scalar) => {
            let (key, value) = scalar.text.split_once('=')?;
            Some(format!("{key}: {value}"))
        }
        _ => None,
    };
    let pairs: Vec<String> = items.iter().map_while(pair).take(8).collect();
    if pairs.is_empty() || pairs.len() < items.len() {
        return "each entry has a name: write `NAME: ..` instead of `- ..`".to_owned();
    }
    format!("write {{ {} }}", pairs.join(", "))
}

/// What to write for something that is not a port.
pub(crate) fn instead_of_port(text: &str) -> Option<String> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if matches!(text, "*" | "all" | "true" | "0.0.0.0" | "everything") {
        return Some("every protocol and port is `any`".to_owned());
    }
    let lower = text.to_ascii_lowercase();
    if lower != text && lower.parse::<model::PortSpec>().is_ok() {
        return Some(format!("write {lower}"));
    }
    let (left, right) = text.rsplit_once(':')?;
    let left = left.rsplit(':').next().unwrap_or(left);
    match (digits(left), right) {
        (true, _) if digits(right) => {
            Some(format!("a policy names the workload's port: {right}/tcp; {PUBLISH}"))
        }
        (false, _) if digits(right) => {
            Some(format!("write {right}/{left}")).filter(|_| matches!(left, "tcp" | "udp" | "sctp"))
        }
        _ => None,
    }
}

/// What to write for a word that selects nobody, when it is another tool's for a peer.
pub(crate) fn instead_of_peer(word: &str) -> Option<&'static str> {
    Some(match word {
        "*" | "all" | "everyone" | "everything" | "everybody" => {
            "every workload and address is `any`, everything outside is `world`"
        }
        "internet" | "public" | "external" | "outside" | "wan" => "everything outside is `world`",
        "localhost" | "self" | "node" => "the host itself is `host`",
        _ if word.contains('.') && word.contains(|c: char| c.is_ascii_alphabetic()) => {
            "names are not resolved: write addresses, or select workloads: workload=web"
        }
        _ => return None,
    })
}

/// Whether a text names some of the host's processes: `host user=backup`, `host/service=chrony`, `host, uid=0`.
pub(crate) fn is_part_of_host(text: &str) -> bool {
    const WORDS: [&str; 5] = ["user", "uid", "service", "service-account", "group"];
    let Some(rest) = text.trim_start().strip_prefix("host") else { return false };
    let rest = rest.trim_start_matches([' ', ',', '/', ':', '(']);
    let word = rest.split('=').next().unwrap_or("").trim();
    rest.contains('=') && WORDS.contains(&word)
}

/// The port that a word usually means.
pub(crate) fn usual_port(word: &str) -> &'static str {
    match word {
        "http" | "web" | "www" => "80/tcp",
        "https" => "443/tcp",
        "ssh" => "22/tcp",
        "dns" | "domain" => "[53/udp, 53/tcp]",
        "ntp" => "123/udp",
        "smtp" => "25/tcp",
        "mysql" => "3306/tcp",
        "redis" => "6379/tcp",
        "ping" => "icmp/echo-request",
        _ => "5432/tcp",
    }
}
