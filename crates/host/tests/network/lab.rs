//! A host and a client in namespaces of the test's own, joined by a veth.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use host::linux::netlink::Netlink;
use host::linux::netns::{NetNs, NetNsDir};
use host::linux::{link, route};
use host::network::{
    Desired, EndpointDesired, EndpointNumber, Mac, Mode, NetworkNumber, Ns, NsName, Place,
    RouterDesired, VethSpec,
};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the test may run; says so when not, and panics in CI.
pub(crate) fn is_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{test} needs root");
    println!("SKIPPED(root): {test}");
    false
}

/// The namespaces; unpinned when dropped.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pins: NetNsDir,
    pub(crate) host: NetNs,
    pub(crate) client: NetNs,
}

pub(crate) const HOST_V4: &str = "192.0.2.1";
pub(crate) const CLIENT_V4: &str = "192.0.2.2";
pub(crate) const HOST_V6: &str = "2001:db8::1";
pub(crate) const CLIENT_V6: &str = "2001:db8::2";

impl Lab {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("bh-hostnet").tempdir().expect("folder");
        let pins = NetNsDir::open(&folder.path().join("lab")).expect("lab folder");
        let make = |name| {
            let quiet = || {
                for key in ["accept_dad", "accept_ra"] {
                    let path = format!("net/ipv6/conf/default/{key}");
                    host::linux::sysctl::write(&path, "0").expect("IPv6 sysctl");
                }
            };
            let name = NsName::workload("lab", name).expect("a name");
            let ns = pins.create(&name, quiet).expect("a namespace").0;
            let mut netlink = Netlink::open_in(&ns).expect("netlink");
            link::set_up(&mut netlink, "lo", true).expect("lo");
            ns
        };
        let (host, client) = (make("host"), make("client"));
        let lab = Self { folder, pins, host, client };
        lab.join();
        lab
    }

    fn join(&self) {
        let mut near = Netlink::open_in(&self.host).expect("netlink");
        let mut far = Netlink::open_in(&self.client).expect("netlink");
        let spec = VethSpec {
            ns: Ns::Host,
            link: "uplink".to_owned(),
            index: None,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            master: None,
            peer_ns: Ns::Host,
            peer_link: "eth0".to_owned(),
            peer_index: None,
            peer_mac: Mac([2, 0, 0, 0, 0, 2]),
            mtu: 1500,
        };
        link::add_veth(&mut near, &spec, None, &self.client).expect("veth");
        for (netlink, name, addresses) in
            [(&mut near, "uplink", [HOST_V4, HOST_V6]), (&mut far, "eth0", [CLIENT_V4, CLIENT_V6])]
        {
            let index = link::index(netlink, name).expect("index");
            for address in addresses {
                let length = if address.contains(':') { 64 } else { 24 };
                let net = format!("{address}/{length}").parse().expect("a network");
                route::add_address(netlink, index, &net).expect("address");
            }
            link::set_up(netlink, name, true).expect("up");
        }
        // The kernel reports the carrier a little later.
        let deadline = Instant::now() + PATIENCE;
        while !run(&self.host, "ip -j link show uplink").contains("\"operstate\":\"UP\"") {
            assert!(Instant::now() < deadline, "the uplink has no carrier after {PATIENCE:?}");
        }
    }

    pub(crate) fn run_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("run")
    }

    /// Gives the client a route.
    pub(crate) fn route_client(&self, to: &str, via: &str) {
        let family = if to.contains(':') { "-6" } else { "-4" };
        run(&self.client, &format!("ip {family} route add {to} via {via}"));
    }

    /// A namespace that somebody else made.
    pub(crate) fn foreign(&self, name: &str) -> NetNs {
        let name = NsName::workload("lab", name).expect("a name");
        self.pins.create(&name, || ()).expect("a namespace").0
    }

    /// Where that is found.
    pub(crate) fn foreign_path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("lab/netns").join(format!("lab.{name}"))
    }

    /// The namespace of a workload of the agent under test.
    pub(crate) fn workload(&self, id: &str) -> NetNs {
        NetNs::open(&self.run_dir().join("netns").join(id)).expect("a workload")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for pins in [Some(&self.pins), NetNsDir::open(&self.run_dir()).ok().as_ref()] {
            let Some(pins) = pins else { continue };
            for name in pins.list().unwrap_or_default() {
                drop(pins.delete(&name));
            }
        }
    }
}

/// Serves one connection after another: answers with the client's address as the server sees it.
pub(crate) fn serve(ns: &NetNs, at: &str) -> Server {
    let listener = ns.run(|| TcpListener::bind(at)).expect("entered").expect("bound");
    let handle = listener.try_clone().expect("a copy");
    let thread = std::thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            drop(stream.write_all(from.ip().to_canonical().to_string().as_bytes()));
        }
    });
    Server { listener: handle, thread: Some(thread) }
}

/// A running server; stopped when dropped.
pub(crate) struct Server {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // On Linux this wakes the thread in `accept` with an error.
        let woken =
            nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        assert!(woken.is_ok(), "a listening socket can be shut down");
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Connects from `ns` and returns what the server said, or the kind of failure.
pub(crate) fn ask(ns: &NetNs, to: &str, patience: Duration) -> Result<String, std::io::ErrorKind> {
    let to: SocketAddr = to.parse().expect("an address and a port");
    let talk = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ns.run(talk).expect("entered").map_err(|error| error.kind())
}

/// Runs a command in a namespace and returns what it printed.
pub(crate) fn run(ns: &NetNs, line: &str) -> String {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).stdout(std::process::Stdio::piped());
    let output = ns.spawn(&mut command).expect("started").wait_with_output().expect("ended");
    assert!(output.status.success(), "{line}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What `ip`, `nft` and the forwarding sysctls show of a namespace.
pub(crate) fn picture(ns: &NetNs) -> String {
    let mut picture = String::new();
    for line in [
        "ip -j link",
        "ip -j address",
        "ip -j -4 route show table all",
        "ip -j -6 route show table all",
        "ip -j rule",
        "nft -j list ruleset",
    ] {
        picture.push_str(&run(ns, line));
    }
    for key in
        ["net/ipv4/ip_forward", "net/ipv4/conf/uplink/forwarding", "net/ipv6/conf/all/forwarding"]
    {
        let value = ns.run(|| host::linux::sysctl::read(key)).expect("entered").expect("readable");
        writeln!(picture, "{key}={value:?}").expect("a string takes all");
    }
    picture
}

/// Our table as a terminal shows it.
pub(crate) fn picture_of_table(ns: &NetNs) -> String {
    run(ns, "nft list table inet bulkhead")
}

pub(crate) fn router(number: u16, tenant: &str, mode: Mode) -> RouterDesired {
    RouterDesired {
        number: NetworkNumber::new(number).expect("in range"),
        name: NsName::router(tenant, "main").expect("a name"),
        mode,
        gateways: vec!["10.0.1.1/24".parse().expect("v4"), "fd00:5:0:1::1/64".parse().expect("v6")],
        subnets: vec!["10.0.0.0/16".parse().expect("v4"), "fd00:5::/48".parse().expect("v6")],
        snat: Vec::new(),
        lan: None,
        mtu: 1500,
        endpoints: Vec::new(),
        publishes: Vec::new(),
    }
}

pub(crate) fn endpoint(number: u16, tenant: &str, name: &str, host_part: u8) -> EndpointDesired {
    EndpointDesired {
        interface: EndpointDesired::INTERFACE.to_owned(),
        number: EndpointNumber::new(number).expect("in range"),
        workload: NsName::workload(tenant, name).expect("a name"),
        further: false,
        several: false,
        place: Place::Ours,
        mac: EndpointNumber::new(number).expect("in range").mac(),
        addresses: vec![
            format!("10.0.1.{host_part}/24").parse().expect("v4"),
            format!("fd00:5:0:1::{host_part:x}/64").parse().expect("v6"),
        ],
        gateway_v4: Some([10, 0, 1, 1].into()),
        gateway_v6: Some("fd00:5:0:1::1".parse().expect("v6")),
        mtu: 1500,
    }
}

/// Two tenants with the same subnet, two endpoints each.
pub(crate) fn twins(mode: Mode) -> Desired {
    let mut shop = router(0, "shop", mode);
    shop.endpoints = vec![endpoint(1, "shop", "web", 10), endpoint(2, "shop", "db", 11)];
    let mut bank = router(1, "bank", mode);
    bank.endpoints = vec![endpoint(3, "bank", "web", 10), endpoint(4, "bank", "db", 11)];
    Desired { routers: vec![shop, bank], isolated: Vec::new() }
}

/// Runs `work` in the host's namespace with its kernel.
pub(crate) fn on_host<T: Send>(
    lab: &Lab,
    work: impl FnOnce(&mut host::linux::kernel::Linux) -> T + Send,
) -> T {
    let run_dir = lab.run_dir();
    let open = |dir: &Path| host::linux::kernel::Linux::open(dir).expect("a kernel");
    lab.host.run(|| work(&mut open(&run_dir))).expect("entered")
}
