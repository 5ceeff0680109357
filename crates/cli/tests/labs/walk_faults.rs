//! The faults of the walk's lab: what breaks, where, and which code tells it.

use crate::walk::At::{A, B, Host, Main, S};
use crate::walk::{At, Fault, Special};

type Commands = &'static [(At, &'static str)];
type Ask = [&'static str; 3];

/// A pair of workloads in one network.
pub(crate) const PAIR: Ask = ["t/a", "t/b", "tcp/80"];
const WORLD: Ask = ["t/a", "203.0.113.9", "tcp/80"];
const WORLD_V6: Ask = ["t/a", "2001:db8:9::9", "tcp/80"];
const ROUTED: Ask = ["t/r", "203.0.113.9", "tcp/80"];
const ACROSS: Ask = ["t/r", "t/s", "tcp/80"];
const INWARDS: Ask = ["203.0.113.9", "t/b", "tcp/80"];

const fn fault(
    name: &'static str,
    ask: Ask,
    code: &'static str,
    inject: Commands,
    undo: Commands,
) -> Fault {
    Fault { name, ask, special: Special::None, inject, undo, code }
}

const fn special(name: &'static str, ask: Ask, code: &'static str, special: Special) -> Fault {
    Fault { name, ask, special, inject: &[], undo: &[], code }
}

/// What a link that was down has lost.
const A_BACK: &str = "ip link set eth0 up; ip route replace default via 10.0.1.1 proto 98; \
    ip -6 addr replace fd01::10/64 dev eth0 nodad; ip -6 route replace default via fd01::1 proto 98";

/// Faults that are undone.
pub(crate) const FAULTS: &[Fault] = &[
    // Links.
    fault("workload's link down", PAIR, "BH-W011", &[(A, "ip link set eth0 down")], &[(A, A_BACK)]),
    fault(
        "router's end of the link down",
        PAIR,
        "BH-W012",
        &[(Main, "ip link set bh1 down")],
        &[(Main, "ip link set bh1 up"), (A, A_BACK)],
    ),
    fault(
        "receiver's link down",
        PAIR,
        "BH-W012",
        &[(B, "ip link set eth0 down")],
        &[(
            B,
            "ip link set eth0 up; ip route replace default via 10.0.1.1 proto 98; ip -6 addr replace fd01::20/64 dev eth0 nodad; ip -6 route replace default via fd01::1 proto 98",
        )],
    ),
    fault(
        "bridge down",
        PAIR,
        "BH-W011",
        &[(Main, "ip link set br0 down")],
        &[(
            Main,
            "ip link set br0 up; ip neigh replace 10.0.1.10 lladdr 02:62:68:00:00:01 dev br0 nud permanent; ip neigh replace 10.0.1.20 lladdr 02:62:68:00:00:02 dev br0 nud permanent",
        )],
    ),
    fault(
        "transit down in the router",
        WORLD,
        "BH-W011",
        &[(Main, "ip link set up0 down")],
        &[(Main, "ip link set up0 up; ip route replace default via 169.254.64.2 proto 98")],
    ),
    fault(
        "transit down on the host",
        WORLD,
        "BH-W012",
        &[(Host, "ip link set bt1 down")],
        &[(Host, "ip link set bt1 up")],
    ),
    fault(
        "uplink of the host down",
        WORLD,
        "BH-W030",
        &[(Host, "ip link set uplink down")],
        &[(
            Host,
            "ip link set uplink up; ip route replace default via 198.51.100.1; ip -6 addr replace 2001:db8:5::2/64 dev uplink nodad; ip -6 route replace default via 2001:db8:5::1",
        )],
    ),
    // Addresses.
    fault(
        "address removed",
        PAIR,
        "BH-W020",
        &[(B, "ip addr del 10.0.1.20/24 dev eth0")],
        &[(B, "ip addr add 10.0.1.20/24 dev eth0; ip route replace default via 10.0.1.1 proto 98")],
    ),
    fault(
        "wrong netmask",
        PAIR,
        "BH-W021",
        &[(A, "ip addr add 10.0.1.10/28 dev eth0; ip addr del 10.0.1.10/24 dev eth0")],
        &[(
            A,
            "ip addr add 10.0.1.10/24 dev eth0; ip addr del 10.0.1.10/28 dev eth0; ip route replace default via 10.0.1.1 proto 98",
        )],
    ),
    fault(
        "receiver's address in the router too",
        PAIR,
        "BH-W022",
        &[(Main, "ip addr add 10.0.1.20/32 dev br0")],
        &[(Main, "ip addr del 10.0.1.20/32 dev br0")],
    ),
    fault(
        "receiver's address at the sender too",
        PAIR,
        "BH-W022",
        &[(A, "ip addr add 10.0.1.20/32 dev lo")],
        &[(A, "ip addr del 10.0.1.20/32 dev lo")],
    ),
    fault(
        "IPv6 switched off",
        WORLD_V6,
        "BH-W023",
        &[(A, "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")],
        &[(
            A,
            "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip -6 addr replace fd01::10/64 dev eth0 nodad; ip -6 route replace default via fd01::1 proto 98",
        )],
    ),
    // Routes.
    fault(
        "no default route",
        WORLD,
        "BH-W030",
        &[(A, "ip route del default")],
        &[(A, "ip route replace default via 10.0.1.1 proto 98")],
    ),
    fault(
        "wrong route",
        WORLD,
        "BH-W034",
        &[(A, "ip route add 203.0.113.0/24 via 10.0.1.20")],
        &[(A, "ip route del 203.0.113.0/24")],
    ),
    fault(
        "blackhole route",
        WORLD,
        "BH-W031",
        &[(A, "ip route add blackhole 203.0.113.0/24")],
        &[(A, "ip route del blackhole 203.0.113.0/24")],
    ),
    fault(
        "prohibit route",
        WORLD,
        "BH-W032",
        &[(A, "ip route add prohibit 203.0.113.0/24")],
        &[(A, "ip route del prohibit 203.0.113.0/24")],
    ),
    fault(
        "unreachable route in the router",
        WORLD,
        "BH-W033",
        &[(Main, "ip route add unreachable 203.0.113.0/24")],
        &[(Main, "ip route del unreachable 203.0.113.0/24")],
    ),
    fault(
        "blackhole route on the host",
        WORLD,
        "BH-W031",
        &[(Host, "ip route add blackhole 203.0.113.0/24")],
        &[(Host, "ip route del blackhole 203.0.113.0/24")],
    ),
    fault(
        "no default route on the host",
        WORLD,
        "BH-W030",
        &[(Host, "ip route del default")],
        &[(Host, "ip route replace default via 198.51.100.1")],
    ),
    fault(
        "no route back from the receiver",
        INWARDS,
        "BH-W030",
        &[(B, "ip route del default")],
        &[(B, "ip route replace default via 10.0.1.1 proto 98")],
    ),
    fault(
        "no route back to the client from the host",
        INWARDS,
        "BH-W030",
        &[(Host, "ip route del default")],
        &[(Host, "ip route replace default via 198.51.100.1")],
    ),
    fault(
        "wrong route between two routed networks",
        ACROSS,
        "BH-W034",
        &[(Host, "ip route add 10.0.4.10/32 via 198.51.100.1")],
        &[(Host, "ip route del 10.0.4.10/32 via 198.51.100.1")],
    ),
    fault(
        "no route to a routed network",
        ["203.0.113.9", "t/r", "tcp/80"],
        "BH-W034",
        &[(Host, "ip route del 10.0.2.0/24")],
        &[(Host, "ip route replace 10.0.2.0/24 via 169.254.64.5 dev bt2 proto 98")],
    ),
    fault(
        "reverse path filter at the receiver",
        PAIR,
        "BH-W035",
        &[(
            B,
            "ip link add aside type veth peer name aside2; ip link set aside up; ip link set aside2 up; \
             ip route add 10.0.1.10/32 dev aside; echo 1 > /proc/sys/net/ipv4/conf/eth0/rp_filter",
        )],
        &[(B, "echo 0 > /proc/sys/net/ipv4/conf/eth0/rp_filter; ip link del aside")],
    ),
    fault(
        "reverse path filter on the host",
        ROUTED,
        "BH-W035",
        &[(
            Host,
            "ip route add 10.0.2.10/32 dev uplink; echo 1 > /proc/sys/net/ipv4/conf/bt2/rp_filter",
        )],
        &[(
            Host,
            "echo 0 > /proc/sys/net/ipv4/conf/bt2/rp_filter; ip route del 10.0.2.10/32 dev uplink",
        )],
    ),
    fault(
        "forwarding off in the router",
        WORLD,
        "BH-W036",
        &[(Main, "echo 0 > /proc/sys/net/ipv4/ip_forward")],
        &[(Main, "echo 1 > /proc/sys/net/ipv4/ip_forward")],
    ),
    fault(
        "forwarding of IPv6 off in the router",
        WORLD_V6,
        "BH-W036",
        &[(Main, "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding")],
        &[(Main, "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")],
    ),
    fault(
        "forwarding off on the host",
        WORLD,
        "BH-W036",
        &[(Host, "echo 0 > /proc/sys/net/ipv4/ip_forward")],
        &[(Host, "echo 1 > /proc/sys/net/ipv4/ip_forward")],
    ),
    fault(
        "forwarding of IPv6 off on the host",
        WORLD_V6,
        "BH-W036",
        &[(Host, "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding")],
        &[(Host, "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")],
    ),
    // Neighbours.
    fault(
        "next hop of the host does not answer",
        WORLD,
        "BH-W040",
        &[(Host, "ip neigh replace 198.51.100.1 dev uplink nud failed")],
        &[(Host, "ip neigh del 198.51.100.1 dev uplink")],
    ),
    fault(
        "wrong static neighbour",
        PAIR,
        "BH-W041",
        &[(A, "ip neigh replace 10.0.1.20 lladdr 02:00:00:00:00:99 dev eth0 nud permanent")],
        &[(A, "ip neigh del 10.0.1.20 dev eth0")],
    ),
    fault(
        "neighbour gone from the router",
        PAIR,
        "BH-W042",
        &[(Main, "ip neigh del 10.0.1.20 dev br0")],
        &[(Main, "ip neigh replace 10.0.1.20 lladdr 02:62:68:00:00:02 dev br0 nud permanent")],
    ),
    fault(
        "bridge forgot the receiver",
        PAIR,
        "BH-W043",
        &[(Main, "bridge fdb del 02:62:68:00:00:02 dev bh2 master")],
        &[(Main, "bridge fdb replace 02:62:68:00:00:02 dev bh2 master static")],
    ),
    fault(
        "wrong static neighbour of the gateway",
        WORLD,
        "BH-W041",
        &[(A, "ip neigh replace 10.0.1.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent")],
        &[(A, "ip neigh replace 10.0.1.1 lladdr 02:62:68:ff:00:01 dev eth0 nud permanent")],
    ),
    fault(
        "receiver's link taken off the bridge",
        PAIR,
        "BH-W013",
        &[(Main, "ip link set bh2 nomaster")],
        &[(
            Main,
            "ip link set bh2 master br0; bridge link set dev bh2 learning off flood off neigh_suppress on; \
             bridge fdb replace 02:62:68:00:00:02 dev bh2 master static",
        )],
    ),
    // Other firewalls.
    fault(
        "nft drop in the host's input",
        ["t/a", "host", "tcp/80"],
        "BH-W050",
        &[(
            Host,
            "nft 'table inet guard { chain inputs { type filter hook input priority 0; policy drop; iifname lo accept; }; }'",
        )],
        &[(Host, "nft delete table inet guard")],
    ),
    fault(
        "nft drop between two routed networks",
        ACROSS,
        "BH-W050",
        &[(
            Host,
            "nft 'table ip guard { chain forwards { type filter hook forward priority 0; iifname \"bt2\" oifname \"bt4\" drop; }; }'",
        )],
        &[(Host, "nft delete table ip guard")],
    ),
    fault(
        "nft drop of datagrams",
        ["t/a", "t/b", "udp/87"],
        "BH-W050",
        &[(
            B,
            "nft 'table inet guard { chain inputs { type filter hook prerouting priority -200; udp dport 80-90 drop; }; }'",
        )],
        &[(B, "nft delete table inet guard")],
    ),
    fault(
        "nft drop in the host's forward",
        WORLD,
        "BH-W050",
        &[(
            Host,
            "nft 'table inet guard { chain forwards { type filter hook forward priority 0; ip daddr 203.0.113.0/24 tcp dport { 80, 443 } drop; }; }'",
        )],
        &[(Host, "nft delete table inet guard")],
    ),
    fault(
        "nft policy drop on the host",
        WORLD,
        "BH-W050",
        &[(
            Host,
            "nft 'table ip guard { chain forwards { type filter hook forward priority 5; policy drop; ct state established,related accept; }; }'",
        )],
        &[(Host, "nft delete table ip guard")],
    ),
    fault(
        "nft drop in the router",
        WORLD,
        "BH-W050",
        &[(
            Main,
            "nft 'table inet guard { chain forwards { type filter hook forward priority -5; oifname \"up0\" jump more; }; chain more { meta l4proto tcp reject; }; }'",
        )],
        &[(Main, "nft delete table inet guard")],
    ),
    fault(
        "nft drop in the receiver's input",
        PAIR,
        "BH-W050",
        &[(
            B,
            "nft 'table inet guard { set those { type ipv4_addr; elements = { 10.0.1.10 }; }; chain inputs { type filter hook input priority 0; ip saddr @those drop; }; }'",
        )],
        &[(B, "nft delete table inet guard")],
    ),
    fault(
        "nft drop in the sender's output",
        PAIR,
        "BH-W050",
        &[(
            A,
            "nft 'table inet guard { chain outputs { type filter hook output priority 0; tcp dport vmap { 22 : accept, 80 : drop }; }; }'",
        )],
        &[(A, "nft delete table inet guard")],
    ),
    fault(
        "nft drop of the answer",
        PAIR,
        "BH-W050",
        &[(
            B,
            "nft 'table inet guard { chain outputs { type filter hook output priority 0; tcp sport 80 ct state established drop; }; }'",
        )],
        &[(B, "nft delete table inet guard")],
    ),
    fault(
        "iptables drop on the host",
        WORLD,
        "BH-W050",
        &[(
            Host,
            "iptables -N GUARD; iptables -A GUARD -p tcp -m tcp --dport 80 -m comment --comment 'no web' -j DROP; iptables -I FORWARD -d 203.0.113.0/24 -j GUARD",
        )],
        &[(Host, "iptables -F FORWARD; iptables -F GUARD; iptables -X GUARD")],
    ),
    // MTU.
    fault(
        "small MTU inside of the network",
        PAIR,
        "BH-W070",
        &[(Main, "ip link set bh2 mtu 900")],
        &[(Main, "ip link set bh2 mtu 1500; ip link set br0 mtu 1500")],
    ),
    fault(
        "MTU black hole",
        WORLD,
        "BH-W071",
        &[(
            Host,
            "ip route replace default via 198.51.100.1 mtu lock 1200; nft 'table inet guard { chain outputs { type filter hook output priority 0; icmp type destination-unreachable drop; }; }'",
        )],
        &[(Host, "ip route replace default via 198.51.100.1; nft delete table inet guard")],
    ),
    // Translation.
    special("table of the host deleted again and again", WORLD, "BH-W060", Special::Flushed),
    fault(
        "table of the host changed",
        WORLD,
        "BH-W061",
        &[(Host, "nft add chain inet bulkhead stranger")],
        &[],
    ),
    fault("address of nobody", ["t/a", "10.0.1.77", "tcp/80"], "BH-W004", &[], &[]),
    fault("not published", ["203.0.113.9", "t/b", "tcp/86"], "BH-W062", &[], &[]),
    fault("a network that does not leave", ["t/c", "203.0.113.9", "tcp/80"], "BH-W063", &[], &[]),
    // Policy.
    fault("denied", ["t/a", "t/b", "tcp/89"], "BH-D001", &[], &[]),
    fault("not allowed", ["t/b", "t/a", "tcp/80"], "BH-D002", &[], &[]),
    fault("expired", ["t/a", "t/b", "tcp/99"], "BH-D002", &[], &[]),
    // Services.
    special("server stopped", PAIR, "BH-W090", Special::Stopped),
    special("target of a published port stopped", INWARDS, "BH-W090", Special::Stopped),
    fault("server on another port", ["t/a", "t/b", "tcp/81"], "BH-W090", &[], &[]),
    special("server on loopback", ["t/a", "t/b", "tcp/85"], "BH-W091", Special::Bound("127.0.0.1")),
    special(
        "server on another address",
        ["t/a", "t/b", "tcp/85"],
        "BH-W092",
        Special::Bound("fd01::20"),
    ),
    special("queue of connections full", ["t/a", "t/b", "tcp/84"], "BH-W093", Special::Crowded),
    fault(
        "echo requests ignored",
        ["t/a", "t/b", "icmp"],
        "BH-W094",
        &[(B, "echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all")],
        &[(B, "echo 0 > /proc/sys/net/ipv4/icmp_echo_ignore_all")],
    ),
];

/// What looks like trouble and is none: the walk finds no fault, though it may say that something cannot be told.
pub(crate) const HARMLESS: &[Fault] = &[
    fault(
        "iptables of a host with containers that lets our links pass",
        WORLD,
        "",
        &[(
            Host,
            "iptables -P FORWARD DROP; iptables -N USER; iptables -A FORWARD -j USER; \
             iptables -A USER -i bt+ -j ACCEPT; iptables -A USER -o bt+ -j ACCEPT; \
             iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; \
             iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        )],
        &[(
            Host,
            "iptables -P FORWARD ACCEPT; iptables -F FORWARD; iptables -F USER; iptables -X USER; iptables -t nat -F",
        )],
    ),
    fault(
        "a host that closes its own ports",
        WORLD,
        "",
        &[(
            Host,
            "nft 'table inet guard { chain inputs { type filter hook input priority 0; policy drop; ct state established,related accept; tcp dport 22 accept; }; }'",
        )],
        &[(Host, "nft delete table inet guard")],
    ),
    fault(
        "a receiver that opens what is asked for",
        PAIR,
        "",
        &[(
            B,
            "nft 'table inet guard { chain inputs { type filter hook input priority 0; policy drop; \
             ct state vmap { established : accept, related : accept, invalid : drop }; iifname lo accept; \
             ip saddr 10.0.1.0/24 tcp dport { 80, 443, 8000-8080 } jump web; }; \
             chain web { tcp dport 443 drop; accept; }; }'",
        )],
        &[(B, "nft delete table inet guard")],
    ),
    fault(
        "a limit that drops what is too much",
        PAIR,
        "",
        &[(
            B,
            "nft 'table inet guard { chain inputs { type filter hook input priority 0; limit rate over 1000/second drop; }; }'",
        )],
        &[(B, "nft delete table inet guard")],
    ),
    fault(
        "a smaller MTU that the sender is told of",
        WORLD,
        "",
        &[(Host, "ip route replace default via 198.51.100.1 mtu lock 1200")],
        &[(Host, "ip route replace default via 198.51.100.1")],
    ),
    fault(
        "a strict reverse path filter and symmetric routes",
        ROUTED,
        "",
        &[(Host, "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")],
        &[(Host, "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter")],
    ),
    fault(
        "routing by source",
        ROUTED,
        "",
        &[(
            Host,
            "ip rule add from 10.0.2.0/24 table 100; ip route add default via 198.51.100.1 table 100",
        )],
        &[(Host, "ip rule del from 10.0.2.0/24 table 100; ip route flush table 100")],
    ),
];

/// Faults that stay, or that the agent undoes.
pub(crate) const LAST: &[Fault] = &[
    special("workload's program gone", ["t/a", "t/p", "tcp/80"], "BH-W001", Special::Killed),
    special("connection tracking full", WORLD, "BH-W051", Special::Full),
    special("programs detached", PAIR, "BH-W080", Special::Detached),
    special(
        "router's namespace gone",
        ["t/c", "203.0.113.9", "tcp/80"],
        "BH-W003",
        Special::Unpinned,
    ),
    fault("workload's link removed", ACROSS, "BH-W010", &[(S, "ip link del eth0")], &[]),
    special("namespace gone", ["t/c", "203.0.113.9", "tcp/80"], "BH-W002", Special::Gone),
];
