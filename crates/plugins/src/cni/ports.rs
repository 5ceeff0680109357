//! Ports that the runtime wants published: the capability `portMappings`, docs/CONVENTIONS.md of the specification.
//!
//! As main plugin they become publishes of ours: they lead to the container and open nothing, policy decides. Chained they are left to
//! `portmap`, the plugin of the project itself, whose ports `bulkhead publish list` shows; the agent is told of them, as entries of `publish` in the
//! file may say for whom they are.

use std::net::IpAddr;

use api::AttachPublish;
use serde::Deserialize;

use super::error::Failure;

/// Mappings of one container that are read.
const MANY: usize = 256;

/// One mapping as the runtime writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    /// 0 or none: the port is only named.
    #[serde(default)]
    host_port: u16,
    container_port: u16,
    #[serde(default)]
    protocol: String,
    #[serde(default, rename = "hostIP")]
    host_ip: String,
}

/// The ports of the host that a runtime asks for.
///
/// # Errors
/// Number 7 with what is wrong with one of them.
pub(super) fn published(mappings: &[serde_json::Value]) -> Result<Vec<AttachPublish>, Failure> {
    if mappings.len() > MANY {
        let message = format!("portMappings has more than {MANY} entries");
        return Err(Failure::configuration(message));
    }
    let all = mappings.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let mut found: Vec<AttachPublish> = Vec::new();
    // The same one for `0.0.0.0` and `::` is one.
    for publish in all.into_iter().flatten() {
        if !found.contains(&publish) {
            found.push(publish);
        }
    }
    Ok(found)
}

/// What `portmap` is to make, as far as it can be told: what is wrong with a mapping is its to say.
pub(super) fn heard(mappings: &[serde_json::Value]) -> Vec<AttachPublish> {
    let mut found: Vec<AttachPublish> = Vec::new();
    for publish in mappings.iter().take(MANY).filter_map(|mapping| one(mapping).ok().flatten()) {
        if !found.contains(&publish) {
            found.push(publish);
        }
    }
    found
}

/// One mapping; `None` for a port that has none on the host.
fn one(mapping: &serde_json::Value) -> Result<Option<AttachPublish>, Failure> {
    let wrong = |why: String| Failure::configuration(format!("portMappings: {why}"));
    let mapping = Mapping::deserialize(mapping).map_err(|error| wrong(error.to_string()))?;
    if mapping.host_port == 0 {
        return Ok(None);
    }
    if mapping.container_port == 0 {
        return Err(wrong(format!("port {} leads to port 0", mapping.host_port)));
    }
    let transport = match mapping.protocol.to_ascii_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        other => {
            let shown: String = other.chars().take(20).collect();
            return Err(wrong(format!("{shown:?} is none of tcp, udp and sctp")));
        }
    };
    let address = match mapping.host_ip.as_str() {
        "" => None,
        text => {
            let shown: String = text.chars().take(50).collect();
            let parsed = text.parse::<IpAddr>();
            Some(parsed.map_err(|_| wrong(format!("{shown:?} is no address")))?)
        }
    };
    let (port, to) = (mapping.host_port, mapping.container_port);
    let address = address.filter(|address| !address.is_unspecified());
    Ok(Some(AttachPublish { transport, port, to, address }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(mappings: &[serde_json::Value]) -> Result<Vec<String>, String> {
        let line = |it: AttachPublish| {
            let address = it.address.map(|address| format!("{address} ")).unwrap_or_default();
            format!("{address}{}/{} to {}", it.port, it.transport, it.to)
        };
        published(mappings)
            .map(|found| found.into_iter().map(line).collect())
            .map_err(|failure| failure.message)
    }

    #[test]
    fn what_runtimes_write_is_understood() {
        // podman 4.3, the kubelet's shim, and a port without one on the host.
        let podman =
            json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "" });
        let v6 =
            json!({ "hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": "::" });
        let one = json!({ "hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "192.0.2.1" });
        let none = json!({ "containerPort": 9090, "protocol": "tcp" });
        let found = told(&[podman, v6, one, none]).expect("sound");
        assert_eq!(found, ["8080/tcp to 80", "192.0.2.1 53/udp to 5353"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in [
            json!({}),
            json!({ "hostPort": 80 }),
            json!({ "hostPort": 80, "containerPort": 0 }),
            json!({ "hostPort": 65_536, "containerPort": 80 }),
            json!({ "hostPort": 80, "containerPort": 80, "protocol": "icmp" }),
            json!({ "hostPort": 80, "containerPort": 80, "hostIP": "host" }),
            json!("80:80"),
        ] {
            assert!(told(std::slice::from_ref(&bad)).is_err(), "{bad}");
        }
        let many = vec![json!({ "containerPort": 1 }); MANY + 1];
        assert!(told(&many).is_err());
    }
}
