//! Follows what Docker knows better: who joined while it did not tell, which labels a container has now, and what it has forgotten.
//!
//! Dockerd's events only wake. What is wrong with some of it is a problem in `status`; what dockerd does not answer changes nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::AttachPort;
use runtimes::docker::driver::Id;
use runtimes::docker::{Container, End, Error, Wakes};

use crate::fault::sentence;

use super::endpoint::{key, wanted};
use super::held::Held;
use super::mend::{self, Joined, Left};
use super::{Driver, identity, problem};

/// How often is looked whether the agent ends.
const TICK: Duration = Duration::from_millis(100);
/// How soon is asked again who somebody is.
const SOON: Duration = Duration::from_millis(200);
/// How soon is looked again at a link that lies on the host.
const AGAIN: Duration = Duration::from_secs(1);
/// How often everything is looked at without being told.
const EVERY: Duration = Duration::from_secs(10);
/// How long Docker may not know something before it is forgotten here.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// Problems that are told at one time.
const PROBLEMS: usize = 10;

/// Since when Docker does not know a network or an end.
type Missing = BTreeMap<String, Instant>;

/// Follows until `stop` is set.
pub(super) async fn follow(driver: &Driver, stop: &AtomicBool) {
    let mut wakes: Option<Wakes> = None;
    let mut missing = Missing::new();
    let mut left = Left::new();
    let mut looked: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        let held = driver.ledger.read();
        if held.networks.is_empty() {
            wakes = None;
            problem(&driver.shared, None);
            tokio::time::sleep(TICK).await;
            continue;
        }
        if wakes.is_none() && looked.is_none_or(|at| at.elapsed() >= SOON) {
            wakes = driver.client.wakes().await.ok();
        }
        let woken = tokio::select! {
            () = driver.unknown.notified() => true,
            rung = super::super::ring(&mut wakes) => { if !rung { wakes = None; } true }
            () = tokio::time::sleep(TICK) => false,
        };
        let wait = match (has_unknown(driver, &held), left.is_empty()) {
            (true, _) => SOON,
            (_, false) => AGAIN,
            (false, true) => EVERY,
        };
        if woken || looked.is_none_or(|at| at.elapsed() >= wait) {
            let told = look(driver, &mut missing, &mut left).await;
            problem(&driver.shared, told);
            looked = Some(Instant::now());
        }
    }
}

/// Whether somebody joined of whom nothing is known.
fn has_unknown(driver: &Driver, held: &Held) -> bool {
    let Some(force) = driver.shared.force() else { return false };
    let mut joined = held.endpoints.iter().filter(|(_, endpoint)| endpoint.joined);
    joined.any(|(id, _)| {
        let kept = force.wanted.attachments.get(&key(id));
        kept.is_some_and(|kept| matches!(kept.attach.port, AttachPort::Handed { closed: true, .. }))
    })
}

/// Looks at everything once; what is wrong with some of it.
async fn look(driver: &Driver, missing: &mut Missing, left: &mut Left) -> Option<String> {
    let held = driver.ledger.read();
    let containers = match driver.client.containers().await {
        Ok(containers) => containers,
        Err(error) => return Some(sentence(&error)),
    };
    let mut problems = Vec::new();
    let (mut absent, mut joined) = (Vec::new(), Vec::new());
    for id in held.networks.keys().filter_map(|id| Id::try_from(id.clone()).ok()) {
        match driver.client.ends(id.as_str()).await {
            Ok(ends) => {
                let known = (ends.as_slice(), containers.as_slice());
                let found = (&mut absent, &mut joined);
                problems.extend(ends_of(driver, &held, &id, known, found).await);
            }
            Err(Error::NoNetwork { .. }) => absent.push(id.as_str().to_owned()),
            Err(error) => problems.push(sentence(&error)),
        }
    }
    problems.extend(forget(driver, missing, absent).await);
    problems.extend(mend::links(driver, &held, &joined, left).await);
    let more = problems.len().saturating_sub(PROBLEMS);
    problems.truncate(PROBLEMS);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    (!problems.is_empty()).then(|| problems.join("; "))
}

/// Brings the ends of one network to what Docker says of them.
async fn ends_of(
    driver: &Driver,
    held: &Held,
    network: &Id,
    (ends, containers): (&[End], &[Container]),
    (absent, joined): (&mut Vec<String>, &mut Vec<Joined>),
) -> Vec<String> {
    let by_id: BTreeMap<&str, &End> = ends.iter().map(|end| (end.endpoint.as_str(), end)).collect();
    let mut problems = Vec::new();
    for (id, endpoint) in held.endpoints.iter().filter(|(_, end)| end.network == *network) {
        let Some(end) = by_id.get(id.as_str()) else {
            absent.push(id.clone());
            continue;
        };
        let container = containers.iter().find(|container| identity::is_of(end, container));
        let (Some(container), Ok(id)) = (container, Id::try_from(id.clone())) else { continue };
        if !endpoint.joined {
            continue;
        }
        if let Err(why) = bring(driver, network, &id, container).await {
            problems.push(format!("container {}: {why}", container.name));
        }
        joined.push(Joined { endpoint: id, container: container.clone() });
    }
    problems
}

/// Attaches an end again if it is to have other labels, or a name, or to be opened.
async fn bring(driver: &Driver, network: &Id, id: &Id, of: &Container) -> Result<(), String> {
    let _turn = driver.turn.lock().await;
    // It may have been left meanwhile.
    let Ok((network, endpoint)) = driver.end(network, id) else { return Ok(()) };
    if !endpoint.joined {
        return Ok(());
    }
    let force = driver.force()?;
    let Some(kept) = force.wanted.attachments.get(&key(id.as_str())) else {
        let place = &network.place;
        return Err(format!(
            "it lost its place in {place} when the file was taken down: docker restart {}",
            of.name
        ));
    };
    let wanted = wanted(id, &network, &endpoint, Some(of), &force);
    if kept.attach == wanted {
        return Ok(());
    }
    let attached = driver.attach(wanted).await?;
    tracing::info!(workload = attached.workload, "a container of Docker is known");
    Ok(())
}

/// Forgets what Docker has not known for a while, with its addresses.
async fn forget(driver: &Driver, missing: &mut Missing, absent: Vec<String>) -> Vec<String> {
    missing.retain(|id, _| absent.contains(id));
    let mut problems = Vec::new();
    for id in absent {
        let since = *missing.entry(id.clone()).or_insert_with(Instant::now);
        if since.elapsed() < FORGOTTEN {
            continue;
        }
        tracing::info!(id, "Docker does not know it any more: it is forgotten");
        let held = driver.ledger.read();
        let done = match (held.networks.contains_key(&id), Id::try_from(id.clone())) {
            (true, Ok(id)) => driver.forget_network(&id).await,
            _ => driver.forget_endpoint(&id).await,
        };
        problems.extend(done.err());
    }
    problems
}
