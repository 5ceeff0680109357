//! How many may talk to the agent at one time, so that nobody shuts out others, least of all who may change something.
//!
//! A connection that is served has a *seat*, and one that follows something without end a second one. People who may only
//! ask have most seats together and some each; the rest is kept for root. Who finds none is told so at once (`BH0205`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use api::{Error, codes};

use super::body::may_change;
use crate::fault::refused;

/// Connections at one time; more of root wait in the kernel's queue.
pub(super) const CONNECTIONS: usize = 128;
/// Those of people who may only ask, together and each.
const ASKING: Bound = Bound { all: 96, each: 48 };
/// Those that follow flows or a log, of people who may only ask.
const FOLLOWING: Bound = Bound { all: 48, each: 16 };
/// Those that follow, of root: a question always finds a seat.
const ROOTS_FOLLOWING: Bound = Bound { all: 64, each: 64 };

#[derive(Debug, Clone, Copy)]
struct Bound {
    all: usize,
    each: usize,
}

/// What a seat is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// A connection.
    Ask,
    /// A connection that follows something.
    Follow,
}

/// Who sits where.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: Mutex<BTreeMap<(Purpose, u32), usize>>,
    refused: AtomicU64,
}

/// A seat; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    key: (Purpose, u32),
}

impl Seats {
    /// A seat for a connection of `uid`.
    ///
    /// # Errors
    /// `BH0205` when those of this user, or of all who may only ask, are taken.
    pub(super) fn ask(self: &Arc<Self>, uid: u32) -> Result<Seat, Error> {
        let bound = if may_change(uid) { None } else { Some(ASKING) };
        self.take(Purpose::Ask, uid, bound)
    }

    /// A seat for a connection of `uid` that follows something.
    ///
    /// # Errors
    /// `BH0205` as [`Seats::ask`].
    pub(super) fn follow(self: &Arc<Self>, uid: u32) -> Result<Seat, Error> {
        let bound = if may_change(uid) { ROOTS_FOLLOWING } else { FOLLOWING };
        self.take(Purpose::Follow, uid, Some(bound))
    }

    /// Connections and followers that found no seat since the agent started.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn take(
        self: &Arc<Self>,
        purpose: Purpose,
        uid: u32,
        bound: Option<Bound>,
    ) -> Result<Seat, Error> {
        let key = (purpose, uid);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bound) = bound {
            let alike = |(other, who): &(Purpose, u32)| {
                *other == purpose && may_change(*who) == may_change(uid)
            };
            let all: usize =
                taken.iter().filter(|(key, _)| alike(key)).map(|(_, count)| count).sum();
            let own = taken.get(&key).copied().unwrap_or_default();
            if own >= bound.each || all >= bound.all {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(full(purpose, uid, own, all, bound));
            }
        }
        *taken.entry(key).or_default() += 1;
        drop(taken);
        Ok(Seat { seats: Arc::clone(self), key })
    }
}

fn full(purpose: Purpose, uid: u32, own: usize, all: usize, bound: Bound) -> Error {
    let what = match purpose {
        Purpose::Ask => "connections",
        Purpose::Follow => "followers",
    };
    let Bound { all: most, each } = bound;
    let text =
        format!("user id {uid} has {own} of its {each} {what}, everybody like it {all} of {most}");
    refused(codes::BUSY, text)
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u32 = 0;

    fn seated(count: usize, take: impl FnMut(usize) -> Result<Seat, Error>) -> Vec<Seat> {
        (0..count).map(take).map_while(Result::ok).collect()
    }

    #[test]
    fn one_user_leaves_seats_for_others_and_all_of_them_for_root() {
        let seats = Arc::new(Seats::default());
        let one = seated(200, |_| seats.ask(1000));
        assert_eq!(one.len(), ASKING.each);
        let error = seats.ask(1000).expect_err("one too many");
        assert_eq!(error.code, codes::BUSY);
        assert_eq!(
            error.message,
            "user id 1000 has 48 of its 48 connections, everybody like it 48 of 96"
        );
        let others = seated(200, |n| seats.ask(1001 + u32::try_from(n).expect("small")));
        assert_eq!(one.len() + others.len(), ASKING.all);
        let root = seated(CONNECTIONS - ASKING.all, |_| seats.ask(ROOT));
        assert_eq!(root.len(), CONNECTIONS - ASKING.all, "as many as are left");
        assert_eq!(seats.refused(), 3);
        drop(one);
        assert_eq!(seated(200, |_| seats.ask(1000)).len(), ASKING.each, "they are free again");
    }

    #[test]
    fn followers_leave_seats_for_questions() {
        let seats = Arc::new(Seats::default());
        let one = seated(200, |_| seats.follow(1000));
        assert_eq!(one.len(), FOLLOWING.each);
        let others = seated(200, |n| seats.follow(1001 + u32::try_from(n).expect("small")));
        assert_eq!(one.len() + others.len(), FOLLOWING.all);
        let root = seated(200, |_| seats.follow(ROOT));
        assert_eq!(root.len(), ROOTS_FOLLOWING.all, "whatever the others do");
        const { assert!(FOLLOWING.all < ASKING.all, "who may only ask may still ask") };
        const { assert!(ROOTS_FOLLOWING.all + FOLLOWING.all < CONNECTIONS, "and so may root") };
        seats.ask(1000).expect("a question");
        seats.ask(ROOT).expect("a question");
        drop((one, others, root));
        assert!(seats.taken.lock().expect("not poisoned").is_empty(), "nothing is kept of them");
    }
}
