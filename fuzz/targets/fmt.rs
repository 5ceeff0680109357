//! Arbitrary text, laid out.
//!
//! What must hold: no panic; laid out, it means the same, and laid out twice it is as laid out once. A target of its own because
//! it is some ten times slower than reading a file.

#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use policy::{Limits, Source, format, load};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    laid_out(text);
});

/// What `policy fmt` makes of it. That values and comments are the same it has proven itself.
fn laid_out(text: &str) {
    let limits = Limits::for_bytes(4096);
    let Ok(out) = format(&Source { name: "f.yaml", text }, &limits) else { return };
    let limits = Limits::for_bytes(Limits::MAX_BYTES);
    let again = format(&Source { name: "f.yaml", text: &out }, &limits);
    assert_eq!(again.expect("what was laid out can be read"), out, "twice is not once");
    let is_right = |text| {
        let variable = |_: &str| Some("10.9.0.0/16".to_owned());
        load(&Source { name: "f.yaml", text }, &variable, &limits, Timestamp::UNIX_EPOCH).is_ok()
    };
    assert_eq!(is_right(text), is_right(&out), "laid out it says something else");
}
