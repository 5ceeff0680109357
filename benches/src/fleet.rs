//! A large file as a busy host has it: tenants with the same addresses, and policies by identity, by address range and
//! by port range.

use std::fmt::Write as _;

/// Workloads of one tenant.
const TENANT: u32 = 500;
/// Applications of one tenant; each has as many workloads.
const APPS: u32 = 100;

/// A file of `workloads` workloads and `policies` policies, each of one rule.
///
/// Of ten policies six are between two applications, two from an application to an address range of the world, one
/// opens a range of ports to an application, and one lets a range of the world in.
#[must_use]
pub fn file(workloads: u32, policies: u32) -> String {
    let tenants = workloads.div_ceil(TENANT).max(1);
    let mut text = String::from("bulkhead: 1\ntenants:\n");
    for tenant in 0..tenants {
        _ = writeln!(
            text,
            "  t{tenant}:\n    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16] }} }}\n    workloads:"
        );
        for at in 0..TENANT.min(workloads - tenant * TENANT) {
            let (app, zone) = (at % APPS, at % 7);
            _ = writeln!(
                text,
                "      w{at}: {{ netns: t{tenant}-w{at}, labels: {{ app: a{app}, zone: z{zone} }} }}"
            );
        }
        text.push_str("    policies:\n");
        let own = (tenant..policies).step_by(tenants as usize).zip(0_u32..);
        for (_, n) in own {
            policy(&mut text, n);
        }
    }
    text
}

/// The policy of a tenant with this number.
fn policy(text: &mut String, n: u32) {
    let (from, to) = (n % APPS, (n / APPS * 7 + n + 1) % APPS);
    let (high, low) = (n / 256 % 64, n % 256);
    let port = 1_000 + n % 30_000;
    _ = match n % 10 {
        0..=5 => writeln!(
            text,
            "      p{n}: {{ from: app=a{from}, to: app=a{to}, allow: [{port}/tcp] }}"
        ),
        6 | 7 => writeln!(
            text,
            "      p{n}: {{ from: app=a{from}, to: 198.{high}.{low}.0/24, allow: [443/tcp] }}"
        ),
        8 => {
            let (first, last) = (port & !63, port | 63);
            writeln!(
                text,
                "      p{n}: {{ from: app=a{from}, to: app=a{to}, allow: [{first}-{last}/udp] }}"
            )
        }
        _ => writeln!(
            text,
            "      p{n}: {{ from: 203.{high}.{low}.0/24, to: app=a{to}, allow: [{port}/tcp] }}"
        ),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_large_as_asked_for_and_correct() {
        let text = file(1_200, 3_000);
        let source = policy::Source { name: "fleet.yaml", text: &text };
        let now = jiff::Timestamp::UNIX_EPOCH;
        let limits = policy::Limits::for_bytes(policy::Limits::MAX_BYTES);
        let checked = policy::load(&source, &|_| None, &limits, now).expect("a good file");
        assert_eq!(checked.document.tenants.len(), 3);
        assert_eq!(checked.document.workloads.len(), 1_200);
        assert_eq!(checked.document.policies.len(), 3_000);
    }
}
