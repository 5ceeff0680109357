//! Which labels and port names some policy asks for. Pods that differ in nothing else are one workload of the document, so
//! its size follows what policies tell apart and not the size of the cluster.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use model::Transport;

use super::names::Of;
use super::{Cluster, LabelMap, Namespaces, Operator, Peer, Pod, Pods, Port, Selector};

/// Labels of a pod or namespace as far as policies can see them; `None` is a value that none of them names.
pub(super) type Seen = BTreeMap<Arc<str>, Option<Arc<str>>>;

/// A pod as far as policies can see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SeenPod {
    pub labels: Seen,
    pub ports: BTreeMap<(Arc<str>, Transport), u16>,
}

/// What policies ask for.
#[derive(Debug, Default)]
pub(super) struct Relevant {
    /// Values that are named, by key: of pods, and of namespaces.
    labels: [HashMap<Arc<str>, HashSet<Arc<str>>>; 2],
    ports: HashSet<Arc<str>>,
}

impl Relevant {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let mut this = Self::default();
        for policy in &cluster.policies {
            this.pods(&policy.subject);
            for rule in policy.sides.iter().flat_map(|side| &side.rules) {
                for peer in rule.peers.iter().flatten() {
                    if let Peer::Pods(pods) = peer {
                        this.pods(pods);
                    }
                }
                for port in rule.ports.iter().flatten() {
                    if let Port::Named(name, ..) = port {
                        this.ports.insert(Arc::clone(name));
                    }
                }
            }
        }
        this
    }

    fn pods(&mut self, pods: &Pods) {
        if let Namespaces::Matching(selector) = &pods.namespaces {
            self.selector(Of::Namespace, selector);
        }
        self.selector(Of::Pod, &pods.pods);
    }

    fn selector(&mut self, of: Of, selector: &Selector) {
        let [pods, namespaces] = &mut self.labels;
        let labels = if of == Of::Pod { pods } else { namespaces };
        for requirement in &selector.0 {
            let values = labels.entry(Arc::clone(&requirement.key)).or_default();
            if let Operator::In(list) | Operator::NotIn(list) = &requirement.operator {
                values.extend(list.iter().cloned());
            }
        }
    }

    /// What can be seen of labels.
    pub(super) fn labels(&self, of: Of, labels: &LabelMap) -> Seen {
        let [pods, namespaces] = &self.labels;
        let known = if of == Of::Pod { pods } else { namespaces };
        let seen = labels.iter().filter_map(|(key, value)| {
            let values = known.get(key)?;
            Some((Arc::clone(key), values.get(value).cloned()))
        });
        seen.collect()
    }

    /// What can be seen of a pod.
    pub(super) fn pod(&self, pod: &Pod) -> SeenPod {
        let ports = pod.ports.iter().filter(|((name, _), _)| self.ports.contains(name));
        SeenPod {
            labels: self.labels(Of::Pod, &pod.labels),
            ports: ports.map(|(key, number)| (key.clone(), *number)).collect(),
        }
    }
}
