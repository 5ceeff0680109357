//! `policy prove [FILE]`: the assertions of a file, proven over all addresses, protocols and ports, without an agent.

use std::path::PathBuf;

use api::{AssertionResult, Example, Proof, Verdict};

use super::{Context, check, count, offline, person, place};
use crate::failure::{Exit, Failure};
use crate::screen::Paint;

pub(crate) fn run(context: &Context, files: &[PathBuf]) -> Result<Exit, Failure> {
    let offline::Offline { checked, bundle, facts } = offline::read(context, files)?;
    let proof = agent::prove(&checked, &bundle, &facts);
    if !context.screen.json {
        check::tell(context.screen, &checked.warnings);
    }
    context.screen.show(&proof, render)?;
    Ok(if proof.holds { Exit::Done } else { Exit::Failed })
}

/// The proof as people read it.
pub(crate) fn render(proof: &Proof, paint: Paint) -> String {
    if proof.assertions.is_empty() {
        return format!(
            "{} asserts nothing; a line under `assert:` says what must hold, for example \
             `never: world -> segment=data`\n",
            proof.file
        );
    }
    let mut text = String::new();
    for assertion in &proof.assertions {
        text += &self::assertion(assertion, paint);
    }
    let broken = proof.assertions.iter().filter(|assertion| !assertion.holds).count();
    let all = count(proof.assertions.len() as u64, "assertion");
    text += &match broken {
        0 => format!("{all} of {}: {}\n", proof.file, paint.good("every one holds")),
        _ => format!("{all} of {}: {}\n", proof.file, paint.bad(&format!("{broken} broken"))),
    };
    text
}

/// One assertion, and the packet that breaks it.
pub(crate) fn assertion(assertion: &AssertionResult, paint: Paint) -> String {
    let word = if assertion.holds { paint.good("holds ") } else { paint.bad("broken") };
    let AssertionResult { text, file, line, .. } = assertion;
    let mut lines = format!("{word}  {text:<48}  {file}:{line}\n");
    if let Some(from) = &assertion.from {
        lines += &format!(
            "    it holds now, and not from {from} on, when other policies are in force\n"
        );
    }
    if assertion.unproven > 0 {
        let times = count(assertion.unproven, "time");
        lines +=
            &format!("    not proven for {times} ahead at which other policies are in force\n");
    }
    match (&assertion.example, &assertion.counterexample) {
        (Some(example), _) => lines += &packet(example, paint),
        (None, Some(sentence)) => lines += &format!("    for example {sentence}\n"),
        (None, None) => {}
    }
    lines
}

fn packet(example: &Example, paint: Paint) -> String {
    let Example { from, to, source, target, service, .. } = example;
    let passes = if example.passes { "passes" } else { "does not pass" };
    let mut text = format!("    {from} → {to} {service} {passes}:  {source} → {target}\n");
    if let (Some(publish), Some(at)) = (&example.published, &example.published_at) {
        text += &format!("      through the published port {publish}, as {source} → {at}\n");
    }
    for end in &example.ends {
        // Names of users and services have dots, too.
        let is_account = end.workload.starts_with("host ");
        let who = if is_account { end.workload.clone() } else { person(&end.workload) };
        let word = end.verdict.as_str();
        let rule = match (&end.rule, end.verdict) {
            _ if end.left_alone => "the file has no `host:`: the host is left alone".to_owned(),
            (Some(rule), _) => place(rule),
            (None, Verdict::Drop) => "no rule allows it".to_owned(),
            (None, _) => format!("no rule: posture {word}"),
        };
        let side = format!("{} of {who}", end.direction);
        text += &format!("      {side:<24} {}  {rule}\n", paint.verdict(word, 5));
    }
    match &example.reason {
        Some(reason) => text += &format!("      {}  {}\n", reason.text, paint.dim(&reason.code)),
        None if !example.passes => {
            text += "      there is no way: they share no network, or no version of IP, and no published port leads there\n";
        }
        None => {}
    }
    text
}
