//! Labs of the host's network in a real kernel, in namespaces of their own. They need root.

mod adopt;
mod bridge;
mod density;
mod lab;
mod part;
mod pins;
mod reach;
mod sources;
