//! Calls as runtimes make them, and as nobody should.

use std::collections::BTreeMap;

use api::{AttachPort, Attached, AttachedAddress};

use super::*;

const CONF: &str = r#"{"cniVersion":"1.0.0","name":"pods","type":"bulkhead-cni","tenant":"shop","network":"pods","labels":{"site":"a"}}"#;
const ARGS: &str =
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=team-a;K8S_POD_NAME=web-0;K8S_POD_UID=1111-2222";

fn call(changes: &[(&str, &str)], input: &str) -> Result<Call, Failure> {
    let mut environment = BTreeMap::from([
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "4f1c"),
        ("CNI_NETNS", "/run/netns/x"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", ARGS),
    ]);
    environment.extend(changes.iter().copied());
    Call::new(&|name| environment.get(name).map(|&value| value.to_owned()), input.as_bytes())
}

fn attached() -> Attached {
    let at = |address: &str, prefix, gateway: &str| AttachedAddress {
        address: address.parse().expect("an address"),
        prefix,
        gateway: gateway.parse().ok(),
    };
    Attached {
        key: "cni/pods/4f1c/eth0".to_owned(),
        workload: "shop.web-0".to_owned(),
        endpoint: 7,
        interface: "eth0".to_owned(),
        mac: "02:62:68:00:00:07".to_owned(),
        addresses: vec![at("10.1.0.7", 24, "10.1.0.1"), at("fd00::7", 64, "fd00::1")],
        mtu: Some(1450),
        generation: 3,
        new: true,
    }
}

#[test]
fn a_pod_is_attached_as_itself() {
    let conf = CONF.replace(
        "\"labels\"",
        r#""runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"bulkhead/labels":"app=web,site=b,io.kubernetes.pod.name=db"},"ips":["10.1.0.9/24"]},"labels""#,
    );
    let attach = call(&[], &conf).and_then(|call| call.attach()).expect("a pod");
    assert_eq!(attach.key, "cni/pods/4f1c/eth0");
    assert_eq!(attach.name.as_deref(), Some("web-0"));
    let labels: Vec<String> = attach.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        labels.join(" "),
        "app=web io.kubernetes.pod.name=web-0 io.kubernetes.pod.namespace=team-a io.kubernetes.pod.uid=1111-2222 site=a",
        "a pod changes neither who it is nor what the network says"
    );
    assert_eq!(attach.addresses, ["10.1.0.9".parse::<std::net::IpAddr>().expect("an address")]);
}

#[test]
fn a_container_without_arguments_has_its_ids_name() {
    let name = |id: &str| {
        let call = call(&[("CNI_ARGS", ""), ("CNI_CONTAINERID", id)], CONF);
        call.and_then(|call| call.attach()).expect("a container").name.expect("a name")
    };
    assert_eq!(name("default-web"), "default-web");
    assert_eq!(name(&"4F1c".repeat(16)), "c-4f1c4f1c4f1c");
    assert!(name("Default_web").starts_with("default-web-"));
}

#[test]
fn answers_are_of_the_version_that_was_asked_for() {
    let told = |version: &str| {
        let call = call(&[], &CONF.replace("1.0.0", version)).expect("a call");
        serde_json::to_string_pretty(&result::added(&call, &attached())).expect("JSON")
    };
    insta::assert_snapshot!("answer-0.4.0", told("0.4.0"));
    insta::assert_snapshot!("answer-1.0.0", told("1.0.0"));
    insta::assert_snapshot!("answer-1.1.0", told("1.1.0"));
}

const CHAINED: &str = r#"{"cniVersion":"1.0.0","name":"lab","type":"bulkhead-cni","tenant":"shop","network":"lan",
    "runtimeConfig":{"portMappings":[{"hostPort":80}]},
    "prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"cni0","mac":"aa:aa:aa:aa:aa:aa"},{"name":"veth1a2b","mac":"bb:bb:bb:bb:bb:bb"},
    {"name":"eth0","mac":"cc:cc:cc:cc:cc:cc","sandbox":"/run/netns/x"}],"ips":[{"address":"10.9.0.4/24","interface":2}],"x":1}}"#;

#[test]
fn behind_another_plugin_its_port_is_taken_in_place_and_its_answer_passed_on() {
    let chained = call(&[], CHAINED).expect("a call");
    let attach = chained.attach().expect("a port");
    let (interface, mac) = ("veth1a2b".to_owned(), "cc:cc:cc:cc:cc:cc".to_owned());
    assert_eq!(attach.port, AttachPort::InPlace { interface, mac, dhcp: false });
    assert_eq!(attach.addresses.len(), 1);
    let told = result::added(&chained, &attached());
    assert_eq!((&told["x"], &told["ips"][0]["address"]), (&1.into(), &"10.9.0.4/24".into()));
    let lonely = CHAINED.replace(r#"{"name":"veth1a2b","mac":"bb:bb:bb:bb:bb:bb"},"#, "");
    let lonely = lonely.replace(r#"{"name":"cni0","mac":"aa:aa:aa:aa:aa:aa"},"#, "");
    let failure = call(&[], &lonely).and_then(|call| call.attach()).expect_err("no port");
    assert_eq!(failure.code, 7);
}

#[test]
fn ports_are_published_as_main_plugin_and_told_of_behind_another_one() {
    let ports = r#""runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":""}]},"labels""#;
    let main = call(&[], &CONF.replace("\"labels\"", ports)).expect("a call");
    let attach = main.attach().expect("a container");
    let publish = attach.publish.first().expect("a port");
    assert_eq!((publish.port, publish.to, publish.transport.as_str()), (8080, 80, "tcp"));
    let chained = call(&[], CHAINED).expect("a call");
    assert_eq!(chained.attach().expect("a port").publish, []);
    let ports = r#"[{"hostPort":8080,"containerPort":80},{"hostPort":"x"},{}]"#;
    let chained = call(&[], &CHAINED.replace(r#"[{"hostPort":80}]"#, ports)).expect("a call");
    let told = chained.attach().expect("a port").publish;
    assert_eq!(told.iter().map(|it| (it.port, it.to)).collect::<Vec<_>>(), [(8080, 80)]);
}

#[test]
fn what_is_wrong_has_the_numbers_of_the_specification() {
    let code = |changes: &[(&str, &str)], input: &str| {
        call(changes, input).and_then(|call| call.attach().map(drop)).map_err(|it| it.code)
    };
    assert_eq!(code(&[], CONF), Ok(()));
    assert_eq!(code(&[], &CONF.replace("1.0.0", "0.3.0")), Err(1));
    assert_eq!(code(&[], &CONF.replace("1.0.0", "2.0.0")), Err(1));
    let ports = CONF.replace("\"labels\"", r#""runtimeConfig":{"portMappings":[{}]},"labels""#);
    assert_eq!(code(&[], &ports), Err(7));
    for (name, bad) in [
        ("CNI_COMMAND", ""),
        ("CNI_COMMAND", "add"),
        ("CNI_CONTAINERID", ""),
        ("CNI_CONTAINERID", "../x"),
        ("CNI_CONTAINERID", "-x"),
        ("CNI_NETNS", ""),
        ("CNI_NETNS", "run/netns"),
        ("CNI_NETNS", "/run/../proc/1/ns/net"),
        ("CNI_IFNAME", ""),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "sixteen-bytes-xx"),
        ("CNI_ARGS", "K8S_POD_NAME"),
    ] {
        assert_eq!(code(&[(name, bad)], CONF), Err(4), "{name}={bad}");
    }
    for broken in ["", "{", "[]", "null", r#"{"cniVersion":1}"#, &"[".repeat(100_000)] {
        assert_eq!(code(&[], broken), Err(6), "{broken:.20}");
    }
    for (of, with) in [
        ("\"tenant\":\"shop\",", ""),
        ("\"network\":\"pods\",", ""),
        ("\"name\":\"pods\"", "\"name\":\"a/b\""),
    ] {
        assert_eq!(code(&[], &CONF.replace(of, with)), Err(7), "{of}");
    }
    let runs = CONF.replace("\"labels\"", r#""runDir":"run","labels""#);
    assert_eq!(code(&[], &runs), Err(7));
}

#[test]
fn garbage_is_collected_only_when_the_runtime_says_what_is_none() {
    let gc =
        [("CNI_COMMAND", "GC"), ("CNI_CONTAINERID", ""), ("CNI_IFNAME", ""), ("CNI_NETNS", "")];
    let failure = call(&gc, CONF).expect("a call").valid_keys().expect_err("nothing is named");
    assert_eq!(failure.code, 7);
    let conf = CONF.replace(
        "\"labels\"",
        r#""cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}],"labels""#,
    );
    let valid = call(&gc, &conf).expect("a call").valid_keys().expect("one");
    assert_eq!(valid.into_iter().collect::<Vec<_>>(), ["cni/pods/a/eth0"]);
}

fn served(command: &str, input: &[u8]) -> (Value, bool) {
    let mut output = Vec::new();
    let environment = |name: &str| match name {
        "CNI_COMMAND" => Some(command.to_owned()),
        "CNI_CONTAINERID" => Some("a".to_owned()),
        "CNI_IFNAME" => Some("eth0".to_owned()),
        "CNI_NETNS" => Some("/run/netns/x".to_owned()),
        "BULKHEAD_RUN_DIR" => Some("/nonexistent".to_owned()),
        _ => None,
    };
    let code = run(&environment, input, &mut output);
    let answer = serde_json::from_slice(&output).unwrap_or_default();
    (answer, code == 0)
}

#[test]
fn every_answer_is_one_object() {
    let (versions, done) = served("VERSION", CONF.as_bytes());
    assert!(done && versions["supportedVersions"].as_array().is_some_and(|all| all.len() == 3));
    for command in ["ADD", "DEL", "CHECK"] {
        let (failure, done) = served(command, CONF.as_bytes());
        assert!(!done);
        assert_eq!((&failure["code"], &failure["cniVersion"]), (&11.into(), &"1.0.0".into()));
        assert!(
            failure["details"].as_str().is_some_and(|text| text.contains("hint: ")),
            "{failure}"
        );
    }
    let (failure, _) = served("STATUS", CONF.replace("1.0.0", "1.1.0").as_bytes());
    assert_eq!((&failure["code"], &failure["cniVersion"]), (&50.into(), &"1.1.0".into()));
    let large = vec![b' '; 1024 * 1024 + 1];
    assert_eq!(served("ADD", &large).0["code"], 6);
}
