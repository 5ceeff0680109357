//! Arbitrary text as rules of another firewall, in each format.
//!
//! What must hold: no panic; whatever is imported loads without errors; the same text gives the same file.

#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use policy::import::{Format, import};
use policy::{Limits, Source, load};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for format in [Format::Nft, Format::Iptables, Format::Compose, Format::Ufw] {
        let Ok(imported) = import(format, "f", text) else { continue };
        assert_eq!(import(format, "f", text), Ok(imported.clone()), "the same text, another file");
        let source = Source { name: "f.yaml", text: &imported.text };
        let loaded = load(&source, &|_| None, &Limits::for_bytes(1 << 24), Timestamp::UNIX_EPOCH);
        assert!(loaded.is_ok(), "what was imported does not load:\n{}", imported.text);
    }
});
