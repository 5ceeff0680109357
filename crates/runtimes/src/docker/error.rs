//! Why Docker gave no answer that can be used.

use std::path::PathBuf;

/// Why Docker gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens, or the socket may not be opened.
    #[error("reach dockerd on {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The answer did not come in time.
    #[error("dockerd did not answer {path} within {seconds} s")]
    Late {
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
    #[error("talk to dockerd about {path}")]
    Talk {
        /// The question.
        path: String,
        /// What happened.
        source: hyper::Error,
    },
    /// The answer could not be read, or is larger than is read.
    #[error("read dockerd's answer to {path}")]
    Read {
        /// The question.
        path: String,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Docker refused.
    #[error("dockerd answers {path} with {status}")]
    Refused {
        /// The question.
        path: String,
        /// The status of HTTP.
        status: u16,
    },
    /// The answer is not what was expected.
    #[error("understand dockerd's answer to {path}")]
    Decode {
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
