//! Real servers as unprivileged workloads.

use std::path::Path;

use host::linux::runtime::Phase;

use super::Test;
use super::lab::{Lab, exe, in_network, status, until};

pub(crate) const TESTS: &[Test] =
    &[("nginx_serves_root", nginx_serves), ("redis_answers_root", redis_answers)];

const NGINX: &str = "daemon off; pid /tmp/nginx.pid; error_log stderr; events {} http { \
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi; \
    uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi; access_log /dev/stdout; \
    server { listen 80; location / { return 200 'hello from nginx'; } } }";

/// Whether a server that the test needs is there; in CI it must be.
fn is_installed(program: &str) -> bool {
    let found =
        ["/usr/sbin", "/usr/bin"].iter().any(|folder| Path::new(folder).join(program).exists());
    assert!(found || std::env::var_os("CI").is_none(), "{program} is not installed");
    if !found {
        println!("SKIPPED({program} is not installed)");
    }
    found
}

fn nginx_serves() {
    if !is_installed("nginx") {
        return;
    }
    let lab = Lab::new();
    let script = "printf '%s' \"$0\" > /tmp/nginx.conf; exec nginx -c /tmp/nginx.conf";
    let handle = lab.start(&lab.spec("web", &["sh", "-c", script, NGINX]));
    let exe = exe();
    let exe = exe.to_str().expect("plain");
    let page = until("an answer", || {
        let page = in_network(&lab, &[exe, "probe", "http", "127.0.0.1:80"]);
        page.contains("hello").then_some(page)
    });
    assert!(page.starts_with("HTTP/1.1 200 OK") && page.ends_with("hello from nginx"), "{page}");
    assert_eq!(status(&handle).phase, Phase::Running);
    assert_eq!(status(&handle).restarts, 0);
    until("the access log", || {
        super::lab::output(&handle).iter().any(|line| line.contains("GET /")).then_some(())
    });
}

fn redis_answers() {
    if !is_installed("redis-server") {
        return;
    }
    let lab = Lab::new();
    let handle = lab.start(&lab.spec("db", &["redis-server", "--protected-mode", "no"]));
    until("an answer", || (in_network(&lab, &["redis-cli", "ping"]) == "PONG").then_some(()));
    assert_eq!(in_network(&lab, &["redis-cli", "set", "a", "b"]), "OK");
    assert_eq!(in_network(&lab, &["redis-cli", "save"]), "OK", "its folder is writable");
    assert_eq!(status(&handle).phase, Phase::Running);
}
