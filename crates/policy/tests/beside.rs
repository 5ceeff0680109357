//! Kubernetes policies beside a native file: which workloads they mean, what is refused and warned about, and where.

use insta::assert_snapshot;
use policy::document::{Ends, Policy, Tier};
use policy::kubernetes::{CheckedSet, is_manifest, load};
use policy::{Diagnostics, Limits, Outside, Source};

const NATIVE: &str = "bulkhead: 1
ports: { metrics: 9100/tcp }
tenants:
  shop:
    networks: { main: { subnets: [10.0.0.0/16], posture: { ingress: allow, egress: allow } } }
    workloads:
      web: { labels: { app: web, tier: front }, netns: web, named-ports: { http: 8080/tcp } }
      api: { labels: { app: api }, netns: api, named-ports: { http: 8081/tcp, dns: [53/udp, 53/tcp] } }
      db: { labels: { app: db }, netns: db }
  ops:
    networks: { main: { subnets: [10.1.0.0/16] } }
    workloads:
      probe: { labels: { app: probe }, netns: probe }
    policies:
      own: { from: app=probe, to: world, allow: [443/tcp] }
";

fn read(native: &str, manifests: &[(&str, &str)]) -> Result<CheckedSet, Vec<Diagnostics>> {
    let manifests: Vec<Source<'_>> =
        manifests.iter().map(|(name, text)| Source { name, text }).collect();
    let native = Source { name: "bulkhead.yaml", text: native };
    let now = "2026-11-22T00:00:00Z".parse().expect("a time");
    let outside = Outside { variable: &|_| None, countries: &policy::geo::nowhere };
    load(&native, &manifests, outside, &Limits::for_bytes(1 << 20), now)
}

fn rendered(found: &[Diagnostics]) -> String {
    found.iter().map(|each| each.render(false)).collect()
}

/// A policy of `namespace` with this specification, in flow style.
fn policy(namespace: &str, spec: &str) -> String {
    let kind = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy";
    format!("{kind}\nmetadata: {{ name: p, namespace: {namespace} }}\nspec: {spec}\n")
}

fn admin(spec: &str) -> String {
    let kind = "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy";
    format!("{kind}\nmetadata: {{ name: p }}\nspec: {spec}\n")
}

fn line(policy: &Policy) -> String {
    let side = |peers: &[model::Peer]| {
        let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
        format!("[{}]", peers.join(" | "))
    };
    let ports = |ports: &[model::PortSpec]| {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        ports.join(",")
    };
    let standing = &policy.standing;
    let ends = match standing.ends {
        Ends::Both => "both",
        Ends::Egress => "egress",
        Ends::Ingress => "ingress",
    };
    let tier = match standing.tier {
        Tier::Published(place) => format!(" published {place}"),
        Tier::Admin(place) => format!(" admin {place}"),
        Tier::Ordinary => String::new(),
        Tier::Baseline(place) => format!(" baseline {place}"),
    };
    let does = if standing.isolates { " isolates".to_owned() } else { String::new() };
    let rule = policy.rules().next().map(|rule| format!(" {rule}")).unwrap_or_default();
    format!(
        "{ends}{tier}{does} {} -> {} allow[{}] deny[{}] pass[{}]{rule}",
        side(&policy.from),
        side(&policy.to),
        ports(&policy.allow),
        ports(&policy.deny),
        ports(&standing.pass)
    )
}

/// What manifests become, one line each, and what is said about them.
fn meaning(native: &str, manifests: &[(&str, &str)]) -> String {
    let set = read(native, manifests).unwrap_or_else(|found| panic!("{}", rendered(&found)));
    let theirs = set.document.policies.iter().filter(|each| each.standing.origin.is_some());
    let lines: Vec<String> = theirs.map(line).collect();
    format!("{}\n{}", lines.join("\n"), rendered(&set.warnings))
}

#[test]
fn a_policy_selects_the_workloads_of_its_namespace() {
    let text = policy(
        "shop",
        "
  podSelector: { matchLabels: { app: db } }
  ingress:
  - from:
    - podSelector: { matchExpressions: [{ key: app, operator: In, values: [web, api] }] }
    - namespaceSelector: { matchLabels: { team: ops } }
      podSelector: { matchLabels: { app: probe } }
    - namespaceSelector: {}
    - ipBlock: { cidr: 192.0.2.0/24, except: [192.0.2.128/25] }
    ports: [{ port: 5432, endPort: 5433 }, { port: 5432, protocol: SCTP }]
  - {}",
    );
    let namespace =
        "kind: Namespace\napiVersion: v1\nmetadata: { name: ops, labels: { team: ops } }\n";
    assert_snapshot!(meaning(NATIVE, &[("np.yaml", &text), ("ns.yaml", namespace)]));
}

#[test]
fn named_ports_are_those_of_each_workload() {
    let text = policy(
        "shop",
        "
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
  - ports: [{ port: http }, { port: metrics }, { port: dns, protocol: UDP }]
  egress:
  - to: [{ namespaceSelector: {} }, { ipBlock: { cidr: 192.0.2.0/24 } }]
    ports: [{ port: http }]
  - ports: [{ port: metrics }]",
    );
    assert_snapshot!(meaning(NATIVE, &[("np.yaml", &text)]));
}

#[test]
fn values_that_no_workload_can_have_match_as_in_a_cluster() {
    let text = policy(
        "shop",
        "
  podSelector:
    matchExpressions:
    - { key: app, operator: NotIn, values: ['no such value!', db] }
    - { key: tenant, operator: DoesNotExist }
    - { key: 7up, operator: NotIn, values: [x] }
  ingress:
  - from:
    - podSelector: { matchLabels: { tenant: shop } }
    - podSelector: { matchLabels: { app: '' } }
    - podSelector: { matchLabels: { app: web } }",
    );
    assert_snapshot!(meaning(NATIVE, &[("np.yaml", &text)]));
}

#[test]
fn segments_may_be_the_namespaces() {
    let native = "bulkhead: 1
kubernetes: { namespaces: segment }
tenants:
  shop:
    networks:
      main:
        subnets: [10.0.0.0/16]
        segments: { front: { subnet: 10.0.1.0/24 }, data: { subnet: 10.0.2.0/24 } }
    workloads:
      web: { segment: front, labels: { app: web }, netns: web }
      db: { segment: data, labels: { app: db }, netns: db }
";
    let text = policy(
        "data",
        "{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: front } } }] }] }",
    );
    assert_snapshot!(meaning(native, &[("np.yaml", &text)]));
    let one = native.replace("front: { subnet: 10.0.1.0/24 }, data", "data");
    let one = one.replace("segment: front", "segment: data");
    let other = one.replace(
        "  shop:",
        "  other:
    networks:
      main: { subnets: [10.9.0.0/16], segments: { data: { subnet: 10.9.1.0/24 } } }
      flat: { subnets: [10.8.0.0/16] }
    workloads:
      lone: { network: flat, netns: lone }
  shop:",
    );
    let refused = read(&other, &[("np.yaml", &text)]).expect_err("two namespaces with one name");
    assert_snapshot!(rendered(&refused));
}

#[test]
fn administrators_come_first_and_deny_what_a_network_holds() {
    let text = admin(
        "
  priority: 10
  subject: { namespaces: { matchLabels: { kubernetes.io/metadata.name: shop } } }
  egress:
  - { action: Allow, to: [{ networks: [192.0.2.0/24] }] }
  - { action: Pass, to: [{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: db } } } }] }
  - { action: Deny, to: [{ networks: [0.0.0.0/0] }], ports: [{ portNumber: { port: 25 } }] }",
    ) + "---\n" + &admin("{ priority: 5, subject: { namespaces: {} }, ingress: [{ action: Deny, from: [{ namespaces: {} }], ports: [{ namedPort: http }] }] }").replace("name: p", "name: first");
    assert_snapshot!(meaning(NATIVE, &[("anp.yaml", &text)]));
}

#[test]
fn what_would_be_wider_is_refused_at_its_place() {
    let pass = admin(
        "
  priority: 1
  subject: { namespaces: {} }
  egress:
  - { action: Pass, to: [{ networks: [10.0.0.0/8] }] }
  - action: Deny
    to: [{ domainNames: ['*.example.com'] }]
  - { action: Allow, to: [{ nodes: {} }] }",
    );
    let foreign = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: { name: c }\n";
    let unknown = policy("shp", "{ podSelector: {} }");
    let manifests = [("a.yaml", &*pass), ("b.yaml", foreign), ("c.yaml", &*unknown)];
    let found = read(NATIVE, &manifests).expect_err("refused");
    assert_snapshot!(rendered(&found));
}

#[test]
fn a_field_that_would_be_dropped_is_refused() {
    let text = admin(
        "{ priority: 1, subject: { namespaces: {} }, ingress: [{ action: Allow, from: [{ namespaces: { sameLabels: [team] } }] }] }",
    );
    let found = read(NATIVE, &[("anp.yaml", &text)]).expect_err("it would mean everybody");
    assert_snapshot!(rendered(&found));
}

#[test]
fn what_is_left_out_is_told() {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\n---\nkind: Namespace\napiVersion: v1\nmetadata: { name: gone, labels: { a: b } }\n";
    let nobody = policy(
        "shop",
        "{ podSelector: { matchLabels: { app: dbb } }, egress: [{ to: [{ ipBlock: { cidr: 10.0.3.0/24 } }], ports: [{ port: gone }] }] }",
    );
    assert_snapshot!(meaning(NATIVE, &[("all.yaml", deployment), ("np.yaml", &nobody)]));
}

#[test]
fn mistakes_of_all_files_are_told_at_once() {
    let native = NATIVE.replace("app=probe", "app=prob");
    let wrong = policy("shop", "{ podSelector: {}, policyTypes: [Outgress] }");
    let found = read(&native, &[("np.yaml", &wrong)]).expect_err("refused");
    assert_snapshot!(rendered(&found));
}

#[test]
fn a_policy_without_namespace_is_in_the_only_one() {
    let text = policy("x", "{ podSelector: {} }").replace(", namespace: x", "");
    let refused = read(NATIVE, &[("np.yaml", &text)]).expect_err("which one?");
    assert!(rendered(&refused).contains("no tenant `default`"), "{}", rendered(&refused));
    let (one, _) = NATIVE.split_once("  ops:").expect("the second tenant");
    assert!(
        meaning(one, &[("np.yaml", &text)]).contains("ingress isolates [any] -> [tenant=shop]")
    );
    let default = NATIVE.replace("  ops:", "  default:");
    assert!(meaning(&default, &[("np.yaml", &text)]).contains("-> [tenant=default]"));
}

#[test]
fn files_are_told_apart_by_what_they_hold() {
    for text in [
        "apiVersion: v1\nkind: List",
        "# a\n---\n- kind: Pod",
        "{ \"kind\": \"Pod\" }",
        "items: []",
    ] {
        assert!(is_manifest(text), "{text}");
    }
    for text in [
        "bulkhead: 1",
        "# kind: Pod\nbulkhead: 1\nkind: x",
        "{ \"bulkhead\": 1, \"kind\": 2}",
        "",
        "tenants: {}",
    ] {
        assert!(!is_manifest(text), "{text}");
    }
}

#[test]
fn files_are_bounded() {
    let text = policy("shop", "{ podSelector: {} }");
    let many: Vec<(String, String)> =
        (0..1001).map(|at| (format!("{at}.yaml"), text.clone())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, text)| (&**name, &**text)).collect();
    let found = read(NATIVE, &many).expect_err("too many");
    assert!(rendered(&found).contains("1001 manifests"), "{}", rendered(&found));
    let long = format!("# {}\n", "x".repeat(1 << 19));
    let found = read(NATIVE, &[("a.yaml", &long), ("b.yaml", &long)]).expect_err("too much");
    assert!(rendered(&found).contains("bytes"), "{}", rendered(&found));
}

/// Left out with a warning, each of these would let pass what somebody wanted to deny.
#[test]
fn what_was_meant_to_be_a_policy_is_refused() {
    let good = policy("shop", "{ podSelector: {} }");
    let list = "apiVersion: v1\nkind: List\n";
    for (text, told) in [
        (
            good.replace("kind: NetworkPolicy", "kind: NetworkPolcy"),
            "did you mean `NetworkPolicy`?",
        ),
        (good.replace("kind: NetworkPolicy", "kind: NetworkPolicies"), "did you mean"),
        (good.replace("kind: NetworkPolicy", "kind: networkpolicy"), "did you mean"),
        (good.replace("kind: NetworkPolicy", "kind: Policy"), "of `networking.k8s.io`"),
        (good.replace("kind: NetworkPolicy", "kind: NetworkPolicyList"), "no kind"),
        (good.replace("networking.k8s.io", "networking.k8s.oi"), "cannot be enforced"),
        (good.replace("kind: NetworkPolicy\n", ""), "`kind` is missing"),
        (good.replace("apiVersion: networking.k8s.io/v1\n", ""), "`apiVersion` is missing"),
        (format!("{list}item: []\n"), "a List has `items`"),
        (format!("{list}items: [{{ spec: {{}} }}]\n"), "`kind` is missing"),
        (format!("- {}", good.replace('\n', "\n  ").trim_end()), "it is no mapping"),
    ] {
        let found = rendered(&read(NATIVE, &[("np.yaml", &text)]).expect_err(&text));
        assert!(found.contains(told), "{text}\n{found}");
    }
    let ingress = good.replace("kind: NetworkPolicy", "kind: Ingress");
    read(NATIVE, &[("np.yaml", &ingress)]).expect("an Ingress is no policy");
    let items = good.replace("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n", "");
    let items = items.trim_end().replace('\n', "\n  ");
    let list =
        format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems:\n- {items}\n");
    assert!(meaning(NATIVE, &[("np.yaml", &list)]).contains("ingress isolates"));
}

/// What the API server refuses is not taken for something wider.
#[test]
fn peers_and_subjects_that_the_api_refuses() {
    let all = "{ namespaceSelector: {}, podSelector: {} }";
    let rules = |subject: &str, direction: &str, peer: &str| {
        admin(&format!(
            "{{ priority: 1, subject: {subject}, {direction}: [{{ action: Allow, {}: [{peer}] }}] }}",
            if direction == "ingress" { "from" } else { "to" }
        ))
    };
    for (text, told) in [
        (
            rules(&format!("{{ namespaces: {{}}, pods: {all} }}"), "ingress", "{ namespaces: {} }"),
            "exactly one of `namespaces` and `pods`",
        ),
        (rules("{}", "ingress", "{ namespaces: {} }"), "exactly one of `namespaces` and `pods`"),
        (
            rules("{ pods: { podSelector: {} } }", "ingress", "{ namespaces: {} }"),
            "`pods` needs a `namespaceSelector`",
        ),
        (
            rules("{ namespaces: {} }", "ingress", "{ pods: { namespaceSelector: {} } }"),
            "`pods` needs a `podSelector`",
        ),
        (rules("{ namespaces: {} }", "ingress", "{}"), "a peer has exactly one of"),
        (rules("{ namespaces: {} }", "egress", "{ networks: [] }"), "at least one network"),
    ] {
        let found = rendered(&read(NATIVE, &[("anp.yaml", &text)]).expect_err(&text));
        assert!(found.contains(told), "{text}\n{found}");
    }
    let fine = rules(&format!("{{ pods: {all} }}"), "ingress", &format!("{{ pods: {all} }}"));
    read(NATIVE, &[("anp.yaml", &fine)]).expect("both selectors");
}

#[test]
fn a_namespace_is_there_once_and_a_number_is_decimal() {
    let namespace = |trusted: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{ name: ops, labels: {{ trusted: '{trusted}' }} }}\n"
        )
    };
    let manifests = [("a.yaml", &*namespace("no")), ("b.yaml", &*namespace("yes"))];
    let found = rendered(&read(NATIVE, &manifests).expect_err("twice"));
    assert!(found.contains("BH0183") && found.contains("first at a.yaml:3"), "{found}");
    let octal = policy("shop", "{ podSelector: {}, ingress: [{ ports: [{ port: 0777 }] }] }");
    let found = rendered(&read(NATIVE, &[("np.yaml", &octal)]).expect_err("base 8"));
    assert!(found.contains("0777"), "{found}");
}
