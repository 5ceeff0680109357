//! The stages of an apply in their order, each a pass of one reconciler.

use std::sync::Arc;

use api::{Error, Step};
use host::linux::rcu::Expedited;
use host::network::Scope;
use planner::Bundle;
use policy::document::owner;
use verdict::native::Tables;

use crate::force::Wanted;
use crate::names::Names;
use crate::reconcile::{Pass, hosted, network, tables, workloads};
use crate::{desired, outside, uplinks};

use super::Keeper;
use super::laps::Laps;
use super::order::{self, Stage};

/// MTU of our links when the host has no default route, in bytes.
const MTU: u32 = 1500;

/// How much of this host a pass over the stages reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look<'a> {
    /// All of it: after a start, when something failed, when the same is applied again.
    Everywhere,
    /// What differs from this bundle, which is in force. What else may have changed meanwhile is the timer's.
    Since(&'a Bundle),
    /// That, and all of these workloads by their ids, whether they differ or not.
    Workloads(&'a Bundle, &'a [String]),
}

impl Keeper {
    /// Brings this host from the tables in force to `wanted`: workloads that go are stopped, new endpoints are made
    /// closed, the policy is switched, workloads that come are started. Stops at the first stage that fails, but for
    /// the last: a workload that cannot be started changes nothing for the others.
    pub(super) fn stages(
        &mut self,
        current: &Tables,
        wanted: &Wanted,
        look: Look<'_>,
    ) -> Result<Vec<Step>, Error> {
        let mtu = self.mtu();
        let (uplinks, brief) = (uplinks::of(wanted.host.as_deref()), self.brief);
        let desired = desired::network(&wanted.bundle, mtu)?;
        let scope = scope(look, &desired, mtu)?;
        let options = self.shared.options.clone();
        let dirs = options.dirs();
        let exe = outside::this_program()?;
        let specs = workloads::Wanted::of(&wanted.bundle, &options);
        let closed = tables::with_closed(current, &wanted.bundle.tables);
        self.shared.set_names(Arc::new(Names::new(&wanted.bundle, Some(&self.shared.names()))));
        // Those that go, too: what is taken away is taken away where it was.
        let force = self.shared.force();
        let mut expected = force.map(|force| outside::expected(&force.wanted)).unwrap_or_default();
        expected.extend(outside::expected(wanted));
        self.kernel.expect(expected);
        let _quick = Expedited::begin();
        let mut laps = Laps::begin();
        let steps = order::in_order(|stage| {
            let pass = match stage {
                Stage::Stop => workloads::stop_unwanted(&dirs, &specs),
                Stage::Close => tables::pass(&mut self.datapath, &closed),
                Stage::Network => {
                    let hooks = self.datapath.hooks();
                    let mut pass =
                        network::pass(&mut self.kernel, hooks, &options, &desired, &scope);
                    pass.add(self.shared.ports.bring(&wanted.bundle, &uplinks));
                    pass.add(self.shared.accounts.bring(wanted.host.as_deref()));
                    pass.add(hosted::pass(&self.datapath, &wanted.bundle, &options));
                    pass
                }
                Stage::Tables => tables::pass(&mut self.datapath, &wanted.bundle.tables),
                Stage::Workloads if brief => Pass::default(),
                Stage::Workloads => workloads::start_missing(&dirs, &specs, &exe),
            };
            laps.lap(stage.name());
            self.told(stage.name(), pass)
        });
        laps.tell("stages");
        Ok(steps)
    }

    /// Whether everything up to the policy itself is in place.
    pub(super) fn is_enforced(steps: &[Step]) -> bool {
        order::is_enforced(steps)
    }

    /// Keeps how a reconciler did for the status, and makes a step of it.
    pub(super) fn told(&mut self, name: &'static str, pass: Pass) -> Step {
        let mut condition = self.shared.condition();
        let known = condition.reconcilers.entry(name).or_default();
        name.clone_into(&mut known.name);
        known.last = Some(jiff::Timestamp::now().to_string());
        known.failures.clone_from(&pass.failed);
        condition.epoch = self.datapath.epoch();
        drop(condition);
        for failure in &pass.failed {
            tracing::warn!(reconciler = name, "{failure}");
        }
        pass.step(name)
    }

    /// The MTU for all links: that of the link to the world.
    pub(super) fn mtu(&mut self) -> u32 {
        match self.kernel.default_mtu() {
            Ok(mtu) => mtu.unwrap_or(MTU),
            Err(error) => {
                tracing::warn!("{}", crate::fault::sentence(&error));
                MTU
            }
        }
    }
}

/// The part of the network to look at, with links of `mtu` bytes.
pub(super) fn scope(
    look: Look<'_>,
    desired: &host::network::Desired,
    mtu: u32,
) -> Result<Scope, Error> {
    match look {
        Look::Everywhere => Ok(Scope::All),
        Look::Since(bundle) => Ok(Scope::between(&desired::network(bundle, mtu)?, desired)),
        Look::Workloads(bundle, ids) => {
            let differs = Scope::between(&desired::network(bundle, mtu)?, desired);
            Ok(differs
                .with(desired, |workload| ids.iter().any(|id| owner(id) == workload.as_str())))
        }
    }
}
