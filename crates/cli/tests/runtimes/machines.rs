//! Virtual machines behind TAPs: a real Debian kernel in QEMU, and many TAPs in one change.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use serde_json::Value;
use testkit::packet::{Frame, Mac, ip, mac_text};
use testkit::server::UdpEcho;
use testkit::tap::join;
use testkit::{
    Namespace, Proc, root_or_return, run_with_deadline, uninterrupted, wait_for, wait_until,
};

use crate::podman::are_there;
use crate::stage::{OUTSIDE, Stage, at, reaches, serve};

/// What emulation on a busy machine may take until the guest speaks.
const BOOT: Duration = Duration::from_mins(4);
/// Fetching and unpacking a kernel, once.
const FETCH: Duration = Duration::from_mins(5);
/// How long something may take to show.
const SOON: Duration = Duration::from_secs(20);
/// The kernel: that of Debian 12.
const KERNEL: &str = "6.1";
/// What it needs for a network card of QEMU, in the order of loading.
const MODULES: [&str; 8] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
];
const PROGRAMS: [&str; 3] = ["qemu-system-x86_64", "busybox", "cpio"];

/// The bridge's address on the host.
const GATEWAY: &str = "10.66.0.1";
const GUEST: &str = "10.66.0.2";
pub(crate) const MAC: &str = "52:54:00:00:00:02";

/// The first program of the guest: it serves two ports, and tells every second what it reaches.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for m in $(cat /modules); do insmod "/$m.ko"; done
ip link set lo up; ip link set eth0 up; ip addr add 10.66.0.2/24 dev eth0; ip route add default via 10.66.0.1
for port in 80 81; do (while :; do nc -l -p $port -e /bin/cat; done) & done
echo "kernel $(uname -r)"
ip addr add 10.66.0.77/24 dev eth0
while :; do
  for port in 80 81; do
    if echo hello | timeout 2 nc -w 1 10.66.0.1 $port | grep -q hello; then echo "tcp $port: yes"; else echo "tcp $port: no"; fi
  done
  if ping -c 1 -W 1 -I 10.66.0.77 10.66.0.1 >/dev/null 2>&1; then echo "lie: yes"; else echo "lie: no"; fi
done
"#;

/// The folder of a stock kernel, fetched when it is not there.
fn kernel() -> Result<PathBuf> {
    let here = std::env::current_exe().context("this program")?;
    let target = here.ancestors().nth(3).context("the target folder")?;
    let cache = target.join("kernels");
    fs::create_dir_all(&cache).context("make the folder of kernels")?;
    let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/kernels/fetch");
    run_with_deadline(Command::new(fetch).arg(&cache).arg(KERNEL), None, FETCH)?.success()?;
    Ok(cache.join(KERNEL))
}

/// The files below `folder` that `wanted` accepts; a folder of modules has a few thousand.
fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if wanted(&entry.file_name().to_string_lossy()) {
                return Some(path);
            }
        }
    }
    None
}

/// A kernel and the files that it begins with.
pub(crate) struct Guest {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
}

impl Guest {
    /// Puts both into `folder`.
    pub(crate) fn prepare(folder: &Path) -> Result<Self> {
        let (kernel, root) = (kernel()?, folder.join("root"));
        for part in ["bin", "proc", "sys", "dev"] {
            fs::create_dir_all(root.join(part)).context("make the guest's folders")?;
        }
        let busybox = crate::docker::find("busybox").context("there is no busybox")?;
        fs::copy(busybox, root.join("bin/busybox")).context("copy busybox")?;
        let mut loaded = Vec::new();
        for module in MODULES {
            let file = format!("{module}.ko");
            // Some are built into some kernels.
            if let Some(found) = find(&kernel.join("lib/modules"), &|name| name == file) {
                fs::copy(found, root.join(&file)).context("copy a module")?;
                loaded.push(module);
            }
        }
        fs::write(root.join("modules"), loaded.join(" ")).context("name the modules")?;
        fs::write(root.join("init"), INIT).context("write the guest's first program")?;
        let initrd = folder.join("initrd");
        let pack =
            format!("chmod 755 init && find . | cpio --quiet -o -H newc > '{}'", initrd.display());
        let mut shell = Command::new("sh");
        shell.args(["-c", &pack]).current_dir(&root);
        run_with_deadline(&mut shell, None, Duration::from_mins(1))?.success()?;
        let kernel = find(&kernel.join("boot"), &|name| name.starts_with("vmlinuz-"))
            .context("there is no kernel")?;
        Ok(Self { kernel, initrd })
    }
}

/// A virtual machine that boots; dropping it ends it.
struct Machine {
    _qemu: Proc,
    console: PathBuf,
}

impl Machine {
    /// Boots the kernel behind the interface `tap` of `host`.
    fn boot(stage: &Stage, tap: &str) -> Result<Self> {
        let folder = stage.lab.dir().join("guest");
        let (guest, console) = (Guest::prepare(&folder)?, folder.join("console"));
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35", "-accel", "tcg", "-cpu"])
            .arg("max,cx16=off,erms=off,fsrm=off,family=6,model=6")
            .args(["-m", "256", "-smp", "1", "-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-netdev", &format!("tap,id=n,ifname={tap},script=no,downscript=no")])
            .args(["-device", &format!("virtio-net-pci,netdev=n,mac={MAC},romfile=")])
            .arg("-kernel")
            .arg(guest.kernel)
            .arg("-initrd")
            .arg(guest.initrd)
            .args([
                "-append",
                "console=ttyS0 quiet panic=-1 random.trust_cpu=on cryptomgr.notests",
            ]);
        Ok(Self { _qemu: stage.host.spawn(&mut qemu)?, console })
    }

    /// What the guest has said so far.
    fn said(&self) -> String {
        fs::read(&self.console)
            .map(|text| String::from_utf8_lossy(&text).replace('\r', ""))
            .unwrap_or_default()
    }

    /// Waits until the guest says something after what it has said before.
    fn says(&self, after: usize, what: &str) {
        let told = || self.said().get(after..).is_some_and(|text| text.contains(what));
        let is_told = wait_until(what, BOOT, told).is_ok();
        assert!(is_told, "the guest does not say `{what}`: {}", self.said());
    }
}

fn tap(host: &Namespace, name: &str) {
    host.check(&["ip", "tuntap", "add", "dev", name, "mode", "tap"]).expect("a TAP");
    host.ip(&format!("link set {name} master br9 up")).expect("a port");
}

fn workload(stage: &Stage, id: &str) -> Value {
    let status = stage.bulkhead.cli_json(&["status"]).expect("a status");
    let all = status["workloads"].as_array().expect("workloads");
    all.iter().find(|each| each["id"] == id).expect("the workload").clone()
}

#[test]
fn a_virtual_machine_talks_through_an_enforced_tap_root() {
    root_or_return!("a_virtual_machine_talks_through_an_enforced_tap_root");
    if !are_there("a_virtual_machine_talks_through_an_enforced_tap_root", &PROGRAMS) {
        return;
    }
    let stage = Stage::new();
    stage.lab.bridge(&stage.host, "br9", &[&format!("{GATEWAY}/24")]).expect("a bridge");
    let _servers = serve(&stage.host, GATEWAY, &[80, 81]);
    let file = |policies: &str| {
        format!(
            "bulkhead: 1
tenants:
  t:
    networks:
      lan: {{ external: {{ bridge: br9 }}, subnets: [10.66.0.0/24] }}
    workloads:
      vm: {{ port: {{ interface: tap0, mac: \"{MAC}\" }}, address: [{GUEST}], labels: {{ app: vm }} }}
    policies:
{policies}"
        )
    };
    let open = "      in: { from: host, to: app=vm, allow: [80/tcp] }\n      out: { from: app=vm, to: host, allow: [80/tcp] }\n";
    stage.bulkhead.up(&file(open)).expect("applied");
    assert_eq!(workload(&stage, "t.vm")["state"], "pending", "no interface yet");

    let made = SystemTime::now();
    tap(&stage.host, "tap0");
    let since = wait_for("an enforced TAP", SOON, || {
        workload(&stage, "t.vm")["enforced_since"].as_str()?.parse::<jiff::Timestamp>().ok()
    });
    let since: SystemTime = since.expect("it is enforced").into();
    let before_guest = Instant::now();
    let machine = Machine::boot(&stage, "tap0").expect("a virtual machine");
    machine.says(0, "kernel 6.1.");
    machine.says(0, "tcp 80: yes");
    let boot = before_guest.elapsed();
    machine.says(0, "tcp 81: no");
    machine.says(0, "lie: no");
    assert!(reaches(&stage.host, &format!("{GUEST}:80")), "into the guest");
    assert!(!reaches(&stage.host, &format!("{GUEST}:81")), "another port");
    let lie = || {
        let flows = stage.flows(&["--verdict", "drop", "-n", "1000"]);
        flows.iter().any(|flow| {
            flow["reason"]["code"] == "BH-D012" && flow["source"]["address"] == "10.66.0.77"
        })
    };
    wait_until("the lie", SOON, lie).expect("it is told");
    assert!(!machine.said().contains("tcp 81: yes") && !machine.said().contains("lie: yes"));

    let said = machine.said().len();
    stage.bulkhead.up(&file(&open.replace("80/tcp", "81/tcp"))).expect("applied");
    machine.says(said, "tcp 81: yes");
    let said = machine.said().len();
    machine.says(said, "tcp 80: no");
    assert_eq!(stage.drop_code("t/vm", "host"), "BH-D002");
    let after = since.duration_since(made).unwrap_or_default();
    println!(
        "runtime qemu tap: a Debian {KERNEL} guest held to its MAC, address and policy both ways; enforced {} ms after the TAP was \
         made and before the guest's first packet, {:.1} s from power-on to its first allowed connection",
        after.as_millis(),
        boot.as_secs_f64()
    );
}

/// TAPs of the batch.
const TAPS: u8 = 50;
/// The port of the first guest's side.
const SIDES: u16 = 20_000;
/// What guests say: long enough that no frame is filled up.
const HELLO: &[u8] = b"hello from a virtual machine behind a TAP";

fn guest_mac(n: u8) -> Mac {
    [0x52, 0x54, 0, 0, 1, n]
}

/// Whether a datagram from a guest to the internet is answered.
fn asks(side: &UdpSocket, n: u8, gateway: Mac, port: u16) -> bool {
    let own = ip(&format!("10.66.0.{}", 100 + n));
    let frame = Frame::new(guest_mac(n), gateway).ip(own, ip(OUTSIDE)).udp(4000, port);
    if side.send(&frame.payload(HELLO).bytes()).is_err() {
        return false;
    }
    let IpAddr::V4(outside) = ip(OUTSIDE) else { return false };
    let mut buffer = [0; 2048];
    // What else the bridge sends is not an answer.
    let end = Instant::now() + Duration::from_millis(400);
    while let Ok(bytes) = uninterrupted(|| side.recv(&mut buffer)) {
        let is_answer = buffer.get(12..14) == Some(&[8, 0])
            && buffer.get(26..30) == Some(&outside.octets())
            && buffer[..bytes].ends_with(HELLO);
        if is_answer || Instant::now() > end {
            return is_answer;
        }
    }
    false
}

#[test]
fn fifty_taps_come_in_one_change_and_share_a_gateway_root() {
    root_or_return!("fifty_taps_come_in_one_change_and_share_a_gateway_root");
    if !are_there("fifty_taps_come_in_one_change_and_share_a_gateway_root", &PROGRAMS[..1]) {
        return;
    }
    let stage = Stage::new();
    let host = &stage.host;
    // As libvirt makes a network: a bridge with the gateway's address, and one address to leave with.
    stage.lab.bridge(host, "br9", &[&format!("{GATEWAY}/24")]).expect("a bridge");
    host.sysctl("net.ipv4.ip_forward", "1").expect("forwarding");
    host.nft("table ip lan { chain post { type nat hook postrouting priority srcnat; oifname \"uplink\" masquerade; }; }")
        .expect("address translation");
    let server = UdpEcho::start(&stage.outside, at(&format!("{OUTSIDE}:53"))).expect("a server");
    let closed = UdpEcho::start(&stage.outside, at(&format!("{OUTSIDE}:54"))).expect("a server");
    let mut text = "bulkhead: 1\ntenants:\n  t:\n    networks:\n      lan: { external: { bridge: br9 }, subnets: [10.66.0.0/24] }\n    workloads:\n".to_owned();
    let mut neighbours = String::new();
    let taps: Vec<String> = (0..TAPS).map(|n| format!("tap{n}")).collect();
    for (n, name) in (0..).zip(&taps) {
        tap(host, name);
        let mac = mac_text(guest_mac(n));
        let own = format!("10.66.0.{}", 100 + n);
        neighbours.extend([format!("neigh add {own} lladdr {mac} nud permanent dev br9\n")]);
        text.extend([format!(
            "      vm{n}: {{ port: {{ interface: {name}, mac: \"{mac}\" }}, address: [{own}] }}\n"
        )]);
    }
    // After the last port: the bridge has the lowest of their addresses, and forgets neighbours with each new one.
    host.ip(&neighbours).expect("neighbours");
    text += "    policies:\n      names: { from: any, to: world, allow: [53/udp] }\n";
    let began = Instant::now();
    stage.bulkhead.up(&text).expect("applied");
    let took = began.elapsed();
    let status = stage.bulkhead.cli_json(&["status"]).expect("a status");
    let all = status["workloads"].as_array().expect("workloads");
    let enforced = all.iter().filter(|each| each["enforced_since"].is_string()).count();
    assert_eq!(enforced, usize::from(TAPS));

    let (_qemu, sides) = join(host, &taps, SIDES).expect("QEMU joins");
    let gateway = host.mac("br9").expect("a MAC address");
    for (n, side) in (0..).zip(&sides) {
        let answered = || asks(side, n, gateway, 53);
        wait_until("an answer", SOON, answered)
            .unwrap_or_else(|error| panic!("guest {n}: {error}"));
    }
    let seen = server.received();
    for (n, side) in (0..).zip(&sides) {
        assert!(!asks(side, n, gateway, 54), "guest {n}: a port that is not allowed");
    }
    assert_eq!(closed.received(), 0);
    // One guest with another one's address, and with its MAC address, too.
    let lie = |n: u8, as_mac: u8| {
        let own = ip("10.66.0.101");
        let frame = Frame::new(guest_mac(as_mac), gateway).ip(own, ip(OUTSIDE)).udp(4000, 53);
        sides[usize::from(n)].send(&frame.payload(b"lie").bytes()).expect("sent");
    };
    lie(0, 0);
    lie(0, 1);
    for code in ["BH-D011", "BH-D012"] {
        let told = || {
            let flows = stage.flows(&["--verdict", "drop", "-n", "1000"]);
            flows.iter().any(|flow| flow["reason"]["code"] == code)
        };
        wait_until(code, SOON, told).expect("it is told");
    }
    assert_eq!(server.received(), seen, "no lie arrived");
    println!(
        "runtime taps batch: {TAPS} TAPs behind one NAT gateway held to address and policy; one change of {} ms for all of them",
        took.as_millis()
    );
}
