//! Country databases in the MMDB format, written by tests.
//!
//! Source: the format's specification, version 2.0 (<https://maxmind.github.io/MaxMind-DB/>). Records of 24 bits, IPv4 below
//! `::/96` of an IPv6 tree.

use std::net::IpAddr;

/// Where a network is said to be.
#[derive(Debug, Clone, Copy)]
pub enum Place<'p> {
    /// Used in the country with this code.
    Used(&'p str),
    /// Registered in the country with this code, used nobody knows where.
    Registered(&'p str),
    /// A record without a country.
    Nowhere,
}

/// A database on its way.
#[derive(Debug)]
pub struct Database {
    nodes: Vec<[Child; 2]>,
    data: Vec<u8>,
    kind: String,
    built: u64,
}

#[derive(Debug, Clone, Copy)]
enum Child {
    Nothing,
    Node(usize),
    Data(usize),
}

impl Database {
    /// An empty one of this type, built at this time (seconds since 1970).
    #[must_use]
    pub fn new(kind: &str, built: u64) -> Self {
        let nodes = vec![[Child::Nothing; 2]];
        Self { nodes, data: Vec::new(), kind: kind.to_owned(), built }
    }

    /// Says where a network is: `192.0.2.0/24` or `2001:db8::/32`.
    ///
    /// # Panics
    /// When it is no network.
    #[must_use]
    pub fn with(mut self, network: &str, place: Place<'_>) -> Self {
        let offset = self.data.len();
        let data = &mut self.data;
        match place {
            Place::Used(code) => coded(data, "country", "iso_code", code),
            Place::Registered(code) => coded(data, "registered_country", "iso_code", code),
            Place::Nowhere => coded(data, "continent", "code", "AS"),
        }
        self.put(network, Child::Data(offset));
        self
    }

    /// Lets a network of IPv6 lead to all of IPv4, as databases do with `2002::/16` (6to4).
    ///
    /// # Panics
    /// When it is no network, or there is no IPv4 yet.
    #[must_use]
    pub fn with_alias(mut self, network: &str) -> Self {
        let mut at = 0;
        for _ in 0..96 {
            let Child::Node(next) = self.nodes[at][0] else { panic!("no IPv4 to lead to") };
            at = next;
        }
        self.put(network, Child::Node(at));
        self
    }

    /// Lets a network lead to the tree's root, which no sound database does.
    #[must_use]
    pub fn with_loop(mut self, network: &str) -> Self {
        self.put(network, Child::Node(0));
        self
    }

    fn put(&mut self, network: &str, child: Child) {
        let (address, length) = network.split_once('/').expect("a network");
        let length: usize = length.parse().expect("a prefix length");
        let (bits, length) = match address.parse().expect("an address") {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), length + 96),
            IpAddr::V6(v6) => (v6.to_bits(), length),
        };
        let mut at = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                self.nodes[at][side] = child;
            } else if let Child::Node(next) = self.nodes[at][side] {
                at = next;
            } else {
                self.nodes.push([Child::Nothing; 2]);
                let next = self.nodes.len() - 1;
                self.nodes[at][side] = Child::Node(next);
                at = next;
            }
        }
    }

    /// The file.
    ///
    /// # Panics
    /// When it is too large for records of 24 bits.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let count = self.nodes.len();
        let mut bytes = Vec::new();
        for child in self.nodes.iter().flatten() {
            let value = match child {
                Child::Nothing => count,
                Child::Node(node) => *node,
                Child::Data(offset) => count + 16 + offset,
            };
            let value = u32::try_from(value).ok().filter(|value| *value < 1 << 24);
            bytes.extend_from_slice(&value.expect("fits 24 bits").to_be_bytes()[1..]);
        }
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&self.data);
        bytes.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        bytes.push(MAP | 9);
        let short = |bytes: &mut Vec<u8>, key: &str, value: u16| {
            text(bytes, key);
            bytes.push(UINT16 | 2);
            bytes.extend_from_slice(&value.to_be_bytes());
        };
        short(&mut bytes, "binary_format_major_version", 2);
        short(&mut bytes, "binary_format_minor_version", 0);
        short(&mut bytes, "ip_version", 6);
        short(&mut bytes, "record_size", 24);
        text(&mut bytes, "node_count");
        bytes.push(UINT32 | 4);
        bytes.extend_from_slice(&u32::try_from(count).expect("few nodes").to_be_bytes());
        text(&mut bytes, "build_epoch");
        bytes.extend_from_slice(&[8, UINT64]);
        bytes.extend_from_slice(&self.built.to_be_bytes());
        text(&mut bytes, "database_type");
        text(&mut bytes, &self.kind);
        text(&mut bytes, "languages");
        bytes.extend_from_slice(&[0, ARRAY]);
        text(&mut bytes, "description");
        bytes.push(MAP);
        bytes
    }
}

const MAP: u8 = 7 << 5;
const UINT16: u8 = 5 << 5;
const UINT32: u8 = 6 << 5;
/// Types above 7 stand in a byte of their own, less 7.
const UINT64: u8 = 9 - 7;
const ARRAY: u8 = 11 - 7;

fn text(bytes: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 29, "short texts alone");
    bytes.push(2 << 5 | u8::try_from(text.len()).expect("is short"));
    bytes.extend_from_slice(text.as_bytes());
}

/// `{outer: {inner: code}}`
fn coded(bytes: &mut Vec<u8>, outer: &str, inner: &str, code: &str) {
    bytes.push(MAP | 1);
    text(bytes, outer);
    bytes.push(MAP | 1);
    text(bytes, inner);
    text(bytes, code);
}
