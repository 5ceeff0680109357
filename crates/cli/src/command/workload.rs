//! `bulkhead workload list` and `bulkhead workload label`.

use std::collections::BTreeMap;

use api::{LabelChange, codes};

use super::{Context, count, person, status};
use crate::failure::{Exit, Failure};

pub(crate) fn list(context: &Context, label: Option<&str>) -> Result<Exit, Failure> {
    let wanted = label.map(pairs).transpose()?.unwrap_or_default();
    let mut workloads = context.client()?.workloads()?;
    workloads.retain(|workload| {
        wanted.iter().all(|(key, value)| workload.labels.get(key) == value.as_ref())
    });
    context.screen.show(&workloads, |workloads, paint| {
        if workloads.is_empty() {
            "no workload has these labels\n".to_owned()
        } else {
            status::workloads(workloads, paint)
        }
    })?;
    Ok(Exit::Done)
}

pub(crate) fn label(context: &Context, workload: &str, labels: &[String]) -> Result<Exit, Failure> {
    let mut change = LabelChange::default();
    for text in labels {
        change.labels.extend(pairs(text)?);
    }
    let changed = context.client()?.relabel(workload, &change)?;
    context.screen.show(&changed, |changed, _| {
        let labels: Vec<String> =
            changed.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!(
            "{} has {} now; judged by it after {} µs ({} written)\n",
            person(workload),
            labels.join(","),
            changed.took_us,
            count(changed.entries, "table entry").replace("entrys", "entries")
        )
    })?;
    Ok(Exit::Done)
}

/// Reads `app=web,tier-`: values to set, and keys to remove.
fn pairs(text: &str) -> Result<BTreeMap<String, Option<String>>, Failure> {
    text.split(',')
        .map(|part| match (part.split_once('='), part.strip_suffix('-')) {
            (Some((key, value)), _) => Ok((key.to_owned(), Some(value.to_owned()))),
            (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
            _ => {
                Err(Failure::new(codes::BAD_REQUEST, format!("`{part}` is not KEY=VALUE or KEY-"))
                    .hint("bulkhead workload label shop/web app=web canary-"))
            }
        })
        .collect()
}
