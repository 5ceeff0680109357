//! Warnings.
use crate::diagnostic::Problems;
use crate::document::Document;
use jiff::Timestamp;
pub(crate) fn lint(_: &Document, _: Timestamp, _: &mut Problems<'_>) {}
