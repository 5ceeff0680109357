//! Random clusters, and how they are written as manifests (JSON, which is YAML).

use std::fmt;

use serde_json::{Map, Value, json};

use crate::rng::Rng;

pub(crate) const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const NAMESPACES: [&str; 4] = ["default", "a", "b", "undeclared"];
const NUMBERS: [u16; 5] = [53, 80, 81, 8080, 9000];
const PORT_NAMES: [&str; 2] = ["web", "dns"];
const NETS: [(&str, &[&str]); 5] = [
    ("0.0.0.0/0", &["10.0.0.0/8"]),
    ("10.0.0.0/8", &["10.1.0.0/16", "10.2.0.0/15"]),
    ("10.1.0.0/16", &["10.1.2.3/32"]),
    ("192.168.1.1/32", &[]),
    ("169.254.64.0/19", &["169.254.64.2/32"]),
];

pub(crate) type Labels = Vec<(&'static str, &'static str)>;

#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// Those that are declared.
    pub(crate) namespaces: Vec<(&'static str, Labels)>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) network: Vec<Policy>,
    pub(crate) admin: Vec<Policy>,
    pub(crate) baseline: Option<Policy>,
}

#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) namespace: &'static str,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) labels: Labels,
    /// Name, protocol, number.
    pub(crate) ports: Vec<(&'static str, &'static str, u16)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) namespace: &'static str,
    pub(crate) priority: usize,
    /// Namespaces, for administrators' policies; `None` is that of the policy.
    pub(crate) namespaces: Option<Selector>,
    pub(crate) pods: Selector,
    /// `None`: the field is missing.
    pub(crate) types: Option<Vec<&'static str>>,
    pub(crate) ingress: Vec<Rule>,
    pub(crate) egress: Vec<Rule>,
}

#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) action: &'static str,
    pub(crate) peers: Vec<Peer>,
    pub(crate) ports: Vec<Port>,
}

#[derive(Debug, Clone)]
pub(crate) enum Peer {
    Pods(Option<Selector>, Option<Selector>),
    Block(&'static str, Vec<&'static str>),
}

#[derive(Debug, Clone)]
pub(crate) enum Port {
    Number(Option<&'static str>, Option<u16>, Option<u16>),
    Named(Option<&'static str>, &'static str),
}

/// Key, operator, values.
pub(crate) type Selector = Vec<(&'static str, &'static str, Vec<&'static str>)>;

impl Pod {
    pub(crate) fn display(&self) -> String {
        format!("{}/{}[{}]", self.namespace, self.name, self.kind)
    }
}

impl Cluster {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let namespaces = ["default", "a", "b"].into_iter().filter(|_| rng.chance(80));
        let namespaces: Vec<_> = namespaces.collect();
        let namespaces =
            namespaces.into_iter().map(|name| (name, labels(rng, &["env", "1team"]))).collect();
        let mut pods = Vec::new();
        for at in 0..rng.between(1, 6) {
            let mut ports = Vec::new();
            for name in PORT_NAMES {
                for protocol in PROTOCOLS {
                    ports.extend(rng.some(30, |rng| (name, protocol, rng.pick(&NUMBERS))));
                }
            }
            pods.push(Pod {
                namespace: rng.pick(&NAMESPACES),
                name: format!("p{at}"),
                kind: rng.pick(&["Pod", "Deployment", "CronJob"]),
                labels: labels(rng, &["app", "any"]),
                ports,
            });
        }
        Self {
            namespaces,
            pods,
            network: rng.many(0, 4, network),
            admin: rng.many(0, 3, admin),
            baseline: rng.some(50, admin),
        }
    }
}

fn labels(rng: &mut Rng, keys: &[&'static str]) -> Labels {
    let mut out = Labels::new();
    for key in keys {
        out.extend(rng.some(70, |rng| (*key, rng.pick(&["x", "y", ""]))));
    }
    out
}

fn selector(rng: &mut Rng, keys: &[&'static str]) -> Selector {
    rng.many(0, 2, |rng| {
        let operator = rng.pick(&["In", "In", "NotIn", "Exists", "DoesNotExist"]);
        let values = if operator.ends_with("In") {
            rng.many(1, 2, |rng| rng.pick(&["x", "y", "z", ""]))
        } else {
            Vec::new()
        };
        (rng.pick(keys), operator, values)
    })
}

fn namespaces(rng: &mut Rng) -> Selector {
    if rng.chance(25) {
        return vec![("kubernetes.io/metadata.name", "In", vec![rng.pick(&NAMESPACES)])];
    }
    selector(rng, &["env", "1team"])
}

fn pods(rng: &mut Rng) -> Selector {
    selector(rng, &["app", "any"])
}

fn port(rng: &mut Rng, is_admin: bool) -> Port {
    let protocol = rng.some(80, |rng| rng.pick(&PROTOCOLS));
    if rng.chance(35) {
        // Without a protocol: TCP for the one kind, every protocol for the other.
        let protocol = if is_admin { None } else { protocol.or(Some("TCP")) };
        return Port::Named(protocol, rng.pick(&PORT_NAMES));
    }
    let first = rng.pick(&NUMBERS);
    let last = rng.some(30, |rng| first + u16::try_from(rng.below(3000)).expect("fits"));
    let first = if is_admin || last.is_some() || rng.chance(80) { Some(first) } else { None };
    Port::Number(protocol, first, last)
}

fn block(rng: &mut Rng, with_except: bool) -> Peer {
    let (net, except) = rng.pick(&NETS);
    let except = except.iter().copied().filter(|_| with_except && rng.chance(60));
    Peer::Block(net, except.collect())
}

fn network(rng: &mut Rng) -> Policy {
    let rule = |rng: &mut Rng| Rule {
        action: "Allow",
        peers: rng.many(0, 2, |rng| match rng.below(4) {
            0 => block(rng, true),
            1 => Peer::Pods(Some(namespaces(rng)), None),
            2 => Peer::Pods(None, Some(pods(rng))),
            _ => Peer::Pods(Some(namespaces(rng)), Some(pods(rng))),
        }),
        ports: rng.many(0, 2, |rng| port(rng, false)),
    };
    Policy {
        namespace: rng.pick(&NAMESPACES),
        priority: 0,
        namespaces: None,
        pods: pods(rng),
        types: rng.some(50, |rng| {
            let all = ["Ingress", "Egress"].into_iter();
            all.filter(|_| rng.chance(60)).collect()
        }),
        ingress: rng.many(0, 2, rule),
        egress: rng.many(0, 2, rule),
    }
}

fn admin(rng: &mut Rng) -> Policy {
    let rule = |rng: &mut Rng, is_egress: bool| Rule {
        action: rng.pick(&["Allow", "Deny", "Pass"]),
        peers: rng.many(1, 2, |rng| match rng.below(if is_egress { 4 } else { 3 }) {
            3 => block(rng, false),
            2 => Peer::Pods(Some(namespaces(rng)), None),
            _ => Peer::Pods(Some(namespaces(rng)), Some(pods(rng))),
        }),
        ports: rng.many(0, 2, |rng| port(rng, true)),
    };
    Policy {
        namespace: "",
        priority: rng.below(1001),
        namespaces: Some(namespaces(rng)),
        pods: if rng.chance(50) { Selector::new() } else { pods(rng) },
        types: None,
        ingress: rng.many(0, 3, |rng| rule(rng, false)),
        egress: rng.many(0, 3, |rng| rule(rng, true)),
    }
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn label_map(labels: &Labels) -> Value {
    map(labels.iter().map(|(key, value)| (*key, json!(value))))
}

/// Requirements with one value alternate between the two forms.
fn selector_of(selector: &Selector) -> Value {
    let mut labels = Map::new();
    let mut expressions = Vec::new();
    for (key, operator, values) in selector {
        match values.as_slice() {
            [one] if *operator == "In" && !labels.contains_key(*key) => {
                labels.insert((*key).to_owned(), json!(one));
            }
            [] => expressions.push(json!({ "key": key, "operator": operator })),
            _ => expressions.push(json!({ "key": key, "operator": operator, "values": values })),
        }
    }
    let mut out = Map::new();
    if !labels.is_empty() {
        out.insert("matchLabels".to_owned(), Value::Object(labels));
    }
    if !expressions.is_empty() {
        out.insert("matchExpressions".to_owned(), json!(expressions));
    }
    Value::Object(out)
}

fn network_rule(rule: &Rule, peers: &str) -> Value {
    let mut out = Map::new();
    let all = rule.peers.iter().map(|peer| match peer {
        Peer::Block(net, except) => json!({ "ipBlock": { "cidr": net, "except": except } }),
        Peer::Pods(namespaces, pods) => {
            let both = [("namespaceSelector", namespaces), ("podSelector", pods)];
            map(both.into_iter().filter_map(|(key, s)| Some((key, selector_of(s.as_ref()?)))))
        }
    });
    let all: Vec<Value> = all.collect();
    if !all.is_empty() {
        out.insert(peers.to_owned(), json!(all));
    }
    let ports = rule.ports.iter().map(|port| {
        let (protocol, rest) = match port {
            Port::Number(protocol, first, last) => {
                (protocol, [("port", first.map(Value::from)), ("endPort", last.map(Value::from))])
            }
            Port::Named(protocol, name) => {
                (protocol, [("port", Some(json!(name))), ("endPort", None)])
            }
        };
        let protocol = ("protocol", protocol.map(Value::from));
        map([protocol].into_iter().chain(rest).filter_map(|(key, value)| Some((key, value?))))
    });
    let ports: Vec<Value> = ports.collect();
    if !ports.is_empty() {
        out.insert("ports".to_owned(), json!(ports));
    }
    Value::Object(out)
}

fn admin_rule(rule: &Rule, peers: &str, is_baseline: bool) -> Value {
    let all = rule.peers.iter().map(|peer| match peer {
        Peer::Block(net, _) => json!({ "networks": [net] }),
        Peer::Pods(namespaces, None) => {
            json!({ "namespaces": selector_of(namespaces.as_ref().expect("given")) })
        }
        Peer::Pods(namespaces, Some(pods)) => json!({ "pods": {
            "namespaceSelector": selector_of(namespaces.as_ref().expect("given")),
            "podSelector": selector_of(pods),
        } }),
    });
    let ports = rule.ports.iter().map(|port| match port {
        Port::Named(_, name) => json!({ "namedPort": name }),
        Port::Number(protocol, first, None) => {
            json!({ "portNumber": { "protocol": protocol.unwrap_or("TCP"), "port": first } })
        }
        Port::Number(protocol, first, last) => json!({ "portRange": {
            "protocol": protocol.unwrap_or("TCP"), "start": first, "end": last,
        } }),
    });
    let mut out = Map::new();
    let action = if is_baseline && rule.action == "Pass" { "Deny" } else { rule.action };
    out.insert("action".to_owned(), json!(action));
    out.insert(peers.to_owned(), all.collect());
    if !rule.ports.is_empty() {
        out.insert("ports".to_owned(), ports.collect());
    }
    Value::Object(out)
}

fn admin_policy(policy: &Policy, at: Option<usize>) -> Value {
    let is_baseline = at.is_none();
    let namespaces = selector_of(policy.namespaces.as_ref().expect("given"));
    let subject = if policy.pods.is_empty() {
        json!({ "namespaces": namespaces })
    } else {
        json!({ "pods": { "namespaceSelector": namespaces, "podSelector": selector_of(&policy.pods) } })
    };
    let rules = |rules: &[Rule], peers: &str| -> Value {
        rules.iter().map(|rule| admin_rule(rule, peers, is_baseline)).collect()
    };
    let mut spec = Map::new();
    if at.is_some() {
        spec.insert("priority".to_owned(), json!(policy.priority));
    }
    spec.insert("subject".to_owned(), subject);
    spec.insert("ingress".to_owned(), rules(&policy.ingress, "from"));
    spec.insert("egress".to_owned(), rules(&policy.egress, "to"));
    let kind = if is_baseline { "BaselineAdminNetworkPolicy" } else { "AdminNetworkPolicy" };
    json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha1",
        "kind": kind,
        "metadata": { "name": at.map_or("default".to_owned(), |at| format!("admin{at}")) },
        "spec": spec,
    })
}

fn network_policy(policy: &Policy, at: usize) -> Value {
    let rules = |rules: &[Rule], peers: &str| -> Value {
        rules.iter().map(|rule| network_rule(rule, peers)).collect()
    };
    let mut spec = Map::new();
    spec.insert("podSelector".to_owned(), selector_of(&policy.pods));
    if let Some(types) = &policy.types {
        spec.insert("policyTypes".to_owned(), json!(types));
    }
    spec.insert("ingress".to_owned(), rules(&policy.ingress, "from"));
    spec.insert("egress".to_owned(), rules(&policy.egress, "to"));
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": format!("np{at}"), "namespace": policy.namespace },
        "spec": spec,
    })
}

fn workload(pod: &Pod) -> Value {
    let ports = pod.ports.iter().map(|(name, protocol, number)| {
        json!({ "name": name, "protocol": protocol, "containerPort": number })
    });
    let spec = json!({ "containers": [{ "name": "c", "ports": ports.collect::<Vec<_>>() }] });
    let labels = label_map(&pod.labels);
    let template = json!({ "metadata": { "labels": labels }, "spec": spec });
    let meta = json!({ "name": pod.name, "namespace": pod.namespace, "labels": labels });
    let (version, spec) = match pod.kind {
        "Pod" => ("v1", spec),
        "Deployment" => ("apps/v1", json!({ "template": template })),
        _ => ("batch/v1", json!({ "jobTemplate": { "spec": { "template": template } } })),
    };
    json!({ "apiVersion": version, "kind": pod.kind, "metadata": meta, "spec": spec })
}

/// The manifests: a list, and the policies as documents of their own.
impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespaces = self.namespaces.iter().map(|(name, labels)| {
            let meta = json!({ "name": name, "labels": label_map(labels) });
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": meta })
        });
        let items: Vec<Value> = namespaces.chain(self.pods.iter().map(workload)).collect();
        writeln!(f, "{}", json!({ "apiVersion": "v1", "kind": "List", "items": items }))?;
        let network = self.network.iter().enumerate().map(|(at, p)| network_policy(p, at));
        let admin = self.admin.iter().enumerate().map(|(at, p)| admin_policy(p, Some(at)));
        let baseline = self.baseline.iter().map(|p| admin_policy(p, None));
        for policy in network.chain(admin).chain(baseline) {
            writeln!(f, "---\n{policy:#}")?;
        }
        Ok(())
    }
}
