//! Why Docker gave no answer that can be used.

use std::path::PathBuf;

/// Why Docker gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens, or the socket may not be opened.
    #[error("reach {who} on {}", socket.display())]
    Connect {
        /// Which daemon.
        who: &'static str,
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Whoever listens is somebody else than who may.
    #[error("{} is served by the user {uid}, who is not believed", socket.display())]
    Peer {
        /// The socket.
        socket: PathBuf,
        /// Whose process listens.
        uid: u32,
    },
    /// The answer did not come in time.
    #[error("{who} did not answer {path} within {seconds} s")]
    Late {
        /// Which daemon.
        who: &'static str,
        /// The question.
        path: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The question could not be made of its parts.
    #[error("make the question {path}")]
    Request {
        /// The question.
        path: String,
        /// What is wrong with it.
        source: hyper::http::Error,
    },
    /// The conversation broke off.
    #[error("talk to {who} about {path}")]
    Talk {
        /// Which daemon.
        who: &'static str,
        /// The question.
        path: String,
        /// What happened.
        source: hyper::Error,
    },
    /// The answer could not be read, or is larger than is read.
    #[error("read the answer of {who} to {path}")]
    Read {
        /// Which daemon.
        who: &'static str,
        /// The question.
        path: String,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Docker refused.
    #[error("{who} answers {path} with {status}")]
    Refused {
        /// Which daemon.
        who: &'static str,
        /// The question.
        path: String,
        /// The status of HTTP.
        status: u16,
    },
    /// The answer is not what was expected.
    #[error("understand the answer of {who} to {path}")]
    Decode {
        /// Which daemon.
        who: &'static str,
        /// The question.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// There is no such network.
    #[error("Docker has no network {name:?}")]
    NoNetwork {
        /// The name that was asked for.
        name: String,
    },
    /// A network that cannot be enforced in place.
    #[error("Docker's network {name:?} cannot be enforced in place: {why}")]
    Unfit {
        /// Its name.
        name: String,
        /// What is missing, as a clause.
        why: String,
    },
}
