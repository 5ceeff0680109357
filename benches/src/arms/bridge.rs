//! The peers' shape: a bridge in a "host" namespace, containers on it, a filter of the host.
//!
//! The filter sees bridged packets through `br_netfilter`, as with Docker and the CNI bridge: the
//! kernel here has no connection tracking in nft's bridge family.

use anyhow::Result;
use testkit::{Lab, Namespace};

use super::filter::Filter;
use super::rules::Ends;
use super::shape::identity;
use crate::arm::{Arm, Route};

/// A bridge with two containers, perhaps more that rules are about, and a filter.
#[derive(Debug)]
pub struct Bridge {
    name: String,
    filter: Filter,
    route: Route,
    far: Vec<Namespace>,
    _lab: Lab,
}

impl Bridge {
    /// Makes the host, both containers and the filter.
    ///
    /// # Errors
    /// When anything cannot be made, e.g. a tool is missing.
    pub fn stand(filter: Filter) -> Result<Self> {
        Self::stand_among(filter, 0)
    }

    /// As [`Self::stand`], with `more` containers at the addresses that rules by identity are about.
    ///
    /// # Errors
    /// As [`Self::stand`].
    pub fn stand_among(filter: Filter, more: u8) -> Result<Self> {
        let mut lab = Lab::new()?;
        let host = lab.namespace("host")?;
        lab.bridge(&host, "br0", &["10.77.0.1/24"])?;
        let (client, server) = (join(&mut lab, &host, 2)?, join(&mut lab, &host, 3)?);
        let far: Result<Vec<_>> =
            (0..more).map(|at| join(&mut lab, &host, identity(at).octets()[3])).collect();
        let mut far = far?;
        if far.is_empty() {
            far.push(server.clone());
        }
        let (client_address, address) = ([10, 77, 0, 2].into(), [10, 77, 0, 3].into());
        if filter != Filter::None {
            host.sysctl("net.bridge.bridge-nf-call-iptables", "1")?;
        }
        filter.install(&host, Ends { client: client_address, server: address })?;
        let route = Route { client, cgroup: None, client_address, server, address };
        Ok(Self { name: filter.name(), filter, route, far, _lab: lab })
    }
}

/// A container on the bridge, with this last byte of its address.
fn join(lab: &mut Lab, host: &Namespace, last: u8) -> Result<Namespace> {
    let space = lab.namespace(&format!("c{last}"))?;
    let port = format!("p{last}");
    lab.veth((host, &port), (&space, "eth0"))?;
    host.ip(&format!("link set {port} master br0"))?;
    space.address("eth0", &format!("10.77.0.{last}/24"))?;
    space.ip("route add default via 10.77.0.1")?;
    Ok(space)
}

impl Arm for Bridge {
    fn name(&self) -> &str {
        &self.name
    }
    fn route(&self) -> &Route {
        &self.route
    }
    fn far(&self) -> &[Namespace] {
        &self.far
    }
    fn enforces(&self) -> bool {
        self.filter != Filter::None
    }
}
