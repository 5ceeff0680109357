//! What kinds of objects of ours there are, by looking, and how each is removed: a kind that is found and not removed by any case fails the test.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::{Namespace, Scope, Snapshot};

use crate::stage::Stage;

use super::maps::{FILLED, FORGOTTEN, Maps};
use super::world::World;

/// A way to remove something, and the kinds of objects that it removes.
pub(super) struct Case {
    pub(super) name: String,
    covers: Vec<String>,
    pub(super) remove: Box<dyn Fn()>,
}

fn case(name: &str, covers: &[&str], remove: impl Fn() + 'static) -> Case {
    let covers = covers.iter().map(|kind| (*kind).to_owned()).collect();
    Case { name: name.to_owned(), covers, remove: Box::new(remove) }
}

/// The state of every place in which something of ours is.
pub(super) struct Look {
    spaces: Vec<(&'static str, Namespace)>,
    trees: [PathBuf; 2],
}

/// What a [`Look`] saw: a snapshot for each place, and what it does not show.
pub(super) type Seen = Vec<(&'static str, Snapshot, BTreeSet<String>)>;

impl Look {
    pub(super) fn new(stage: &Stage, spaces: &[(&'static str, Namespace)]) -> Self {
        let folders = stage.bulkhead.folders();
        let trees = [folders.bpffs.clone(), folders.run.join("netns")];
        Self { spaces: spaces.to_vec(), trees }
    }

    pub(super) fn now(&self) -> Option<Seen> {
        let see = |(name, space): &(&'static str, Namespace)| {
            // Another one may be there by now.
            let space = &Namespace::open(name, space.path()).ok()?;
            let trees = self.trees.iter().filter(|_| *name == "host");
            let scope = trees.fold(Scope::of(space), Scope::with_tree);
            Some((*name, scope.snapshot().ok()?, bridged(space)?))
        };
        self.spaces.iter().map(see).collect()
    }
}

/// Static entries of bridges and NICs for MACs of ours, and the flags of their ports.
fn bridged(space: &Namespace) -> Option<BTreeSet<String>> {
    let entries = space.check(&["bridge", "fdb", "show"]).ok()?.stdout;
    let ours = |line: &&str| line.starts_with("02:62:6") && !line.contains("offload");
    let entries = entries.lines().filter(ours).map(|line| format!("fdb: {line}"));
    let ports = space.check(&["bridge", "-d", "-j", "link", "show"]).ok()?.stdout;
    let ports: Value = serde_json::from_str(&ports).unwrap_or_default();
    let port = |port: &Value| {
        let mut port = port.clone();
        for volatile in ["ifindex", "link_index", "link", "state", "flags"] {
            port.as_object_mut()?.remove(volatile);
        }
        Some(format!("port: {port}"))
    };
    Some(entries.chain(ports.as_array().into_iter().flatten().filter_map(port)).collect())
}

/// The kinds of what is there and was not before; on a host, of everything in namespaces of ours.
pub(super) fn found(before: &Snapshot, seen: &Seen, ports: &BTreeSet<u32>) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    for (place, now, bridged) in seen {
        let nothing = Snapshot::default();
        let is_ours = *place != "host";
        let diff = if is_ours { &nothing } else { before }.diff(now);
        let lines = diff.lines().filter_map(|line| line.strip_prefix("+ "));
        kinds.extend(lines.filter_map(|line| kind(line, is_ours, ports)));
        kinds.extend(bridged.iter().filter_map(|line| {
            let (what, rest) = line.split_once(": ")?;
            let nic = rest.contains(" self ") || rest.ends_with(" self");
            match what {
                "fdb" if nic && rest.contains("dev eth1") => Some("MAC of a NIC".to_owned()),
                "fdb" => rest.contains("dev bh").then(|| "MAC behind a port".to_owned()),
                _ => rest.contains("\"bh").then(|| "flags of a port".to_owned()),
            }
        }));
    }
    kinds
}

/// The kind of the object that a line of a snapshot tells of; `None` for what the kernel makes by itself.
fn kind(line: &str, is_ours: bool, ports: &BTreeSet<u32>) -> Option<String> {
    let (section, rest) = line.split_once(": ")?;
    let json: Value = serde_json::from_str(rest).unwrap_or_default();
    let word = |key: &str| json[key].as_str().map(without_number);
    match section {
        "ip link" => word("ifname").filter(|name| name != "lo").map(|name| format!("link {name}")),
        "ip addr" => {
            let addresses = json["addr_info"].as_array()?.iter();
            let is_given = |one: &Value| one["scope"] != "link" && one["scope"] != "host";
            let name = word("ifname").filter(|_| addresses.clone().any(is_given))?;
            Some(format!("addresses of {name}"))
        }
        "ip route" | "ip -6 route" => {
            if json["table"] == "local" || json["protocol"] == "kernel" {
                return None;
            }
            let table = if json["table"].is_null() { "" } else { " of a table" };
            Some(format!("routes{table} over {}", word("dev")?))
        }
        "ip rule" | "ip -6 rule" => (json["src"] != "all").then(|| "rules".to_owned()),
        "ip neigh" => Some(format!("neighbours on {}", word("dev")?)),
        "nft" => {
            let table = &json["table"];
            let family = table["family"].as_str()?;
            Some(format!("table {family}"))
        }
        // In a namespace of ours it is written once, when that is made; of a link with the link.
        "sysctl" if is_ours => None,
        "sysctl" => {
            let key = rest.split_once(" = ")?.0;
            let owned = ["/conf/", "/neigh/"].iter().find_map(|of| key.split_once(of));
            match owned.and_then(|(_, name)| name.split_once('/')) {
                Some(("all", _)) | None => Some(format!("sysctl {key}")),
                // They follow what is written for all.
                Some((name, _)) if !name.starts_with("bt") => None,
                Some(_) => Some("sysctls of bt".to_owned()),
            }
        }
        "process" => None,
        _ if section.starts_with("tree ") => pinned(Path::new(rest), ports),
        // Mounts are those of namespaces, which are told already.
        _ => None,
    }
}

/// `bt12` as `bt`.
fn without_number(name: &str) -> String {
    // How the kernel numbers those is part of what they are called.
    if ["eth0", "br0", "up0", "lan0"].contains(&name) {
        return name.to_owned();
    }
    name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
}

/// The kind of a pin.
fn pinned(path: &Path, ports: &BTreeSet<u32>) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if path.to_str()?.ends_with('/') {
        let parent = path.parent()?.file_name()?;
        return (parent == "places").then(|| "mark of a port in place".to_owned());
    }
    let mut above = path.ancestors().skip(1).filter_map(|folder| folder.file_name()?.to_str());
    match above.next()? {
        "netns" if name.ends_with(".router") => Some("namespace of a router".to_owned()),
        "netns" => Some("namespace of a workload".to_owned()),
        "maps" => Some(format!("map {name}")),
        "links" => {
            let number: u32 = name.split_once('-')?.0.parse().ok()?;
            Some(format!("link of {}", owner(number, ports)))
        }
        "cgroups" => Some(format!("link at a cgroup: {}", name.split_once('-')?.1)),
        "places" => Some("mark of a port in place".to_owned()),
        _ if above.next() == Some("programs") => Some(format!("program {name}")),
        _ => Some(format!("a pin of a new kind: {}", path.display())),
    }
}

fn owner(number: u32, ports: &BTreeSet<u32>) -> &'static str {
    match number {
        16_000.. => "an uplink",
        _ if ports.contains(&number) => "a port in place",
        _ => "an endpoint",
    }
}

/// The programs at a cgroup.
const AT_CGROUPS: [&str; 8] = [
    "sent_by_socket",
    "sent_to_socket",
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "bind4",
    "bind6",
];

fn ip(space: &Namespace, batch: &'static str) -> impl Fn() + 'static {
    let space = space.clone();
    // What went with something else is gone already.
    move || {
        for line in batch.lines() {
            let words: Vec<&str> = ["ip"].into_iter().chain(line.split_whitespace()).collect();
            drop(space.command(&words));
        }
    }
}

fn run(space: &Namespace, argv: &'static [&'static str]) -> impl Fn() + 'static {
    let space = space.clone();
    move || drop(space.command(argv))
}

fn sysctl(space: &Namespace, key: &'static str, value: &'static str) -> impl Fn() + 'static {
    let space = space.clone();
    move || space.sysctl(key, value).expect("a sysctl")
}

/// Links of the host: to a router and onto a LAN, by the number of their network.
fn links(host: &Namespace, prefix: &str) -> Vec<String> {
    let shown = host.check(&["ip", "-j", "link", "show"]).expect("links").stdout;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let names = shown.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str());
    let is_one = |name: &&str| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
    };
    names.filter(is_one).map(str::to_owned).collect()
}

/// Runs `ip` with `line`, in which `@` is each link of the host whose name begins so.
fn each_link(host: &Namespace, prefix: &'static str, line: &'static str) -> impl Fn() + 'static {
    let host = host.clone();
    move || {
        for link in links(&host, prefix) {
            let line = line.replace('@', &link);
            let words: Vec<&str> = ["ip"].into_iter().chain(line.split_whitespace()).collect();
            drop(host.command(&words));
        }
    }
}

fn unpin(folder: PathBuf, is_one: impl Fn(&str) -> bool + 'static) -> impl Fn() + 'static {
    move || {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(&is_one) {
                drop(fs::remove_file(entry.path()).or_else(|_| fs::remove_dir(entry.path())));
            }
        }
    }
}

/// Takes the pin of a namespace away.
fn unmount(world: &World, name: &str) -> impl Fn() + 'static {
    let path = world.stage.bulkhead.folders().run.join("netns").join(name);
    let host = world.stage.host.clone();
    move || {
        host.check(&[OsStr::new("umount"), OsStr::new("--lazy"), path.as_os_str()])
            .expect("unmounted");
        fs::remove_file(&path).expect("removed");
    }
}

/// What is on the host, and on its side of routers and LANs.
fn of_the_host(host: &Namespace, main: &Namespace, lan: &Namespace) -> Vec<Case> {
    vec![
        case(
            "the table of the host",
            &["table inet"],
            run(host, &["nft", "delete", "table", "inet", "bulkhead"]),
        ),
        case(
            "the table of a NIC",
            &["table netdev"],
            run(host, &["nft", "delete", "table", "netdev", "bulkhead"]),
        ),
        case("everything in nftables", &[], run(host, &["nft", "flush", "ruleset"])),
        case(
            "the table of a router",
            &[],
            run(main, &["nft", "delete", "table", "inet", "bulkhead"]),
        ),
        case(
            "the table of a LAN",
            &["table bridge"],
            run(lan, &["nft", "delete", "table", "bridge", "bulkhead"]),
        ),
        case("links to routers", &["link bt", "link up0"], each_link(host, "bt", "link del @")),
        case("links to routers set down", &[], each_link(host, "bt", "link set @ down")),
        case("their addresses", &["addresses of bt"], each_link(host, "bt", "addr flush dev @")),
        case(
            "their neighbours",
            &["neighbours on bt"],
            each_link(host, "bt", "neigh flush dev @ nud permanent"),
        ),
        case("their routes", &["routes over bt"], each_link(host, "bt", "route flush dev @")),
        case("their sysctls", &["sysctls of bt"], {
            let host = host.clone();
            move || {
                for link in links(&host, "bt") {
                    drop(host.sysctl(&format!("net.ipv4.conf.{link}.rp_filter"), "1"));
                    drop(host.sysctl(&format!("net.ipv4.conf.{link}.route_localnet"), "0"));
                }
            }
        }),
        case("legs on a LAN", &["link bl"], each_link(host, "bl", "link del @")),
        case("the other side of a leg", &["link lan0"], ip(lan, "link del lan0")),
        case(
            "MACs of a NIC",
            &["MAC of a NIC"],
            run(host, &["bridge", "fdb", "del", "02:62:69:a8:32:0a", "dev", "eth1", "self"]),
        ),
        case(
            "forwarding",
            // The kernel lets redirects follow it.
            &[
                "sysctl net/ipv4/ip_forward",
                "sysctl net/ipv4/conf/all/forwarding",
                "sysctl net/ipv4/conf/all/accept_redirects",
            ],
            sysctl(host, "net.ipv4.ip_forward", "0"),
        ),
        case(
            "forwarding of IPv6",
            &["sysctl net/ipv6/conf/all/forwarding"],
            sysctl(host, "net.ipv6.conf.all.forwarding", "0"),
        ),
    ]
}

/// What is in a router.
fn of_a_router(main: &Namespace) -> Vec<Case> {
    vec![
        case("addresses of a gateway", &["addresses of br0"], ip(main, "addr flush dev br0")),
        case("a bridge", &["link br0"], ip(main, "link del br0")),
        case("addresses towards the host", &["addresses of up0"], ip(main, "addr flush dev up0")),
        case(
            "routes of a router",
            &["routes over up0"],
            ip(main, "route flush dev up0\n-6 route flush dev up0"),
        ),
        case(
            "neighbours of a router",
            &["neighbours on br0", "neighbours on up0"],
            ip(main, "neigh flush dev br0 nud permanent\nneigh flush dev up0 nud permanent"),
        ),
        case("a link of an endpoint", &["link bh"], ip(main, "link del bh2")),
        case("the link of an endpoint set down", &[], ip(main, "link set bh1 down")),
        case(
            "a MAC behind a port",
            &["MAC behind a port"],
            run(
                main,
                &["bridge", "fdb", "del", "02:62:68:00:00:01", "dev", "bh1", "master", "static"],
            ),
        ),
        case(
            "flags of a port",
            &["flags of a port"],
            run(
                main,
                &[
                    "bridge", "link", "set", "dev", "bh1", "learning", "on", "flood", "on",
                    "isolated", "off",
                ],
            ),
        ),
    ]
}

/// What is in the namespaces of workloads.
fn of_workloads(a: &Namespace, own: &Namespace) -> Vec<Case> {
    vec![
        case("a link of a workload", &["link eth0", "link eth"], ip(a, "link del eth1")),
        case(
            "addresses of a workload",
            &["addresses of eth0", "addresses of eth"],
            ip(a, "addr flush dev eth0\naddr flush dev eth1"),
        ),
        case(
            "routes of a workload",
            &["routes over eth0"],
            ip(a, "route flush table main\n-6 route flush table main"),
        ),
        case(
            "routes by source",
            &["routes of a table over eth0", "routes of a table over eth"],
            ip(a, "route flush table 2097153\nroute flush table 2097154"),
        ),
        case(
            "rules",
            &["rules"],
            ip(
                a,
                "rule flush\n-6 rule flush\nrule add pref 32766 lookup main\nrule add pref 32767 lookup default\n-6 rule add pref 32766 lookup main",
            ),
        ),
        case(
            "neighbours of a workload",
            &["neighbours on eth0", "neighbours on eth"],
            ip(own, "neigh flush dev eth0 nud permanent"),
        ),
    ]
}

/// What holds programs, and what holds namespaces.
fn of_programs(world: &World, ports: &BTreeSet<u32>, root: &Path) -> Vec<Case> {
    let in_place = ports.clone();
    let number =
        |name: &str| name.split_once('-').and_then(|(number, _)| number.parse::<u32>().ok());
    let is_of = move |name: &str, ports: &BTreeSet<u32>, of: &str| {
        number(name).is_some_and(|number| owner(number, ports) == of)
    };
    let link_of = |of: &'static str| {
        let ports = in_place.clone();
        unpin(root.join("links"), move |name| is_of(name, &ports, of))
    };
    vec![
        case("links of endpoints", &["link of an endpoint"], link_of("an endpoint")),
        case("links of ports in place", &["link of a port in place"], link_of("a port in place")),
        case("links of the uplink", &["link of an uplink"], link_of("an uplink")),
        case(
            "marks of ports in place",
            &["mark of a port in place"],
            unpin(root.join("places"), |_| true),
        ),
        case("a router's namespace", &["namespace of a router"], unmount(world, "t.back.router")),
        case("a workload's namespace", &["namespace of a workload"], unmount(world, "t.own")),
        case("all pins", &[], {
            let root = root.to_path_buf();
            move || drop(fs::remove_dir_all(&root))
        }),
    ]
}

/// What is in maps, and what pins them and the programs.
fn of_maps(world: &World, root: &Path) -> Vec<Case> {
    let mut all = Vec::new();
    let maps = Maps::of(&world.stage);
    for map in FILLED.iter().chain(&FORGOTTEN) {
        let maps = maps.clone();
        all.push(case(&format!("what is in {map}"), &[], move || maps.spoil(map)));
    }
    for (folder, what) in [("maps", "map"), ("programs", "program")] {
        let folder = root.join(folder);
        let folders = fs::read_dir(&folder).expect("pins").flatten().map(|entry| entry.path());
        let folders: Vec<PathBuf> =
            folders.filter(|path| path.is_dir()).chain([folder.clone()]).collect();
        for path in folders {
            for entry in
                fs::read_dir(&path).expect("pins").flatten().filter(|entry| entry.path().is_file())
            {
                let name = entry.file_name().into_string().expect("a name");
                let path = entry.path();
                let remove = move || drop(fs::remove_file(&path));
                all.push(case(&format!("the pin of {name}"), &[&format!("{what} {name}")], remove));
            }
        }
    }
    all
}

/// Every way to remove something.
pub(super) fn cases(
    world: &World,
    spaces: &[(&'static str, Namespace)],
    ports: &BTreeSet<u32>,
) -> Vec<Case> {
    let space = |name: &str| {
        let found = spaces.iter().find(|(known, _)| *known == name);
        found.map(|(_, space)| space.clone()).expect("a place")
    };
    let (host, main, lan, a, own) =
        (space("host"), space("main"), space("lan"), space("a"), space("own"));
    let root = super::root(&world.stage);
    let mut all = of_the_host(&host, &main, &lan);
    all.extend(of_a_router(&main));
    all.extend(of_workloads(&a, &own));
    all.extend(of_programs(world, ports, &root));
    all.extend(AT_CGROUPS.iter().map(|program| {
        let (program, folder) = (*program, root.join("cgroups"));
        let remove = unpin(folder, move |name| name.ends_with(&format!("-{program}")));
        case(program, &[&format!("link at a cgroup: {program}")], remove)
    }));
    all.extend(of_maps(world, &root));
    all
}

/// What is found and removed by no case, and what no case finds any more.
pub(super) fn missing(found: &BTreeSet<String>, cases: &[Case]) -> [Vec<String>; 2] {
    let covered: BTreeSet<&String> = cases.iter().flat_map(|case| &case.covers).collect();
    let uncovered = found.iter().filter(|kind| !covered.contains(kind)).cloned().collect();
    let stale = covered.into_iter().filter(|kind| !found.contains(*kind)).cloned().collect();
    [uncovered, stale]
}
