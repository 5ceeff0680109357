//! The peers' shape: a bridge in a "host" namespace, two containers on it, a filter of the host.
//!
//! The filter sees bridged packets through `br_netfilter`, as with Docker and the CNI bridge: the
//! kernel here has no connection tracking in nft's bridge family.

use anyhow::Result;
use testkit::Lab;

use super::filter::Filter;
use super::rules::Ends;
use crate::arm::{Arm, Route};

/// A bridge with two containers and a filter.
#[derive(Debug)]
pub struct Bridge {
    name: String,
    filter: Filter,
    route: Route,
    _lab: Lab,
}

impl Bridge {
    /// Makes the host, both containers and the filter.
    ///
    /// # Errors
    /// When anything cannot be made, e.g. a tool is missing.
    pub fn stand(filter: Filter) -> Result<Self> {
        let mut lab = Lab::new()?;
        let host = lab.namespace("host")?;
        lab.bridge(&host, "br0", &["10.77.0.1/24"])?;
        let mut ends = Vec::new();
        for (name, last) in [("client", 2), ("server", 3)] {
            let space = lab.namespace(name)?;
            let port = format!("p{last}");
            lab.veth((&host, &port), (&space, "eth0"))?;
            host.ip(&format!("link set {port} master br0"))?;
            space.address("eth0", &format!("10.77.0.{last}/24"))?;
            space.ip("route add default via 10.77.0.1")?;
            ends.push(space);
        }
        let [client, server] = <[_; 2]>::try_from(ends)
            .map_err(|_| anyhow::anyhow!("two containers were asked for"))?;
        let (client_address, address) = ([10, 77, 0, 2].into(), [10, 77, 0, 3].into());
        if filter != Filter::None {
            host.sysctl("net.bridge.bridge-nf-call-iptables", "1")?;
        }
        filter.install(&host, Ends { client: client_address, server: address })?;
        let route = Route { client, client_address, server, address };
        Ok(Self { name: filter.name(), filter, route, _lab: lab })
    }
}

impl Arm for Bridge {
    fn name(&self) -> &str {
        &self.name
    }
    fn route(&self) -> &Route {
        &self.route
    }
    fn enforces(&self) -> bool {
        self.filter != Filter::None
    }
}
