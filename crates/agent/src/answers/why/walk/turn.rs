//! One walk at a time, and nobody waits long for a turn: whoever may ask could otherwise keep everybody else waiting.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Hands out turns, one at a time.
#[derive(Debug)]
pub(super) struct Turns {
    is_taken: Mutex<bool>,
    free: Condvar,
}

/// A turn; over when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'t>(&'t Turns);

impl Turns {
    pub(super) const fn new() -> Self {
        Self { is_taken: Mutex::new(false), free: Condvar::new() }
    }

    /// The next turn; `None` when there is none within `patience`.
    pub(super) fn take(&self, patience: Duration) -> Option<Turn<'_>> {
        let waited = self.free.wait_timeout_while(self.lock(), patience, |is_taken| *is_taken);
        let (mut is_taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        // A turn that is not given out must not be made: it would be over at once.
        (!std::mem::replace(&mut *is_taken, true)).then(|| Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_turn_and_the_wait_for_it_is_bounded() {
        let turns = Turns::new();
        let first = turns.take(Duration::ZERO).expect("the first turn");
        assert!(turns.take(Duration::from_millis(5)).is_none());
        std::thread::scope(|scope| {
            let next = scope.spawn(|| turns.take(Duration::from_mins(1)).is_some());
            drop(first);
            assert!(next.join().expect("a thread"), "whoever waits gets the next one");
        });
        assert!(turns.take(Duration::ZERO).is_some(), "a turn ends when it is dropped");
    }
}
