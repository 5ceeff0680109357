//! Other firewalls of this host, as far as they can stop what Bulkhead allows: looked at when somebody asks, and not more
//! often than every 30 seconds, because `nft` has to be run for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use host::linux::probe::{self, Firewalls};
use model::Mode;
use planner::{Bundle, Router};

use crate::answers::doctor::firewalls;

/// How old a look may be.
const FRESH: Duration = Duration::from_secs(30);

/// The last look.
#[derive(Debug, Default)]
pub(crate) struct Foreign(Mutex<Option<(Instant, Arc<Firewalls>)>>);

impl Foreign {
    /// What there is, no older than 30 seconds. In the network namespace of the calling thread.
    pub(crate) fn look(&self) -> Arc<Firewalls> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((when, found)) if when.elapsed() < FRESH => Arc::clone(found),
            _ => {
                let found = Arc::new(probe::firewalls());
                *last = Some((Instant::now(), Arc::clone(&found)));
                found
            }
        }
    }

    /// What stops packets that a bundle's networks forward: one sentence with its remedy each. Nothing when none of them
    /// is forwarded by the host.
    pub(crate) fn in_the_way(&self, bundle: &Bundle) -> Vec<String> {
        let forwards = |mode: Mode| matches!(mode, Mode::Nat | Mode::Routed);
        // Who forwards for an external network has its own rules for that.
        let concerns = |router: &Router| {
            router.external.is_none() && (forwards(router.mode) || !router.publishes.is_empty())
        };
        if !bundle.routers.iter().any(concerns) {
            return Vec::new();
        }
        firewalls::in_the_way(&self.look(), None)
    }
}
