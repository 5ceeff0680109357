//! Networks on a LAN: what such a network says, and what it cannot have.

mod refused;

use refused::refused;
use policy::document::Lan;

fn with(network: &str, workloads: &str) -> String {
    format!("bulkhead: 1\ntenants:\n  t:\n    networks:\n      n: {{ {network} }}\n    workloads:\n      w: {{ {workloads} }}\n")
}
