//! Rules by number, and where each of them stands in people's files.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The number of a rule in map entries and flow events. [`RuleId::NONE`] (0) means that no rule decided.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RuleId(pub u32);

impl RuleId {
    /// No rule: the posture decided.
    pub const NONE: Self = Self(0);
}

/// What a rule does to the flows that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleKind {
    /// Lets them pass.
    Allow,
    /// Drops them (or, in a policy with `mode: audit`, records that it would).
    Deny,
    /// Stands for a whole policy with `mode: audit`: lets pass and records what no rule allows.
    Audit,
}

impl RuleKind {
    /// `allow`, `deny` or `audit`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Audit => "audit",
        }
    }
}

/// A rule's number and its place in the file: what a flow record or `why` shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RuleRef {
    /// Derived from path and kind, so it survives edits elsewhere in the file.
    pub id: RuleId,
    /// For example `tenants.shop.policies.web-to-db` or `policies.no-telnet`; of a Kubernetes manifest `shop/allow-web`.
    pub path: Arc<str>,
    /// The file's name as it was given.
    pub file: Arc<str>,
    /// 1-based line of the policy's name.
    pub line: u32,
    /// 1-based column, in characters.
    pub column: u32,
    /// What the rule does.
    pub kind: RuleKind,
}

impl RuleRef {
    /// The last part of the path: the policy's own name. That of a manifest's policy may have dots: it is the whole path.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.path.contains('/') {
            return &self.path;
        }
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for RuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `web-to-db shop.yaml:24:5`, as in a flow line.
impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}:{}", self.name(), self.file, self.line, self.column)
    }
}
