//! What a workload is and sees.

use std::collections::BTreeMap;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use host::linux::runtime::{HostEntry, Spec, User};

use super::Test;
use super::lab::{Lab, exec, run};

pub(crate) const TESTS: &[Test] = &[
    ("unprivileged_workload_is_confined_root", unprivileged_workload_is_confined),
    ("roots_workload_keeps_a_small_set_root", roots_workload_keeps_a_small_set),
    ("files_are_private_root", files_are_private),
    ("data_stays_root", data_stays),
    ("names_and_paths_are_the_workloads_own_root", names_and_paths_are_the_workloads_own),
];

/// What the probe says, by name, with a listening abstract socket on the host.
fn facts(lab: &Lab, change: impl FnOnce(Spec) -> Spec) -> BTreeMap<String, String> {
    let name = format!("bulkhead-test-{}-{}", std::process::id(), lab.user.uid);
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let _listener = UnixListener::bind_addr(&address).expect("a free name");
    let lines = run(lab, &change(lab.probe("cell", &["cell", &name])));
    let facts = lines.iter().filter_map(|line| line.split_once(": "));
    facts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn check(facts: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let found: Vec<(&str, &str)> = expected
        .iter()
        .map(|(name, _)| (*name, facts.get(*name).map_or("(not said)", String::as_str)))
        .collect();
    assert_eq!(found, expected, "all: {facts:#?}");
}

const NOT_PERMITTED: &str = "Operation not permitted (os error 1)";
const NO_FAMILY: &str = "Address family not supported by protocol (os error 97)";
const DENIED: &str = "Permission denied (os error 13)";
const READ_ONLY: &str = "Read-only file system (os error 30)";

fn unprivileged_workload_is_confined() {
    let lab = Lab::new();
    let facts = facts(&lab, |spec| spec);
    let (uid, gid) = (lab.user.uid, lab.user.gid);
    check(
        &facts,
        &[
            ("pid", "2"),
            ("user", &format!("{uid} {gid}")),
            ("groups", "0"),
            ("hostname", "cell"),
            ("CapPrm", "0000000000000000"),
            ("CapEff", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            ("user of pid 1", &uid.to_string()),
            ("memory of pid 1", DENIED),
            ("environment of pid 1", DENIED),
            ("processes", "2"),
            ("environment", "HOME HOSTNAME PATH"),
            ("folder", "/data"),
            ("run", ""),
            ("home", ""),
            ("cgroups", ""),
            ("interfaces", "lo"),
            ("mounts with set-user-id", "0"),
            ("mounts shared", "0"),
            ("abstract socket of the host", "Connection refused (os error 111)"),
            ("dev", "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"),
            ("open /dev/stdout", "works"),
            ("write /dev/null", "works"),
            ("read /dev/urandom", "works"),
            ("bind port 80", "works"),
            ("thread", "works"),
        ],
    );
    refusals(&facts);
    check(&facts, &[("read shadow", "empty"), ("write /proc/sys/kernel/core_pattern", READ_ONLY)]);
    assert!(
        facts
            .get("user name")
            .is_some_and(|line| line.contains(&format!("workload:x:{uid}:{gid}:")))
    );
}

/// What nobody may do, not even root.
fn refusals(facts: &BTreeMap<String, String>) {
    check(
        facts,
        &[
            ("socket packet", NO_FAMILY),
            ("socket vsock", NO_FAMILY),
            ("socket alg", NO_FAMILY),
            ("socket inet", "works"),
            ("socket unix", "works"),
            ("socket netlink", "works"),
            ("raw socket", NOT_PERMITTED),
            ("unshare user", NOT_PERMITTED),
            ("unshare net", NOT_PERMITTED),
            ("mount", NOT_PERMITTED),
            ("setns", NOT_PERMITTED),
            ("chroot", NOT_PERMITTED),
            ("write /x", READ_ONLY),
            ("write /usr/x", READ_ONLY),
            ("write /etc/x", READ_ONLY),
            ("write /dev/x", READ_ONLY),
            ("write /tmp", "works"),
            ("write /run", "works"),
            ("write /var/tmp", "works"),
            ("write /var/log", "works"),
            ("write /var/lib", "works"),
            ("write /dev/shm", "works"),
            ("write /data", "works"),
        ],
    );
}

fn roots_workload_keeps_a_small_set() {
    let lab = Lab::new();
    let facts = facts(&lab, |spec| Spec { user: User { uid: 0, gid: 0 }, ..spec });
    // chown dac_override fowner fsetid kill setgid setuid net_bind_service
    let set = "00000000000004fb";
    check(
        &facts,
        &[
            ("user", "0 0"),
            ("CapPrm", set),
            ("CapEff", set),
            ("CapBnd", set),
            ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("memory of pid 1", DENIED),
            ("read shadow", "empty"),
            ("write /proc/sys/kernel/core_pattern", READ_ONLY),
        ],
    );
    refusals(&facts);
}

fn files_are_private() {
    let lab = Lab::new();
    let (one, two) = (lab.spec("one", &["sleep", "600"]), lab.spec("two", &["sleep", "600"]));
    let (one, two) = (lab.start(&one), lab.start(&two));
    for place in ["/tmp", "/run", "/var/tmp", "/dev/shm", "/data"] {
        let file = format!("{place}/bulkhead-test-{}", std::process::id());
        assert_eq!(exec(&one, &["touch", &file]), (Some(0), String::new()));
        assert_eq!(exec(&two, &["test", "-e", &file]).0, Some(1), "{file} in the other workload");
        assert!(!std::path::Path::new(&file).exists(), "{file} on the host");
    }
    assert_eq!(exec(&one, &["test", "-e", lab.dirs.run.to_str().expect("plain")]).0, Some(1));
    assert_eq!(exec(&one, &["ls", "/root"]).0, Some(2), "root's folder is closed");
    let host = std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
    assert!(!host.contains("/workloads/t.one"), "mounts of a workload are seen by nobody else");
}

fn data_stays() {
    let lab = Lab::new();
    let data = lab.dirs.state.join("data/t.keeper");
    let spec = lab.spec("keeper", &["sh", "-c", "cat /data/count; echo run >> /data/count"]);
    let spec = Spec { data: Some(data.clone()), ..spec };
    assert_eq!(run(&lab, &spec), ["cat: /data/count: No such file or directory"]);
    // Starting it again takes the place of the ended one.
    assert_eq!(run(&lab, &spec).last().map(String::as_str), Some("run"));
    let metadata = std::fs::metadata(&data).expect("made by the runtime");
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (lab.user.uid, 0o700));
}

fn names_and_paths_are_the_workloads_own() {
    let lab = Lab::new();
    let spec = lab.spec("web", &["sh", "-c", "hostname; getent hosts db; pwd; whoami; echo $A"]);
    let hosts = vec![HostEntry {
        address: "192.0.2.7".parse().expect("an address"),
        names: vec!["db".into()],
    }];
    let env = BTreeMap::from([("A".to_owned(), "b c".to_owned())]);
    let lines = run(&lab, &Spec { hosts, env, workdir: Some("/tmp".into()), ..spec });
    assert_eq!(lines, ["web", "192.0.2.7       db", "/tmp", "workload", "b c"]);
}
