//! The host at its uplinks as an end of a question: with a policy of its own it is judged there.

use std::net::IpAddr;

use flow::Resolver as _;
use model::RuleId;
use planner::Bundle;
use verdict::abi::{Addr, HOST_ENDPOINT, HOST_NETWORK, PeerKey, Verdict};

use crate::answers::party::{self, Who};
use crate::answers::reason;
use crate::names::Names;

use super::{Case, judged};

/// Whether a question is judged at the uplinks.
pub(super) enum Asked {
    /// It is about others, or the host has no policy.
    Elsewhere,
    /// One of both has no address of this version of IP.
    NotInThisVersion,
    /// In this network, between these addresses.
    Here((u32, IpAddr, IpAddr)),
}

/// Where a question between the host and the outside is judged, and between which addresses.
pub(super) fn ends(bundle: &Bundle, from: &Who, to: &Who, v6: bool) -> Asked {
    let Some(endpoint) = bundle.tables.endpoints.get(&HOST_ENDPOINT) else {
        return Asked::Elsewhere;
    };
    let own = |who: &Who| match who {
        Who::Host | Who::Account(_) => {
            let own = IpAddr::from(if v6 { endpoint.v6 } else { endpoint.v4 });
            Some(own).filter(|own| own.is_ipv6() == v6 && !own.is_unspecified())
        }
        Who::Address(address) => Some(*address).filter(|address| is_host(bundle, *address)),
        _ => None,
    };
    let is_own = |who: &Who| match who {
        Who::Address(address) => is_host(bundle, *address),
        who => matches!(who, Who::Host | Who::Account(_)),
    };
    let far = |who: &Who| match who {
        Who::Address(address) => Some(*address),
        Who::World => {
            let network = u16::try_from(HOST_NETWORK).unwrap_or(u16::MAX);
            Some(party::world(&bundle.tables, network, v6))
        }
        _ => None,
    };
    let is_far = |who: &Who| matches!(who, Who::World | Who::Address(_)) && !is_own(who);
    let (source, target) = match (is_own(from), is_own(to)) {
        (true, false) if is_far(to) => (own(from), far(to)),
        (false, true) if is_far(from) => (far(from), own(to)),
        _ => return Asked::Elsewhere,
    };
    let both = source.zip(target);
    let fits =
        |(source, target): &(IpAddr, IpAddr)| source.is_ipv6() == v6 && target.is_ipv6() == v6;
    let as_account = |(source, target): (IpAddr, IpAddr)| match from {
        Who::Account(number) => (IpAddr::from(Addr::hosted(*number)), target),
        _ => (source, target),
    };
    match both.filter(fits).map(as_account) {
        Some((source, target)) => Asked::Here((HOST_NETWORK, source, target)),
        None => Asked::NotInThisVersion,
    }
}

/// What the host's own policy says of a flow of another case.
pub(super) struct Also {
    pub(super) passes: bool,
    /// The code of the drop.
    pub(super) code: Option<String>,
    pub(super) text: String,
}

/// What the host's own policy says of a flow between a workload on its stack and the outside: its hooks at the uplinks are asked in addition.
/// Nothing where there is no such policy.
pub(super) fn also(bundle: &Bundle, names: &Names, case: &Case) -> Option<Also> {
    let endpoint = bundle.tables.endpoints.get(&HOST_ENDPOINT)?;
    let stands = |end: IpAddr| Addr::from(end).is_hosted();
    let far = [case.source, case.target].into_iter().find(|end| !stands(*end))?;
    let own = IpAddr::from(if far.is_ipv6() { endpoint.v6 } else { endpoint.v4 });
    if own.is_unspecified() || own.is_ipv6() != far.is_ipv6() || is_host(bundle, far) {
        return None;
    }
    let real = |end: IpAddr| if stands(end) { own } else { end };
    let (source, target) = (real(case.source), real(case.target));
    let there = Case { network: HOST_NETWORK, arrives: None, source, target, ..*case };
    let judgement = judged(bundle, &there);
    let rule = [judgement.ingress_rule, judgement.egress_rule].into_iter().find(|id| *id != 0);
    let rule = rule.and_then(|id| names.rule(RuleId(id)));
    let by = rule.map_or_else(|| "no rule names it".to_owned(), |rule| rule.to_string());
    let passes = judgement.verdict != Verdict::Drop;
    let text = if passes {
        format!("the host's own policy lets it pass at the uplinks ({by})")
    } else {
        format!("the host's own policy drops it at the uplinks ({by})")
    };
    let code = reason(judgement.reason).map(|reason| reason.code).filter(|_| !passes);
    Some(Also { passes, code, text })
}

fn is_host(bundle: &Bundle, address: IpAddr) -> bool {
    let key = PeerKey { network: HOST_NETWORK, addr: Addr::from(address) };
    bundle.tables.exact.get(&key).is_some_and(|peer| peer.endpoint == HOST_ENDPOINT)
}
