//! Networks of the countries that a file names, and the database that they are from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the caller found in the operator's database. The agent opens none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Geography {
    /// The database's type, as it names it: `GeoLite2-Country`. At most 64 printable ASCII characters.
    pub database: String,
    /// When it was built, RFC 3339; empty if it does not tell.
    pub built: String,
    /// CIDRs by country code (ISO 3166-1 alpha-2, lower case), at most 50,000 together, of the countries that the file names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub countries: BTreeMap<String, Vec<String>>,
}
