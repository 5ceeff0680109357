//! How much of the rules of one namespace is kept: whoever may write rules in a namespace of his own may write very many.

/// Rules, conditions and elements of sets, of all programs together.
const MAX_KEPT: usize = 500_000;

/// What may still be kept. Once it is over it stays over, and the rules count as too many to be followed.
#[derive(Debug)]
pub(super) struct Budget {
    left: Option<usize>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: Some(MAX_KEPT) }
    }
}

impl Budget {
    /// Takes `count` of it; `false` when that is more than there is, which ends it.
    pub(super) fn pay(&mut self, count: usize) -> bool {
        self.left = self.left.and_then(|left| left.checked_sub(count));
        self.left.is_some()
    }

    /// Ends it.
    pub(super) fn end(&mut self) {
        self.left = None;
    }

    /// Whether something did not fit.
    pub(super) const fn is_over(&self) -> bool {
        self.left.is_none()
    }
}
