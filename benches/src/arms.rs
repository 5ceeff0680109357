//! The arms: limits (bare veth, plain bridge), peers (nft, iptables, ipset) and our own binary.

mod bare;
mod bridge;
mod filter;
mod mode;
pub mod ours;
mod redirect;
pub mod rules;
pub mod shape;
pub mod uplink;

pub use bare::BareVeth;
pub use bridge::Bridge;
pub use filter::Filter;
pub use mode::{InMode, Mode};
pub use ours::Ours;
pub use redirect::Redirect;
pub use shape::{Rules, Shape};
pub use uplink::Uplink;
