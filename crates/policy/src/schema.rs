//! The JSON schema of the file, generated from the declarations that also decode it.

use schemars::generate::SchemaSettings;

use crate::raw::RawFile;

/// The schema (draft 2020-12) as pretty-printed JSON with a final newline.
///
/// Committed as `docs/reference/bulkhead.schema.json`; an editor uses it after the line
/// `# yaml-language-server: $schema=bulkhead.schema.json`.
#[must_use]
pub fn json_schema() -> String {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<RawFile>();
    schema.insert("title".to_owned(), "Bulkhead file, version 1".into());
    let mut value = schema.to_value();
    value.sort_all_objects();
    format!("{value:#}\n")
}
