//! Applies over a kernel in memory: each stage fails once, and what was in force is in force again.

use std::collections::BTreeMap;

use host::fake::FakeKernel;
use host::network::{self, NoPrograms};
use policy::document::Start;
use verdict::native::Tables;

use super::*;
use crate::desired;
use crate::force::Wanted;
use crate::reconcile::{Pass, tables};
use crate::tests::{SHOP, wanted};

/// A host in memory: the network, the tables that packets are judged by, and what runs.
struct Node {
    kernel: FakeKernel,
    tables: Tables,
    running: BTreeMap<String, Vec<String>>,
    /// The stage that fails. The network fails by itself, when the kernel refuses something.
    fails: Option<Stage>,
    done: Vec<Stage>,
}

/// What is to run: arguments by workload.
fn programs(wanted: &Wanted) -> BTreeMap<String, Vec<String>> {
    let all = wanted.bundle.workloads.iter().filter_map(|(id, workload)| match &workload.start {
        Start::Run(run) => Some((id.to_string(), run.argv.clone())),
        Start::Netns(_) | Start::Port(_) | Start::Beside(_) => None,
    });
    all.collect()
}

impl Node {
    fn new() -> Self {
        Self {
            kernel: FakeKernel::with_host(),
            tables: Tables::default(),
            running: BTreeMap::new(),
            fails: None,
            done: Vec::new(),
        }
    }

    fn apply(&mut self, wanted: &Wanted) -> Vec<Step> {
        self.done.clear();
        let closed = tables::with_closed(&self.tables, &wanted.bundle.tables);
        in_order(|stage| {
            self.done.push(stage);
            self.pass(stage, wanted, &closed).step(stage.name())
        })
    }

    fn pass(&mut self, stage: Stage, wanted: &Wanted, closed: &Tables) -> Pass {
        let mut pass = Pass::default();
        if self.fails == Some(stage) {
            pass.failed.push("refused before anything was changed".to_owned());
            return pass;
        }
        let programs = programs(wanted);
        match stage {
            Stage::Stop => self.running.retain(|id, argv| programs.get(id) == Some(argv)),
            Stage::Close => self.tables = closed.clone(),
            Stage::Network => {
                let desired = desired::network(&wanted.bundle, 1500).expect("a network");
                let outcome = network::reconcile(&mut self.kernel, &mut NoPrograms, &desired);
                let failed = outcome.expect("readable").failed;
                pass.failed = failed.iter().map(ToString::to_string).collect();
            }
            Stage::Tables => self.tables = wanted.bundle.tables.clone(),
            Stage::Workloads => self.running = programs,
        }
        pass
    }

    /// Everything that can be seen of it.
    fn state(&self) -> (String, Tables, BTreeMap<String, Vec<String>>) {
        (self.kernel.to_string(), self.tables.clone(), self.running.clone())
    }
}

/// The shop, and the shop with one more workload, which is the last, another rule and other arguments.
fn versions() -> [Wanted; 2] {
    let first = SHOP.replace("netns: db", "run: [redis-server]");
    let more = "    publish:\n";
    let second = first
        .replace("run: [nmap]", "run: [nmap, -sn]")
        .replace(more, &format!("      zed: {{ segment: main/front, run: [nginx] }}\n{more}"))
        .replace("deny: [23/tcp]", "deny: [23/tcp, 22/tcp]");
    let both = [wanted(&first), wanted(&second)];
    let number = |wanted: &Wanted, id: &str| wanted.bundle.workloads[id].endpoint;
    for id in ["shop.web", "shop.db", "shop.scanner", "shop.far"] {
        assert_eq!(number(&both[0], id), number(&both[1], id));
    }
    both
}

#[test]
fn stages_follow_each_other_and_the_second_time_nothing_is_left_to_do() {
    let [first, second] = versions();
    let mut node = Node::new();
    for wanted in [&first, &second] {
        let steps = node.apply(wanted);
        assert!(is_enforced(&steps), "{steps:?}");
        assert_eq!(node.done, Stage::ALL);
        let state = node.state();
        node.kernel.clear_log();
        node.apply(wanted);
        assert!(node.kernel.log.is_empty(), "{:?}", node.kernel.log);
        assert_eq!(node.state(), state);
    }
}

#[test]
fn a_stage_that_fails_leaves_what_was_in_force() {
    let [first, second] = versions();
    for (number, stage) in Stage::ALL.into_iter().enumerate() {
        let mut node = Node::new();
        node.apply(&first);
        let before = node.state();
        node.fails = Some(stage).filter(|stage| *stage != Stage::Network);
        if stage == Stage::Network {
            node.kernel.refuse = Some("link add bh".to_owned());
        }
        let steps = node.apply(&second);
        let states: Vec<StepState> = steps.iter().map(|step| step.state).collect();
        assert_eq!(states[number], StepState::Failed, "{stage:?}: {steps:?}");
        assert!(states[..number].iter().all(|state| *state != StepState::Failed));
        assert!(states[number + 1..].iter().all(|state| *state == StepState::Skipped));
        assert_eq!(node.done, Stage::ALL[..=number], "what follows is not tried");
        assert_eq!(is_enforced(&steps), stage == Stage::Workloads);
        if stage == Stage::Workloads {
            assert_eq!(node.tables, second.bundle.tables, "the policy holds without its workloads");
            continue;
        }
        // Packets are judged as before: old endpoints by the old policy, new ones not at all.
        let old = &first.bundle.tables.endpoints;
        for number in old.keys() {
            assert_eq!(node.tables.endpoints.get(number), old.get(number), "{stage:?}");
        }
        for number in node.tables.endpoints.keys().filter(|number| !old.contains_key(number)) {
            let endpoint = node.tables.endpoints.get(number).expect("a known number");
            let closed = endpoint.slots == [[0; 2]; 2] && endpoint.posture == [[0; 2]; 2];
            assert!(closed, "{stage:?}: endpoint {number} is open");
        }
        // Undone by the same stages, whatever the kernel goes on to refuse.
        node.fails = None;
        let steps = node.apply(&first);
        assert!(is_enforced(&steps), "{stage:?}: {steps:?}");
        assert_eq!(node.state(), before, "{stage:?}");
    }
}
