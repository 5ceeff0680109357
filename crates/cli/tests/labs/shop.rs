//! `examples/shop.yaml` with its real servers: declared and observed are the same.

use testkit::root_or_return;

use crate::stage::{SOON, Stage};

fn shop() -> Stage {
    let stage = Stage::new();
    let text = include_str!("../../../../examples/shop.yaml");
    stage.bulkhead.up(text).expect("shop.yaml is applied");
    stage
}

/// Waits until nginx and redis answer where policy lets them.
fn wait_for_servers(stage: &Stage) {
    for (from, to, service) in [
        ("shop/web", "shop/api", "tcp/9000"),
        ("shop/api", "shop/db", "tcp/6379"),
        ("blog/web", "blog/db", "tcp/6379"),
    ] {
        let up = testkit::wait_until(&format!("{to} {service}"), SOON, || {
            let answer = stage.bulkhead.cli_json(&["probe", from, to, service]);
            answer.is_ok_and(|answer| answer["observed"] == "connected")
        });
        up.expect("the server answers");
    }
}

#[test]
fn declared_and_observed_agree_root() {
    root_or_return!("declared_and_observed_agree_root");
    let stage = shop();
    wait_for_servers(&stage);
    let picture = stage.bulkhead.cli_json(&["matrix", "--live"]).expect("every probe agrees");
    let probes = picture["probes"].as_array().expect("probes");
    assert!(probes.len() >= 36, "{} probes", probes.len());
    let mut open: Vec<String> = probes
        .iter()
        .filter(|probe| probe["observed"] == "connected" || probe["observed"] == "answered")
        .map(|probe| {
            format!("{} {} {}", probe["from"], probe["to"], probe["service"]).replace('"', "")
        })
        .collect();
    open.sort();
    let expected = [
        "blog.web blog.db 6379/tcp",
        "shop.api shop.db 6379/tcp",
        "shop.ops shop.db 6379/tcp",
        "shop.ops shop.db icmp",
        "shop.web shop.api 9000/tcp",
    ];
    assert_eq!(open, expected);
}

#[test]
fn why_and_the_kernel_say_the_same_root() {
    root_or_return!("why_and_the_kernel_say_the_same_root");
    let stage = shop();
    wait_for_servers(&stage);
    for (from, to, service, verdict) in [
        ("shop/scanner", "shop/db", "tcp/6379", "drop"),
        ("shop/web", "shop/db", "tcp/6379", "drop"),
        ("shop/api", "shop/db", "tcp/6379", "allow"),
        ("shop/ops", "shop/db", "tcp/22", "drop"),
        ("shop/ops", "shop/db", "icmp", "allow"),
        ("shop/web", "shop/api", "tcp/23", "drop"),
    ] {
        let answer = stage.bulkhead.cli_json(&["probe", from, to, service]).expect("a probe");
        assert_eq!(answer["why"]["verdict"], verdict, "{from} {to} {service}");
        assert_eq!(answer["agrees"], true, "{answer}");
    }
    let why = stage.why("shop/scanner", "shop/db", "tcp/6379");
    assert_eq!(why["schema"], "bulkhead.why/1");
    assert_eq!(why["reason"]["code"], "BH-D002");
    assert!(why["near_misses"].as_array().is_some_and(|list| !list.is_empty()), "{why}");
    assert!(why["would_allow"]["yaml"].as_str().is_some_and(|yaml| yaml.contains("app=scanner")));
    let denied = stage.why("shop/web", "shop/api", "tcp/23");
    assert_eq!(denied["rule"]["name"], "no-telnet");
    assert_eq!(denied["reason"]["code"], "BH-D001");
}

#[test]
fn the_site_is_reached_from_outside_and_the_data_is_not_root() {
    root_or_return!("the_site_is_reached_from_outside_and_the_data_is_not_root");
    let stage = shop();
    let fetch = |port: u16| {
        let url = format!("http://198.51.100.2:{port}/");
        stage.outside.command(&["curl", "-s", "-m", "2", &url]).expect("curl runs").stdout
    };
    let site =
        testkit::wait_for("the site", SOON, || Some(fetch(8080)).filter(|text| !text.is_empty()));
    assert_eq!(site.expect("the site answers"), "shop: hello 198.51.100.1\n");
    assert_eq!(fetch(8081), "blog: hello 198.51.100.1\n");
    assert_eq!(fetch(6379), "");
    let logs = stage.bulkhead.cli(&["logs", "shop/db"]).expect("logs").stdout;
    assert!(logs.contains("Ready to accept connections"), "{logs}");
    let status =
        stage.bulkhead.cli(&["exec", "shop/ops", "--", "sh", "-c", "exit 7"]).expect("exec");
    assert_eq!(status.code(), Some(7));
}
