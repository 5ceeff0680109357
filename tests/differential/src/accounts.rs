//! Processes of the host that rules tell apart: random ones, and who sends a packet.

use std::collections::BTreeSet;

use model::{HostProcesses, Peer};
use planner::Accounts;
use policy::Document;
use policy::document::Policy;

use crate::rng::Rng;

/// Users of the host that rules may name; packets are sent by these, and by others.
const USERS: [&str; 3] = ["host user=backup", "host user=1000", "host user=www-data"];
/// Services that rules may name.
const SERVICES: [&str; 2] = ["host service-account=chrony", "host service-account=sshd"];

/// Whose socket sends a packet: a user and a service of this module's lists, by their positions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sender {
    user: Option<usize>,
    service: Option<usize>,
}

impl Sender {
    /// Mostly somebody whom no rule can name.
    #[must_use]
    pub fn random(rng: &mut Rng) -> Self {
        let user = Some(rng.below(USERS.len())).filter(|_| rng.chance(45));
        let service = Some(rng.below(SERVICES.len())).filter(|_| rng.chance(30));
        Self { user, service }
    }

    /// Whether these processes are the sender's.
    #[must_use]
    pub fn is(self, processes: &HostProcesses) -> bool {
        let text = processes.to_string();
        self.user.and_then(|at| USERS.get(at)).is_some_and(|name| **name == text)
            || self.service.and_then(|at| SERVICES.get(at)).is_some_and(|name| **name == text)
    }

    /// What a document tells of the sender: nothing that none of its rules names.
    #[must_use]
    pub fn told_by(self, doc: &Document) -> Self {
        let named = named(doc);
        let user = self.user.filter(|at| named.contains(USERS[*at]));
        let service = self.service.filter(|at| named.contains(SERVICES[*at]));
        Self { user, service }
    }

    /// The number of the account, by the agent's tables of users and services; 0 when they have neither.
    #[must_use]
    pub fn number(self, accounts: &Accounts) -> u32 {
        let [user, service] = self.places(accounts);
        verdict::account::number(user, service)
    }

    /// The places of its user and its service in those tables; 0 for everybody else.
    #[must_use]
    pub fn places(self, accounts: &Accounts) -> [u32; 2] {
        let place = |name: Option<&&str>| {
            let mut all = accounts.iter();
            let found = name.and_then(|name| all.find(|(each, _)| each.to_string() == **name));
            found.map_or(0, |(_, place)| place)
        };
        let (user, service) = (self.user, self.service);
        [place(user.and_then(|at| USERS.get(at))), place(service.and_then(|at| SERVICES.get(at)))]
    }
}

/// Every account that a document names.
fn named(doc: &Document) -> BTreeSet<String> {
    let peers = doc.policies.iter().flat_map(|policy| &policy.from);
    let by_rules = peers.filter_map(|peer| match peer {
        Peer::Processes(processes) => Some(processes.to_string()),
        _ => None,
    });
    let confined = doc.host.iter().flat_map(|host| &host.confined).map(ToString::to_string);
    by_rules.chain(confined).collect()
}

/// One of the accounts.
fn account(rng: &mut Rng) -> HostProcesses {
    let text = if rng.chance(60) { *rng.pick(&USERS) } else { *rng.pick(&SERVICES) };
    text.parse().expect("an account of the generator")
}

/// What sends only what rules allow, mostly nothing.
pub(crate) fn confined(rng: &mut Rng) -> Vec<HostProcesses> {
    let count = if rng.chance(30) { rng.between(1, 2) } else { 0 };
    (0..count).map(|_| account(rng)).collect()
}

/// Makes a policy of the host one about processes: they may speak of addresses, the world and everybody.
pub(crate) fn speak(rng: &mut Rng, policy: &mut Policy) {
    policy.from = (0..rng.between(1, 2)).map(|_| Peer::Processes(account(rng))).collect();
    if rng.chance(20) {
        policy.from.push(Peer::Host);
    }
    policy.to.retain(|peer| matches!(peer, Peer::Cidr(_) | Peer::World | Peer::Any));
    if policy.to.is_empty() {
        policy.to.push(if rng.chance(50) { Peer::World } else { Peer::Any });
    }
}
