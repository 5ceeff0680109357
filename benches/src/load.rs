//! The load generator: four ways to push packets from one namespace to another, on one CPU.
//!
//! Both ends of every load run in lockstep on the *same* thread: what one end sends has passed the
//! whole path (veth delivers in softirq on the sending CPU) by the time the other end reads it.
//! So a rate is the cost of the path and of the system calls, without scheduler wake-ups, which on
//! a shared machine are most of the noise. Every unit is verified by its sequence number.

mod connect;
mod exchange;
mod fresh;
mod stream;
mod udp;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::arm::Route;

pub use connect::Connects;
pub use exchange::Exchanges;
pub use fresh::NewFlows;
pub use stream::Stream;
pub use udp::Datagrams;

/// Ports that every policy of a bench allows, tcp and udp.
pub const ALLOWED_PORTS: std::ops::RangeInclusive<u16> = 7000..=7099;
/// A port on which a server listens though policy denies it.
pub const DENIED_PORT: u16 = 9009;
/// How long a load waits for something that must arrive before it calls it lost.
const PATIENCE: Duration = Duration::from_millis(200);

/// What one slice moved.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Units that arrived and were right: datagrams, exchanges, connections or bytes.
    pub count: u64,
    /// Units that did not arrive in time.
    pub lost: u64,
    /// Wall time of the slice.
    pub elapsed: Duration,
}

impl Slice {
    /// Units a second of `time`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a slice are far below 2^52")]
    pub fn rate_over(&self, time: Duration) -> f64 {
        self.count as f64 / time.as_secs_f64()
    }
}

/// One kind of load over one path. It runs on a thread inside the client's namespace.
pub trait Load {
    /// Moves one batch; gives (units that arrived, units lost).
    ///
    /// # Errors
    /// When a socket fails or a unit arrives out of order.
    fn batch(&mut self) -> Result<(u64, u64)>;

    /// Moves batches for `time`.
    ///
    /// # Errors
    /// As [`Load::batch`], or when nothing arrived at all.
    fn slice(&mut self, time: Duration) -> Result<Slice> {
        let start = Instant::now();
        let (mut count, mut lost) = (0, 0);
        loop {
            let (more, gone) = self.batch()?;
            count += more;
            lost += gone;
            let elapsed = start.elapsed();
            if elapsed >= time {
                if count == 0 {
                    bail!("nothing arrived in {elapsed:?}, {lost} lost");
                }
                return Ok(Slice { count, lost, elapsed });
            }
        }
    }
}

/// Opens one kind of load over a path.
pub type Opener = fn(&Route) -> Result<Box<dyn Load + Send>>;

/// Repeats a non-blocking `attempt` until it gives something, at most for [`PATIENCE`].
///
/// Yields between attempts, so that `ksoftirqd` on this CPU gets its turn.
fn persist<T>(mut attempt: impl FnMut() -> std::io::Result<T>) -> std::io::Result<Option<T>> {
    let mut since = None;
    loop {
        match attempt() {
            Ok(value) => return Ok(Some(value)),
            Err(e) if is_transient(&e) => {}
            Err(e) => return Err(e),
        }
        let start = *since.get_or_insert_with(Instant::now);
        if start.elapsed() > PATIENCE {
            return Ok(None);
        }
        std::thread::yield_now();
    }
}

/// Connecting is "in progress" until the answer came.
fn is_transient(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | NotConnected)
}
