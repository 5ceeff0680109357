//! `bulkhead hook`: a hook of the OCI runtime specification, for whoever has nothing but runc or crun.
//!
//! As `createRuntime` hook it attaches the container's network namespace before its program starts, as `poststop` hook it
//! ends the attachment. Which of the two it is, the container's state says, which comes on standard input. See
//! <https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks>.
//!
//! **Failure.** A container that cannot be attached does not start: the runtime ends it when this hook fails.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use api::{Attach, AttachPort, Error, codes};
use serde::Deserialize;

use crate::{attaching, names};

/// Longest id of a container, in bytes.
const CONTAINER: usize = 128;
/// The container's annotation with labels, `app=web,tier=front`.
const LABELS: &str = "bulkhead/labels";
/// The container's annotation with its name.
const NAME: &str = "bulkhead/name";

/// Where containers of this hook join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A tenant of the file in force.
    pub tenant: String,
    /// A network of the tenant.
    pub network: String,
    /// A segment of the network.
    pub segment: Option<String>,
    /// Labels of every container, which annotations do not change.
    pub labels: BTreeMap<String, String>,
    /// What the interface is called inside.
    pub interface: String,
}

/// A container's state, as the runtime passes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct State {
    id: String,
    status: String,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Attaches or ends what the state on `input` speaks of.
///
/// # Errors
/// `BH0204` when the state is not understood, and what the agent refuses.
pub fn run(socket: &Path, place: &Place, input: impl Read) -> Result<(), Error> {
    let bytes = crate::read(input);
    let bytes = bytes.ok_or_else(|| wrong("it cannot be read or is larger than 1 MiB"))?;
    match what(place, &bytes)? {
        What::Attach(attach) => attaching::attach(socket, &attach).map(drop),
        What::Detach(key) => attaching::detach(socket, &key).map(drop),
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Attach(Box<Attach>),
    Detach(String),
}

fn wrong(why: &str) -> Error {
    let mut error = Error::new(codes::BAD_REQUEST, "the container's state is not understood");
    error.cause = Some(why.to_owned());
    error.with_hint("the hook is called by a runtime: createRuntime and poststop in config.json")
}

fn what(place: &Place, bytes: &[u8]) -> Result<What, Error> {
    let state: State = serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
    if !is_container(&state.id) {
        return Err(wrong(
            "the container's id has other characters than letters, digits, _, ., + and -",
        ));
    }
    let key = format!("oci/{}/{}", state.id, place.interface);
    match state.status.as_str() {
        "creating" | "created" | "running" => {}
        "stopped" => return Ok(What::Detach(key)),
        _ => return Err(wrong("the status is neither creating, created, running nor stopped")),
    }
    if state.pid == 0 {
        return Err(wrong("a container that is created has a pid"));
    }
    let text = state.annotations.get(LABELS).map_or("", String::as_str);
    let mut labels = names::claimed(text).map_err(|why| wrong(&format!("{LABELS}: {why}")))?;
    labels.extend(place.labels.clone());
    let name = state.annotations.get(NAME).unwrap_or(&state.id);
    let port = AttachPort::Netns {
        path: format!("/proc/{}/ns/net", state.pid),
        interface: place.interface.clone(),
    };
    Ok(What::Attach(Box::new(Attach {
        key,
        tenant: place.tenant.clone(),
        network: place.network.clone(),
        segment: place.segment.clone(),
        name: Some(names::workload(name)),
        labels,
        addresses: Vec::new(),
        port,
        publish: Vec::new(),
        publish_pending: false,
    })))
}

/// The characters that runc lets an id have.
fn is_container(id: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    (1..=CONTAINER).contains(&id.len()) && id.bytes().all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            tenant: "shop".to_owned(),
            network: "pods".to_owned(),
            segment: None,
            labels: [("site".to_owned(), "a".to_owned())].into(),
            interface: "eth0".to_owned(),
        }
    }

    #[test]
    fn a_container_that_comes_is_attached_by_its_process() {
        let state =
            br#"{"ociVersion":"1.0.2","id":"web-1","status":"creating","pid":41,"bundle":"/b",
            "annotations":{"bulkhead/labels":"app=web,site=b","bulkhead/name":"Web"}}"#;
        let What::Attach(attach) = what(&place(), state).expect("understood") else {
            panic!("it comes")
        };
        assert_eq!(attach.key, "oci/web-1/eth0");
        assert_eq!(attach.labels["app"], "web");
        assert_eq!(
            attach.labels["site"], "a",
            "the hook's own labels are not the container's to change"
        );
        let path = "/proc/41/ns/net".to_owned();
        assert_eq!(attach.port, AttachPort::Netns { path, interface: "eth0".to_owned() });
        assert!(attach.name.expect("a name").starts_with("web-"));
    }

    #[test]
    fn a_container_that_goes_is_ended() {
        let state = br#"{"id":"web-1","status":"stopped"}"#;
        assert_eq!(what(&place(), state), Ok(What::Detach("oci/web-1/eth0".to_owned())));
    }

    #[test]
    fn another_state_is_refused() {
        for state in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"id":"a"}"#,
            r#"{"id":"","status":"stopped"}"#,
            r#"{"id":"../x","status":"stopped"}"#,
            r#"{"id":"a/b","status":"stopped"}"#,
            r#"{"id":"a","status":"creating"}"#,
            r#"{"id":"a","status":"paused","pid":1}"#,
            r#"{"id":"a","status":"created","pid":-1}"#,
            r#"{"id":"a","status":"created","pid":1,"annotations":{"bulkhead/labels":"x"}}"#,
        ] {
            let error = what(&place(), state.as_bytes()).expect_err(state);
            assert_eq!(error.code, codes::BAD_REQUEST, "{state}");
        }
        let deep = "[".repeat(100_000);
        assert!(what(&place(), deep.as_bytes()).is_err());
    }
}
