//! tenants with the same subnet never meet. R-006: `none` reaches nothing. R-013: no leaks.

use testkit::{Namespace, Wire, root_or_return, wait_until};

use crate::stage::{SILENCE, SOON, Stage, reaches, serve};

const TENANTS: usize = 3;

#[test]
fn the_matrix_of_overlapping_tenants_is_diagonal_root() {
    root_or_return!("the_matrix_of_overlapping_tenants_is_diagonal_root");
    let mut stage = Stage::new();
    let mut text = "bulkhead: 1\ntenants:\n".to_owned();
    let mut clients: Vec<Namespace> = Vec::new();
    let mut servers = Vec::new();
    for tenant in 0..TENANTS {
        let (client, client_path) = stage.adopted(&format!("c{tenant}"));
        let (server, server_path) = stage.adopted(&format!("s{tenant}"));
        text += &format!(
            "  t{tenant}:
    networks:
      main: {{ mode: nat, subnets: [10.0.0.0/16] }}
    workloads:
      client: {{ address: [10.0.1.10], labels: {{ role: client }}, netns: {client_path} }}
      server: {{ address: [10.0.1.20], labels: {{ role: server }}, netns: {server_path} }}
    policies:
      all: {{ from: role=client, to: any, allow: [any] }}
"
        );
        clients.push(client);
        servers.push(server);
    }
    stage.bulkhead.up(&text).expect("applied");
    let echoes: Vec<_> =
        servers.iter().map(|space| serve(space, "10.0.1.20", &[80]).remove(0)).collect();
    for (client_of, client) in clients.iter().enumerate() {
        let before: Vec<u64> = echoes.iter().map(testkit::server::TcpEcho::accepted).collect();
        assert!(reaches(client, "10.0.1.20:80"), "tenant {client_of} reaches its own");
        for (server_of, echo) in echoes.iter().enumerate() {
            let took = echo.accepted() - before[server_of];
            assert_eq!(took, u64::from(client_of == server_of), "{client_of} to {server_of}");
        }
    }
}

#[test]
fn nothing_of_a_tenant_leaks_to_its_host_or_neighbours_root() {
    root_or_return!("nothing_of_a_tenant_leaks_to_its_host_or_neighbours_root");
    let mut stage = Stage::new();
    let routes_before = stage.host.check(&["ip", "-j", "route"]).expect("ip").stdout;
    let [a, b] = stage.tenant(
        "mode: nat, subnets: [10.9.0.0/16, \"fd00:9::/64\"]",
        [("a", "address: [10.9.0.10]"), ("b", "address: [10.9.0.20]")],
        "",
    );
    let routes = stage.host.check(&["ip", "-j", "route"]).expect("ip").stdout;
    assert!(!routes.contains("10.9."), "the tenant's subnet is in the host's routes: {routes}");
    assert_ne!(routes, routes_before, "the transit link is there");
    let watch = Wire::open(&b, "eth0").expect("a wire");
    // mDNS, broadcast, IPv6 multicast and a ping: none may reach the neighbour.
    for command in [
        ["ping", "-c1", "-W1", "224.0.0.251"],
        ["ping", "-c1", "-W1", "10.9.0.20"],
        ["ping", "-c1", "-W1", "ff02::fb%eth0"],
    ] {
        a.command(&command).expect("ping runs");
    }
    let broadcast = ["ping", "-b", "-c1", "-W1", "10.9.255.255"];
    a.command(&broadcast).expect("ping runs");
    let own = b.mac("eth0").expect("a MAC address");
    let data = |frame: &[u8]| {
        if frame[6..12] == own {
            return false;
        }
        let kind = u16::from_be_bytes([frame[12], frame[13]]);
        // ARP and neighbour discovery are how neighbours are found at all.
        kind == 0x0800 || kind == 0x86dd && frame.len() > 54 && !(133..=137).contains(&frame[54])
    };
    let leaked = watch.next(SILENCE, data).expect("a watch");
    assert!(leaked.is_none(), "{leaked:02x?}");
}

#[test]
fn a_network_of_mode_none_is_loopback_alone_root() {
    root_or_return!("a_network_of_mode_none_is_loopback_alone_root");
    let stage = Stage::new();
    stage
        .bulkhead
        .up("bulkhead: 1
tenants:
  t:
    networks:
      dark: { mode: none }
    workloads:
      job: { network: dark, run: [sleep, \"600\"] }
")
        .expect("applied");
    let inside = |argv: &[&str]| {
        let argv: Vec<&str> = ["exec", "t/job", "--"].iter().chain(argv).copied().collect();
        stage.bulkhead.cli(&argv).expect("exec runs")
    };
    let links = inside(&["ip", "-o", "link"]).stdout;
    assert_eq!(links.lines().count(), 1, "{links}");
    assert!(links.contains("lo:"), "{links}");
    assert!(!inside(&["ping", "-c1", "-W1", "198.51.100.1"]).status.success());
    // What namespaces do not cover: vsock reaches the hypervisor past every one of them, packets of other families too.
    for family in ["AF_VSOCK", "AF_PACKET"] {
        let script = format!(
            "import errno, socket\ntry: socket.socket(socket.{family}, socket.SOCK_DGRAM)\nexcept OSError as error: print(errno.errorcode[error.errno])"
        );
        assert_eq!(inside(&["python3", "-c", &script]).stdout.trim(), "EAFNOSUPPORT", "{family}");
    }
    // Netlink is that of its own namespace, and so is what is asked of it.
    let netlink = inside(&["ip", "-o", "addr"]).stdout;
    assert!(!netlink.contains("198.51.100.2"), "netlink shows the host: {netlink}");
    let added = inside(&["ip", "addr", "add", "198.51.100.2/24", "dev", "lo"]);
    assert!(!added.status.success(), "{added:?}");
    // An abstract socket of the host's, which the host itself reaches.
    let mut daemon = std::process::Command::new("socat");
    daemon.args(["-d", "ABSTRACT-LISTEN:a-daemon,fork", "EXEC:cat"]);
    let _daemon = stage.host.spawn(&mut daemon).expect("a daemon");
    let ask = ["sh", "-c", "echo hi | socat -t 1 - ABSTRACT-CONNECT:a-daemon"];
    let is_there = || stage.host.command(&ask).is_ok_and(|done| done.stdout.contains("hi"));
    wait_until("the daemon", SOON, is_there).expect("the host reaches it");
    let done = inside(&ask);
    assert!(!done.stdout.contains("hi"), "{done:?}");
    let shown = inside(&["cat", "/proc/net/unix"]).stdout;
    assert!(!shown.contains('@'), "abstract sockets of the host: {shown}");
}

/// Tenant `u` behind NAT, tenant `t` with a routed network and a published port.
fn meeting(a: &str, x: &str, y: &str, assertion: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  u:
    networks:
      n: {{ mode: nat, subnets: [10.60.0.0/24], posture: {{ egress: allow }} }}
    workloads:
      a: {{ address: [10.60.0.2], labels: {{ app: a }}, netns: {a} }}
  t:
    networks:
      r: {{ mode: routed, subnets: [10.61.0.0/24] }}
      m: {{ mode: nat, subnets: [10.62.0.0/24] }}
    workloads:
      x: {{ network: r, address: [10.61.0.2], labels: {{ app: x }}, netns: {x} }}
      y: {{ network: m, address: [10.62.0.2], labels: {{ app: y }}, netns: {y} }}
    publish:
      site: {{ port: 8080/tcp, to: \"y:80\" }}
    policies:
      open: {{ from: any, to: any, allow: [80/tcp] }}
{assertion}"
    )
}

#[test]
fn networks_meet_where_assertions_say_they_can_root() {
    root_or_return!("networks_meet_where_assertions_say_they_can_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (x, x_path) = stage.adopted("x");
    let (y, y_path) = stage.adopted("y");
    let file = |assertion: &str| meeting(&a_path, &x_path, &y_path, assertion);
    let refused = stage.bulkhead.up(&file("assert: [{ never: \"tenant=u -> app=y:80/tcp\" }]\n"));
    let error = format!("{:#}", refused.expect_err("the published port leads there"));
    assert!(error.contains("BH0208"), "{error}");
    stage.bulkhead.up(&file("assert: [{ never: \"tenant=u -> app=x\" }]\n")).expect("applied");
    stage.outside.ip("route add 10.61.0.0/24 via 198.51.100.2").expect("a route");
    let _servers = (serve(&x, "10.61.0.2", &[80]), serve(&y, "10.62.0.2", &[80]));
    assert!(!reaches(&a, "10.61.0.2:80"), "no way into a routed network from behind NAT");
    assert_eq!(stage.why("u/a", "t/x", "tcp/80")["verdict"], "drop");
    assert!(reaches(&a, "198.51.100.2:8080"), "the published port is for everybody");
    assert!(reaches(&stage.outside, "10.61.0.2:80"), "the routed network is reached from outside");
}
