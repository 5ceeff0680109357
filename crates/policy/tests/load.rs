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
fn assertions_take_bare_names_and_ports() {
    let file = |claim: &str| {
        format!(
            "bulkhead: 1\ntenants:\n  t:\n    networks: {{ n: {{ subnets: [10.0.0.0/16], segments: {{ front: {{ subnet: 10.0.1.0/24 }}, data: {{ subnet: 10.0.2.0/24 }} }} }} }}\n    \
             workloads: {{ web: {{ segment: front, netns: w, labels: {{ pci: yes }} }}, db: {{ segment: data, netns: d }} }}\n    assert: [{{ {claim} }}]\n"
        )
    };
    let said = |claim: &str| {
        let found = load("f.yaml", &file(claim)).document;
        let one = found.assertions.first().expect("an assertion").clone();
        let list =
            |peers: &[model::Peer]| peers.iter().map(ToString::to_string).collect::<String>();
        let ports: Vec<String> = one.ports.iter().map(ToString::to_string).collect();
        format!("{} -> {} {}", list(&one.from), list(&one.to), ports.join(","))
    };
    assert_eq!(
        said("never: 'front -> db:5432'"),
        "segment=front -> workload=db 5432/tcp,5432/udp,5432/sctp"
    );
    assert_eq!(said("always: 'web -> db:8080/tcp'"), "workload=web -> workload=db 8080/tcp");
    assert_eq!(said("only: 'pci -> db'"), "pci -> workload=db ", "a label is a label");
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
      allow#831534122 at web-in shop.yaml:24:7
    policy 1 tenants.shop.policies.web-to-db: app=web -> app=db allow [6379/tcp] deny [] from ports []
      allow#1215169114 at web-to-db shop.yaml:25:7
    policy 2 tenants.shop.policies.ops: role=ops | 192.0.2.0/24 -> segment=data allow [6379/tcp | icmp/echo-request] deny [] from ports []
      allow#67849715 at ops shop.yaml:26:7
    policy 3 tenants.shop.policies.updates: segment=front -> world allow [80/tcp | 443/tcp] deny [] from ports [] until 2027-01-01T00:00:00Z
      allow#3471864283 at updates shop.yaml:27:7
      audit#2151992399 at updates shop.yaml:27:7
    policy 4 policies.no-telnet: any -> any allow [] deny [23/tcp] from ports []
      deny#2477600299 at no-telnet shop.yaml:37:3
    policy 5 policies.separate: tenant=shop -> tenant=blog allow [] deny [any] from ports []
      deny#3752759904 at separate shop.yaml:38:3
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

#[test]
fn functional_subnets_keep_the_front_end_from_the_data_store() {
    insta::assert_snapshot!(quiet("subnets.yaml", include_str!("files/subnets.yaml")), @r#"
    network shop.main nat [10.0.0.0/16]
      front [10.0.1.0/24] in=deny out=deny
      data [10.0.2.0/24] in=deny out=deny
      admin [10.0.9.0/24] in=deny out=deny
      app [10.0.3.0/24] in=deny out=deny
    workload shop.nginx main/front {app=nginx} 10.0.1.10 Name("nginx")
    workload shop.mysql main/data {app=mysql} 10.0.2.10 Name("mysql")
    workload shop.shop main/app {app=shop} Name("shop")
    workload shop.jump main/admin {role=ops} 10.0.9.5 Name("jump")
    policy 0 tenants.shop.policies.front-to-app: segment=front -> segment=app allow [8080/tcp] deny [] from ports []
      allow#1272191470 at front-to-app subnets.yaml:22:7
    policy 1 tenants.shop.policies.app-to-data: segment=app -> segment=data allow [3306/tcp] deny [] from ports []
      allow#1344672472 at app-to-data subnets.yaml:23:7
    policy 2 tenants.shop.policies.no-direct-data: segment=front -> segment=data allow [] deny [any] from ports []
      deny#1465502425 at no-direct-data subnets.yaml:24:7
    Never segment=front -> segment=data:mysql Tenant("shop")
    Only segment=app -> segment=data:mysql Tenant("shop")
    "#);
}

#[test]
fn egress_only_to_web_ports() {
    insta::assert_snapshot!(quiet("egress.yaml", include_str!("files/egress.yaml")), @r#"
    network shop.main nat [10.0.0.0/16]
      front [10.0.1.0/24] in=deny out=deny
    workload shop.web main/front {app=web} Name("web")
    policy 0 tenants.shop.policies.outside: segment=front -> world allow [80/tcp | 443/tcp] deny [] from ports []
      allow#3073958377 at outside egress.yaml:11:7
    policy 1 tenants.shop.policies.web-in: world -> segment=front allow [80/tcp | 443/tcp] deny [] from ports []
      allow#831534122 at web-in egress.yaml:12:7
    "#);
}

#[test]
fn a_data_store_for_certain_management_addresses() {
    insta::assert_snapshot!(quiet("management.yaml", include_str!("files/management.yaml")), @r#"
    network shop.main routed [10.0.0.0/16]
      data [10.0.2.0/24] in=deny out=deny sealed
      management [10.0.9.0/24] in=deny out=deny
    workload shop.mysql main/data {app=mysql} Name("mysql")
    workload shop.dba main/management {role=dba} 10.0.9.5 Name("dba")
    workload shop.intern main/management {role=intern} 10.0.9.66 Name("intern")
    policy 0 tenants.shop.policies.dba-to-mysql: role=dba -> app=mysql allow [3306/tcp] deny [] from ports []
      allow#1995656749 at dba-to-mysql management.yaml:17:7
    policy 1 tenants.shop.policies.remote-office: 198.51.100.7 | 198.51.100.9 -> app=mysql allow [3306/tcp] deny [] from ports []
      allow#483792727 at remote-office management.yaml:18:7
    policy 2 tenants.shop.policies.backup: 203.0.113.4 -> app=mysql allow [873/tcp] deny [] from ports [1000-1023]
      allow#442294402 at backup management.yaml:19:7
    Never role=intern -> app=mysql Tenant("shop")
    "#);
}

#[test]
fn a_sealed_container_with_two_ports() {
    insta::assert_snapshot!(quiet("sealed.yaml", include_str!("files/sealed.yaml")), @r#"
    network clinic.main nat [10.7.0.0/24]
      records [10.7.0.0/24] in=deny out=deny sealed
    workload clinic.records main/records {app=records} ["nginx"] user=None env={} OnFailure
    publish 443/tcp records:443 []
    publish 80/tcp records:80 []
    policy 0 tenants.clinic.policies.web: world -> app=records allow [80/tcp | 443/tcp] deny [] from ports []
      allow#1678797953 at web sealed.yaml:13:7
    "#);
}

/// The examples that newcomers start from load without a warning.
#[test]
fn the_examples_load() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let files = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    for path in &files {
        quiet("example.yaml", &std::fs::read_to_string(path).expect("the example is readable"));
    }
    assert!(!files.is_empty());
}

/// Everything that documents show has to load: the examples in the reference and the guides.
#[test]
fn examples_in_the_documentation_load() {
    let documents = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let reference = std::fs::read_to_string(documents.join("reference/file.md"))
        .expect("the reference is there");
    let mut found = 0;
    for block in reference.split("```yaml\n").skip(1) {
        let text = block.split("```").next().expect("the block ends");
        if text.contains("bulkhead: 1\n") {
            let checked = load("file.md", text);
            assert!(checked.warnings.is_empty(), "{text}\n{}", checked.warnings);
            found += 1;
        }
    }
    assert!(found >= 2, "the reference has complete examples");
}

#[test]
fn where_workloads_come_at_run_time_selectors_may_name_what_is_not_there_yet() {
    let file = "bulkhead: 1
tenants:
  shop:
    networks:
      pods: { subnets: [10.1.0.0/24], attach: true }
    policies:
      api: { from: app=web, to: \"workload=api, tier in (a, b)\", allow: [80/tcp] }
    assert:
      - never: world -> app=db
policies:
  scrape: { from: host, to: app=web, allow: [9100/tcp] }
";
    let checked = load("pods.yaml", file);
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    assert!(checked.document.is_attached_to());
    let docker = file.replace("subnets: [10.1.0.0/24], attach: true", "external: { docker: pods }");
    let checked = load("pods.yaml", &docker);
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    let closed = file.replace(", attach: true", "");
    let source = Source { name: "pods.yaml", text: &closed };
    let refused = policy::load(&source, &|_| None, &Limits::default(), now());
    let codes = refused.expect_err("labels that nobody has").to_string();
    assert!(codes.contains("BH0121") && codes.contains("BH0120"), "{codes}");
}
