//! Arbitrary text as a file of the product.
//!
//! What must hold: no panic; a refused file has an error, and an accepted one has none; every finding points into the
//! text, at whole characters, and can be shown; the same text gives the same answer.

#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use policy::{Diagnostics, Limits, Source, load};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let first = answer(text);
    assert_eq!(first, answer(text), "the same text, another answer");
});

/// Everything that a person would see, after checking what must hold.
fn answer(text: &str) -> String {
    let variable = |name: &str| (name != "UNSET").then(|| "10.9.0.0/16".to_owned());
    let limits = Limits::for_bytes(4096);
    match load(&Source { name: "f.yaml", text }, &variable, &limits, Timestamp::UNIX_EPOCH) {
        Ok(checked) => {
            assert_eq!(checked.warnings.errors(), 0, "accepted with errors");
            shown(&checked.warnings) + &format!("{:?}", checked.document)
        }
        Err(found) => {
            assert!(found.errors() > 0, "refused without an error");
            shown(&found)
        }
    }
}

fn shown(found: &Diagnostics) -> String {
    for item in &found.items {
        let related = item.related.iter().map(|(span, _)| span);
        for span in item.span.iter().chain(related) {
            let range = span.start as usize..span.end as usize;
            assert!(
                found.text.get(range).is_some(),
                "{} points outside of the text: {span:?}",
                item.message
            );
        }
    }
    assert_eq!(found.records().len(), found.items.len());
    found.render(false)
}
