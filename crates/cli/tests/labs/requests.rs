//! Requests at their edges: a file that is almost as large as may be, and a probe that has no way.

use testkit::root_or_return;

use crate::stage::Stage;

const MIB: usize = 1 << 20;

#[test]
fn large_files_are_taken_and_larger_ones_refused_root() {
    root_or_return!("large_files_are_taken_and_larger_ones_refused_root");
    let stage = Stage::new();
    let path = stage.lab.dir().join("large.yaml");
    let path = path.to_str().expect("UTF-8");
    let sized = |bytes: usize| {
        let line = format!("# {}\n", "x".repeat(77));
        let text = "bulkhead: 1\n".to_owned() + &line.repeat(bytes / line.len());
        std::fs::write(path, text).expect("a file");
        stage.bulkhead.cli(&["up", path]).expect("up runs")
    };
    let taken = sized(63 * MIB);
    assert!(taken.status.success(), "{}", taken.stderr);
    let refused = sized(65 * MIB);
    assert!(!refused.status.success(), "{}", refused.stderr);
    assert_eq!(stage.bulkhead.cli_json(&["status"]).expect("status")["agent"]["generation"], 1);
}

#[test]
fn a_probe_without_a_way_is_not_sent_root() {
    root_or_return!("a_probe_without_a_way_is_not_sent_root");
    let mut stage = Stage::new();
    let [_web] =
        stage.tenant("mode: nat, subnets: [10.0.1.0/24]", [("web", "address: [10.0.1.10]")], "");
    let done =
        stage.bulkhead.cli(&["--json", "probe", "host", "t/web", "tcp/80"]).expect("a probe");
    let answer: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(answer["observed"], "unreachable");
    assert!(answer["agrees"].is_null(), "{answer}");
    let text = answer["text"].as_str().expect("a sentence");
    assert!(text.contains("no route into a nat network; published ports lead in"), "{text}");
}
