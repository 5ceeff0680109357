//! What netavark sends, and what it gets.

use api::AttachedAddress;

use super::*;

const NETWORK: &str = r#"{"name":"pods","id":"2f259bab93aa","driver":"netavark-bulkhead","network_interface":"","subnets":[],
    "ipv6_enabled":false,"internal":false,"dns_enabled":true,"options":{"tenant":"shop","network":"pods","labels":"app=web"}}"#;

fn setup(network: &str, options: &str) -> String {
    format!(
        r#"{{"container_id":"4f1c","container_name":"Web 1","port_mappings":[],"network":{network},"network_options":{options}}}"#
    )
}

fn said(arguments: &[&str], input: &str) -> Result<Option<Value>, String> {
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    answer(&arguments, Path::new("/nonexistent/agent.sock"), input.as_bytes())
}

#[test]
fn it_says_which_api_it_speaks() {
    let info = said(&["info"], "").expect("an answer").expect("told");
    assert_eq!(info["api_version"], "1.0.0");
    assert!(said(&["dance"], "").is_err());
}

#[test]
fn a_network_is_made_as_it_is_and_without_a_resolver() {
    let made = said(&["create"], NETWORK).expect("it is fine").expect("told");
    assert_eq!((&made["name"], &made["dns_enabled"]), (&json!("pods"), &json!(false)));
    for (bad, why) in [
        (NETWORK.replace("\"tenant\":\"shop\",", ""), "`tenant` is missing"),
        (NETWORK.replace("\"labels\"", "\"lables\""), "no option \"lables\""),
        (NETWORK.replace("app=web", "app"), "not KEY=VALUE"),
        (
            NETWORK.replace("\"subnets\":[]", r#""subnets":[{"subnet":"10.0.0.0/24"}]"#),
            "leave --subnet out",
        ),
        (NETWORK.replace("\"name\":\"pods\"", "\"name\":\"../x\""), "name is not"),
        ("[]".to_owned(), "not understood"),
    ] {
        let told = said(&["create"], &bad).expect_err(why);
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn a_container_is_attached_under_its_own_name() {
    let text = setup(NETWORK, r#"{"interface_name":"eth0","static_ips":["10.1.0.7"]}"#);
    let found = understood(text.as_bytes()).expect("understood");
    let attach = attach(&found, "/run/netns/x").expect("a place");
    assert_eq!(attach.key, "netavark/pods/4f1c/eth0");
    assert!(attach.name.expect("a name").starts_with("web-1-"));
    assert_eq!(attach.addresses.len(), 1);
    assert_eq!(attach.labels["app"], "web");
    let at = |address: &str, gateway: &str| AttachedAddress {
        address: address.parse().expect("an address"),
        prefix: 24,
        gateway: gateway.parse().ok(),
    };
    let attached = Attached {
        key: attach.key,
        workload: "shop.web-1".to_owned(),
        endpoint: 7,
        interface: "eth0".to_owned(),
        mac: "02:62:68:00:00:07".to_owned(),
        addresses: vec![at("10.1.0.7", "10.1.0.1")],
        mtu: Some(1500),
        generation: 3,
        new: true,
    };
    insta::assert_snapshot!(status(&attached).to_string());
}

#[test]
fn what_is_not_ours_to_give_is_refused() {
    let netns = "/run/netns/x";
    let with = |text: String, netns: &str| {
        let found = understood(text.as_bytes())?;
        attach(&found, netns).map(drop)
    };
    let fine = r#"{"interface_name":"eth0"}"#;
    assert_eq!(with(setup(NETWORK, fine), netns), Ok(()));
    assert!(with(setup(NETWORK, fine), "netns").is_err());
    let mac = r#"{"interface_name":"eth0","static_mac":"02:00:00:00:00:01"}"#;
    assert!(with(setup(NETWORK, mac), netns).is_err_and(|why| why.contains("--mac-address")));
    let ports = setup(NETWORK, fine).replace("\"port_mappings\":[]", "\"port_mappings\":[{}]");
    assert!(with(ports, netns).is_err_and(|why| why.contains("--publish")));
    let id = setup(NETWORK, fine).replace("4f1c", "../etc");
    assert!(with(id, netns).is_err_and(|why| why.contains("id")));
}
