//! Other firewalls in words: which there are, which of them drop what Bulkhead's networks forward, and the commands that
//! let it pass. The same words serve `doctor`, `status` and `why`.

use api::{Finding, Level};
use host::linux::probe::{Firewalls, ForwardDrop};

use super::finding;

/// What was found out about `nft` and everybody else's rules.
pub(super) fn about(firewalls: &Firewalls, findings: &mut Vec<Finding>) {
    findings.push(if firewalls.nft_failed {
        finding("BH-H011", Level::Blocker, "`nft` cannot be run")
    } else {
        finding("BH-H011", Level::Good, "`nft` answers")
    });
    findings.extend(firewalls.forward_drops.iter().map(|drop| forward(drop, firewalls)));
    let others = names(firewalls);
    let (level, text) = if others.is_empty() {
        (Level::Good, "none found".to_owned())
    } else {
        (Level::Note, others.join(", "))
    };
    findings.push(finding("BH-H015", level, text));
}

/// Everybody else who filters packets here.
pub(super) fn names(firewalls: &Firewalls) -> Vec<String> {
    let mut others = Vec::new();
    if firewalls.docker {
        others.push("docker".to_owned());
    }
    if let Some(on) = firewalls.ufw {
        others.push(if on { "ufw active" } else { "ufw inactive" }.to_owned());
    }
    if firewalls.firewalld {
        others.push("firewalld".to_owned());
    }
    let tables = firewalls.foreign_tables.iter();
    others.extend(tables.map(|table| format!("table {} {}", table.family, table.name)));
    if let Some(rules) = firewalls.iptables_legacy_rules.filter(|rules| *rules > 0) {
        others.push(format!("{rules} rules of iptables-legacy"));
    }
    others
}

fn forward(drop: &ForwardDrop, firewalls: &Firewalls) -> Finding {
    let chain = chain(drop);
    if drop.passes_us {
        let text =
            format!("the chain {chain} drops what it does not name, and lets our links (bt*) pass");
        return finding("BH-H014", Level::Good, text);
    }
    let text = format!(
        "the chain {chain} drops forwarded packets that it does not name: networks of mode nat and routed do not reach the \
         world, published ports are not reached from outside"
    );
    let hint = let_pass(drop, firewalls.has_docker_user);
    Finding { hint: Some(hint), ..finding("BH-H014", Level::Warning, text) }
}

/// `ip filter FORWARD`.
pub(super) fn chain(drop: &ForwardDrop) -> String {
    format!("{} {} {}", drop.family, drop.table, drop.chain)
}

/// What drops forwarded packets though Bulkhead allows them, one sentence with its remedy each. `v6` asks for one version
/// of IP only.
pub(crate) fn in_the_way(firewalls: &Firewalls, v6: Option<bool>) -> Vec<String> {
    let concerns = |drop: &&ForwardDrop| match (drop.family.as_str(), v6) {
        ("ip" | "iptables-legacy", Some(v6)) => !v6,
        ("ip6", Some(v6)) => v6,
        _ => true,
    };
    let drops = firewalls.forward_drops.iter().filter(|drop| !drop.passes_us).filter(concerns);
    let sentence = |drop: &ForwardDrop| {
        format!(
            "another firewall of this host, the chain {}, drops what it forwards from and to the networks (BH-H014); to let it pass: {}",
            chain(drop),
            let_pass(drop, firewalls.has_docker_user)
        )
    };
    drops.map(sentence).collect()
}

/// The commands that let packets from and to the networks pass another firewall's chain.
fn let_pass(drop: &ForwardDrop, has_docker_user: bool) -> String {
    let tool = match drop.family.as_str() {
        "ip" => "iptables",
        "ip6" => "ip6tables",
        "iptables-legacy" => "iptables-legacy",
        _ => "nft",
    };
    if tool == "nft" || drop.chain != "FORWARD" {
        let rule = format!("nft insert rule {}", chain(drop));
        return format!("{rule} iifname 'bt*' accept; {rule} oifname 'bt*' accept");
    }
    let chain = if has_docker_user && tool == "iptables" { "DOCKER-USER" } else { "FORWARD" };
    let rule = format!("{tool} -I {chain}");
    format!("{rule} -i bt+ -j ACCEPT; {rule} -o bt+ -j ACCEPT")
}
