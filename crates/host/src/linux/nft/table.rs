//! Reads and replaces our table with the `nft` program.
//!
//! `nft` is run in the namespace by a thread that entered it; its JSON arrives on standard input, so
//! nothing of it is ever part of a command line.

use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::{Value, json};

use crate::linux::netns::NetNs;
use crate::network::Refusal;

use super::{FAMILY, FINGERPRINT, Ruleset, TABLE, TableState, digest, fingerprint_rule};

/// The longest listing that is read, bytes.
const MAX_LISTING_BYTES: u64 = 64 << 20;

/// Reads the table of `ns`; `None` when it is not there.
///
/// # Errors
///
/// [`Refusal`] when `nft` cannot be run, fails for another reason, or prints no JSON.
pub fn read(ns: &NetNs) -> Result<Option<TableState>, Refusal> {
    Ok(list(ns)?.as_ref().map(state))
}

/// Puts `ruleset` in place of whatever the table holds, in one transaction, and marks it.
///
/// # Errors
///
/// [`Refusal`] when `nft` refuses; the table is then as it was.
pub fn replace(ns: &NetNs, ruleset: &Ruleset) -> Result<(), Refusal> {
    submit(ns, &ruleset.transaction())?;
    let listing = list(ns)?.ok_or(Refusal::Absent("table right after it was made"))?;
    let mark = fingerprint_rule(&format!("listed {}", fingerprint(&listing)));
    submit(ns, &json!({ "nftables": [{ "add": mark }] }))
}

/// Deletes the table; no error when it is not there.
///
/// # Errors
///
/// [`Refusal`] when `nft` refuses.
pub fn delete(ns: &NetNs) -> Result<(), Refusal> {
    let table = json!({ "table": { "family": FAMILY, "name": TABLE } });
    submit(ns, &json!({ "nftables": [{ "add": table.clone() }, { "delete": table }] }))
}

fn submit(ns: &NetNs, transaction: &Value) -> Result<(), Refusal> {
    let answer = run(ns, &["-j", "-f", "-"], transaction.to_string().as_bytes())?;
    if answer.status.success() {
        return Ok(());
    }
    Err(Refusal::Nft(answer.complaint()))
}

fn list(ns: &NetNs) -> Result<Option<Value>, Refusal> {
    let answer = run(ns, &["-j", "list", "table", FAMILY, TABLE], b"")?;
    if answer.status.success() {
        let listing = serde_json::from_slice(&answer.stdout);
        return listing.map(Some).map_err(|error| Refusal::Answer(error.to_string()));
    }
    let complaint = answer.complaint();
    if complaint.contains("No such file or directory") {
        return Ok(None);
    }
    Err(Refusal::Nft(complaint))
}

struct Answer {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Answer {
    /// What `nft` printed as an error, on one line, at most 400 characters.
    fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(400).collect()
    }
}

fn run(ns: &NetNs, arguments: &[&str], input: &[u8]) -> Result<Answer, Refusal> {
    let mut command = Command::new("nft");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ns.spawn(&mut command).map_err(|error| Refusal::from(error.into_io()))?;
    let answer = std::thread::scope(|scope| -> io::Result<Answer> {
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let errors = scope.spawn(move || read_limited(stderr));
        let feeder = scope.spawn(move || stdin.map_or(Ok(()), |mut pipe| pipe.write_all(input)));
        let stdout = read_limited(child.stdout.take())?;
        // A broken pipe means that `nft` gave up early; its own words are better than that.
        drop(feeder.join());
        let stderr = errors.join().unwrap_or_else(|_| Ok(Vec::new()))?;
        Ok(Answer { status: child.wait()?, stdout, stderr })
    });
    Ok(answer?)
}

fn read_limited(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_LISTING_BYTES).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn objects(listing: &Value) -> impl Iterator<Item = &Value> {
    listing["nftables"].as_array().into_iter().flatten()
}

fn state(listing: &Value) -> TableState {
    let marks: Vec<&str> = objects(listing)
        .filter(|object| object["rule"]["chain"] == FINGERPRINT)
        .filter_map(|object| object["rule"]["comment"].as_str())
        .collect();
    let find = |word: &str| marks.iter().find_map(|mark| mark.strip_prefix(word));
    TableState {
        wanted: find("wanted ").map(str::to_owned),
        is_intact: find("listed ") == Some(fingerprint(listing).as_str()),
    }
}

/// The hash of a listing without what changes by itself: handles, counters, and our own marks.
fn fingerprint(listing: &Value) -> String {
    let kept = objects(listing).filter(|object| {
        object.get("metainfo").is_none()
            && object["rule"]["chain"] != FINGERPRINT
            && object["chain"]["name"] != FINGERPRINT
    });
    digest(&Value::Array(kept.map(without_volatile).collect()))
}

fn without_volatile(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| *key != "handle" && *key != "counter");
            Value::Object(kept.map(|(k, v)| (k.clone(), without_volatile(v))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_volatile).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_was_edited_is_not_intact() {
        let rule = |handle: u32, verdict: &str| json!({ "rule": { "chain": "forward", "handle": handle, "expr": [{ verdict: null }] } });
        let listing = |rules: Vec<Value>| json!({ "nftables": rules });
        let hash = fingerprint(&listing(vec![rule(1, "drop")]));
        let mark = fingerprint_rule(&format!("listed {hash}"));
        let wanted = fingerprint_rule("wanted 0123456789abcdef");

        let same = state(&listing(vec![wanted.clone(), mark.clone(), rule(9, "drop")]));
        assert!(same.is_intact);
        assert_eq!(same.wanted.as_deref(), Some("0123456789abcdef"));
        let edited = state(&listing(vec![wanted, mark, rule(9, "accept")]));
        assert!(!edited.is_intact);
    }
}
