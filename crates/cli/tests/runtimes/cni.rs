//! `bulkhead-cni` by its protocol: many at once, cut off in the middle, asked twice; and as other tests give it to runtimes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::podman::Plugins;
use testkit::server::{Reached, TcpEcho, probe_tcp};
use testkit::{Finished, Namespace, Proc, root_or_return, run_with_deadline, wait_until};

use crate::stage::{HOST, SILENCE, SOON, Stage, at, reaches};

/// How long a call may take on a busy machine.
const CALL: Duration = Duration::from_mins(1);
/// The plugin that ours is chained behind.
const BRIDGE: &str = "/usr/lib/cni/bridge";
/// Calls at one time.
const MANY: usize = 100;
/// The workload of the file, and what it serves.
pub(crate) const DB: &str = "10.88.7.10";

/// A host with a network `pods` of tenant `t`, to which runtimes attach, a workload `db` in it that serves two ports, and
/// a folder with the plugin.
pub(crate) struct Plugged {
    pub(crate) allowed: TcpEcho,
    pub(crate) closed: TcpEcho,
    /// The folder with the plugin, and that with its configuration.
    pub(crate) bin: PathBuf,
    pub(crate) conf: PathBuf,
    times: PathBuf,
    pub(crate) stage: Stage,
}

impl Plugged {
    pub(crate) fn new() -> Self {
        let mut stage = Stage::new();
        let (db, path) = stage.adopted("db");
        let file = format!(
            "bulkhead: 1
tenants:
  t:
    networks: {{ pods: {{ mode: nat, subnets: [10.88.7.0/24], attach: true }} }}
    workloads:
      db: {{ network: pods, address: [{DB}], labels: {{ app: db }}, netns: {path} }}
    policies:
      web-to-db: {{ from: app=web, to: app=db, allow: [6379/tcp] }}
"
        );
        stage.bulkhead.up(&file).expect("applied");
        let allowed = TcpEcho::start(&db, at(&format!("{DB}:6379"))).expect("a server");
        let closed = TcpEcho::start(&db, at(&format!("{DB}:22"))).expect("a server");
        let dir = stage.lab.dir().to_owned();
        let (bin, real, conf) = (dir.join("bin"), dir.join("real"), dir.join("net.d"));
        for folder in [&bin, &real, &conf] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        let plugin = real.join("bulkhead-cni");
        let binary = testkit::bulkhead::binary().expect("the binary");
        std::os::unix::fs::symlink(binary, &plugin).expect("the plugin");
        // As runtimes see it: with its start and its end.
        let times = dir.join("times");
        let script = format!(
            "#!/bin/sh\nbegin=$(date +%s%N)\n{}\ncode=$?\n\
             echo \"$CNI_COMMAND $code $(( ($(date +%s%N) - begin) / 1000 ))\" >> {}\nexit $code\n",
            plugin.display(),
            times.display()
        );
        let wrapper = bin.join("bulkhead-cni");
        std::fs::write(&wrapper, script).expect("a script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&wrapper, mode).expect("a program");
        let plugged = Self { allowed, closed, bin, conf, times, stage };
        let list =
            json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [plugged.network("web")] });
        std::fs::write(plugged.conf.join("10-pods.conflist"), list.to_string()).expect("written");
        plugged
    }

    /// Adds a network `plane`, in which a workload at 10.99.7.10 serves port 22 for `app=web` of that network.
    pub(crate) fn second_network(&mut self) -> TcpEcho {
        let (ops, path) = self.stage.adopted("ops");
        let file = format!(
            "bulkhead: 1
tenants:
  t:
    networks:
      pods: {{ mode: nat, subnets: [10.88.7.0/24], attach: true }}
      plane: {{ mode: bridge, subnets: [10.99.7.0/24], attach: true }}
    workloads:
      ops: {{ network: plane, address: [10.99.7.10], labels: {{ app: ops }}, netns: {path} }}
    policies:
      plane: {{ from: \"app=web, network=plane\", to: app=ops, allow: [22/tcp] }}
"
        );
        self.stage.bulkhead.up(&file).expect("applied");
        TcpEcho::start(&ops, at("10.99.7.10:22")).expect("a server")
    }

    /// Where runtimes look for plugins and networks.
    pub(crate) fn plugins(&self) -> Plugins<'_> {
        Plugins { bin: &self.bin, conf: &self.conf }
    }

    /// The plugin's own part of a configuration.
    pub(crate) fn network(&self, app: &str) -> Value {
        json!({
            "type": "bulkhead-cni",
            "tenant": "t",
            "network": "pods",
            "labels": { "app": app },
            "runDir": self.stage.bulkhead.folders().run.display().to_string(),
            "capabilities": { "io.kubernetes.cri.pod-annotations": true, "ips": true },
        })
    }

    /// What is attached now: workload ids by key.
    pub(crate) fn attached(&self) -> Vec<(String, String)> {
        let all = self.stage.bulkhead.cli_json(&["attachments"]).expect("attachments");
        let all = all["attachments"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all.iter().map(|each| (text(&each["key"]), text(&each["workload"]))).collect()
    }

    /// That nothing is left of what came and went: attachments, links in the router, addresses that answer.
    pub(crate) fn is_empty(&self) {
        assert_eq!(self.attached(), []);
        let run = &self.stage.bulkhead.folders().run;
        let router = Namespace::open("router", &run.join("netns/t.pods.router")).expect("it");
        let links = router.check(&["ip", "-br", "link", "show", "type", "veth"]).expect("links");
        let ports = links.stdout.lines().filter(|line| line.starts_with("bh")).count();
        assert_eq!(ports, 1, "only that of `db` is left: {}", links.stdout);
    }

    /// The median time of the calls of a kind that a runtime made, in milliseconds, and how many there were.
    pub(crate) fn median(&self, verb: &str) -> (f64, usize) {
        let text = std::fs::read_to_string(&self.times).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.split(' ');
            let own = words.next() == Some(verb) && words.next() == Some("0");
            words.next().filter(|_| own)?.parse::<f64>().ok()
        };
        let mut times: Vec<f64> = text.lines().filter_map(line).collect();
        times.sort_by(f64::total_cmp);
        let middle = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
        (middle / 1000.0, times.len())
    }

    /// A command for the plugin, as a runtime starts it.
    fn command(&self, verb: &str, container: &str, netns: &Path) -> Command {
        let mut command = Command::new(self.stage.lab.dir().join("real/bulkhead-cni"));
        command.env_clear().env("CNI_COMMAND", verb).env("CNI_CONTAINERID", container);
        command.env("CNI_NETNS", netns).env("CNI_IFNAME", "eth0").env("CNI_PATH", &self.bin);
        command.env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAME={container}"));
        command
    }

    fn configuration(&self, more: &Value) -> Vec<u8> {
        let mut conf = self.network("web");
        let fields = conf.as_object_mut().expect("an object");
        fields.insert("cniVersion".to_owned(), "1.1.0".into());
        fields.insert("name".to_owned(), "pods".into());
        fields.extend(more.as_object().cloned().unwrap_or_default());
        conf.to_string().into_bytes()
    }

    fn call(&self, verb: &str, container: &str, netns: &Path, more: &Value) -> Finished {
        let mut command = self.command(verb, container, netns);
        run_with_deadline(&mut command, Some(&self.configuration(more)), CALL).expect("it ran")
    }

    fn good(&self, verb: &str, container: &str, netns: &Path) -> Value {
        let done = self.call(verb, container, netns, &json!({}));
        assert_eq!(done.code(), Some(0), "{verb} {container}: {done:?}");
        serde_json::from_str(&done.stdout).unwrap_or_default()
    }

    /// A call of the real `bridge` plugin and of ours behind it, or the other way round; the address that ADD gave.
    fn chained(&self, verb: &str, container: &str, app: &str, netns: &Path) -> String {
        let state = self.stage.lab.dir().join("ipam").display().to_string();
        let outer = json!({
            "cniVersion": "1.0.0", "name": "lan", "type": "bridge", "bridge": "cni0", "isGateway": true,
            "ipam": { "type": "host-local", "subnet": "10.99.0.0/24", "dataDir": state },
        });
        let mut own = self.network(app);
        for (field, value) in [("network", "lan"), ("name", "lan"), ("cniVersion", "1.0.0")] {
            own[field] = value.into();
        }
        let run = |program: &Path, conf: &Value| {
            let done = self.stage.host.run(|| {
                let mut command = Command::new(program);
                command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", container);
                command.env("CNI_NETNS", netns).env("CNI_IFNAME", "eth0");
                command.env("CNI_PATH", "/usr/lib/cni").env("CNI_ARGS", "IgnoreUnknown=1");
                run_with_deadline(&mut command, Some(conf.to_string().as_bytes()), CALL)
            });
            let done = done.expect("entered").expect("it ran");
            assert_eq!(done.code(), Some(0), "{verb} {container}: {done:?}");
            serde_json::from_str::<Value>(&done.stdout).unwrap_or_default()
        };
        let plugin = self.stage.lab.dir().join("real/bulkhead-cni");
        if verb != "ADD" {
            run(&plugin, &own);
            run(Path::new(BRIDGE), &outer);
            return String::new();
        }
        let made = run(Path::new(BRIDGE), &outer);
        own["prevResult"] = made.clone();
        assert_eq!(run(&plugin, &own), made, "what `bridge` said is passed on");
        let address = made["ips"][0]["address"].as_str().unwrap_or_default();
        address.split('/').next().unwrap_or_default().to_owned()
    }
}

#[test]
fn a_container_is_added_once_checked_and_gone_root() {
    root_or_return!("a_container_is_added_once_checked_and_gone_root");
    let mut plugged = Plugged::new();
    let (pod, _) = plugged.stage.adopted("pod");
    let added = plugged.good("ADD", "web-0", pod.path());
    assert_eq!(plugged.good("ADD", "web-0", pod.path()), added, "the same again is the same");
    assert_eq!(added["ips"][0]["gateway"], "10.88.7.1");
    let allowed = probe_tcp(&pod, at(&format!("{DB}:6379")), SILENCE).expect("it ran");
    assert_eq!(allowed, Reached::Answered);
    let closed = probe_tcp(&pod, at(&format!("{DB}:22")), SILENCE).expect("it ran");
    assert_ne!(closed, Reached::Answered);
    assert_eq!(plugged.stage.drop_code("t/web-0", "t/db"), "BH-D002");

    let prev = json!({ "prevResult": added });
    assert_eq!(plugged.call("CHECK", "web-0", pod.path(), &prev).code(), Some(0));
    let other = json!({ "prevResult": { "ips": [{ "address": "10.88.7.200/24" }] } });
    assert_eq!(plugged.call("CHECK", "web-0", pod.path(), &other).code(), Some(1));
    assert_eq!(plugged.call("STATUS", "", Path::new(""), &json!({})).code(), Some(0));
    let versions = plugged.good("VERSION", "", Path::new(""));
    assert_eq!(versions["supportedVersions"], json!(["0.4.0", "1.0.0", "1.1.0"]));

    // Another container with the same name is another workload; one without a namespace is none.
    let (twin, _) = plugged.stage.adopted("twin");
    let mut second = plugged.command("ADD", "twin", twin.path());
    second.env("CNI_ARGS", "K8S_POD_NAME=web-0");
    let conf = plugged.configuration(&json!({}));
    let done = run_with_deadline(&mut second, Some(&conf), CALL).expect("it ran");
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(plugged.attached().iter().any(|(_, id)| id.starts_with("t.web-0-")));
    let refused = plugged.call("ADD", "none", Path::new("/run/netns/there-is-none"), &json!({}));
    let error: Value = serde_json::from_str(&refused.stdout).expect("JSON");
    assert_eq!((refused.code(), &error["code"]), (Some(1), &json!(100)));
    assert!(error["details"].as_str().is_some_and(|text| text.contains("hint: ")), "{error}");

    let valid =
        json!({ "cni.dev/valid-attachments": [{ "containerID": "web-0", "ifname": "eth0" }] });
    assert_eq!(plugged.call("GC", "", Path::new(""), &valid).code(), Some(0));
    assert_eq!(plugged.attached().len(), 1);
    for _ in 0..2 {
        plugged.good("DEL", "web-0", pod.path());
    }
    assert!(plugged.call("CHECK", "web-0", pod.path(), &prev).code() == Some(1));
    plugged.is_empty();
    let links = pod.check(&["ip", "-br", "link"]).expect("links").stdout;
    assert_eq!(links.lines().count(), 1, "loopback only: {links}");
}

/// A further call as Multus makes it: another network, another interface, the same container.
fn second(plugged: &Plugged, verb: &str, (container, name): (&str, &str), netns: &Path) -> Value {
    let mut conf = plugged.network("web");
    for (field, value) in [("cniVersion", "1.0.0"), ("name", "plane"), ("network", "plane")] {
        conf[field] = value.into();
    }
    let mut command = plugged.command(verb, container, netns);
    command.env("CNI_IFNAME", "net1");
    command.env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAME={name}"));
    let done = run_with_deadline(&mut command, Some(conf.to_string().as_bytes()), CALL);
    let done = done.expect("it ran");
    assert_eq!(done.code(), Some(0), "{verb} {container}: {done:?}");
    serde_json::from_str(&done.stdout).unwrap_or_default()
}

#[test]
fn a_second_network_is_a_second_interface_of_the_same_workload_root() {
    root_or_return!("a_second_network_is_a_second_interface_of_the_same_workload_root");
    let mut plugged = Plugged::new();
    let _ops = plugged.second_network();
    let asks = |pod: &Namespace| {
        probe_tcp(pod, at("10.99.7.10:22"), SILENCE).expect("it ran") == Reached::Answered
    };
    let (pod, _) = plugged.stage.adopted("pod");
    let (twin, _) = plugged.stage.adopted("twin");
    plugged.good("ADD", "web-0", pod.path());
    assert!(!asks(&pod));
    let added = second(&plugged, "ADD", ("web-0", "web-0"), pod.path());
    assert_eq!(second(&plugged, "ADD", ("web-0", "web-0"), pod.path()), added, "the same again");
    assert_eq!((&added["interfaces"][0]["name"], &added["routes"]), (&json!("net1"), &json!([])));
    assert!(asks(&pod));
    let ids = |plugged: &Plugged| {
        let mut ids: Vec<String> = plugged.attached().into_iter().map(|(_, id)| id).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&plugged), ["t.web-0", "t.web-0@plane"]);
    // Another pod with that name: both of its interfaces get the same other name.
    for network in ["pods", "plane"] {
        if network == "plane" {
            second(&plugged, "ADD", ("twin", "web-0"), twin.path());
            continue;
        }
        let mut first = plugged.command("ADD", "twin", twin.path());
        first.env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web-0");
        let conf = plugged.configuration(&json!({}));
        let done = run_with_deadline(&mut first, Some(&conf), CALL).expect("it ran");
        assert_eq!(done.code(), Some(0), "{done:?}");
    }
    let all = ids(&plugged);
    // `-` comes before `@`.
    let [_, other, further, _] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(*further, format!("{other}@plane"));
    assert!(asks(&twin));
    for (name, container) in [("web-0", &pod), ("twin", &twin)] {
        second(&plugged, "DEL", (name, "web-0"), container.path());
        plugged.good("DEL", name, container.path());
        let rules = container.check(&["ip", "rule"]).expect("rules").stdout;
        assert_eq!(rules.lines().count(), 3, "{rules}");
    }
    assert_eq!(plugged.attached(), []);
    println!(
        "runtime cni second interface: judged by its own network, no default route, DEL leaves nothing"
    );
}

#[test]
fn ports_that_the_runtime_maps_lead_in_as_policy_says_root() {
    root_or_return!("ports_that_the_runtime_maps_lead_in_as_policy_says_root");
    let mut plugged = Plugged::new();
    let (pod, _) = plugged.stage.adopted("pod");
    let ports = json!({ "runtimeConfig": { "portMappings": [
        { "hostPort": 8088, "containerPort": 80, "protocol": "tcp", "hostIP": "" }
    ] } });
    for _ in 0..2 {
        let done = plugged.call("ADD", "web-0", pod.path(), &ports);
        assert_eq!(done.code(), Some(0), "{done:?}");
    }
    let any = SocketAddr::from(([0, 0, 0, 0], 80));
    let _server = TcpEcho::start(&pod, any).expect("a server");
    let stage = &plugged.stage;
    let published = format!("{HOST}:8088");
    let listed = || {
        let list = stage.bulkhead.cli_json(&["publish", "list"]).expect("a list");
        let ports = list["ports"].as_array().cloned().unwrap_or_default();
        ports.into_iter().find(|each| each["port"] == 8088).unwrap_or_default()
    };
    assert!(!reaches(&stage.outside, &published), "a mapping opens nothing");
    let port = listed();
    let told = (port["opener"].as_str(), port["to"].as_str(), port["world"].as_str());
    assert_eq!(told, (Some("bulkhead"), Some("t/web-0:80"), Some("drop")), "{port}");

    let file = stage.bulkhead.folders().run.with_file_name("bulkhead.yaml");
    let text = std::fs::read_to_string(&file).expect("the file in force");
    let open = "      in: { from: world, to: app=web, allow: [80/tcp] }\n";
    stage.bulkhead.up(&(text + open)).expect("applied");
    assert!(reaches(&stage.outside, &published), "policy lets the world in");
    assert_eq!(listed()["world"], "allow");
    println!("runtime cni ports: a mapped port opened nothing, and led in when a policy said so");
    plugged.good("DEL", "web-0", pod.path());
    assert!(!reaches(&plugged.stage.outside, &published), "it goes with the container");
}

#[test]
fn a_hundred_at_once_and_some_that_are_killed_root() {
    root_or_return!("a_hundred_at_once_and_some_that_are_killed_root");
    let mut plugged = Plugged::new();
    let pods: Vec<Namespace> = (0..MANY)
        .map(|n| plugged.stage.lab.bare_namespace(&format!("p{n}")).expect("a namespace"))
        .collect();
    let conf = plugged.configuration(&json!({}));
    let began = Instant::now();
    let started: Vec<Proc> = pods
        .iter()
        .enumerate()
        .map(|(n, pod)| {
            let mut command = plugged.command("ADD", &format!("p{n}"), pod.path());
            Proc::spawn(&mut command, Some(&conf)).expect("it starts")
        })
        .collect();
    // Every fourth is cut off wherever it is.
    for killed in started.iter().step_by(4) {
        let pid = Pid::from_raw(i32::try_from(killed.pid()).expect("a pid")).expect("a pid");
        let _ended = kill_process(pid, Signal::KILL);
    }
    for mut call in started {
        assert!(call.wait_exit(CALL).expect("waited"), "a call ends");
    }
    let took = began.elapsed();
    // A runtime asks again, or deletes: both must be right whatever had happened.
    for (n, pod) in pods.iter().enumerate().step_by(4) {
        let verb = if n % 8 == 0 { "ADD" } else { "DEL" };
        plugged.good(verb, &format!("p{n}"), pod.path());
    }
    let gone = (0..MANY).step_by(4).filter(|n| n % 8 != 0).count();
    let attached = plugged.attached();
    assert_eq!(attached.len(), MANY - gone);
    let mut times = Vec::new();
    for (n, pod) in pods.iter().enumerate().filter(|(n, _)| n % 4 != 0 || n % 8 == 0).step_by(7) {
        let asked = Instant::now();
        plugged.good("ADD", &format!("p{n}"), pod.path());
        times.push(asked.elapsed());
        let reached = probe_tcp(pod, at(&format!("{DB}:6379")), SOON).expect("it ran");
        assert_eq!(reached, Reached::Answered, "p{n}");
    }
    // What is not deleted ends with its namespace.
    let (first, rest) = pods.split_at(MANY / 2);
    for (n, pod) in first.iter().enumerate() {
        plugged.good("DEL", &format!("p{n}"), pod.path());
    }
    for pod in rest {
        plugged.stage.lab.remove(pod);
    }
    let ends =
        wait_until("attachments end", Duration::from_secs(40), || plugged.attached().is_empty());
    ends.expect("those whose namespace is gone end");
    plugged.is_empty();
    times.sort_unstable();
    println!(
        "runtime cni main: 100 parallel ADDs, 25 of them killed, every one judged; all in {:.1} s, an ADD that is repeated p50 {:.1} ms",
        took.as_secs_f64(),
        times[times.len() / 2].as_secs_f64() * 1e3
    );
}

#[test]
fn behind_the_bridge_plugin_its_port_is_taken_in_place_root() {
    const NAME: &str = "behind_the_bridge_plugin_its_port_is_taken_in_place_root";
    root_or_return!(NAME);
    if !Path::new(BRIDGE).is_file() {
        assert!(std::env::var_os("CI").is_none(), "{NAME} needs {BRIDGE}");
        println!("SKIPPED({BRIDGE}): {NAME}");
        return;
    }
    let mut plugged = Plugged::new();
    let file = "bulkhead: 1
tenants:
  t:
    networks: { lan: { external: { bridge: cni0 }, subnets: [10.99.0.0/24], attach: true } }
    policies:
      web-to-db: { from: app=web, to: app=db, allow: [6379/tcp] }
";
    plugged.stage.bulkhead.up(file).expect("applied");
    let (web, _) = plugged.stage.adopted("web");
    let (job, _) = plugged.stage.adopted("job");
    let (data, _) = plugged.stage.adopted("data");
    let address = plugged.chained("ADD", "data", "db", data.path());
    plugged.chained("ADD", "web", "web", web.path());
    plugged.chained("ADD", "job", "job", job.path());
    let server = TcpEcho::start(&data, at(&format!("{address}:6379"))).expect("a server");
    let asks = |from: &Namespace, port: u16| {
        probe_tcp(from, at(&format!("{address}:{port}")), SILENCE).expect("it ran")
    };
    assert_ne!(asks(&job, 6379), Reached::Answered);
    assert_eq!(server.accepted(), 0);
    assert_eq!(plugged.stage.drop_code("t/job", "t/data"), "BH-D002");
    assert_eq!(asks(&web, 6379), Reached::Answered);
    assert_ne!(asks(&web, 22), Reached::Answered);
    drop(server);
    for (name, pod) in [("web", &web), ("job", &job), ("data", &data)] {
        plugged.chained("DEL", name, "", pod.path());
    }
    assert_eq!(plugged.attached(), []);
    println!(
        "runtime cni behind bridge: ports in place, allowed passes, the rest is dropped, what bridge made is not changed, DEL leaves nothing"
    );
}
