//! The networks of the countries that sets name, from whoever reads the file.

use std::collections::{BTreeMap, BTreeSet};

use model::Peer;

use crate::codes::Code;
use crate::decode::Val;
use crate::diagnostic::{Diagnostic, Problems};
use crate::geo::{Country, Lookup, MAX_NETWORKS, merged};
use crate::raw::{RawFile, RawSet};

/// Peers by country; nothing for a country about which a problem was reported.
pub(super) type Countries = BTreeMap<Country, Vec<Peer>>;

/// Asks once for all countries of the file, and for none if it names none.
pub(super) fn countries(
    raw: &RawFile,
    lookup: &Lookup<'_>,
    problems: &mut Problems<'_>,
) -> Countries {
    let tenants = raw.tenants.iter().flat_map(|table| &table.entries);
    let tenants = tenants.filter_map(|(_, tenant)| tenant.as_ref()?.sets.as_ref());
    let sets = raw.sets.iter().chain(tenants).flat_map(|table| &table.entries);
    let sets: Vec<&RawSet> = sets.filter_map(|(_, set)| set.as_ref()).collect();
    let named: Vec<&Val<Country>> = sets.iter().flat_map(|set| set.countries()).collect();
    let database = raw.geo.as_ref().and_then(|geo| geo.database.as_ref());
    let (first, database) = match (named.first(), database) {
        (Some(first), Some(database)) => (first, database),
        (Some(first), None) => {
            if raw.geo.is_none() {
                problems.push(no_database(first));
            }
            return Countries::new();
        }
        (None, Some(database)) if sets.iter().all(|set| matches!(set, RawSet::Peers(_))) => {
            let message = "no set names a country";
            problems.push(Diagnostic::warning(Code::Unused, database.span, message));
            return Countries::new();
        }
        (None, _) => return Countries::new(),
    };
    let wanted: BTreeSet<Country> = named.iter().map(|country| country.value).collect();
    let mut found = match lookup(&database.value.0, &wanted) {
        Ok(found) => found,
        Err(lack) => {
            let finding = Diagnostic::error(Code::CountryDatabase, database.span, lack.message);
            problems.push(finding.hint(lack.hint));
            return Countries::new();
        }
    };
    found.retain(|country, _| wanted.contains(country));
    for networks in found.values_mut() {
        *networks = merged(networks);
    }
    let all: usize = found.values().map(Vec::len).sum();
    if all > MAX_NETWORKS {
        problems.push(too_many(first, all));
        return Countries::new();
    }
    let is_empty = |country: &Country| found.get(country).is_none_or(Vec::is_empty);
    for country in named.iter().filter(|country| is_empty(&country.value)) {
        let message = format!("the database has no network of `{}`", country.value);
        problems.push(
            Diagnostic::error(Code::Country, country.span, message)
                .related(database.span, "the database")
                .hint("remove the country, or take a database that has it"),
        );
    }
    let peers = |networks: Vec<ipnet::IpNet>| networks.into_iter().map(Peer::Cidr).collect();
    found.into_iter().map(|(country, networks)| (country, peers(networks))).collect()
}

fn no_database(first: &Val<Country>) -> Diagnostic {
    let message = "the file names countries and no database that knows their networks";
    Diagnostic::error(Code::CountryDatabase, first.span, message)
        .hint("write at the top of the file: geo: { database: /path/to/country.mmdb }")
}

fn too_many(first: &Val<Country>, all: usize) -> Diagnostic {
    let message =
        format!("the countries of the file have {all} networks, at most {MAX_NETWORKS} are taken");
    Diagnostic::error(Code::Limit, first.span, message)
        .hint("name fewer countries; for all but a few, deny those and allow `world`")
}
