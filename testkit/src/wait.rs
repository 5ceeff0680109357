//! Waiting for a condition with a deadline: what tests use where others would sleep.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long one look at the condition is apart from the next.
const STEP: Duration = Duration::from_millis(2);

/// Calls `probe` until it gives a value; an error that names `what` after `deadline`.
///
/// # Errors
/// When the deadline passes first.
#[expect(clippy::disallowed_methods, reason = "the one place that polls")]
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("gave up after {deadline:?} waiting for {what}");
        }
        std::thread::sleep(STEP);
    }
}

/// Waits until `condition` holds.
///
/// # Errors
/// When the deadline passes first.
pub fn wait_until(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    wait_for(what, deadline, || condition().then_some(()))
}

/// Calls `receive` again as long as a signal interrupts it.
///
/// A receive with a timeout is not begun again by the kernel (signal(7)), and one that nobody handles is
/// enough: a child that ends while its thread holds signals back, as it does when it starts the next one,
/// wakes all others. Each time, the timeout begins anew.
///
/// # Errors
/// Any other of `receive`.
pub fn uninterrupted<T>(mut receive: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match receive() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    #[test]
    fn children_that_end_interrupt_no_receive() {
        let (near, far) = UnixDatagram::pair().expect("two sockets");
        near.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let heard = std::thread::spawn(move || uninterrupted(|| near.recv(&mut [0; 9])));
        for _ in 0..20 {
            let children: Vec<_> =
                (0..8).map(|_| Command::new("true").spawn().expect("started")).collect();
            for mut child in children {
                assert!(child.wait().expect("ended").success());
            }
        }
        far.send(b"hello").expect("it listens");
        assert_eq!(heard.join().expect("it ends").expect("heard"), 5);
    }
}
