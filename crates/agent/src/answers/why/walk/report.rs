//! The steps of a way as they are found.

use std::time::{Duration, Instant};

use api::{Walk, WalkState, WalkStep};

/// A way has at most this many steps.
const MAX_STEPS: usize = 200;

/// What is wrong at a step.
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) text: String,
    pub(super) hint: Option<String>,
}

/// Steps, and until when more are looked for.
pub(super) struct Report {
    steps: Vec<WalkStep>,
    began: Instant,
    patience: Duration,
}

impl Report {
    pub(super) fn new(patience: Duration) -> Self {
        Self { steps: Vec::new(), began: Instant::now(), patience }
    }

    /// Until when something is looked for.
    pub(super) fn until(&self) -> Instant {
        self.began + self.patience
    }

    fn push(&mut self, step: WalkStep) {
        // One sentence about one thing is enough: the way back passes where the way there did.
        let same = |known: &WalkStep| {
            known.place == step.place && known.topic == step.topic && known.text == step.text
        };
        if self.steps.len() < MAX_STEPS && !self.steps.iter().any(same) {
            self.steps.push(step);
        }
    }

    pub(super) fn ok(&mut self, place: &str, topic: &str, text: String, command: String) {
        let (place, topic) = (place.to_owned(), topic.to_owned());
        let state = WalkState::Ok;
        let command = Some(command).filter(|command| !command.is_empty());
        self.push(WalkStep { place, topic, state, text, command, ..WalkStep::default() });
    }

    pub(super) fn unknown(&mut self, place: &str, topic: &str, text: String, command: String) {
        let (place, topic) = (place.to_owned(), topic.to_owned());
        let state = WalkState::Unknown;
        let command = Some(command).filter(|command| !command.is_empty());
        self.push(WalkStep { place, topic, state, text, command, ..WalkStep::default() });
    }

    pub(super) fn fault(&mut self, place: &str, topic: &str, fault: Fault, command: String) {
        self.push(WalkStep {
            place: place.to_owned(),
            topic: topic.to_owned(),
            state: WalkState::Fault,
            code: Some(fault.code.to_owned()),
            text: fault.text,
            command: Some(command).filter(|command| !command.is_empty()),
            hint: fault.hint,
        });
    }

    /// A fault whose code is not one of a walk's.
    pub(super) fn push_fault(&mut self, step: WalkStep) {
        self.push(WalkStep { state: WalkState::Fault, ..step });
    }

    /// Whether the time for looking is over; says so once.
    pub(super) fn is_late(&mut self) -> bool {
        let is_late = self.began.elapsed() >= self.patience;
        if is_late {
            let text =
                format!("the rest was not looked at: {} seconds are over", self.patience.as_secs());
            self.unknown("host", "time", text, String::new());
        }
        is_late
    }

    pub(super) fn done(self) -> Walk {
        let first = self.steps.iter().find(|step| step.state == WalkState::Fault);
        Walk {
            fault: first.and_then(|step| step.code.clone()),
            took_us: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            steps: self.steps,
        }
    }
}
