//! Nobody speaks with an address that is not theirs, from wherever it comes.

use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use host::linux::netns::NetNs;
use host::network::{
    Desired, Mode, NetworkNumber, NoPrograms, PublishDesired, Transport, reconcile, teardown,
};
use rustix::net::{AddressFamily, RecvFlags, SocketType, ipproto, recv, sendto, socket};

use testkit::uninterrupted;

use crate::lab::{CLIENT_V4, CLIENT_V6, HOST_V4, HOST_V6, Lab, PATIENCE, on_host, run, twins};

/// A published UDP port of the first tenant, for everybody or for some.
fn publish(port: u16, from: &[&str]) -> PublishDesired {
    PublishDesired {
        name: format!("dns-{port}"),
        transport: Transport::Udp,
        ports: (port, port),
        target_port: 53,
        target_v4: Some([10, 0, 1, 11].into()),
        target_v6: Some("fd00:5:0:1::b".parse().expect("v6")),
        address: None,
        from: from.iter().map(|net| net.parse().expect("a network")).collect(),
    }
}

fn up(lab: &Lab, desired: &Desired) {
    for is_first in [true, false] {
        let outcome = on_host(lab, |linux| reconcile(linux, &mut NoPrograms, desired));
        let outcome = outcome.expect("readable");
        assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
        assert!(is_first || outcome.is_quiet(), "{outcome:#?}");
    }
}

fn down(lab: &Lab) {
    let outcome = on_host(lab, |linux| teardown(linux, &mut NoPrograms)).expect("readable");
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
}

/// A socket that hears datagrams of both families.
fn hear(ns: &NetNs, port: u16) -> UdpSocket {
    let bound = ns.run(|| UdpSocket::bind(format!("[::]:{port}"))).expect("entered");
    let socket = bound.expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Gives the namespace an address, whoever it belongs to.
fn pretend(ns: &NetNs, address: &str) {
    let flags = if address.contains(':') { " nodad" } else { "" };
    run(ns, &format!("ip addr replace {address} dev lo{flags}"));
}

fn send(ns: &NetNs, from: &str, to: &str, text: &str) {
    let from = SocketAddr::new(from.parse().expect("an address"), 0);
    let to: SocketAddr = to.parse().expect("ADDRESS:PORT");
    let sent = ns.run(|| UdpSocket::bind(from)?.send_to(text.as_bytes(), to)).expect("entered");
    sent.expect("sent");
}

/// The source and text of everything that arrives up to `last`.
fn heard(socket: &UdpSocket, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let mut bytes = [0; 100];
        let (length, from) =
            uninterrupted(|| socket.recv_from(&mut bytes)).expect("the last one arrives in time");
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if text == last {
            return all;
        }
        let from: IpAddr = from.ip().to_canonical();
        all.push(format!("{from} {text}"));
    }
}

/// Lets the client learn its neighbour, which it cannot while it pretends to be that.
fn acquainted(lab: &Lab, to: &str, socket: &UdpSocket) {
    send(&lab.client, CLIENT_V6, to, "hello");
    assert_eq!(heard(socket, "hello"), NOTHING);
}

const NOTHING: [&str; 0] = [];

#[test]
fn the_outside_cannot_speak_as_an_endpoint_or_reach_a_router_root() {
    if !crate::lab::is_root("the_outside_cannot_speak_as_an_endpoint_or_reach_a_router_root") {
        return;
    }
    let lab = Lab::new();
    let mut desired = twins(Mode::Nat);
    desired.routers.truncate(1);
    desired.routers[0].publishes = vec![publish(5353, &["203.0.113.0/24", "127.0.0.0/8"])];
    desired.routers[0].publishes.push(publish(5354, &[]));
    up(&lab, &desired);
    let db = hear(&lab.workload("shop.db"), 53);
    lab.route_client("169.254.64.0/19", HOST_V4);
    lab.route_client("fd62:756c:6b68::/64", HOST_V6);

    let v4 = format!("{HOST_V4}:5354");
    for forged in ["10.0.1.10", "10.0.1.1", "10.0.77.7", "169.254.64.1"] {
        pretend(&lab.client, &format!("{forged}/32"));
        send(&lab.client, forged, &v4, "forged");
    }
    let v6 = format!("[{HOST_V6}]:5354");
    acquainted(&lab, &v6, &db);
    for forged in
        [HOST_V6, "fd00:5:0:1::a", "fd00:5:0:1::1", "fd62:756c:6b68::", "fd62:756c:6b68::1"]
    {
        pretend(&lab.client, &format!("{forged}/128"));
        send(&lab.client, forged, &v6, "forged");
    }
    run(&lab.client, &format!("ip addr del {HOST_V6}/128 dev lo"));
    run(&lab.client, "ip addr del 169.254.64.1/32 dev lo");
    run(&lab.client, "ip -6 addr del fd62:756c:6b68::1/128 dev lo");
    for transit in ["169.254.64.1:5353", "169.254.64.1:5354", "[fd62:756c:6b68::1]:5354"] {
        let own = if transit.starts_with('[') { CLIENT_V6 } else { CLIENT_V4 };
        send(&lab.client, own, transit, "by its transit address");
    }
    // Not among those whom the port is for; the router itself knows that, too.
    send(&lab.client, CLIENT_V4, &format!("{HOST_V4}:5353"), "not for you");
    send(&lab.host, "169.254.64.0", "169.254.64.1:5353", "by loopback");
    send(&lab.host, HOST_V4, "169.254.64.1:5353", "not for the host");

    send(&lab.client, CLIENT_V6, &v6, "honest");
    send(&lab.client, CLIENT_V4, &v4, "last");
    assert_eq!(heard(&db, "last"), ["169.254.64.0 by loopback", &format!("{CLIENT_V6} honest")]);
    // The host reaches its own published port, under each of its addresses.
    send(&lab.host, "127.0.0.1", "127.0.0.1:5353", "by loopback");
    send(&lab.host, HOST_V4, &v4, "own");
    send(&lab.host, HOST_V6, &v6, "own");
    send(&lab.client, CLIENT_V4, &v4, "last");
    let own = ["169.254.64.0 by loopback", &format!("{HOST_V4} own"), &format!("{HOST_V6} own")];
    assert_eq!(heard(&db, "last"), own);
    down(&lab);
}

/// The first tenant's network is routed; the second one's has the same addresses behind NAT.
fn routed_and_nat() -> Desired {
    let mut desired = twins(Mode::Nat);
    desired.routers[0].mode = Mode::Routed;
    desired.routers[1].publishes = vec![publish(5354, &[])];
    desired
}

#[test]
fn a_routed_network_hears_nobody_with_its_own_or_the_hosts_address_root() {
    if !crate::lab::is_root("a_routed_network_hears_nobody_with_its_own_or_the_hosts_address_root")
    {
        return;
    }
    let lab = Lab::new();
    up(&lab, &routed_and_nat());
    let db = hear(&lab.workload("shop.db"), 53);
    lab.route_client("10.0.0.0/16", HOST_V4);
    lab.route_client("fd00:5::/48", HOST_V6);
    let (v4, v6) = ("10.0.1.11:53", "[fd00:5:0:1::b]:53");
    acquainted(&lab, v6, &db);
    for forged in ["10.0.1.10", "10.0.1.1", "169.254.64.0", "169.254.64.3", "169.254.64.1"] {
        pretend(&lab.client, &format!("{forged}/32"));
        send(&lab.client, forged, v4, "forged");
    }
    let transit = ["fd62:756c:6b68::", "fd62:756c:6b68::1", "fd62:756c:6b68::3"];
    for forged in [HOST_V6, "fd00:5:0:1::a", "fd00:5:0:1::1"].into_iter().chain(transit) {
        pretend(&lab.client, &format!("{forged}/128"));
        send(&lab.client, forged, v6, "forged");
    }
    run(&lab.client, &format!("ip addr del {HOST_V6}/128 dev lo"));
    send(&lab.client, CLIENT_V6, v6, "honest");
    send(&lab.host, HOST_V6, v6, "the host");
    send(&lab.client, CLIENT_V4, v4, "last");
    assert_eq!(heard(&db, "last"), [format!("{CLIENT_V6} honest"), format!("{HOST_V6} the host")]);
    down(&lab);
}

#[test]
fn a_tenant_cannot_speak_as_another_ones_endpoint_root() {
    if !crate::lab::is_root("a_tenant_cannot_speak_as_another_ones_endpoint_root") {
        return;
    }
    let lab = Lab::new();
    up(&lab, &routed_and_nat());
    let db = hear(&lab.workload("bank.db"), 53);
    let world = hear(&lab.client, 9);
    lab.route_client("10.0.0.0/16", HOST_V4);
    // The routed tenant's own address, which also is one in the other tenant's network.
    send(&lab.workload("shop.web"), "10.0.1.10", &format!("{HOST_V4}:5354"), "forged");
    // By the transit address of a network that does not publish for that.
    send(&lab.workload("shop.web"), "10.0.1.10", "169.254.64.3:5354", "by its transit address");
    send(&lab.client, CLIENT_V4, &format!("{HOST_V4}:5354"), "last");
    assert_eq!(heard(&db, "last"), NOTHING);

    // A router is in its tenant's hands at worst: what it sends has its own addresses.
    let router = lab.workload("shop.main.router");
    for forged in ["203.0.113.5", HOST_V4, "169.254.64.2", "169.254.64.3"] {
        pretend(&router, &format!("{forged}/32"));
        let to = if forged == HOST_V4 { format!("{HOST_V4}1:9") } else { format!("{CLIENT_V4}:9") };
        send(&router, forged, &to, "forged");
    }
    let web = lab.workload("shop.web");
    send(&web, "10.0.1.10", &format!("{CLIENT_V4}:9"), "honest");
    send(&lab.workload("bank.web"), "10.0.1.10", &format!("{CLIENT_V4}:9"), "last");
    assert_eq!(heard(&world, "last"), ["10.0.1.10 honest"]);
    down(&lab);
}

fn icmp_socket(ns: &NetNs) -> OwnedFd {
    let open = || socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6));
    ns.run(open).expect("entered").expect("a raw socket")
}

#[test]
fn neighbour_discovery_does_not_leave_its_link_root() {
    if !crate::lab::is_root("neighbour_discovery_does_not_leave_its_link_root") {
        return;
    }
    let lab = Lab::new();
    let mut desired = twins(Mode::Nat);
    desired.routers[0].mode = Mode::Routed;
    let number = |n| NetworkNumber::new(n).expect("in range");
    assert_eq!((desired.routers[0].number, desired.routers[1].number), (number(0), number(1)));
    up(&lab, &desired);
    lab.route_client("fd00:5::/48", HOST_V6);
    let world = icmp_socket(&lab.client);
    rustix::net::sockopt::set_socket_timeout(
        world.as_fd(),
        rustix::net::sockopt::Timeout::Recv,
        Some(Duration::from_secs(10)),
    )
    .expect("a timeout");
    let places = ["shop.web", "bank.web", "shop.main.router", "bank.main.router"];
    for place in places {
        let from = icmp_socket(&lab.workload(place));
        let to = SocketAddr::new(CLIENT_V6.parse().expect("v6"), 0);
        for kind in [133, 134, 135, 136, 137, 128] {
            // Type, code, checksum (of the kernel), the rest with a mark of ours.
            let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
            message.extend(b"tunnel");
            message.resize(40, 0);
            sendto(&from, &message, rustix::net::SendFlags::empty(), &to).expect("sent");
        }
    }
    let mut kinds = Vec::new();
    let mut honest = 0;
    while honest < places.len() {
        let mut bytes = [MaybeUninit::uninit(); 200];
        let ((message, _), _) = recv(&world, &mut bytes, RecvFlags::empty()).expect("in time");
        if message.get(8..14) == Some(b"tunnel".as_slice()) && message[0] != 129 {
            kinds.push(message[0]);
            honest += usize::from(message[0] == 128);
        }
    }
    assert_eq!(kinds, [128; 4]);
    down(&lab);
}
