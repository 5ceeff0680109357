//! Tells the service manager how we are (systemd, `sd_notify(3)`): one datagram per state, nothing without a manager.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The connection to the service manager, when there is one.
#[derive(Debug)]
pub(crate) struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(crate) fn from_environment() -> Self {
        let watchdog = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let ours =
            std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        Self {
            to: std::env::var_os("NOTIFY_SOCKET").and_then(|path| open(path.as_bytes())),
            watchdog: watchdog.filter(|_| ours).map(Duration::from_micros),
        }
    }

    /// How often the manager wants to hear from us: twice in its limit.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Sends `READY=1`, `STOPPING=1`, `WATCHDOG=1` or `STATUS=…`. A manager that does not listen does not matter.
    pub(crate) fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.to
            && let Err(error) = socket.send_to_addr(state.as_bytes(), address)
        {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }
}

fn open(path: &[u8]) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match path.split_first()? {
        (b'@', name) => SocketAddr::from_abstract_name(name).ok()?,
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)).ok()?,
    };
    Some((UnixDatagram::unbound().ok()?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_arrive_as_datagrams() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("bind");
        let to = open(path.as_os_str().as_bytes());
        let notify = Notify { to, watchdog: Some(Duration::from_secs(30)) };
        notify.tell("READY=1");
        let mut buffer = [0; 16];
        let count = manager.recv(&mut buffer).expect("a datagram");
        assert_eq!(&buffer[..count], b"READY=1");
        assert_eq!(notify.watchdog(), Some(Duration::from_secs(15)));
    }
}
