//! What people see: snapshots of every rendering, without colour, and the rules colour follows.

mod replay;

mod way;

use api::{
    AgentStatus, Area, AssertionResult, Between, Cell, Change, ConnectionChange, Decided,
    Diagnostic, Doctor, DropCount, Error, Finding, Flow, FlowEnd, FlowKind, FlowLine, Level,
    LiveFlow, Matrix, MatrixParty, NearMiss, ObjectChange, Observed, Outcome, Party, Paused,
    PlanReport, ProbeResponse, PublishedWay, Reason, Recorded, RuleAt, RuleCount, Rules, Seen,
    Service, Status, Step, StepState, TableUse, UpResponse, Verdict, Why, Workload, WorkloadState,
    WouldAllow,
};
use clap::CommandFactory as _;
use insta::assert_snapshot;

use crate::args::Cli;
use crate::command::matrix::{Picture, Probed};
use crate::command::{doctor, matrix, observe, plan, probe, rules, status, up, why};
use crate::failure::{self, Exit, Failure};
use crate::screen::Paint;

mod forms;

const PLAIN: Paint = Paint(false);
const COLOUR: Paint = Paint(true);

fn rule() -> RuleAt {
    RuleAt {
        id: 7,
        name: "web-to-db".to_owned(),
        path: "tenants.shop.policies.web-to-db".to_owned(),
        file: "shop.yaml".to_owned(),
        line: 24,
        column: 7,
        kind: "allow".to_owned(),
        comment: Some("customers come in here".to_owned()),
    }
}

fn default_deny() -> Reason {
    Reason {
        code: "BH-D002".to_owned(),
        text: "default deny".to_owned(),
        hint: Some("add a policy".to_owned()),
    }
}

fn party(name: &str) -> Party {
    Party {
        name: format!("shop/{name}"),
        workload: Some(format!("shop.{name}")),
        ..Party::default()
    }
}

fn refused() -> Why {
    Why {
        schema: api::WHY_SCHEMA.to_owned(),
        generation: 3,
        from: party("scanner"),
        to: party("db"),
        service: Service { text: "6379/tcp".to_owned(), ..Service::default() },
        verdict: Verdict::Drop,
        reason: Some(default_deny()),
        decided: Some(Decided { workload: "shop.db".to_owned(), direction: "ingress".to_owned() }),
        rule: None,
        egress_rule: None,
        ingress_rule: None,
        audit: None,
        text: "no policy lets {app=scanner} reach {app=db}".to_owned(),
        near_misses: vec![NearMiss {
            rule: rule(),
            text: "port and destination match; source wants app=web, this has app=scanner"
                .to_owned(),
            ..NearMiss::default()
        }],
        would_allow: Some(WouldAllow {
            place: "tenants.shop.policies".to_owned(),
            yaml: "scanner-to-db: { from: app=scanner, to: app=db, allow: [6379/tcp] }".to_owned(),
            note: None,
        }),
        seen: Seen {
            count: 128,
            since: Some("2026-11-22T10:02:00Z".to_owned()),
            last: Some("2026-11-22T10:04:11Z".to_owned()),
        },
        published: Vec::new(),
        warnings: Vec::new(),
        recorded: None,
        connection: None,
        walk: None,
    }
}

fn allowed() -> Why {
    Why {
        verdict: Verdict::Allow,
        reason: None,
        rule: Some(rule()),
        egress_rule: Some(rule()),
        ingress_rule: Some(rule()),
        text: "a rule lets {app=web} reach {app=db}".to_owned(),
        near_misses: Vec::new(),
        would_allow: None,
        seen: Seen::default(),
        published: vec![PublishedWay {
            publish: "shop/https".to_owned(),
            service: "443/tcp".to_owned(),
            workload: "shop/db".to_owned(),
            target_service: "8443/tcp".to_owned(),
            verdict: Verdict::Drop,
            rule: None,
            text: "no policy lets 169.254.64.1 reach {app=db}".to_owned(),
            terms: Some("at most 20/s per source, owner web team".to_owned()),
        }],
        warnings: vec!["another firewall of this host drops it".to_owned()],
        from: party("web"),
        ..refused()
    }
}

fn assertions() -> Vec<AssertionResult> {
    vec![
        AssertionResult {
            text: "never: world -> segment=data".to_owned(),
            file: "shop.yaml".to_owned(),
            line: 31,
            holds: true,
            ..AssertionResult::default()
        },
        AssertionResult {
            text: "only: app=web -> app=db".to_owned(),
            file: "shop.yaml".to_owned(),
            line: 32,
            holds: false,
            counterexample: Some("shop/ops → shop/db 6379/tcp".to_owned()),
            ..AssertionResult::default()
        },
    ]
}

fn between(from: &str, to: &[&str]) -> Vec<Between> {
    to.iter().map(|to| Between { from: from.to_owned(), to: (*to).to_owned() }).collect()
}

fn area(name: &str, change: Option<Change>, workloads: &[&str]) -> Area {
    let workloads = workloads.iter().map(ToString::to_string).collect();
    Area { name: name.to_owned(), change, workloads, omitted_workloads: 0 }
}

fn areas() -> Vec<Area> {
    vec![
        area("shop/main/front", None, &["web", "api", "scanner", "edge", "probe"]),
        area("shop/main/data", Some(Change::Add), &["db"]),
        area("shop/main/admin", None, &["ops"]),
    ]
}

fn report() -> PlanReport {
    PlanReport {
        schema: PlanReport::SCHEMA.to_owned(),
        generation: 2,
        has_changes: true,
        connections: vec![
            ConnectionChange {
                change: Change::Add,
                from: "app=web".to_owned(),
                to: "app=db".to_owned(),
                pairs: 2,
                between: between("shop/main/front", &["shop/main/data"]),
                service: "6379/tcp".to_owned(),
                rule: Some(rule()),
                by: None,
                was: None,
                audit: false,
                cut: Vec::new(),
                cut_total: 0,
                recorded: None,
            },
            ConnectionChange {
                change: Change::Remove,
                from: "segment=front".to_owned(),
                to: "world".to_owned(),
                pairs: 4,
                between: between("shop/main/front", &["world"]),
                service: "everything but 80,443/tcp".to_owned(),
                rule: None,
                by: None,
                was: Some("open".to_owned()),
                audit: false,
                cut: vec![LiveFlow {
                    from: "web".to_owned(),
                    to: "203.0.113.9".to_owned(),
                    service: "25/tcp".to_owned(),
                    since: "09:12".to_owned(),
                }],
                cut_total: 1,
                recorded: Some(Recorded {
                    flows: 41,
                    workloads: 2,
                    since: "2026-11-20T09:12:00Z".to_owned(),
                    looked_since: Some("2026-11-15T10:00:00Z".to_owned()),
                }),
            },
        ],
        areas: areas(),
        paused: vec![Paused {
            rule: rule(),
            pause: "outside its schedule, next Mon 2026-11-23 08:00 CET".to_owned(),
        }],
        omitted_paused: 2,
        omitted_connections: 3,
        unchanged_connections: Some(5),
        assertions: assertions(),
        objects: vec![ObjectChange {
            change: Change::Add,
            kind: "policy".to_owned(),
            name: "shop/web-to-db".to_owned(),
            detail: None,
        }],
        omitted_objects: 0,
        unchanged_objects: 3,
        warnings: Vec::new(),
        actions: vec!["ip link add bh3 type veth".to_owned()],
    }
}

#[test]
fn why_a_drop() {
    assert_snapshot!(why::render(&refused(), PLAIN));
}

#[test]
fn why_an_allow() {
    assert_snapshot!(why::render(&allowed(), PLAIN));
}

#[test]
fn plan_with_every_kind_of_change() {
    assert_snapshot!(plan::render(&report(), PLAIN, true));
}

#[test]
fn up_with_a_failed_step() {
    let step = |name: &str, state, failures: &[&str]| Step {
        name: name.to_owned(),
        state,
        changes: 2,
        actions: vec!["ip link add bh3 type veth".to_owned()],
        failures: failures.iter().map(ToString::to_string).collect(),
    };
    let outcome = Outcome {
        generation: 3,
        changed: true,
        steps: vec![
            step("network", StepState::Done, &[]),
            step("tables", StepState::Unchanged, &[]),
            step("workloads", StepState::Failed, &["shop.web: `ngnix`: no such program in PATH"]),
        ],
        took_ms: 41,
    };
    let response = UpResponse { plan: report(), outcome: Some(outcome), host: None };
    assert_snapshot!(up::render(&response, PLAIN, false));
}

#[test]
fn a_probe_that_contradicts_the_policy() {
    let answer = ProbeResponse {
        observed: Observed::Connected,
        text: "10.0.1.66:49152 connected to 10.0.2.10:6379".to_owned(),
        took_us: Some(230),
        source_port: Some(49152),
        flow: None,
        agrees: Some(false),
        why: refused(),
    };
    assert_snapshot!(probe::render(&answer, PLAIN));
}

fn flow(verdict: &str, because: &str, code: &str, repeats: &str) -> Flow {
    Flow {
        number: 1,
        time: "2026-11-22T10:04:11.482Z".to_owned(),
        kind: FlowKind::Drop,
        verdict: Verdict::Drop,
        reason: Some(default_deny()),
        rule: None,
        audit: None,
        network: "shop.main".to_owned(),
        source: FlowEnd::default(),
        target: FlowEnd::default(),
        protocol: "tcp".to_owned(),
        icmp: None,
        direction: "ingress".to_owned(),
        repeats: 128,
        since: None,
        counts: None,
        duration_ms: None,
        line: FlowLine {
            time: "10:04:11.482".to_owned(),
            verdict: verdict.to_owned(),
            source: "shop/scanner:51544".to_owned(),
            target: "shop/db:6379/tcp".to_owned(),
            because: because.to_owned(),
            code: code.to_owned(),
            repeats: repeats.to_owned(),
        },
    }
}

#[test]
fn flows_line_up() {
    let flows = [
        flow("drop", "default deny", "BH-D002", "×128"),
        flow("allow", "web-to-db shop.yaml:24", "", ""),
    ];
    let lines: Vec<String> = flows.iter().map(|flow| observe::render(flow, PLAIN)).collect();
    assert_snapshot!(lines.join("\n"));
}

#[test]
fn status_of_a_node() {
    let web = Workload {
        id: "shop.web".to_owned(),
        network: "main".to_owned(),
        segment: Some("front".to_owned()),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        addresses: vec!["10.0.1.10".to_owned(), "fd00:5:0:1::2".to_owned()],
        state: WorkloadState::Running,
        pid: Some(4711),
        enforced_since: Some("2026-11-22T10:00:00Z".to_owned()),
        generation: 3,
        drops: 12,
        ..Workload::default()
    };
    let broken = Workload {
        id: "shop.api".to_owned(),
        network: "main".to_owned(),
        state: WorkloadState::Restarting,
        detail: Some("`ngnix`: no such program in PATH".to_owned()),
        restarts: 4,
        ..Workload::default()
    };
    let agent = AgentStatus {
        version: "0.1.0".to_owned(),
        pid: 99,
        since: "2026-11-22T09:59:00Z".to_owned(),
        generation: 3,
        applied: Some("2026-11-22T10:00:00Z".to_owned()),
        document: Some("shop.yaml".to_owned()),
        epoch: 8,
        kernel_path: "tcx".to_owned(),
        kernel: "6.12.1".to_owned(),
        counted_since: Some("2026-11-22T09:00:00.000Z".to_owned()),
        flows: TableUse { used: 17, capacity: 131_072 },
        events_lost: 1,
        drops: vec![DropCount {
            code: "BH-D002".to_owned(),
            text: "default deny".to_owned(),
            packets: 12,
        }],
        geography: Some(api::Geography {
            database: "GeoLite2-Country".to_owned(),
            built: "2026-11-20T06:12:00Z".to_owned(),
            ..api::Geography::default()
        }),
        audits: vec![
            api::AuditScope {
                scope: "tenant shop".to_owned(),
                ingress: true,
                egress: true,
                ..api::AuditScope::default()
            },
            api::AuditScope {
                scope: "segment shop.main/front".to_owned(),
                ingress: true,
                until: Some("2026-11-23T00:00:00.000Z".to_owned()),
                ends_soon: true,
                ..api::AuditScope::default()
            },
        ],
        warnings: vec!["somebody flushed table inet bulkhead; put back".to_owned()],
        ..AgentStatus::default()
    };
    let node = Status { agent, workloads: vec![web, broken] };
    assert_snapshot!(status::render(&node, PLAIN));
}

#[test]
fn rules_and_their_counts() {
    let count = RuleCount { rule: rule(), flows: 3, expired: true, ..RuleCount::default() };
    assert_snapshot!(rules::render(
        &Rules {
            generation: 3,
            since: Some("2026-11-22T09:00:00.000Z".to_owned()),
            rules: vec![count]
        },
        PLAIN
    ));
}

#[test]
fn a_host_with_a_blocker() {
    let finding = |level, topic: &str, text: &str, hint: Option<&str>| Finding {
        code: "BH-H010".to_owned(),
        level,
        topic: topic.to_owned(),
        text: text.to_owned(),
        hint: hint.map(str::to_owned),
    };
    let report = Doctor {
        schema: Doctor::SCHEMA.to_owned(),
        host: "fra-2 · kernel 5.4.0 · Ubuntu 20.04 · KVM guest".to_owned(),
        enforcement: "none".to_owned(),
        kernel_path: None,
        facts: None,
        findings: vec![
            finding(Level::Good, "nftables", "nft 1.0.6 works", None),
            finding(Level::Blocker, "kernel", "no ring buffer", Some("a kernel from 5.10 on")),
        ],
    };
    assert_snapshot!(doctor::render(&report, PLAIN));
    assert_eq!(doctor::exit(&report), Exit::Failed);
    let mut good = report;
    good.findings.retain(|finding| finding.level != Level::Blocker);
    good.findings.push(finding(Level::Warning, "mtu", "1200 bytes", None));
    assert_eq!(doctor::exit(&good), Exit::Done, "a warning is no failure");
}

#[test]
fn a_matrix_with_a_difference() {
    let party = |name: &str| MatrixParty {
        name: format!("shop/{name}"),
        workload: Some(format!("shop.{name}")),
        address: None,
    };
    let matrix = Matrix {
        generation: 3,
        parties: vec![
            party("web"),
            party("db"),
            MatrixParty { name: "world".to_owned(), ..MatrixParty::default() },
        ],
        cells: vec![
            Cell {
                from: 0,
                to: 1,
                service: "6379/tcp".to_owned(),
                verdict: Verdict::Allow,
                rule: None,
                published: None,
            },
            Cell {
                from: 1,
                to: 0,
                service: "443/tcp".to_owned(),
                verdict: Verdict::Allow,
                rule: None,
                published: Some("shop/https".to_owned()),
            },
        ],
    };
    let probed = |from: &str, to: &str, observed, agrees| Probed {
        from: format!("shop.{from}"),
        to: format!("shop.{to}"),
        service: "6379/tcp".to_owned(),
        declared: "drop".to_owned(),
        observed,
        agrees: Some(agrees),
    };
    let answers = vec![
        probed("web", "db", Observed::Connected, true),
        probed("db", "web", Observed::Connected, false),
    ];
    assert_snapshot!(matrix::render(&Picture { matrix, probes: Some(answers) }, PLAIN));
}

#[test]
fn an_error_with_cause_hint_and_diagnostics() {
    let mut error = Error::new("BH0206", "the file shop.yaml is refused").with_hint("mend it");
    error.cause = Some("two things".to_owned());
    error.diagnostics = vec![Diagnostic {
        rendered: "error[BH0105]: unknown key `alow`\n --> shop.yaml:3:1\n".to_owned(),
        ..Diagnostic::default()
    }];
    assert_snapshot!(failure::render(&error, PLAIN));
}

#[test]
fn colour_only_repeats_words() {
    let strip = |text: String| {
        let mut plain = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain += before;
            rest = after.split_once('m').map_or("", |(_, rest)| rest);
        }
        plain + rest
    };
    let coloured = why::render(&refused(), COLOUR);
    assert_ne!(coloured, why::render(&refused(), PLAIN));
    assert_eq!(strip(coloured), why::render(&refused(), PLAIN));
    assert_eq!(strip(plan::render(&report(), COLOUR, true)), plan::render(&report(), PLAIN, true));
}

#[test]
fn exit_codes_are_those_of_the_documents() {
    let codes = [Exit::Done, Exit::Failed, Exit::Difference, Exit::Internal, Exit::Status(9)];
    assert_eq!(codes.map(Exit::code), [0, 1, 3, 70, 9]);
    assert_eq!(Failure::new("BH0200", "it broke").exit(), Exit::Internal);
    assert_eq!(Failure::new("BH0201", "no agent").exit(), Exit::Failed);
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn an_import_tells_what_it_did_not_understand() {
    let rules = "*filter\n:INPUT DROP\n-A INPUT -p tcp --dport 22 -j ACCEPT\n-A INPUT -m mark --mark 1 -j ACCEPT\nCOMMIT\n";
    let format = policy::import::Format::Iptables;
    let imported = policy::import::import(format, "rules", rules).expect("is read");
    insta::assert_snapshot!(crate::command::import::report("rules", format, &imported));
}
