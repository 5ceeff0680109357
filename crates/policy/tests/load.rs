//! Files that load, and what they mean.

mod summary;

use jiff::Timestamp;
use policy::{Checked, Limits, Source};
use summary::summary;

fn now() -> Timestamp {
    "2026-11-22T06:00:00Z".parse().expect("a time")
}

fn load(name: &str, text: &str) -> Checked {
    let variable = |name: &str| (name == "ADMIN_NET").then(|| "192.0.2.0/24".to_owned());
    policy::load(&Source { name, text }, &variable, &Limits::default(), now())
        .unwrap_or_else(|found| panic!("{found}"))
}

fn quiet(name: &str, text: &str) -> String {
    let checked = load(name, text);
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    summary(&checked.document)
}

#[test]
fn the_shop_means_what_it_says() {
    insta::assert_snapshot!(quiet("shop.yaml", include_str!("files/shop.yaml")), @r#"
    network shop.main nat [10.0.0.0/16, fd00:5::/48]
      front [10.0.1.0/24, fd00:5:0:1::/64] in=deny out=deny
      data [10.0.2.0/24] in=deny out=deny sealed
      admin [10.0.9.0/24] in=deny out=audit
    network blog.main bridge [10.0.0.0/16]
    workload shop.web main/front {app=web,tier=1.0} ["nginx", "-g", "daemon off;"] user=None env={"PORT": "8443"} OnFailure
    workload shop.db main/data {app=db} ["redis-server", "--protected-mode", "no"] user=Some(Id(1000)) env={} No
    workload shop.ops main/admin {role=ops} 10.0.9.7 Name("ops")
    workload blog.web main {app=web} Path("/run/netns/blog")
    publish 443/tcp web:8443 []
    policy 0 tenants.shop.policies.web-in: world -> app=web allow [8443/tcp] deny [] from ports []
      allow#831534122 at web-in shop.yaml:24
    policy 1 tenants.shop.policies.web-to-db: app=web -> app=db allow [6379/tcp] deny [] from ports []
      allow#1215169114 at web-to-db shop.yaml:25
    policy 2 tenants.shop.policies.ops: role=ops | 192.0.2.0/24 -> segment=data allow [6379/tcp | icmp/echo-request] deny [] from ports []
      allow#67849715 at ops shop.yaml:26
    policy 3 tenants.shop.policies.updates: segment=front -> world allow [80/tcp | 443/tcp] deny [] from ports [] until 2027-01-01T00:00:00Z
      allow#3471864283 at updates shop.yaml:27
      audit#2151992399 at updates shop.yaml:27
    policy 4 policies.no-telnet: any -> any allow [] deny [23/tcp] from ports []
      deny#2477600299 at no-telnet shop.yaml:37
    policy 5 policies.separate: tenant=shop -> tenant=blog allow [] deny [any] from ports []
      deny#3752759904 at separate shop.yaml:38
    Never world -> segment=data Tenant("shop")
    Only [app=web, role=ops] -> app=db Tenant("shop")
    Never tenant=shop -> tenant=blog Host
    "#);
}

#[test]
fn rule_ids_survive_edits_elsewhere_in_the_file() {
    let text = include_str!("files/shop.yaml");
    let ids = |text: &str| {
        load("shop.yaml", text).document.rules().map(|r| (r.path.clone(), r.id)).collect::<Vec<_>>()
    };
    let mut edited = ids(&text
        .replace("  no-telnet:", "  no-ftp: { from: any, to: any, deny: [21/tcp] }\n  no-telnet:"));
    edited.retain(|(path, _)| &**path != "policies.no-ftp");
    assert_eq!(edited, ids(text));
}
