//! One at a time goes through the whole flow store, as long as somebody waits for it and no longer than a bound.
//!
//! The store may hold 14 days of a busy host, and everybody who may ask may have it judged: so a second one is refused at once (`BH0205`), the
//! first one ends when its client is gone, and what it has not read when its time is up is told as a gap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::{Error, codes};

use crate::fault::refused;

/// Longest time that hours are read; the one that was begun is read to its end.
const LONGEST: Duration = Duration::from_mins(2);

/// Whether somebody goes through the flow store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<AtomicBool>);

/// The turn of one; the next one may begin when its last copy is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    _taken: Arc<Taken>,
    gone: Arc<AtomicBool>,
    until: Instant,
}

/// Who waits for the answer; when it is dropped, nobody does.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<AtomicBool>);

#[derive(Debug)]
struct Taken(Arc<AtomicBool>);

impl Turns {
    /// Takes the turn.
    ///
    /// # Errors
    /// `BH0205` when it is somebody else's.
    pub(crate) fn take(&self) -> Result<(Turn, Waiting), Error> {
        if self.0.swap(true, Ordering::AcqRel) {
            let message =
                "somebody else has the recorded flows judged; that is done for one at a time";
            let hint = "try again when it is done, two minutes at most; --since 1d reads less";
            return Err(refused(codes::BUSY, message).with_hint(hint));
        }
        let gone = Arc::new(AtomicBool::new(false));
        let waiting = Waiting(Arc::clone(&gone));
        let taken = Arc::new(Taken(Arc::clone(&self.0)));
        Ok((Turn { _taken: taken, gone, until: Instant::now() + LONGEST }, waiting))
    }
}

impl Turn {
    /// Whether no further hour is to be read.
    pub(super) fn is_over(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || Instant::now() > self.until
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_as_long_as_somebody_waits() {
        let turns = Turns::default();
        let (turn, waiting) = turns.take().expect("the first");
        let error = turns.take().expect_err("one at a time");
        assert_eq!(error.code, codes::BUSY);
        assert!(error.hint.is_some_and(|hint| hint.contains("--since")));
        assert!(!turn.is_over());
        drop(waiting);
        assert!(turn.is_over(), "nobody waits");
        let copy = turn.clone();
        drop(turn);
        assert!(turns.take().is_err(), "a copy still reads");
        drop(copy);
        assert!(turns.take().is_ok(), "it is free again");
    }

    #[test]
    fn its_time_is_bounded() {
        let (turn, _waiting) = Turns::default().take().expect("a turn");
        let until = turn.until.checked_sub(LONGEST + Duration::from_secs(1)).expect("a time");
        let late = Turn { until, ..turn.clone() };
        assert!(late.is_over() && !turn.is_over());
    }
}
