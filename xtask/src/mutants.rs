//! Is the differential proof able to fail? Plants bugs in copies of the evaluator and demands that each is caught.
//!
//! The product carries no code for this: the copies are made below the target folder by textual replacement, and each
//! replacement must match exactly once, so that a changed evaluator cannot make it a check of nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::Workspace;

/// A planted bug: what it is, the file of `crates/verdict/src`, the text and what takes its place.
struct Mutant {
    what: &'static str,
    file: &'static str,
    text: &'static str,
    wrong: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "the target's egress policy is asked instead of its ingress policy",
        file: "judge.rs",
        text: "Side::of(endpoint, INGRESS, odd, pick(&source.class, odd))",
        wrong: "Side::of(endpoint, EGRESS, odd, pick(&source.class, odd))",
    },
    Mutant {
        what: "a new policy version is never looked at",
        file: "judge.rs",
        text: "if odd { versions[1] } else { versions[0] }",
        wrong: "{ let _ = odd; versions[0] }",
    },
    Mutant {
        what: "posture audit passes unrecorded",
        file: "judge.rs",
        text: "1 => Verdict::Audit,",
        wrong: "1 => Verdict::Allow,",
    },
    Mutant {
        what: "source ports are not looked at",
        file: "judge.rs",
        text: "Some(narrower) if narrower.decision.verdict != Verdict::Silent as u8 =>",
        wrong: "Some(narrower) if narrower.decision.verdict > 99 =>",
    },
    Mutant {
        what: "blocks of more than one port are not found",
        file: "judge.rs",
        text: "key.port = port & mask;",
        wrong: "key.port = port;",
    },
    Mutant {
        what: "established flows outlive the policy that allowed them",
        file: "flow.rs",
        text: "if entry.epoch != low(work.hook.epoch) && !renew(env, packet, work, &mut entry) {",
        wrong: "if false && !renew(env, packet, work, &mut entry) {",
    },
    Mutant {
        what: "a SYN-ACK opens a flow",
        file: "tcp.rs",
        text: "header.flags & (SYN | ACK | RST | FIN) == SYN",
        wrong: "header.flags & SYN == SYN",
    },
    Mutant {
        what: "what was never sent may be acknowledged",
        file: "tcp.rs",
        text: "&& !after(acked, receiver.end)",
        wrong: "",
    },
    Mutant {
        what: "an endpoint may use any source address",
        file: "guard.rs",
        text: "if nobody || header.source != endpoint.v4 && header.source != endpoint.v6 {",
        wrong: "if false {",
    },
    Mutant {
        what: "an ICMP echo reply does not find its request",
        file: "packet.rs",
        text: "(protocol::ICMP, 0) => Ports { source: 8 << 8, target: id },",
        wrong: "(protocol::ICMP, 0) => Ports { source: 0, target: id },",
    },
    Mutant {
        what: "an endpoint sends errors about the flows of others",
        file: "related.rs",
        text: "if work.hook.sent && !by_target {",
        wrong: "if false {",
    },
    Mutant {
        what: "the address of an endpoint may come from elsewhere",
        file: "flow.rs",
        text: "if !work.hook.sent && work.judgement.source != 0 {",
        wrong: "if false {",
    },
    Mutant {
        what: "a flow between ports in place is joined from elsewhere",
        file: "flow.rs",
        text: "if passed && !work.hook.hosted && !work.hook.unmanaged && packet.entered() != from {",
        wrong: "if false {",
    },
    Mutant {
        what: "who did not come by its port sends errors about a flow in place",
        file: "related.rs",
        text: "if from_port && packet.entered() != far {",
        wrong: "if false {",
    },
    Mutant {
        what: "the responder opens a connection of its own",
        file: "tcp.rs",
        text: "if work.header.flags & FIN != 0 || !acknowledges && !forward {",
        wrong: "if work.header.flags & FIN != 0 {",
    },
    Mutant {
        what: "anybody may abort an association",
        file: "sctp.rs",
        text: "if !is_tagged(header, entry, forward) {",
        wrong: "if false {",
    },
    Mutant {
        what: "SCTP data passes before the association is answered",
        file: "sctp.rs",
        text: "(_, FlowState::Opening) => return Err(Reason::StraySctp),",
        wrong: "(_, FlowState::Opening) => state,",
    },
    Mutant {
        what: "everything at an uplink is the host's",
        file: "uplink.rs",
        text: "let is_own = everybody || own.is_link_local() || is_host(env, work, own);",
        wrong: "let is_own = true || is_host(env, work, own);",
    },
    Mutant {
        what: "a rule may turn path MTU discovery off",
        file: "uplink.rs",
        text: "header.icmp == FRAGMENTATION_NEEDED || sent",
        wrong: "sent",
    },
    Mutant {
        what: "neighbour discovery passes from beyond the link",
        file: "uplink.rs",
        text: "|| header.hops == 255 && matches!(kind, 133..=137)",
        wrong: "|| matches!(kind, 133..=137)",
    },
    Mutant {
        what: "what others send with the host's address is asked of its policy",
        file: "flow.rs",
        text: "if work.hook.uplink && work.hook.sent && !packet.has_socket() {",
        wrong: "if false {",
    },
    Mutant {
        what: "of a connection without a beginning the client is taken for the service",
        file: "flow.rs",
        text: "ports.source < ports.target;",
        wrong: "ports.source > ports.target;",
    },
    Mutant {
        what: "errors about what others send are asked of the host's policy",
        file: "related.rs",
        text: "|| entry.flags & FlowEntry::FORWARDED != 0;",
        wrong: ";",
    },
    Mutant {
        what: "processes of the host are not told apart",
        file: "account.rs",
        text: "if work.hook.accounts { told(",
        wrong: "if false { told(",
    },
    Mutant {
        what: "who takes a port goes on with the flow of another process",
        file: "flow.rs",
        text: "&& account::is_another(env, packet, work, &entry);",
        wrong: "&& false;",
    },
    Mutant {
        what: "a flow of an account that no rule names any more is nobody's",
        file: "account.rs",
        text: "if is_told(account) {",
        wrong: "if true {",
    },
    Mutant {
        what: "what an account sends to the host is handed to it past the uplink",
        file: "flow.rs",
        text: "let here = !hook.in_place && !hook.uplink;",
        wrong: "let here = !hook.in_place;",
    },
    Mutant {
        what: "a workload on the host's stack is the host to the other one",
        file: "hosted.rs",
        text: "if is_peer { other } else { 0 }",
        wrong: "if is_peer { 0 } else { other }",
    },
    Mutant {
        what: "the last words of a closed socket are taken for the other end's",
        file: "hosted.rs",
        text: "half(env.pair(key), !high_near)",
        wrong: "half(env.pair(key), high_near)",
    },
    Mutant {
        what: "a workload on the host's stack connects to anybody",
        file: "hosted.rs",
        text: "let answers = call.bound != 0 && call.protocol != protocol::TCP;",
        wrong: "let answers = true;",
    },
    Mutant {
        what: "a workload on the host's stack binds every port",
        file: "hosted.rs",
        text: "if judge::may_bind(env, slot, &work.question) {",
        wrong: "if true {",
    },
    Mutant {
        what: "what a workload says to itself is judged",
        file: "hosted.rs",
        text: "if other == own {",
        wrong: "if false {",
    },
    Mutant {
        what: "the port of a connection that one side has closed is not taken again",
        file: "flow.rs",
        text: "adopted || work.hook.hosted && tcp::begins_again(&work.header, &entry);",
        wrong: "adopted;",
    },
    Mutant {
        what: "an association without a beginning must carry tags that nobody knows",
        file: "sctp.rs",
        text: "if originator.flags & Window::LIBERAL != 0 {",
        wrong: "if false {",
    },
];

/// The copy without a bug: it must agree, or the comparison itself is wrong.
const CONTROL: &str = "verdict_control";

/// Makes the mutants, builds them into one program and runs it.
///
/// # Errors
/// When a replacement does not match, the build fails, or a mutant survives.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.root.join("target"), |path| workspace.root.join(path));
    let folder = target.join("mutants");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    plant(&workspace.root, &folder.join(CONTROL), CONTROL, None)
        .context("copying the evaluator")?;
    let mut names = Vec::new();
    for (number, mutant) in MUTANTS.iter().enumerate() {
        let name = format!("verdict_m{number}");
        plant(&workspace.root, &folder.join(&name), &name, Some(mutant))
            .with_context(|| format!("planting `{}`", mutant.what))?;
        names.push(name);
    }
    runner(workspace, &folder, &names)?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--package", "runner", "--manifest-path"]);
    cargo.arg(folder.join("Cargo.toml")).env("CARGO_TARGET_DIR", &target);
    let status = cargo.status().context("running cargo")?;
    ensure!(status.success(), "the differential proof does not catch every planted bug");
    Ok(())
}

/// Copies the evaluator and makes one replacement in it, if any.
fn plant(root: &Path, to: &Path, name: &str, mutant: Option<&Mutant>) -> Result<()> {
    let from = root.join("crates/verdict/src");
    fs::create_dir_all(to.join("src"))?;
    let mut planted = mutant.is_none();
    for entry in fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let mut text = fs::read_to_string(entry.path())?;
        if let Some(mutant) = mutant.filter(|mutant| entry.file_name() == mutant.file) {
            let found = text.matches(mutant.text).count();
            if found != 1 {
                bail!("`{}` stands {found} times in {}", mutant.text, mutant.file);
            }
            text = text.replacen(mutant.text, mutant.wrong, 1);
            planted = true;
        }
        fs::write(to.join("src").join(entry.file_name()), text)?;
    }
    ensure!(planted, "there is no {}", mutant.map_or("", |mutant| mutant.file));
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [features]\ndefault = [\"native\"]\nnative = []\n[lints.rust]\nunused = \"allow\"\n"
    );
    fs::write(to.join("Cargo.toml"), manifest)?;
    Ok(())
}

/// Writes the package that runs all mutants, and the workspace around everything.
fn runner(workspace: &Workspace, folder: &Path, names: &[String]) -> Result<()> {
    let root = &workspace.root;
    let source = folder.join("runner/src");
    fs::create_dir_all(&source)?;
    fs::copy(root.join("tests/differential/mutants/main.rs"), source.join("main.rs"))?;
    let mut list = format!("mutant!({CONTROL});\nconst CONTROL: Run = {CONTROL}::run;\n");
    let mut dependencies = format!("{CONTROL} = {{ path = \"../{CONTROL}\" }}\n");
    let mut calls = String::new();
    for (name, mutant) in names.iter().zip(MUTANTS) {
        writeln!(list, "mutant!({name});")?;
        writeln!(dependencies, "{name} = {{ path = \"../{name}\" }}")?;
        writeln!(calls, "    all.push(({:?}, {name}::run));", mutant.what)?;
    }
    writeln!(
        list,
        "type Run = fn(&Case) -> Result<usize, differential::run::Mismatch>;\n\
         fn mutants() -> Vec<(&'static str, Run)> {{\n    let mut all: Vec<(&'static str, Run)> = Vec::new();\n{calls}    all\n}}"
    )?;
    fs::write(source.join("list.rs"), list)?;
    let place = |path: &str| root.join(path).display().to_string();
    let (differential, verdict) = (place("tests/differential"), place("crates/verdict"));
    fs::write(
        folder.join("runner/Cargo.toml"),
        format!(
            "[package]\nname = \"runner\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n\
             differential = {{ path = {differential:?} }}\nverdict = {{ path = {verdict:?} }}\n{dependencies}"
        ),
    )?;
    // The same profiles as in the workspace, so that what is built already is used again.
    let manifest = String::from_utf8(workspace.read("Cargo.toml")?)?;
    let profiles = manifest.find("[profile.").map_or("", |at| &manifest[at..]);
    let members = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    fs::write(
        folder.join("Cargo.toml"),
        format!(
            "[workspace]\nresolver = \"3\"\nmembers = [\"runner\", \"{CONTROL}\", {members}]\n{profiles}"
        ),
    )?;
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    Ok(())
}
