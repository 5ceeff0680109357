//! `bulkhead probe A B tcp/5432`: real packets, beside what the policy says.

use api::{ProbeRequest, ProbeResponse};

use super::{Context, why};
use crate::args::Pair;
use crate::failure::{Exit, Failure};
use crate::screen::Paint;

pub(crate) fn run(context: &Context, pair: &Pair, timeout_ms: u32) -> Result<Exit, Failure> {
    let request = ProbeRequest {
        from: pair.from.clone(),
        to: pair.to.clone(),
        service: pair.service.clone(),
        timeout_ms: Some(timeout_ms),
        source_port: pair.source_port,
    };
    let answer = context.client()?.probe(&request)?;
    context.screen.show(&answer, render)?;
    Ok(if answer.agrees == Some(false) { Exit::Difference } else { Exit::Done })
}

pub(crate) fn render(answer: &ProbeResponse, paint: Paint) -> String {
    let took = answer.took_us.map_or_else(String::new, |us| format!(" after {us} µs"));
    let agrees = match answer.agrees {
        Some(true) => paint.good("as the policy says"),
        Some(false) => paint.bad("NOT what the policy says"),
        None => paint.warn("cannot be compared"),
    };
    let mut text =
        format!("observed  {}{took}   {agrees}\n  {}\n", answer.observed.as_str(), answer.text);
    text += "declared  ";
    text += &why::render(&answer.why, paint);
    text += &answer.why.walk.as_ref().map(|walk| why::way(walk, false, paint)).unwrap_or_default();
    text
}
