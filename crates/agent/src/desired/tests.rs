//! What the network reconciler is given for the shop.

use super::*;
use crate::tests::{SHOP, wanted};

#[test]
fn networks_become_routers_and_lonely_workloads_namespaces() {
    let bundle = wanted(SHOP).bundle;
    let desired = network(&bundle, 1400).expect("a network");
    let names: Vec<_> = desired.routers.iter().map(|router| router.name.to_string()).collect();
    assert_eq!(names, ["shop.main.router", "shop.other.router"]);
    let main = &desired.routers[0];
    assert_eq!((main.mode, main.mtu), (Mode::Nat, 1400));
    assert_eq!(main.gateways.len(), 3, "front has two, data one: {:?}", main.gateways);
    let web = main.endpoints.iter().find(|each| each.workload.as_str() == "shop.web").expect("web");
    assert_eq!(web.place, Place::Ours);
    assert_eq!(web.gateway_v4, Some("10.0.1.1".parse().expect("an address")));
    let db = main.endpoints.iter().find(|each| each.workload.as_str() == "shop.db").expect("db");
    assert_eq!(db.place, Place::At("/run/netns/db".into()));
    assert_eq!(main.publishes.len(), 1);
    assert_eq!(main.publishes[0].ports, (443, 443));
    assert_eq!(desired.isolated.len(), 1);
    assert_eq!(desired.isolated[0].workload.as_str(), "shop.job");
}
