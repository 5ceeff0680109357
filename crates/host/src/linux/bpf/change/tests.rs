//! What differs from the tables of the last update is all that differs from what the maps hold.

use std::collections::BTreeMap;

use super::super::apply::remember;
use super::*;

/// A few numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
        (self.0 >> 33) % limit
    }
}

fn address(number: u64) -> PeerKey {
    let last = u8::try_from(number % 200).unwrap_or(0);
    PeerKey { network: 1, addr: verdict::abi::Addr::v4([10, 0, 0, last]) }
}

fn peer(dice: &mut Dice) -> Peer {
    let class = dice.below(5);
    Peer { class: [class; 2], identity: [class + 300; 2], endpoint: 0, pad: 0 }
}

/// Changes a few elements of every table; sometimes the halves become different.
fn alter(tables: &mut Tables, dice: &mut Dice) {
    for _ in 0..dice.below(12) {
        let number = dice.below(400);
        let is_gone = dice.below(3) == 0;
        match dice.below(5) {
            0 => {
                let key = u32::try_from(number).unwrap_or(0);
                let slots = [[dice.below(4), dice.below(4)]; 2];
                let endpoint = Endpoint { slots, network: 1, tenant: 1, ..Endpoint::default() };
                alter_one(&mut tables.endpoints, key, endpoint, is_gone);
            }
            1 => alter_one(&mut tables.exact, address(number), peer(dice), is_gone),
            2 => {
                let len = 32 + 96 + 24 + u32::try_from(number % 8).unwrap_or(0);
                let key = verdict::native::masked(address(number), len);
                if is_gone {
                    tables.prefixes.remove(&key);
                } else {
                    tables.prefixes.insert(key, peer(dice));
                }
            }
            3 => {
                let key = RowKey { slot: dice.below(9), class: number };
                let mut row = Row::default();
                row.ports.id = dice.below(3);
                alter_one(&mut tables.rows, key, row, is_gone);
            }
            _ => {
                let port = u16::try_from(number).unwrap_or(0);
                let key = PortKey { set: dice.below(3), port, len: 16, protocol: 6, pad: 0 };
                let mut entry = PortEntry::default();
                entry.decision.rule = u32::try_from(dice.below(3)).unwrap_or(0);
                alter_one(&mut tables.ports, key, entry, is_gone);
            }
        }
    }
    tables.config.epoch = dice.below(8) / 7;
}

fn alter_one<K, V>(table: &mut Shards<K, V>, key: K, value: V, is_gone: bool)
where
    K: Copy + Eq + Hash,
    V: Clone + PartialEq,
{
    if is_gone {
        table.remove(&key);
    } else {
        table.insert(key, value);
    }
}

/// A change with the keys of peers in place of their numbers, which are given in any order.
fn told(state: &State, change: &Change) -> BTreeMap<String, usize> {
    let mut keys: HashMap<u32, String> = HashMap::new();
    let exact = state.exact.iter().map(|(key, number)| (*key, *number));
    for (key, number) in exact.chain(change.exact.iter().copied()) {
        keys.insert(number, format!("{key:?}"));
    }
    let prefixes = state.prefixes.iter().map(|(key, number)| (*key, *number));
    for (key, number) in prefixes.chain(change.prefixes.iter().copied()) {
        keys.insert(number, format!("{key:?}"));
    }
    let mut lines = Vec::new();
    lines.extend(change.rows.iter().map(|each| format!("{each:?}")));
    lines.extend(change.ports.iter().map(|each| format!("{each:?}")));
    lines.extend(change.endpoints.iter().map(|each| format!("{each:?}")));
    lines.extend(change.peers.iter().map(|(number, peer)| format!("{} {peer:?}", keys[number])));
    lines.extend(change.exact.iter().map(|(key, _)| format!("new {key:?}")));
    lines.extend(change.prefixes.iter().map(|(key, _)| format!("new {key:?}")));
    lines.extend(change.old_rows.iter().map(|each| format!("old {each:?}")));
    lines.extend(change.old_ports.iter().map(|each| format!("old {each:?}")));
    lines.extend(change.old_exact.iter().map(|(key, _)| format!("old {key:?}")));
    lines.extend(change.old_prefixes.iter().map(|(key, _)| format!("old {key:?}")));
    let mut told = BTreeMap::new();
    for line in lines {
        *told.entry(line).or_default() += 1;
    }
    told
}

#[test]
fn what_changed_is_all_that_differs() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut state = State::empty(1_000);
        let mut tables = Tables::default();
        for step in 0..12 {
            alter(&mut tables, &mut dice);
            let live = step % 2;
            let few = Suspects::new(&state, &tables);
            let unknown = State { given: None, ..state.clone() };
            let all = Suspects::new(&unknown, &tables);
            assert_eq!(few.missing(&state, &tables), all.missing(&unknown, &tables));
            let change = plan(&state, &tables, &few, live).expect("numbers");
            let whole = plan(&unknown, &tables, &all, live).expect("numbers");
            assert_eq!(told(&state, &change), told(&unknown, &whole), "seed {seed}, step {step}");
            remember(&mut state, &change, &tables);
            let after = Suspects::new(&State { given: None, ..state.clone() }, &tables);
            let nothing = plan(&state, &tables, &after, 1 - live).expect("numbers");
            assert!(nothing.is_empty(), "seed {seed}, step {step}: {nothing:?}");
        }
    }
}
