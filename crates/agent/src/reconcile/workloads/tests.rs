//! What the runtime is told about the shop.

use super::*;
use crate::tests::{SHOP, wanted};

fn options() -> Options {
    Options {
        run_dir: "/run/bulkhead".into(),
        state_dir: "/var/lib/bulkhead".into(),
        bpffs: "/sys/fs/bpf/bulkhead".into(),
        group: None,
        flow_days: Options::FLOW_DAYS,
        flow_bytes: Options::FLOW_BYTES,
        podman: Options::PODMAN.into(),
        docker_driver: None,
        docker: Options::DOCKER.into(),
    }
}

#[test]
fn every_run_workload_has_a_sound_description_of_its_own() {
    let wanted = Wanted::of(&wanted(SHOP).bundle, &options());
    assert!(wanted.failed.is_empty(), "{:?}", wanted.failed);
    let ids: Vec<_> = wanted.specs.keys().map(|id| &**id).collect();
    assert_eq!(ids, ["shop.far", "shop.job", "shop.scanner", "shop.web"], "db is adopted");
    let mut users: Vec<_> = wanted.specs.values().map(|spec| spec.user.uid).collect();
    users.sort_unstable();
    users.dedup();
    assert_eq!(users.len(), 4, "no two share a user");
    for spec in wanted.specs.values() {
        spec.check().expect("a sound description");
        assert!(!spec.user.is_root());
    }
    let web = &wanted.specs["shop.web"];
    assert_eq!(web.netns, Path::new("/run/bulkhead/netns/shop.web"));
    assert_eq!(web.cgroup, Path::new("bulkhead/shop.web"));
}

#[test]
fn names_of_neighbours_stay_in_the_network() {
    let wanted = Wanted::of(&wanted(SHOP).bundle, &options());
    let names = |id: &str| -> Vec<String> {
        wanted.specs[id].hosts.iter().map(|host| host.names[0].clone()).collect()
    };
    assert!(names("shop.web").contains(&"db".to_owned()));
    assert_eq!(names("shop.far"), ["far"]);
    assert!(names("shop.job").is_empty());
}

#[test]
fn a_new_neighbour_restarts_nobody_and_new_arguments_do() {
    let old = Wanted::of(&wanted(SHOP).bundle, &options());
    let more =
        SHOP.replace("scanner: {", "more: { segment: main/front, run: [x] }\n      scanner: {");
    let new = Wanted::of(&wanted(&more).bundle, &options());
    let (web, other) = (&old.specs["shop.web"], &new.specs["shop.web"]);
    assert_ne!(web.hosts, other.hosts);
    assert!(is_same(web, other));
    let other = Spec { argv: vec!["apache2".to_owned()], ..other.clone() };
    assert!(!is_same(web, &other));
}
