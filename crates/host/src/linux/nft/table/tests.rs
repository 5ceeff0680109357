//! Listings that were edited, generations, and an `nft` that does not end.

use super::super::{Action, Chain, Rule};
use super::*;

#[test]
fn a_listing_that_was_edited_is_not_intact() {
    let rule = |handle: u32, verdict: &str| json!({ "rule": { "chain": "forward", "handle": handle, "expr": [{ verdict: null }] } });
    let listing = |rules: Vec<Value>| json!({ "nftables": rules });
    let hash = fingerprint(&listing(vec![rule(1, "drop")]));
    let mark = fingerprint_rule(TableId::INET, &format!("listed {hash}"));
    let wanted = fingerprint_rule(TableId::INET, "wanted 0123456789abcdef");

    let same = state(&listing(vec![wanted.clone(), mark.clone(), rule(9, "drop")]));
    assert!(same.is_intact);
    assert_eq!(same.wanted.as_deref(), Some("0123456789abcdef"));
    let edited = state(&listing(vec![wanted, mark, rule(9, "accept")]));
    assert!(!edited.is_intact);
}

#[test]
fn a_run_that_does_not_end_is_ended_root() {
    if !is_root("a_run_that_does_not_end_is_ended_root") {
        return;
    }
    let here = NetNs::current().expect("a namespace");
    let began = Instant::now();
    let patience = Duration::from_millis(50);
    let mut endless = Command::new("sleep");
    let late = run(&here, endless.arg("600"), b"", patience).err().expect("too late");
    assert_eq!(late.to_string(), "nft did not end within 50ms and was killed");
    assert!(began.elapsed() < Duration::from_mins(1), "it was waited for");
}

#[test]
fn an_unchanged_generation_is_not_listed_again_root() {
    if !is_root("an_unchanged_generation_is_not_listed_again_root") {
        return;
    }
    let ns = fresh_namespace();
    let mut watch = Watch::default();
    let mut listed = 0;
    let mut look = |watch: &mut Watch| {
        let state = watch.read_by(&ns, |ns| {
            listed += 1;
            read(ns)
        });
        (state.expect("readable"), listed)
    };
    assert_eq!(look(&mut watch), (None, 1));
    assert_eq!(look(&mut watch), (None, 1), "nothing was committed");

    let ruleset = a_ruleset();
    replace(&ns, &ruleset).expect("replaced");
    let (made, times) = look(&mut watch);
    assert!(made.is_some_and(|made| made.is(&ruleset)));
    assert_eq!(times, 2);
    assert_eq!(look(&mut watch).1, 2);

    // A foreign tool edits the table behind our back: the next look sees it.
    let TableId { family, name } = TableId::INET;
    let edit = ["add", "rule", family, name, "forward", "accept"];
    assert!(nft(&ns, &edit, b"").expect("run").status.success());
    let (edited, times) = look(&mut watch);
    assert!(edited.is_some_and(|edited| !edited.is_intact));
    assert_eq!(times, 3);
    // It flushes everything: also seen.
    assert!(nft(&ns, &["flush", "ruleset"], b"").expect("run").status.success());
    assert_eq!(look(&mut watch), (None, 4));
}

fn is_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{test} needs root");
    println!("SKIPPED(root): {test}");
    false
}

/// A namespace that ends with its descriptor.
fn fresh_namespace() -> NetNs {
    let made = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace");
        NetNs::current().expect("open")
    });
    made.join().expect("made")
}

fn a_ruleset() -> Ruleset {
    let rule = Rule { matches: Vec::new(), action: Action::Drop, comment: String::new() };
    let chain =
        Chain { name: "forward", kind: "filter", hook: "forward", priority: 0, rules: vec![rule] };
    Ruleset { chains: vec![chain] }
}
