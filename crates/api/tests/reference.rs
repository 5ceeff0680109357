//! The committed reference documents are what the types say.
//!
//! `UPDATE_REFERENCE=1 cargo test -p api --test reference` writes them.

use std::path::Path;

fn compare(file: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(file);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
        std::fs::write(&path, wanted).expect("write the reference");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{file} is stale: run UPDATE_REFERENCE=1 cargo test -p api");
}

#[test]
fn openapi_is_committed() {
    compare("openapi.json", &api::openapi::document());
}

#[test]
fn the_schema_of_why_is_committed() {
    compare("why.schema.json", &api::openapi::why_schema());
}

#[test]
fn the_schemas_of_replay_and_suggestion_are_committed() {
    compare("replay.schema.json", &api::openapi::replay_schema());
    compare("suggestion.schema.json", &api::openapi::suggestion_schema());
}

#[test]
fn the_schemas_of_connections_are_committed() {
    compare("connections.schema.json", &api::openapi::connections_schema());
    compare("connections-diff.schema.json", &api::openapi::connections_diff_schema());
}

#[test]
fn the_schema_of_proofs_is_committed() {
    compare("proof.schema.json", &api::openapi::proof_schema());
}

#[test]
fn the_schema_of_blast_radii_is_committed() {
    compare("blast-radius.schema.json", &api::openapi::radius_schema());
}

#[test]
fn every_schema_that_is_named_is_there() {
    let analysis = [api::openapi::connections_schema(), api::openapi::connections_diff_schema()];
    let agent = [
        api::openapi::document(),
        api::openapi::why_schema(),
        api::openapi::proof_schema(),
        api::openapi::replay_schema(),
        api::openapi::suggestion_schema(),
    ];
    for text in agent.into_iter().chain(analysis) {
        let root: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for name in text.split("\"$ref\": \"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(root.pointer(name).is_some_and(|schema| !schema.is_null()), "{name}");
        }
    }
}

#[test]
fn codes_are_unique_and_complete() {
    let mut codes: Vec<_> = api::codes::ALL.iter().map(|code| code.code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), api::codes::ALL.len());
    for code in api::codes::ALL {
        assert!(code.code.starts_with("BH02") && code.code.len() == 6, "{}", code.code);
        assert!(!code.title.is_empty() && code.text.ends_with('.'), "{}", code.code);
    }
}

#[test]
fn the_example_of_why_is_of_its_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/why.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    let why: api::Why = serde_json::from_str(example.expect("an example")).expect("an answer");
    assert_eq!(why.schema, api::WHY_SCHEMA);
    let again = serde_json::to_value(&why).expect("JSON");
    let written: serde_json::Value =
        serde_json::from_str(example.expect("an example")).expect("JSON");
    assert_eq!(again, written, "no field is lost or added");
    let schema: serde_json::Value =
        serde_json::from_str(&api::openapi::why_schema()).expect("a schema");
    for field in schema["required"].as_array().expect("required fields") {
        assert!(written.get(field.as_str().expect("a name")).is_some(), "{field} is documented");
    }
}
