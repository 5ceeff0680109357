//! What tells processes of the host apart in the kernel: places of users and of services (docs/adr/0027-processes-of-the-host.md).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::table::Table;
use super::{Datapath, Error};
use crate::ports::Pass;

/// The two tables. There should be one of this at a time.
#[derive(Debug, Clone)]
pub struct Accounts {
    maps: PathBuf,
}

impl Datapath {
    /// The tables that tell processes of the host apart.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        Accounts { maps: self.root.join("maps") }
    }
}

impl Accounts {
    /// Brings the tables to what is wanted: users by number, and numbers of the cgroups of services, with their places.
    #[must_use]
    pub fn bring(&self, users: &BTreeMap<u32, u32>, services: &BTreeMap<u64, u32>) -> Pass {
        let mut pass = Pass::default();
        let brought = bring(&self.maps, "USERS", users, &mut pass)
            .and_then(|()| bring(&self.maps, "SERVICES", services, &mut pass));
        if let Err(error) = brought {
            pass.failed.push(error.to_string());
        }
        pass
    }
}

fn bring<K: super::sys::Plain + Ord + std::fmt::Display>(
    maps: &Path,
    name: &'static str,
    wanted: &BTreeMap<K, u32>,
    pass: &mut Pass,
) -> Result<(), Error> {
    let table = Table::<K, u32>::open(maps, name)?;
    let mut there = BTreeMap::new();
    table.each(|key, place| {
        there.insert(key, place);
    })?;
    for (key, place) in wanted.iter().filter(|(key, place)| there.get(key) != Some(place)) {
        table.insert(key, place)?;
        pass.done.push(format!("bpf map {name}: {key} is {place}"));
    }
    let old: Vec<K> = there.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
    table.remove_all(&old)?;
    pass.done.extend(old.iter().map(|key| format!("bpf map {name}: {key} is gone")));
    Ok(())
}
