//! `bulkhead observe`: one flow a line.

use api::{Flow, FlowQuery, Verdict};

use super::Context;
use crate::args::{Observe, VerdictFilter};
use crate::failure::{Exit, Failure};
use crate::screen::Paint;

pub(crate) fn run(context: &Context, filter: &Observe) -> Result<Exit, Failure> {
    let query = FlowQuery {
        from: filter.from.clone(),
        to: filter.to.clone(),
        verdict: filter.verdict.map(|verdict| match verdict {
            VerdictFilter::Allow => Verdict::Allow,
            VerdictFilter::Drop => Verdict::Drop,
            VerdictFilter::Audit => Verdict::Audit,
        }),
        limit: Some(filter.limit),
        follow: filter.follow.then_some(true),
    };
    let client = context.client()?;
    for flow in client.flows(&query)? {
        context.screen.line(&flow?, render)?;
    }
    Ok(Exit::Done)
}

/// A flow as one line, in columns that line up for names of usual length; its number, for `why --flow`, ends it.
pub(crate) fn render(flow: &Flow, paint: Paint) -> String {
    let line = &flow.line;
    let text = format!(
        "{}  {}  {:<22} → {:<24}  {:<28}  {:<8}  {}",
        line.time,
        paint.verdict(&line.verdict, 5),
        line.source,
        line.target,
        line.because,
        line.code,
        line.repeats
    );
    format!("{}  #{}", text.trim_end(), flow.number)
}
