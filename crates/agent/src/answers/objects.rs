//! What appears, changes and goes between two documents, as the API carries it.

use api::{Change, ObjectChange};
use planner::Fate;
use policy::Document;

/// Objects that are listed.
const LISTED: usize = 2_000;

/// Differences of two documents.
#[derive(Debug)]
pub(crate) struct Compared {
    /// The first of those that change.
    pub(crate) changes: Vec<ObjectChange>,
    /// How many more there are.
    pub(crate) omitted: u64,
    /// How many stay as they are.
    pub(crate) unchanged: u64,
}

/// Compares two documents.
pub(crate) fn compare(old: Option<&Document>, new: &Document) -> Compared {
    let (counts, changes) = planner::objects(old, new);
    let omitted = changes.len().saturating_sub(LISTED) as u64;
    let unchanged = counts.iter().map(|each| each.unchanged as u64).sum();
    let changes = changes.into_iter().take(LISTED).map(|each| ObjectChange {
        change: match each.fate {
            Fate::Added => Change::Add,
            Fate::Changed => Change::Change,
            Fate::Removed => Change::Remove,
        },
        kind: each.kind.to_owned(),
        name: each.name,
        detail: each.detail,
    });
    Compared { changes: changes.collect(), omitted, unchanged }
}
