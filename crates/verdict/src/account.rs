//! Processes of the host that rules tell apart, by the account that they run under (docs/adr/0027-processes-of-the-host.md).
//!
//! An account is a user, a service, or both: each pair has a number among the endpoints, and an address in the tables
//! ([`Addr::hosted`]) that takes the place of the host's when policy is asked what it may send. Packets, the connection table
//! and reports keep the host's address.

use crate::Env;
use crate::abi::{Addr, FlowEntry, FlowKey, UNMANAGED_ENDPOINT};
use crate::flow::question;
use crate::judge::Question;
use crate::packet::{Packet, protocol};
use crate::work::Work;

/// Users that are told apart, and services; the first of each is everybody else.
pub const EACH: u32 = 16;
/// Number of the first account among the endpoints.
pub const ACCOUNTS: u32 = UNMANAGED_ENDPOINT - EACH * EACH;

/// Number of the account of a user and a service, each below [`EACH`] and 0 for everybody else; 0 when it is the host as such.
#[must_use]
pub const fn number(user: u32, service: u32) -> u32 {
    let pair = (user % EACH) * EACH + service % EACH;
    if pair == 0 { 0 } else { ACCOUNTS + pair }
}

/// Whether an endpoint's number is that of an account.
#[must_use]
pub const fn is_account(number: u32) -> bool {
    number > ACCOUNTS && number < UNMANAGED_ENDPOINT
}

/// The question that a known flow puts to the policy: whose it is stands in its entry. An account that no rule names any more is the
/// host as such.
#[must_use]
#[inline(always)]
pub fn asked<E: Env>(env: &E, key: &FlowKey, entry: &FlowEntry) -> Question {
    let mut question = question(key, entry);
    let number = told(env, key.network, entry.source);
    if number != 0 {
        question.source = Addr::hosted(number);
    }
    question
}

/// What the tables tell of an account: of a pair of which they know one alone, that one. One that came after the tables, or is gone, is the
/// host as such: 0.
#[inline(never)]
fn told<E: Env>(env: &E, network: u32, account: u32) -> u32 {
    if !is_account(account) {
        return 0;
    }
    let (user, service) = ((account - ACCOUNTS) / EACH, (account - ACCOUNTS) % EACH);
    let is_told =
        |number: u32| env.endpoint(number).is_some_and(|endpoint| endpoint.network == network);
    if is_told(account) {
        account
    } else if user != 0 && is_told(number(user, 0)) {
        number(user, 0)
    } else if service != 0 && is_told(number(0, service)) {
        number(0, service)
    } else {
        0
    }
}

/// Puts the account that sends a packet in the place of the host that asks.
#[inline(always)]
pub(crate) fn ask<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) {
    let number = sender(env, packet, work);
    if number != 0 {
        work.question.source = Addr::hosted(number);
        work.hook.endpoint = number;
    }
}

/// Whether other processes than a flow's own send on it: the ports of a socket that is gone may be taken by anybody. TCP begins anew then.
#[inline(always)]
pub(crate) fn is_another<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &Work,
    entry: &FlowEntry,
) -> bool {
    work.hook.accounts && work.hook.sent && has_changed(env, packet, work, entry)
}

#[inline(never)]
fn has_changed<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &Work,
    entry: &FlowEntry,
) -> bool {
    work.header.protocol != protocol::TCP
        && sender(env, packet, work) != told(env, work.hook.network, entry.source)
}

/// The account whose socket sends a packet; 0 for everybody else on the host, and where rules name none.
#[inline(always)]
fn sender<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &Work) -> u32 {
    if work.hook.accounts { told(env, work.hook.network, packet.account()) } else { 0 }
}
