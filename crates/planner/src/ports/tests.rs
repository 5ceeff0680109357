//! Tests of the sweep and of the blocks that intervals are cut into.

use model::Posture;
use verdict::abi::Verdict;

use super::*;

fn effect(allow: &[&str], deny: &[&str], audit: bool, rule: u32) -> Effect {
    let specs = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a port")).collect();
    let (allow, deny) = ((specs(allow), rule), (specs(deny), rule + 1));
    Effect {
        audit,
        allow,
        deny,
        rest: rule + 2,
        sources: Vec::new(),
        tier: Tier::Ordinary,
        pass: Vec::new(),
    }
}

const DENY: Ground =
    Ground { posture: Posture::Deny, sealed: false, isolated: false, audited: false };

#[test]
fn intervals_are_cut_into_few_aligned_blocks() {
    for (first, last) in [(0, u16::MAX), (1, 65_534), (80, 443), (7, 7), (65_535, 65_535)] {
        let mut next = u32::from(first);
        let mut count = 0;
        cut(first, last, |port, len| {
            let size = 1_u32 << (16 - u32::from(len));
            assert_eq!(u32::from(port), next, "blocks follow each other");
            assert_eq!(u32::from(port) % size, 0, "blocks are aligned");
            next += size;
            count += 1;
        });
        assert_eq!(next, u32::from(last) + 1);
        assert!(count <= 30, "{count} blocks for {first}-{last}");
    }
}

#[test]
fn an_audit_policy_without_allows_opens_nothing() {
    let only_denies = effect(&[], &["22/tcp"], true, 10);
    assert!(resolve(&[&only_denies], DENY).is_silent());
    let with_allows = effect(&["80/tcp"], &[], true, 10);
    let open = resolve(&[&with_allows], DENY);
    assert_eq!(open.row.rest, Decision::new(Verdict::Audit, 12));
    let sealed = Ground { sealed: true, ..DENY };
    assert_eq!(resolve(&[&with_allows], sealed).row.rest, Decision::default());
}

#[test]
fn equal_content_has_equal_numbers() {
    let (a, b) =
        (effect(&["80-89/tcp", "any"], &["85/tcp"], false, 1), effect(&["tcp"], &[], false, 7));
    assert_eq!(resolve(&[&a, &b], DENY), resolve(&[&a, &b], DENY));
    assert_ne!(resolve(&[&a], DENY).row.ports.id, resolve(&[&b], DENY).row.ports.id);
}
