//! What a file looks like afterwards, and that it means what it meant.

use proptest::prelude::*;

use super::*;

fn formatted(text: &str) -> String {
    match format(&Source { name: "f.yaml", text }, &Limits::default()) {
        Ok(out) => {
            let again = format(&Source { name: "f.yaml", text: &out }, &Limits::default());
            assert_eq!(again.expect("what was laid out can be read"), out, "twice is once\n{text}");
            out
        }
        Err(found) => found.render(false),
    }
}

#[test]
fn a_file_with_everything() {
    let text = "\n# The shop.\n\n\nbulkhead:   1   # the version\nvars:   [ A,B ]\nports: {redis: 6379/tcp,   web: [ 80/tcp , '443/tcp' ]}\ntenants:\n\n    shop:\n        # Where it stands.\n        networks: { main: { mode: nat, subnets: [10.0.0.0/16,\n          \"fd00:5::/48\"] } }\n        workloads:\n            web: { labels: { app: web },\n                # What runs.\n                run: [nginx, # the server\n                  -g, daemon off;] }\n            db:\n                labels: {app:   db}\n                netns:   db\n                # the last word of db\n            # the last word of workloads\n\n        policies:   # in the order of the alphabet\n            a: { from: app=web, to: app=db, allow: [redis] }   # why\n\n\n            # Two lines\n            # about b.\n            b:\n              from:\n              - app=web\n              - 'app=x'   # it's there\n              to: >\n                app=db\n              allow: [ ]\n        assert:\n        - never: world -> segment=data\n        # about the end\n        - only: \"[a, b] -> c\"\n# The end.\n";
    insta::assert_snapshot!(formatted(text));
}

#[test]
fn what_is_no_yaml_is_refused() {
    insta::assert_snapshot!(formatted("a: [1\nb: 2\n"), @r"
    error[BH0101]: this is not YAML: illegal placement of ':' indicator
     --> f.yaml:2:2
      |
    2 | b: 2
      |  ^ reading stopped here
      |
      = hint: look at this line and the one before: a missing colon, quote or bracket, or wrong indentation
    ");
    insta::assert_snapshot!(formatted("a: 1\na: 2\n"), @r"
    error[BH0104]: `a` is given twice
     --> f.yaml:2:1
      |
    1 | a: 1
      | - first here
    2 | a: 2
      | ^ again here
      |
      = hint: rename one of them, or merge the two
    ");
    insta::assert_snapshot!(formatted("a: &x 1\n"), @r"
    error[BH0103]: an anchor is not accepted in this file
     --> f.yaml:1:7
      |
    1 | a: &x 1
      |       ^
      |
      = hint: write the value out where it is needed
    ");
}

#[test]
fn long_lists_are_broken_and_short_ones_joined() {
    let long: Vec<String> = (0..40).map(|at| format!("{at}/tcp")).collect();
    let text = format!(
        "a: [{}]\nb: [\n  1,\n  2,\n]\nc:\n  - {{ d: [{}] }}\n",
        long[..4].join(","),
        long.join(",")
    );
    insta::assert_snapshot!(formatted(&text));
}

#[test]
fn the_projects_own_files_keep_their_meaning() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut seen = 0;
    for folder in ["examples", "fuzz/corpus/file", "benches", "packaging"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        for entry in entries.flatten() {
            let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
            let _shown = formatted(&text);
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} files were found");
}

/// Lines that together are a file now and then.
fn line() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "a: 1",
        "b:",
        "- x",
        "- k: v",
        "# note",
        "c: [1, 2]",
        "d: { e: f }",
        "'q': \"r\"",
        "g: |",
        "text",
        "",
        "h: [",
        "]",
        "i: {",
        "}",
        "j: 'it''s'",
        "- - z",
        "k: ~",
        "- ",
        "l: \"a\\nb\"",
        "m: >-",
        "x,",
        "y: z,",
        "---",
        "n: a # b",
        "? o",
        ": p",
        "-",
        "fd00::/8",
        "é: ü",
    ]);
    let comment = prop::sample::select(vec!["", "", "", "  # c", "#d"]);
    (0_usize..4, words, comment)
        .prop_map(|(depth, word, comment)| format!("{}{word}{comment}", "  ".repeat(depth)))
}

#[test]
fn what_stands_around_the_values_stays_or_is_refused() {
    let of = |text: &str| {
        let source = Source { name: "f.yaml", text };
        format(&source, &Limits::default()).map_err(|found| found.items[0].message.clone())
    };
    let out = |text: &str| of(text).expect(text);
    assert_eq!(out("---\nbulkhead:   1\n"), "---\nbulkhead: 1\n");
    assert_eq!(out("---  \n# c\nbulkhead: 1\n"), "---\n# c\nbulkhead: 1\n");
    assert_eq!(out("bulkhead:   1\r\n# c\r\n"), "bulkhead: 1\r\n# c\r\n");
    assert_eq!(out("---\r\na: |\r\n  b\r\n  c\r\n"), "---\r\na: |\r\n  b\r\n  c\r\n");
    assert_eq!(out("a: \"---\"\nb: '...'\n"), "a: \"---\"\nb: \"...\"\n");
    for text in ["a: 1\r\nb: 2\n", "a: 1\nb: 2\r\n", "a: 1\rb: 2\r", "a: 1\r\nb: 2\r"] {
        assert!(of(text).expect_err(text).contains("end in different ways"), "{text:?}");
    }
    for text in ["# c\n---\na: 1\n", "a: 1\n...\n", "--- # c\na: 1\n", "%YAML 1.2\n---\na: 1\n"] {
        assert!(of(text).expect_err(text).contains("mark of a document"), "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_changes_its_meaning_and_twice_is_once(lines in prop::collection::vec(line(), 0..9)) {
        // `format` itself refuses what would change; what is right YAML must come out.
        let text = lines.join("\n");
        let source = Source { name: "f.yaml", text: &text };
        if let Ok(out) = format(&source, &Limits::default()) {
            let again = format(&Source { name: "f.yaml", text: &out }, &Limits::default());
            prop_assert_eq!(again.map_err(|found| found.render(false)), Ok(out));
        } else {
            let marked = lines.iter().any(|line| line.starts_with("---"));
            let mut problems = Problems::new(&text, 9);
            let tree = tree::read(&text, &Limits::default(), &mut problems);
            prop_assert!(marked || tree.is_none() || problems.errors() > 0, "{} is right and was refused", text);
        }
    }
}
