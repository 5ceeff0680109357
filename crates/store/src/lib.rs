//! Last good document, allocations and flow history on disk.
