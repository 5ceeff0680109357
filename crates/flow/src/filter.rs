//! Which records somebody asked for.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Decision, End, Record};

/// One side of a filter, as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// An address or prefix.
    Net(IpNet),
    /// A workload of a tenant, `<tenant>.<workload>`.
    Workload(String),
    /// A workload of any tenant, or an identity in words: `web`, `world`, `app=web`.
    Word(String),
}

impl Party {
    /// Reads `10.0.0.0/8`, `10.0.0.1`, `shop/web`, `shop.web`, `web`, `world`, `app=web`. Every text means something.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Ok(net) = text.parse::<IpNet>() {
            return Self::Net(net);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Self::Net(IpNet::from(address));
        }
        match text.split_once(['/', '.']) {
            Some((tenant, name)) if !text.contains('=') => {
                Self::Workload(format!("{tenant}.{name}"))
            }
            _ => Self::Word(text.to_owned()),
        }
    }

    /// Whether an end of a record is meant.
    #[must_use]
    pub fn matches(&self, end: &End) -> bool {
        let workload = end.workload.as_deref();
        match self {
            Self::Net(net) => net.contains(&end.address),
            Self::Workload(id) => workload == Some(id.as_str()),
            Self::Word(word) => {
                let name = workload.and_then(|id| id.split_once('.')).map(|(_, name)| name);
                name == Some(word.as_str()) || end.identity_text.as_deref() == Some(word.as_str())
            }
        }
    }
}

/// Which records somebody asked for; everything when empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only from this party.
    pub from: Option<Party>,
    /// Only to this party.
    pub to: Option<Party>,
    /// Only with this decision.
    pub decision: Option<Decision>,
}

impl Filter {
    /// Whether a record was asked for.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        self.from.as_ref().is_none_or(|party| party.matches(&record.source))
            && self.to.as_ref().is_none_or(|party| party.matches(&record.target))
            && self.decision.is_none_or(|decision| decision == record.decision)
    }
}
