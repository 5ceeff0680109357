//! What runs inside: looks at its own cell and prints what it finds, one `name: value` a line.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::ExitCode;
use std::{fs, io};

use nix::sched::CloneFlags;
use rustix::net::{AddressFamily, SocketType, socket};

pub(crate) fn main(what: &[&str]) -> ExitCode {
    match what {
        ["cell", abstract_name] => cell(abstract_name),
        ["http", address] => http(address),
        ["reach", paths @ ..] => reach(paths),
        ["flood", bytes] => flood(bytes.parse().expect("a number")),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

fn say(name: &str, value: impl std::fmt::Display) {
    println!("{name}: {value}");
}

fn answer<T>(name: &str, result: io::Result<T>) {
    let text = result.map_or_else(|error| error.to_string(), |_| "works".to_owned());
    say(name, text);
}

fn names(folder: &str) -> String {
    let entries = fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>());
    let mut names: Vec<String> = entries
        .unwrap_or_default()
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.join(" ")
}

fn cell(abstract_name: &str) {
    identity();
    files();
    kernel();
    let address = SocketAddr::from_abstract_name(abstract_name).expect("a short name");
    answer("abstract socket of the host", UnixStream::connect_addr(&address));
    say("interfaces", names("/sys/class/net"));
}

fn identity() {
    say("pid", std::process::id());
    say(
        "user",
        format!("{} {}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
    );
    say("groups", rustix::process::getgroups().expect("own groups").len());
    say("hostname", nix::unistd::gethostname().expect("a name").to_string_lossy());
    let status = fs::read_to_string("/proc/self/status").expect("own status");
    for key in ["CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"] {
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
        say(key, line.unwrap_or_default().trim());
    }
    let first = fs::read_to_string("/proc/1/status").expect("its init is visible");
    let uid = first.lines().find_map(|line| line.strip_prefix("Uid:\t")).expect("a user");
    say("user of pid 1", uid.split('\t').next().unwrap_or_default());
    answer("memory of pid 1", fs::read("/proc/1/mem"));
    answer("environment of pid 1", fs::read("/proc/1/environ"));
    let pids = names("/proc");
    let count = pids.split(' ').filter(|name| name.parse::<u32>().is_ok()).count();
    say("processes", count);
    let environment: Vec<String> = std::env::vars().map(|(key, _)| key).collect();
    let mut environment = environment;
    environment.sort();
    say("environment", environment.join(" "));
    say("folder", std::env::current_dir().expect("one").display());
    say(
        "user name",
        fs::read_to_string("/etc/passwd").expect("readable").lines().last().unwrap_or_default(),
    );
}

fn files() {
    say("root", names("/"));
    say("run", names("/run"));
    say("home", names("/home"));
    say("dev", names("/dev"));
    say("cgroups", names("/sys/fs"));
    answer(
        "read shadow",
        fs::read("/etc/shadow")
            .and_then(|text| if text.is_empty() { Err(io::Error::other("empty")) } else { Ok(()) }),
    );
    for path in ["/x", "/usr/x", "/etc/x", "/dev/x", "/proc/sys/kernel/core_pattern", "/sys/x"] {
        answer(&format!("write {path}"), fs::write(path, "x"));
    }
    for folder in ["/tmp", "/run", "/var/tmp", "/var/log", "/var/lib", "/dev/shm", "/data"] {
        answer(&format!("write {folder}"), fs::write(format!("{folder}/x"), "x"));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("own mounts");
    let suid = mounts.lines().filter(|line| !line.contains("nosuid"));
    say("mounts with set-user-id", suid.count());
    say("mounts shared", mounts.lines().filter(|line| line.contains("shared:")).count());
    answer("open /dev/stdout", fs::File::options().append(true).open("/dev/stdout"));
    answer("write /dev/null", fs::write("/dev/null", "x"));
    answer(
        "read /dev/urandom",
        fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut [0; 8])),
    );
}

fn kernel() {
    let families =
        [("packet", 17), ("vsock", 40), ("alg", 38), ("inet", 2), ("netlink", 16), ("unix", 1)];
    for (name, family) in families {
        let kind = if family == 16 || family == 17 { SocketType::RAW } else { SocketType::STREAM };
        let made = socket(AddressFamily::from_raw(family), kind, None);
        answer(&format!("socket {name}"), made.map_err(io::Error::from));
    }
    protocols();
    let icmp = Some(rustix::net::ipproto::ICMP);
    answer(
        "raw socket",
        socket(AddressFamily::INET, SocketType::RAW, icmp).map_err(io::Error::from),
    );
    for (name, flag) in [("user", CloneFlags::CLONE_NEWUSER), ("net", CloneFlags::CLONE_NEWNET)] {
        answer(&format!("unshare {name}"), nix::sched::unshare(flag).map_err(io::Error::from));
    }
    let flags = nix::mount::MsFlags::empty();
    let mounted = nix::mount::mount(Some("none"), "/tmp", Some("tmpfs"), flags, None::<&str>);
    answer("mount", mounted.map_err(io::Error::from));
    let own = fs::File::open("/proc/self/ns/net").expect("own namespace");
    answer("setns", nix::sched::setns(own, CloneFlags::empty()).map_err(io::Error::from));
    answer("chroot", nix::unistd::chroot("/tmp").map_err(io::Error::from));
    let port = std::net::TcpListener::bind("127.0.0.1:80");
    answer("bind port 80", port);
    let thread = std::thread::spawn(|| {}).join();
    say("thread", if thread.is_ok() { "works" } else { "fails" });
}

/// Sockets by family, type and protocol; libc has the numbers.
fn protocols() {
    let (stream, datagram, packets) = (libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET);
    let wanted = [
        ("tcp", libc::AF_INET, stream, libc::IPPROTO_TCP),
        ("udp6", libc::AF_INET6, datagram, libc::IPPROTO_UDP),
        ("ping", libc::AF_INET, datagram, libc::IPPROTO_ICMP),
        ("ping6", libc::AF_INET6, datagram, libc::IPPROTO_ICMPV6),
        ("mptcp", libc::AF_INET, stream, libc::IPPROTO_MPTCP),
        ("dccp", libc::AF_INET6, stream, libc::IPPROTO_DCCP),
        ("udplite", libc::AF_INET, datagram, libc::IPPROTO_UDPLITE),
        ("l2tp", libc::AF_INET, datagram, 115),
        ("sctp", libc::AF_INET, packets, libc::IPPROTO_SCTP),
        ("routes", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE),
        ("diagnoses", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_SOCK_DIAG),
        ("netfilter", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER),
        ("generic", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_GENERIC),
        ("crypto", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_CRYPTO),
    ];
    for (name, family, kind, protocol) in wanted {
        let family = AddressFamily::from_raw(u16::try_from(family).expect("small"));
        let kind = SocketType::from_raw(kind.unsigned_abs());
        let protocol = rustix::net::RawProtocol::new(protocol.unsigned_abs());
        let made = socket(family, kind, protocol.map(rustix::net::Protocol::from_raw));
        answer(&format!("protocol {name}"), made.map_err(io::Error::from));
    }
}

/// Connects to each path that ends in `.sock` and reads the others.
fn reach(paths: &[&str]) {
    for path in paths {
        if std::path::Path::new(path).extension().is_some_and(|end| end == "sock") {
            answer(path, UnixStream::connect(path));
        } else {
            answer(path, fs::read(path));
        }
    }
}

fn http(address: &str) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it takes a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    println!("{text}");
}

fn flood(bytes: usize) {
    let line = [b'x'; 99];
    let mut out = io::stdout().lock();
    for _ in 0..bytes / 100 {
        out.write_all(&line).and_then(|()| out.write_all(b"\n")).expect("somebody reads");
    }
    out.write_all(b"the end\n").expect("somebody reads");
}
