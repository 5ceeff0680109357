//! Drop reasons in words: a sentence, a hint, and the text behind `bulkhead explain BH-D002`.
//!
//! The numbers are [`verdict::Reason`]'s, shared with the kernel; the words live here because the kernel has no use for
//! them.

pub use verdict::Reason;

/// The stable code as people see it: `BH-D002`.
#[must_use]
pub fn code(reason: Reason) -> String {
    format!("BH-D{:03}", reason.code())
}

/// The reason behind a code such as `BH-D002` (case does not matter).
#[must_use]
pub fn parse(text: &str) -> Option<Reason> {
    let digits = text.get(4..).filter(|_| text.to_ascii_uppercase().starts_with("BH-D"))?;
    let fine = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
    Reason::from_code(digits.parse().ok().filter(|_| fine)?)
}

macro_rules! words {
    ($($name:ident $sentence:literal $hint:literal $explanation:literal)+) => {
        /// What happened, as one clause: "no policy allows it".
        #[must_use]
        pub fn sentence(reason: Reason) -> &'static str {
            match reason { $(Reason::$name => $sentence,)+ }
        }

        /// What to do or to check: a command, a file, or a fact.
        #[must_use]
        pub fn hint(reason: Reason) -> &'static str {
            match reason { $(Reason::$name => $hint,)+ }
        }

        /// Why the rule exists and what usually causes the drop: one paragraph for `bulkhead explain`.
        #[must_use]
        pub fn explanation(reason: Reason) -> &'static str {
            match reason { $(Reason::$name => $explanation,)+ }
        }
    };
}

// Reason, sentence, hint, explanation. A reason without a row does not compile.
words! {
None
    "passed"
    "nothing to do"
    "The packet was not dropped. Flow events of allowed and audited flows carry this code."

PolicyDeny
    "a policy denies it"
    "the rule shows file and line; a deny beats every allow"
    "A policy denies this pair and port. A deny always beats an allow, whatever their order in \
     the file. The flow event names the policy, its file and line."

DefaultDeny
    "no policy allows it"
    "`bulkhead why FROM TO PORT` shows what would; add a policy for this pair and port"
    "No policy allows this flow at this endpoint, and the posture of its segment is deny. A flow \
     between two workloads needs to be allowed at the sender's egress and at the receiver's \
     ingress; a policy `from A to B` allows both."

Revoked
    "a policy change ended this flow"
    "`bulkhead why FROM TO PORT` shows the rule that decides now"
    "The flow was allowed when it began. A policy changed since, or the workload was put into \
     quarantine, and the new policy does not allow it: established flows end at their next \
     packet."

UnknownEndpoint
    "the interface belongs to no workload"
    "if it goes on, compare `bulkhead status` with `ip -d link`"
    "A packet came from an interface of ours that has no workload. This can be seen for an \
     instant while a workload is removed; if it stays, the agent and the kernel disagree."

SpoofedMac
    "the source MAC address is not the endpoint's own"
    "look for a bridge or a changed MAC inside of the workload"
    "The Ethernet source address is not the one that the endpoint was given. Workloads do not \
     choose their MAC address; a bridge or a virtual machine inside of the workload would need an \
     endpoint of its own."

SpoofedAddress
    "the source address is not the endpoint's own"
    "look for forwarding or extra addresses inside of the workload; otherwise it poses as \
     somebody else"
    "The source address of the packet does not belong to the endpoint that sent it, or a packet \
     with an endpoint's address came to another one without passing the port of its owner. This is \
     an attempt to pose as somebody else, or a workload that routes for others or configured an \
     address itself."

SpoofedArp
    "an ARP packet claims somebody else's address"
    "look for arpspoof-like tools or a second address inside of the workload"
    "An ARP packet claims an IPv4 or MAC address that belongs to somebody else. Accepting it \
     would lead a neighbour's traffic to this endpoint (ARP spoofing)."

SpoofedNd
    "a neighbour discovery packet claims somebody else's address"
    "look for spoofing tools or a second address inside of the workload"
    "A neighbour discovery message claims an IPv6 or MAC address that belongs to somebody else: \
     the IPv6 form of ARP spoofing."

RogueDhcp
    "the workload answers as a DHCP server"
    "stop the DHCP server in the workload; addresses come from the agent"
    "A workload sent a DHCP or DHCPv6 server message. A wrong answer would give its neighbours \
     its own gateway or name server. Addresses are assigned by the agent; no workload serves \
     them."

RogueRouter
    "the workload poses as a router"
    "stop router advertisements in the workload (radvd, dnsmasq --enable-ra) and forwarding with \
     redirects"
    "A workload sent an IPv6 router advertisement or a redirect. Accepting it would make it its \
     neighbours' gateway."

ForeignFrame
    "the frame is for another endpoint"
    "normal while addresses are being learnt"
    "A unicast frame reached an endpoint with a different MAC address. Bridges flood frames for \
     unknown addresses; nobody but the addressee gets to see them."

VlanTag
    "the frame carries a VLAN tag"
    "remove the VLAN interface inside of the workload"
    "The frame carries an 802.1Q or 802.1ad tag. Networks are separated by the host, never by \
     tags that a workload can write itself."

UnknownEtherType
    "neither IPv4, IPv6 nor ARP"
    "the workload speaks a protocol that policy cannot judge; it needs IP"
    "The frame is neither IPv4, IPv6 nor ARP. Policy cannot judge it, so it does not pass."

Malformed
    "the packet is malformed"
    "a broken sender, or an attempt to evade filters"
    "A header ends before its time, or its lengths contradict each other. Such packets are judged \
     differently by different receivers, which is how filters are evaded."

IpOptions
    "the packet has IPv4 options"
    "turn off source routing or record route at the sender"
    "The IPv4 header has options. Source routing among them leads packets around policy, and \
     nothing common needs the others."

ExtensionHeader
    "the packet has an IPv6 extension header that is not accepted"
    "send without routing headers"
    "The IPv6 packet has an extension header that is not accepted (such as a routing header), or \
     more of them than are looked at."

OrphanFragment
    "a fragment without its first fragment"
    "the first fragment was dropped or lost; look for its reason, or lower the sender's packet \
     size"
    "A later fragment arrived whose first fragment did not pass before it. Only the first one has \
     ports, so the later ones are judged by it."

TinyFragment
    "a fragment that hides the transport header"
    "no ordinary sender makes these; look for an attack"
    "The first fragment is too short to hold the transport header, or a later one would overwrite \
     it: both hide ports from a filter (RFC 1858, RFC 3128)."

LocalScope
    "multicast, broadcast or link-local traffic"
    "use unicast addresses and a policy that names the peers"
    "Multicast, broadcast or link-local traffic that is not needed to resolve addresses. It \
     reaches every neighbour without a policy naming them, so it does not pass."

StrayTcp
    "a TCP packet that belongs to no connection"
    "normal once after a restart; otherwise a scan or a late packet"
    "A TCP segment that belongs to no known flow and does not open one (it is no SYN). A lone \
     ACK, RST or FIN opens nothing. After a restart of the host, old connections end this way \
     once. Also a SYN of the side that was connected to (it may not connect back on the same \
     connection), and SYN, FIN or RST in fragments."

OutOfWindow
    "a TCP packet outside of the window, or SCTP with a wrong tag"
    "a forged or much delayed packet"
    "A TCP segment of a known flow whose sequence number lies outside of the window, or an SCTP \
     packet that does not carry the verification tag of its receiver: forged, or much too late."

StrayIcmp
    "an icmp message that answers nothing"
    "allow icmp/echo-request to let a ping begin"
    "An icmp reply that answers no request, or a type that does not open a flow. Echo replies \
     pass only after the echo request."

UnrelatedIcmp
    "an icmp error that belongs to no flow"
    "a forged or late error; nothing to do"
    "An icmp error quotes a packet of no known flow, or comes from somebody who cannot know of it: \
     a workload speaks of what was sent to itself, and of a flow between two workloads speak only \
     these and the gateways. So path MTU discovery works and forged errors do not."

StraySctp
    "an SCTP packet that belongs to no association"
    "normal once after a restart"
    "An SCTP packet that belongs to no known association and does not open one (it is no INIT), or \
     an INIT of the side that was connected to."

TableFull
    "the connection table is full"
    "`bulkhead status` shows the tenant's share; look for a scan or a flood"
    "There is no room for another flow: the connection table, or this tenant's share of it, is \
     full. Established flows go on; new ones are dropped, never silently allowed."

UnknownPeer
    "no table entry tells who the peer is"
    "`bulkhead status` shows whether the last plan was applied as a whole"
    "The tables do not say who the other side is. Every address of a network has an entry, and \
     everything else is the world; a missing entry means that the agent and the kernel disagree, \
     and then nothing passes."

DeliveryFailed
    "the receiving endpoint is gone"
    "its workload is ending; a retry will tell"
    "The packet was allowed and should have gone straight to the other endpoint on this host, \
     which was gone in that moment: its workload is ending."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_words() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in Reason::ALL {
            assert!(seen.insert(sentence(reason)), "{reason:?} shares its sentence");
            assert!(!hint(reason).is_empty() && !explanation(reason).is_empty());
            assert!(!sentence(reason).ends_with('.'), "{reason:?} is a clause");
            assert_eq!(parse(&code(reason)), Some(reason));
        }
        assert_eq!(code(Reason::DefaultDeny), "BH-D002");
        assert_eq!(parse("bh-d002"), Some(Reason::DefaultDeny));
        assert_eq!(parse("BH-D2"), None);
        assert_eq!(parse("BH-D+02"), None);
        assert_eq!(parse(&format!("BH-D{}", 250)), None);
    }
}
