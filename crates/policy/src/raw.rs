//! The file as written: every mapping with its keys, before names are resolved.
//!
//! These declarations are the single source of the decoder, of the known keys in messages and of the JSON schema.

mod set;

use std::net::IpAddr;

use ipnet::IpNet;
use model::{HostProcesses, LabelKey, LabelValue, Mode, Name, Peer, PortRange, Posture};

use crate::decode::{List, OneOrMany, Table, Val, mapping};
use crate::document::{Netns, Restart, Uplink, User};
use crate::geo::Country;
use crate::scalar::{
    AbsolutePath, Argument, Border, ContainerPort, ContainerPortName, Days, DockerNetwork, EnvKey,
    EnvValue, Flows, HostPort, Hours, InterfaceName, MacAddress, NamespaceIs, Owner, PolicyMode,
    PortWord, PublishSource, SchemaAddress, Sealed, SegmentRef, Statement, Switch, Target, Until,
    VariableName, Version, VlanId, Zone,
};

pub(crate) use set::RawSet;

mapping! {
    /// Tenants, their networks, workloads and policies on one host.
    "file" RawFile {
        /// Version of the file format: 1.
        version: Val<Version> = "bulkhead", required;
        /// Address of the JSON schema, for editors only.
        schema: Val<SchemaAddress> = "$schema";
        /// Names of the only environment variables that `${NAME}` is replaced with.
        vars: List<Val<VariableName>> = "vars";
        /// Lets pass and records what policy would drop, on the whole node.
        audit: RawAudit = "audit";
        /// Policy of the host itself on its uplinks. Without it the host is left alone.
        host: RawHost = "host";
        /// What happens to what addresses of external networks send that are nobody's workload: audit (the default), allow or deny.
        unmanaged: Val<Posture> = "unmanaged";
        /// Named ports for use in policies and assertions: one port or a list.
        ports: Table<Name, OneOrMany<Val<PortWord>>> = "ports";
        /// How policies of Kubernetes manifests beside this file are read.
        kubernetes: RawKubernetes = "kubernetes";
        /// Where the networks of countries in sets come from.
        geo: RawGeo = "geo";
        /// Named sets of peers: CIDRs, selectors, words and other sets, or countries. `set=NAME` stands for all of them.
        sets: Table<Name, RawSet> = "sets";
        /// Isolation domains by name.
        tenants: Table<Name, RawTenant> = "tenants";
        /// Host-wide policies: their selectors match workloads of every tenant.
        policies: Table<Name, RawPolicy> = "policies";
        /// What must hold for every plan; selectors match workloads of every tenant.
        assert: List<RawAssertion> = "assert";
    }
}

mapping! {
    /// The host itself. Policies at the top of the file that name `host` are its rules, and published ports are open.
    "host" RawHost {
        /// Its uplinks. Default: those that carry a default route.
        interfaces: OneOrMany<Val<Uplink>> = "interfaces";
        /// What happens to flows that no policy names. Default: deny what it receives, allow what it sends.
        posture: RawPosture = "posture";
        /// Lets pass and records what policy would drop at the host.
        audit: RawAudit = "audit";
        /// Processes that send only what policies allow, whatever the posture: host user=NAME, host service-account=NAME.
        confined: OneOrMany<Val<HostProcesses>> = "confined";
    }
}

mapping! {
    /// How policies of Kubernetes manifests beside this file are read.
    "kubernetes" RawKubernetes {
        /// What a namespace is: tenant (the default) or segment.
        namespaces: Val<NamespaceIs> = "namespaces";
    }
}

mapping! {
    /// Where the networks of countries in sets come from.
    "geo" RawGeo {
        /// Absolute path of a country database in the MMDB format. Commands read it, the agent does not.
        database: Val<AbsolutePath> = "database", required;
    }
}

mapping! {
    /// A set of the networks of countries.
    "set" RawCountries {
        /// Countries by ISO 3166-1 alpha-2 code, in lower case.
        countries: OneOrMany<Val<Country>> = "countries", required;
    }
}

mapping! {
    /// An isolation domain: its selectors see only its own workloads.
    "tenant" RawTenant {
        /// Lets pass and records what policy would drop at its workloads.
        audit: RawAudit = "audit";
        /// Address spaces by name.
        networks: Table<Name, RawNetwork> = "networks";
        /// Containers, virtual machines and process groups by name.
        workloads: Table<Name, RawWorkload> = "workloads";
        /// Named sets of peers of this tenant; those of the file can be used, too.
        sets: Table<Name, RawSet> = "sets";
        /// Ports of the host that lead to workloads, by name.
        publish: Table<Name, RawPublish> = "publish";
        /// Rules by name.
        policies: Table<Name, RawPolicy> = "policies";
        /// What must hold for every plan, about this tenant's workloads.
        assert: List<RawAssertion> = "assert";
    }
}

mapping! {
    /// An address space with a mode. Two networks may use the same addresses unless both are routed.
    "network" RawNetwork {
        /// nat: leaves with an address of the host. bridge: nothing leaves, but with `uplink` onto its LAN. routed: no translation.
        /// macvlan: on the LAN of `uplink`, once that is known to work. none: loopback only.
        mode: Val<Mode> = "mode";
        /// Modes bridge and macvlan: the interface of the host on whose LAN the workloads are, with MACs and addresses of their own.
        uplink: Val<InterfaceName> = "uplink";
        /// With `uplink`: the VLAN of that LAN, 1 to 4094.
        vlan: Val<VlanId> = "vlan";
        /// With `uplink`: the LAN's routers, at most one of each IP version. Without one nothing leaves the LAN.
        gateway: OneOrMany<Val<IpAddr>> = "gateway";
        /// In the place of a mode: somebody else forwards for this network, and its workloads are ports in place.
        external: RawExternal = "external";
        /// One IPv4 subnet, one IPv6 subnet, or both; none for mode none.
        subnets: OneOrMany<Val<IpNet>> = "subnets";
        /// Mode nat: addresses of the host that the workloads are seen with outside, at most one of each IP version.
        /// Default: that of the link they leave by.
        snat: OneOrMany<Val<IpAddr>> = "snat";
        /// Named parts of the network with a posture each.
        segments: Table<Name, RawSegment> = "segments";
        /// Posture of workloads directly in the network, when it has no segments.
        posture: RawPosture = "posture";
        /// Lets pass and records what policy would drop at its workloads.
        audit: RawAudit = "audit";
        /// true: runtimes attach workloads at run time (CNI, `bulkhead attach`), so selectors may name labels and workloads that
        /// the file does not.
        attach: Val<Switch> = "attach";
    }
}

mapping! {
    /// A network that somebody else made and forwards for. Exactly one of the keys.
    "external network" RawExternal {
        /// A bridge of the host.
        bridge: Val<InterfaceName> = "bridge";
        /// A network of the Docker engine by its name; its subnets may be left out.
        docker: Val<DockerNetwork> = "docker";
    }
}

mapping! {
    /// A named part of a network.
    "segment" RawSegment {
        /// Inside of the network's subnets: one for each IP version that is used.
        subnet: OneOrMany<Val<IpNet>> = "subnet", required;
        /// What happens to flows that no policy names. Default: deny both ways.
        posture: RawPosture = "posture";
        /// Lets pass and records what policy would drop at its workloads. Not when it is sealed.
        audit: RawAudit = "audit";
        /// sealed: nothing in or out but what a policy allows, and no audit lets anything pass.
        profile: Val<Sealed> = "profile";
    }
}

mapping! {
    /// What happens to flows that no policy names, for each direction.
    "posture" RawPosture {
        /// For what workloads receive.
        ingress: Val<Posture> = "ingress";
        /// For what workloads send.
        egress: Val<Posture> = "egress";
    }
}

mapping! {
    /// What policy would drop passes and is recorded, for each direction. The innermost of node, tenant, network and segment
    /// that names a direction decides about it.
    "audit" RawAudit {
        /// For what workloads receive: true audits, false enforces.
        ingress: Val<Switch> = "ingress";
        /// For what workloads send: true audits, false enforces.
        egress: Val<Switch> = "egress";
        /// Date or RFC 3339 time from which on it is enforced.
        until: Val<Until> = "until";
    }
}

mapping! {
    /// A container, virtual machine or process group, and where it is attached.
    "workload" RawWorkload {
        /// The network, when it has no segments or only one. May be left out when the tenant has one network.
        network: Val<Name> = "network";
        /// The segment, as `segment` or `network/segment`. May be left out when there is only one.
        segment: Val<SegmentRef> = "segment";
        /// What selectors match.
        labels: Table<LabelKey, Val<LabelValue>> = "labels";
        /// Named ports, for policies of Kubernetes manifests: what the containers of a pod declare. Those under `ports:` at the
        /// top of the file count for every workload.
        named_ports: Table<ContainerPortName, OneOrMany<Val<ContainerPort>>> = "named-ports";
        /// Fixed addresses, at most one of each IP version. Default: allocated.
        address: OneOrMany<Val<IpAddr>> = "address";
        /// Further attachments, each in a network of its own: eth1, eth2 and so on. At most 7.
        also: List<RawAlso> = "also";
        /// Program and arguments for the built-in runtime.
        run: List<Val<Argument>> = "run";
        /// An existing network namespace to adopt: its name, or an absolute path.
        netns: Val<Netns> = "netns";
        /// An interface of the host that leads to it and that somebody else made, in an external network.
        port: RawPort = "port";
        /// User id or name that the program runs as. Default: an unprivileged user.
        user: Val<User> = "user";
        /// Environment of the program.
        env: Table<EnvKey, Val<EnvValue>> = "env";
        /// Working directory. Default: /.
        workdir: Val<AbsolutePath> = "workdir";
        /// When the program is started again.
        restart: Val<Restart> = "restart";
    }
}

mapping! {
    /// A further attachment of a workload, to a network that it is not yet in.
    "attachment" RawAlso {
        /// The network, when it has no segments or only one.
        network: Val<Name> = "network";
        /// The segment, as `segment` or `network/segment`.
        segment: Val<SegmentRef> = "segment";
        /// Fixed addresses, at most one of each IP version. Default: allocated.
        address: OneOrMany<Val<IpAddr>> = "address";
    }
}

mapping! {
    /// An interface of the host that leads to a workload: the host's side of a veth, a TAP of a virtual machine.
    "port" RawPort {
        /// Its name on the host.
        interface: Val<InterfaceName> = "interface", required;
        /// The hardware address that the workload has and must use.
        mac: Val<MacAddress> = "mac", required;
        /// true: it asks for its address by DHCP, which is then let through to everybody and back. Default: false.
        dhcp: Val<Switch> = "dhcp";
    }
}

mapping! {
    /// A port of the host that leads to a workload. Policies still decide who may connect.
    "publish entry" RawPublish {
        /// The host's port, for example 443/tcp. In an external network its runtime opens it, and the rest says for whom.
        port: Val<HostPort> = "port", required;
        /// Where it leads: workload:port.
        to: Val<Target> = "to", required;
        /// For whom the port exists: world (the default), CIDRs, or sets of these; where a runtime publishes it, also host.
        from: OneOrMany<Val<PublishSource>> = "from";
        /// Who answers for it: a person, a team, a ticket.
        owner: Val<Owner> = "owner";
        /// Date or RFC 3339 time from which on the port is not published.
        until: Val<Until> = "until";
        /// How many connections may begin: 1000/min per source, 500/s, or a list of both.
        limit: OneOrMany<Val<Flows>> = "limit";
        /// The host's address. Default: every address.
        address: Val<IpAddr> = "address";
    }
}

mapping! {
    /// Rules for every pair of a source in `from` and a destination in `to`. A deny always beats an allow.
    "policy" RawPolicy {
        /// Sources: a selector, CIDR, host, world, unmanaged, any, or a list of these.
        from: OneOrMany<Val<Peer>> = "from", required;
        /// Destinations, written like sources.
        to: OneOrMany<Val<Peer>> = "to", required;
        /// Destination ports and icmp types that may pass.
        allow: List<Val<PortWord>> = "allow";
        /// Destination ports and icmp types that may not pass, whatever is allowed elsewhere.
        deny: List<Val<PortWord>> = "deny";
        /// Source ports that the whole policy is limited to (tcp, udp, sctp).
        source_ports: List<Val<PortRange>> = "source-ports";
        /// enforce, or audit: let pass and record what would be dropped.
        mode: Val<PolicyMode> = "mode";
        /// Date or RFC 3339 time from which on the policy does not exist.
        until: Val<Until> = "until";
        /// Days and hours at which the policy exists. Default: always.
        schedule: RawSchedule = "schedule";
    }
}

mapping! {
    /// When a policy exists, as a clock in a time zone shows it.
    "schedule" RawSchedule {
        /// Days on which its hours begin: mon, or mon-fri. Default: every day.
        days: OneOrMany<Val<Days>> = "days";
        /// From a time to before another one: 08:00-18:00; 22:00-06:00 ends on the next day. Default: the whole day.
        hours: OneOrMany<Val<Hours>> = "hours";
        /// Time zone by its IANA name: Europe/Berlin, UTC.
        zone: Val<Zone> = "zone", required;
    }
}

mapping! {
    /// What must hold for every plan. Exactly one of the keys.
    "assertion" RawAssertion {
        /// No source reaches a destination: FROM -> TO[:PORT].
        never: Val<Statement> = "never";
        /// Nobody but the sources reaches a destination: FROM -> TO[:PORT].
        only: Val<Statement> = "only";
        /// Every source reaches every destination, with every flow that is named: FROM -> TO[:PORT].
        always: Val<Statement> = "always";
        /// Nothing crosses the border of a tenant, network or segment, in or out: tenant NAME [except PEERS].
        isolated: Val<Border> = "isolated";
    }
}
