//! The answer of ADD, in the version that was asked for.

use api::Attached;
use serde_json::{Map, Value, json};

use super::call::Call;

/// What was attached, behind what the plugins before this one made.
pub(super) fn added(call: &Call, attached: &Attached) -> Value {
    let version = call.configuration.version();
    if let Some(prev) = &call.configuration.prev_result_text {
        let mut prev = prev.clone();
        if let Some(fields) = prev.as_object_mut() {
            fields.insert("cniVersion".to_owned(), version.into());
        }
        return prev;
    }
    let mut interface = json!({
        "name": attached.interface,
        "mac": attached.mac,
        "sandbox": call.netns(),
    });
    if let (Some(fields), Some(mtu), "1.1.0") = (interface.as_object_mut(), attached.mtu, version) {
        fields.insert("mtu".to_owned(), mtu.into());
    }
    let ips: Vec<Value> = attached
        .addresses
        .iter()
        .map(|at| {
            let mut ip = Map::new();
            if version == "0.4.0" {
                let number = if at.address.is_ipv4() { "4" } else { "6" };
                ip.insert("version".to_owned(), number.into());
            }
            ip.insert("interface".to_owned(), 0.into());
            ip.insert("address".to_owned(), format!("{}/{}", at.address, at.prefix).into());
            if let Some(gateway) = at.gateway {
                ip.insert("gateway".to_owned(), gateway.to_string().into());
            }
            ip.into()
        })
        .collect();
    let gateways = attached.addresses.iter().filter_map(|at| at.gateway);
    let routes: Vec<Value> = gateways
        .map(|gateway| {
            let dst = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            json!({ "dst": dst, "gw": gateway.to_string() })
        })
        .collect();
    json!({
        "cniVersion": version,
        "interfaces": [interface],
        "ips": ips,
        "routes": routes,
        "dns": {},
    })
}
