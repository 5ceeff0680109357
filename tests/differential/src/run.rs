//! One case: a document, its changes, a few hundred packets, and two opinions on each of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use model::Mode;
use planner::{Accounts, Allocations, Bundle, HostPlane};
use verdict::abi::{
    Addr, Config, Endpoint, Event, EventKind, HOST_NETWORK, Peer, PeerKey, Verdict,
};
use verdict::native::Tables;
use verdict::{Action, Reason};

use crate::accounts::Sender;
use crate::bytes::{Body, Packet};
use crate::oracle::{
    Answer, Ask, AtSocket, Expected, Opinion, Oracle, Scene, Sockets, UPLINK, Way,
};
use crate::rng::Rng;
use crate::{generate, render, sockets, traffic};

mod on_host;

pub use on_host::Native;

/// Policies that are left out, as (phase, position): what makes a failure small.
pub type Mask = BTreeSet<(usize, usize)>;

/// One policy of a case and the tables that it compiles to.
#[derive(Debug)]
pub struct Phase {
    /// What the oracle judges by.
    pub scene: Scene,
    /// What the product judges by; the epoch is the phase's position.
    pub tables: Tables,
    /// Accounts of the host, as the agent tells them to the kernel.
    pub accounts: Accounts,
}

/// A document and its changes.
#[derive(Debug)]
pub struct Case {
    /// Makes the case again.
    pub seed: u64,
    /// At least one.
    pub phases: Vec<Phase>,
    rng: Rng,
}

/// What the product did with a packet.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Passed or dropped.
    pub action: Action,
    /// What was reported of this packet last, where reports can be seen.
    pub report: Option<Report>,
}

/// What a socket's hook is told of a packet: whether its workload sends it, whether it stays on this host, and the number of the endpoint that
/// has the socket at the other end, 0 for the host's, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// It is sent.
    pub sent: bool,
    /// It stays.
    pub stays: bool,
    /// Who has the other socket.
    pub holder: Option<u32>,
}

impl Held {
    fn new(scene: &Scene, at: AtSocket) -> Self {
        let holder = match at.far {
            Sockets::Away | Sockets::Nobody => None,
            Sockets::Host => Some(0),
            Sockets::Workload(seat) => Some(scene.hosted[seat].number.into()),
        };
        Self { sent: at.sent, stays: at.far != Sockets::Away, holder }
    }
}

/// The part of a report that both opinions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// [`EventKind`] as a number.
    pub kind: u8,
    /// [`Verdict`] as a number.
    pub verdict: u8,
    /// The rule at the source.
    pub egress_rule: u32,
    /// The rule at the target.
    pub ingress_rule: u32,
}

impl From<&Event> for Report {
    fn from(event: &Event) -> Self {
        let (kind, verdict) = (event.kind, event.verdict);
        let (egress_rule, ingress_rule) = (event.egress_rule, event.ingress_rule);
        Self { kind, verdict, egress_rule, ingress_rule }
    }
}

/// Runs the product.
pub trait Judge {
    /// Lets the tables of a phase take effect; flows live on.
    fn enter(&mut self, phase: usize);
    /// Judges a frame at the hook of an endpoint, which sends or is to receive it; it came to the host by the port of the
    /// endpoint with the second number, 0 for another way.
    fn judge(&mut self, endpoint: u16, way: (bool, u16), frame: &[u8]) -> Seen;
    /// Judges a frame at an uplink of the host.
    fn judge_host(&mut self, way: Way, frame: &[u8]) -> Seen;
    /// Judges a frame at the socket of a workload on the host's stack, by numbers of endpoints.
    fn judge_at_socket(&mut self, own: u16, at: Held, frame: &[u8]) -> Seen;
    /// Judges a call of such a workload.
    fn judge_call(&mut self, own: u16, ask: Ask, what: (IpAddr, u16, u8)) -> Seen;
    /// Whether it knows sockets.
    fn knows_sockets(&self) -> bool {
        true
    }
    /// Whether frames can be given to it that no socket of the host has sent.
    fn knows_others(&self) -> bool {
        true
    }
}

/// The two did not agree.
#[derive(Debug, Clone)]
pub struct Mismatch {
    /// Position of the phase.
    pub phase: usize,
    /// Packets before this one.
    pub at: usize,
    /// What was sent, expected and seen.
    pub text: String,
}

/// Makes a case. With `versions`, every other one has two policy versions in one set of tables.
///
/// # Panics
///
/// When the planner refuses a document of the generator.
#[must_use]
pub fn prepare(seed: u64, mask: &Mask, versions: bool) -> Case {
    let mut rng = Rng::new(seed);
    let mut docs = vec![generate::document(&mut rng)];
    for _ in 0..rng.below(3) {
        let next = generate::edit(&mut rng, docs.last().expect("there is one"));
        docs.push(next);
    }
    let deliver = rng.chance(80);
    let merged = rng.chance(50) && versions;
    for (phase, doc) in docs.iter_mut().enumerate() {
        let mut at = 0;
        doc.policies.retain(|_| {
            at += 1;
            !mask.contains(&(phase, at - 1))
        });
    }
    let facts = generate::facts();
    let mut phases: Vec<Phase> = Vec::new();
    let mut allocations = Allocations::default();
    for (at, doc) in docs.iter().enumerate() {
        let mut bundle =
            planner::compile(doc, &allocations, &facts).expect("the generator's documents compile");
        let plane = HostPlane::new(doc, &bundle.routers, &doc.publishes, &facts);
        if let Some(plane) = plane.expect("and so does their host part") {
            plane.enter(&mut bundle);
        }
        let scene = Scene::new(doc, &bundle, &facts);
        let Bundle { allocations: given, mut tables, accounts, .. } = bundle;
        allocations = (*given).clone();
        tables.config.epoch = at as u64;
        if !deliver {
            tables.config.flags &= !Config::DELIVER;
        }
        phases.push(Phase { scene, tables, accounts });
    }
    if merged {
        merge_neighbours(&mut phases);
    }
    Case { seed, phases, rng }
}

/// Replaces the first two tables by one that holds both versions, as the kernel's do in a change.
fn merge_neighbours(phases: &mut [Phase]) {
    if let [first, second, ..] = phases {
        let mut both = merge(&first.tables, &second.tables);
        both.config.epoch = 0;
        first.tables = both.clone();
        both.config.epoch = 1;
        // Accounts that are gone, and what is told of endpoints in one version alone.
        let there = std::mem::take(&mut second.tables.endpoints);
        let gone: Vec<u32> = both
            .endpoints
            .iter()
            .map(|(number, _)| *number)
            .filter(|number| !there.contains_key(number))
            .collect();
        for number in gone {
            both.endpoints.remove(&number);
            let addr = Addr::hosted(number);
            both.exact.remove(&PeerKey { network: HOST_NETWORK, addr });
        }
        for (number, other) in &there {
            if let Some(one) = both.endpoints.get(number).copied() {
                both.endpoints.insert(*number, Endpoint { flags: other.flags, ..one });
            }
        }
        second.tables = both;
    }
}

/// The tables of two versions in one: even epochs see the first, odd ones the second.
fn merge(even: &Tables, odd: &Tables) -> Tables {
    let mut both = even.clone();
    both.rows.extend(&odd.rows);
    both.ports.extend(&odd.ports);
    for (number, other) in &odd.endpoints {
        let mut one = both.endpoints.get(number).copied().unwrap_or(*other);
        one.slots[1] = other.slots[1];
        one.posture[1] = other.posture[1];
        both.endpoints.insert(*number, one);
    }
    let find = |tables: &Tables, key: &PeerKey| {
        tables.exact.get(key).or_else(|| tables.prefixes.longest(key)).copied()
    };
    let halves = |a: Option<Peer>, b: Option<Peer>| {
        let (a, b) = (a.or(b).unwrap_or_default(), b.or(a).unwrap_or_default());
        Peer { class: [a.class[0], b.class[1]], identity: [a.identity[0], b.identity[1]], ..a }
    };
    for key in even.exact.keys().chain(odd.exact.keys()) {
        let endpoint = odd.exact.get(key).or_else(|| even.exact.get(key));
        let endpoint = endpoint.map_or(0, |peer| peer.endpoint);
        let peer = halves(find(even, key), find(odd, key));
        both.exact.insert(*key, Peer { endpoint, ..peer });
    }
    for (key, _) in even.prefixes.iter().chain(odd.prefixes.iter()) {
        let within = |tables: &Tables| {
            let mut key = *key;
            loop {
                let found = tables.prefixes.iter().find(|(other, _)| **other == key);
                if found.is_some() || key.len <= 32 {
                    return found.map(|(_, peer)| *peer);
                }
                key = verdict::native::masked(key.key, key.len - 1);
            }
        };
        both.prefixes.insert(*key, halves(within(even), within(odd)));
    }
    both
}

/// Packets for which a policy counts as just changed.
const JUST_CHANGED: usize = 20;

/// Plays a case of `steps` packets for each phase; returns how many verdicts were compared.
///
/// # Errors
///
/// The first [`Mismatch`].
pub fn play(case: &Case, judge: &mut dyn Judge, steps: usize) -> Result<usize, Mismatch> {
    let mut rng = case.rng.clone();
    let mut oracle = Oracle::default();
    let mut talks: Vec<traffic::Talk> = Vec::new();
    let mut compared = 0;
    let mut spoken: Vec<sockets::Spoken> = Vec::new();
    for (phase, Phase { scene, .. }) in case.phases.iter().enumerate() {
        judge.enter(phase);
        oracle.epoch = phase as u64;
        for step in 0..steps {
            if !scene.hosted.is_empty() && judge.knows_sockets() && rng.chance(30) {
                compared += of_sockets(&mut oracle, scene, judge, (&mut rng, &mut spoken))
                    .map_err(|text| Mismatch { phase, at: compared, text })?;
                continue;
            }
            if talks.len() < 3 || rng.chance(25) {
                talks.extend(traffic::begin(&mut rng, scene));
                let of_host = scene.doc.host.is_some() && rng.chance(40);
                talks.extend(of_host.then(|| traffic::begin_outside(&mut rng, scene)).flatten());
            }
            if talks.len() > 12 {
                talks.remove(0);
            }
            if talks.is_empty() {
                break;
            }
            let at = rng.below(talks.len());
            let talk = &mut talks[at];
            let changed = phase > 0 && step < JUST_CHANGED;
            let mut packet = talk.packet(&mut rng, scene, changed);
            let network = talk.network;
            if network == UPLINK {
                traffic::outside(&mut rng, &mut packet);
                let by_socket = talk.is_of_socket() || !judge.knows_others();
                let sender = talk.sender(&mut rng);
                compared += 1;
                at_an_uplink(&mut oracle, scene, judge, (&mut rng, by_socket, sender), &packet)
                    .map_err(|text| Mismatch { phase, at: compared, text })?;
                continue;
            }
            if rng.chance(4) {
                let honest = packet.source;
                traffic::forge(&mut rng, scene, &mut packet);
                compared +=
                    meet(&mut oracle, scene, judge, (network, honest), &packet, rng.chance(50))
                        .map_err(|text| Mismatch { phase, at: compared, text })?;
                continue;
            }
            // Now and then a packet comes another way than through its sender's hook, errors more often.
            let often = if matches!(packet.body, Body::Error(..)) { 25 } else { 3 };
            let sender = if rng.chance(often) { ELSEWHERE } else { packet.source };
            let hook = (network, sender);
            compared += meet(&mut oracle, scene, judge, hook, &packet, rng.chance(50))
                .map_err(|text| Mismatch { phase, at: compared, text })?;
        }
    }
    Ok(compared)
}

/// Takes a packet to the sockets that it meets, or makes a call, and compares both opinions.
fn of_sockets(
    oracle: &mut Oracle,
    scene: &Scene,
    judge: &mut dyn Judge,
    (rng, spoken): (&mut Rng, &mut Vec<sockets::Spoken>),
) -> Result<usize, String> {
    let named = |seat: usize| scene.doc.workloads[scene.hosted[seat].workload].id();
    if rng.chance(15) {
        let Some((seat, ask, what)) = sockets::call(rng, scene) else { return Ok(0) };
        let expected = scene.call(seat, ask, what);
        let seen = judge.judge_call(scene.hosted[seat].number, ask, what);
        let told = || format!("{} asks {ask:?} of {what:?}\n", named(seat));
        let agreed = agrees(expected, &seen).then_some(1);
        return agreed.ok_or_else(|| told() + &opinions(expected, &seen));
    }
    if spoken.len() < 2 || rng.chance(20) {
        spoken.extend(sockets::begin(rng, scene));
    }
    if spoken.len() > 6 {
        spoken.remove(0);
    }
    let at = rng.below(spoken.len());
    let Some((packet, met)) = spoken.get_mut(at).and_then(|talk| talk.packet(rng, scene)) else {
        return Ok(0);
    };
    let mut compared = 0;
    for at in met.into_iter().flatten() {
        compared += 1;
        let expected = oracle.at_socket(scene, at, &packet);
        let (own, held) = (scene.hosted[at.seat].number, Held::new(scene, at));
        let seen = judge.judge_at_socket(own, held, &packet.bytes());
        if !agrees(expected, &seen) {
            let told = format!("{} {at:?}\n  {packet:?}\n", named(at.seat));
            return Err(told + &opinions(expected, &seen));
        }
        if matches!(expected, Expected::Drop(_) | Expected::Refused(_)) {
            break;
        }
    }
    Ok(compared)
}

/// Takes a packet to an uplink and compares both opinions of it.
fn at_an_uplink(
    oracle: &mut Oracle,
    scene: &Scene,
    judge: &mut dyn Judge,
    (rng, by_socket, sender): (&mut Rng, bool, Sender),
    packet: &Packet,
) -> Result<(), String> {
    let own = |address| scene.host.contains(&address) || traffic::is_near(address);
    // Now and then one leaves that should come in.
    let sent = own(packet.source) != rng.chance(3);
    let way = Way { sent, by_socket: !sent || by_socket, sender };
    let expected = oracle.at_uplink(scene, way, packet);
    let seen = judge.judge_host(way, &packet.bytes());
    if agrees(expected, &seen) {
        return Ok(());
    }
    let words = match (way.sent, way.by_socket) {
        (true, true) => format!("leaves by an uplink, sent by {sender:?}"),
        (true, false) => "leaves by an uplink for somebody else".to_owned(),
        (false, _) => "comes in by an uplink".to_owned(),
    };
    Err(format!("{words}\n  {packet:?}\n{}", opinions(expected, &seen)))
}

/// No endpoint has it.
const ELSEWHERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// Takes a packet to the hook of its sender, and to that of its receiver when it gets there.
fn meet(
    oracle: &mut Oracle,
    scene: &Scene,
    judge: &mut dyn Judge,
    (network, sender): (usize, std::net::IpAddr),
    packet: &Packet,
    both: bool,
) -> Result<usize, String> {
    let here =
        |address| scene.seats.iter().position(|seat| seat.network == network && seat.has(address));
    let mut compared = 0;
    let from = here(sender);
    if let Some(seat) = from {
        compared += 1;
        if !compare(oracle, scene, judge, seat, (true, 0), packet)? || !both {
            return Ok(compared);
        }
    }
    if let Some(seat) = here(packet.target) {
        let mut packet = packet.clone();
        let lost = from.is_none() && packet.target_mac == traffic::GATEWAY && packet.hops == 1;
        if !lost && let Some(mac) = traffic::mac_of(scene, network, packet.target) {
            packet.target_mac = mac;
        }
        compared += 1;
        let entered = from.map_or(0, |from| scene.seats[from].number);
        compare(oracle, scene, judge, seat, (false, entered), &packet)?;
    }
    Ok(compared)
}

/// Compares both opinions on one packet; tells whether it passed.
fn compare(
    oracle: &mut Oracle,
    scene: &Scene,
    judge: &mut dyn Judge,
    seat: usize,
    (outgoing, entered): (bool, u16),
    packet: &Packet,
) -> Result<bool, String> {
    let expected = oracle.judge(scene, seat, (outgoing, entered), packet);
    let number = scene.seats[seat].number;
    let seen = judge.judge(number, (outgoing, entered), &packet.bytes());
    if agrees(expected, &seen) {
        return Ok(!matches!(expected, Expected::Drop(_) | Expected::Refused(_)));
    }
    let workload = scene.doc.workloads[scene.seats[seat].workload].id();
    let way = if outgoing { "sends" } else { "is to receive" };
    let opinions = opinions(expected, &seen);
    Err(format!("{workload} (endpoint {number}) {way}\n  {packet:?}\n{opinions}"))
}

fn opinions(expected: Expected, seen: &Seen) -> String {
    let mut text = format!("oracle   {expected:?}\nproduct  {:?}\n", seen.action);
    if let Some(report) = seen.report {
        let _ = writeln!(text, "reported {report:?}");
    }
    text
}

fn agrees(expected: Expected, seen: &Seen) -> bool {
    let passes = |to: Option<u16>| match seen.action {
        Action::Pass => true,
        // The kernel does not tell to whom: 0.
        Action::Deliver(number) => to.is_some_and(|to| number == 0 || number == u32::from(to)),
        Action::Drop(_) => false,
    };
    let reports = |opinion: Opinion, kind: EventKind, verdict: Verdict| {
        seen.report.is_none_or(|report| {
            report.kind == kind as u8
                && report.verdict == verdict as u8
                && report.egress_rule == opinion.egress
                && report.ingress_rule == opinion.ingress
        })
    };
    match expected {
        Expected::Pass(to) => passes(to),
        Expected::Open(to, opinion) => {
            let verdict = match opinion.answer {
                Answer::Allow(_) => Verdict::Allow,
                Answer::Audit(_) => Verdict::Audit,
                Answer::Drop(_) => return false,
            };
            passes(to) && reports(opinion, EventKind::Open, verdict)
        }
        Expected::Refused(opinion) => {
            let Answer::Drop(rule) = opinion.answer else { return false };
            let reason = if rule == 0 { Reason::DefaultDeny } else { Reason::PolicyDeny };
            seen.action == Action::Drop(reason) && reports(opinion, EventKind::Drop, Verdict::Drop)
        }
        Expected::Drop(reason) => seen.action == Action::Drop(reason),
    }
}

/// Runs one seed through the host's evaluator.
///
/// # Errors
///
/// The smallest file that still fails, with the packet.
pub fn native(seed: u64, steps: usize) -> Result<usize, String> {
    let attempt = |mask: &Mask| {
        let case = prepare(seed, mask, true);
        let mut judge = Native::new(&case);
        let result = play(&case, &mut judge, steps);
        (case, result)
    };
    let (case, result) = attempt(&Mask::new());
    let mismatch = match result {
        Ok(compared) => return Ok(compared),
        Err(mismatch) => mismatch,
    };
    let sizes: Vec<usize> = case.phases.iter().map(|each| each.scene.doc.policies.len()).collect();
    let mut mask = Mask::new();
    let mut smallest = (case, mismatch);
    for (phase, size) in sizes.into_iter().enumerate() {
        for at in 0..size {
            mask.insert((phase, at));
            match attempt(&mask) {
                (case, Err(mismatch)) => smallest = (case, mismatch),
                (_, Ok(_)) => {
                    mask.remove(&(phase, at));
                }
            }
        }
    }
    let (case, mismatch) = smallest;
    Err(describe(&case, &mismatch))
}

/// A failure for people: seed, files of the phases up to it, addresses and packet.
#[must_use]
pub fn describe(case: &Case, mismatch: &Mismatch) -> String {
    let mut text =
        format!("seed {} phase {} after {} verdicts\n", case.seed, mismatch.phase, mismatch.at);
    let mut last = String::new();
    for (at, phase) in case.phases.iter().enumerate().take(mismatch.phase + 1) {
        let file = render::file(&phase.scene.doc);
        let shown = if file == last { "the same file\n" } else { &file };
        let _ = writeln!(text, "--- phase {at}\n{shown}");
        last = file;
    }
    let scene = &case.phases[0].scene;
    for seat in scene.seats.iter().chain(&scene.hosted) {
        let doc = &case.phases[0].scene.doc;
        let (workload, mode) = (doc.workloads[seat.workload].id(), doc.networks[seat.network].mode);
        let (v4, v6) = (seat.v4, seat.v6);
        let mode: Mode = mode;
        let _ = writeln!(text, "{workload} = endpoint {} {v4:?} {v6:?} ({mode})", seat.number);
    }
    text + &mismatch.text
}
