//! Every fault that a walk finds, and its documentation.

use crate::explain::Explanation;

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $text:literal, $hint:literal;)*) => {
        $(pub(super) const $name: &str = $code;)*
        /// All of them, in the order of their numbers.
        const ALL: &[(&str, &str, &str, &str)] = &[$(($code, $title, $text, $hint)),*];
    };
}

codes! {
    WORKLOAD_DOWN = "BH-W001", "the workload does not run",
        "The program of a workload with `run:` has ended, waits to be started again, or could not be started. Nobody sends or answers.",
        "bulkhead status and bulkhead logs WORKLOAD tell why";
    NAMESPACE_GONE = "BH-W002", "the namespace of a workload is gone",
        "The network namespace of the workload, ours or the adopted one, is not there any more.",
        "of an adopted one: make it again, then bulkhead up FILE; of ours: a running agent makes it again";
    ROUTER_GONE = "BH-W003", "the namespace of a router is gone",
        "Every network has a namespace with its bridge and its way out; this one is not there.",
        "a running agent makes it again within 10 seconds; see its log";
    NOBODY = "BH-W004", "nobody has the address",
        "The address lies in a subnet of a network, and no workload of the document has it.",
        "bulkhead status lists the workloads with their addresses";
    LINK_GONE = "BH-W010", "a link is not there",
        "A link on the way is missing: a workload's eth0, its end in the router, the bridge, or the link between router and host.",
        "a running agent makes it again within 10 seconds; see its log";
    LINK_DOWN = "BH-W011", "a link is down",
        "Somebody set a link on the way down.",
        "ip link set dev LINK up, in its namespace";
    NO_CARRIER = "BH-W012", "the other end of a link is down",
        "A link is up and carries nothing, because its other end is down.",
        "set the other end up";
    NOT_A_PORT = "BH-W013", "a workload's link is not on the bridge",
        "The router's end of a workload's link is no port of the router's bridge, so frames end there.",
        "a running agent puts it back within 10 seconds; see its log";
    ADDRESS_GONE = "BH-W020", "an address is missing",
        "An end of the connection does not have the address that it should have, so it cannot send from it or does not take what is sent to it.",
        "a running agent puts it back within 10 seconds; see its log";
    NETMASK = "BH-W021", "an address has another prefix length",
        "The address is there with another prefix length, so neighbours are taken for strangers or strangers for neighbours.",
        "remove it and let the agent put it back";
    DUPLICATE = "BH-W022", "an address is there twice",
        "Somebody else has the address too: another namespace on the way takes the packets for itself, or duplicate address detection found it.",
        "remove the other one";
    V6_DISABLED = "BH-W023", "IPv6 is switched off",
        "The sysctl disable_ipv6 is set where the packet has to pass.",
        "sysctl -w net.ipv6.conf.LINK.disable_ipv6=0, in its namespace; a running agent puts the addresses back";
    NO_ROUTE = "BH-W030", "there is no route",
        "The kernel has no route for the packet, or for its answer.",
        "add the route; those of Bulkhead are put back by a running agent";
    BLACKHOLE = "BH-W031", "a blackhole route",
        "A route of the kind blackhole takes the packet and says nothing.",
        "ip route delete blackhole PREFIX, in its namespace";
    PROHIBITED = "BH-W032", "a prohibit route",
        "A route or a routing rule of the kind prohibit refuses the packet.",
        "ip route delete prohibit PREFIX, or ip rule show, in its namespace";
    UNREACHABLE = "BH-W033", "an unreachable route",
        "A route of the kind unreachable refuses the packet.",
        "ip route delete unreachable PREFIX, in its namespace";
    WRONG_WAY = "BH-W034", "a route leads elsewhere",
        "A route sends the packet, or its answer, another way than to the gateway, so it does not come to where it should, or comes there unseen by Bulkhead.",
        "remove the route that is more specific than it should be";
    REVERSE_PATH = "BH-W035", "the reverse path filter drops it",
        "The link that the packet comes in by is not the one that leads back to its source, and rp_filter is strict.",
        "make the routes symmetric, or set rp_filter to 2 there";
    NOT_FORWARDING = "BH-W036", "forwarding is off",
        "A namespace on the way does not forward packets between links.",
        "switch it on; what Bulkhead needs is put back by a running agent";
    NEIGHBOUR_FAILED = "BH-W040", "the next hop does not answer",
        "Nobody answers for the address of the next hop, by ARP or neighbour discovery.",
        "see that the next hop is there and on that link";
    NEIGHBOUR_WRONG = "BH-W041", "a neighbour has the wrong Ethernet address",
        "The kernel believes in another Ethernet address of the next hop than it has, so frames go to nobody or to somebody else.",
        "ip neigh delete ADDRESS dev LINK, in its namespace";
    NEIGHBOUR_GONE = "BH-W042", "a neighbour that must be known is not",
        "Where Bulkhead sets the Ethernet addresses of neighbours nobody is asked for them, so a missing one is not found.",
        "a running agent puts it back within 10 seconds; see its log";
    UNPINNED = "BH-W043", "the bridge does not know a workload",
        "The bridge learns nothing and floods nothing; the entry that leads to the workload's port is missing.",
        "a running agent puts it back within 10 seconds; see its log";
    FOREIGN_DROP = "BH-W050", "another firewall drops it",
        "A rule or a chain of somebody else, on the host, in a router or inside of a workload's namespace, drops the packet or its answer. \
         What Bulkhead allows, others may still drop.",
        "change that rule; docs/guide/troubleshooting.md has remedies for Docker and others";
    TRACKING_FULL = "BH-W051", "the kernel's connection tracking is full",
        "Translation needs an entry for each connection, and there is no room for another one.",
        "sysctl -w net.netfilter.nf_conntrack_max=N on the host, or end what opens so many";
    BUDGET_FULL = "BH-W052", "the tenant's share of connections is used up",
        "Bulkhead's connection table has no room for new flows of this tenant; established ones go on. Drops say BH-D040.",
        "bulkhead observe shows who opens so many";
    TABLE_GONE = "BH-W060", "Bulkhead's nftables table is gone",
        "Somebody flushed the rules. Policy is not made of them; translation and published ports are.",
        "a running agent puts it back within 10 seconds; flush only your own tables";
    TABLE_CHANGED = "BH-W061", "Bulkhead's nftables table was changed",
        "Somebody added or removed rules in the table inet bulkhead.",
        "a running agent puts it back within 10 seconds; keep own rules in a table of your own";
    NOT_PUBLISHED = "BH-W062", "no published port leads there",
        "Into a network of mode nat or bridge lead published ports only, and none leads to this port of the workload, or not for this client.",
        "publish the port, or give the network the mode `routed`";
    DOES_NOT_LEAVE = "BH-W063", "the network does not leave the host",
        "A network of mode bridge has no way to the world, whatever its policies say.",
        "give the network the mode `nat` or `routed`";
    MTU_LINK = "BH-W070", "a smaller MTU inside of a network",
        "A link inside of a bridged network has a smaller MTU than the sender's: large packets vanish there, and nobody says so.",
        "give every link of the network one MTU; a running agent does within 10 seconds";
    MTU_PATH = "BH-W071", "large packets vanish: an MTU black hole",
        "The way has a smaller MTU than the sender's link, and the message that would tell the sender is dropped by another firewall.",
        "let ICMP type 3 (IPv6: 2) pass there, or make the MTU of the sender's link smaller";
    PROGRAMS_GONE = "BH-W080", "a workload's programs are not attached",
        "The programs that judge what the endpoint sends and receives are missing, or others are there.",
        "a running agent attaches them within 10 seconds; see its log";
    NOT_LISTENING = "BH-W090", "nothing listens on the port",
        "The packet arrives, and no socket waits for it.",
        "start the service, or ask for the port that it has";
    LOOPBACK_ONLY = "BH-W091", "the service listens on loopback only",
        "A socket with this port is bound to 127.0.0.1 or ::1, which nobody else reaches.",
        "let the service listen on its own address, or on all";
    OTHER_ADDRESS = "BH-W092", "the service listens on another address",
        "A socket with this port is bound to another address, another version of IP, or another link.",
        "let the service listen on this address, or on all";
    QUEUE_FULL = "BH-W093", "the service does not accept connections",
        "Its queue of connections is full: the program is stopped, stuck or too slow, and new ones are dropped.",
        "see what the program does; bulkhead logs WORKLOAD";
    ECHO_IGNORED = "BH-W094", "echo requests are ignored",
        "The sysctl icmp_echo_ignore_all is set there.",
        "sysctl -w net.ipv4.icmp_echo_ignore_all=0, in its namespace";
    PORT_TAKEN = "BH-W095", "the port is somebody else's",
        "A workload on the host's stack shares its ports with everybody there. Another program, or another workload, listens on this one.",
        "end the other one, or give one of them another port; ss -lnp names it";
}

/// The documentation of every fault.
pub(crate) fn explanations() -> impl Iterator<Item = Explanation> {
    ALL.iter().map(|(code, title, text, hint)| Explanation {
        code: (*code).to_owned(),
        title: (*title).to_owned(),
        text: (*text).to_owned(),
        hint: Some((*hint).to_owned()),
    })
}
