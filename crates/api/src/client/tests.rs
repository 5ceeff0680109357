//! Tests of the client against a socket that plays canned HTTP.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use super::*;

/// Answers one connection with `answer`; the thread gives back what it read.
fn serve(folder: &Path, answer: &'static str) -> (Client, JoinHandle<String>) {
    let socket = folder.join("agent.sock");
    let listener = UnixListener::bind(&socket).expect("bind");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).expect("read");
        stream.write_all(answer.as_bytes()).expect("write");
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    });
    (Client::new(&socket).expect("client"), thread)
}

#[test]
fn a_missing_socket_says_how_to_start_an_agent() {
    let client = Client::new(Path::new("/nonexistent/agent.sock")).expect("client");
    let error = client.status().expect_err("nobody listens");
    assert!(error.is_no_agent());
    let error = error.to_error();
    insta::assert_snapshot!(
        format!("{}: {}\nhint: {}", error.code, error.message, error.hint.unwrap_or_default()),
        @r"
    BH0201: no agent listens on /nonexistent/agent.sock
    hint: start one: bulkhead agent, or bulkhead up FILE
    "
    );
}

#[test]
fn a_refusal_comes_in_the_agents_words() {
    let folder = tempfile::tempdir().expect("folder");
    let answer = "HTTP/1.1 409 Conflict\r\ncontent-length: 61\r\n\r\n\
        {\"code\":\"BH0216\",\"message\":\"nothing was applied\",\"hint\":\"up\"}";
    let (client, thread) = serve(folder.path(), answer);
    let error = client.matrix().expect_err("refused").to_error();
    assert_eq!((error.code.as_str(), error.hint.as_deref()), ("BH0216", Some("up")));
    let sent = thread.join().expect("server");
    assert!(sent.starts_with("GET /v1/matrix HTTP/1.1\r\n"), "{sent}");
}

#[test]
fn streams_are_cut_into_lines_wherever_the_chunks_end() {
    let folder = tempfile::tempdir().expect("folder");
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        9\r\n{\"text\":\"\r\n10\r\na\"}\n{\"text\":\"b\"}\r\n1\r\n\n\r\n0\r\n\r\n";
    let (client, thread) = serve(folder.path(), answer);
    let query = LogQuery { follow: Some(true), lines: None };
    let lines = client.logs("shop/web", &query).expect("stream");
    let texts: Vec<_> = lines.map(|line| line.expect("line").text).collect();
    assert_eq!(texts, ["a", "b"]);
    let sent = thread.join().expect("server");
    assert!(sent.starts_with("GET /v1/logs/shop%2Fweb?follow=true HTTP/1.1"), "{sent}");
}

#[test]
fn queries_leave_out_what_was_not_asked_for() {
    let query = FlowQuery { from: Some("app=web".into()), limit: Some(5), ..FlowQuery::default() };
    assert_eq!(with_query("/v1/flows", &query).expect("query"), "/v1/flows?from=app%3Dweb&limit=5");
}
