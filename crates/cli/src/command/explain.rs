//! `bulkhead explain CODE`: the documentation of every code, without an agent.

use api::codes;
use serde::Serialize;

use super::Context;
use crate::failure::{Exit, Failure};

/// A code and what it means.
#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    code: String,
    title: String,
    text: String,
    hint: Option<String>,
}

impl Explained {
    /// The code as a section of a Markdown page.
    pub(crate) fn markdown(&self) -> String {
        let hint = self.hint.as_ref().map_or_else(String::new, |hint| format!("\nHint: {hint}.\n"));
        format!("\n## {}\n\n{}. {}\n{hint}", self.code, self.title, self.text)
    }
}

pub(crate) fn run(context: &Context, code: Option<&str>) -> Result<Exit, Failure> {
    let Some(code) = code else {
        context.screen.show(&all(), |all, _| {
            let lines: Vec<String> =
                all.iter().map(|one| format!("{:<9} {}\n", one.code, one.title)).collect();
            lines.concat()
        })?;
        return Ok(Exit::Done);
    };
    let wanted = code.to_ascii_uppercase();
    let found = all().into_iter().find(|one| one.code == wanted);
    let found = found
        .ok_or_else(|| Failure::new(codes::UNKNOWN_CODE, format!("there is no code `{code}`")))?;
    context.screen.show(&found, |one, paint| {
        let mut text = format!("{}: {}\n\n{}\n", paint.strong(&one.code), one.title, one.text);
        if let Some(hint) = &one.hint {
            text += &format!("\n{}: {hint}\n", paint.hint("hint"));
        }
        text
    })?;
    Ok(Exit::Done)
}

/// Every code of files, agent, drop reasons and findings about the host.
pub(crate) fn all() -> Vec<Explained> {
    let files = policy::codes::Code::ALL.iter().map(|code| Explained {
        code: code.to_string(),
        title: code.title().to_owned(),
        text: code.explanation().to_owned(),
        hint: None,
    });
    let answers = codes::ALL.iter().map(|code| Explained {
        code: code.code.to_owned(),
        title: code.title.to_owned(),
        text: code.text.to_owned(),
        hint: Some(code.hint.to_owned()),
    });
    let others = agent::explanations().into_iter().map(|one| Explained {
        code: one.code,
        title: one.title,
        text: one.text,
        hint: one.hint,
    });
    files.chain(answers).chain(others).collect()
}
