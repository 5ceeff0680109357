//! a workload keeps what it is when it moves to another host. R-004: workloads with the same addresses share one of the
//! host's, and every answer finds its own way back.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, TcpListener, TcpStream};

use serde_json::Value;
use testkit::{Namespace, root_or_return};

use crate::stage::{HOST, OUTSIDE, SOON, Stage, at, reaches, serve};

fn moving(web: &str, db: &str, job: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16, \"fd00:5::/48\"]
        segments:
          front: {{ subnet: [10.0.1.0/24, \"fd00:5:0:1::/64\"] }}
          data: {{ subnet: [10.0.2.0/24, \"fd00:5:0:2::/64\"], profile: sealed }}
    workloads:
      web: {{ segment: front, labels: {{ app: web }}, netns: {web} }}
      db: {{ segment: data, labels: {{ app: db }}, netns: {db} }}
      job: {{ segment: front, labels: {{ app: job }}, netns: {job} }}
    policies:
      web-to-db: {{ from: app=web, to: app=db, allow: [6379/tcp] }}
      out: {{ from: segment=front, to: world, allow: [443/tcp] }}
"
    )
}

/// Who may reach whom by which rule, and where the file lies left out.
fn matrix(stage: &Stage) -> String {
    let matrix = stage.bulkhead.cli_json(&["matrix"]).expect("a matrix");
    let folder = stage.bulkhead.folders().run.parent().expect("a folder").display().to_string();
    assert!(matrix["matrix"]["cells"].as_array().is_some_and(|cells| cells.len() == 3), "{matrix}");
    matrix.to_string().replace(&folder, "")
}

/// Identity and addresses of every workload.
fn identities(stage: &Stage) -> BTreeMap<String, (Value, Value)> {
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    let all = status["workloads"].as_array().expect("a list").iter();
    let one = |each: &Value| {
        let id = each["id"].as_str().unwrap_or_default().to_owned();
        (id, (each["identity"].clone(), each["addresses"].clone()))
    };
    all.map(one).collect()
}

#[test]
fn r002_a_workload_that_moves_to_another_host_keeps_what_it_is_root() {
    root_or_return!("r002_a_workload_that_moves_to_another_host_keeps_what_it_is_root");
    let mut here = Stage::new();
    let (web, web_path) = here.adopted("web");
    let (db, db_path) = here.adopted("db");
    let (job, job_path) = here.adopted("job");
    let file = moving(&web_path, &db_path, &job_path);
    let redis = |space: &Namespace| serve(space, "10.0.2.2", &[6379]);
    let verdicts = || (reaches(&web, "10.0.2.2:6379"), reaches(&job, "10.0.2.2:6379"));
    here.bulkhead.up(&file).expect("applied");
    let server = redis(&db);
    let before = (matrix(&here), identities(&here), verdicts());
    assert_eq!(before.2, (true, false));
    drop(server);
    here.bulkhead.cli(&["down"]).expect("down runs").success().expect("it went down");
    assert_eq!(verdicts(), (false, false), "it is nowhere now");

    // Another host with an agent of its own, and nothing else but the file.
    let there = Stage::new();
    there.bulkhead.up(&file).expect("applied");
    let _server = redis(&db);
    let after = (matrix(&there), identities(&there), verdicts());
    assert_eq!(after, before);
}

#[test]
fn r004_many_workloads_share_one_address_of_the_host_root() {
    root_or_return!("r004_many_workloads_share_one_address_of_the_host_root");
    let mut stage = Stage::new();
    let mut text = "bulkhead: 1\ntenants:\n".to_owned();
    let mut clients = Vec::new();
    for tenant in 0..3 {
        let (client, path) = stage.adopted(&format!("c{tenant}"));
        text += &format!(
            "  t{tenant}:
    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16] }} }}
    workloads:
      client: {{ address: [10.0.1.10], netns: {path} }}
    policies:
      out: {{ from: workload=client, to: world, allow: [80/tcp] }}
"
        );
        clients.push(client);
    }
    stage.bulkhead.up(&text).expect("applied");
    let listener = stage.outside.run(|| TcpListener::bind((OUTSIDE, 80))).expect("the namespace");
    let listener = listener.expect("a server");
    let host: IpAddr = HOST.parse().expect("an address");
    // All of them at the same time, from the same own address and port.
    let mut streams: Vec<TcpStream> = Vec::new();
    for client in &clients {
        let to = at(&format!("{OUTSIDE}:80"));
        let stream = client.run(|| TcpStream::connect(to)).expect("the namespace");
        streams.push(stream.expect("connected"));
    }
    let mut peers = Vec::new();
    for number in 0..clients.len() {
        let (mut taken, peer) = listener.accept().expect("a client");
        assert_eq!(peer.ip(), host, "the world sees the host's address alone");
        taken.write_all(&[u8::try_from(number).expect("few")]).expect("answered");
        peers.push(peer.port());
    }
    peers.sort_unstable();
    peers.dedup();
    assert_eq!(peers.len(), clients.len(), "told apart by port");
    let mut answers: Vec<u8> = streams.iter_mut().map(answer).collect();
    answers.sort_unstable();
    assert_eq!(answers, [0, 1, 2], "every answer found its own way back");
}

fn answer(stream: &mut TcpStream) -> u8 {
    use std::io::Read as _;
    let mut byte = [0];
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.read_exact(&mut byte).expect("an answer");
    byte[0]
}
