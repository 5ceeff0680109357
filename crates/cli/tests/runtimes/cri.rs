//! A client of the Container Runtime Interface, just large enough to run a pod's sandbox: `runtime.v1.RuntimeService` over
//! gRPC (HTTP/2 on a unix socket), with the few fields that are needed written as protocol buffers by hand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use h2::client::handshake;
use hyper::Request;
use hyper::body::Bytes;

/// How long a call may take.
const CALL: Duration = Duration::from_mins(1);

/// Who a pod is.
pub(crate) struct Pod<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) annotations: &'a [(&'a str, &'a str)],
    pub(crate) cgroup: &'a str,
    pub(crate) logs: &'a str,
}

/// The service of one containerd.
pub(crate) struct Cri {
    socket: PathBuf,
}

/// A number below 256.
fn low(number: usize) -> u8 {
    u8::try_from(number).expect("seven bits")
}

/// Bytes of a field with a length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(low(length & 0x7f) | 0x80);
        length >>= 7;
    }
    out.push(low(length));
    out.extend(bytes);
    out
}

fn text(number: u8, value: &str) -> Vec<u8> {
    field(number, value.as_bytes())
}

/// The first field of an answer that is a text.
fn first_text(bytes: &[u8]) -> Option<String> {
    let length = usize::from(*bytes.get(1)?);
    String::from_utf8(bytes.get(2..2 + length)?.to_vec()).ok()
}

impl Cri {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// `RunPodSandbox`; the sandbox's id.
    pub(crate) fn run(&self, pod: &Pod<'_>) -> Result<String> {
        let metadata = [text(1, pod.name), text(2, pod.uid), text(3, pod.namespace)].concat();
        let linux = text(1, pod.cgroup);
        let mut config = [field(1, &metadata), text(2, pod.name), text(3, pod.logs)].concat();
        for (key, value) in pod.annotations {
            config.extend(field(7, &[text(1, key), text(2, value)].concat()));
        }
        config.extend(field(8, &linux));
        let answer = self.call("RunPodSandbox", &field(1, &config))?;
        first_text(&answer).context("there is no id")
    }

    /// `StopPodSandbox` and `RemovePodSandbox`.
    pub(crate) fn end(&self, id: &str) -> Result<()> {
        self.call("StopPodSandbox", &text(1, id))?;
        self.call("RemovePodSandbox", &text(1, id)).map(drop)
    }

    fn call(&self, method: &str, message: &[u8]) -> Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::time::timeout(CALL, self.conversation(method, message))
                .await
                .with_context(|| format!("{method} takes too long"))?
        })
    }

    async fn conversation(&self, method: &str, message: &[u8]) -> Result<Vec<u8>> {
        let stream = tokio::net::UnixStream::connect(&self.socket).await.context("connect")?;
        let (client, connection) = handshake(stream).await.context("shake hands")?;
        tokio::spawn(connection);
        let mut client = client.ready().await?;
        let request = Request::post(format!("http://localhost/runtime.v1.RuntimeService/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (response, mut body) = client.send_request(request, false)?;
        let length = u32::try_from(message.len())?.to_be_bytes();
        body.send_data(Bytes::from([&[0][..], &length, message].concat()), true)?;
        let response = response.await?;
        let head = response.headers().clone();
        let mut stream = response.into_body();
        let mut bytes = Vec::new();
        while let Some(part) = stream.data().await {
            let part = part?;
            stream.flow_control().release_capacity(part.len())?;
            bytes.extend(&part);
        }
        let end = stream.trailers().await?.unwrap_or(head);
        let said =
            |name: &str| end.get(name).and_then(|it| it.to_str().ok()).unwrap_or("").to_owned();
        if said("grpc-status") != "0" {
            bail!("{method}: {} {}", said("grpc-status"), said("grpc-message"));
        }
        Ok(bytes.get(5..).unwrap_or_default().to_vec())
    }
}
