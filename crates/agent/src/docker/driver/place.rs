//! Where a network of Docker's leads: to a network of the file, or to a segment of one. And its pools, which are the subnets there.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Mode, Name};
use policy::Document;
use policy::document::{Network, Subnets};
use serde::{Deserialize, Serialize};

/// The option that names it, of `docker network create -o` and `--ipam-opt`.
pub(super) const OPTION: &str = "bulkhead.network";
/// What its value looks like.
const FORM: &str = "TENANT/NETWORK or TENANT/NETWORK/SEGMENT";
/// Names that an error lists.
const LISTED: usize = 10;

/// A network of the file, or a segment of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) tenant: Name,
    pub(super) network: Name,
    pub(super) segment: Option<Name>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.network)?;
        self.segment.as_ref().map_or(Ok(()), |segment| write!(f, "/{segment}"))
    }
}

impl Place {
    /// Reads `shop/front` or `shop/front/web`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(100).collect();
        let wrong = || format!("{OPTION}={shown:?} is not {FORM}");
        let name = |part: &str| Name::new(part).map_err(|error| format!("{}: {error}", wrong()));
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [tenant, network] => {
                Ok(Self { tenant: name(tenant)?, network: name(network)?, segment: None })
            }
            [tenant, network, segment] => Ok(Self {
                tenant: name(tenant)?,
                network: name(network)?,
                segment: Some(name(segment)?),
            }),
            _ => Err(wrong()),
        }
    }

    /// The network in a document.
    pub(super) fn network<'d>(&self, document: &'d Document) -> Result<&'d Network, String> {
        let Some(network) = document.network(&self.tenant, &self.network) else {
            let ours = document.networks.iter().filter(|network| is_fit(network).is_ok());
            let mut all: Vec<String> = ours.map(|each| each.id().replacen('.', "/", 1)).collect();
            all.sort_unstable();
            let more = all.len().saturating_sub(LISTED);
            all.truncate(LISTED);
            if more > 0 {
                all.push(format!("and {more} more"));
            }
            return Err(format!(
                "the file in force has no network {}/{}; it has: {}",
                self.tenant,
                self.network,
                all.join(", ")
            ));
        };
        is_fit(network)?;
        Ok(network)
    }

    /// The subnets there.
    pub(super) fn subnets(&self, document: &Document) -> Result<Subnets, String> {
        let network = self.network(document)?;
        let names = || {
            let names = network.segments.iter().map(|segment| segment.name.to_string());
            names.collect::<Vec<_>>().join(", ")
        };
        match (&self.segment, network.segments.as_slice()) {
            (None, []) => Ok(network.subnets),
            (None, [only]) => Ok(only.subnets),
            (None, _) => Err(format!(
                "the network {self} has several segments: name one, {OPTION}={self}/SEGMENT, of {}",
                names()
            )),
            (Some(wanted), _) => {
                let known = network.segment(wanted).map(|segment| segment.subnets);
                known.ok_or_else(|| {
                    format!(
                        "the network {}/{} has no segment `{wanted}`; it has: {}",
                        self.tenant,
                        self.network,
                        names()
                    )
                })
            }
        }
    }

    /// The pool of one version.
    pub(super) fn pool(&self, document: &Document, is_v6: bool) -> Result<Pool, String> {
        let subnets = self.subnets(document)?;
        let (subnet, gateway) = if is_v6 {
            (subnets.v6.map(IpNet::V6), subnets.gateway_v6().map(IpAddr::V6))
        } else {
            (subnets.v4.map(IpNet::V4), subnets.gateway_v4().map(IpAddr::V4))
        };
        let pool = subnet.zip(gateway).map(|(subnet, gateway)| Pool {
            place: self.clone(),
            subnet: subnet.trunc(),
            gateway,
        });
        pool.ok_or_else(|| {
            if is_v6 {
                format!("{self} has no IPv6 subnet: leave out --ipv6, or give it one in the file")
            } else {
                format!("{self} has no IPv4 subnet, and Docker wants one: add one to the file")
            }
        })
    }
}

/// Whether containers can be in a network.
fn is_fit(network: &Network) -> Result<(), String> {
    let id = network.id().replacen('.', "/", 1);
    if network.external.is_some() {
        return Err(format!(
            "the network {id} is external: somebody else makes it, and its containers are found there"
        ));
    }
    if let Some(lan) = &network.lan {
        let uplink = &lan.uplink;
        return Err(format!(
            "the network {id} is on the LAN of {uplink}, where Docker would give out addresses of others: name the container's namespace in the file (`netns:`)"
        ));
    }
    let instead = match network.mode {
        Mode::None => "none",
        Mode::Host => "host",
        Mode::Nat | Mode::Bridge | Mode::Routed | Mode::Macvlan => return Ok(()),
    };
    Err(format!(
        "the network {id} has the mode `{instead}`: use docker run --network {instead}, or another mode"
    ))
}

/// A subnet of a place as Docker's address management knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) place: Place,
    pub(super) subnet: IpNet,
    pub(super) gateway: IpAddr,
}

impl Pool {
    /// What Docker calls it: `shop/front/web#4`.
    pub(super) fn id(&self) -> String {
        format!("{}#{}", self.place, if self.subnet.addr().is_ipv4() { 4 } else { 6 })
    }

    /// The pool of an id, if the document in force still has it.
    pub(super) fn find(id: &str, document: &Document) -> Result<Self, String> {
        let unknown = || {
            let shown: String = id.chars().take(100).collect();
            format!("{shown:?} is no pool of this driver's")
        };
        let (place, version) = id.split_once('#').ok_or_else(unknown)?;
        let is_v6 = match version {
            "4" => false,
            "6" => true,
            _ => return Err(unknown()),
        };
        Place::parse(place).map_err(|_| unknown())?.pool(document, is_v6)
    }

    /// An address with the length of the subnet's prefix.
    pub(super) fn with_length(&self, address: IpAddr) -> IpNet {
        IpNet::new(address, self.subnet.prefix_len()).unwrap_or(self.subnet)
    }

    /// Why a container cannot have an address, if it cannot.
    pub(super) fn refuses(&self, address: IpAddr) -> Option<String> {
        let subnet = self.subnet;
        if !subnet.contains(&address) {
            return Some(format!("{address} is not in {subnet}, the subnet of {}", self.place));
        }
        let is_edge = address == subnet.network()
            || (address.is_ipv4() && address == subnet.broadcast())
            || address == self.gateway;
        is_edge.then(|| {
            format!("{address} is the network's own: its first, second or last address in {subnet}")
        })
    }

    /// The address at a place in it; `None` beyond its end.
    pub(super) fn at(&self, offset: u64) -> Option<IpAddr> {
        let address = match self.subnet {
            IpNet::V4(net) => {
                let offset = u32::try_from(offset).ok()?;
                IpAddr::V4(net.network().to_bits().checked_add(offset)?.into())
            }
            IpNet::V6(net) => {
                IpAddr::V6(net.network().to_bits().checked_add(u128::from(offset))?.into())
            }
        };
        self.subnet.contains(&address).then_some(address)
    }

    /// How many of its addresses are looked at: all of them, or those of a /16.
    pub(super) fn size(&self) -> u64 {
        1 << (self.subnet.max_prefix_len() - self.subnet.prefix_len()).min(16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{SHOP, wanted};

    #[test]
    fn places_are_named_and_found() {
        let document = wanted(SHOP).document;
        let told = |text: &str| {
            let place = Place::parse(text)?;
            place.subnets(&document).map(|subnets| format!("{:?}", subnets.v4))
        };
        assert_eq!(told("shop/main/front").as_deref(), Ok("Some(10.0.1.0/24)"));
        assert_eq!(told("shop/other").as_deref(), Ok("Some(10.0.0.0/16)"));
        for (text, why) in [
            ("shop", "is not TENANT/NETWORK"),
            ("shop/../etc", "is not TENANT/NETWORK"),
            ("a/b/c/d", "is not TENANT/NETWORK"),
            (
                "shop/main",
                "has several segments: name one, bulkhead.network=shop/main/SEGMENT, of front, data",
            ),
            ("shop/main/nowhere", "has no segment `nowhere`; it has: front, data"),
            ("shop/nowhere", "has no network shop/nowhere; it has: shop/main, shop/other"),
            ("shop/dark", "has the mode `none`"),
        ] {
            let error = told(text).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn pools_have_names_and_bounds() {
        let document = wanted(SHOP).document;
        let pool = Pool::find("shop/main/front#4", &document).expect("a pool");
        assert_eq!(pool.id(), "shop/main/front#4");
        assert_eq!(pool.gateway.to_string(), "10.0.1.1");
        assert_eq!(pool.with_length("10.0.1.9".parse().expect("one")).to_string(), "10.0.1.9/24");
        for (address, is_fine) in [
            ("10.0.1.0", false),
            ("10.0.1.1", false),
            ("10.0.1.2", true),
            ("10.0.1.254", true),
            ("10.0.1.255", false),
            ("10.0.2.2", false),
            ("fd00:5:0:1::2", false),
        ] {
            assert_eq!(pool.refuses(address.parse().expect("one")).is_none(), is_fine, "{address}");
        }
        assert_eq!((pool.at(2), pool.at(256)), (Some("10.0.1.2".parse().expect("one")), None));
        let six = Pool::find("shop/main/front#6", &document).expect("a pool");
        assert_eq!((six.size(), six.at(2)), (1 << 16, Some("fd00:5:0:1::2".parse().expect("one"))));
        for id in ["shop/main/front", "shop/main/front#5", "../../etc#4", "#4", "shop/other#6"] {
            Pool::find(id, &document).expect_err(id);
        }
    }
}
