//! The real libvirt: a machine whose metadata says who it is, is attached by the hook before it runs; one without is `unmanaged`, on libvirt's own network as well.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use testkit::bulkhead::binary;
use testkit::server::TcpEcho;
use testkit::{Finished, Proc, root_or_return, run_with_deadline, wait_until};

use crate::docker::foreign_rules;
use crate::machines::{Guest, MAC};
use crate::podman::are_there;
use crate::stage::{Stage, at, reaches};

/// How long a command of libvirt's may take.
const COMMAND: Duration = Duration::from_mins(1);
/// Until the emulated guest serves.
const BOOT: Duration = Duration::from_mins(3);
const SOON: Duration = Duration::from_secs(20);
const PROGRAMS: [&str; 5] = ["libvirtd", "virsh", "qemu-system-x86_64", "busybox", "cpio"];

/// libvirt's daemon with folders of its own, in namespaces of its own for mounts and processes: what it has started ends
/// with it.
struct Libvirt {
    _daemon: Proc,
    socket: PathBuf,
}

impl Libvirt {
    fn start(stage: &Stage) -> Result<Self> {
        let folder = stage.lab.dir().join("libvirt");
        for part in ["etc/hooks/qemu.d", "lib/dnsmasq", "log", "run", "cache"] {
            fs::create_dir_all(folder.join(part)).context("make libvirt's folders")?;
        }
        let at = folder.display();
        let daemon = format!(
            "unix_sock_dir = \"{at}/run\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n"
        );
        let qemu = "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\ncgroup_controllers = []\n\
                    stdio_handler = \"file\"\nnamespaces = []\nremember_owner = 0\n";
        fs::write(folder.join("etc/libvirtd.conf"), daemon).context("write libvirtd.conf")?;
        fs::write(folder.join("etc/qemu.conf"), qemu).context("write qemu.conf")?;
        let run_dir = &stage.bulkhead.folders().run;
        let hook = format!(
            "#!/bin/sh\nexec {} --run-dir {} libvirt-hook \"$@\"\n",
            binary()?.display(),
            run_dir.display()
        );
        let path = folder.join("etc/hooks/qemu.d/bulkhead");
        fs::write(&path, hook).context("write the hook")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("the hook's mode")?;
        let script = format!(
            "mount -t tmpfs run /run && mkdir /run/libvirt && for part in lib log cache; do \
             mount --bind '{at}'/$part /var/$part/libvirt || exit 1; done && \
             mount --bind '{at}/etc' /etc/libvirt && mount --bind '{at}/run' /run/libvirt || exit 1; \
             libvirtd -f /etc/libvirt/libvirtd.conf & wait $!"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]);
        command.args(["--mount-proc", "sh", "-c", &script]);
        let daemon = stage.host.spawn(&mut command)?;
        let socket = folder.join("run/libvirt-sock");
        let this = Self { _daemon: daemon, socket };
        wait_until("libvirtd", COMMAND, || {
            this.cli(&["list"]).is_ok_and(|done| done.status.success())
        })?;
        Ok(this)
    }

    /// A command of libvirt's; any exit code is fine.
    fn cli(&self, argv: &[&str]) -> Result<Finished> {
        let mut command = Command::new("virsh");
        let uri = format!("qemu+unix:///system?socket={}", self.socket.display());
        command.args(["-c", &uri]).args(argv);
        run_with_deadline(&mut command, None, COMMAND)
    }
}

/// A card on a bridge, and one in a network of libvirt's own.
const ON_BRIDGE: &str = "type='bridge'><source bridge='br9'/>";
const IN_NETWORK: &str = "type='network'><source network='theirs'/>";

/// A machine with one card; `metadata` says who it is.
fn domain(guest: &Guest, folder: &Path, card: &str, metadata: &str) -> PathBuf {
    let text = format!(
        "<domain type='qemu'><name>Guest 1</name><metadata>{metadata}</metadata><memory unit='MiB'>256</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{}</kernel><initrd>{}</initrd><cmdline>console=ttyS0 quiet</cmdline></os>\
         <devices><interface {card}<mac address='{MAC}'/><model type='virtio'/></interface>\
         <serial type='file'><source path='{}/console'/></serial></devices><seclabel type='none'/></domain>",
        guest.kernel.display(),
        guest.initrd.display(),
        folder.display()
    );
    let path = folder.join("domain.xml");
    fs::write(&path, text).expect("a description");
    path
}

fn attachments(stage: &Stage) -> Vec<Value> {
    let all = stage.bulkhead.cli_json(&["attachments"]).expect("attachments");
    all["attachments"].as_array().expect("a list").clone()
}

#[test]
fn a_machine_of_libvirt_is_attached_before_it_runs_root() {
    root_or_return!("a_machine_of_libvirt_is_attached_before_it_runs_root");
    if !are_there("a_machine_of_libvirt_is_attached_before_it_runs_root", &PROGRAMS) {
        return;
    }
    let stage = Stage::new();
    stage.lab.bridge(&stage.host, "br9", &["10.66.0.1/24"]).expect("a bridge");
    let file = "bulkhead: 1
tenants:
  t:
    networks:
      lan: { external: { bridge: br9 }, subnets: [10.66.0.0/24], attach: true }
    policies:
      in: { from: host, to: app=vm, allow: [80/tcp] }
";
    stage.bulkhead.up(file).expect("applied");
    let folder = stage.lab.dir().join("guest");
    let guest = Guest::prepare(&folder).expect("a guest");
    let libvirt = Libvirt::start(&stage).expect("libvirt");

    let ours = |network: &str| {
        format!(
            "<b:workload xmlns:b='urn:bulkhead:domain:1' network='{network}' labels='app=vm'><b:port address='10.66.0.2'/></b:workload>"
        )
    };
    let wrong = domain(&guest, &folder, ON_BRIDGE, &ours("t/nowhere")).display().to_string();
    let refused = libvirt.cli(&["create", &wrong]).expect("virsh").stderr;
    assert!(refused.contains("BH0230"), "what cannot be attached does not start: {refused}");
    assert!(attachments(&stage).is_empty());

    let right = domain(&guest, &folder, ON_BRIDGE, &ours("t/lan")).display().to_string();
    let began = Instant::now();
    libvirt.cli(&["create", &right]).expect("virsh").success().expect("created");
    let took = began.elapsed();
    let all = attachments(&stage);
    assert_eq!(all.len(), 1, "{all:?}");
    let listed = libvirt.cli(&["domiflist", "Guest 1"]).expect("virsh").success().expect("listed");
    let tap = all[0]["port"]["in_place"]["interface"].as_str().expect("an interface");
    assert!(listed.stdout.contains(tap) && listed.stdout.contains(MAC), "{}", listed.stdout);
    let up = || reaches(&stage.host, "10.66.0.2:80");
    wait_until("the guest", BOOT, up).expect("it serves");
    assert!(!reaches(&stage.host, "10.66.0.2:81"), "a port that is not allowed");
    let id = all[0]["workload"].as_str().expect("an id").replacen('.', "/", 1);
    assert_eq!(stage.drop_code("host", &id), "BH-D002");

    libvirt.cli(&["destroy", "Guest 1"]).expect("virsh").success().expect("ended");
    let ended = || attachments(&stage).is_empty();
    wait_until("the end of the attachment", SOON, ended).expect("it ends with the machine");
    println!(
        "runtime libvirt tap: a machine known by its metadata, attached before QEMU runs, one that cannot be attached does not start; \
         {} ms for virsh create with its hook",
        took.as_millis()
    );
}

/// A network that libvirt makes the bridge and the rules of; nothing in it gives addresses or names.
const NETWORK: &str = "<network><name>theirs</name><forward mode='nat'/><bridge name='virbr9' stp='on' delay='0'/><dns enable='no'/>\
    <ip address='10.66.0.1' netmask='255.255.255.0'/></network>";

/// A file that knows the network and none of its machines.
fn of_nobody(unmanaged: &str) -> String {
    format!(
        "bulkhead: 1
unmanaged: {unmanaged}
tenants:
  t:
    networks:
      theirs: {{ external: {{ bridge: virbr9 }}, subnets: [10.66.0.0/24], attach: true }}
"
    )
}

/// Waits until the guest says something behind what it has said before.
fn says(console: &Path, after: usize, what: &str) {
    let said = || String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).into_owned();
    let told = || said().get(after..).is_some_and(|text| text.contains(what));
    wait_until(what, BOOT, told).unwrap_or_else(|_| panic!("it does not say {what}: {}", said()));
}

#[test]
fn a_machine_of_nobody_on_libvirts_own_network_is_recorded_or_closed_root() {
    const NAME: &str = "a_machine_of_nobody_on_libvirts_own_network_is_recorded_or_closed_root";
    root_or_return!(NAME);
    if !are_there(NAME, &PROGRAMS) {
        return;
    }
    let stage = Stage::new();
    let folder = stage.lab.dir().join("guest");
    let guest = Guest::prepare(&folder).expect("a guest");
    let libvirt = Libvirt::start(&stage).expect("libvirt");
    let virsh =
        |argv: &[&str]| libvirt.cli(argv).expect("virsh").success().expect("it is done").stdout;
    let network = folder.join("network.xml");
    fs::write(&network, NETWORK).expect("a description");
    virsh(&["net-create", &network.display().to_string()]);
    let rules = foreign_rules(&stage.host);
    stage.bulkhead.up(&of_nobody("audit")).expect("applied");
    let service = TcpEcho::start(&stage.host, at("10.66.0.1:80")).expect("a server");
    let console = folder.join("console");
    let create = || {
        let _first = fs::remove_file(&console);
        let machine = domain(&guest, &folder, IN_NETWORK, "").display().to_string();
        virsh(&["create", &machine]);
    };

    // Without metadata of ours it is nobody's: as libvirt has it, and recorded.
    create();
    says(&console, 0, "tcp 80: yes");
    let served = || reaches(&stage.host, "10.66.0.2:80");
    wait_until("the guest", SOON, served).expect("from the host");
    let unmanaged = || {
        let status = stage.bulkhead.cli_json(&["status"]).expect("a status");
        status["agent"]["unmanaged"].clone()
    };
    let found = unmanaged()["ports"].as_array().cloned().unwrap_or_default();
    let port = found.iter().find(|port| port["bridge"] == false).expect("its port");
    let tap = port["interface"].as_str().expect("an interface");
    assert!(virsh(&["domiflist", "Guest 1"]).contains(tap), "{found:?}");
    assert_eq!((&port["network"], &port["closed"]), (&"t.theirs".into(), &false.into()));
    for (from, to) in [("unmanaged", "host"), ("host", "unmanaged")] {
        let flows = stage.flows(&["--from", from, "--to", to, "--verdict", "audit"]);
        assert!(flows.iter().any(|flow| flow["target"]["port"] == 80), "{from} to {to}: {flows:?}");
    }
    let doctor = stage.bulkhead.cli(&["doctor"]).expect("doctor").stdout;
    assert!(doctor.contains("BH-H070") && doctor.contains(tap), "{doctor}");

    // Closed while it runs.
    stage.bulkhead.up(&of_nobody("deny")).expect("applied");
    let said = fs::read(&console).map_or(0, |text| text.len());
    says(&console, said, "tcp 80: no");
    assert!(!served());
    assert_eq!(stage.drop_code("unmanaged", "host"), "BH-D002");

    // And from its first packet on.
    virsh(&["destroy", "Guest 1"]);
    let before = service.accepted();
    create();
    says(&console, 0, "tcp 80: no");
    assert!(!served());
    assert_eq!(service.accepted(), before, "not one connection");
    virsh(&["destroy", "Guest 1"]);
    let gone = || unmanaged()["ports"].as_array().is_some_and(|ports| ports.len() == 1);
    wait_until("the bridge alone", SOON, gone).expect("it is forgotten");
    assert_eq!(foreign_rules(&stage.host), rules, "libvirt's rules are as they were");
    println!(
        "runtime libvirt unmanaged: a machine without metadata on libvirt's own network is recorded, and with `unmanaged: deny` closed from its first packet on"
    );
}
