//! The limit of our own shape: both host-side veths hand every packet to their neighbour, unjudged.
//!
//! The program comes from our own object file, by the pin of a running agent, so that this arm
//! measures the same compiler and the same kernel path without a verdict.

use std::path::Path;

use anyhow::{Context, Result};
use testkit::Lab;

use crate::arm::{Arm, Route};

/// Interface numbers of the two host-side veths. The program finds the neighbour by flipping the
/// lowest bit of the number.
const PORTS: [u32; 2] = [4000, 4001];

/// Two containers whose veths are short-circuited with `bpf_redirect_peer`.
#[derive(Debug)]
pub struct Redirect {
    route: Route,
    _lab: Lab,
}

impl Redirect {
    /// Makes both containers and attaches the program pinned at `program`.
    ///
    /// # Errors
    /// When links cannot be made or `tc` refuses the program.
    pub fn stand(program: &Path) -> Result<Self> {
        let mut lab = Lab::new()?;
        let host = lab.namespace("host")?;
        let (client, server) = (lab.namespace("client")?, lab.namespace("server")?);
        for ((space, last), index) in [(&client, 2), (&server, 3)].into_iter().zip(PORTS) {
            let (port, peer) = (format!("p{last}"), space.path().display());
            host.ip(&format!(
                "link add {port} index {index} type veth peer name eth0 netns {peer}\n\
                 link set {port} up"
            ))?;
            space.ip("link set eth0 up")?;
            space.address("eth0", &format!("10.77.0.{last}/24"))?;
            host.check(&["tc", "qdisc", "add", "dev", &port, "clsact"])?;
            let program = program.to_str().context("a path that is not UTF-8")?;
            host.check(&[
                "tc",
                "filter",
                "add",
                "dev",
                &port,
                "ingress",
                "bpf",
                "direct-action",
                "object-pinned",
                program,
            ])?;
        }
        let (client_address, address) = ([10, 77, 0, 2].into(), [10, 77, 0, 3].into());
        Ok(Self {
            route: Route { client, cgroup: None, client_address, server, address },
            _lab: lab,
        })
    }
}

impl Arm for Redirect {
    fn name(&self) -> &'static str {
        "redirect_peer"
    }
    fn route(&self) -> &Route {
        &self.route
    }
    fn enforces(&self) -> bool {
        false
    }
}
