//! What happened is recorded, survives `kill -9` with a declared gap, and another policy is judged by it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use testkit::{Namespace, root_or_return, wait_until};

use crate::stage::{ELSEWHERE, OUTSIDE, SOON, Stage, reaches, serve};

const WORKLOADS: [(&str, &str); 4] = [
    ("web", "address: [10.0.1.10], labels: { app: web }"),
    ("job", "address: [10.0.1.11], labels: { app: job }"),
    ("db", "address: [10.0.1.20], labels: { app: db }"),
    ("old", "address: [10.0.1.30], labels: { app: old }"),
];

const POLICIES: &str = "    policies:
      web-to-db: { from: app=web, to: app=db, allow: [5432/tcp] }
      job-to-db: { from: app=job, to: app=db, allow: [5432/tcp] }
      mail: { from: app=job, to: 203.0.113.0/24, allow: [25/tcp] }
      old: { from: app=old, to: app=db, allow: [5432/tcp] }
";

/// A tenant with workloads, what each of them reached, and the text of its file.
struct Scene {
    stage: Stage,
    file: String,
    spaces: [Namespace; 4],
}

/// Everything that the labs judge: twice web, once job, each to the database; mail; a drop; and one who goes.
fn scene() -> Scene {
    let mut stage = Stage::new();
    let network = "mode: nat, subnets: [10.0.1.0/24]";
    let spaces = stage.tenant(network, WORKLOADS, POLICIES);
    let [web, job, db, old] = &spaces;
    let _servers = serve(db, "10.0.1.20", &[5432, 22]);
    let _mail = serve(&stage.outside, OUTSIDE, &[25]);
    assert!(reaches(web, "10.0.1.20:5432") && reaches(web, "10.0.1.20:5432"));
    assert!(reaches(job, "10.0.1.20:5432"));
    assert!(reaches(old, "10.0.1.20:5432"));
    assert!(!reaches(job, "10.0.1.20:22"));
    assert!(reaches(job, &format!("{OUTSIDE}:25")));
    assert!(!reaches(job, &format!("{ELSEWHERE}:25")));
    let file = text(&spaces, POLICIES);
    Scene { stage, file, spaces }
}

/// The tenant's file with other policies.
fn text(spaces: &[Namespace; 4], policies: &str) -> String {
    let mut text = "bulkhead: 1\ntenants:\n  t:\n    networks: { main: { mode: nat, subnets: [10.0.1.0/24] } }\n    workloads:\n".to_owned();
    for ((name, keys), space) in WORKLOADS.iter().zip(spaces) {
        text += &format!("      {name}: {{ {keys}, netns: {} }}\n", space.path().display());
    }
    text + policies
}

impl Scene {
    /// What `replay` says of a file, and how it exits.
    fn replay(&self, text: &str) -> (Value, Option<i32>) {
        let path = self.stage.bulkhead.folders().state.join("other.yaml");
        fs::write(&path, text).expect("writable");
        let path = path.display().to_string();
        let done = self.stage.bulkhead.cli(&["replay", &path, "--since", "1h", "--json"]);
        let done = done.expect("it runs");
        let value = serde_json::from_str(&done.stdout);
        (value.unwrap_or_else(|_| panic!("{}\n{}", done.stdout, done.stderr)), done.code())
    }

    /// The file of the hour that goes on.
    fn log(&self) -> PathBuf {
        let folder = self.stage.bulkhead.folders().state.join("flows");
        let logs = fs::read_dir(folder).expect("the flow store").filter_map(|entry| {
            let path = entry.expect("an entry").path();
            path.extension().is_some_and(|extension| extension == "log").then_some(path)
        });
        logs.max().expect("an hour that goes on")
    }

    /// Waits until what was seen so far is on the disk: two writes from now.
    fn written(&self) {
        for _ in 0..2 {
            let size = || fs::metadata(self.log()).map_or(0, |data| data.len());
            let before = size();
            wait_until("a write", 2 * SOON, || size() != before).expect("it writes");
        }
    }
}

/// The lines of a list as `from → to service flows`.
fn lines(replay: &Value, list: &str) -> Vec<String> {
    let lines = replay[list].as_array().expect("a list").iter();
    let word = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let line = |it: &Value| {
        format!("{} → {} {} {}", word(it, "from"), word(it, "to"), word(it, "service"), it["flows"])
    };
    let mut lines: Vec<String> = lines.map(line).collect();
    lines.sort();
    lines
}

#[test]
fn a_policy_without_a_rule_breaks_what_the_rule_let_pass_root() {
    root_or_return!("a_policy_without_a_rule_breaks_what_the_rule_let_pass_root");
    let mut scene = scene();
    let seen = || scene.replay(&scene.file).0["totals"]["kept"].as_u64() >= Some(5);
    wait_until("the flows in the store", SOON, seen).expect("five flows");
    let (same, code) = scene.replay(&scene.file);
    assert_eq!((code, &same["totals"]["breaks"]), (Some(0), &Value::from(0)), "{same:#}");
    assert_eq!(same["period"]["gaps"], Value::Array(vec![]), "nothing is missing: {same:#}");

    scene.written();
    scene.stage.bulkhead.kill_agent().expect("killed");
    scene.stage.bulkhead.start_agent().expect("started again");
    let without = scene.file.replace("      job-to-db", "      # job-to-db");
    let (replay, code) = scene.replay(&without);
    assert_eq!(code, Some(3), "{replay:#}");
    assert_eq!(lines(&replay, "breaks"), ["t/job → t/db 5432/tcp 1"], "{replay:#}");
    let line = &replay["breaks"][0];
    assert_eq!(line["was"]["rule"]["name"], "job-to-db");
    assert_eq!(line["was"]["rule"]["line"], 12);
    assert_eq!(
        (&line["becomes"]["verdict"], &line["becomes"]["default"]),
        (&"drop".into(), &"default deny".into())
    );
    assert_eq!(replay["totals"]["kept"], 4, "{replay:#}");
    let gap = &replay["period"]["gaps"][0];
    assert_eq!(gap["kind"], "down", "it was killed: {replay:#}");
    assert!(gap.get("events").is_none(), "and nobody knows what it had not written");

    let mail = without.replace("203.0.113.0/24", "192.0.2.0/24");
    let (replay, _) = scene.replay(&mail);
    let wanted = ["t/job → t/db 5432/tcp 1", "t/job → world 25/tcp 1"];
    assert_eq!(lines(&replay, "breaks"), wanted, "{replay:#}");
    assert_eq!(
        replay["breaks"][0]["addresses"].as_array().map(Vec::len).unwrap_or_default()
            + replay["breaks"][1]["addresses"].as_array().map(Vec::len).unwrap_or_default(),
        1
    );
    let passes = lines(&replay, "passes");
    assert!(passes.len() == 1 && passes[0].starts_with("t/job → world 25/tcp"), "{replay:#}");
}

#[test]
fn an_agent_that_is_stopped_and_started_misses_nothing_root() {
    root_or_return!("an_agent_that_is_stopped_and_started_misses_nothing_root");
    let mut scene = scene();
    let seen = || scene.replay(&scene.file).0["totals"]["kept"].as_u64() >= Some(5);
    wait_until("the flows in the store", SOON, seen).expect("five flows");
    scene.stage.bulkhead.stop_agent().expect("stopped");
    let [web, _, db, _] = &scene.spaces;
    let _server = serve(db, "10.0.1.20", &[5432]);
    assert!(reaches(web, "10.0.1.20:5432"), "while no agent runs");
    scene.stage.bulkhead.start_agent().expect("started again");
    let seen = || scene.replay(&scene.file).0["totals"]["kept"].as_u64() >= Some(6);
    let came = wait_until("what happened meanwhile", SOON, seen);
    let (replay, _) = scene.replay(&scene.file);
    assert!(came.is_ok(), "six flows: {replay:#}\n{}", scene.stage.bulkhead.log());
    assert_eq!(replay["period"]["gaps"], Value::Array(vec![]), "the kernel kept it: {replay:#}");

    // Who is not in the file cannot be judged; who stands in for it can.
    let other = scene.file.replace("      old: { address", "      new: { address");
    let (replay, _) = scene.replay(&other);
    assert_eq!(replay["totals"]["breaks"], 0, "{replay:#}");
    let gone = other.replace("app: old", "app: newer").replace("app=old", "app=newer");
    let (replay, code) = scene.replay(&gone);
    assert_eq!((code, replay["totals"]["unjudged"].as_u64()), (Some(0), Some(1)), "{replay:#}");
    let why = replay["unjudged"][0]["why"].as_str().unwrap_or_default();
    assert!(why.starts_with("t/old is not in the file"), "{why}");
}

#[test]
fn a_suggestion_passes_what_was_observed_root() {
    root_or_return!("a_suggestion_passes_what_was_observed_root");
    let scene = scene();
    let seen = || scene.replay(&scene.file).0["totals"]["kept"].as_u64() >= Some(5);
    wait_until("the flows in the store", SOON, seen).expect("five flows");
    let found = scene.stage.bulkhead.cli_json(&["policy", "suggest"]).expect("a suggestion");
    let text = found["yaml"].as_str().expect("a file");
    assert_eq!(found["wider"], Value::Array(vec![]), "{text}");
    for line in [
        "{ from: [app=job, app=old, app=web], to: app=db, allow: [5432/tcp] }",
        "{ from: app=job, to: 203.0.113.9, allow: [25/tcp] }",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let (replay, code) = scene.replay(text);
    assert_eq!((code, &replay["totals"]["breaks"]), (Some(0), &Value::from(0)), "{replay:#}");
    assert_eq!(replay["totals"]["passes"], 0, "nothing that was dropped: {replay:#}");
    // It is a file like any other: it can be checked, applied, and then lets pass what it should and no more.
    let path = scene.stage.bulkhead.up(text).expect("applied");
    let checked = scene.stage.bulkhead.cli(&["policy", "check", &path.display().to_string()]);
    assert_eq!(checked.expect("it runs").code(), Some(0));
    let [web, job, db, _] = &scene.spaces;
    let _servers = serve(db, "10.0.1.20", &[5432, 22]);
    assert!(reaches(web, "10.0.1.20:5432") && !reaches(job, "10.0.1.20:22"));
    let one = scene.stage.bulkhead.cli(&["policy", "suggest", "--for", "job"]).expect("it runs");
    assert_eq!(one.code(), Some(0), "{}", one.stderr);
    assert!(one.stdout.contains("# Suggested from what passed of t/job"), "{}", one.stdout);
}
