//! What falls if one workload is taken over: of what is in force, and of a file.

use std::collections::BTreeSet;

use api::{BlastRadius, Error, RADIUS_SCHEMA, RadiusQuery, Reached, codes};
use planner::{Bundle, Fallen, Party};
use policy::document::owner;

use crate::fault::refused;
use crate::force::Wanted;
use crate::shared::Shared;

use super::party::{unknown, workload_id};
use super::plan::name;
use super::{person, rule_at};

/// Most lines of an answer: nobody reads more.
const LINES: usize = 2000;

/// What falls as the agent enforces it, and after `wanted`.
///
/// # Errors
/// `BH0211` when the workload is nowhere; `BH0216` without a document when no file is given.
pub(crate) fn radius(
    shared: &Shared,
    query: &RadiusQuery,
    wanted: Option<&Wanted>,
) -> Result<BlastRadius, Error> {
    let force = if wanted.is_some() { shared.force() } else { Some(shared.forced()?) };
    compared(force.as_ref().map(|force| (force.generation, &force.wanted)), wanted, query)
}

/// The same of what is in force with its generation, and of what is wanted.
fn compared(
    now: Option<(u64, &Wanted)>,
    wanted: Option<&Wanted>,
    query: &RadiusQuery,
) -> Result<BlastRadius, Error> {
    let of = |wanted: &Wanted| workload_id(&wanted.bundle, &query.workload);
    let found = [now.map(|(_, wanted)| of(wanted)), wanted.map(of)];
    let mut ids = found.into_iter().flatten();
    // The name means the same workload on both sides; who is ambiguous on one is told.
    let first = ids.next().unwrap_or_else(|| Err(unknown(&query.workload)));
    let id = match (first, ids.next()) {
        (Ok(one), Some(Ok(other))) if one != other => {
            let message = format!(
                "`{}` is {} now and {} in the file",
                query.workload,
                person(&one),
                person(&other)
            );
            return Err(
                refused(codes::UNKNOWN_PARTY, message).with_hint("say which: TENANT/WORKLOAD")
            );
        }
        (Ok(id), _) | (Err(_), Some(Ok(id))) => id,
        (Err(error), _) => return Err(error),
    };
    let has = |wanted: &&Wanted| wanted.bundle.workloads.contains_key(&*id);
    let before = now.filter(|(_, wanted)| has(wanted)).map(|(generation, wanted)| api::Radius {
        generation: Some(generation),
        ..side(&wanted.bundle, &wanted.document.file, &id)
    });
    let after = wanted.filter(has).map(|wanted| side(&wanted.bundle, &wanted.document.file, &id));
    Ok(BlastRadius { schema: RADIUS_SCHEMA.to_owned(), workload: id.to_string(), before, after })
}

/// What falls under the policy of a file; no agent is needed.
///
/// # Errors
/// `BH0211` when the file has no such workload, or several.
pub fn blast_radius(bundle: &Bundle, file: &str, workload: &str) -> Result<BlastRadius, Error> {
    let id = workload_id(bundle, workload)?;
    let after = Some(side(bundle, file, &id));
    let (schema, workload) = (RADIUS_SCHEMA.to_owned(), id.to_string());
    Ok(BlastRadius { schema, workload, before: None, after })
}

fn side(bundle: &Bundle, file: &str, workload: &str) -> api::Radius {
    let all = planner::radius(bundle, workload).unwrap_or_default();
    let attached = bundle.workloads.iter().filter(|(_, each)| each.endpoint.is_some());
    let mut others: BTreeSet<&str> = attached.map(|(id, _)| owner(id)).collect();
    others.remove(owner(workload));
    let fallen = all.iter().filter(|each| matches!(each.party, Party::Workload(_))).count();
    api::Radius {
        file: file.to_owned(),
        generation: None,
        workloads: others.len() as u64,
        fallen: fallen as u64,
        omitted: all.len().saturating_sub(LINES) as u64,
        reached: all.iter().take(LINES).map(|each| reached(each, bundle)).collect(),
    }
}

fn reached(fallen: &Fallen, bundle: &Bundle) -> Reached {
    let rule = |id: u32| bundle.rules.get(&id).map(rule_at);
    Reached {
        party: name(&fallen.party),
        workload: match &fallen.party {
            Party::Workload(id) => Some(id.to_string()),
            _ => None,
        },
        hop: fallen.hop,
        from: fallen.from.to_string(),
        service: fallen.flows.to_string(),
        audit: fallen.audit,
        egress_rule: rule(fallen.egress_rule),
        ingress_rule: rule(fallen.ingress_rule),
        published: fallen.through.as_ref().map(|(publish, _)| person(publish)),
        published_port: fallen.through.as_ref().map(|(_, port)| *port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{SHOP, wanted};

    fn parties(side: Option<&api::Radius>) -> Option<Vec<(&str, u32)>> {
        let reached = &side?.reached;
        Some(reached.iter().map(|each| (each.party.as_str(), each.hop)).collect())
    }

    #[test]
    fn it_compares_what_is_in_force_with_a_file() {
        let old = wanted(SHOP);
        let new = wanted(&SHOP.replace("[6379/tcp", "[6380/tcp"));
        let query = |workload: &str| RadiusQuery { workload: workload.to_owned() };
        let both = compared(Some((7, &old)), Some(&new), &query("shop/web")).expect("a radius");
        assert_eq!(both.workload, "shop.web");
        assert_eq!(both.before.as_ref().and_then(|side| side.generation), Some(7));
        assert_eq!(both.after.as_ref().and_then(|side| side.generation), None);
        let before = parties(both.before.as_ref()).expect("before");
        assert!(before.contains(&("shop/db", 1)), "{before:?}");
        let first = |side: &Option<api::Radius>| {
            let side = side.as_ref().expect("a side");
            side.reached.iter().find(|each| each.party == "shop/db").map(|db| db.service.clone())
        };
        assert_eq!(first(&both.before).as_deref(), Some("6379/tcp"));
        assert_eq!(first(&both.after).as_deref(), Some("6380/tcp"));
        let alone = compared(None, Some(&new), &query("web")).expect("a radius");
        assert!(alone.before.is_none() && alone.after.is_some());
        let nobody = compared(Some((7, &old)), Some(&new), &query("nobody"));
        assert_eq!(nobody.expect_err("nobody").code, codes::UNKNOWN_PARTY);
    }
}
