//! The table of requirements names tests that exist.

use std::path::Path;

const TABLE: &str = include_str!("../../../docs/reference/requirements.md");
/// Rows of the first version.
const ROWS: [&str; 33] = [
    "R-001", "R-002", "R-003", "R-004", "R-005", "R-006", "R-007", "R-008", "R-009", "R-011",
    "R-012", "R-013", "R-014", "R-015", "R-016", "R-018", "R-019", "R-030", "R-031", "R-032",
    "R-033", "R-034", "R-035", "R-036", "R-037", "R-040", "R-043", "R-044", "R-049", "R-052",
    "R-176", "R-178", "R-194",
];

/// Rows as number and the tests behind it.
fn rows() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let rows = TABLE.lines().filter(|line| line.starts_with("| R-"));
    let row = |line: &'static str| {
        let number = line.trim_start_matches("| ").split(' ').next().unwrap_or_default();
        let words = line.split('`').filter_map(|word| word.split_once("::"));
        (number, words.collect())
    };
    rows.map(row).collect()
}

#[test]
fn every_row_names_tests_that_exist() {
    let rows = rows();
    let numbers: Vec<_> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, ROWS);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (number, tests) in rows {
        assert!(!tests.is_empty(), "{number} is shown by nothing");
        for (file, function) in tests {
            let path = root.join(file);
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{number}: {file}: {error}"));
            assert!(text.contains(&format!("fn {function}()")), "{number}: {file}::{function}");
        }
    }
}
