//! The tables of requirements and of what is supported name tests that exist.

use std::path::Path;

const TABLE: &str = include_str!("../../../docs/reference/requirements.md");
/// Rows of the first version.
const ROWS: &[&str] = &[
    "R-001", "R-002", "R-003", "R-004", "R-005", "R-006", "R-007", "R-008", "R-009", "R-011",
    "R-012", "R-013", "R-014", "R-015", "R-016", "R-018", "R-019", "R-030", "R-031", "R-032",
    "R-033", "R-034", "R-035", "R-036", "R-037", "R-040", "R-042", "R-043", "R-044", "R-049",
    "R-052", "R-176", "R-178", "R-194",
];

/// What is supported.
const SUPPORT: &str = include_str!("../../../docs/reference/support.md");

/// The first cell of each row of a table, and the tests that it names.
fn rows(table: &'static str) -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let row = |line: &'static str| {
        let first = line.strip_prefix("| ")?.split(" |").next()?;
        let words = line.split('`').filter(|word| word.contains(".rs::"));
        let tests: Vec<_> = words.filter_map(|word| word.split_once("::")).collect();
        (first != "what you run").then_some((first, tests))
    };
    table.lines().filter_map(row).collect()
}

/// That each row is shown by something, and by nothing that does not exist.
fn are_shown(rows: &[(&str, Vec<(&str, &str)>)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (row, tests) in rows {
        assert!(!tests.is_empty(), "{row} is shown by nothing");
        for (file, function) in tests {
            let text = std::fs::read_to_string(root.join(file))
                .unwrap_or_else(|error| panic!("{row}: {file}: {error}"));
            assert!(text.contains(&format!("fn {function}()")), "{row}: {file}::{function}");
        }
    }
}

#[test]
fn every_row_names_tests_that_exist() {
    let rows: Vec<_> = rows(TABLE).into_iter().filter(|(row, _)| row.starts_with("R-")).collect();
    let numbers: Vec<_> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, ROWS);
    are_shown(&rows);
}

#[test]
fn what_is_supported_is_shown_by_tests() {
    let rows = rows(SUPPORT);
    assert!(rows.len() >= 17, "{} rows", rows.len());
    are_shown(&rows);
}
