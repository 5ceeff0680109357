//! Files that are refused, rendered.

use policy::{Limits, Source};

/// The rendered findings of a file that is refused.
pub(crate) fn refused(text: &str) -> String {
    let variable = |name: &str| (name == "SET").then(|| "10.9.0.0/16".to_owned());
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let found = policy::load(&Source { name: "f.yaml", text }, &variable, &Limits::default(), now)
        .map(|checked| checked.document)
        .expect_err("is refused");
    assert!(found.errors() > 0);
    let records = serde_json::to_value(found.records()).expect("JSON");
    assert_eq!(records.as_array().expect("an array").len(), found.items.len());
    found.render(false)
}

/// A file with one tenant that has these keys.
pub(crate) fn with_tenant(tenant: &str) -> String {
    refused(&format!("bulkhead: 1\ntenants:\n  shop:\n{tenant}\n"))
}
