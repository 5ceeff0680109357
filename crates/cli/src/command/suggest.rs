//! `bulkhead policy suggest`: the tightest policies that pass what was recorded, as a file.

use api::SuggestQuery;

use super::Context;
use super::replay::waited;
use crate::failure::{Exit, Failure};

pub(crate) fn run(
    context: &Context,
    workload: Option<String>,
    since: Option<u32>,
) -> Result<Exit, Failure> {
    let client = context.client()?;
    let query = SuggestQuery { workload, since_s: since };
    let found = waited(context.screen, "reading the recorded flows", || client.suggestion(&query))?;
    context.screen.show(&found, |found, _| {
        let end = if found.yaml.ends_with('\n') { "" } else { "\n" };
        format!("{}{end}", found.yaml)
    })?;
    for text in &found.unproved {
        // The file goes to the standard output, which is often a file.
        let sentence =
            format!("warning: by this suggestion an assertion of the file does not hold: {text}");
        context.screen.tell(&sentence);
    }
    Ok(Exit::Done)
}
