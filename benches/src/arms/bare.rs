//! The limit: two namespaces joined by one veth pair, nothing in between.

use anyhow::Result;
use testkit::Lab;

use crate::arm::{Arm, Route};

/// One veth pair.
#[derive(Debug)]
pub struct BareVeth {
    route: Route,
    _lab: Lab,
}

impl BareVeth {
    /// Makes both ends.
    ///
    /// # Errors
    /// When namespaces or links cannot be made.
    pub fn stand() -> Result<Self> {
        let mut lab = Lab::new()?;
        let (client, server) = (lab.namespace("client")?, lab.namespace("server")?);
        lab.veth((&client, "eth0"), (&server, "eth0"))?;
        client.address("eth0", "10.77.0.2/24")?;
        server.address("eth0", "10.77.0.3/24")?;
        let (client_address, address) = ([10, 77, 0, 2].into(), [10, 77, 0, 3].into());
        Ok(Self {
            route: Route { client, cgroup: None, client_address, server, address },
            _lab: lab,
        })
    }
}

impl Arm for BareVeth {
    fn name(&self) -> &'static str {
        "bare veth"
    }
    fn route(&self) -> &Route {
        &self.route
    }
    fn enforces(&self) -> bool {
        false
    }
}
