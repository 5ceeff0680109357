//! `bulkhead policy rules`: every rule in force and how often it decided.

use api::{RuleCount, Rules};

use super::{Context, position};
use crate::failure::{Exit, Failure};
use crate::screen::Paint;
use crate::table::Table;

pub(crate) fn run(context: &Context) -> Result<Exit, Failure> {
    let rules = context.client()?.rules()?;
    context.screen.show(&rules, render)?;
    Ok(Exit::Done)
}

/// `expired` or when its schedule opens, and what the file says about the policy.
fn remark(count: &RuleCount) -> String {
    let expired = count.expired.then(|| "expired".to_owned());
    let comment = count.rule.comment.as_ref().map(|comment| format!("# {comment}"));
    let pause = count.pause.clone();
    expired.into_iter().chain(pause).chain(comment).collect::<Vec<_>>().join(" ")
}

pub(crate) fn render(rules: &Rules, paint: Paint) -> String {
    let mut table = Table::new(["RULE", "KIND", "PLACE", "FLOWS", "DROPS", "AUDITS", "LAST", ""]);
    for count in &rules.rules {
        let rule = &count.rule;
        table.row([
            rule.path.clone(),
            rule.kind.clone(),
            position(rule),
            count.flows.to_string(),
            count.drops.to_string(),
            count.audits.to_string(),
            count.last.clone().unwrap_or_else(|| "never".to_owned()),
            remark(count),
        ]);
    }
    let mut text = table.render(paint);
    if let Some(since) = &rules.since {
        text += &format!("counted since {since}\n");
    }
    text
}
