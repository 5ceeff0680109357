//! A set as written: a list of peers, or a mapping that names countries.

use model::Peer;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::RawCountries;
use crate::decode::{Decode, OneOrMany, Val};
use crate::diagnostic::Problems;
use crate::document::Span;
use crate::geo::Country;
use crate::tree::{Node, Value};

/// What a set lists.
#[derive(Debug)]
pub(crate) enum RawSet {
    /// Peers, and references to other sets.
    Peers(OneOrMany<Val<Peer>>),
    /// Countries, of which it has the networks.
    Countries(RawCountries),
}

impl RawSet {
    /// Peers that are written in it.
    pub(crate) fn peers(&self) -> &[Val<Peer>] {
        match self {
            Self::Peers(peers) => &peers.items,
            Self::Countries(_) => &[],
        }
    }

    /// Countries that are written in it.
    pub(crate) fn countries(&self) -> &[Val<Country>] {
        match self {
            Self::Peers(_) => &[],
            Self::Countries(raw) => raw.countries.as_ref().map_or(&[][..], |list| &list.items),
        }
    }

    /// How many entries stand in the file, readable or not, and where; nothing for a mapping without its list.
    pub(crate) fn written(&self) -> Option<(usize, Span)> {
        match self {
            Self::Peers(peers) => Some((peers.written, peers.span)),
            Self::Countries(raw) => raw.countries.as_ref().map(|list| (list.written, list.span)),
        }
    }
}

impl Decode for RawSet {
    fn decode(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Self> {
        // Any other mapping is a selector by an old habit, and is told how to write it.
        let names_countries = |entries: &[(crate::tree::Key<'_>, Node<'_>)]| {
            entries.iter().any(|(key, _)| matches!(&*key.text, "countries" | "country"))
        };
        match &node.value {
            Value::Map(entries) if names_countries(entries) => {
                RawCountries::decode(node, problems).map(Self::Countries)
            }
            _ => OneOrMany::decode(node, problems).map(Self::Peers),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let peers = OneOrMany::<Val<Peer>>::schema(generator);
        let countries = RawCountries::schema(generator);
        json_schema!({ "anyOf": [peers, countries] })
    }
}
