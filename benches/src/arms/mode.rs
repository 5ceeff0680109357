//! One workload in a network of each mode, with the way that the mode is for: to the world behind the host, or to a neighbour.

use std::path::PathBuf;

use anyhow::Result;
use testkit::bulkhead::Bulkhead;
use testkit::packet::mac_text;
use testkit::{Lab, Namespace};

use super::ours::allow_load;
use super::uplink::{SERVER, world};
use crate::arm::{Arm, Route};

/// A mode, and where its server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Behind the host's address.
    Nat,
    /// With a route of its own.
    Routed,
    /// In the host's stack, judged at its cgroup.
    Host,
    /// Two attachments (`also:`); the way leads over the public one, which is routed by its source.
    HybridToWorld,
    /// On the LAN of a NIC (`uplink:`); the server is another machine there.
    Lan,
    /// Among neighbours.
    Bridge,
    /// Two attachments; the way leads over the internal one.
    HybridToNeighbour,
    /// On a bridge of somebody else, enforced in place; both ends are judged at their ports.
    External,
}

impl Mode {
    /// All that have a way to somebody; `none` has none.
    pub const ALL: [Self; 8] = [
        Self::Nat,
        Self::Routed,
        Self::Host,
        Self::HybridToWorld,
        Self::Lan,
        Self::Bridge,
        Self::HybridToNeighbour,
        Self::External,
    ];

    /// How tables call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Routed => "routed",
            Self::Host => "host",
            Self::HybridToWorld => "hybrid, to the world",
            Self::Lan => "bridge on a LAN",
            Self::Bridge => "bridge",
            Self::HybridToNeighbour => "hybrid, to a neighbour",
            Self::External => "external, in place",
        }
    }

    /// Whether the server is behind the host, and not beside the client.
    #[must_use]
    pub const fn is_to_world(self) -> bool {
        matches!(self, Self::Nat | Self::Routed | Self::Host | Self::HybridToWorld)
    }

    /// The keys of the network `main`.
    const fn network(self) -> &'static str {
        match self {
            Self::Nat | Self::HybridToWorld => "mode: nat, subnets: [10.77.0.0/16]",
            Self::Routed => "mode: routed, subnets: [10.77.0.0/16]",
            Self::Host => "mode: host",
            Self::Bridge | Self::HybridToNeighbour => "mode: bridge, subnets: [10.77.0.0/16]",
            Self::Lan => "mode: bridge, uplink: lan1, subnets: [10.77.0.0/16]",
            Self::External => "external: { bridge: br0 }, subnets: [10.77.0.0/16]",
        }
    }
}

/// A workload in a network of a mode, and its server.
#[derive(Debug)]
pub struct InMode {
    mode: Mode,
    route: Route,
    objects: usize,
    _bulkhead: Bulkhead,
    _lab: Lab,
}

impl InMode {
    /// Makes the host, the ends and an agent, and applies a file with one policy.
    ///
    /// # Errors
    /// When anything cannot be made, or the agent refuses the file.
    pub fn stand(mode: Mode) -> Result<Self> {
        let mut lab = Lab::new()?;
        let host = lab.namespace("host")?;
        let client = if mode == Mode::Host { host.clone() } else { lab.namespace("client")? };
        let server = if mode.is_to_world() {
            world(&mut lab, &host, "10.77.0.0/16")?
        } else {
            lab.namespace("server")?
        };
        match mode {
            Mode::Lan => {
                lab.veth((&host, "lan1"), (&server, "eth0"))?;
                server.address("eth0", "10.77.0.3/16")?;
            }
            Mode::External => {
                lab.bridge(&host, "br0", &["10.77.0.1/16"])?;
                for (space, last) in [(&client, 2), (&server, 3)] {
                    lab.veth((&host, &format!("p{last}")), (space, "eth0"))?;
                    host.ip(&format!("link set p{last} master br0"))?;
                    space.address("eth0", &format!("10.77.0.{last}/16"))?;
                }
            }
            _ => {}
        }
        let bulkhead = Bulkhead::start(&lab, &host)?;
        let before = count(&host)?;
        bulkhead.up(&file(mode, &client, &server)?)?;
        let cgroup: Option<PathBuf> =
            if mode == Mode::Host { Some(bulkhead.cgroup("bench.client")?) } else { None };
        let mut objects = count(&host)?.saturating_sub(before);
        for network in ["main", "other"] {
            let pin = bulkhead.folders().run.join(format!("netns/bench.{network}.router"));
            if pin.exists() {
                objects += count(&Namespace::open(network, &pin)?)?;
            }
        }
        let client_address = [10, 77, 0, 2].into();
        let address = if mode.is_to_world() { SERVER } else { [10, 77, 0, 3] }.into();
        let route = Route { client, cgroup, client_address, server, address };
        Ok(Self { mode, route, objects, _bulkhead: bulkhead, _lab: lab })
    }

    /// The mode.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Links, addresses, routes and nft rules that came with the file, at the host and in routers.
    #[must_use]
    pub const fn objects(&self) -> usize {
        self.objects
    }
}

/// How many objects the kernel holds in a namespace.
fn count(space: &Namespace) -> Result<usize> {
    let mut count = 0;
    for argv in [
        &["ip", "-o", "link"][..],
        &["ip", "-o", "address"],
        &["ip", "route"],
        &["ip", "-6", "route"],
        &["nft", "-s", "list", "ruleset"],
    ] {
        let done = space.check(argv)?;
        let is_counted = |line: &&str| argv[0] != "nft" || line.starts_with("\t\t");
        count += done.stdout.lines().filter(is_counted).count();
    }
    Ok(count)
}

/// The client, with its server where that is a workload too, and a policy for the load.
fn file(mode: Mode, client: &Namespace, server: &Namespace) -> Result<String> {
    let at = |space: &Namespace, last: u8| -> Result<String> {
        let path = space.path().display();
        Ok(match mode {
            Mode::Host => "run: [sleep, \"86400\"]".to_owned(),
            Mode::External => {
                let mac = mac_text(space.mac("eth0")?);
                format!("port: {{ interface: p{last}, mac: \"{mac}\" }}, address: [10.77.0.{last}]")
            }
            _ => format!("netns: {path}, network: main, address: [10.77.0.{last}]"),
        })
    };
    let mut own = at(client, 2)?;
    let other = match mode {
        // The first attachment has the default route; the way is the second one's, by the address that it sends from.
        Mode::HybridToWorld => {
            own = own.replace(
                "network: main, address: [10.77.0.2]",
                "network: main, address: [10.77.0.2], also: [{ network: other }]",
            );
            "      other: { mode: bridge, subnets: [10.78.0.0/16] }\n"
        }
        Mode::HybridToNeighbour => {
            own = own.replace(
                "network: main, address: [10.77.0.2]",
                "network: other, also: [{ network: main, address: 10.77.0.2 }]",
            );
            "      other: { mode: nat, subnets: [10.78.0.0/16] }\n"
        }
        _ => "",
    };
    let (neighbour, to) = match mode {
        Mode::Bridge | Mode::HybridToNeighbour | Mode::External => (
            format!("      server: {{ labels: {{ app: server }}, {} }}\n", at(server, 3)?),
            "app=server".to_owned(),
        ),
        Mode::Lan => (String::new(), "10.77.0.3/32".to_owned()),
        _ => (String::new(), format!("{}/32", std::net::Ipv4Addr::from(SERVER))),
    };
    Ok(format!(
        "bulkhead: 1
tenants:
  bench:
    networks:
      main: {{ {} }}
{other}    workloads:
      client: {{ labels: {{ app: client }}, {own} }}
{neighbour}    policies:
{}",
        mode.network(),
        allow_load("app=client", &to),
    ))
}

impl Arm for InMode {
    fn name(&self) -> &str {
        self.mode.name()
    }
    fn route(&self) -> &Route {
        &self.route
    }
    fn enforces(&self) -> bool {
        true
    }
}
