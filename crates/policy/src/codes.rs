//! Stable codes of everything the loader and the lints say, each with a long explanation for `bulkhead explain`.
//!
//! A code is never reused and never changes its meaning; a new finding gets a new number.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($number:literal $name:ident $title:literal $text:literal)+) => {
        /// What a diagnostic is about. Prints as `BH0101`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $name = $number,)+
        }

        impl Code {
            /// Every code, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// What it is about, in a few words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// Why it is reported and what to do about it: a few paragraphs of plain text.
            #[must_use]
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

impl Code {
    /// The number after `BH`.
    #[must_use]
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The code with this text, for example `BH0101` (case does not matter).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.get(2..).filter(|_| text.to_ascii_uppercase().starts_with("BH"))?;
        let number = digits.parse::<u16>().ok().filter(|_| digits.len() == 4)?;
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("BH{:04}", self.number()))
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

codes! {
100 Limit "a limit of the file is exceeded"
"The file is larger, deeper or longer than the loader accepts. Limits keep a mistake, or somebody's hostile file, from using up \
the memory of the host.\n\nA file may have 64 MiB. The \
other limits (depth 16, names of 32 characters, 32 terms in a selector, 64 labels of a workload, ...) are fixed; they are listed \
in the reference of the file."
101 Syntax "the file is not YAML"
"The text cannot be read as YAML 1.2. The place that is shown is where reading stopped; the mistake is often on the line before \
it: a missing colon, a missing quote, or a tab used for indentation.\n\nNothing else is checked until the file can be read."
102 NeverMatches "a rule can never match"
"No workload of the file is selected by one side of the rule, so the rule does nothing. For an allow this means that a \
connection somebody wanted stays closed; for a deny, that a protection somebody wanted is not there.\n\nUsually one label of two \
is wrong: every label exists, but no workload has all of them. `bulkhead workload list -l app=api` shows who has which. If the \
workloads come later, the warning goes away with them.\n\nOr no packet has such an address: multicast, broadcast, loopback and IPv6 \
link-local packets are dropped whatever a policy says, and an IPv4 range means nothing to workloads with IPv6 addresses alone."
103 Yaml "a YAML feature that this file does not use"
"Anchors (`&a`), aliases (`*a`), tags (`!a`), merge keys (`<<`) and several documents in one file are refused. A reader \
of a security policy should see what applies where it applies, without following references, and a small text must not \
expand to a large one.\n\nWrite the value out. Ports that occur often get a name under `ports:`, groups of workloads get a label."
104 DuplicateKey "a key is given twice"
"One mapping has the same key twice. Most YAML readers silently take the last one; in a policy that hides a rule, so it is an \
error.\n\nRename one of the two, or merge them."
105 UnknownKey "an unknown key"
"The file has a key that does not exist at this place. Unknown keys are errors because a misspelt key (`form:` for `from:`) \
would otherwise be a rule that nobody wrote.\n\nThe message names the nearest known key. `docs/reference/file.md` has all of them; \
an editor that knows the JSON schema completes them."
106 WrongKind "a value of the wrong kind"
"A mapping, a list or a single value stands where another kind is expected, or a value is missing after its key.\n\nSelectors are \
one string: `from: app=api, tier=front`, never a mapping `{app: api, tier: front}`. Ports are always a list: `allow: [80/tcp]`."
107 MissingKey "a required key is missing"
"An entry lacks a key without which it has no meaning: `from`, `to` and one of `allow` or `deny` for a policy, `run` or `netns` \
for a workload, `subnet` for a segment, `port` and `to` for a publish entry, `bulkhead: 1` at the top."
108 Exclusive "keys that exclude each other"
"Two keys say the same thing in different ways, or one makes the other meaningless: `run` and `netns`; `network` and `segment` \
(`segment: network/segment` says both); `profile: sealed` and `posture`; `posture` of a network that has segments; settings of \
the built-in runtime beside `netns`.\n\nKeep one of them."
109 Version "an unknown version of the file format"
"The first key is `bulkhead: 1`. A file with a higher number was written for a newer Bulkhead: upgrade this one."
110 Name "not a name"
"Names of tenants, networks, segments, workloads, policies, publish entries and ports are 1 to 32 lower-case letters, digits and \
dashes; they begin with a letter and do not end with a dash. Names become parts of paths, interfaces and tables, so nothing else \
is accepted."
111 Label "not a label"
"A label key begins with a letter and has letters, digits, `.`, `_`, `-` and `/`. A value has letters, digits, `.`, `_` and `-`, at \
most 63. The words `tenant`, `network`, `segment`, `workload`, `host`, `world`, `unmanaged`, `any`, `in` and `notin` belong to the \
selector language and are not label keys."
112 Selector "not a selector"
"A selector is a comma-separated list of terms that must all hold: `k=v`, `k!=v`, `k`, `!k`, `k in (a, b)`, `k notin (a, b)`, where \
`k` is a label or one of `tenant`, `network`, `segment`, `workload`. Alone stand: an address or CIDR, `host`, `world`, `unmanaged`, \
`any`. Several alternatives are a list: `from: [app=web, role=ops]`."
113 Port "not a port"
"A port is `80/tcp`, `8000-8999/tcp`, `53/udp`, `3868/sctp`, a whole protocol (`tcp`, `udp`, `sctp`, `icmp`), an icmp type \
(`icmp/echo-request`, `icmp/3/4`, `icmp6/2`), `any`, or a name defined under `ports:`."
114 Address "not an address or subnet"
"Addresses are IPv4 or IPv6, subnets have a prefix length and no bits set after it: 10.0.1.0/24, never 10.0.1.7/24. In YAML flow \
lists an IPv6 address needs quotes: `[10.0.0.0/16, \"fd00:5::/48\"]`."
115 Value "not an accepted value"
"The value is not one of those that this key takes. The message lists them, or names the nearest."
116 Until "not a time"
"`until` takes a date (2026-12-31, the rule ends with that day in UTC) or an RFC 3339 time with its offset \
(2026-12-31T18:00:00+01:00). From that moment on the policy does not exist."
117 Variable "a variable that cannot be replaced"
"Only variables listed under `vars:` are replaced, from the environment of the command that reads the file; everything else that \
looks like `${NAME}` is an error, so that a file never quietly depends on where it is read. Write `$${` for a literal `${`. \
A variable is replaced inside of one value: it can never add keys or list entries."
120 Unknown "a name that is not defined"
"The file refers to a tenant, network, segment or workload that it does not define (in this tenant: a tenant's entries see only \
their own). The message names the nearest one that exists."
121 UnknownLabel "a label that no workload has"
"A selector asks for a label or a value that no workload in its scope has, so it can match nothing. This is an error because it \
nearly always is a misspelling: a rule that silently protects nobody.\n\nNegative terms (`k!=v`, `!k`, `k notin (..)`) are not \
checked this way: naming what must not be there is fine.\n\nWhere workloads come at run time, write `attach: true` in their \
network: selectors of its tenant, and host-wide ones, may then name labels and workloads that the file does not."
122 UnknownPort "a port name that is not defined"
"A rule uses a port name that `ports:` at the top of the file does not define."
123 Choice "a choice is needed"
"The workload could stand in several networks or segments. `network:` and `segment:` may be left out only when there is exactly \
one."
124 Overlap "overlapping subnets"
"Two segments of one network, or two networks of mode `routed`, contain the same addresses. An address belongs to one segment; \
and the host has one route for a subnet. Networks of mode `nat` and `bridge` may overlap, even in one tenant: each has a router \
of its own."
125 Outside "a segment outside of its network"
"A segment's subnet has to lie inside of the network's subnet of the same IP version."
126 Subnet "a subnet that cannot be used"
"Subnets of networks are unicast, not loopback, link-local or reserved, from /8 to /30 (IPv4) or from /16 to /126 (IPv6). \
169.254.0.0/16 and fd62:756c:6b68::/64 carry the transit links between host and routers."
127 Mode "subnets that do not fit the mode"
"A network of mode `nat`, `bridge` or `routed` has one IPv4 subnet, one IPv6 subnet, or both; so has an external one, and that of the Docker engine may leave \
it to the engine. A network of mode `none` has \
loopback only: no subnets, no segments, no addresses."
128 Placement "an address that the workload cannot have"
"A fixed address lies inside of the workload's segment (or network, if it has no segments). The first address is the gateway; the \
network and broadcast addresses of IPv4 and the first address of IPv6 cannot be used."
129 DuplicateAddress "an address is used twice"
"Two workloads of one network have the same fixed address. The same address in different networks is fine."
130 Full "more workloads than addresses"
"The segment (or network) has fewer usable addresses than workloads: all addresses but the network address, the gateway and, with \
IPv4, the broadcast address."
131 PublishConflict "a host port is published twice"
"Two publish entries take the same port and protocol on the same address of the host. An entry without `address:` takes the port \
on every address. Two targets of one network cannot share a port on different addresses of one IP version either: the network's router \
knows the port alone."
132 PublishTarget "a publish entry that cannot lead anywhere"
"The workload of a publish entry needs an address of the same IP version: it may not stand in a network of mode `none`, and a \
publish entry bound to an IPv6 address needs a workload with one."
133 NetnsTwice "a namespace is adopted twice"
"Two workloads name the same network namespace. A namespace has one `eth0` of ours and belongs to one workload."
134 Assertion "not an assertion"
"An assertion is `never: FROM -> TO[:PORT]`, `only: FROM -> TO[:PORT]` or `always: FROM -> TO[:PORT]`. FROM and TO are selectors; \
several stand in brackets, and one with several terms then in parentheses: `[(app=web, tier=front), role=ops] -> app=db:5432/tcp`. Quote \
the whole text when it begins with a bracket.\n\n`isolated: tenant NAME`, `network NAME` or `segment NAME` speaks of a border: nothing \
crosses it, in or out, but flows with those after `except`. Networks and segments are named in their tenant's `assert`."
135 SourcePorts "source ports of a protocol without ports"
"`source-ports` limits the whole policy, and icmp has no ports. Write the icmp part as a policy of its own."
136 Redundant "an entry that is written twice"
"The same entry stands twice in one list. The second has no effect; it may have been meant to be another one.\n\n`world` in the `from` of a publish entry includes every CIDR beside it."
137 HostAddress "an address that is not one of a host's"
"`snat` of a network and `address` of a publish entry name addresses of the host: one that others can speak to. That is no \
multicast, link-local or reserved address, none of the links between host and routers, and none of a network of mode `routed`, where \
it would be a workload's. `publish` may have a loopback address: the port is then for the host alone.\n\nA network has at most one `snat` \
address of each IP version that it has a subnet for. Several networks may have the same one."
138 Country "a country that cannot be named"
"Countries are named by the two letters of ISO 3166-1 in lower case (`kp`, `ir`, `gb`), and the database of the file has networks of \
them. A set with a country that has no network would protect nobody without a word.\n\nA network belongs to the country in which it is used \
(`country`), or, where the database does not know that, to the one in which it is registered (`registered_country`)."
139 CountryDatabase "a database of countries that cannot be used"
"Sets with `countries:` take the networks from the database that `geo: { database: /path }` names: a file in the MaxMind DB format \
with a country in its records, at most 256 MiB, provided by you. The command that reads the file opens it, not the agent, \
which gets the networks and keeps them with the file; so a newer database means something only with the next `plan` or `up`.\n\n\
A database that is missing, cut off or of another kind is an error: a set of countries never becomes empty by itself."
142 External "what does not go together with an external network"
"`external:` names a network that somebody else made and forwards for: a bridge of the host, or a network of the Docker engine. Its workloads are \
ports in place: `port: {interface: NAME, mac: ADDRESS}`, with the address that they have. Nothing in it is made by us, so it has no segments, \
no `run:` and no `netns:` workloads, and a port in place stands in no other network."
143 PortTwice "a port in place is taken twice"
"Two workloads name the same interface of the host, or two of one network have the same MAC address. Each interface leads to one workload, and a bridge \
knows an address behind one of its ports."
146 Attachments "attachments of one workload that do not go together"
"A workload stands in its first network, and `also:` attaches it to further ones: `also: [{network: back}, {segment: data/db}]`. Each names its \
network or segment, each network comes once, and no two of them have addresses in common: the workload could not tell whom it answers to. There are \
at most 8 attachments together. Networks of mode `none` and `host` and external ones take no part, and neither does a port in place."
150 Shadowed "a rule that a deny takes away"
"Everything that this rule allows is denied by another rule of the file: a deny always beats an allow, whatever their order. The \
allow does nothing.\n\nEither the deny is too wide, or the allow is left over."
151 Covered "a rule that another one covers"
"Another rule already says everything that this one says, for at least the same peers and ports and at least as long. The rule can \
be removed without changing any verdict. When flows are recorded, they carry the id of the rule that stands first in the file."
152 Contradiction "an allow and a deny of the same pair and port"
"The file allows and denies the same ports for the same peers. The deny wins. A wide allow with a narrow deny is a normal exception \
and not reported; here the allow entry has no effect at all."
153 Expired "a policy that has expired"
"The `until` of the policy, or of the published port, lies in the past: it does not exist any more. Remove it, or give it a new date."
154 CidrCoversManaged "a CIDR that covers a managed subnet"
"A CIDR in a rule means addresses without an identity. It never matches a workload, even when its addresses are inside: workloads \
are named by labels, so that a changed address changes nothing. If workloads are meant, select them (`network=main`, `app=web`); \
if everything outside is meant, write `world`."
155 PublishNotAllowed "a published port that no policy allows"
"`publish` leads a port of the host to a workload, it does not open it. Without a policy that allows the flow at the workload's \
ingress every connection is dropped by default.\n\nAdd a policy from `world` (or from the same CIDRs) to the workload with the \
workload's port."
156 AuditOnSealed "an audit policy on a sealed segment"
"`mode: audit` lets pass and records what the policy would have dropped. A segment with `profile: sealed` promises that nothing \
passes but what a policy allows, so there the audit policy only allows what its `allow` names and its denies record nothing."
157 Unreachable "peers that have no path to each other"
"The networks of the two sides are not connected: networks of mode `nat` and `bridge` are never routed into, `bridge` and `none` \
do not lead out. The rule is checked, but no packet can take the way. Put the workloads into one network, use mode `routed`, or \
publish the port."
158 IcmpDenied "icmp is denied as a whole"
"A policy denies every icmp message. Nothing breaks: neighbour discovery is not subject to policy, and icmp errors that belong to \
an allowed flow (packet too big, unreachable, time exceeded) pass with that flow, so that path MTU discovery keeps working. Only \
messages that open a flow of their own, such as echo requests, are denied."
159 Unused "a definition that nothing uses"
"A variable or a port name is defined but nothing refers to it."
160 NotOfHost "an address that this host does not have"
"The file names an address for `snat` or `publish` that is on no link of this host. Connections that leave with it get \
their answers, and those to it arrive, only if the network around the host routes the address here, as some providers do. Nothing \
else is wrong: as soon as the host has the address, both work, without another `up`. `status` tells it as long as it is missing."
161 IcmpOpensNothing "icmp messages that open no flow"
"Policies decide who may open a flow. Of icmp only echo requests (ping) and timestamp requests open one. A reply passes with the \
flow of its request, an error (unreachable, packet too big, time exceeded) with the flow that it is about, and neither passes \
without; neighbour discovery is checked by itself; everything else is dropped. So an allow or a deny of such a type does nothing. The \
same holds for a type of an IP version that one of the two sides does not have.\n\nName what opens the flow: `icmp/echo-request`."
162 PublishUnowned "a port open to the world that nobody answers for"
"The port is published for everybody, for ever, and the file does not say who wants that. Such ports outlive the reason for which they were \
opened.\n\nName who answers for it (`owner: web team`), say when it ends (`until: 2026-12-31`), or say for whom it exists \
(`from: [198.51.100.0/24]`); `bulkhead publish list` shows all three for every port of the host."
163 Misled "a published port that its runtime leads elsewhere"
"In an external network its runtime publishes (`docker run -p 8080:80`), and an entry of `publish` says for whom, until when and how much. This \
one speaks of a port of the host that the runtime leads nowhere, or somewhere else than to the workload and port after `to:`. Nothing is open by \
that: what the entry says holds at the port after `to:`, and at every port to which the runtime leads that of the host."
170 FlatSegment "a segment without walls inside"
"Every workload of the segment (or of the network, if it has no segments) reaches every other with everything: its posture allows both \
directions, or one policy allows `any` among all of them. Whoever takes over one of them has them all; the segment's border is the only \
wall that is left.\n\nName who needs whom. A posture of `audit` in the place of `allow` lets everything pass and records what policies do not \
name; `bulkhead policy blast-radius WORKLOAD` shows what falls with one of them."
171 OpenEgress "a way out for everything"
"A posture or a policy lets workloads reach every address of the world at any port. What runs in them can then be told what to do from anywhere, \
and carry out whatever it reaches.\n\nName the ports that are needed, and the addresses where they are known. A deny elsewhere in the file may \
narrow it; that is not looked at."
172 SinglePoint "a workload that every way goes through"
"All policies that let workloads of one segment reach several of another have the same single workload as their source. When it stops, the \
segment has no way there. That may be meant (a proxy, a jump host); then it should have a second one beside it.\n\nOnly the file is known here: \
whether a workload is several machines behind one address, or is started again within seconds, is not."
173 IdleAssertion "an assertion that speaks of nobody"
"One side of the assertion selects no workload and names no address, so there is no flow that it could be about: `never` and `always` hold, whatever the \
policies say. Usually a label has changed and the assertion has not."
180 Manifest "a manifest that Kubernetes would refuse"
"An object has another shape than the Kubernetes API gives it: a value of another kind, a field that is required and missing, a \
word or a number that the field does not take, fields that exclude each other. The API server would refuse it, so there is no \
meaning to analyse.\n\n`kubectl apply --dry-run=server -f FILE` says the same of the file."
181 ManifestField "a field that the Kubernetes API does not have"
"The API server drops fields that it does not know: a misspelt `policyType` or `endport` is as if it was not there, and the policy \
means something else than its author thinks. The analysis drops the field too, as the cluster would. Beside a native file it is \
an error, as it is for `kubectl apply`."
182 ManifestBeyond "a part of a policy that is not judged"
"The object says something about which manifests alone tell nothing: `nodes` and `domainNames` as peers, networks that may hold the \
addresses of pods (pods are known by their labels here, and no network means them), or it is a policy of \
another kind (of Calico, of Cilium, or of a newer version of the network policy API). It is left out: a peer that is not judged matches \
nothing, and connections are listed as if the other policy did not exist.\n\nBeside a native file, where policies are enforced, whatever \
would let more pass by being left out is an error: policies of other kinds, and peers of a deny or a pass."
183 ManifestTwice "an object that is there twice"
"Two manifests have the same kind, namespace and name. A cluster holds one of them, and which one depends on the order in which \
they are applied; of policies this is an error, of other objects the later one counts.\n\nThere is at most one \
BaselineAdminNetworkPolicy, and its name is `default`."
184 ManifestPort "a port name that no container has"
"A rule names a port by its name, and no container in the folder has a port with this name and protocol. The rule matches nothing at \
that port. Usually the name is misspelt, or the protocol of the rule is not the protocol of the container's port (both are TCP when \
they are left out)."
185 ManifestPriority "two policies with one priority"
"Two AdminNetworkPolicies have the same priority. The API leaves open which of them is asked first, so implementations differ where both \
match. The analysis takes them in the order of their names."
186 ManifestKind "an object of a manifest that is not run"
"Beside a native file, manifests say who may connect: policies, and the labels of namespaces. Everything else in them, \
workloads and services above all, is left out. The workloads that policies select stand in the native file."
187 ManifestNamespace "a namespace that the native file does not have"
"A namespace of a manifest is a tenant of the native file, or a segment when the file says `kubernetes: { namespaces: segment }`. \
A policy in a namespace that does not exist protects nobody, so it is refused, as an API server would. The labels of such \
a namespace are left out with a warning.\n\nA policy that names no namespace is in the only one there is, else in `default`. With segments as \
namespaces, every workload is in one, and no two segments have one name."
188 ManifestSubject "a policy of a manifest that selects no workload"
"No workload of the native file has the namespace and the labels that the policy asks for, so it protects and opens nobody. Usually a \
label is misspelt, on one of the two sides. If the workloads come later, the warning goes away with them."
190 Uplink "a network that cannot be on a LAN"
"`uplink:` puts the workloads of a network of mode `bridge` or `macvlan` onto the LAN of an interface of the host: each has a MAC of its own, \
says its address, and finds the LAN's router as anybody there does. `vlan:` and `gateway:` say more about that LAN and have no meaning without it. \
Such a network has no segments, for the LAN has one subnet, no published ports, for its workloads have addresses there, and hands out no addresses, \
for others have some that the file does not know."
191 Vlan "not the number of a VLAN"
"The tag of IEEE 802.1Q has 12 bits for the number of a VLAN. 0 says that a frame is in none and 4095 is reserved, so there are the numbers 1 \
to 4094, and a switch cannot tell more than that apart.\n\nBulkhead needs none of them to keep tenants apart: every network has a namespace of its \
own, and there may be 4,095 networks with as many tenants on a host, whatever their numbers are elsewhere. `vlan:` is only for the edge, where \
a network meets a switch: several tenants with numbers above 4094 share a VLAN there and are told apart by their networks and policies, or meet \
the switch at different ports."
199 LintsBounded "not everything was checked for warnings"
"The file is so large, or its rules overlap so much, that some warnings were not looked for. The file's meaning is not affected, \
and every error is still found."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_stable_words() {
        let numbers: BTreeSet<u16> = Code::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!((100..200).contains(&code.number()));
            assert_eq!(Code::parse(&code.to_string()), Some(*code));
            assert!(code.explanation().len() > 60 && code.explanation().ends_with('.'), "{code}");
            assert!(!code.title().ends_with('.'), "{code}");
        }
        assert_eq!(Code::parse("bh0105"), Some(Code::UnknownKey));
        assert_eq!(Code::parse("BH105"), None);
        assert_eq!(Code::parse("BHé05"), None);
    }
}
