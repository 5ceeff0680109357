//! A file as a host would have it that sees it for the first time: for commands that ask no agent.
//!
//! What only a running host knows is left out: addresses that were allocated earlier, labels that were changed at run time,
//! and addresses of the host that the file does not name.

use std::path::PathBuf;

use api::codes;
use jiff::Timestamp;
use planner::{Allocations, Bundle, Facts, HostPlane};
use policy::Document;
use policy::kubernetes::CheckedSet;

use super::{Context, check, files};
use crate::failure::Failure;

/// The unit of idle timeouts; no verdict depends on it.
const JIFFIES: u32 = 250;

/// Checked files and what it compiles to.
pub(crate) struct Offline {
    pub(crate) checked: CheckedSet,
    pub(crate) bundle: Bundle,
    pub(crate) facts: Facts,
}

/// Reads, checks and compiles files; tells why not.
pub(crate) fn read(context: &Context, files: &[PathBuf]) -> Result<Offline, Failure> {
    let now = Timestamp::now();
    let checked = check::checked(context, files, now)?;
    let facts = facts(&checked.document, now);
    let document = &checked.document;
    let compiled = planner::compile(document, &Allocations::default(), &facts);
    let completed = compiled.and_then(|mut bundle| {
        HostPlane::complete(document, &mut bundle, &facts)?;
        Ok(bundle)
    });
    let bundle = completed.map_err(|errors| {
        let failure = Failure::new(codes::COMPILE, format!("plan {}", files::shown(files)));
        // Of what is one too many there may be thousands.
        match errors.0.first() {
            Some(error) => failure.because(error),
            None => failure,
        }
    })?;
    Ok(Offline { checked, bundle, facts })
}

/// The host's addresses are those that the file names.
fn facts(document: &Document, now: Timestamp) -> Facts {
    let snat = document.networks.iter().flat_map(|network| network.snat.iter());
    let published = document.publishes.iter().filter_map(|publish| publish.address);
    let mut addresses: Vec<_> = snat.chain(published.filter(|each| !each.is_loopback())).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Facts { addresses, now, jiffies_per_second: JIFFIES }
}
