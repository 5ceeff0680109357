//! Drop reasons in words: what `BH-Dnnn` means, and what to do about it. Codes and numbers are `verdict`'s.

use model::{RuleKind, RuleRef};
use verdict::Reason;

/// What a reason means once the rule is known.
///
/// The kernel tells rules from defaults, not kinds of rules. What an audit policy lets pass although none of its ports match is
/// denied by no rule: enforced, it would be dropped because none allows it.
#[must_use]
pub fn meant(reason: Reason, rule: Option<&RuleRef>) -> Reason {
    match (reason, rule.map(|rule| rule.kind)) {
        (Reason::PolicyDeny, Some(RuleKind::Audit)) => Reason::DefaultDeny,
        (reason, _) => reason,
    }
}

/// `BH-D002`.
#[must_use]
pub fn code(reason: Reason) -> String {
    format!("BH-D{:03}", reason.code())
}

/// The reason with this code, for example `BH-D002` (case does not matter).
#[must_use]
pub fn parse(text: &str) -> Option<Reason> {
    let upper = text.to_ascii_uppercase();
    let digits = upper.strip_prefix("BH-D").filter(|digits| digits.len() == 3)?;
    digits.parse().ok().and_then(Reason::from_code)
}

macro_rules! reasons {
    ($($name:ident $text:literal $hint:literal $explanation:literal;)*) => {
        /// A few words: `default deny`.
        #[must_use]
        pub fn text(reason: Reason) -> &'static str {
            match reason { $(Reason::$name => $text,)* }
        }

        /// What to do about it, one clause.
        #[must_use]
        pub fn hint(reason: Reason) -> &'static str {
            match reason { $(Reason::$name => $hint,)* }
        }

        /// What happened and why it is dropped, for `bulkhead explain`.
        #[must_use]
        pub fn explanation(reason: Reason) -> &'static str {
            match reason { $(Reason::$name => $explanation,)* }
        }
    };
}

reasons! {
    None "passed" ""
        "The packet was not dropped.";
    PolicyDeny "denied by a rule" "the rule and its line are named beside it"
        "A rule with `deny:` matches the flow. A deny beats every allow, whatever their order. \
         Beside the verdict `audit`: the deny stands in a policy with `mode: audit`, so the flow passed and was recorded; \
         enforced, the rule would drop it.";
    DefaultDeny "default deny" "bulkhead why A B tcp/PORT shows the nearest rule and what would allow it"
        "No rule allows the flow, and the posture of the segment for this direction is `deny`, which is the default. \
         Beside the verdict `audit`: no rule allows it either, but the posture `audit`, or the policy with `mode: audit` that \
         is named, let it pass and recorded it; enforced, it would be dropped.";
    Revoked "revoked" "a newer policy ended the flow; bulkhead why tells what it says now"
        "The flow was established under an older policy. The policy in force does not allow it, so its next packet ended it.";
    UnknownEndpoint "not yet enforced" "bulkhead status shows the workload's state"
        "The interface has no endpoint configured. An endpoint that is not finished passes nothing.";
    SpoofedMac "spoofed MAC address" "the workload sent a frame with a MAC address that is not its own"
        "Every endpoint has one MAC address. A frame with another source address is forged.";
    SpoofedAddress "spoofed address" "the workload sent a packet with a source address that is not its own"
        "An endpoint may send from its own addresses only, and no packet with an endpoint's address comes to another one without \
         having passed the port of its owner. Forwarding workloads (routers, VPN gateways) are not supported yet.";
    SpoofedArp "spoofed ARP" "the workload claimed an address that is not its own"
        "An ARP packet whose sender is not the endpoint's own MAC and IPv4 address would redirect the traffic of others.";
    SpoofedNd "spoofed neighbour discovery" "the workload claimed an address that is not its own"
        "A neighbour solicitation or advertisement for a foreign address would redirect the traffic of others.";
    RogueDhcp "rogue DHCP server" "workloads may not answer DHCP"
        "A workload answered as a DHCP server. Addresses are given by Bulkhead alone.";
    RogueRouter "rogue router" "workloads may not send router advertisements or redirects"
        "A workload sent a router advertisement or a redirect. The only router of a network is Bulkhead's.";
    ForeignFrame "not for this endpoint" "frames for other MAC addresses are not delivered"
        "The bridge flooded a frame for another MAC address. It is not shown to this endpoint.";
    VlanTag "VLAN tag" "workloads may not tag frames"
        "The frame carries an 802.1Q or 802.1ad tag. Networks are kept apart by Bulkhead, not by tags that a workload chooses.";
    UnknownEtherType "unknown EtherType" "only IPv4, IPv6 and ARP pass"
        "The frame is neither IPv4, IPv6 nor ARP.";
    Malformed "malformed packet" "a header is cut short or contradicts itself"
        "The packet cannot be understood, so it cannot be judged.";
    IpOptions "IPv4 options" "IPv4 options are not let through"
        "IPv4 options, source routing among them, have no use inside of a host and a history of abuse (RFC 7126).";
    ExtensionHeader "IPv6 extension header" "only hop-by-hop, destination options and fragments are let through, six at most"
        "An IPv6 extension header that is not accepted, in the wrong place, or too many of them.";
    OrphanFragment "fragment without its first" "the first fragment was dropped or came later"
        "A later fragment carries no ports; it passes only after its first fragment did.";
    TinyFragment "tiny fragment" "the first fragment must hold the whole transport header"
        "A fragment that is too short to hold the transport header, or would overwrite it (RFC 1858, RFC 3128).";
    LocalScope "multicast or link-local" "only address resolution is let through on the link"
        "Multicast, broadcast and link-local traffic other than ARP and neighbour discovery does not pass. \
         What every IPv6 stack says unasked (router solicitations, multicast reports) is counted, but not shown as flows.";
    StrayTcp "no such TCP flow" "a flow begins with SYN; the endpoint may have restarted or the flow timed out"
        "The segment belongs to no known flow and does not open one. A stray ACK opens nothing. Also a SYN of the side that was \
         connected to, which may not connect back on the same flow, and SYN, FIN or RST in fragments.";
    OutOfWindow "outside of the window" "forged, very late, or a middlebox rewrote sequence numbers"
        "The sequence or acknowledgement number of a TCP segment lies outside of what both sides have offered, or an SCTP packet \
         does not carry the verification tag of its receiver (RFC 9260, section 8.5).";
    StrayIcmp "no such ICMP query" "a reply nobody asked for"
        "The ICMP message belongs to no known flow and does not open one.";
    UnrelatedIcmp "ICMP error of no flow" "an error message that quotes a packet nobody sent"
        "An ICMP error passes only when the packet that it quotes belongs to a live, still allowed flow, and comes from where that \
         flow goes: an endpoint speaks of what was sent to itself, of a flow between two endpoints only these and the gateways.";
    StraySctp "no such SCTP association" "an association begins with INIT"
        "The packet belongs to no known association and does not open one, or is an INIT of the side that was connected to.";
    TableFull "connection table full" "bulkhead status shows the table's use; a tenant may be scanning or flooding"
        "The connection table, or the tenant's share of it, is used up. New flows are dropped; established ones go on.";
    UnknownPeer "unknown peer" "the address belongs to no workload, network or the world of this network"
        "No table entry tells who the peer is, so no rule can speak for it.";
    DeliveryFailed "delivery failed" "the receiving endpoint went away in between"
        "The packet was allowed, but its receiver was gone when it was to be handed over.";
    PortNotOpen "port not open" "let somebody in on it: a policy with `to:` the workload and `allow:` the port"
        "A workload in a network of mode `host` asked to bind a port that no rule opens to anybody. The port would be the host's: \
         a workload is kept from taking it. A port that the kernel chooses may always be bound, and so may every port where the \
         posture for ingress is `audit` or `allow`.";
    Limited "limit of a published port" "the `limit` of the publish entry is used up; `bulkhead publish list` shows it"
        "A policy allows the flow, but more flows began at the published port than its `limit` lets, from this source or from all. \
         Established flows go on. A client that tries again is let in as soon as there is room. IPv6 sources are counted by networks of 64 bits.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words_and_a_code_that_parses() {
        for reason in Reason::ALL {
            assert!(!text(reason).is_empty() && explanation(reason).ends_with('.'), "{reason:?}");
            assert_eq!(parse(&code(reason).to_lowercase()), Some(reason));
        }
        assert_eq!(parse("BH-Dxxx"), None);
        assert_eq!(parse("BH-D2"), None);
    }
}
