//! The one rule evaluator: decides whether a packet may pass, in the kernel and on the host.
