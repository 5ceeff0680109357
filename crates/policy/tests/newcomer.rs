//! What somebody gets who writes what other tools take: the line that was meant.

use policy::{Limits, Source};

/// One line for each finding: place, message, hint.
fn told(text: &str) -> String {
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let found = policy::load(&Source { name: "f.yaml", text }, &|_| None, &Limits::default(), now)
        .map(|_| ())
        .expect_err("is refused");
    let line = |record: &policy::Record| {
        let hint = record.hint.as_deref().unwrap_or("-");
        format!("{}:{} {}\n    {hint}\n", record.line, record.column, record.message)
    };
    found.records().iter().map(line).collect()
}

#[test]
fn compose_files() {
    insta::assert_snapshot!(told("version: \"3.9\"
services:
  web:
    image: nginx
    ports: [\"80:80\"]
networks: { main: {} }
volumes: {}
"), @r"
    1:1 a file has no key `version`
        the version of the format is `bulkhead: 1`
    1:1 this file has no `bulkhead`
        the file begins with `bulkhead: 1`
    2:1 a file has no key `services`
        services are workloads of a tenant: tenants: { shop: { workloads: { web: { run: [nginx] } } } }
    6:1 a file has no key `networks`
        it stands in a tenant: tenants: { shop: { networks: .., workloads: .., policies: .. } }
    7:1 a file has no key `volumes`
        the built-in runtime starts programs of the host (`run:`); a container is adopted with `netns:`
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one file and what is said of it")]
fn workloads_and_published_ports_as_in_compose_files() {
    insta::assert_snapshot!(told("bulkhead: 1
tenants:
  shop:
    networks: { main: { driver: bridge, subnet: 10.0.0.0/24, ipam: {}, internal: true, default: deny, posture: deny } }
    workloads:
      web: { image: nginx, ports: [\"80:80\"], networks: [main], environment: {A: b}, depends_on: [db], container_name: x, volumes: [], command: nginx, entrypoint: x, expose: [80], hostname: a, name: x, ip: 10.0.0.3, network_mode: host, pid: 1, container: abc }
      db: { run: nginx -g daemon, labels: [app=db], restart: unless-stopped, user: \"1000:1000\" }
      x: { netns: x, labels: { app: [a, b] }, network: shop/main }
    publish: [\"80:80\"]
  blog:
    networks: { main: { subnets: 10.0.0.0 } }
    workloads: { x: { netns: y, labels: { app: web } } }
    publish:
      a: { port: 80:80, to: x }
      b: { port: 80, to: x:80/tcp }
      c: { port: 80/TCP, to: x:80 }
      d: { ports: [\"80:80\"], to: x:80, workload: x, host: 1 }
      e: 80:80
"), @r"
    4:17 the network `main` has no subnet
        write for example `subnets: [10.0.0.0/16]`
    4:25 a network has no key `driver`
        write `mode: nat`, or bridge, routed, none
    4:41 a network has no key `subnet`
        a network has `subnets: [..]`
    4:62 a network has no key `ipam`
        a network has `subnets: [..]`
    4:72 a network has no key `internal`
        write `mode: bridge`: nothing leaves it
    4:88 a network has no key `default`
        write `posture: { ingress: deny, egress: deny }`
    4:112 expected a mapping for this posture, found a single value
        write { ingress: deny, egress: deny }
    6:7 the workload `web` has neither `run` nor `netns` nor `port`
        write run: [program, argument], netns: NAME for an existing namespace, or port: {interface: tap0, mac: ...} for an interface that somebody else made
    6:14 a workload has no key `image`
        the built-in runtime starts programs of the host (`run:`); a container is adopted with `netns:`
    6:28 a workload has no key `ports`
        the tenant's `publish` leads a port of the host to a workload: publish: { web: { port: 80/tcp, to: web:80 } }
    6:46 a workload has no key `networks`
        the first network is its own, further ones stand under also: network: front, also: [{ network: back }]
    6:64 a workload has no key `environment`
        write env: { KEY: value }
    6:85 a workload has no key `depends_on`
        nothing waits: what ends too early is started again (`restart:`)
    6:103 a workload has no key `container_name`
        its name is its key: web: { .. }
    6:122 a workload has no key `volumes`
        the built-in runtime starts programs of the host (`run:`); a container is adopted with `netns:`
    6:135 a workload has no key `command`
        the program and its arguments are one list: run: [nginx, -g, daemon off;]
    6:151 a workload has no key `entrypoint`
        the program and its arguments are one list: run: [nginx, -g, daemon off;]
    6:166 a workload has no key `expose`
        the tenant's `publish` leads a port of the host to a workload: publish: { web: { port: 80/tcp, to: web:80 } }
    6:180 a workload has no key `hostname`
        its name is its key: web: { .. }
    6:193 a workload has no key `name`
        its name is its key: web: { .. }
    6:202 a workload has no key `ip`
        write address: [10.0.0.7]
    6:216 a workload has no key `network_mode`
        a workload stands in a network: network: main
    6:236 a workload has no key `pid`
        adopt its namespace: netns: /proc/PID/ns/net
    6:244 a workload has no key `container`
        adopt its namespace: netns: /proc/PID/ns/net
    7:18 expected a list, found a single value
        write [nginx, -g, daemon]
    7:43 expected a mapping, found a list
        write { app: db }
    7:62 `unless-stopped` is not a restart policy
        known: always, on-failure, no
    7:85 `1000:1000` is not a user
        write the user alone: 1000
    8:37 expected a label value, found a list
        a label has one value; another label says another thing
    8:60 '/' may not stand at position 5 of a name
        names are lower-case letters, digits and dashes, and begin with a letter
    9:14 expected a mapping, found a list
        each entry has a name: write `NAME: ..` instead of `- ..`
    11:34 `10.0.0.0` has no prefix length
        write a subnet such as 10.0.1.0/24
    14:18 `80:80` is not a port
        write port: 80/tcp, to: WORKLOAD:80
    14:29 the port of the workload is missing
        write x:8080
    15:18 `80` is not a port
        name the protocol: 80/tcp
    15:28 `80/tcp` is not a port from 1 to 65535
        the protocol is that of `port`: write for example web:8443
    16:21 `TCP` is not a protocol with ports
        write 80/tcp
    17:10 this publish entry has no `port`
        -
    17:12 a publish entry has no key `ports`
        one entry for each port: { port: 443/tcp, to: web:8443 }
    17:40 a publish entry has no key `workload`
        write to: web:8443
    17:53 a publish entry has no key `host`
        write address: 203.0.113.7
    18:10 expected a mapping for this publish entry, found a single value
        write { port: 80/tcp, to: WORKLOAD:80 }
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one file and what is said of it")]
fn policies_in_the_words_of_others() {
    insta::assert_snapshot!(told("bulkhead: 1
tenants:
  shop:
    networks: { main: { subnets: [10.0.0.0/24] } }
    workloads: { web: { netns: y, labels: { app: web } }, db: { netns: z, labels: { app: db } } }
    policies:
      a: { from: web, to: db, allow: [80] }
      b: { from: \"*\", to: app=web, allow: [80/TCP, tcp/80, http, all, \"80:80\", \"*\", tcp:80, 80-90] }
      c: { from: { app: web }, to: { matchLabels: { app: db } }, allow: [{ port: 80, protocol: TCP }] }
      d: { podSelector: {}, ingress: [], policyTypes: [Ingress], egress: [], namespaceSelector: {}, spec: {} }
      e: { from: internet, to: app=web, allow: 80/tcp }
      f: { from: [app=web], to: all, deny: all, ports: [80/tcp], protocol: tcp, action: deny, port: 80, source: a, destination: b, description: x, name: y, priority: 1, log: true }
      g: { src: app=web, dst: app=db, allow: true }
      h: { from: app:web, to: app==db, allow: [any], expires: 2026-12-31, until: tomorrow }
      i: { from: world, to: web.shop, allow: [any] }
      j: { from: localhost, to: example.com, allow: [any] }
      k: { from: app=web or app=db, to: \"app=web && x\", allow: [any] }
"), @r#"
    7:18 no workload of `shop` has a label `web`
        did you mean `workload=web`?
    7:27 no workload of `shop` has a label `db`
        did you mean `workload=db`?
    7:39 `80` is not a port
        name the protocol: 80/tcp
    8:19 '*' may not stand at position 1 of a label key
        every workload and address is `any`, everything outside is `world`
    8:47 `TCP` is not a protocol with ports
        write 80/tcp
    8:52 the port stands before the protocol
        write 80/tcp
    8:60 there is no port named `http`
        define it: `ports: { http: 80/tcp }`, or write the port itself
    8:66 there is no port named `all`
        every protocol and port is `any`
    8:72 `80:80` is not a port
        a policy names the workload's port: 80/tcp; the tenant's `publish` leads a port of the host to a workload: publish: { web: { port: 80/tcp, to: web:80 } }
    8:81 `*` is not a port
        every protocol and port is `any`
    8:85 `tcp:80` is not a port
        write 80/tcp
    8:93 `80-90` is not a port
        name the protocol: 80-90/tcp
    9:18 expected a selector in one string, found a mapping
        write "app=web"
    9:36 expected a selector in one string, found a mapping
        write "app=db"
    9:74 expected a port, found a mapping
        write 80/tcp
    10:7 the policy `d` neither allows nor denies anything
        write allow: [80/tcp], deny: [22/tcp], or both; `any` is every port and protocol
    10:10 this policy has no `from`
        -
    10:10 this policy has no `to`
        -
    10:12 a policy has no key `podSelector`
        write from: app=web, and to: app=db
    10:29 a policy has no key `ingress`
        one policy says both sides: { from: app=web, to: app=db, allow: [5432/tcp] }
    10:42 a policy has no key `policyTypes`
        one policy says both sides: { from: app=web, to: app=db, allow: [5432/tcp] }
    10:66 a policy has no key `egress`
        one policy says both sides: { from: app=web, to: app=db, allow: [5432/tcp] }
    10:78 a policy has no key `namespaceSelector`
        write from: app=web, and to: app=db
    10:101 a policy has no key `spec`
        one policy says both sides: { from: app=web, to: app=db, allow: [5432/tcp] }
    11:18 no workload of `shop` has a label `internet`
        everything outside is `world`
    11:48 expected a list, found a single value
        write [80/tcp]
    12:33 no workload of `shop` has a label `all`
        every workload and address is `any`, everything outside is `world`
    12:44 expected a list, found a single value
        write [any]
    12:49 a policy has no key `ports`
        write `allow: [..]` or `deny: [..]`
    12:66 a policy has no key `protocol`
        write it with the port: allow: [80/tcp]
    12:81 a policy has no key `action`
        a policy has `allow: [..]`, `deny: [..]`, or both
    12:95 a policy has no key `port`
        write `allow: [..]` or `deny: [..]`
    12:105 a policy has no key `source`
        write from: app=web
    12:116 a policy has no key `destination`
        write to: app=db
    12:132 a policy has no key `description`
        its name is its key; write the rest as a comment: # ..
    12:148 a policy has no key `name`
        its name is its key; write the rest as a comment: # ..
    12:157 a policy has no key `priority`
        order never matters: a deny beats an allow
    12:170 a policy has no key `log`
        every flow is recorded: bulkhead observe
    13:10 this policy has no `from`
        -
    13:10 this policy has no `to`
        -
    13:12 a policy has no key `src`
        write from: app=web
    13:26 a policy has no key `dst`
        write to: app=db
    13:46 expected a list, found a single value
        write [any]
    14:21 `:` does not belong in a selector
        write `key=value`: app=web
    14:34 `==` is not an operator
        write a single `=`: app=web
    14:54 a policy has no key `expires`
        write until: 2026-12-31
    14:82 `tomorrow` is not a date or time
        write 2026-12-31 (ends with that day, UTC) or 2026-12-31T18:00:00Z
    15:29 no workload of `shop` has a label `web.shop`
        names are not resolved: write addresses, or select workloads: workload=web
    16:18 no workload of `shop` has a label `localhost`
        the host itself is `host`
    16:33 no workload of `shop` has a label `example.com`
        names are not resolved: write addresses, or select workloads: workload=web
    17:26 expected `,` or the end of the selector, found `or`
        alternatives are a list: [app=web, role=ops]
    17:50 expected `,` or the end of the selector, found `&&`
        terms are separated by commas: app=web, tier=front
    "#);
}

#[test]
fn kubernetes_manifests() {
    insta::assert_snapshot!(told("apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: a }
spec: { podSelector: {} }
"), @r"
    1:1 a file has no key `apiVersion`
        this is Kubernetes; here a policy is one line: web-to-db: { from: app=web, to: app=db, allow: [5432/tcp] }
    1:1 this file has no `bulkhead`
        the file begins with `bulkhead: 1`
    2:1 a file has no key `kind`
        this is Kubernetes; here a policy is one line: web-to-db: { from: app=web, to: app=db, allow: [5432/tcp] }
    3:1 a file has no key `metadata`
        this is Kubernetes; here a policy is one line: web-to-db: { from: app=web, to: app=db, allow: [5432/tcp] }
    4:1 a file has no key `spec`
        this is Kubernetes; here a policy is one line: web-to-db: { from: app=web, to: app=db, allow: [5432/tcp] }
    ");
}

#[test]
fn lists_instead_of_names_and_keys_at_the_wrong_place() {
    insta::assert_snapshot!(told("bulkhead: 1
tenants:
  - name: shop
"), @r"
    3:3 expected a mapping, found a list
        each entry has a name: write `NAME: ..` instead of `- ..`
    ");
    insta::assert_snapshot!(told("bulkhead: 1
networks:
  main: { subnets: [10.0.0.0/24] }
workloads: {}
segments: {}
publish: {}
tenant: {}
assertions: []
variables: []
include: a
name: x
"), @r"
    2:1 a file has no key `networks`
        it stands in a tenant: tenants: { shop: { networks: .., workloads: .., policies: .. } }
    4:1 a file has no key `workloads`
        it stands in a tenant: tenants: { shop: { networks: .., workloads: .., policies: .. } }
    5:1 a file has no key `segments`
        segments stand in a network: main: { subnets: [10.0.0.0/16], segments: { front: { subnet: 10.0.1.0/24 } } }
    6:1 a file has no key `publish`
        it stands in a tenant: tenants: { shop: { networks: .., workloads: .., policies: .. } }
    7:1 a file has no key `tenant`
        did you mean `tenants`?
    8:1 a file has no key `assertions`
        write `assert: [..]`
    9:1 a file has no key `variables`
        write `vars: [NAME]`
    10:1 a file has no key `include`
        a host has one file; nothing is included
    11:1 a file has no key `name`
        write a comment: # ..
    ");
    insta::assert_snapshot!(told("bulkhead: 1
tenants:
  shop:
    networks: { main: { subnets: [10.0.0.0/24], segments: [front] } }
    segments: {}
    labels: {}
"), @r"
    4:59 expected a mapping, found a list
        each entry has a name: write `NAME: ..` instead of `- ..`
    5:5 a tenant has no key `segments`
        segments stand in a network: main: { subnets: [10.0.0.0/16], segments: { front: { subnet: 10.0.1.0/24 } } }
    6:5 a tenant has no key `labels`
        labels belong to workloads: web: { labels: { app: web }, .. }
    ");
}

#[test]
fn slips_of_yaml() {
    insta::assert_snapshot!(told("bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode:nat
        subnets: [10.0.0.0/24]
"), @r"
    7:16 this is not YAML: mapping values are not allowed in this context
        write a space after the colon of the line before: `key: value`
    ");
    insta::assert_snapshot!(told("bulkhead: 1
tenants:
  shop:
    policies:
      a: { from: !app, to: *x, allow: [any] }
"), @r"
    5:22 a tag is not accepted in this file
        remove the word that begins with `!`; quote it if it is a value
    ");
    insta::assert_snapshot!(told("bulkhead:1
tenants: {}
"), @r"
    2:8 this is not YAML: mapping values are not allowed in this context
        write a space after the colon of the line before: `key: value`
    ");
    insta::assert_snapshot!(told("bulkhead: 1
tenants:
  shop:
   networks:
      main: {}
    workloads: {}
"), @r"
    6:5 this is not YAML: while parsing a block mapping, did not find expected key
        look at this line and the one before: a missing colon, quote or bracket, or wrong indentation
    ");
    insta::assert_snapshot!(told("bulkhead: 1
tenants:
	shop: {}
"), @r"
    3:2 this is not YAML: tabs disallowed within this context (block indentation)
        indent with spaces: YAML does not allow tabs there
    ");
    insta::assert_snapshot!(told("bulkhead: 1
vars: [NET]
policies:
  p: { from: ${NET}, to: any, deny: [any] }
"), @r#"
    4:15 this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'
        quote the value: "${NAME}"
    "#);
    insta::assert_snapshot!(told("bulkhead: 1
policies:
  p: { from: @x, to: any, deny: [any] }
"), @r"
    3:14 this is not YAML: unexpected character: `@'
        quote a value that begins with this character
    ");
}
