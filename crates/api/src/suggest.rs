//! The tightest policy that passes what was observed.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Period;

/// Of whom, and which records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SuggestQuery {
    /// Only flows of this workload; other policies stay.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Only of the last so many seconds; all there are without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_s: Option<u32>,
}

/// A file with the tightest policies that pass what was observed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Suggestion {
    /// `bulkhead.suggestion/1`.
    pub schema: String,
    /// The generation whose file it was made from.
    pub generation: u64,
    /// What was observed.
    pub period: Period,
    /// The whole file: that in force, with other policies.
    pub yaml: String,
    /// How many policies were made.
    pub policies: u64,
    /// How many flows they pass.
    pub flows: u64,
    /// What is wider than what was observed, a sentence each.
    pub wider: Vec<String>,
    /// What was left out, a sentence each.
    pub left_out: Vec<String>,
    /// Assertions of the file that would not hold: `never: world -> app=db`.
    #[serde(default)]
    pub unproved: Vec<String>,
}

impl Suggestion {
    /// Value of [`Suggestion::schema`].
    pub const SCHEMA: &str = "bulkhead.suggestion/1";
}
