//! What is in the kernel's maps of ours, read and spoilt through `bpftool`, by whoever is root.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::run_with_deadline;

use crate::stage::Stage;

/// Maps that the agent fills: every entry has to come back.
pub(super) const FILLED: [&str; 13] = [
    "CONFIG",
    "ENDPOINTS",
    "PORTS_IN_PLACE",
    "CGROUPS",
    "SERVICES",
    "USERS",
    "PEERS",
    "IPCACHE",
    "PREFIXES",
    "POLICY",
    "PORTS",
    "LIMITS",
    "BUDGETS",
];
/// Maps that programs fill: flows and what is known of them, counters, reports and working memory. What is lost there is judged again.
const FLEETING: [&str; 11] = [
    "FLOWS",
    "FRAGMENTS",
    "PAIRS",
    "METERS",
    "COUNTERS",
    "DROPS",
    "RULES",
    "REPORTED",
    "EVENTS",
    "LOST",
    "ROOMS",
];
/// Of those, the ones whose entries can be removed.
pub(super) const FORGOTTEN: [&str; 4] = ["FLOWS", "FRAGMENTS", "PAIRS", "METERS"];
/// Endpoints that are looked at, from both ends: the host's numbers are the last.
const NUMBERS: u32 = 32;
const LAST: u32 = 16_383;

/// The maps by their name, with their numbers: pins may go.
#[derive(Clone)]
pub(super) struct Maps(BTreeMap<String, u64>);

type Bytes = Vec<u8>;

impl Maps {
    /// Looks at the pins. Panics for a map of which this file does not know who fills it.
    pub(super) fn of(stage: &Stage) -> Self {
        let folder = super::root(stage).join("maps");
        let names = std::fs::read_dir(&folder).expect("the maps").flatten();
        let number = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().expect("a name");
            assert!(
                FILLED.contains(&name.as_str()) || FLEETING.contains(&name.as_str()),
                "{name} is a new map: say who fills it"
            );
            let shown = bpftool(&["map", "show", "pinned", &entry.path().display().to_string()]);
            (name, shown["id"].as_u64().expect("a number"))
        };
        Self(names.map(number).collect())
    }

    fn id(&self, map: &str) -> String {
        self.0.get(map).expect("a map").to_string()
    }

    fn dump(&self, map: &str) -> Vec<(Bytes, Bytes)> {
        let all = bpftool(&["map", "dump", "id", &self.id(map)]);
        let entry = |each: &Value| Some((bytes(&each["key"])?, bytes(&each["value"])?));
        all.as_array().into_iter().flatten().filter_map(entry).collect()
    }

    fn at(&self, map: &str, number: u32) -> Bytes {
        let id = self.id(map);
        let key = number.to_ne_bytes().map(|byte| byte.to_string());
        let mut argv = vec!["map", "lookup", "id", &id, "key"];
        argv.extend(key.iter().map(String::as_str));
        bytes(&bpftool(&argv)["value"]).expect("a value")
    }

    /// What the agent has filled in, as lines that do not depend on numbers of peers and of the policy's version.
    pub(super) fn contents(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for map in ["PORTS_IN_PLACE", "CGROUPS", "SERVICES", "USERS", "POLICY", "PORTS", "LIMITS"] {
            lines.extend(
                self.dump(map).iter().map(|(key, value)| format!("{map} {key:?} {value:?}")),
            );
        }
        for map in ["IPCACHE", "PREFIXES"] {
            for (key, number) in self.dump(map) {
                let number: [u8; 4] = number.try_into().expect("a number");
                let peer = self.at("PEERS", u32::from_ne_bytes(number));
                lines.insert(format!("{map} {key:?} {peer:?}"));
            }
        }
        for number in numbers() {
            lines.insert(format!("ENDPOINTS {number} {:?}", self.at("ENDPOINTS", number)));
            // Opened, removed, released; then how many there may be.
            let budget = self.at("BUDGETS", number % (NUMBERS / 2));
            lines.insert(format!("BUDGETS {number} {:?}", budget.get(24..32)));
        }
        lines.insert(format!("CONFIG {:?}", self.at("CONFIG", 0).get(8..)));
        lines
    }

    /// Removes what is in a map, or makes it zero where nothing can be removed.
    pub(super) fn spoil(&self, map: &str) {
        match map {
            "CONFIG" => self.zero(map, 0),
            "ENDPOINTS" => numbers().for_each(|number| self.zero(map, number)),
            "PEERS" => (0..NUMBERS).for_each(|number| self.zero(map, number)),
            "BUDGETS" => (0..NUMBERS / 2).for_each(|number| self.zero(map, number)),
            _ => {
                for (key, _) in self.dump(map) {
                    let id = self.id(map);
                    let key: Vec<String> = key.iter().map(ToString::to_string).collect();
                    let mut argv = vec!["map", "delete", "id", &id, "key"];
                    argv.extend(key.iter().map(String::as_str));
                    // One that went by itself is gone as well.
                    drop(try_bpftool(&argv));
                }
            }
        }
    }

    fn zero(&self, map: &str, number: u32) {
        let (id, zeros) = (self.id(map), vec!["0"; self.at(map, number).len()]);
        let key = number.to_ne_bytes().map(|byte| byte.to_string());
        let mut argv = vec!["map", "update", "id", &id, "key"];
        argv.extend(key.iter().map(String::as_str));
        argv.push("value");
        argv.extend(zeros);
        drop(bpftool(&argv));
    }
}

fn numbers() -> impl Iterator<Item = u32> {
    (1..NUMBERS).chain(LAST - NUMBERS..=LAST)
}

fn bytes(value: &Value) -> Option<Bytes> {
    let byte = |each: &Value| u8::from_str_radix(each.as_str()?.strip_prefix("0x")?, 16).ok();
    value.as_array()?.iter().map(byte).collect()
}

fn try_bpftool(argv: &[&str]) -> Option<Value> {
    let mut command = Command::new("bpftool");
    command.arg("-j").args(argv);
    let done = run_with_deadline(&mut command, None, Duration::from_mins(1)).expect("bpftool runs");
    let done = done.success().ok()?;
    Some(serde_json::from_str(&done.stdout).unwrap_or(Value::Null))
}

pub(super) fn bpftool(argv: &[&str]) -> Value {
    try_bpftool(argv).unwrap_or_else(|| panic!("bpftool {argv:?} does it"))
}
