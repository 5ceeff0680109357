//! The real libvirt: a machine whose metadata says who it is, is attached by the hook before it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use testkit::bulkhead::binary;
use testkit::{Finished, Proc, root_or_return, run_with_deadline, wait_until};

use crate::machines::{Guest, MAC};
use crate::podman::are_there;
use crate::stage::{Stage, reaches};

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
        for part in ["etc/hooks/qemu.d", "lib", "log", "run", "cache"] {
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

/// A machine on the bridge; `metadata` says who it is.
fn domain(guest: &Guest, folder: &Path, metadata: &str) -> PathBuf {
    let text = format!(
        "<domain type='qemu'><name>Guest 1</name><metadata>{metadata}</metadata><memory unit='MiB'>256</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{}</kernel><initrd>{}</initrd><cmdline>console=ttyS0 quiet</cmdline></os>\
         <devices><interface type='bridge'><source bridge='br9'/><mac address='{MAC}'/><model type='virtio'/></interface>\
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
    let wrong = domain(&guest, &folder, &ours("t/nowhere")).display().to_string();
    let refused = libvirt.cli(&["create", &wrong]).expect("virsh").stderr;
    assert!(refused.contains("BH0230"), "what cannot be attached does not start: {refused}");
    assert!(attachments(&stage).is_empty());

    let right = domain(&guest, &folder, &ours("t/lan")).display().to_string();
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
