//! What is missing of the flows that were: declared, never silent.

/// Most gaps of one hour that are told apart.
const MOST: usize = 256;
/// Gaps of one kind that are this close become one, in seconds.
const CLOSE: u32 = 60;

/// A time of which records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gap {
    /// Since when, in seconds since 1970.
    pub from: u32,
    /// Until when.
    pub to: u32,
    /// Why.
    pub kind: GapKind,
    /// How many events are missing, if that is known.
    pub events: Option<u64>,
}

/// Why records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapKind {
    /// No agent ran.
    Down,
    /// The kernel's buffer was full.
    Lost,
    /// There were more different flows than an hour has room for.
    Full,
    /// The disk refused.
    Unwritten,
    /// What was written cannot be read, or is gone.
    Unreadable,
    /// The clock was set, or the host slept: what is of this time may stand under another one.
    Clock,
    /// The time to read ended before them; never written.
    Unread,
}

impl GapKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Down,
        Self::Lost,
        Self::Full,
        Self::Unwritten,
        Self::Unreadable,
        Self::Clock,
        Self::Unread,
    ];

    /// One clause for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Down => "no agent ran",
            Self::Lost => "more events than the kernel's buffer holds",
            Self::Full => "more different flows than an hour has room for",
            Self::Unwritten => "the disk refused them",
            Self::Unreadable => "what was written cannot be read",
            Self::Clock => "the clock was set, or the host slept",
            Self::Unread => "the time to read them was over",
        }
    }
}

/// The gaps of an hour; those that touch are one.
#[derive(Debug, Clone, Default)]
pub struct Gaps {
    all: Vec<Gap>,
    version: u64,
}

impl Gaps {
    /// Adds one. Beyond the bound, the last one of the list grows over it.
    pub fn add(&mut self, gap: Gap) {
        self.version += 1;
        let close = |known: &&mut Gap| {
            known.kind == gap.kind
                && gap.from <= known.to.saturating_add(CLOSE)
                && known.from <= gap.to.saturating_add(CLOSE)
        };
        let is_full = self.all.len() >= MOST;
        let near = self.all.iter_mut().rev().find(close);
        let known = if near.is_none() && is_full {
            self.all.iter_mut().rev().find(|known| known.kind == gap.kind)
        } else {
            near
        };
        if let Some(known) = known {
            known.from = known.from.min(gap.from);
            known.to = known.to.max(gap.to);
            known.events = known.events.zip(gap.events).map(|(a, b)| a.saturating_add(b));
        } else if self.all.len() < 2 * MOST {
            self.all.push(gap);
        }
    }

    /// All of them, in the order in which they came.
    #[must_use]
    pub fn all(&self) -> &[Gap] {
        &self.all
    }

    /// Rises with every change.
    #[must_use]
    pub(super) fn version(&self) -> u64 {
        self.version
    }
}

impl FromIterator<Gap> for Gaps {
    fn from_iter<I: IntoIterator<Item = Gap>>(all: I) -> Self {
        let mut this = Self::default();
        for gap in all {
            this.add(gap);
        }
        this
    }
}
