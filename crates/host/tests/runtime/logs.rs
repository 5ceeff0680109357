//! What becomes of the output.

use std::fs;
use std::time::Duration;

use host::linux::runtime::{self, Log, Phase, Spec};

use super::Test;
use super::lab::{Lab, output, run, until, until_phase};

pub(crate) const TESTS: &[Test] = &[
    ("both_streams_are_kept_root", both_streams_are_kept),
    ("logs_are_bounded_root", logs_are_bounded),
    ("logs_can_be_followed_root", logs_can_be_followed),
];

fn both_streams_are_kept() {
    let lab = Lab::new();
    let script = "echo one; echo two >&2; echo three > /dev/stdout; printf 'four\\033[0m'";
    let mut lines = run(&lab, &lab.spec("talker", &["sh", "-c", script]));
    lines.sort();
    assert_eq!(lines, ["four\\u{1b}[0m", "one", "three", "two"]);
}

fn logs_are_bounded() {
    let lab = Lab::new();
    let spec = lab.probe("flood", &["flood", "20000000"]);
    let log = Log { max_bytes: 256 * 1024, ..spec.log.clone() };
    let handle = lab.start(&Spec { log: log.clone(), ..spec });
    until_phase(&handle, Phase::Exited);
    let mut previous = log.path.clone().into_os_string();
    previous.push(".1");
    for path in [log.path.as_os_str(), &previous] {
        let size = fs::metadata(path).expect("both files exist").len();
        assert!(size <= log.max_bytes, "{size} bytes");
    }
    assert_eq!(output(&handle).last().map(String::as_str), Some("the end"));
}

fn logs_can_be_followed() {
    let lab = Lab::new();
    let script = "i=0; while :; do echo $i; i=$((i + 1)); sleep 0.02; done";
    let handle = lab.start(&lab.spec("counter", &["sh", "-c", script]));
    let mut reader = runtime::logs(&handle.spec().log, Some(0)).expect("readable");
    let line = until("a new line", || {
        reader
            .next_line(Duration::from_secs(5))
            .expect("readable")
            .filter(|line| line.contains(" out "))
    });
    let number = |line: &str| line.rsplit(' ').next().and_then(|text| text.parse::<u32>().ok());
    let first = number(&line).expect("a number");
    let next = reader.next_line(Duration::from_secs(5)).expect("readable").expect("another");
    assert_eq!(number(&next), Some(first + 1));
}
