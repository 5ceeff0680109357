//! Labs: the real binary enforces in namespaces; real servers, tools and forged frames test it.
//!
//! Every lab is its own host: a namespace with an uplink to an "outside" that has addresses of the
//! internet. Nothing leaves the namespaces, and each test ends what it started.

#![expect(clippy::format_push_string, reason = "files of tests are put together part by part")]

mod accounts;
mod adopted;
mod article;
mod attacked;
mod audited;
mod clean;
mod crowd;
mod edge;
mod enter;
mod explained;
mod first_packet;
mod foreign;
mod handed_on;
mod host_mode;
mod host_policy;
mod hybrid;
mod imported;
mod in_place;
mod kubernetes;
mod moved;
mod natted;
mod outlive;
mod places;
mod processes;
mod published;
mod replayed;
mod requests;
mod revoke;
mod rules;
mod scheduled;
mod sctp;
mod self_heal;
mod shop;
mod socket;
mod spoof;
mod stage;
mod state;
mod tenants;
mod undo;
mod unmanaged;
mod waiting;
mod walk;
mod walk_faults;
mod walk_flows;
mod walk_hosted;
