//! Accounts of the host that rules tell apart: their numbers, and what they may send.

use std::collections::BTreeMap;

use model::digest::Digest64;
use model::{Account, HostProcesses, Peer as Side, Posture};
use policy::document::Host;
use verdict::abi::{Addr, Endpoint, HOST_NETWORK, PeerKey};
use verdict::account::{EACH, number};

use super::Draft;
use crate::compiler::peer;
use crate::matchers::MatcherId;
use crate::ports::Ground;

/// Users and services with their places among their kind, 1 and up; 0 is everybody else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts(BTreeMap<HostProcesses, u32>);

impl Accounts {
    /// Gives each account a place that depends on its name alone, as long as no other one has it.
    pub(super) fn new(accounts: impl IntoIterator<Item = HostProcesses>) -> Self {
        let mut places = BTreeMap::new();
        for processes in accounts {
            let is_service = is_service(&processes);
            let mut digest = Digest64::new("account");
            digest.text(&processes.to_string());
            let from = u32::try_from(digest.finish() % u64::from(EACH - 1)).unwrap_or_default();
            let mut free = (0..EACH - 1).map(|step| (from + step) % (EACH - 1) + 1);
            let is_taken = |place: &u32| {
                places
                    .iter()
                    .any(|(other, taken)| is_service == self::is_service(other) && taken == place)
            };
            // A document has no more of them.
            if let Some(place) = free.find(|place| !is_taken(place)) {
                places.insert(processes, place);
            }
        }
        Self(places)
    }

    /// Each with its place.
    pub fn iter(&self) -> impl Iterator<Item = (&HostProcesses, u32)> {
        self.0.iter().map(|(processes, place)| (processes, *place))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of the endpoint that stands for processes of one account.
    #[must_use]
    pub fn number(&self, processes: &HostProcesses) -> Option<u32> {
        let place = *self.0.get(processes)?;
        Some(if is_service(processes) { number(0, place) } else { number(place, 0) })
    }

    /// The one account that a number stands for.
    #[must_use]
    pub fn alone(&self, number: u32) -> Option<&HostProcesses> {
        self.iter().map(|(each, _)| each).find(|each| self.number(each) == Some(number))
    }

    /// Which account a number stands for: `host user=backup, host service-account=chrony`.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<String> {
        let (_, named) = self.pairs().find(|(pair, _)| *pair == number)?;
        Some(named.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }

    /// Every pair of a user and a service but that of nobody: its number, and which accounts it is.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, Vec<&HostProcesses>)> {
        let of = |service: bool| {
            let own = self.iter().filter(move |(each, _)| is_service(each) == service);
            std::iter::once((None, 0)).chain(own.map(|(each, place)| (Some(each), place)))
        };
        of(false)
            .flat_map(move |(user, first)| {
                of(true).map(move |(service, second)| {
                    (number(first, second), user.into_iter().chain(service).collect::<Vec<_>>())
                })
            })
            .filter(|(_, accounts)| !accounts.is_empty())
    }
}

fn is_service(processes: &HostProcesses) -> bool {
    matches!(processes.account, Account::Service(_))
}

impl Draft {
    /// Gives every pair of accounts its slot for what it sends, and its entries. `entry` is the host's, and `of_host` are the matchers that
    /// mean it.
    pub(super) fn accounts(
        &mut self,
        accounts: &Accounts,
        host: &Host,
        (entry, of_host): (Endpoint, &[MatcherId]),
        ground: Ground,
    ) {
        for (number, named) in accounts.pairs() {
            let all = 0..u32::try_from(self.engine.matchers.len()).unwrap_or(u32::MAX);
            let is_own = |id: &MatcherId| {
                self.engine.matchers.get(*id).is_some_and(
                    |matcher| matches!(&matcher.peer, Side::Processes(it) if named.contains(&it)),
                )
            };
            let mut matchers: Vec<MatcherId> =
                all.filter(is_own).chain(of_host.iter().copied()).collect();
            matchers.sort_unstable();
            matchers.dedup();
            let is_confined = host.confined.iter().any(|each| named.contains(&each));
            let ground =
                if is_confined { Ground { posture: Posture::Deny, ..ground } } else { ground };
            let slot = self.engine.slot(&matchers, false, ground);
            if let Some(slot) = slot {
                self.engine.slot_up(&mut self.tables, 0, slot);
            }
            let slot = self.engine.slot_number(slot);
            let mut own = entry;
            for (slots, posture) in own.slots.iter_mut().zip(&mut own.posture) {
                (slots[0], posture[0]) = (slot, ground.posture() as u8);
            }
            self.tables.endpoints.insert(number, own);
            // Nobody sends to it: as a peer it is the host.
            let host = PeerKey { network: HOST_NETWORK, addr: Addr::UNSPECIFIED };
            let class = self.tables.exact.get(&host).map_or(0, |peer| peer.class[0]);
            let key = PeerKey { network: HOST_NETWORK, addr: Addr::hosted(number) };
            let identity = model::Identity::HOST.0;
            self.tables.exact.insert(key, peer(class, identity, number));
        }
    }
}
