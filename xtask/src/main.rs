//! House-keeping: tidy rules, the kernel objects, generated documents.

fn main() {}
