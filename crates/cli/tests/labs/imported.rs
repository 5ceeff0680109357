//! Imports of what real tools print: who could connect to a machine before can connect to it as a workload, and nobody else.

use std::process::Command;
use std::time::Duration;

use testkit::{Namespace, root_or_return, run_with_deadline};

use crate::stage::{HOST, OUTSIDE, Stage, reaches, serve};

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a shell command in a namespace; what it printed.
fn shell(space: &Namespace, script: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let done = space.run(move || run_with_deadline(&mut command, None, DEADLINE));
    done.expect("enters").expect("runs").success().expect(script).stdout
}

const NFT: &str = r#"table inet own {
  set admins { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 } }
  chain web { ip saddr 192.0.2.77 drop; accept; }
  chain input {
    type filter hook input priority filter; policy drop;
    iif "lo" accept
    ct state vmap { established : accept, related : accept, invalid : drop }
    tcp dport vmap { 80 : jump web, 8080 : drop }
    tcp dport 22 ip saddr @admins accept
    tcp dport 8000-8100 limit rate 1000/second accept
  }
}"#;

const IPTABLES: &str = "iptables -N web
iptables -P INPUT DROP
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A INPUT -p tcp -m multiport --dports 80,8080 -g web
iptables -A INPUT -s 203.0.113.0/24 -p tcp --dport 22 -j ACCEPT
iptables -A web -s 192.0.2.77 -j REJECT
iptables -A web -p tcp ! --dport 8080 -j ACCEPT";

/// A machine by itself, with these rules: what it lets in from two addresses, and what its own tool prints.
fn before(stage: &mut Stage, rules: &str, print: &str) -> (Vec<bool>, String) {
    let (machine, _) = stage.adopted("before");
    stage.lab.veth((&stage.outside, "mach"), (&machine, "eth0")).expect("a link");
    stage.outside.ip("addr add 10.77.0.1/24 dev mach\nlink set mach up").expect("an address");
    machine
        .ip("addr add 10.77.0.2/24 dev eth0\nlink set eth0 up\nroute add default via 10.77.0.1")
        .expect("an address");
    let _servers = serve(&machine, "10.77.0.2", &PORTS);
    shell(&machine, rules);
    let printed = shell(&machine, print);
    (reached(&stage.outside, "10.77.0.2", "10.77.0.0/24 dev mach"), printed)
}

const PORTS: [u16; 4] = [22, 80, 8050, 8080];

/// Which ports answer to two addresses of the outside.
fn reached(outside: &Namespace, target: &str, route: &str) -> Vec<bool> {
    let mut out = Vec::new();
    for source in [OUTSIDE, "192.0.2.77"] {
        outside.ip(&format!("route replace {route} src {source}")).expect("a source address");
        out.extend(PORTS.map(|port| reaches(outside, &format!("{target}:{port}"))));
    }
    out
}

fn same_as_a_workload(rules: &str, print: &str, from: &str, narrower: &[usize]) {
    let mut stage = Stage::new();
    let (was, printed) = before(&mut stage, rules, print);
    assert!(was.contains(&true) && was.contains(&false), "{was:?}");
    let (machine, path) = stage.adopted("machine");
    // The same rules are not in this namespace: only the import protects it.
    let folder = stage.bulkhead.up("bulkhead: 1\n").expect("applied");
    let rules = folder.with_file_name("rules");
    std::fs::write(&rules, printed).expect("a file");
    let rules = rules.display().to_string();
    let done = stage.bulkhead.cli(&["policy", "import", "--from", from, &rules]).expect("runs");
    let done = done.success().expect("imported");
    let file = done.stdout.replace("mode: nat", "mode: routed");
    let file = file.replace("netns: machine", &format!("netns: {path}, address: 10.99.0.10"));
    stage.outside.ip("route add 10.99.0.0/24 via 198.51.100.2").expect("a route");
    stage.bulkhead.up(&file).expect("applied");
    let _servers = serve(&machine, "10.99.0.10", &PORTS);
    let mut is = reached(&stage.outside, "10.99.0.10", &format!("10.99.0.0/24 via {HOST}"));
    for at in narrower {
        assert!(was[*at] && !is[*at], "what is not understood allows nothing: {is:?}");
        is[*at] = true;
    }
    assert_eq!(is, was, "{file}\n{}", done.stderr);
}

#[test]
fn rules_of_nftables_hold_as_they_did_root() {
    root_or_return!("rules_of_nftables_hold_as_they_did_root");
    let rules = format!("nft -f - <<'END'\n{NFT}\nEND\n");
    same_as_a_workload(&rules, "nft -j list ruleset", "nft", &[2, 6]);
}

#[test]
fn rules_of_iptables_hold_as_they_did_root() {
    root_or_return!("rules_of_iptables_hold_as_they_did_root");
    same_as_a_workload(IPTABLES, "iptables-save", "iptables", &[]);
}
