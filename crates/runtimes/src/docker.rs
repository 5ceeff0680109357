//! Docker: networks and containers from the Engine API, as much of it as Bulkhead needs.
//!
//! Two questions tell nearly everything: the network with its endpoints, and the list of containers. A third one, once for each image, tells which labels of a
//! container are its image's: who runs a container is not who made its image, and the list does not tell them apart. None of them waits for a container that
//! is being started (`GET /containers/{id}/json` does, in 20.10), so a container is known before its first program runs. Events only wake:
//! nothing of what they say is believed.

mod answer;
mod client;
pub mod driver;
mod error;
mod mapping;

pub(crate) use answer::is_id;
pub(crate) use client::escape;
pub use client::{Client, Wakes};
pub use error::Error;
pub use mapping::{Naming, workload_labels};

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::Transport;

/// A network of Docker's that a bridge on this host carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The bridge on this host.
    pub bridge: String,
    /// At most one of IPv4 and one of IPv6.
    pub subnets: Vec<IpNet>,
    /// What is connected, by container; a container that does not run is connected to nothing.
    pub members: Vec<Member>,
    /// Members that could not be understood.
    pub left_out: usize,
}

/// A container's end in a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The container: 64 hexadecimal digits.
    pub container: String,
    /// Docker's name of this end, another one each time the container starts: 64 hexadecimal digits.
    pub endpoint: String,
    /// The MAC inside of the container.
    pub mac: [u8; 6],
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// An end of a network, whatever drives it, and who it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Docker's name of it: 64 hexadecimal digits.
    pub endpoint: String,
    /// The container: 64 hexadecimal digits; `None` while it is being connected.
    pub container: Option<String>,
    /// The container's name when it was connected.
    pub name: String,
}

/// A container, running or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without the slash.
    pub name: String,
    /// The image as it was asked for: `nginx:1.27`.
    pub image: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub image_id: String,
    /// Its own labels: whoever started it gave it these.
    pub labels: Vec<(String, String)>,
    /// Labels that it has as its image has them. Whoever made the image chose them.
    pub image_labels: Vec<(String, String)>,
    /// Ports that Docker opens for it on the host, for the ends in [`settled`](Self::settled).
    pub ports: Vec<Port>,
    /// Ends in networks (64 hexadecimal digits each) of which [`ports`](Self::ports) speaks: Docker writes an end and its ports down together, when the container
    /// runs or when it has been connected. Of any other end it is not known yet what leads there.
    pub settled: Vec<String>,
}

impl Container {
    /// Ports of the host that lead to its end in a network; `None` while Docker does not say.
    #[must_use]
    pub fn led_to(&self, endpoint: &str) -> Option<&[Port]> {
        self.settled.iter().any(|end| end == endpoint).then_some(self.ports.as_slice())
    }

    /// Moves to [`image_labels`](Self::image_labels) what the image says, too; all when it is not known what that says.
    pub(crate) fn tell_apart(&mut self, image: Option<&BTreeMap<String, String>>) {
        let is_images =
            |(key, value): &(String, String)| image.is_none_or(|it| it.get(key) == Some(value));
        let (images, own) = std::mem::take(&mut self.labels).into_iter().partition(is_images);
        (self.labels, self.image_labels) = (own, images);
    }
}

/// A port of the host that Docker leads to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Protocol.
    pub transport: Transport,
    /// The host's address; unspecified for all of its family.
    pub address: IpAddr,
    /// The host's port.
    pub public: u16,
    /// The container's port.
    pub private: u16,
}

#[cfg(test)]
mod tests;
