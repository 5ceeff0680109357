//! A container behind a routing host and a "world" that answers on every benchmark address.
//!
//! Used where rules name many addresses: `world` owns all of [`WORLD`], so every rule has a real
//! target behind it and random targets really connect.

use anyhow::Result;
use testkit::{Lab, Namespace};

use super::filter::Filter;
use super::rules::Ends;
use crate::arm::{Arm, Route};

/// The networks that all fillers are in: for benchmarks (RFC 2544), and shared addresses (RFC 6598).
pub const WORLD: [&str; 2] = ["198.18.0.0/15", "100.64.0.0/10"];
/// The server's address: beyond all fillers.
pub const SERVER: [u8; 4] = [198, 19, 255, 254];

/// A routing host with one container, a filter and a world behind it.
#[derive(Debug)]
pub struct Uplink {
    name: String,
    filter: Filter,
    route: Route,
    _lab: Lab,
}

impl Uplink {
    /// Makes the host, the container, the world and the filter.
    ///
    /// # Errors
    /// When anything cannot be made, e.g. a tool is missing.
    pub fn stand(filter: Filter) -> Result<Self> {
        let mut lab = Lab::new()?;
        let (host, client) = (lab.namespace("host")?, lab.namespace("client")?);
        let server = world(&mut lab, &host, "10.77.0.0/16")?;
        lab.bridge(&host, "br0", &["10.77.0.1/24"])?;
        lab.veth((&host, "p2"), (&client, "eth0"))?;
        host.ip("link set p2 master br0")?;
        client.address("eth0", "10.77.0.2/24")?;
        client.ip("route add default via 10.77.0.1")?;
        let (client_address, address) = ([10, 77, 0, 2].into(), SERVER.into());
        filter.install(&host, Ends { client: client_address, server: address })?;
        let route = Route { client, cgroup: None, client_address, server, address };
        let name = if filter == Filter::None { "no filter".to_owned() } else { filter.name() };
        Ok(Self { name, filter, route, _lab: lab })
    }
}

impl Uplink {
    /// The host itself as the client: no link of a container, and nothing that filters.
    ///
    /// # Errors
    /// When anything cannot be made.
    pub fn stand_host() -> Result<Self> {
        let mut lab = Lab::new()?;
        let client = lab.namespace("host")?;
        let server = world(&mut lab, &client, "10.77.0.0/16")?;
        let (client_address, address) = ([192, 0, 2, 1].into(), SERVER.into());
        let route = Route { client, cgroup: None, client_address, server, address };
        let name = "no filter, the host itself".to_owned();
        Ok(Self { name, filter: Filter::None, route, _lab: lab })
    }
}

/// Makes the world behind `host`, with a way back to `inside`.
///
/// # Errors
/// When links or routes cannot be made.
pub fn world(lab: &mut Lab, host: &Namespace, inside: &str) -> Result<Namespace> {
    let world = lab.namespace("world")?;
    lab.veth((host, "uplink"), (&world, "eth0"))?;
    host.address("uplink", "192.0.2.1/24")?;
    world.address("eth0", "192.0.2.2/24")?;
    host.sysctl("net.ipv4.ip_forward", "1")?;
    host.ip("route add default via 192.0.2.2")?;
    for network in WORLD {
        world.ip(&format!("route add local {network} dev lo"))?;
    }
    world.ip(&format!("route add {inside} via 192.0.2.1"))?;
    Ok(world)
}

impl Arm for Uplink {
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
