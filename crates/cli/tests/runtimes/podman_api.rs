//! Podman's containers, named and labelled by its own API: before their first packet, in several networks, and when it lies or is silent.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Proc, root_or_return, wait_for, wait_until};

use crate::cni::{DB, Plugged};
use crate::podman::{IMAGE, Podman, are_there};

/// What a real Podman needs.
pub(crate) const NEEDS: [&str; 4] = ["podman", "conmon", "runc", "busybox"];

/// A Podman with its service, and an agent that asks it.
pub(crate) struct Asked {
    service: Option<Proc>,
    socket: PathBuf,
    pub(crate) podman: Podman,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(service) = self.service.take() {
            drop(service.stop(Duration::from_secs(5)));
        }
    }
}

impl Asked {
    pub(crate) fn new() -> Self {
        let podman = Podman::new(Plugged::new()).expect("Podman");
        let socket = podman.folder().join("podman.sock");
        let mut asked = Self { service: None, socket, podman };
        // A network that labels nobody.
        asked.network("plain", &json!({ "network": "pods" }));
        asked.serve();
        let stage = &mut asked.podman.plugged.stage;
        stage.bulkhead.agent_options(&["--podman", &asked.socket.display().to_string()]);
        stage.bulkhead.kill_agent().expect("killed");
        stage.bulkhead.start_agent().expect("started");
        asked
    }

    /// A network of Podman's whose plugin is ours, with these fields.
    fn network(&self, name: &str, more: &Value) {
        let mut own = self.podman.plugged().network("nobody");
        own["labels"] = json!({});
        let fields = own.as_object_mut().expect("an object");
        fields.extend(more.as_object().cloned().unwrap_or_default());
        self.networks(name, &json!([own]));
    }

    pub(crate) fn networks(&self, name: &str, plugins: &Value) {
        let list = json!({ "cniVersion": "1.0.0", "name": name, "plugins": plugins });
        let file = self.podman.plugged().conf.join(format!("20-{name}.conflist"));
        std::fs::write(file, list.to_string()).expect("written");
    }

    /// Starts the service.
    fn serve(&mut self) {
        let _old = std::fs::remove_file(&self.socket);
        let socket = format!("unix://{}", self.socket.display());
        let line = self.podman.line(&["system", "service", "--time", "0", &socket]);
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        let service = self.podman.plugged().stage.host.spawn(&mut command).expect("a service");
        self.service = Some(service);
        let is_there = || std::os::unix::net::UnixStream::connect(&self.socket).is_ok();
        wait_until("the service", Duration::from_secs(20), is_there).expect("it listens");
    }

    fn end(&mut self) {
        let service = self.service.take().expect("it runs");
        service.stop(Duration::from_secs(10)).expect("it ends");
    }

    /// A container that asks for an open port before anything else, and says whether it was answered.
    fn asks(&self, name: &str, more: &[&str], image: &str) {
        let script = format!("echo hello | nc -w 2 {DB} 6379; echo asked; exec sleep 600");
        let mut line = vec!["run", "-d", "--name", name];
        line.extend(more);
        line.extend([image, "sh", "-c", &script]);
        self.podman.podman(&line).expect("it starts");
    }

    /// Whether its first packet was answered.
    fn was_answered(&self, name: &str) -> bool {
        let said = || self.podman.podman(&["logs", name]).unwrap_or_default();
        let look = || Some(said()).filter(|text| text.contains("asked"));
        let told = wait_for("its words", Duration::from_secs(30), look).expect("it asks");
        told.contains("hello")
    }

    /// The labels of a workload.
    fn labels(&self, id: &str) -> Value {
        let status = self.podman.plugged().stage.bulkhead.cli_json(&["status"]).expect("status");
        let all = status["workloads"].as_array().cloned().unwrap_or_default();
        all.iter().find(|each| each["id"] == id).cloned().unwrap_or_default()["labels"].clone()
    }

    fn becomes(&self, id: &str, label: &str, value: Option<&str>) {
        let look = || self.labels(id)[label].as_str() == value;
        wait_until(label, Duration::from_secs(30), look).unwrap_or_else(|_| {
            panic!(
                "{id} {label}: {} {}",
                self.labels(id),
                self.podman.plugged().stage.bulkhead.log()
            )
        });
    }
}

#[test]
fn podman_tells_who_a_container_is_before_its_first_packet_root() {
    const NAME: &str = "podman_tells_who_a_container_is_before_its_first_packet_root";
    root_or_return!(NAME);
    if !are_there(NAME, &NEEDS) {
        return;
    }
    let asked = Asked::new();
    asked.asks(
        "web-0",
        &["--network", "plain", "--label", "app=web", "--label", "tier=front"],
        IMAGE,
    );
    assert!(asked.was_answered("web-0"), "its own label counts from the first packet on");
    let labels = asked.labels("t.web-0");
    let told = ["app", "tier", "container", "image", "image.tag"]
        .map(|key| labels[key].as_str().unwrap_or("-"));
    assert_eq!(told, ["web", "front", "web-0", "localhost.busybox", "test"], "{labels}");
    asked.becomes("t.web-0", "image.id", labels["image.id"].as_str());

    // Attack: an image says that its containers are somebody.
    let old =
        asked.podman.podman(&["commit", "--change", "LABEL app=web", "web-0", "localhost/liar:1"]);
    old.expect("an image");
    asked.asks("liar", &["--network", "plain"], "localhost/liar:1");
    assert!(!asked.was_answered("liar"), "an image is not believed");
    assert_eq!(asked.labels("t.liar")["image/app"], "web");
    // Attack: the same, and the name of the image means another one before the container starts.
    let script = format!("echo hello | nc -w 2 {DB} 6379; echo asked; exec sleep 600");
    let create =
        ["create", "--name", "late", "--network", "plain", "localhost/liar:1", "sh", "-c", &script];
    asked.podman.podman(&create).expect("made");
    asked.podman.podman(&["tag", IMAGE, "localhost/liar:1"]).expect("tagged");
    asked.podman.podman(&["start", "late"]).expect("started");
    assert!(!asked.was_answered("late"), "an older image is not believed either");
    asked.becomes("t.late", "image/app", Some("web"));
    assert!(asked.labels("t.late")["app"].is_null());
    println!(
        "runtime podman api: --label counts from the first packet on, by the event of the container's making; what an image says of itself is image/KEY, whatever its name means later"
    );
}

#[test]
fn a_container_in_two_networks_of_podman_is_one_workload_root() {
    const NAME: &str = "a_container_in_two_networks_of_podman_is_one_workload_root";
    root_or_return!(NAME);
    if !are_there(NAME, &NEEDS) {
        return;
    }
    let mut asked = Asked::new();
    let _ops = asked.podman.plugged.second_network();
    asked.network("plane", &json!({ "network": "plane" }));
    let run = |name: &str, label: &str| {
        let line =
            ["run", "-d", "--name", name, "--network", "plain,plane", "--label", label, IMAGE];
        asked.podman.podman(&line).expect("it starts");
    };
    run("web-0", "app=web");
    run("job-0", "app=job");
    let asks = |name: &str| {
        let script = "echo hello | nc -w 2 10.99.7.10 22";
        asked
            .podman
            .cli(&["exec", name, "sh", "-c", script])
            .is_ok_and(|it| it.stdout.contains("hello"))
    };
    assert!(asks("web-0"), "by its label in the second network");
    assert!(!asks("job-0"), "another one is not");
    let mut ids: Vec<String> =
        asked.podman.plugged().attached().into_iter().map(|(_, id)| id).collect();
    ids.sort();
    assert_eq!(ids.len(), 4, "{ids:?}");
    for id in ["t.web-0", "t.job-0"] {
        assert!(
            ids.iter().any(|it| it == id)
                && ids.iter().filter(|it| it.starts_with(&format!("{id}@"))).count() == 1,
            "{ids:?}"
        );
    }
    for id in ids.iter().filter(|id| id.starts_with("t.web-0")) {
        assert_eq!(asked.labels(id)["app"], "web", "{id}");
    }
    asked.podman.podman(&["rm", "-f", "-a", "-t", "0"]).expect("removed");
    assert_eq!(asked.podman.plugged().attached(), []);
    println!(
        "runtime podman several networks: one workload with an interface in each, labelled by the API in both"
    );
}

#[test]
fn a_podman_that_is_silent_or_lies_holds_up_nobody_and_opens_nothing_root() {
    const NAME: &str = "a_podman_that_is_silent_or_lies_holds_up_nobody_and_opens_nothing_root";
    root_or_return!(NAME);
    if !are_there(NAME, &NEEDS) {
        return;
    }
    let mut asked = Asked::new();
    // Absent: a container has the labels of its network, and is known later.
    asked.end();
    asked.asks("early", &["--network", "plain", "--label", "app=web"], IMAGE);
    assert!(!asked.was_answered("early"), "nobody said that it is web");
    assert!(asked.labels("t.early")["app"].is_null());
    asked.serve();
    asked.becomes("t.early", "app", Some("web"));
    let ask = format!("echo hello | nc -w 2 {DB} 6379");
    let again = asked.podman.cli(&["exec", "early", "sh", "-c", &ask]).expect("it runs");
    assert!(again.stdout.contains("hello"), "and is let in from then on");
    // The agent goes and comes: who it is stays.
    asked.podman.plugged.stage.bulkhead.kill_agent().expect("killed");
    asked.podman.plugged.stage.bulkhead.start_agent().expect("started");
    assert_eq!(asked.labels("t.early")["app"], "web");

    // Silent: a container waits for 2 seconds, and the next one not at all.
    asked.end();
    let _old = std::fs::remove_file(&asked.socket);
    let mute = UnixListener::bind(&asked.socket).expect("a socket that is never served");
    let began = Instant::now();
    asked.asks("one", &["--network", "plain", "--label", "app=web"], IMAGE);
    asked.asks("two", &["--network", "plain", "--label", "app=web"], IMAGE);
    let took = began.elapsed();
    assert!(!asked.was_answered("one") && !asked.was_answered("two"));
    drop(mute);
    println!(
        "runtime podman silent: two containers started in {:.1} s while podman's socket did not answer, neither let in by its label",
        took.as_secs_f64()
    );
}
