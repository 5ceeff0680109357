//! Docker's address management: pools are the subnets of the file, addresses are those that nobody has.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::PoisonError;

use policy::Document;
use runtimes::docker::driver::{self as wire, PoolAddress, ReleasePool, RequestPool};

use crate::force::Force;

use super::held::{ADDRESSES, Held};
use super::place::{OPTION, Place, Pool};
use super::{Answer, Driver, OWN, done, message};

impl Driver {
    pub(super) fn request_pool(&self, body: &[u8]) -> Answer {
        let call: RequestPool = message(body)?;
        let force = self.force()?;
        let other = call.options.keys().find(|name| name.starts_with(OWN) && *name != OPTION);
        if let Some(other) = other {
            return Err(format!("there is no option `{other}` for addresses, only {OPTION}"));
        }
        let text = call.options.get(OPTION).ok_or_else(|| {
            format!("name a network of the file: --ipam-opt {OPTION}=TENANT/NETWORK")
        })?;
        let pool = pool(text, &call, &force.wanted.document)?;
        Ok(wire::pool(&pool.id(), pool.subnet, pool.with_length(pool.gateway)))
    }

    /// Pools are the file's: nothing of them is kept.
    pub(super) fn release_pool(body: &[u8]) -> Answer {
        let _pool: ReleasePool = message(body)?;
        Ok(done())
    }

    pub(super) fn request_address(&self, body: &[u8]) -> Answer {
        let call: PoolAddress = message(body)?;
        let force = self.force()?;
        let pool = Pool::find(&call.pool, &force.wanted.document)?;
        let wanted = call.address().map_err(|wrong| wrong.to_string())?;
        if call.is_for_gateway() {
            return match wanted.filter(|wanted| *wanted != pool.gateway) {
                None => Ok(wire::address(pool.with_length(pool.gateway))),
                Some(other) => {
                    let (place, gateway) = (&pool.place, pool.gateway);
                    Err(format!(
                        "the gateway of {place} is {gateway}, not {other}: leave out --gateway"
                    ))
                }
            };
        }
        let address = self.ledger.change(|held| {
            let known: usize = held.given.values().map(BTreeSet::len).sum();
            if known >= ADDRESSES {
                return Err(format!(
                    "{ADDRESSES} addresses are given to Docker, which is as many as there may be"
                ));
            }
            let taken = taken(&pool.place, &force, held);
            let address = match wanted {
                Some(address) => fixed(&pool, address, &taken)?,
                None => self.free(&pool, &taken)?,
            };
            held.given.entry(pool.id()).or_default().insert(address);
            Ok(address)
        })?;
        Ok(wire::address(pool.with_length(address)))
    }

    pub(super) fn release_address(&self, body: &[u8]) -> Answer {
        let call: PoolAddress = message(body)?;
        let Some(address) = call.address().map_err(|wrong| wrong.to_string())? else {
            return Ok(done());
        };
        self.ledger.change(|held| {
            if let Some(given) = held.given.get_mut(&call.pool) {
                given.remove(&address);
            }
            held.given.retain(|_, given| !given.is_empty());
            Ok(())
        })?;
        Ok(done())
    }

    /// The next address that nobody has, after the one that was given last.
    fn free(&self, pool: &Pool, taken: &BTreeSet<IpAddr>) -> Result<IpAddr, String> {
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        let size = pool.size();
        let cursor = cursors.entry(pool.id()).or_insert(1);
        for _ in 0..size {
            *cursor = (*cursor + 1) % size;
            let address = pool.at(*cursor).filter(|address| !taken.contains(address));
            if let Some(address) = address.filter(|address| pool.refuses(*address).is_none()) {
                return Ok(address);
            }
        }
        let (place, subnet) = (&pool.place, pool.subnet);
        Err(format!(
            "no address is free in {subnet} of {place}: give it a larger subnet in the file, or end containers"
        ))
    }
}

/// The pool that a network is to have.
fn pool(text: &str, call: &RequestPool, document: &Document) -> Result<Pool, String> {
    let pool = Place::parse(text)?.pool(document, call.v6)?;
    let shown = |text: &str| text.chars().take(64).collect::<String>();
    if !call.sub_pool.is_empty() {
        let text = format!(
            "--ip-range {} is not supported: give the network a segment in the file, {OPTION}={}/SEGMENT",
            shown(&call.sub_pool),
            pool.place
        );
        return Err(text);
    }
    let is_same = |text: &str| text.parse::<ipnet::IpNet>().is_ok_and(|net| net == pool.subnet);
    if !call.pool.is_empty() && !is_same(&call.pool) {
        let (place, subnet, wanted) = (&pool.place, pool.subnet, shown(&call.pool));
        return Err(format!(
            "the subnet of {place} is {subnet}, not {wanted}: leave out --subnet, or change the file"
        ));
    }
    Ok(pool)
}

fn fixed(pool: &Pool, address: IpAddr, taken: &BTreeSet<IpAddr>) -> Result<IpAddr, String> {
    if let Some(why) = pool.refuses(address) {
        return Err(why);
    }
    if taken.contains(&address) {
        return Err(format!(
            "{address} is taken in {}: choose another one, or leave out --ip",
            pool.place
        ));
    }
    Ok(address)
}

/// Addresses that somebody has in a place's network: workloads of the file and of runtimes, and what was given to Docker.
pub(super) fn taken(place: &Place, force: &Force, held: &Held) -> BTreeSet<IpAddr> {
    let mut taken = leased(place, force, None);
    for (id, given) in &held.given {
        let of = id.split('#').next().and_then(|of| Place::parse(of).ok());
        if of.is_some_and(|of| of.tenant == place.tenant && of.network == place.network) {
            taken.extend(given);
        }
    }
    taken
}

/// Addresses that workloads have in a place's network, all but one.
pub(super) fn leased(place: &Place, force: &Force, but: Option<&str>) -> BTreeSet<IpAddr> {
    let allocations = &force.wanted.bundle.allocations;
    let network = format!("{}.{}", place.tenant, place.network);
    let Some(number) = allocations.networks.get(network.as_str()).map(|lease| lease.number) else {
        return BTreeSet::new();
    };
    let here = allocations
        .endpoints
        .iter()
        .filter(|(id, lease)| lease.network == number && Some(&***id) != but);
    here.flat_map(|(_, lease)| lease.v4.map(IpAddr::V4).into_iter().chain(lease.v6.map(IpAddr::V6)))
        .collect()
}
