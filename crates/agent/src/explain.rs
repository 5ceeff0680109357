//! Documentation of the codes that this side of the product makes, for `bulkhead explain` and the reference.

use verdict::Reason;

use crate::answers::{doctor, why};

/// A code and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// `BH-Dnnn`, `BH-H0nn` or `BH-Wnnn`.
    pub code: String,
    /// A few words.
    pub title: String,
    /// What happened and why.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Every drop reason, every finding about the host and every fault on a packet's way, by code.
#[must_use]
pub fn explanations() -> Vec<Explanation> {
    let drops = Reason::ALL.into_iter().filter(|reason| *reason != Reason::None);
    let drops = drops.map(|reason| Explanation {
        code: flow::reason::code(reason),
        title: flow::reason::text(reason).to_owned(),
        text: flow::reason::explanation(reason).to_owned(),
        hint: Some(flow::reason::hint(reason).to_owned()).filter(|hint| !hint.is_empty()),
    });
    drops.chain(doctor::explanations()).chain(why::walk::explanations()).collect()
}
