//! Routing rules of a workload with several attachments: what is sent from an address of one is routed by its own table.
//!
//! Ours carry [`RTPROT`] (`FRA_PROTOCOL`, Linux 4.17) and the priority [`RULE`]. A rule does not end with a link, so one that is not
//! wanted any more is removed by itself; until then it leads to a table that the link has emptied.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use crate::network::{RTPROT, RULE, Refusal, Rule};

use super::netlink::Netlink;
use super::netns::{NetNs, NetNsError};

/// Reads the rules that are ours.
///
/// # Errors
///
/// The kernel's answer.
pub fn rules(netlink: &mut Netlink) -> Result<BTreeSet<Rule>, Refusal> {
    let mut found = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut ask = RuleMessage::default();
        ask.header.family = family;
        for answer in netlink.dump(Message::GetRule(ask))? {
            let Message::NewRule(message) = answer else { continue };
            found.extend(parse(&message));
        }
    }
    Ok(found)
}

/// Removes the rules of ours that lead to some tables from a namespace that nothing of ours is in any more.
///
/// # Errors
///
/// The system's or the kernel's answer.
pub fn forget(netns: &Path, tables: &BTreeSet<u32>) -> Result<(), Refusal> {
    let ns = NetNs::open(netns).map_err(NetNsError::into_io)?;
    let mut netlink = Netlink::open_in(&ns)?;
    let found = rules(&mut netlink)?;
    found
        .iter()
        .filter(|rule| tables.contains(&rule.table))
        .try_for_each(|rule| delete(&mut netlink, rule))
}

fn parse(message: &RuleMessage) -> Option<Rule> {
    let (mut from, mut table, mut is_ours) = (None, u32::from(message.header.table), false);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(address) => from = Some(*address),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Protocol(protocol) => is_ours = *protocol == RouteProtocol::from(RTPROT),
            _ => {}
        }
    }
    from.filter(|_| is_ours).map(|from| Rule { from, table })
}

/// Adds a rule marked as ours.
///
/// # Errors
///
/// `EEXIST` when it is there, else the kernel's answer.
pub fn add(netlink: &mut Netlink, rule: &Rule) -> Result<(), Refusal> {
    netlink.request(Message::NewRule(message(rule)), NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes a rule of ours.
///
/// # Errors
///
/// `ENOENT` when it is not there, else the kernel's answer.
pub fn delete(netlink: &mut Netlink, rule: &Rule) -> Result<(), Refusal> {
    netlink.request(Message::DelRule(message(rule)), 0)
}

fn message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    (message.header.family, message.header.src_len) = match rule.from {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(rule.from),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Priority(RULE),
        RuleAttribute::Protocol(RTPROT.into()),
    ];
    message
}
