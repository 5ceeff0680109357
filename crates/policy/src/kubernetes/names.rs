//! Texts of manifests as labels of the native model: each text has a number, and the label is made of that.
//!
//! Kubernetes label keys may begin with a digit or be words of our selector language, so they are not taken over as
//! they are. A number stands for one text, so what selectors match stays exactly the same.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Field, LabelKey, LabelValue, Name};

/// Numbers of texts, in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Texts {
    numbers: HashMap<Arc<str>, usize>,
}

/// Whose label it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Pod,
    Namespace,
}

impl Texts {
    fn number(&mut self, text: &Arc<str>) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(Arc::clone(text)).or_insert(next)
    }

    /// The key that stands for a label of a pod or of its namespace.
    pub(super) fn key(&mut self, of: Of, key: &Arc<str>) -> Option<LabelKey> {
        let of = match of {
            Of::Pod => 'l',
            Of::Namespace => 'n',
        };
        LabelKey::new(&format!("{of}{}", self.number(key))).ok()
    }

    /// The value that stands for this text.
    pub(super) fn value(&mut self, value: &Arc<str>) -> Option<LabelValue> {
        LabelValue::new(&format!("v{}", self.number(value))).ok()
    }

    /// The value that stands for every text that no policy names.
    pub(super) fn other() -> Option<LabelValue> {
        LabelValue::new("other").ok()
    }

    /// The label that says which number a named port of a pod has.
    pub(super) fn port(
        &mut self,
        name: &Arc<str>,
        transport: model::Transport,
    ) -> Option<LabelKey> {
        LabelKey::new(&format!("{transport}{}", self.number(name))).ok()
    }
}

/// The name of the one tenant, network and scope of a cluster.
pub(super) fn cluster() -> Option<Name> {
    Name::new("cluster").ok()
}

/// The name of the segment of a namespace, by its position.
pub(super) fn segment(at: usize) -> Option<Name> {
    Name::new(&format!("n{at}")).ok()
}

/// A term that holds for every pod of the cluster.
pub(super) fn everybody() -> Option<(Field, LabelValue)> {
    Some((Field::Tenant, LabelValue::new("cluster").ok()?))
}
