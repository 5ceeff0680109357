//! Every kind of finding about a host, and its documentation.

use crate::explain::Explanation;

/// Every kind of finding: code, topic, title, meaning, what to do.
pub(super) const CODES: &[(&str, &str, &str, &str, &str)] = &[
    (
        "BH-H001",
        "enforcement",
        "kernel features",
        "What the packet programs need of the kernel, found out by trying.",
        "a kernel from 5.10 on has everything that is needed; one with PREEMPT_RT is not supported",
    ),
    (
        "BH-H002",
        "enforcement",
        "optional kernel features",
        "Features that make something better or faster; everything works without them.",
        "nothing has to be done",
    ),
    (
        "BH-H003",
        "enforcement",
        "host network",
        "The host could not be looked at: that needs root, with what a container may take from it, and netlink.",
        "run it as root; in a container, add CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN, and the host's network",
    ),
    (
        "BH-H004",
        "hooks",
        "how programs are attached",
        "By TCX links where the kernel has them (6.6 and later): pinned, replaced without a gap. Else by clsact filters, which stay until their \
         interface goes. Both judge every packet; nothing is weaker with the older way.",
        "nothing has to be done",
    ),
    (
        "BH-H010",
        "cgroups",
        "control groups",
        "Workloads of `run:` are put into control groups to bound and end them.",
        "mount cgroup2 at /sys/fs/cgroup",
    ),
    (
        "BH-H011",
        "nftables",
        "nftables",
        "Address translation and published ports need the `nft` command and nf_tables in the kernel.",
        "apt install nftables",
    ),
    (
        "BH-H012",
        "forwarding",
        "forwarding",
        "Packets between networks and the world are forwarded by the host; Bulkhead switches it on when a network needs it, and back off when it leaves.",
        "nothing has to be done",
    ),
    (
        "BH-H013",
        "bridge-nf",
        "bridged frames in other firewalls",
        "With bridge-nf on, frames that the host bridges are shown to iptables too. Our bridges stand in namespaces of their own, where \
         Bulkhead switches it off, so the host's setting does not matter to them. A network whose `uplink` is a bridge of the host is the exception: its frames \
         pass that bridge, and with it the firewalls of the host.",
        "nothing has to be done",
    ),
    (
        "BH-H014",
        "others",
        "a firewall drops forwarded packets",
        "Another firewall has a chain on forward whose policy is drop. Packets between the networks and the world are forwarded by the host, over links \
         named `bt1`, `bt2` and so on, and have to pass it too: networks of mode `nat` and `routed` do not reach the world, and published ports are not reached \
         from outside, though Bulkhead allows it. Traffic inside of a network never passes there. Rules that accept `bt*` open nothing: Bulkhead's programs \
         judge every packet at the workload.",
        "iptables -I DOCKER-USER -i bt+ -j ACCEPT; iptables -I DOCKER-USER -o bt+ -j ACCEPT; without Docker the same in FORWARD",
    ),
    (
        "BH-H015",
        "others",
        "other firewalls",
        "Other tools that manage packet filters on this host. Bulkhead touches its own tables only.",
        "nothing has to be done",
    ),
    (
        "BH-H020",
        "mtu",
        "MTU",
        "Links of workloads get the MTU of the host's link to the world. IPv6 needs 1280 bytes (RFC 8200, section 5).",
        "raise the MTU of the host's link to at least 1280",
    ),
    (
        "BH-H030",
        "exposure",
        "ports reachable from outside",
        "Sockets of the host itself that wait on other addresses than loopback. Bulkhead guards workloads, not yet the host.",
        "bind what is not for others to 127.0.0.1",
    ),
    (
        "BH-H040",
        "audit",
        "scopes under audit",
        "`audit:` of the node, a tenant, a network or a segment lets pass what policy would drop there, and records it: nothing is \
         enforced. An `until:` that comes within a day is a warning: from then on the recorded flows are dropped.",
        "bulkhead observe --verdict audit shows what would be dropped",
    ),
    (
        "BH-H050",
        "publish",
        "published ports of runtimes",
        "In an external network its runtime publishes (`docker run -p`), and `publish:` in the file says for whom. A port that the runtime does not lead where \
         the file says is told here; nothing is open by that.",
        "bulkhead publish list shows where every port leads; see BH0163",
    ),
    (
        "BH-H060",
        "vlan",
        "802.1Q",
        "`vlan:` of a network on a LAN needs links of type `vlan` in the kernel (CONFIG_VLAN_8021Q), found out by making one. Without them such a \
         network is refused; nothing else needs them: tenants are no VLANs here.",
        "a kernel with the module 8021q, such as Debian's; or have the switch hand the VLAN out without a tag at a port of its own",
    ),
    (
        "BH-H061",
        "uplink",
        "foreign MACs",
        "Workloads on the LAN of an uplink send with MACs of their own. Switches with port security and most providers of virtual machines pass none but \
         those that they gave. `bulkhead doctor --probe-uplink NAME` tries it with at most three ARP probes, which claim no address; the answer counts until \
         the next one, and for the MAC that the link has. What filters is refused; mode `macvlan` wants an answer.",
        "use mode `nat` or `routed`; or have the filter lifted, then: bulkhead doctor --probe-uplink NAME",
    ),
    (
        "BH-H070",
        "unmanaged",
        "ports that are nobody's in the file",
        "On the bridges that networks of the file stand on, whatever is no workload is `unmanaged`. With `unmanaged: audit` (the default) and `allow`, what it exchanges \
         with the host, the world and its like passes and is recorded. 2,048 such ports have programs of their own, and 16,384 flows of theirs are followed at one \
         time; what is beyond is a warning, and counted (`bulkhead_unmanaged_ports_refused`, `bulkhead_unmanaged_flows_unrecorded_total`).",
        "bulkhead observe --from unmanaged shows what they do; put them into the file, or close them with unmanaged: deny",
    ),
];

/// Documentation of the findings.
pub(crate) fn explanations() -> impl Iterator<Item = Explanation> {
    CODES.iter().map(|(code, _, title, text, hint)| Explanation {
        code: (*code).to_owned(),
        title: (*title).to_owned(),
        text: (*text).to_owned(),
        hint: Some((*hint).to_owned()),
    })
}
