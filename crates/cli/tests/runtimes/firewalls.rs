//! firewalld and ufw on a lab's host, each with a configuration of its own, so that the machine's stays as it is.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::{Lab, Namespace, Proc, run_with_deadline, wait_until};

use crate::docker::find;

/// How long one may take to start.
const START: Duration = Duration::from_secs(30);
/// How long a command may take.
const COMMAND: Duration = Duration::from_mins(1);

/// A firewalld with a bus of its own.
#[derive(Debug)]
pub(crate) struct Firewalld {
    host: Namespace,
    address: String,
    daemon: Proc,
    _bus: Proc,
}

impl Firewalld {
    /// Whether this machine has it.
    pub(crate) fn is_there() -> bool {
        ["firewalld", "firewall-cmd", "dbus-daemon"].iter().all(|name| find(name).is_some())
    }

    /// Starts it.
    pub(crate) fn start(lab: &Lab, host: &Namespace) -> Result<Self> {
        let folder = lab.dir().join("firewalld");
        std::fs::create_dir_all(folder.join("zones")).context("make firewalld's folder")?;
        let config = "DefaultZone=public\nFirewallBackend=nftables\nFlushAllOnReload=yes\n";
        std::fs::write(folder.join("firewalld.conf"), config).context("write firewalld.conf")?;
        let address = format!("unix:path={}", folder.join("bus").display());
        let mut bus = Command::new("dbus-daemon");
        bus.args(["--session", "--nofork", "--nosyslog", "--address"]).arg(&address);
        let bus = host.spawn(&mut bus)?;
        let socket = folder.join("bus");
        wait_until("the bus", START, || socket.exists()).context("a bus")?;
        let mut daemon = Command::new(find("firewalld").context("there is no firewalld")?);
        daemon.args(["--nofork", "--nopid", "--system-config"]).arg(&folder);
        daemon.env("DBUS_SYSTEM_BUS_ADDRESS", &address);
        let daemon = host.spawn(&mut daemon)?;
        let started = Self { host: host.clone(), address, daemon, _bus: bus };
        let runs = || started.ask("--state").is_ok();
        if wait_until("firewalld", START, runs).is_err() {
            bail!("firewalld did not come up: {:?}", started.daemon.output_so_far()?);
        }
        Ok(started)
    }

    /// `firewall-cmd --complete-reload`: it takes its rules away and makes them again.
    pub(crate) fn reload(&self) -> Result<()> {
        self.ask("--complete-reload")
    }

    fn ask(&self, what: &str) -> Result<()> {
        let mut command = Command::new(find("firewall-cmd").context("there is no firewall-cmd")?);
        command.arg(what).env("DBUS_SYSTEM_BUS_ADDRESS", &self.address);
        let run = || run_with_deadline(&mut command, None, COMMAND);
        self.host.run(run)??.success().map(drop)
    }
}

/// An ufw whose `/etc/ufw` is a copy that only it sees.
#[derive(Debug)]
pub(crate) struct Ufw {
    host: Namespace,
    folder: PathBuf,
}

impl Ufw {
    /// Whether this machine has it.
    pub(crate) fn is_there() -> bool {
        find("ufw").is_some() && PathBuf::from("/etc/ufw/ufw.conf").is_file()
    }

    /// Switches it on.
    pub(crate) fn enable(lab: &Lab, host: &Namespace) -> Result<Self> {
        let ufw = Self { host: host.clone(), folder: lab.dir().join("ufw") };
        let mut copy = Command::new("cp");
        copy.arg("-a").arg("/etc/ufw").arg(&ufw.folder);
        run_with_deadline(&mut copy, None, COMMAND)?.success()?;
        ufw.ask("--force enable")?;
        Ok(ufw)
    }

    /// `ufw reload`.
    pub(crate) fn reload(&self) -> Result<()> {
        self.ask("reload")
    }

    fn ask(&self, what: &str) -> Result<()> {
        let mut command = Command::new("unshare");
        let at = self.folder.display();
        let line = format!("mount --bind {at} /etc/ufw && exec ufw {what}");
        command.args(["-m", "sh", "-c", &line]);
        let run = || run_with_deadline(&mut command, None, COMMAND);
        self.host.run(run)??.success().map(drop)
    }
}
