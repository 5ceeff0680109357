//! Asks the agent until it has time, and finds another name when one is taken.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use api::{Attach, AttachPort, Attached, Client, ClientError, Detached, Error, codes};

use crate::names;

/// How long a plugin waits for an agent that is busy, starting or stopping.
const PATIENCE: Duration = Duration::from_secs(30);
/// First pause, which is doubled up to the longest one.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// Attaches a workload. When another one has its name, it gets a number behind it.
///
/// # Errors
/// What the agent refuses, or that there is none.
pub(crate) fn attach(socket: &Path, wanted: &Attach) -> Result<Attached, Error> {
    let found = patiently(socket, |client| client.attach(wanted));
    match (found, &wanted.name) {
        (Err(error), Some(name)) if error.code == codes::ATTACH_NAME => {
            let other = names::suffixed(name, told_by(wanted));
            let wanted = Attach { name: Some(other), ..wanted.clone() };
            patiently(socket, |client| client.attach(&wanted))
        }
        (found, _) => found,
    }
}

/// What tells a workload apart from others of its name. Interfaces that one container has in networks of ours are one workload's, so
/// it is the container; each port in place is a workload of its own.
fn told_by(wanted: &Attach) -> &str {
    let parts: Vec<&str> = wanted.key.split('/').collect();
    match (&wanted.port, parts.as_slice()) {
        (AttachPort::Netns { .. }, ["cni", _, container, _]) => container,
        _ => &wanted.key,
    }
}

/// Ends an attachment.
///
/// # Errors
/// As [`attach`].
pub(crate) fn detach(socket: &Path, key: &str) -> Result<Detached, Error> {
    patiently(socket, |client| client.detach(key))
}

/// Asks again while the agent has no time.
///
/// # Errors
/// As [`attach`].
pub(crate) fn patiently<T>(
    socket: &Path,
    ask: impl Fn(&Client) -> Result<T, ClientError>,
) -> Result<T, Error> {
    let client = Client::new(socket).map_err(|error| error.to_error())?;
    let until = Instant::now() + PATIENCE;
    let mut pause = PAUSE;
    loop {
        let error = match ask(&client) {
            Ok(answer) => return Ok(answer),
            Err(error) => error.to_error(),
        };
        if !is_to_ask_again(&error) || Instant::now() + pause > until {
            return Err(error);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing tells when the agent has time again"
        )]
        thread::sleep(pause);
        pause = (2 * pause).min(LONGEST);
    }
}

/// Whether the agent has no time, or is about to be another one. One that is not there at all is not waited for.
fn is_to_ask_again(error: &Error) -> bool {
    [codes::BUSY, codes::STOPPING, codes::BROKEN].contains(&error.code.as_str())
}
