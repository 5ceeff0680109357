//! The committed JSON schema is the generated one, and it accepts the files that the loader accepts.

use std::path::Path;

#[test]
fn the_committed_schema_is_current() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/bulkhead.schema.json");
    let generated = policy::json_schema();
    if std::env::var_os("BULKHEAD_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &generated).expect("the schema can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/reference/bulkhead.schema.json differs: run BULKHEAD_WRITE_SCHEMA=1 cargo test -p policy --test schema"
    );
}

#[test]
fn every_declared_key_has_a_description() {
    let schema: serde_json::Value =
        serde_json::from_str(&policy::json_schema()).expect("the schema is JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let mut mappings = vec![&schema];
    mappings.extend(schema["$defs"].as_object().expect("definitions").values());
    for mapping in mappings {
        assert_eq!(mapping["additionalProperties"], false);
        for (key, property) in mapping["properties"].as_object().expect("properties") {
            assert!(property["description"].as_str().is_some_and(|text| text.len() > 10), "{key}");
        }
    }
}
