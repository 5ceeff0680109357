//! Plans and matrices as comments and pictures.

use api::{Change, ConnectionChange, Matrix, MatrixParty, PlanReport};
use insta::assert_snapshot;

use super::{area, between, report};
use crate::command::matrix::Picture;
use crate::command::matrix::picture as matrix;
use crate::command::plan::markdown::markdown;
use crate::command::plan::picture as plan;

/// Every text that a reader of XML finds.
fn read(svg: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(svg).expect("well-formed XML");
    assert!(document.descendants().all(|node| !node.has_tag_name("script")));
    let texts = document.descendants().filter(roxmltree::Node::is_text);
    texts.filter_map(|node| node.text()).map(str::to_owned).collect()
}

#[test]
fn a_plan_as_a_comment() {
    assert_snapshot!(markdown(&report(), "shop.yaml"));
}

#[test]
fn a_plan_as_a_picture() {
    let svg = plan::svg(&report(), "shop.yaml");
    read(&svg);
    assert_snapshot!(svg);
}

fn answer() -> Picture {
    let party = |name: &str, workload: bool| MatrixParty {
        name: name.to_owned(),
        workload: workload.then(|| name.replace('/', ".")),
        address: None,
    };
    let cell = |from, to, service: &str, verdict, published: Option<&str>| api::Cell {
        from,
        to,
        service: service.to_owned(),
        verdict,
        rule: None,
        published: published.map(str::to_owned),
    };
    let allow = api::Verdict::Allow;
    Picture {
        matrix: Matrix {
            generation: 7,
            parties: vec![
                party("shop/web", true),
                party("shop/db", true),
                party("host", false),
                party("world", false),
            ],
            cells: vec![
                cell(0, 1, "6379/tcp", allow, None),
                cell(1, 0, "8080,9000-9100/tcp", api::Verdict::Audit, None),
                cell(3, 0, "443/tcp", allow, Some("shop/https")),
            ],
        },
        probes: None,
    }
}

#[test]
fn a_matrix_as_a_picture() {
    let svg = matrix::svg(&answer());
    let texts = read(&svg);
    assert!(texts.iter().any(|text| text == "shop/web → shop/db: 6379/tcp"), "{texts:?}");
    assert!(texts.iter().any(|text| text == "shop/db → world: closed"), "{texts:?}");
    assert_snapshot!(svg);
}

#[test]
fn nothing_changes() {
    let nothing = PlanReport { unchanged_connections: Some(3), ..PlanReport::default() };
    assert_snapshot!(markdown(&nothing, "shop.yaml"), @r"
### Plan of `shop.yaml`

**no connection changes**

3 connections as before.
");
    let texts = read(&plan::svg(&nothing, "shop.yaml"));
    assert!(texts.contains(&"no connection changes".to_owned()), "{texts:?}");
}

/// What somebody may write who wants to be more than a text.
#[test]
fn texts_stay_texts() {
    let evil = "</text><script>alert(1)</script>&amp;\u{1b}[31m\u{0}'\"|`a`` @team ![x](http://x)";
    let change = ConnectionChange {
        from: evil.to_owned(),
        to: evil.to_owned(),
        between: between(evil, &[evil]),
        was: None,
        ..report().connections.remove(0)
    };
    let hostile = PlanReport {
        connections: vec![change],
        areas: vec![area(evil, Some(Change::Remove), &[evil])],
        ..report()
    };
    let texts = read(&plan::svg(&hostile, evil));
    assert!(texts.iter().any(|text| text.contains("<script>")), "shown as it is: {texts:?}");
    let comment = markdown(&hostile, evil);
    for line in comment.lines().filter(|line| line.contains("@team")) {
        let fence = "```";
        let before = line.split("@team").next().unwrap_or_default();
        assert!(before.contains(fence), "inside of code: {line}");
    }
    let row = comment.lines().find(|line| line.starts_with("| +")).expect("a row");
    let bars = row.replace("\\|", "").matches('|').count();
    assert_eq!(bars, 7, "as many cells as headings: {row}");
}

/// A picture has a bound, and says what it leaves out.
#[test]
fn many_arrows() {
    let change = report().connections.remove(0);
    let connections = (0..500)
        .map(|at| ConnectionChange {
            between: between(&format!("t/n{at}"), &["world"]),
            ..change.clone()
        })
        .collect();
    let svg = plan::svg(&PlanReport { connections, ..report() }, "shop.yaml");
    let texts = read(&svg);
    assert!(texts.iter().any(|text| text == "300 more arrows left out"), "{}", texts.len());
    assert!(svg.len() < 400_000, "{}", svg.len());
}
