//! Arbitrary text as a folder of Kubernetes manifests.
//!
//! What must hold: no panic, whatever is read, lowered and cut into ranges; a refused folder has an error, and an accepted one
//! has none; every finding points into the text and can be shown; the same text gives the same document.

#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::kubernetes::{lower, ranges, read};
use policy::{Diagnostics, Limits, Source};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let first = answer(text);
    assert_eq!(first, answer(text), "the same text, another answer");
});

fn answer(text: &str) -> String {
    let limits = Limits { depth: 32, ..Limits::for_bytes(4096) };
    match read(&[Source { name: "f.yaml", text }], &limits) {
        Ok(cluster) => {
            assert!(cluster.warnings.iter().all(|each| each.errors() == 0), "accepted with errors");
            let lowered = lower(&cluster);
            for blocks in &lowered.blocks {
                for is_v4 in [true, false] {
                    let all = ranges(blocks.iter(), is_v4);
                    assert!(all.iter().all(|range| range.first <= range.last), "an empty range");
                }
            }
            let shown: String = cluster.warnings.iter().map(shown).collect();
            shown + &format!("{:?}", lowered.document)
        }
        Err(found) => {
            assert!(found.iter().any(|each| each.errors() > 0), "refused without an error");
            found.iter().map(shown).collect()
        }
    }
}

fn shown(found: &Diagnostics) -> String {
    for span in found.items.iter().filter_map(|item| item.span) {
        let range = span.start as usize..span.end as usize;
        assert!(found.text.get(range).is_some(), "points outside of the text: {span:?}");
    }
    found.render(false)
}
