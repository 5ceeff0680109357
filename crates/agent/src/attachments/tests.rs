//! What may be attached, and what becomes of it when the file changes.

use api::AttachPort;

use super::*;
use crate::tests::wanted;

const FILE: &str = r"bulkhead: 1
tenants:
  shop:
    networks:
      pods: { mode: nat, subnets: [10.1.0.0/24] }
      main: { mode: nat, subnets: [10.2.0.0/16], segments: { front: { subnet: 10.2.1.0/24 }, data: { subnet: 10.2.2.0/24 } } }
      dark: { mode: none }
    workloads:
      db: { network: pods, address: [10.1.0.9], netns: db }
";

fn attach(key: &str) -> Attach {
    Attach {
        key: key.to_owned(),
        tenant: "shop".to_owned(),
        network: "pods".to_owned(),
        segment: None,
        name: None,
        labels: [("app".to_owned(), "web".to_owned())].into(),
        addresses: Vec::new(),
        port: AttachPort::Netns { path: "/run/netns/a".to_owned(), interface: "eth0".to_owned() },
        publish: Vec::new(),
        publish_pending: false,
    }
}

fn why(attach: &Attach) -> String {
    let document = wanted(FILE).document;
    let kept = Kept::new(attach, Timestamp::UNIX_EPOCH);
    let placed = kept.and_then(|kept| kept.placed(&document));
    placed.map_or_else(|error| error.cause.unwrap_or(error.message), |found| found.id())
}

#[test]
fn an_attachment_is_a_workload_of_the_document() {
    let kept = Kept::new(&attach("cni/4f1c/eth0"), Timestamp::UNIX_EPOCH).expect("well formed");
    let name = kept.workload.to_string();
    assert!(name.starts_with("cni-") && name.len() == 16, "{name}");
    let mut document = wanted(FILE).document;
    merge(&mut document, &[("cni/4f1c/eth0".to_owned(), kept)].into()).expect("there is room");
    let workload = document.workload(&format!("shop.{name}")).expect("it is there");
    assert_eq!(workload.labels.len(), 1);
    assert_eq!(workload.span, document.networks[0].span);
}

#[test]
fn hostile_input_is_refused_with_its_reason() {
    let with = |change: &dyn Fn(&mut Attach)| {
        let mut attach = attach("cni/a/eth0");
        change(&mut attach);
        why(&attach)
    };
    let netns = |path: &str, interface: &str| AttachPort::Netns {
        path: path.to_owned(),
        interface: interface.to_owned(),
    };
    for key in ["", "a b", "a\nb", "ä", &"k".repeat(257)] {
        assert!(with(&|attach| attach.key = key.to_owned()).contains("is not 1 to 256"), "{key:?}");
    }
    for path in ["run/netns/a", "/run/../etc", "", "/run/./../a", "/a\0b", &"/x".repeat(600)] {
        assert!(with(&|it| it.port = netns(path, "eth0")).contains("absolute path"), "{path:?}");
    }
    for name in ["", ".", "..", "lo", "a/b", "a:b", "a b", "sixteen-bytes-xx", "\u{7f}"] {
        let told = with(&|it| it.port = netns("/run/netns/a", name));
        assert!(told.contains("no name of an interface"), "{name:?}: {told}");
    }
    for name in ["", "A", "../x", "a.b", &"a".repeat(33)] {
        assert!(with(&|it| it.name = Some(name.to_owned())).contains("name"), "{name:?}");
    }
    assert!(with(&|it| drop(it.labels.insert("host".into(), "x".into()))).contains("label host"));
    let many = |it: &mut Attach| {
        it.labels = (0..65).map(|n| (format!("k{n}"), String::new())).collect();
    };
    assert!(with(&many).contains("65 labels"));
}

#[test]
fn a_place_that_is_not_there_is_named() {
    let at = |tenant: &str, network: &str, segment: Option<&str>| {
        let (tenant, network) = (tenant.to_owned(), network.to_owned());
        why(&Attach { tenant, network, segment: segment.map(str::to_owned), ..attach("a") })
    };
    assert_eq!(at("bank", "pods", None), "there is no tenant `bank`");
    assert_eq!(at("shop", "nets", None), "the tenant `shop` has no network `nets`");
    assert_eq!(at("shop", "main", None), "the network shop.main has several segments: name one");
    assert_eq!(at("shop", "main", Some("x")), "the network shop.main has no segment `x`");
    assert!(at("shop", "dark", None).contains("mode `none`"));
    assert!(at("shop", "main", Some("data")).starts_with("shop.a-"));
    let wish = |address: &str| {
        why(&Attach { addresses: vec![address.parse().expect("an address")], ..attach("a") })
    };
    assert_eq!(wish("10.9.0.1"), "10.9.0.1 is not in 10.1.0.0/24");
    for own in ["10.1.0.0", "10.1.0.1", "10.1.0.255"] {
        assert!(wish(own).contains("the network's own"), "{own}");
    }
    assert!(wish("10.1.0.77").starts_with("shop."));
}

#[test]
fn a_file_that_takes_the_place_of_attached_workloads_is_refused_and_names_them() {
    let lease = EndpointLease { number: 7, network: 1, v4: "10.1.0.4".parse().ok(), v6: None };
    let named = |key: &str, name: &str| {
        let attach = Attach { name: Some(name.to_owned()), ..attach(key) };
        let kept = Kept::new(&attach, Timestamp::UNIX_EPOCH).expect("well formed");
        (key.to_owned(), Kept { lease: Some(lease), ..kept })
    };
    let refused = |file: &str| {
        let mut document = wanted(file).document;
        let all = [named("cni/1/eth0", "web"), named("cni/2/eth0", "api")].into();
        merge(&mut document, &all).map_err(|error| (error.code, error.cause.unwrap_or_default()))
    };
    assert_eq!(refused(FILE), Ok(()));
    let (code, cause) = refused(&FILE.replace("pods", "nets")).expect_err("the network is gone");
    assert_eq!(code, codes::ATTACHED);
    insta::assert_snapshot!(cause, @"shop/web (cni/1/eth0): the tenant `shop` has no network `pods`; shop/api (cni/2/eth0): the tenant `shop` has no network `pods`");
    let (_, cause) = refused(&FILE.replace("  db:", "  web:")).expect_err("the name is taken");
    insta::assert_snapshot!(cause, @"shop/web (cni/1/eth0): the file has a workload of that name in line 9");
    let (_, cause) = refused(&FILE.replace("10.1.0.9", "10.1.0.4")).expect_err("the address");
    assert!(cause.contains("the file gives its address 10.1.0.4 to `db` in line 9"), "{cause}");
    let moved = FILE.replace("10.1.0.0/24", "10.3.0.0/24").replace("10.1.0.9", "10.3.0.9");
    let (_, cause) = refused(&moved).expect_err("the subnet moved");
    assert!(cause.contains("its address 10.1.0.4 is not in its network any more"), "{cause}");
}

fn published(key: &str, ports: &[(&str, u16, Option<&str>)]) -> Kept {
    let publish = ports.iter().map(|(transport, port, address)| api::AttachPublish {
        transport: (*transport).to_owned(),
        port: *port,
        to: 80,
        address: address.map(|address| address.parse().expect("an address")),
    });
    let attach = Attach { publish: publish.collect(), ..attach(key) };
    Kept::new(&attach, Timestamp::UNIX_EPOCH).expect("well formed")
}

#[test]
fn published_ports_come_with_an_attachment_and_go_with_it() {
    let enter = |all: &[Kept]| {
        let mut document = wanted(FILE).document;
        let all = all.iter().map(|kept| (kept.attach.key.clone(), kept.clone())).collect();
        merge(&mut document, &all).map_err(|error| error.cause.unwrap_or_default())?;
        Ok::<_, String>(document)
    };
    let one = published("a", &[("tcp", 8080, None), ("udp", 53, Some("192.0.2.1"))]);
    let mut document = enter(std::slice::from_ref(&one)).expect("there is room");
    let names: Vec<String> = document.publishes.iter().map(|it| it.name.to_string()).collect();
    assert_eq!(names[0], "attached-8080-tcp");
    assert!(names[1].starts_with("attached-53-udp-"), "{names:?}");
    one.unpublish(&mut document);
    assert!(document.publishes.is_empty());
    // Somebody else has the port: on all addresses, or on any of one network, which does not know the host's.
    for other in [("tcp", 8080, None), ("tcp", 8080, Some("192.0.2.1"))] {
        let told = enter(&[one.clone(), published("b", &[other])]).expect_err("it is taken");
        assert!(told.contains("the host's port 8080/tcp leads to shop/a-"), "{told}");
    }
    enter(&[one, published("b", &[("udp", 8080, None)])]).expect("another protocol");
}

#[test]
fn ports_that_nobody_can_publish_are_refused() {
    let with = |transport: &str, port: u16, to: u16| {
        let publish =
            api::AttachPublish { transport: transport.to_owned(), port, to, address: None };
        why(&Attach { publish: vec![publish], ..attach("a") })
    };
    assert!(with("icmp", 1, 1).contains("neither tcp, udp nor sctp"));
    assert!(with("tcp", 0, 1).contains("no port 0") && with("tcp", 1, 0).contains("no port 0"));
    let publish = api::AttachPublish { transport: "tcp".to_owned(), port: 1, to: 1, address: None };
    let many = Attach { publish: vec![publish.clone(); 257], ..attach("a") };
    assert!(why(&many).contains("publishes 257 ports"));
    let port = AttachPort::InPlace {
        interface: "tap0".to_owned(),
        mac: "52:54:00:00:00:01".to_owned(),
        dhcp: false,
    };
    let foreign = Attach { publish: vec![publish.clone(); 257], port, ..attach("a") };
    assert!(why(&foreign).contains("publishes 257 ports"), "what its runtime says has an end, too");
}

#[test]
fn what_a_runtime_says_stands_behind_what_it_was_attached_with() {
    let mut kept = Kept::new(&attach("a"), Timestamp::UNIX_EPOCH).expect("well formed");
    let told =
        [("app", "db"), ("tier", "front")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    kept.told = told.into();
    let labels = kept.labels().expect("labels");
    let shown: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(shown, ["app=web", "tier=front"]);
    kept.told = (0..100).map(|n| (format!("k{n}"), String::new())).collect();
    assert_eq!(kept.labels().expect("labels").len(), 1 + LABELS, "what is said has an end");
    kept.told = [("a b".to_owned(), String::new())].into();
    assert!(kept.labels().is_err());
}

#[test]
fn what_a_runtime_leads_to_a_port_in_place_is_known_and_not_ours_to_publish() {
    const LAN: &str = r"bulkhead: 1
tenants:
  shop:
    networks: { lan: { external: { bridge: br0 }, subnets: [10.9.0.0/24] } }
";
    let publish =
        api::AttachPublish { transport: "tcp".to_owned(), port: 80, to: 8080, address: None };
    let port = AttachPort::InPlace {
        interface: "tap0".to_owned(),
        mac: "52:54:00:00:00:01".to_owned(),
        dhcp: false,
    };
    let foreign = Attach {
        network: "lan".to_owned(),
        name: Some("vm".to_owned()),
        addresses: vec!["10.9.0.5".parse().expect("an address")],
        publish: vec![publish],
        publish_pending: true,
        port,
        ..attach("a")
    };
    let kept = Kept::new(&foreign, Timestamp::UNIX_EPOCH).expect("well formed");
    let mut document = wanted(LAN).document;
    merge(&mut document, &[("a".to_owned(), kept.clone())].into()).expect("there is room");
    assert_eq!(document.publishes, []);
    let led: Vec<String> = document.led.iter().map(ToString::to_string).collect();
    assert_eq!(led, ["80/tcp to vm:8080"]);
    let awaited: Vec<&str> = document.unled.iter().map(|unled| unled.workload.as_str()).collect();
    assert_eq!(awaited, ["vm"]);
    kept.unpublish(&mut document);
    assert_eq!((document.led, document.unled), (Vec::new(), Vec::new()));
}
