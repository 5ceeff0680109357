//! Puts our nftables table on the host back when somebody else changed it, without waiting for the drift timer.
//!
//! Verdicts do not depend on it: they are BPF. What is missing until then is address translation. So a table that is gone is put back as it
//! was, by one run of `nft`, before anything is looked at; what else was changed, a pass over the host finds.

use std::time::Instant;

use api::Intervention;
use host::linux::nft::monitor::Touch;
use host::network::{Part, Scope};
use jiff::{SignedDuration, Timestamp};

use crate::answers::flows::moment;
use crate::desired;
use crate::fault::sentence;
use crate::reconcile::network;

use super::Keeper;

/// Interventions that are kept.
const KEPT: usize = 32;
/// Repairs of one that are told.
const LINES: usize = 16;

impl Keeper {
    /// Looks at the host alone and repairs it. What failed is tried again soon.
    pub(super) fn touched(&mut self, touch: &Touch, when: Instant) {
        let Some(force) = self.shared.force() else { return };
        let back = self.kernel.put_back().unwrap_or_else(|error| {
            tracing::warn!("put the nftables table back at once: {}", sentence(&error));
            None
        });
        let mtu = self.mtu();
        let Ok(desired) = desired::network(&force.wanted.bundle, mtu) else { return };
        let (hooks, options) = (self.datapath.hooks(), self.shared.options.clone());
        let scope = Scope::Only(Part::default());
        let mut pass = network::pass(&mut self.kernel, hooks, &options, &desired, &scope);
        if back.is_some() {
            pass.done.insert(0, "nft -f - (table inet bulkhead)".to_owned());
            pass.changes += 1;
        }
        if !pass.failed.is_empty() {
            self.timers.look_soon(Instant::now());
        }
        if pass.changes == 0 {
            return;
        }
        let took = back.map_or_else(|| when.elapsed(), |back| back.saturating_duration_since(when));
        tracing::warn!(
            took_us = took.as_micros(),
            "{touch} changed the nftables table inet bulkhead"
        );
        let at = Timestamp::now() - SignedDuration::try_from(took).unwrap_or_default();
        let intervention = Intervention {
            at: moment(at),
            what: "nftables table inet bulkhead".to_owned(),
            by: touch.to_string(),
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            repaired: pass.done.iter().take(LINES).cloned().collect(),
        };
        let repairs = pass.changes;
        self.repaired("network", pass, repairs);
        let mut condition = self.shared.condition();
        condition.interventions.push_back(intervention);
        while condition.interventions.len() > KEPT {
            condition.interventions.pop_front();
        }
    }
}
