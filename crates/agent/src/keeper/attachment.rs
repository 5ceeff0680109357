//! A runtime attaches a workload, or ends it: a change of the document by one workload, at the cost of that.
//!
//! **Order.** The policy of a workload that comes is in force before its link is there; the link of one that goes is
//! gone before its policy. What is in force is remembered before the answer.
//!
//! **Failure.** What was in force before is in force again, and the answer says why.

use std::collections::BTreeMap;
use std::time::Instant;

use api::{Attach, AttachPort, Attached, AttachedAddress, Detached, Error, codes};
use host::linux::adopted::Id;
use host::linux::netns::NetNs;
use host::ports::PortState;
use jiff::{SignedDuration, Timestamp};
use planner::{Compiler, Facts};
use policy::document::{Workload, owner};

use crate::attachments::{Kept, MOST, Told};
use crate::fault::refused;
use crate::force::{Force, Wanted};
use crate::saved::Saved;
use crate::{desired, outside, uplinks};

use super::Keeper;
use super::laps::Laps;
use super::stages::Look;

/// How long after its attachment an interface in place may be made.
const MADE_LATER: SignedDuration = SignedDuration::from_mins(1);

/// What becomes of attachments: by key, `None` for those that go.
type Changes = BTreeMap<String, Option<Kept>>;

impl Keeper {
    /// Attaches a workload; the same again is the same attachment. `told` are labels that its runtime says it has.
    pub(super) fn attach(&mut self, attach: &Attach, told: Told) -> Result<Attached, Error> {
        let mut kept = Kept::new(attach, Timestamp::now())?;
        if let AttachPort::InPlace { interface, .. } = &attach.port
            && let Some(cause) = uplinks::refuses(interface)
        {
            let mut error = refused(codes::ATTACH, format!("`{}` cannot be attached", attach.key));
            error.cause = Some(cause);
            return Err(error);
        }
        let mut force = self.shared.forced()?;
        kept.placed(&force.wanted.document)?;
        let netns = kept.namespace().and_then(|path| NetNs::open(path).and_then(|ns| ns.id()).ok());
        kept.join(&force.wanted.attachments, netns, &force.wanted.document)?;
        if is_in_the_way(&force.wanted, &kept, netns).is_some() {
            // Whoever has the name may have ended without saying so.
            self.end_gone();
            force = self.shared.forced()?;
        }
        if let Some(cause) = is_in_the_way(&force.wanted, &kept, netns) {
            let message = format!("the name {} is taken", kept.id().replacen('.', "/", 1));
            let mut error = refused(codes::ATTACH_NAME, message);
            error.cause = Some(cause);
            return Err(error);
        }
        let before = force.wanted.attachments.get(&attach.key);
        if before.is_none() && force.wanted.attachments.len() >= MOST {
            let message = format!("there are {MOST} attachments, which is as many as there may be");
            return Err(refused(codes::ATTACH_FULL, message));
        }
        let new = before.is_none();
        if before.is_some_and(|before| before.attach == *attach && !is_gone(before)) {
            return self.again(&force, attach, &kept.id());
        }
        kept.told = told;
        if let Some(before) = before {
            if kept.told.is_empty() {
                kept.told.clone_from(&before.told);
            }
            kept.since = before.since;
            kept.lease = before.lease.filter(|_| is_same_place(before, &kept));
        }
        let (key, id) = (attach.key.clone(), kept.id());
        let changes: Changes = [(key, Some(kept))].into();
        let generation = match self.change(&force, changes.clone()) {
            // The kernel gives a namespace the number of one that went, whose attachment may be there yet.
            Err(error) if error.code == codes::CAPABILITY && self.end_gone() => {
                let force = self.shared.forced()?;
                self.change(&force, changes)?
            }
            done => done?,
        };
        let force = self.shared.forced()?;
        self.attached(&force, attach, &id).map(|told| Attached { generation, new, ..told })
    }

    /// What is attached already is attached: what is missing of it is made again.
    fn again(&mut self, force: &Force, attach: &Attach, id: &str) -> Result<Attached, Error> {
        let (wanted, began, ids) = (&force.wanted, Instant::now(), [id.to_owned()]);
        let look = Look::Workloads(&wanted.bundle, &ids);
        let steps = self.stages(&wanted.bundle.tables, wanted, look)?;
        if !Self::is_enforced(&steps) {
            return Err(self.undo(Some(force), wanted, steps, began));
        }
        self.attached(force, attach, id)
    }

    /// Takes over what a runtime says of who an attachment is, unless people have labelled it otherwise.
    pub(super) fn tell(&mut self, key: &str, told: Told) -> Result<(), Error> {
        let Some(force) = self.shared.force() else { return Ok(()) };
        let Some(before) = force.wanted.attachments.get(key) else { return Ok(()) };
        let is_relabelled = force.wanted.relabelled.contains_key(owner(&before.id()));
        if before.told == told || is_relabelled {
            return Ok(());
        }
        let kept = Kept { told, ..before.clone() };
        kept.placed(&force.wanted.document)?;
        self.change(&force, [(key.to_owned(), Some(kept))].into()).map(drop)
    }

    /// Ends an attachment. One that is not there has ended.
    pub(super) fn detach(&mut self, key: &str) -> Result<Detached, Error> {
        let key = key.to_owned();
        let Some(force) = self.shared.force() else {
            return Ok(Detached { key, workload: None, generation: 0 });
        };
        let Some(kept) = force.wanted.attachments.get(&key) else {
            return Ok(Detached { key, workload: None, generation: force.generation });
        };
        let workload = Some(kept.id());
        let generation = self.change(&force, [(key.clone(), None)].into())?;
        Ok(Detached { key, workload, generation })
    }

    /// Ends attachments whose namespace or interface is gone; whether there were some.
    pub(super) fn end_gone(&mut self) -> bool {
        let Some(force) = self.shared.force() else { return false };
        let all = force.wanted.attachments.iter();
        let gone = all.filter(|(_, kept)| is_gone(kept) || self.has_no_interface(&force, kept));
        let gone: Changes = gone.map(|(key, _)| (key.clone(), None)).collect();
        if gone.is_empty() {
            return false;
        }
        for key in gone.keys() {
            tracing::info!(key, "an attachment ended: its namespace or interface is gone");
        }
        let ended = self.change(&force, gone);
        if let Err(error) = &ended {
            let cause = error.cause.as_deref().unwrap_or_default();
            tracing::warn!("attachments whose namespace is gone cannot be ended: {error}: {cause}");
        }
        ended.is_ok()
    }

    /// Whether the interface in place of an attachment has been gone since it was attached, which may have been a moment
    /// before the interface was made.
    fn has_no_interface(&self, force: &Force, kept: &Kept) -> bool {
        let AttachPort::InPlace { .. } = kept.attach.port else { return false };
        let known = force.wanted.bundle.workloads.get(kept.id().as_str());
        let number = known.and_then(|known| known.endpoint);
        let state = number.and_then(|number| self.shared.ports.state(number.into()));
        matches!(state, Some(PortState::NoInterface))
            && Timestamp::now().duration_since(kept.since) > MADE_LATER
    }

    /// Makes a change of the attachments, and returns the generation that is in force then.
    fn change(&mut self, force: &Force, mut changes: Changes) -> Result<u64, Error> {
        let began = Instant::now();
        let mut laps = Laps::begin();
        let (mut wanted, compiler, facts) = self.with_attachments(force, &changes)?;
        laps.lap("compile");
        let run_dir = self.shared.options.run_dir.clone();
        for (key, kept) in &mut changes {
            let Some(kept) = kept else { continue };
            let id = kept.id();
            kept.lease = wanted.bundle.allocations.endpoints.get(id.as_str()).copied();
            let known = force.wanted.attachments.get(key).and_then(|known| known.netns);
            kept.netns = outside::adopt(&wanted, &id, known, &run_dir)?;
            wanted.attachments.insert(key.clone(), kept.clone());
        }
        laps.lap("look outside");
        let comes: Vec<String> = changes.values().flatten().map(Kept::id).collect();
        let bundle = &force.wanted.bundle;
        let (current, look) = if comes.is_empty() {
            (&bundle.tables, Look::Since(bundle))
        } else {
            // The policy first: it is there before the first packet.
            (&wanted.bundle.tables, Look::Workloads(bundle, &comes))
        };
        let steps = self.stages(current, &wanted, look)?;
        laps.lap("stages");
        if !Self::is_enforced(&steps) {
            return Err(self.undo(Some(force), &wanted, steps, began));
        }
        let generation = self.store.generation()? + 1;
        let saved = Saved::new(generation, &wanted, self.enforced(&wanted, &force.enforced));
        if let Err(mut error) = self.store.keep_attachments(&saved, &force.wanted, &changes) {
            let back =
                self.stages(&wanted.bundle.tables, &force.wanted, Look::Since(&wanted.bundle));
            if !back.is_ok_and(|steps| Self::is_enforced(&steps)) {
                error.message += "; undoing failed in part: bulkhead status";
            }
            return Err(error);
        }
        laps.lap("remember");
        self.compiler = Some((generation, compiler));
        self.sound.clone_from(&facts.addresses);
        self.compiled_for = Some((generation, facts.addresses));
        self.put_in_force(saved, wanted);
        laps.tell("attachments changed");
        Ok(generation)
    }

    /// What is in force with other attachments. Only what they touch is compiled.
    fn with_attachments(
        &mut self,
        force: &Force,
        changes: &Changes,
    ) -> Result<(Wanted, Compiler, Facts), Error> {
        let wanted = &force.wanted;
        let facts = self.facts_since(force.generation)?;
        let mut attachments = wanted.attachments.clone();
        let mut relabelled = wanted.relabelled.clone();
        let mut document = wanted.document.clone();
        let mut renamed = Vec::new();
        for (key, kept) in changes {
            if let Some(old) = attachments.remove(key) {
                let id = old.id();
                if let Some(new) = kept.as_ref().filter(|new| is_same_place(&old, new))
                    && old.workload != new.workload
                {
                    renamed.push((id.clone(), new.id()));
                }
                if !old.further {
                    relabelled.remove(&id);
                }
                document.workloads.retain(|workload| workload.id() != id);
                old.unpublish(&mut document);
            }
            let Some(kept) = kept else { continue };
            let workload: Workload = kept.placed(&document)?;
            let behind = attachments.range(key.clone()..).count();
            let at = document.workloads.len().saturating_sub(behind);
            document.workloads.insert(at, workload.into());
            kept.publish(&mut document)?;
            attachments.insert(key.clone(), kept.clone());
        }
        let failed = |errors: planner::PlanErrors| refused(codes::COMPILE, errors.to_string());
        let compiler = if renamed.is_empty() {
            let mut compiler = match self.compiled() {
                Some(compiler) => compiler,
                None => wanted.compiler(&facts)?,
            };
            compiler.update(document, &facts).map_err(failed)?;
            compiler
        } else {
            // Its link keeps its number, and its number is what goes by its name.
            let mut allocations = (*wanted.bundle.allocations).clone();
            for (old, new) in renamed {
                let lease = allocations.endpoints.remove(old.as_str());
                allocations.endpoints.extend(lease.map(|lease| (new.into(), lease)));
            }
            Compiler::new(document, &allocations, &facts).map_err(failed)?
        };
        let wanted = Wanted { relabelled, attachments, ..wanted.recompiled(&compiler) };
        Ok((wanted, compiler, facts))
    }

    /// The facts that the document in force was compiled for, at this moment.
    fn facts_since(&mut self, generation: u64) -> Result<Facts, Error> {
        let known = self.compiled_for.as_ref().filter(|(of, _)| *of == generation);
        let Some((_, addresses)) = known else { return self.facts() };
        let (addresses, now) = (addresses.clone(), Timestamp::now());
        Ok(Facts { addresses, now, jiffies_per_second: self.datapath.clock().hz })
    }

    /// What its runtime is told of an attachment in force.
    fn attached(&mut self, force: &Force, attach: &Attach, id: &str) -> Result<Attached, Error> {
        let bundle = &force.wanted.bundle;
        let missing = || refused(codes::INTERNAL, format!("{id} has no endpoint"));
        let (_, at) = bundle.attachment(id).ok_or_else(missing)?;
        let known = bundle.workloads.get(id).ok_or_else(missing)?;
        let addresses = at.addresses.iter().map(|net| AttachedAddress {
            address: net.addr(),
            prefix: net.prefix_len(),
            // The default route is the first one's.
            gateway: if known.further {
                None
            } else if net.addr().is_ipv4() {
                at.gateway_v4.map(Into::into)
            } else {
                at.gateway_v6.map(Into::into)
            },
        });
        let mac = at.mac.map(|byte| format!("{byte:02x}"));
        Ok(Attached {
            key: attach.key.clone(),
            workload: id.to_owned(),
            endpoint: at.number.into(),
            interface: desired::interface(&known.start).to_owned(),
            mac: mac.join(":"),
            addresses: addresses.collect(),
            mtu: (!matches!(attach.port, AttachPort::InPlace { .. })).then(|| self.mtu()),
            generation: force.generation,
            new: false,
        })
    }
}

/// Whether both are in the same network: the workload keeps its number and addresses then.
fn is_same_place(one: &Kept, other: &Kept) -> bool {
    one.attach.tenant == other.attach.tenant && one.attach.network == other.attach.network
}

/// Why the name of an attachment cannot be had: somebody has it, or its workload is in another namespace than `netns`.
fn is_in_the_way(wanted: &Wanted, kept: &Kept, netns: Option<Id>) -> Option<String> {
    let id = kept.id();
    let of_workload = |other: &str| owner(other) == owner(&id);
    let attached = || wanted.attachments.iter().filter(|(_, each)| of_workload(&each.id()));
    let other = attached()
        .find(|(key, each)| **key != kept.attach.key && (each.id() == id || each.netns != netns));
    if let Some((key, _)) = other {
        return Some(format!("the attachment {key} has it"));
    }
    if attached().next().is_some() {
        return None;
    }
    let other = wanted.document.workload(owner(&id))?;
    Some(format!("the file has a workload of that name in line {}", other.span.line))
}

/// Whether the namespace of an attachment is not there any more, or another one has its path.
pub(super) fn is_gone(kept: &Kept) -> bool {
    let Some(path) = kept.namespace() else { return false };
    match NetNs::open(path).and_then(|ns| ns.id()) {
        Ok(id) => kept.netns.is_some_and(|known| known != id),
        Err(_) => true,
    }
}
