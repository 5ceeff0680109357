//! Real runtimes from their distributions' packages, each in namespaces of its own, under the real binary.
//!
//! Every test prints one line: `runtime <name> <mode>: <what was enforced>; <what was measured>`. Where a runtime is missing, the test is
//! skipped, and fails in CI.

mod cni;
mod containerd;
mod cri;
mod docker;
mod docker_beside;
mod docker_driver;
mod docker_found;
mod docker_publish;
mod firewalls;
mod hook;
mod libvirt;
mod machines;
mod modes;
mod podman;
mod podman_api;
mod podman_ports;
#[expect(dead_code, reason = "the labs need more of it")]
#[path = "../labs/stage.rs"]
mod stage;
mod strangers;
