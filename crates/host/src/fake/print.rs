//! The fake kernel as a terminal shows it.

use std::fmt;

use crate::network::{LinkState, Ns, NsState, PortFlags};

use super::FakeKernel;

impl fmt::Display for FakeKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (ns, state) in &self.namespaces {
            writeln!(f, "# {ns}")?;
            write_state(f, state)?;
            if let Some((ruleset, is_intact)) = self.tables.get(ns) {
                write!(f, "{ruleset}")?;
                if !is_intact {
                    writeln!(f, "# edited by somebody else")?;
                }
            }
            if let Some((table, is_intact)) = self.edges.get(ns) {
                write!(f, "{table}")?;
                if !is_intact {
                    writeln!(f, "# edited by somebody else")?;
                }
            }
        }
        for (key, value) in &self.sysctls {
            writeln!(f, "sysctl {key} = {value}")?;
        }
        Ok(())
    }
}

fn write_state(f: &mut fmt::Formatter<'_>, state: &NsState) -> fmt::Result {
    for (name, link) in &state.links {
        write_link(f, name, link, state)?;
    }
    for (link, addresses) in &state.addresses {
        for address in addresses {
            writeln!(f, "address {address} dev {link}")?;
        }
    }
    for route in &state.routes {
        writeln!(f, "route {route}")?;
    }
    for rule in &state.rules {
        writeln!(f, "rule {rule}")?;
    }
    for (link, address, mac) in &state.neighbours {
        writeln!(f, "neigh {address} dev {link} lladdr {mac} PERMANENT")?;
    }
    for (link, mac) in &state.fdb {
        writeln!(f, "fdb {mac} dev {link} master static")?;
    }
    for (link, mac) in &state.unicast {
        writeln!(f, "fdb {mac} dev {link} self permanent")?;
    }
    Ok(())
}

fn write_link(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    link: &LinkState,
    state: &NsState,
) -> fmt::Result {
    let LinkState { index, mac, mtu, .. } = link;
    write!(f, "link {index}: {name} {mac} mtu {mtu}")?;
    if !link.kind.is_empty() {
        write!(f, " {}", link.kind)?;
    }
    if let Some(peer) = link.peer {
        write!(f, " peer {peer}")?;
    }
    let master = state.links.iter().find(|(_, other)| Some(other.index) == link.master);
    if let Some((bridge, _)) = master {
        write!(f, " master {bridge}")?;
    }
    if let Some(port) = link.port {
        write!(f, " {}", if port == PortFlags::ENDPOINT { "endpoint-port" } else { "plain-port" })?;
    }
    writeln!(f, " {}", if link.up { "up" } else { "down" })
}

impl FakeKernel {
    /// Prints one namespace only.
    #[must_use]
    pub fn show(&self, ns: &Ns) -> String {
        let only = Self {
            namespaces: self.namespaces.get_key_value(ns).into_iter().map(clone).collect(),
            tables: self.tables.get_key_value(ns).into_iter().map(clone).collect(),
            ..Self::default()
        };
        only.to_string()
    }
}

fn clone<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}
