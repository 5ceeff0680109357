//! What the threads of the agent have in common. Everything in it is a snapshot or behind a short lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use api::{Error, Intervention, Publishes, Reconciled, codes};
use flow::hours::Hour;
use flow::{Aggregator, Record, Ring, RuleTally};
use host::linux::bpf::{Clock, HookKind, Meters};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, watch};

use crate::accounts::Accounts;
use crate::answers::replay::Turns;
use crate::fault;
use crate::flight::Flight;
use crate::force::Force;
use crate::foreign::Foreign;
use crate::keeper::Commands;
use crate::names::Names;
use crate::options::Options;
use crate::podman::Patience;
use crate::ports::Ports;
use crate::server::Seats;

/// Files of people who may only ask that are looked at, at one time.
const PLANNING: usize = 4;
/// Flow records that are kept in memory; about 500 bytes each.
const RECORDS: usize = 65_536;
/// Different drops that are merged at one time.
const MERGED: usize = 8_192;
/// How often a drop that goes on makes a new record.
const MERGE_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// What the threads have in common.
pub(crate) struct Shared {
    /// Where everything is.
    pub(crate) options: Options,
    /// When the agent started.
    pub(crate) started: Timestamp,
    /// The kernel's counters.
    pub(crate) meters: Meters,
    /// The kernel's jiffies.
    clock: RwLock<Clock>,
    /// How programs are attached.
    pub(crate) hooks: HookKind,
    /// Other firewalls of this host.
    pub(crate) foreign: Foreign,
    /// Looks for open ports, shared by all who ask at once.
    pub(crate) publishes: Flight<Publishes>,
    /// Whether Podman is left alone.
    pub(crate) podman: Patience,
    /// Interfaces of others with our programs on them.
    pub(crate) ports: Ports,
    /// Who the accounts are that rules tell apart on the host.
    pub(crate) accounts: Accounts,
    /// Asks the keeper.
    pub(crate) commands: Commands,
    /// The number of the newest flow record, for those who wait for one.
    pub(crate) newest: watch::Sender<u64>,
    /// Set when the agent is to end.
    pub(crate) stopping: watch::Sender<bool>,
    /// Who talks to the agent.
    pub(crate) seats: Arc<Seats>,
    /// Whether names for the numbers in events are known, or there are none.
    pub(crate) named: AtomicBool,
    /// Held while an hour of the flow store goes from memory to the disk.
    pub(crate) turning: Mutex<()>,
    /// Who goes through the whole flow store.
    pub(crate) replays: Turns,
    /// Who of those who may only ask has a file looked at.
    pub(crate) planning: Arc<Semaphore>,
    force: RwLock<Option<Arc<Force>>>,
    names: RwLock<Arc<Names>>,
    flows: Mutex<Flows>,
    condition: Mutex<Condition>,
}

/// Flow records and what is counted over them.
#[derive(Debug)]
pub(crate) struct Flows {
    /// Merges repeats.
    pub(crate) merger: Aggregator,
    /// The newest records.
    pub(crate) ring: Ring,
    /// What rules decided, as far as it was reported.
    pub(crate) tally: RuleTally,
    /// The hour of the flow store that goes on; `None` without a store.
    pub(crate) hour: Option<Hour>,
    /// What the flow store holds.
    pub(crate) kept: Kept,
}

/// What the flow store holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kept {
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// Files, one for each hour.
    pub(crate) hours: u64,
    /// Flows and drops of hours that are over whose address or port is not told apart, since the start.
    pub(crate) folded: u64,
    /// Events of hours that are over that are missing, since the start, as far as they were counted.
    pub(crate) missing: u64,
    /// Whether it could not be written last.
    pub(crate) failing: bool,
}

/// How the reconcilers are doing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    /// The last pass of each.
    pub(crate) reconcilers: BTreeMap<&'static str, Reconciled>,
    /// The kernel's policy version.
    pub(crate) epoch: u64,
    /// What others changed and what was put back at once, the newest last.
    pub(crate) interventions: VecDeque<Intervention>,
    /// What else is not as it should be, by topic.
    pub(crate) problems: BTreeMap<&'static str, String>,
    /// The host's own policy.
    pub(crate) host: Option<Box<api::HostPolicy>>,
    /// When what waits there goes back, in milliseconds of `CLOCK_BOOTTIME`; 0 when nothing waits.
    pub(crate) host_deadline_ms: u64,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        meters: Meters,
        clock: Clock,
        hooks: HookKind,
        (ports, accounts): (Ports, Accounts),
        commands: Commands,
    ) -> Self {
        Self {
            options,
            started: Timestamp::now(),
            meters,
            clock: RwLock::new(clock),
            hooks,
            foreign: Foreign::default(),
            publishes: Flight::default(),
            podman: Patience::default(),
            ports,
            accounts,
            commands,
            newest: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            seats: Arc::default(),
            named: AtomicBool::new(false),
            turning: Mutex::default(),
            replays: Turns::default(),
            planning: Arc::new(Semaphore::new(PLANNING)),
            force: RwLock::default(),
            names: RwLock::default(),
            flows: Mutex::new(Flows {
                merger: Aggregator::new(MERGED, MERGE_INTERVAL),
                ring: Ring::new(RECORDS),
                tally: RuleTally::default(),
                hour: None,
                kept: Kept::default(),
            }),
            condition: Mutex::default(),
        }
    }

    /// What is in force, if anything is.
    pub(crate) fn force(&self) -> Option<Arc<Force>> {
        self.force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is in force.
    ///
    /// # Errors
    /// `BH0216` when nothing is.
    pub(crate) fn forced(&self) -> Result<Arc<Force>, Error> {
        self.force().ok_or_else(|| fault::refused(codes::NO_DOCUMENT, "no document is in force"))
    }

    /// Replaces what is in force.
    pub(crate) fn set_force(&self, force: Option<Arc<Force>>) {
        *self.force.write().unwrap_or_else(PoisonError::into_inner) = force;
    }

    /// Names for the numbers in events.
    pub(crate) fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the names. Done before the first packet of a new endpoint can be reported.
    pub(crate) fn set_names(&self, names: Arc<Names>) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        self.named.store(true, Ordering::Release);
    }

    /// Flow records, for a short look or change.
    pub(crate) fn flows(&self) -> MutexGuard<'_, Flows> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the reconcilers are doing, for a short look or change.
    pub(crate) fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what is wrong with a topic, or that nothing is; `whose` begins the line of the log.
    pub(crate) fn trouble(&self, topic: &'static str, whose: &str, problem: Option<String>) {
        let mut condition = self.condition();
        match problem {
            Some(problem) => {
                if condition.problems.get(topic) != Some(&problem) {
                    tracing::warn!("{whose}: {problem}");
                }
                condition.problems.insert(topic, problem);
            }
            None => drop(condition.problems.remove(topic)),
        }
    }

    /// The kernel's clock.
    pub(crate) fn clock(&self) -> Clock {
        *self.clock.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the kernel's clock right.
    pub(crate) fn set_clock(&self, clock: Clock) {
        *self.clock.write().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    /// The clock that event times are read with.
    pub(crate) fn flow_clock(&self) -> flow::Clock {
        let clock = self.clock();
        flow::Clock { jiffies: clock.now(), wall: Timestamp::now(), per_second: clock.hz }
    }
}

impl Flows {
    /// Takes a record in; repeats are told later.
    pub(crate) fn add(&mut self, record: Record, now: Timestamp) {
        self.tally.add(&record);
        if let Some(hour) = &mut self.hour {
            hour.add(&record);
        }
        if let Some(record) = self.merger.push(record, now) {
            self.ring.push(record);
        }
    }

    /// Tells repeats whose time has come.
    pub(crate) fn flush(&mut self, now: Timestamp) {
        for record in self.merger.flush(now) {
            self.ring.push(record);
        }
    }
}
