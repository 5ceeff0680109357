//! One look for many who ask at once: whoever waits while one goes on shares the next one.
//!
//! A look that looks through the host (rules, sockets, other daemons) costs a while, and anybody in the group may ask for it. One goes on at a time; who asks
//! while it does gets the answer of one that began after the question, so that nobody is told what was before his own change. Between two
//! looks there is a rest as long as the last one took, at most [`REST`]: however many ask, they cost half a processor.
//!
//! **Failure.** Who hangs up while waiting leaves no work behind; a look that has begun is finished, once, and its answer is there for the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// Longest rest between two looks.
const REST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Flight<T> {
    last: Arc<Mutex<Option<Last<T>>>>,
    looks: AtomicU64,
    shared: AtomicU64,
}

/// The last look.
#[derive(Debug)]
struct Last<T> {
    began: Instant,
    ended: Instant,
    answer: Arc<T>,
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Self { last: Arc::default(), looks: AtomicU64::new(0), shared: AtomicU64::new(0) }
    }
}

impl<T: Send + Sync + 'static> Flight<T> {
    /// The answer of a look that began after this question; `look` makes one when nobody else's serves. `None` when it panicked.
    pub(crate) async fn ask<F>(&self, look: impl FnOnce() -> F) -> Option<Arc<T>>
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let asked = Instant::now();
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some(known) = last.as_ref() {
            if known.began >= asked {
                self.shared.fetch_add(1, Ordering::Relaxed);
                return Some(Arc::clone(&known.answer));
            }
            let rest = known.ended.duration_since(known.began).min(REST);
            tokio::time::sleep_until((known.ended + rest).into()).await;
        }
        self.looks.fetch_add(1, Ordering::Relaxed);
        let look = look();
        // Apart from whoever asked, who may be gone before it ends: the next one waits for it all the same.
        let done = tokio::spawn(async move {
            let began = Instant::now();
            let answer = Arc::new(look.await?);
            *last = Some(Last { began, ended: Instant::now(), answer: Arc::clone(&answer) });
            Some(answer)
        });
        done.await.ok().flatten()
    }

    /// Looks that were made, and questions that shared one.
    pub(crate) fn counts(&self) -> [u64; 2] {
        [&self.looks, &self.shared].map(|count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts how many look at one time, and in all.
    #[derive(Default)]
    struct Work {
        now: AtomicUsize,
        most: AtomicUsize,
        all: AtomicUsize,
    }

    impl Work {
        async fn look(self: Arc<Self>) -> Option<usize> {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
            self.now.fetch_sub(1, Ordering::SeqCst);
            Some(self.all.fetch_add(1, Ordering::SeqCst))
        }
    }

    #[tokio::test]
    async fn many_at_once_make_two_looks_and_one_at_a_time() {
        let (flight, work) = (Arc::new(Flight::default()), Arc::new(Work::default()));
        let ask = || {
            let (flight, work) = (Arc::clone(&flight), Arc::clone(&work));
            tokio::spawn(async move { flight.ask(|| work.look()).await })
        };
        let all: Vec<_> = (0..48).map(|_| ask()).collect();
        for one in all {
            assert!(one.await.expect("it ends").is_some());
        }
        assert_eq!(work.most.load(Ordering::SeqCst), 1);
        // The first one's, and the one that began after all of them had asked.
        assert!(work.all.load(Ordering::SeqCst) <= 2, "{work:?}", work = work.all);
        let [looks, shared] = flight.counts();
        assert_eq!(looks + shared, 48);
    }

    #[tokio::test]
    async fn whoever_asks_later_is_told_of_what_came_meanwhile() {
        let (flight, work) = (Flight::default(), Arc::new(Work::default()));
        for expected in 0..3 {
            let answer = flight.ask(|| Arc::clone(&work).look()).await.expect("an answer");
            assert_eq!(*answer, expected, "nothing is told twice");
        }
    }

    #[tokio::test]
    async fn who_hangs_up_starts_no_second_look_beside_the_first() {
        let (flight, work) = (Arc::new(Flight::default()), Arc::new(Work::default()));
        for _ in 0..100 {
            let (flight, work) = (Arc::clone(&flight), Arc::clone(&work));
            let one = tokio::spawn(async move { flight.ask(|| work.look()).await });
            tokio::task::yield_now().await;
            one.abort();
        }
        assert!(flight.ask(|| Arc::clone(&work).look()).await.is_some());
        assert_eq!(work.most.load(Ordering::SeqCst), 1, "one at a time, whoever is gone");
    }

    #[tokio::test]
    async fn a_look_that_fails_is_no_answer_for_others() {
        let flight: Flight<u8> = Flight::default();
        assert_eq!(flight.ask(|| async { None }).await, None);
        assert_eq!(flight.ask(|| async { Some(7) }).await.as_deref(), Some(&7));
    }
}
