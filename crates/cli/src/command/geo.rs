//! Networks of countries from the operator's database (MMDB format), for sets with `countries:`.
//!
//! The command opens the database, not the agent: what of it is in force travels with the file and is kept with it.
//! A network belongs to its `country`; where a record has none, to its `registered_country`.
//!
//! **Limits.** A regular file of at most 256 MiB. A tree that leads to more networks than it has nodes for is refused, as is
//! one whose records cannot be read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::OpenOptions;
use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use api::Geography;
use jiff::Timestamp;
use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use policy::IpNet;
use policy::geo::{Country, Lack, Networks};
use serde::Deserialize;

/// The largest database that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Networks that are collected before they are merged: more of one file's countries are refused anyway.
const MAX_COLLECTED: usize = 4_000_000;
/// IPv4 as IPv6: no packet carries such an address.
const MAPPED: u128 = 0xffff << 32;

/// What was looked up while a file was read.
#[derive(Default)]
pub(super) struct Lookups(RefCell<Option<Geography>>);

impl Lookups {
    /// The networks of countries in a database.
    pub(super) fn find(&self, path: &str, wanted: &BTreeSet<Country>) -> Result<Networks, Lack> {
        let bytes = read(Path::new(path))?;
        let (database, networks) = countries(&bytes, wanted)?;
        *self.0.borrow_mut() = Some(Geography {
            countries: networks
                .iter()
                .map(|(country, nets)| {
                    (country.to_string(), nets.iter().map(ToString::to_string).collect())
                })
                .collect(),
            ..database
        });
        Ok(networks)
    }

    /// What was found, for whoever reads the file after this.
    pub(super) fn into_found(self) -> Option<Geography> {
        self.0.into_inner()
    }
}

fn lack(message: impl Into<String>, hint: &str) -> Lack {
    Lack { message: message.into(), hint: hint.to_owned() }
}

/// The bytes of a regular file; nothing else is read or waited for.
fn read(path: &Path) -> Result<Vec<u8>, Lack> {
    /// `O_NONBLOCK`: a named pipe without a writer is opened at once. Of no effect on files.
    const AT_ONCE: i32 = 0o4000;
    let failed = |error: std::io::Error| {
        lack(
            format!("the database cannot be read: {error}"),
            "give the path of a country database in the MaxMind DB format, readable for you",
        )
    };
    let file = OpenOptions::new().read(true).custom_flags(AT_ONCE).open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(lack("the database is not a file", "name the file itself: country.mmdb"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("the database is larger than {} MiB", MAX_BYTES >> 20);
        return Err(lack(message, "take one of countries alone: it has a few MiB"));
    }
    Ok(bytes)
}

/// What is read of a record.
#[derive(Deserialize)]
struct Record<'r> {
    #[serde(borrow, default)]
    country: Option<Coded<'r>>,
    #[serde(borrow, default)]
    registered_country: Option<Coded<'r>>,
}

#[derive(Deserialize)]
struct Coded<'r> {
    #[serde(borrow, default)]
    iso_code: Option<&'r str>,
}

impl Record<'_> {
    fn country(&self) -> Option<Country> {
        let used = self.country.as_ref().and_then(|country| country.iso_code);
        let registered = self.registered_country.as_ref().and_then(|country| country.iso_code);
        used.or(registered)?.to_ascii_lowercase().parse().ok()
    }
}

/// What a database is, and the networks of some countries in it.
fn countries(bytes: &[u8], wanted: &BTreeSet<Country>) -> Result<(Geography, Networks), Lack> {
    let reader = Reader::from_source(bytes).map_err(|error| broken(&error))?;
    let options = WithinOptions::default().include_networks_without_data();
    // A tree without loops has one leaf more than it has nodes; the rest of IPv4 in IPv6 is reached once.
    let most = u64::from(reader.metadata().node_count).saturating_mul(2) + 2;
    let mut by_record: HashMap<usize, Option<Country>> = HashMap::new();
    let mut found = Networks::new();
    let mut collected = 0_usize;
    let mut has_countries = false;
    for (leaves, leaf) in (1_u64..).zip(reader.networks(options).map_err(|error| broken(&error))?) {
        let leaf = leaf.map_err(|error| broken(&error))?;
        if leaves > most {
            return Err(lack("the database is broken: its tree has loops", AGAIN));
        }
        let Some(offset) = leaf.offset() else { continue };
        let country = if let Some(known) = by_record.get(&offset) {
            *known
        } else {
            let record: Option<Record<'_>> = leaf.decode().map_err(|error| broken(&error))?;
            let country = record.as_ref().and_then(Record::country);
            by_record.insert(offset, country);
            country
        };
        has_countries |= country.is_some();
        let Some(country) = country.filter(|country| wanted.contains(country)) else { continue };
        let net = leaf.network().map_err(|error| broken(&error))?;
        let nets = found.entry(country).or_default();
        for net in networks(net.ip(), net.prefix()).into_iter().flatten() {
            collected += 1;
            nets.push(net);
        }
        if collected > MAX_COLLECTED {
            let message =
                format!("the countries of the file have more than {MAX_COLLECTED} entries");
            return Err(lack(message, "name fewer countries"));
        }
    }
    if !has_countries {
        return Err(lack(
            "no record of the database has a country",
            "take a database of countries or cities: its records have country.iso_code",
        ));
    }
    for nets in found.values_mut() {
        *nets = policy::geo::merged(nets);
    }
    Ok((about(&reader), found))
}

/// A network of the tree as packets carry it: `::/96` is IPv4, and what holds all of it stands for IPv4, too.
fn networks(address: IpAddr, length: u8) -> [Option<IpNet>; 2] {
    let net = |address, length| IpNet::new(address, length).ok().map(|net| net.trunc());
    match address {
        IpAddr::V6(v6) if v6.to_bits() >> 32 == MAPPED >> 32 => [None, None],
        IpAddr::V6(v6) if v6 == Ipv6Addr::UNSPECIFIED && length <= 96 => {
            let v6 = (length < 96).then(|| net(address, length)).flatten();
            [v6, net(std::net::Ipv4Addr::UNSPECIFIED.into(), 0)]
        }
        _ => [net(address, length), None],
    }
}

const AGAIN: &str = "download it again; a copy that was cut off looks like this";

fn broken(error: &MaxMindDbError) -> Lack {
    let told: String = error.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
    lack(format!("the database is broken: {told}"), AGAIN)
}

/// Type and build date, without networks.
fn about(reader: &Reader<&[u8]>) -> Geography {
    let about = reader.metadata();
    let seconds = i64::try_from(about.build_epoch).unwrap_or(i64::MAX);
    let built = Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| at.to_string());
    let name = about.database_type.chars().filter(|c| c.is_ascii_graphic() || *c == ' ');
    Geography { database: name.take(64).collect(), built, countries: BTreeMap::new() }
}

#[cfg(test)]
mod tests;
