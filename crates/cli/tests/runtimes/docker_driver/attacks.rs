//! The driver's socket as nobody should use it.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testkit::{root_or_return, run_with_deadline};

use super::{DB, Driven, FILE, LONG, served};

/// Status and text of the answer to one call.
fn call(socket: &Path, name: &str, body: &[u8]) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).expect("the socket");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    let length = body.len();
    let head = format!("POST /{name} HTTP/1.1\r\nHost: driver\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the head is taken");
    // Whoever has refused already may have hung up.
    let _refused = stream.write_all(body);
    let mut bytes = Vec::new();
    let _reset = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
    (status, text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
}

/// A driver without a dockerd, and somebody who asks it as root.
struct Attacker(Driven);

impl Attacker {
    fn new() -> Self {
        let (mut stage, _, _) = Driven::alone();
        // Where others may look, unlike in Docker's folder.
        let socket = stage.lab.dir().join("driver.sock");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(stage.lab.dir(), open).expect("a mode");
        let docker = stage.lab.dir().join("none.sock").display().to_string();
        let driver = format!("--docker-driver={}", socket.display());
        stage.bulkhead.agent_options(&["--docker", &docker, &driver]);
        stage.bulkhead.start_agent().expect("the agent starts");
        served(&socket);
        Self(Driven { engine: None, stage, name: String::new(), socket })
    }

    fn ask(&self, name: &str, body: &Value) -> (u16, String) {
        call(&self.0.socket, name, body.to_string().as_bytes())
    }

    /// That a call is refused, with these words.
    fn refused(&self, name: &str, body: &Value, why: &str) {
        let (status, text) = self.ask(name, body);
        assert!(status == 422 && text.contains(why), "{name} {body}: {status} {text}");
    }

    fn done(&self, name: &str, body: &Value) -> String {
        let (status, text) = self.ask(name, body);
        assert_eq!(status, 200, "{name} {body}: {text}");
        text
    }

    fn sends_what_is_no_message(&self) {
        for body in [&b"{"[..], b"[]", b"7", b"\xff\xfe", b"{\"NetworkID\": 7}"] {
            let told = call(&self.0.socket, "NetworkDriver.CreateNetwork", body);
            assert_eq!(told.0, 422, "{body:?}: {told:?}");
        }
        let huge = vec![b' '; 4 << 20];
        assert_eq!(call(&self.0.socket, "NetworkDriver.CreateNetwork", &huge).0, 413);
        for name in ["NetworkDriver.Explode", "../../etc/passwd", ""] {
            assert_eq!(self.ask(name, &json!({})).0, 404, "{name}");
        }
    }

    fn names_paths_and_places_that_are_not_there(&self) {
        let short = format!("{}/", "a".repeat(63));
        for id in ["../../../etc/passwd", "", "a", &"A".repeat(64), &short] {
            let body = json!({ "NetworkID": id });
            self.refused("NetworkDriver.DeleteNetwork", &body, "is no id of Docker's");
        }
        for (place, pool, why) in [
            ("../../etc", "10.77.0.0/24", "is not TENANT/NETWORK"),
            ("one/nowhere", "10.77.0.0/24", "it has: one/back, one/front, two/front"),
            ("one/front/web", "10.77.0.0/24", "has no segment"),
            ("one/front", "10.78.0.0/24", "is 10.77.0.0/24, not 10.78.0.0/24"),
        ] {
            self.refused("NetworkDriver.CreateNetwork", &network(place, pool), why);
        }
    }

    fn wants_addresses_that_are_not_his(&self) {
        let pool = |more: Value| {
            let mut body = json!({ "Options": { "bulkhead.network": "one/front" } });
            let fields = body.as_object_mut().expect("an object");
            fields.extend(more.as_object().cloned().unwrap_or_default());
            body
        };
        let name = "IpamDriver.RequestPool";
        assert!(self.done(name, &pool(json!({}))).contains("10.77.0.0/24"));
        assert!(self.done(name, &pool(json!({ "V6": true }))).contains("fd00:77::/64"));
        self.refused(name, &pool(json!({ "Pool": "10.78.0.0/24" })), "leave out --subnet");
        self.refused(name, &pool(json!({ "SubPool": "10.77.0.64/26" })), "--ip-range");
        self.refused(name, &pool(json!({ "Options": {} })), "--ipam-opt");
        let address = |pool: &str, address: &str| json!({ "PoolID": pool, "Address": address });
        let name = "IpamDriver.RequestAddress";
        for wanted in ["10.78.0.2", "fd00:77::2", "::ffff:10.77.0.2"] {
            self.refused(name, &address("one/front#4", wanted), "is not in 10.77.0.0/24");
        }
        for wanted in ["10.77.0.0", "10.77.0.1", "10.77.0.255"] {
            self.refused(name, &address("one/front#4", wanted), "is the network's own");
        }
        self.refused(name, &address("one/front#4", "x"), "is no address");
        for pool in ["", "one/front", "one/front#7", "../..#4"] {
            self.refused(name, &address(pool, ""), "is no pool of this driver's");
        }
        assert!(self.done(name, &address("one/front#4", DB)).contains("10.77.0.10/24"));
        self.refused(name, &address("one/front#4", DB), "is taken");
        self.done(name, &address("two/front#4", DB));
    }

    fn joins_what_nobody_knows(&self) {
        let (id, end) = ("a".repeat(64), "b".repeat(64));
        self.done("NetworkDriver.CreateNetwork", &network("one/front", "10.77.0.0/24"));
        let both = json!({ "NetworkID": id, "EndpointID": end, "SandboxKey": "/proc/1/ns/net" });
        for name in ["Join", "EndpointOperInfo", "ProgramExternalConnectivity"] {
            let name = format!("NetworkDriver.{name}");
            self.refused(&name, &both, "there is no end bbbbbbbbbbbb");
        }
        for name in ["Leave", "DeleteEndpoint", "RevokeExternalConnectivity"] {
            self.done(&format!("NetworkDriver.{name}"), &both);
        }
        let of = |interface: Value| json!({ "NetworkID": id, "EndpointID": end, "Interface": interface });
        let name = "NetworkDriver.CreateEndpoint";
        self.refused(name, &of(json!({})), "needs an address");
        self.refused(name, &of(json!({ "Address": "10.78.0.2/24" })), "is not in 10.77.0.0/24");
        self.refused(name, &of(json!({ "Address": "x" })), "is no address");
        let mac = json!({ "Address": "10.77.0.10/24", "MacAddress": "02:42:00:00:00:01" });
        self.refused(name, &of(mac), "--mac-address is not supported");
        self.done(name, &of(json!({ "Address": "10.77.0.10/24" })));
        // As often as somebody likes; nothing passes.
        for _ in 0..2 {
            assert!(self.done("NetworkDriver.Join", &both).contains("bdbbbbbbbbbbbb"));
        }
        let told = self.0.workloads();
        assert_eq!((told.len(), told[0]["state"].as_str()), (1, Some("pending")), "{told:#?}");
        self.done("NetworkDriver.DeleteNetwork", &json!({ "NetworkID": id }));
        assert_eq!((self.0.attached().len(), self.0.left_on_host().len()), (0, 0));
    }

    /// Even where the file system lets him.
    fn is_somebody_else(&self) {
        let open = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(&self.0.socket, open).expect("a mode");
        let mut curl = Command::new("curl");
        curl.args(["-s", "-w", "%{http_code}", "-X", "POST", "--unix-socket"]);
        curl.arg(&self.0.socket).arg("http://driver/Plugin.Activate").uid(65_534).gid(65_534);
        let done = run_with_deadline(&mut curl, None, LONG).expect("it ran");
        let refused = done.stdout.contains("user id 65534 is not dockerd");
        assert!(refused && done.stdout.ends_with("403"), "{done:?}");
    }
}

fn network(place: &str, pool: &str) -> Value {
    json!({
        "NetworkID": "a".repeat(64),
        "Options": { "com.docker.network.generic": { "bulkhead.network": place } },
        "IPv4Data": [{ "Pool": pool }],
    })
}

#[test]
fn nobody_but_dockerd_gets_anything_from_the_driver_root() {
    root_or_return!("nobody_but_dockerd_gets_anything_from_the_driver_root");
    let attacker = Attacker::new();
    let mode = std::fs::metadata(&attacker.0.socket).expect("it").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let without = network("one/front", "10.77.0.0/24");
    attacker.refused("NetworkDriver.CreateNetwork", &without, "bulkhead up FILE");
    attacker.0.stage.bulkhead.up(FILE).expect("applied");
    let activated = r#"{"Implements":["NetworkDriver","IpamDriver"]}"#;
    assert_eq!(attacker.done("Plugin.Activate", &json!({})), activated);
    attacker.sends_what_is_no_message();
    attacker.names_paths_and_places_that_are_not_there();
    attacker.wants_addresses_that_are_not_his();
    attacker.joins_what_nobody_knows();
    attacker.is_somebody_else();
    attacker.done("Plugin.Activate", &json!({}));
    attacker.0.stage.bulkhead.down_clean().expect("down");
    println!(
        "runtime docker driver attacks: wrong, huge and path-like messages, strangers, unknown ends and foreign addresses are refused; nothing is left"
    );
}
