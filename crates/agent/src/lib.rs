//! The daemon: one reconciler per kind of kernel object, API server, metrics, health.
