//! Benchmarks with their peers in the same run, and the load generator they share.

fn main() {}
