//! `bulkhead doctor`: what this host can promise, with or without a running agent; with `--probe-uplink`, what a LAN passes.

use api::{ClientError, Doctor, Level};

use super::Context;
use crate::args;
use crate::failure::{Exit, Failure};
use crate::screen::Paint;

pub(crate) fn run(context: &Context, asked: &args::Doctor) -> Result<Exit, Failure> {
    let probed = asked.probe_uplink.as_deref();
    let probed = probed.map(|name| agent::probe_uplink(&context.state_dir, name, asked.ask));
    let probed = probed.transpose().map_err(|error| Failure::Error(Box::new(error)))?;
    let doctor = match context.client()?.doctor() {
        Ok(doctor) => doctor,
        Err(ClientError::NoAgent { .. }) => {
            agent::examine(&context.run_dir, &context.state_dir, &context.bpffs)
        }
        Err(error) => return Err(error.into()),
    };
    context.screen.show(&doctor, render)?;
    Ok(match (exit(&doctor), probed) {
        (Exit::Done, Some(probed)) if !probed.passes() => Exit::Difference,
        (exit, _) => exit,
    })
}

/// 1 when this host cannot enforce anything; warnings are no failure.
pub(crate) fn exit(doctor: &Doctor) -> Exit {
    let blocked = doctor.findings.iter().any(|finding| finding.level == Level::Blocker);
    if blocked { Exit::Failed } else { Exit::Done }
}

pub(crate) fn render(doctor: &Doctor, paint: Paint) -> String {
    let path = match doctor.kernel_path.as_deref() {
        Some("tcx") => "programs attached by TCX links",
        Some("clsact") => "programs attached as clsact filters",
        Some(other) => other,
        None => "`bulkhead up` is refused on this host",
    };
    let enforcement = match doctor.enforcement.as_str() {
        "full" => paint.good("full"),
        "none" => paint.bad("none"),
        other => paint.warn(other),
    };
    let mut text = format!("{}\nenforcement   {enforcement} ({path})\n", doctor.host);
    for (at, finding) in doctor.findings.iter().enumerate() {
        let level = match finding.level {
            Level::Good => paint.good("good    "),
            Level::Note => paint.dim("note    "),
            Level::Warning => paint.warn("warning "),
            Level::Blocker => paint.bad("BLOCKER "),
        };
        text += &format!("{:<13} {level} {}   {}\n", finding.topic, finding.text, finding.code);
        // What helps against several in a row is said once.
        let next = doctor.findings.get(at + 1).and_then(|next| next.hint.as_ref());
        if let Some(hint) = finding.hint.as_ref().filter(|hint| next != Some(hint)) {
            text += &format!("{:<13}          {}: {hint}\n", "", paint.hint("hint"));
        }
    }
    text
}
