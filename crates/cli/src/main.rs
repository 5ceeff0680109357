//! The `bulkhead` binary: commands, rendering, exit codes.

fn main() {}
