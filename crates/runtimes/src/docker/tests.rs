//! What dockerd 20.10 answered (`data/`), what nobody should answer, and sockets that behave badly.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::answer::{ContainerAnswer, InspectAnswer, NetworkAnswer};
use super::*;

const NETWORK: &str = include_str!("data/network.json");
const CONTAINERS: &str = include_str!("data/containers.json");

fn network(text: &str, wanted: &str) -> Result<Network, Error> {
    let answer: NetworkAnswer = serde_json::from_str(text).expect("an answer");
    answer.understood(wanted)
}

fn containers(text: &str) -> Vec<Container> {
    let answers: Vec<ContainerAnswer> = serde_json::from_str(text).expect("an answer");
    answers.into_iter().filter_map(ContainerAnswer::understood).collect()
}

#[test]
fn a_network_and_its_members() {
    let network = network(NETWORK, "shop_default").expect("a network");
    assert_eq!(network.bridge, "br-4c83d2d00724");
    let subnets: Vec<String> = network.subnets.iter().map(ToString::to_string).collect();
    assert_eq!(subnets, ["172.30.0.0/24", "fd00:30::/64"]);
    let [member] = &network.members[..] else { panic!("one member") };
    assert_eq!(member.mac, [0x02, 0x42, 0xac, 0x1e, 0x00, 0x02]);
    let addresses: Vec<String> = member.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["172.30.0.2", "fd00:30::2"]);
    assert!(member.container.starts_with("799528f05289") && network.left_out == 0);
}

#[test]
fn the_default_network_says_its_bridge() {
    let network = network(include_str!("data/bridge.json"), "bridge").expect("a network");
    assert_eq!((network.bridge.as_str(), network.members.len()), ("docker0", 0));
}

#[test]
fn the_beginning_of_an_id_is_another_networks_name() {
    let error = network(NETWORK, "4c83d2").expect_err("not its name").to_string();
    assert_eq!(error, "Docker has no network \"4c83d2\"");
}

#[test]
fn what_cannot_be_enforced_in_place_is_refused_with_the_reason() {
    let host = NETWORK.replace(r#""Driver":"bridge""#, r#""Driver":"overlay""#);
    let error = network(&host, "shop_default").expect_err("an overlay").to_string();
    let why = "its driver is \"overlay\", only `bridge` has a bridge on this host";
    assert_eq!(
        error,
        format!("Docker's network \"shop_default\" cannot be enforced in place: {why}")
    );
}

#[test]
fn an_end_that_joins_has_its_containers_name_and_later_its_id() {
    let [network, joining, joined, container] = ["a", "b", "c", "d"].map(|digit| digit.repeat(64));
    let text = serde_json::json!({
        "Name": "front", "Id": network, "Driver": "bulkhead",
        "Containers": {
            format!("ep-{joining}"): { "Name": "hello", "EndpointID": joining, "MacAddress": "", "IPv4Address": "10.9.9.2/24" },
            container.clone(): { "Name": "world", "EndpointID": joined, "MacAddress": "" },
            "ep-../..": { "Name": "x", "EndpointID": "../.." },
        },
    });
    let answer = || serde_json::from_value::<NetworkAnswer>(text.clone()).expect("an answer");
    let end = |endpoint: String, container: Option<String>, name: &str| End {
        endpoint,
        container,
        name: name.to_owned(),
    };
    let ends = answer().ends(&network).expect("ends");
    assert_eq!(ends, [end(joined, Some(container), "world"), end(joining, None, "hello")]);
    answer().ends("aaaa").expect_err("the beginning of an id is another network's name");
}

#[test]
fn the_process_of_a_container_is_told_while_that_runs() {
    let id = "a".repeat(64);
    let told = |state: serde_json::Value, asked: &str| {
        let answer = serde_json::json!({ "Id": id, "State": state });
        serde_json::from_value::<InspectAnswer>(answer).expect("an answer").process(asked)
    };
    let running = serde_json::json!({ "Running": true, "Pid": 4_711 });
    assert_eq!(told(running.clone(), &id), Some(4_711));
    assert_eq!(told(running, "aaaa"), None, "the beginning of an id is another container's name");
    for state in [
        serde_json::json!({ "Running": false, "Pid": 4_711 }),
        serde_json::json!({ "Running": true, "Pid": 0 }),
        serde_json::json!({ "Running": true, "Pid": -1 }),
        serde_json::json!({ "Running": true, "Pid": 1_i64 << 40 }),
        serde_json::Value::Null,
    ] {
        assert_eq!(told(state, &id), None);
    }
}

#[test]
fn containers_become_workloads() {
    let containers = containers(CONTAINERS);
    let mut naming = Naming::default();
    let mut told = String::new();
    for container in &containers {
        let name = naming.name(container, |_| false).expect("a name");
        writeln!(told, "{name}").expect("a text");
        for (key, value) in workload_labels(container) {
            writeln!(told, "  {key}={value}").expect("a text");
        }
        for port in &container.ports {
            let Port { transport, address, public, private } = port;
            writeln!(told, "  {transport:?} {address}:{public} -> {private}").expect("a text");
        }
    }
    let expected = "solo-2
  app=solo
  container=Solo.2
  image=bb
  image.id=5edfb997ccebea7fbe7e2d0cd4ab142e
  image.tag=1
web
  app=web
  compose.project=shop
  compose.service=web
  container=shop_web_1
  image=bb
  image.id=5edfb997ccebea7fbe7e2d0cd4ab142e
  image.tag=1
  Tcp 0.0.0.0:8080 -> 80
  Tcp :::8080 -> 80
  Udp 0.0.0.0:8081 -> 81
  Udp :::8081 -> 81
";
    assert_eq!(told, expected);
}

#[test]
fn what_leads_to_an_end_is_known_when_docker_has_written_both_down() {
    let end = "496383b0077a429f48c43a330a97683f63c9a8eb3af4798cdf51fdb5dad9fcde";
    let told = |text: &str| {
        let all = containers(text);
        let web = all.into_iter().find(|container| container.name == "shop_web_1").expect("it");
        web.led_to(end).map(<[Port]>::len)
    };
    assert_eq!(told(CONTAINERS), Some(4));
    assert_eq!(told(&CONTAINERS.replace(r#""running""#, r#""paused""#)), Some(4));
    // Its ports may be those of another time, as none of its programs runs.
    for state in ["created", "restarting", "exited", "removing", "dead", "starting", ""] {
        assert_eq!(
            told(&CONTAINERS.replace(r#""running""#, &format!("{state:?}"))),
            None,
            "{state}"
        );
    }
    assert_eq!(told(&CONTAINERS.replace(r#""State":"running","#, "")), None, "nothing is said");
    // It runs, and another end of it is written down, or none.
    let other = end.replace('4', "5");
    for text in [&*other, "", "../..", "49"] {
        assert_eq!(told(&CONTAINERS.replace(end, text)), None, "{text}");
    }
    for text in [r#""NetworkSettings":null"#, r#""NetworkSettings":{"Networks":{"a":null}}"#] {
        let text = format!(
            r#"[{{"Id":"{}","Names":["/shop_web_1"],"State":"running",{text}}}]"#,
            "a".repeat(64)
        );
        assert_eq!(told(&text), None);
    }
}

fn container(id: char, name: &str, labels: &[(&str, &str)]) -> Container {
    Container {
        id: id.to_string().repeat(64),
        name: name.to_owned(),
        image: "registry:5000/team/web:1.2@sha256:0".to_owned(),
        image_id: String::new(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        image_labels: Vec::new(),
        ports: Vec::new(),
        settled: Vec::new(),
    }
}

#[test]
fn names_are_unique_and_stay() {
    let mut naming = Naming::default();
    let compose = |number| {
        [
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", "web"),
            ("com.docker.compose.container-number", number),
        ]
    };
    let first = container('a', "shop_web_1", &compose("1"));
    let name = |naming: &mut Naming, container: &Container| {
        naming.name(container, |name| name.as_str() == "db").expect("a name").to_string()
    };
    assert_eq!(name(&mut naming, &first), "web");
    assert_eq!(name(&mut naming, &container('b', "shop_web_2", &compose("2"))), "web-2");
    assert_eq!(name(&mut naming, &container('c', "web", &[])), "web-cccccccccccc");
    assert_eq!(name(&mut naming, &container('d', "db", &[])), "db-dddddddddddd", "the file's own");
    let renamed = Container { name: "other".to_owned(), ..container('c', "web", &[]) };
    assert_eq!(name(&mut naming, &renamed), "web-cccccccccccc", "it was renamed");
    naming.retain(|id| !id.starts_with('a'));
    assert_eq!(name(&mut naming, &container('e', "web", &[])), "web", "the first is gone");
    assert_eq!(name(&mut naming, &container('f', "2048.game_", &[])), "c-2048-game");
}

#[test]
fn a_label_claims_nothing_that_docker_knows() {
    let liar = [("container", "db"), ("compose.service", "db"), ("image", "db"), ("app", "x")];
    let labels = workload_labels(&container('a', "web", &liar));
    let told: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(told, ["app=x", "container=web", "image=registry.5000.team.web", "image.tag=1.2"]);
}

/// Everything of a workload's that a policy can name.
fn named(container: &Container) -> String {
    let name = Naming::default().name(container, |_| false).expect("a name");
    let labels = workload_labels(container);
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{name}: {}", labels.join(" "))
}

#[test]
fn an_image_cannot_claim_to_be_another_workload() {
    let claims = [
        ("app", "db"),
        ("image/app", "db"),
        ("com.docker.compose.project", "shop"),
        ("com.docker.compose.service", "db"),
        ("com.docker.compose.container-number", "1"),
    ];
    let image: BTreeMap<String, String> =
        claims.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let known = "image=registry.5000.team.web image.tag=1.2";
    // `docker run` of it, with a label of one's own.
    let mut run = container('a', "evil", &claims);
    run.labels.push(("tier".to_owned(), "front".to_owned()));
    run.tell_apart(Some(&image));
    assert_eq!(named(&run), format!("evil: container=evil {known} image/app=db tier=front"));
    // What the image says is not known: then nothing is believed.
    let mut unknown = container('b', "evil", &claims);
    unknown.tell_apart(None);
    assert_eq!(named(&unknown), format!("evil: container=evil {known} image/app=db"));
    // Who starts it says otherwise, and Compose does.
    let mut composed = container(
        'c',
        "shop_web_2",
        &[
            ("app", "web"),
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", "web"),
            ("com.docker.compose.container-number", "2"),
        ],
    );
    composed.tell_apart(Some(&image));
    let compose = "app=web compose.project=shop compose.service=web container=shop_web_2";
    assert_eq!(named(&composed), format!("web-2: {compose} {known}"));
}

#[test]
fn an_image_that_compose_built_has_its_project_and_is_believed_when_compose_runs_it() {
    let of = |number| {
        let labels =
            [("com.docker.compose.project", "shop"), ("com.docker.compose.service", "web")];
        let numbered = [("com.docker.compose.container-number", "1")];
        let mut made = container('a', "x", &[&labels[..], &numbered[..number]].concat());
        let image = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        made.tell_apart(Some(&image.into()));
        named(&made)
    };
    assert!(of(1).starts_with("web: compose.project=shop compose.service=web "), "{}", of(1));
    assert!(of(0).starts_with("x: container=x "), "run by hand: {}", of(0));
}

proptest! {
    #[test]
    fn any_container_gets_a_name_and_labels_that_are_allowed(
        name in ".{0,80}",
        image in ".{0,80}",
        labels in prop::collection::vec((".{0,30}", ".{0,70}"), 0..100),
        service in prop::option::of(".{0,60}"),
    ) {
        let mut labels: Vec<(String, String)> = labels;
        if let Some(service) = service {
            labels.push(("com.docker.compose.project".to_owned(), "p".to_owned()));
            labels.push(("com.docker.compose.service".to_owned(), service));
        }
        let container = Container {
            id: "0123456789abcdef".repeat(4),
            name,
            image,
            image_id: "sha256:".to_owned(),
            labels,
            image_labels: Vec::new(),
            ports: Vec::new(),
            settled: Vec::new(),
        };
        let mut naming = Naming::default();
        let first = naming.name(&container, |_| false);
        prop_assert!(first.is_some());
        prop_assert_eq!(naming.name(&container, |_| true), first);
        let labels = workload_labels(&container);
        prop_assert!(labels.len() <= 64);
        prop_assert_eq!(&workload_labels(&container), &labels);
    }

    #[test]
    fn hostile_members_are_left_out(
        id in ".{0,70}", mac in "[0-9a-f:]{0,20}", v4 in ".{0,30}", endpoint in "[0-9a-f]{60,66}",
    ) {
        let text = serde_json::json!({
            "Name": "n", "Id": "0".repeat(64), "Driver": "bridge",
            "IPAM": { "Config": [{ "Subnet": "10.0.0.0/8" }] },
            "Containers": { id: { "EndpointID": endpoint, "MacAddress": mac, "IPv4Address": v4 } },
        });
        let network = network(&text.to_string(), "n").expect("a network");
        prop_assert_eq!(network.members.len() + network.left_out, 1);
        for member in &network.members {
            prop_assert!(member.mac[0] & 1 == 0 && member.container.len() == 64);
        }
    }

    #[test]
    fn any_bridge_name_is_a_link_or_refused(bridge in ".{0,20}") {
        let text = serde_json::json!({
            "Name": "n", "Id": "0".repeat(64), "Driver": "bridge",
            "IPAM": { "Config": [{ "Subnet": "10.0.0.0/8" }] },
            "Options": { "com.docker.network.bridge.name": bridge },
        });
        if let Ok(network) = network(&text.to_string(), "n") {
            prop_assert!((1..16).contains(&network.bridge.len()) && !network.bridge.contains('/'));
        }
    }
}

/// Answers every connection with `answer`, then closes it, or with `None` never.
fn dockerd(answer: Option<Vec<u8>>) -> (tempfile::TempDir, Client) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket: PathBuf = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(answer) = answer.clone() {
                tokio::spawn(async move {
                    let _question = stream.read(&mut [0; 4096]).await;
                    let _gone = stream.write_all(&answer).await;
                });
            } else {
                kept.push(stream);
            }
        }
    });
    let client = Client::new(&socket).with_patience(Duration::from_millis(300));
    (folder, client)
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn answers_of_a_socket() {
    let (_folder, client) = dockerd(Some(http("200 OK", NETWORK)));
    assert_eq!(client.network("shop_default").await.expect("a network").name, "shop_default");
    let (_folder, client) = dockerd(Some(http("404 Not Found", "{}")));
    assert!(matches!(client.network("n/../../x").await, Err(Error::NoNetwork { .. })));
    let (_folder, client) = dockerd(Some(http("500 Oh", "{}")));
    assert!(matches!(client.containers().await, Err(Error::Refused { status: 500, .. })));
}

#[tokio::test]
async fn a_socket_that_behaves_badly_is_an_error_in_time() {
    let (_folder, client) = dockerd(None);
    assert!(matches!(client.containers().await, Err(Error::Late { .. })));
    assert!(matches!(client.wakes().await, Err(Error::Late { .. })));
    let (_folder, client) = dockerd(Some(b"\0garbage\r\n\r\n".to_vec()));
    assert!(matches!(client.containers().await, Err(Error::Talk { .. })));
    let (_folder, client) = dockerd(Some(http("200 OK", "[{\"Id\": 5}]")));
    assert!(matches!(client.containers().await, Err(Error::Decode { .. })));
    let large = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n[";
    let (_folder, client) = dockerd(Some(large.into()));
    assert!(client.containers().await.is_err());
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let (_folder, client) = dockerd(Some(head.into_bytes()));
    assert!(matches!(client.containers().await, Err(Error::Talk { .. })));
}

/// Answers by the path that is asked for, and counts how often each is.
fn dockerd_by(
    answer: impl Fn(&str) -> Vec<u8> + Send + 'static,
) -> (tempfile::TempDir, Client, Arc<Mutex<Vec<String>>>) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket: PathBuf = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let paths = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut question = [0; 4096];
            let length = stream.read(&mut question).await.expect("a question");
            let question = String::from_utf8_lossy(&question[..length]).into_owned();
            let path = question.split(' ').nth(1).expect("a path").to_owned();
            let _gone = stream.write_all(&answer(&path)).await;
            paths.lock().expect("not poisoned").push(path);
        }
    });
    let client = Client::new(&socket).with_patience(Duration::from_secs(5));
    (folder, client, asked)
}

#[tokio::test]
async fn labels_of_an_image_are_told_from_those_of_its_containers() {
    let image = r#"{"Id":"x","Config":{"Labels":{"app":"web"}}}"#;
    let (_folder, client, asked) = dockerd_by(move |path| match path {
        "/containers/json?all=1" => http("200 OK", CONTAINERS),
        _ => http("200 OK", image),
    });
    for _ in 0..2 {
        let all = client.containers().await.expect("containers");
        let app = |labels: &[(String, String)]| labels.iter().any(|(key, _)| key == "app");
        let told: Vec<(bool, bool)> =
            all.iter().map(|each| (app(&each.labels), app(&each.image_labels))).collect();
        assert_eq!(
            told,
            [(true, false), (false, true)],
            "one says `solo`, one what its image says"
        );
    }
    let asked = asked.lock().expect("not poisoned").clone();
    let images = asked.iter().filter(|path| path.starts_with("/images/sha256%3a"));
    assert_eq!((asked.len(), images.count()), (3, 1), "{asked:?}");
}

#[tokio::test]
async fn an_image_that_docker_does_not_tell_of_makes_all_labels_its_own() {
    let (_folder, client, _) = dockerd_by(|path| match path {
        "/containers/json?all=1" => http("200 OK", CONTAINERS),
        _ => http("404 Not Found", "{}"),
    });
    let all = client.containers().await.expect("containers");
    assert!(all.iter().all(|each| each.labels.is_empty() && !each.image_labels.is_empty()));
    let all = client.containers_by_name().await.expect("containers");
    assert!(all.iter().all(|each| each.labels.is_empty() && !each.name.is_empty()));
}

#[tokio::test]
async fn events_ring_and_end() {
    let events = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n";
    let (_folder, client) = dockerd(Some(events.into()));
    let mut wakes = client.wakes().await.expect("agreed");
    assert!(wakes.next().await, "one event");
    assert!(!wakes.next().await, "then the end");
}
