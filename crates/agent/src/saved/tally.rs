//! What rules decided, over restarts of the agent.

use api::Error;
use flow::RuleTally;

use super::Store;

impl Store {
    /// What rules decided, as far as it was counted before this start.
    ///
    /// # Errors
    /// `BH0214`.
    pub(crate) fn tally(&self) -> Result<Option<RuleTally>, Error> {
        self.0.counts().map_err(|error| self.told_of_history("read the rules' counts", &error))
    }

    /// Keeps what rules decided.
    ///
    /// # Errors
    /// `BH0214`.
    pub(crate) fn keep_tally(&self, tally: &RuleTally) -> Result<(), Error> {
        self.0
            .keep_counts(tally)
            .map_err(|error| self.told_of_history("write the rules' counts", &error))
    }
}
