//! Kubernetes policies beside a native file, compiled: who beats whom, and changes at the cost of what they touch.

use jiff::Timestamp;
use planner::{Allocations, Compiler, Facts, compile};
use policy::kubernetes::load;
use policy::{Document, Limits, Outside, Source};
use proptest::prelude::*;
use verdict::abi::{Ports, Verdict};
use verdict::native::Simulation;
use verdict::{Judgement, Question};

fn facts() -> Facts {
    let now: Timestamp = "2026-11-22T00:00:00Z".parse().expect("a time");
    Facts { addresses: Vec::new(), now, jiffies_per_second: 250 }
}

fn document(native: &str, manifests: &[String]) -> Document {
    let manifests: Vec<Source<'_>> =
        manifests.iter().map(|text| Source { name: "np.yaml", text }).collect();
    let native = Source { name: "bulkhead.yaml", text: native };
    let outside = Outside { variable: &|_| None, countries: &policy::geo::nowhere };
    let set = load(&native, &manifests, outside, &Limits::for_bytes(1 << 20), facts().now);
    set.unwrap_or_else(|found| panic!("{}", found[0].render(false))).document
}

fn native(posture: &str, policies: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks: {{ n: {{ subnets: [10.0.0.0/24], posture: {{ ingress: {posture}, egress: {posture} }} }} }}
    workloads:
      a: {{ labels: {{ app: a }}, netns: a }}
      b: {{ labels: {{ app: b }}, netns: b, named-ports: {{ web: 80/tcp }} }}
      c: {{ labels: {{ app: c }}, netns: c, named-ports: {{ web: 81/tcp }} }}
{policies}"
    )
}

fn network_policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{ name: {name}, namespace: t }}\nspec: {spec}\n"
    )
}

fn admin(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: {kind}\nmetadata: {{ name: default }}\nspec: {spec}\n"
    )
}

/// What becomes of a new connection.
fn verdict(document: &Document, from: &str, to: &str, port: u16) -> Verdict {
    let bundle = compile(document, &Allocations::default(), &facts()).expect("compiles");
    let address = |name: &str| {
        let (_, at) = bundle.attachment(&format!("t.{name}")).expect("a workload");
        at.addresses[0].addr().into()
    };
    let network = bundle.routers[0].number.into();
    let ports = Ports { source: 40_000, target: port };
    let question =
        Question { source: address(from), target: address(to), network, ports, protocol: 6 };
    let mut judgement = Judgement::default();
    let simulation = Simulation::new(&bundle.tables);
    verdict::judge(&simulation, &question, bundle.tables.config.epoch, &mut judgement);
    judgement.verdict
}

#[test]
fn a_native_deny_beats_an_administrator_who_beats_allows() {
    let deny = "    policies: { no: { from: app=a, to: app=b, deny: [80/tcp] } }";
    let allow = "    policies: { yes: { from: app=a, to: app=b, allow: [80/tcp, 82/tcp] } }";
    let rules = |action: &str| {
        admin(
            "AdminNetworkPolicy",
            &format!(
                "{{ priority: 1, subject: {{ namespaces: {{}} }}, ingress: [{{ action: {action}, from: [{{ namespaces: {{}} }}], ports: [{{ portNumber: {{ port: 80 }} }}] }}] }}"
            ),
        )
    };
    let open = |policies: &str, manifests: &[String], port| {
        verdict(&document(&native("allow", policies), manifests), "a", "b", port)
    };
    assert_eq!(open(deny, &[rules("Allow")], 80), Verdict::Drop, "a deny beats an allow");
    assert_eq!(open(deny, &[rules("Pass")], 80), Verdict::Drop);
    assert_eq!(open(allow, &[rules("Deny")], 80), Verdict::Drop, "an administrator is asked first");
    assert_eq!(open(allow, &[rules("Deny")], 82), Verdict::Allow);
    let doubt = deny.replace("deny: [80/tcp]", "deny: [80/tcp], mode: audit");
    assert_eq!(open(&doubt, &[rules("Allow")], 80), Verdict::Audit, "what is tried is recorded");
    assert_eq!(open(&doubt, &[rules("Deny")], 80), Verdict::Drop);
}

#[test]
fn selecting_closes_what_is_open_and_allows_add_up() {
    let isolate = network_policy("p", "{ podSelector: { matchLabels: { app: b } } }");
    let allow = network_policy(
        "q",
        "{ podSelector: { matchLabels: { app: b } }, ingress: [{ ports: [{ port: web }] }] }",
    );
    let own = "    policies: { yes: { from: app=a, to: app=b, allow: [82/tcp] } }";
    let isolate = [isolate];
    for posture in ["allow", "audit"] {
        let file = native(posture, own);
        assert_ne!(verdict(&document(&file, &[]), "a", "b", 83), Verdict::Drop);
        assert_eq!(verdict(&document(&file, &isolate), "a", "b", 83), Verdict::Drop, "{posture}");
        assert_ne!(
            verdict(&document(&file, &isolate), "b", "a", 83),
            Verdict::Drop,
            "not selected"
        );
        assert_ne!(
            verdict(&document(&file, &isolate), "a", "b", 82),
            Verdict::Drop,
            "a native allow"
        );
        let both = [isolate[0].clone(), allow.clone()];
        assert_ne!(verdict(&document(&file, &both), "a", "b", 80), Verdict::Drop, "its named port");
        assert_eq!(verdict(&document(&file, &both), "a", "b", 81), Verdict::Drop, "another's");
    }
    let closed = native("deny", own);
    assert_eq!(
        verdict(&document(&closed, &[allow]), "a", "b", 80),
        Verdict::Drop,
        "a's egress is closed"
    );
}

#[test]
fn the_baseline_is_for_whom_nobody_else_decides() {
    let baseline = admin(
        "BaselineAdminNetworkPolicy",
        "{ subject: { namespaces: {} }, ingress: [{ action: Deny, from: [{ namespaces: {} }] }] }",
    );
    let select = network_policy("p", "{ podSelector: { matchLabels: { app: b } }, ingress: [{}] }");
    let own = "    policies: { yes: { from: app=a, to: app=c, allow: [82/tcp] } }";
    let file = document(&native("allow", own), &[baseline, select]);
    assert_eq!(verdict(&file, "b", "a", 80), Verdict::Drop);
    assert_eq!(verdict(&file, "a", "b", 80), Verdict::Allow, "a NetworkPolicy selects it");
    assert_eq!(verdict(&file, "a", "c", 82), Verdict::Allow, "a native allow");
    assert_eq!(verdict(&file, "a", "c", 80), Verdict::Drop);
}

/// Policies to choose from: what isolates, what allows, what an administrator says.
fn pieces() -> Vec<String> {
    let mut out = Vec::new();
    for app in ["a", "b", "c"] {
        let pods = format!("podSelector: {{ matchLabels: {{ app: {app} }} }}");
        out.push(network_policy(&format!("in-{app}"), &format!("{{ {pods} }}")));
        out.push(network_policy(
            &format!("both-{app}"),
            &format!("{{ {pods}, policyTypes: [Ingress, Egress], egress: [{{ to: [{{ podSelector: {{}} }}], ports: [{{ port: web }}] }}] }}"),
        ));
        out.push(network_policy(
            &format!("from-{app}"),
            &format!("{{ podSelector: {{}}, ingress: [{{ from: [{{ {pods} }}, {{ ipBlock: {{ cidr: 192.0.2.0/24 }} }}] }}] }}"),
        ));
    }
    out.push(admin("AdminNetworkPolicy", "{ priority: 1, subject: { namespaces: {} }, egress: [{ action: Deny, to: [{ networks: [192.0.2.0/25] }] }, { action: Pass, to: [{ namespaces: {} }] }] }"));
    out.push(admin(
        "BaselineAdminNetworkPolicy",
        "{ subject: { namespaces: {} }, egress: [{ action: Deny, to: [{ namespaces: {} }] }] }",
    ));
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Files that come and go change what is compiled to what compiling anew makes.
    #[test]
    fn a_change_of_files_compiles_to_the_same(steps in proptest::collection::vec(any::<u16>(), 1..5), open in any::<bool>()) {
        let file = native(if open { "allow" } else { "deny" }, "    policies: { own: { from: app=a, to: app=b, allow: [80/tcp], deny: [22/tcp] } }");
        let pieces = pieces();
        let chosen = |mask: u16| -> Vec<String> {
            pieces.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, text)| text.clone()).collect()
        };
        let mut compiler = Compiler::new(document(&file, &[]), &Allocations::default(), &facts()).expect("compiles");
        for mask in steps {
            let wanted = document(&file, &chosen(mask));
            compiler.update(wanted.clone(), &facts()).expect("compiles");
            let anew = compile(&wanted, &compiler.bundle().allocations, &facts()).expect("compiles");
            prop_assert_eq!(compiler.bundle(), &anew);
        }
    }
}
