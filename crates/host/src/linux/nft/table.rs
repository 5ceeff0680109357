//! Reads and replaces our table with the `nft` program.
//!
//! `nft` is run in the namespace by a thread that entered it; its JSON arrives on standard input, so
//! nothing of it is ever part of a command line. A run that does not end is ended by us.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

use crate::linux::netns::NetNs;
use crate::network::Refusal;

use super::edge::EdgeTable;
use super::generation::Generations;
use super::{FINGERPRINT, Ruleset, TableId, TableState, digest, fingerprint_rule};

/// The longest listing that is read, bytes.
const MAX_LISTING_BYTES: u64 = 64 << 20;

/// How long one run of `nft` may take. It needs milliseconds; a host with a very large ruleset of
/// others needs seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at the table of one namespace, again and again: lists it when any transaction was committed
/// in the namespace since it was listed last, which the kernel tells by a number. Without that number
/// it lists every time.
#[derive(Debug, Default)]
pub struct Watch {
    generations: Option<Generations>,
    last: Option<(u32, Option<TableState>)>,
}

impl Watch {
    /// The table of `ns`, always the same namespace; `None` when it is not there.
    ///
    /// # Errors
    ///
    /// As [`read`].
    pub fn read(&mut self, ns: &NetNs) -> Result<Option<TableState>, Refusal> {
        self.read_by(ns, read)
    }

    /// As [`Watch::read`], of another table, always the same one.
    ///
    /// # Errors
    ///
    /// As [`read`].
    pub fn read_table(&mut self, ns: &NetNs, id: TableId) -> Result<Option<TableState>, Refusal> {
        self.read_by(ns, |ns| read_table(ns, id))
    }

    fn read_by(
        &mut self,
        ns: &NetNs,
        list: impl FnOnce(&NetNs) -> Result<Option<TableState>, Refusal>,
    ) -> Result<Option<TableState>, Refusal> {
        // Asked before listing: what is committed in between is seen the next time.
        let generation = self.generation(ns);
        if let (Some(now), Some((then, state))) = (generation, &self.last)
            && now == *then
        {
            return Ok(state.clone());
        }
        self.last = None;
        let state = list(ns)?;
        self.last = generation.map(|generation| (generation, state.clone()));
        Ok(state)
    }

    /// Whether the table is known not to be there; costs one short question.
    pub fn is_gone(&mut self, ns: &NetNs) -> bool {
        self.ask(ns, Generations::has_table).is_some_and(|is_there| !is_there)
    }

    fn generation(&mut self, ns: &NetNs) -> Option<u32> {
        self.ask(ns, Generations::read)
    }

    fn ask<T>(
        &mut self,
        ns: &NetNs,
        question: impl FnOnce(&mut Generations) -> io::Result<T>,
    ) -> Option<T> {
        let ask = || -> io::Result<T> {
            let generations = match &mut self.generations {
                Some(generations) => generations,
                none => none.insert(Generations::open_in(ns)?),
            };
            question(generations)
        };
        let asked = ask();
        if let Err(error) = &asked {
            tracing::debug!(%error, "the generation of nftables is not known");
            self.generations = None;
        }
        asked.ok()
    }
}

/// Reads the table of `ns`; `None` when it is not there.
///
/// # Errors
///
/// [`Refusal`] when `nft` cannot be run, fails for another reason, or prints no JSON.
pub fn read(ns: &NetNs) -> Result<Option<TableState>, Refusal> {
    read_within(ns, PATIENCE)
}

/// As [`read`], of another table.
///
/// # Errors
///
/// As [`read`].
pub fn read_table(ns: &NetNs, id: TableId) -> Result<Option<TableState>, Refusal> {
    Ok(list(ns, id, PATIENCE)?.as_ref().map(state))
}

/// As [`read`], for whom waits for less time.
///
/// # Errors
///
/// As [`read`]; [`Refusal::Late`] when it takes longer than `patience`, or than the patience of all runs.
pub(crate) fn read_within(ns: &NetNs, patience: Duration) -> Result<Option<TableState>, Refusal> {
    Ok(list(ns, TableId::INET, patience)?.as_ref().map(state))
}

/// Puts `ruleset` in place of whatever the table holds, in one transaction, and marks it.
///
/// # Errors
///
/// [`Refusal`] when `nft` refuses; the table is then as it was.
pub fn replace(ns: &NetNs, ruleset: &Ruleset) -> Result<(), Refusal> {
    put(ns, ruleset)?;
    mark(ns, TableId::INET)
}

/// The first half of [`replace`]: from here on the table does what it is there for.
///
/// # Errors
///
/// As [`replace`].
pub fn put(ns: &NetNs, ruleset: &Ruleset) -> Result<(), Refusal> {
    submit(ns, &ruleset.transaction())
}

/// As [`replace`], of a table at an edge.
///
/// # Errors
///
/// As [`replace`].
pub fn replace_edge(ns: &NetNs, table: &EdgeTable) -> Result<(), Refusal> {
    submit(ns, &table.transaction())?;
    mark(ns, table.id())
}

/// The second half of [`replace`]: notes in the table how it is listed, so that a change is seen.
///
/// # Errors
///
/// As [`replace`].
pub fn mark(ns: &NetNs, id: TableId) -> Result<(), Refusal> {
    let listing = list(ns, id, PATIENCE)?;
    let listing = listing.ok_or(Refusal::Absent("table right after it was made"))?;
    let mark = fingerprint_rule(id, &format!("listed {}", fingerprint(&listing)));
    submit(ns, &json!({ "nftables": [{ "add": mark }] }))
}

/// Deletes the table; no error when it is not there.
///
/// # Errors
///
/// [`Refusal`] when `nft` refuses.
pub fn delete(ns: &NetNs, id: TableId) -> Result<(), Refusal> {
    let table = json!({ "table": { "family": id.family, "name": id.name } });
    submit(ns, &json!({ "nftables": [{ "add": table.clone() }, { "delete": table }] }))
}

fn submit(ns: &NetNs, transaction: &Value) -> Result<(), Refusal> {
    let answer = nft(ns, &["-j", "-f", "-"], transaction.to_string().as_bytes())?;
    if answer.status.success() {
        return Ok(());
    }
    Err(Refusal::Nft(answer.complaint()))
}

fn list(ns: &NetNs, id: TableId, patience: Duration) -> Result<Option<Value>, Refusal> {
    let mut command = Command::new("nft");
    command.args(["-j", "list", "table", id.family, id.name]);
    let answer = run(ns, &mut command, b"", patience.min(PATIENCE))?;
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

/// Runs a program in `ns` that only reads, and returns what it printed, cut off after `limit` bytes; `None` when it did
/// not end in time.
///
/// # Errors
///
/// [`Refusal`] when it cannot be run or fails.
pub(crate) fn ask(
    ns: &NetNs,
    command: &mut Command,
    patience: Duration,
    limit: u64,
) -> Result<Option<Vec<u8>>, Refusal> {
    match run_up_to(ns, command, b"", patience, limit) {
        Ok(answer) if answer.status.success() || at_least(&answer.stdout, limit) => {
            Ok(Some(answer.stdout))
        }
        Ok(answer) => Err(Refusal::Nft(answer.complaint())),
        Err(Refusal::Late(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn at_least(bytes: &[u8], limit: u64) -> bool {
    u64::try_from(bytes.len()).is_ok_and(|length| length >= limit)
}

fn nft(ns: &NetNs, arguments: &[&str], input: &[u8]) -> Result<Answer, Refusal> {
    let mut command = Command::new("nft");
    run(ns, command.args(arguments), input, PATIENCE)
}

fn run(
    ns: &NetNs,
    command: &mut Command,
    input: &[u8],
    patience: Duration,
) -> Result<Answer, Refusal> {
    run_up_to(ns, command, input, patience, MAX_LISTING_BYTES)
}

fn run_up_to(
    ns: &NetNs,
    command: &mut Command,
    input: &[u8],
    patience: Duration,
    limit: u64,
) -> Result<Answer, Refusal> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ns.spawn(command).map_err(|error| Refusal::from(error.into_io()))?;
    let answer = std::thread::scope(|scope| -> io::Result<Option<Answer>> {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let output = scope.spawn(move || read_limited(stdout, limit));
        let errors = scope.spawn(move || read_limited(stderr, limit));
        let feeder = scope.spawn(move || stdin.map_or(Ok(()), |mut pipe| pipe.write_all(input)));
        let ended = wait(&child, patience);
        if !matches!(ended, Ok(true)) {
            // Its end closes the pipes, so that the threads end too.
            child.kill()?;
        }
        // A broken pipe means that `nft` gave up early; its own words are better than that.
        drop(feeder.join());
        let stdout = output.join().unwrap_or_else(|_| Ok(Vec::new()))?;
        let stderr = errors.join().unwrap_or_else(|_| Ok(Vec::new()))?;
        let status = child.wait()?;
        Ok(ended?.then_some(Answer { status, stdout, stderr }))
    });
    answer?.ok_or(Refusal::Late(patience))
}

/// Waits for the end of `child`, not longer than `patience`; `false` when it goes on. The child is not
/// reaped.
fn wait(child: &Child, patience: Duration) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.try_into().map_err(io::Error::other)?;
        let mut watched = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn read_limited(pipe: Option<impl Read>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(limit).read_to_end(&mut bytes)?;
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
mod tests;
