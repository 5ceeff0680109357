//! A workload in several networks: an endpoint in each, one workload to those who ask about workloads.

use planner::{Allocations, Bundle, Facts, Party, compile};

use crate::{host, load};

const FILE: &str = r#"bulkhead: 1
tenants:
  t:
    networks:
      service: { mode: routed, subnets: [10.1.0.0/24] }
      management: { mode: routed, subnets: [10.9.0.0/24] }
    workloads:
      client: { network: service, labels: { app: client }, netns: client }
      web: { network: service, also: [{ network: management }], labels: { app: web }, netns: web }
      ops: { network: management, labels: { app: ops }, netns: ops }
    policies:
      site: { from: app=client, to: "app=web, network=service", allow: [80/tcp] }
      manage: { from: "app=web, network=management", to: app=ops, allow: [22/tcp] }
      self: { from: app=web, to: app=web, allow: [any] }
"#;

fn facts() -> Facts {
    host(&[])
}

fn made(text: &str) -> Bundle {
    crate::made(text, &facts())
}

#[test]
fn each_attachment_has_a_number_an_address_and_an_identity_of_its_own() {
    let bundle = made(FILE);
    let ids: Vec<&str> = bundle.attachments("t.web").map(|(id, _)| &**id).collect();
    assert_eq!(ids, ["t.web", "t.web@management"]);
    assert_eq!(bundle.attachments("t.web@management").count(), 2, "whichever is named");
    let [first, second] =
        ["t.web", "t.web@management"].map(|id| bundle.attachment(id).expect("attached"));
    assert_ne!(first.1.number, second.1.number);
    assert_ne!(first.1.mac, second.1.mac);
    let identity = |id: &str| bundle.workloads.get(id).expect("there").identity;
    assert_ne!(identity("t.web"), identity("t.web@management"));
}

#[test]
fn a_workload_and_itself_are_no_pair() {
    let cells = planner::matrix(&made(FILE));
    let pairs: Vec<String> =
        cells.iter().map(|cell| format!("{} {}", cell.from, cell.to)).collect();
    assert_eq!(pairs, ["t.client t.web", "t.web@management t.ops"]);
}

#[test]
fn what_falls_with_a_workload_goes_on_from_all_its_networks() {
    let bundle = made(FILE);
    let fallen = planner::radius(&bundle, "t.client").expect("attached");
    let told: Vec<String> = fallen
        .iter()
        .map(|each| format!("{} {} from {}", each.hop, each.party, each.from))
        .collect();
    assert_eq!(told, ["1 t.web from t.client", "2 t.ops from t.web@management"]);
    let whichever =
        ["t.web", "t.web@management"].map(|id| planner::radius(&bundle, id).expect("attached"));
    assert_eq!(whichever[0], whichever[1]);
    assert_eq!(
        whichever[0].first().map(|each| &each.party),
        Some(&Party::Workload("t.ops".into()))
    );
}

#[test]
fn always_asks_for_one_way_and_never_for_none() {
    let holds = |claim: &str| {
        let document = load(&format!("{FILE}    assert: [{{ {claim} }}]\n"));
        let bundle = compile(&document, &Allocations::default(), &facts()).expect("compiles");
        planner::prove(&document, &bundle).iter().all(|outcome| outcome.broken.is_none())
    };
    assert!(holds("always: \"app=client -> app=web:80/tcp\""), "one of its attachments is enough");
    assert!(holds("always: \"app=web -> app=ops:22/tcp\""));
    assert!(!holds("always: \"app=client -> app=web:81/tcp\""));
    assert!(!holds("never: \"app=client -> app=web:80/tcp\""));
    assert!(holds("never: \"app=client -> app=ops\""));
    assert!(holds("never: \"app=web -> app=web\""), "itself");
}
