//! What podman 4.3 answered, and sockets that lie.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

/// As podman 4.3 tells that a container was made; `THIS` stands for its id.
const MADE: &str = r#"{"status":"create","id":"THIS","from":"localhost/busybox:test","Type":"container","Action":"create","Actor":{"ID":"THIS","Attributes":{"app":"web","from-image":"yes","containerExitCode":"0","image":"localhost/busybox:test","name":"web-0","podId":"","tier":"front"}},"scope":"local","time":1795400816,"timeNano":1795400816366598730}
"#;
/// As it tells of an image that was looked for, at `TIME`.
const PULLED: &str = r#"{"status":"pull","Type":"image","Action":"pull","Actor":{"ID":"","Attributes":{"containerExitCode":"0","image":"","name":"localhost/busybox:test","podId":""}},"scope":"local","time":1795400816,"timeNano":TIME}
"#;
const BEFORE: &str = "1795400816268674005";
const AFTER: &str = "1795400816466598730";

fn id() -> String {
    "fc41b90c".repeat(8)
}

/// A service that answers by path, as the user of this process; dropped, it is gone.
fn service(
    answer: impl Fn(&str) -> Option<String> + Send + 'static,
) -> (tempfile::TempDir, Podman) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket: PathBuf = folder.path().join("podman.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut question = [0; 4096];
            let length = stream.read(&mut question).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&question[..length]).into_owned();
            let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
            match answer(&path) {
                Some(body) => {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    let _gone = stream.write_all((head + &body).as_bytes()).await;
                }
                None => kept.push(stream),
            }
        }
    });
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder.path()).expect("it"));
    let podman = Podman::new(&socket).served_by(own, Duration::from_millis(500));
    (folder, podman)
}

/// A service that has made one container, after which there were these events about images.
fn with(made: &str, images: &str) -> (tempfile::TempDir, Podman) {
    let (made, images) = (made.replace("THIS", &id()), images.to_owned());
    service(move |path| {
        Some(if path.contains("container") {
            made.clone()
        } else if path.starts_with("/events") {
            images.clone()
        } else {
            format!(
                r#"{{"Id":"sha256:{}","Config":{{"Labels":{{"from-image":"yes"}}}}}}"#,
                "0a".repeat(32)
            )
        })
    })
}

#[tokio::test]
async fn a_container_that_starts_is_known_by_its_event() {
    let (_folder, podman) = with(MADE, &PULLED.replace("TIME", BEFORE));
    let found = podman.starting(&id()).await.expect("an answer").expect("it is known");
    assert_eq!((found.name.as_str(), found.image.as_str()), ("web-0", "localhost/busybox:test"));
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    assert_eq!(found.labels, [("app", "web"), ("tier", "front")].map(pair));
    assert_eq!(found.image_labels, [("from-image", "yes")].map(pair));
    assert!(found.image_id.ends_with(&"0a".repeat(32)));
}

#[tokio::test]
async fn an_image_that_was_pulled_since_says_nothing_about_a_container_of_the_older_one() {
    // Attack: the older image labelled its containers, the newer one of that name does not.
    let (_folder, podman) = with(MADE, &PULLED.replace("TIME", AFTER));
    let found = podman.starting(&id()).await.expect("an answer").expect("it is known");
    assert_eq!((found.labels.len(), found.image_labels.len()), (0, 3));
}

#[tokio::test]
async fn a_container_that_is_called_as_anothers_id_is_not_that_one() {
    let other = MADE.replace("THIS", &"ab".repeat(32));
    let (_folder, podman) = service(move |_| Some(other.clone()));
    assert_eq!(podman.starting(&id()).await.expect("an answer"), None);
    let (_folder, podman) = service(|_| Some(String::new()));
    assert_eq!(podman.starting(&id()).await.expect("an answer"), None);
    assert_eq!(podman.starting("web-0").await.expect("no question"), None);
}

#[tokio::test]
async fn what_lies_or_hangs_is_an_error_in_time() {
    let (_folder, podman) = service(|_| None);
    assert!(matches!(podman.starting(&id()).await, Err(Error::Late { who: "podman", .. })));
    assert!(matches!(podman.containers().await, Err(Error::Late { .. })));
    let (_folder, podman) = service(|_| Some("{\"Actor\":5}".to_owned()));
    assert!(matches!(podman.starting(&id()).await, Err(Error::Decode { .. })));
    let endless = format!("{}\n", "x".repeat(MAX_EVENTS + 1));
    let (_folder, podman) = service(move |_| Some(endless.clone()));
    assert!(podman.starting(&id()).await.is_err());
    let (folder, _) = service(|_| None);
    let gone = Podman::new(&folder.path().join("none"));
    assert!(matches!(gone.starting(&id()).await, Err(Error::Connect { .. })));
}

#[tokio::test]
async fn who_is_not_root_is_not_believed() {
    let (folder, podman) = with(MADE, "");
    let own = podman.client.served_by;
    let liar = Podman::new(&folder.path().join("podman.sock"))
        .served_by(own.map_or(1, |uid| uid + 1), Duration::from_millis(500));
    assert!(matches!(liar.starting(&id()).await, Err(Error::Peer { .. })));
    assert!(matches!(liar.containers().await, Err(Error::Peer { .. })));
    assert_eq!(Podman::new(folder.path()).client.served_by, Some(ROOT));
}
