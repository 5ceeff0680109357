//! What dockerd 20.10 said, and what nobody should say.

use proptest::prelude::*;

use super::*;

fn id(digit: char) -> String {
    digit.to_string().repeat(ID)
}

#[test]
fn a_network_with_options_and_pools() {
    let text = serde_json::json!({
        "NetworkID": id('a'),
        "Options": {
            GENERIC: { "bulkhead.network": "shop/front" },
            "com.docker.network.enable_ipv6": false,
            INTERNAL: true,
        },
        "IPv4Data": [{ "AddressSpace": "bulkhead-local", "Pool": "10.0.1.0/24", "Gateway": "10.0.1.1/24" }],
        "IPv6Data": null,
    });
    let call: CreateNetwork = read(text.to_string().as_bytes()).expect("a message");
    assert_eq!(call.option("bulkhead.network"), Some("shop/front"));
    assert!(call.is_internal() && call.option("bulkhead.segment").is_none());
    let pools: Vec<&str> = call.pools().map(|pool| pool.gateway.as_str()).collect();
    assert_eq!((call.network.short(), pools), ("aaaaaaaaaaaa", vec!["10.0.1.1/24"]));
}

#[test]
fn ids_are_no_paths() {
    for text in
        ["", "../../etc/passwd", "a/b", &id('A'), &id('a')[1..], &format!("{}/", &id('a')[1..])]
    {
        let text = serde_json::json!({ "NetworkID": text }).to_string();
        let error = read::<OneNetwork>(text.as_bytes()).expect_err("no id").to_string();
        assert!(error.contains("is no id of Docker's"), "{error}");
    }
}

#[test]
fn what_is_no_object_is_refused_and_nothing_is_an_empty_one() {
    assert!(read::<RequestPool>(b"").is_ok() && read::<RequestPool>(b"null").is_ok());
    for text in ["[]", "7", "{", "{\"Pool\": 7}"] {
        read::<RequestPool>(text.as_bytes()).expect_err(text);
    }
}

fn ports(all: &Value) -> Result<Vec<Published>, Wrong> {
    let text = serde_json::json!({
        "NetworkID": id('a'), "EndpointID": id('b'), "Options": { PORTS: all },
    });
    read::<External>(text.to_string().as_bytes()).expect("a message").ports()
}

#[test]
fn published_ports_and_those_that_cannot_be_had() {
    let of = |proto: u8, port: u16, address: &str, from: u16, to: u16| {
        serde_json::json!({
            "Proto": proto, "IP": "", "Port": port, "HostIP": address, "HostPort": from, "HostPortEnd": to,
        })
    };
    let good = serde_json::json!([
        of(6, 80, "", 8080, 8080),
        of(17, 53, "192.0.2.1", 53, 53),
        of(6, 80, "0.0.0.0", 8080, 8080)
    ]);
    let found = ports(&good).expect("ports");
    assert_eq!(found.len(), 2, "twice the same is once");
    assert_eq!((found[0].public, found[0].private, found[0].address), (8080, 80, None));
    assert_eq!(found[1].address, Some("192.0.2.1".parse().expect("an address")));
    for (bad, why) in [
        (of(6, 80, "", 0, 0), "write -p PORT:80"),
        (of(6, 80, "", 8000, 8010), "-p 8000:80"),
        (of(1, 80, "", 80, 80), "protocol 1 has no ports"),
        (of(6, 80, "../", 80, 80), "is no address"),
    ] {
        let error = ports(&serde_json::json!([bad])).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(ports(&Value::Null).is_ok_and(|none| none.is_empty()));
    ports(&serde_json::json!("x")).expect_err("no list");
    let many: Vec<Value> = (1..=300).map(|port| of(6, port, "", port, port)).collect();
    ports(&serde_json::json!(many)).expect_err("too many");
}

proptest! {
    #[test]
    fn no_message_is_too_wrong_to_be_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _one = read::<CreateNetwork>(&bytes);
        let _two = read::<CreateEndpoint>(&bytes);
        let _three = read::<External>(&bytes);
        let _four = read::<PoolAddress>(&bytes);
    }

    #[test]
    fn endpoints_of_any_text(v4 in ".{0,40}", v6 in ".{0,60}", mac in ".{0,30}") {
        let text = serde_json::json!({
            "NetworkID": id('a'), "EndpointID": id('b'),
            "Interface": { "Address": v4, "AddressIPv6": v6, "MacAddress": mac },
        });
        let call: CreateEndpoint = read(text.to_string().as_bytes()).expect("a message");
        if let Ok(addresses) = call.addresses() {
            prop_assert!(addresses.len() <= 2);
        }
    }
}
