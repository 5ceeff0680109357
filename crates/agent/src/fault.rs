//! Errors of the parts below to the one shape that people see.

use api::{Diagnostic, Error, Severity, codes};

/// An error with the code's own hint.
pub(crate) fn refused(code: &str, message: impl Into<String>) -> Error {
    let mut error = Error::new(code, message);
    error.hint = codes::find(code).map(|known| known.hint.to_owned());
    error
}

/// An error with its cause and the code's own hint.
pub(crate) fn failed(
    code: &str,
    message: impl Into<String>,
    cause: &dyn std::error::Error,
) -> Error {
    refused(code, message).with_cause(cause)
}

/// An error and everything below it, in one line.
pub(crate) fn sentence(error: &dyn std::error::Error) -> String {
    let below = error.source().map(sentence);
    below.map_or_else(|| error.to_string(), |below| format!("{error}: {below}"))
}

/// What is wrong with files.
pub(crate) fn document(found: &[policy::Diagnostics]) -> Error {
    let told = found.iter().map(|found| {
        let errors = found.errors();
        let plural = if errors == 1 { "" } else { "s" };
        format!("{} has {errors} error{plural}", found.file)
    });
    let told: Vec<String> = told.collect();
    let mut error = refused(codes::DOCUMENT, told.join(", "));
    error.diagnostics = found.iter().flat_map(diagnostics).collect();
    error
}

/// Findings about a file as the API carries them.
pub(crate) fn diagnostics(found: &policy::Diagnostics) -> Vec<Diagnostic> {
    let records = found.records();
    records
        .into_iter()
        .zip(&found.items)
        .map(|(record, item)| Diagnostic {
            code: record.code.to_string(),
            severity: match record.severity {
                policy::Severity::Error => Severity::Error,
                policy::Severity::Warning | policy::Severity::Note => Severity::Warning,
            },
            message: record.message,
            file: record.file.to_string(),
            line: record.line,
            column: record.column,
            hint: record.hint,
            rendered: alone(found, item),
        })
        .collect()
}

/// One finding as text with its source line.
fn alone(found: &policy::Diagnostics, item: &policy::Diagnostic) -> String {
    let one = policy::Diagnostics {
        file: found.file.clone(),
        text: found.text.clone(),
        items: vec![item.clone()],
        suppressed: 0,
    };
    one.render(false)
}
