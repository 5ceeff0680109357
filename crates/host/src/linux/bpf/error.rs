//! What the loader was doing to which object when it failed.

use std::io;
use std::path::PathBuf;

/// An operation on the kernel's programs and maps that did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder for pins.
    #[error("could not prepare {path} for pinned programs")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A folder that is on another kind of file system.
    #[error("{0} is not on a BPF file system")]
    NotBpffs(PathBuf),
    /// Pins of another version of this program.
    #[error("{path} holds programs with interface {found}, this program needs {wanted}")]
    OtherAbi {
        /// The folder.
        path: PathBuf,
        /// What its name says.
        found: String,
        /// What this program writes.
        wanted: u32,
    },
    /// Programs are pinned without one of the maps they use.
    #[error("programs are pinned, but the map {0} is not")]
    MapGone(&'static str),
    /// A pinned map that is not what the programs expect.
    #[error("the pinned map {name} is not ours: {difference}")]
    ForeignMap {
        /// The map.
        name: &'static str,
        /// What is different.
        difference: String,
    },
    /// Opening a pinned object.
    #[error("could not open the pinned {name}")]
    Open {
        /// The map, program or link.
        name: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Taking the object file apart.
    #[error("could not read the object file of the programs")]
    Object(#[source] Box<aya::EbpfError>),
    /// Making a map.
    #[error("could not create the map {name}")]
    Map {
        /// The map.
        name: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Loading a program.
    #[error("the kernel did not take the program {name}")]
    Program {
        /// The program.
        name: &'static str,
        /// The verifier's answer.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// Naming an object.
    #[error("could not pin {name}")]
    Pin {
        /// The map, program or link.
        name: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Removing names.
    #[error("could not remove {path}")]
    Unpin {
        /// What should go.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Mapping an array into memory.
    #[error("could not map the array {name} into memory")]
    Share {
        /// The map.
        name: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Reading a map.
    #[error("could not read the map {name}")]
    Read {
        /// The map.
        name: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Writing a map.
    #[error("could not write the map {name}")]
    Write {
        /// The map.
        name: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A change that does not fit. Nothing was written.
    #[error(
        "the policy needs {needed} {what}, the map holds {capacity}{}",
        if *.both { " (while the old and the new version stand side by side)" } else { "" }
    )]
    Capacity {
        /// What there is too much of.
        what: &'static str,
        /// How many the change needs.
        needed: usize,
        /// How many there is room for.
        capacity: usize,
        /// The new version alone would have fit.
        both: bool,
    },
    /// Waiting until no packet sees the old version.
    #[error("could not wait for packets in flight")]
    Grace(#[source] io::Error),
    /// Attaching the programs to an endpoint.
    #[error("could not attach programs to endpoint {endpoint}")]
    Attach {
        /// The endpoint's number.
        endpoint: u32,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Detaching the programs from an endpoint.
    #[error("could not detach programs from endpoint {endpoint}")]
    Detach {
        /// The endpoint's number.
        endpoint: u32,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Listing attached endpoints.
    #[error("could not list the attached programs")]
    Links(#[source] io::Error),
    /// Opening the ring buffer.
    #[error("could not open the ring buffer of reports")]
    Reports(#[source] Box<aya::maps::MapError>),
    /// Running a program on a packet by hand.
    #[error("could not run the program {name} on a packet")]
    TestRun {
        /// The program.
        name: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel's clock does not tick at any rate we know.
    #[error("could not tell how fast the kernel's jiffies run")]
    Clock,
}
