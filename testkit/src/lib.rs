//! Labs in network namespaces, packet builders and attackers for tests and benchmarks.
