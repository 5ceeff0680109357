//! The calls of bpf(2) that bring maps with a name, type information and programs into the kernel.

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Command, MapShape, call, descriptor, lock_any_amount, number};

/// `BPF_OBJ_NAME_LEN`: the longest name with its zero, bytes.
const NAME_BYTES: usize = 16;
/// What a program is for: `enum bpf_prog_type`, and `enum bpf_attach_type` where the kernel wants to know the place when it examines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Purpose {
    pub(in super::super) kind: u32,
    pub(in super::super) place: u32,
}

impl Purpose {
    /// `BPF_PROG_TYPE_SCHED_CLS`.
    pub(in super::super) const CLASSIFIER: Self = Self { kind: 3, place: 0 };

    /// `BPF_PROG_TYPE_CGROUP_SKB`.
    pub(in super::super) const fn packets(place: u32) -> Self {
        Self { kind: 8, place }
    }

    /// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`.
    pub(in super::super) const fn calls(place: u32) -> Self {
        Self { kind: 18, place }
    }
}

/// Level 1 of the verifier's messages, and its statistics.
const MESSAGES: u32 = 1 | 4;
/// Room for the verifier's messages, bytes: the next when they do not fit.
const ROOM: [usize; 3] = [1 << 16, 1 << 20, 1 << 24];
/// How often a load is tried again that a signal has interrupted.
const TRIES: usize = 5;

/// A program as it is in the object file, with references to maps resolved.
pub(in super::super) struct Code<'a> {
    pub(in super::super) name: &'a str,
    pub(in super::super) purpose: Purpose,
    /// Instructions, 8 bytes each.
    pub(in super::super) instructions: &'a [u8],
    pub(in super::super) license: &'a CStr,
    /// What its functions and lines are called, when the kernel has the type information.
    pub(in super::super) types: Option<Types<'a>>,
}

/// Names for the kernel's messages and for tools: `struct bpf_func_info`, `struct bpf_line_info`.
pub(in super::super) struct Types<'a> {
    pub(in super::super) btf: BorrowedFd<'a>,
    /// The records one after the other, and the bytes of one of them.
    pub(in super::super) functions: (&'a [u8], usize),
    pub(in super::super) lines: (&'a [u8], usize),
}

/// Why a program was not taken.
#[derive(Debug)]
pub(in super::super) struct Refusal {
    pub(in super::super) source: io::Error,
    /// What the verifier said; empty when it did not come to that.
    pub(in super::super) messages: String,
}

fn short(name: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    for (to, from) in bytes.iter_mut().take(NAME_BYTES - 1).zip(name.bytes()) {
        *to = from;
    }
    bytes
}

fn length(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(io::Error::other)
}

/// Where a slice begins; 0 for an empty one.
fn start(bytes: &[u8]) -> u64 {
    if bytes.is_empty() { 0 } else { bytes.as_ptr().expose_provenance() as u64 }
}

#[repr(C)]
struct NamedMap {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; NAME_BYTES],
}

/// Makes a map that shows under a name. The limit of locked memory is as for [`super::create_map`].
pub(in super::super) fn create_named_map(name: &str, shape: &MapShape) -> io::Result<OwnedFd> {
    let MapShape { kind, key_bytes, value_bytes, entries, flags, .. } = *shape;
    let name = short(name);
    with_memory(|| {
        let (inner, node) = (0, 0);
        let mut map = NamedMap { kind, key_bytes, value_bytes, entries, flags, inner, node, name };
        descriptor(call(Command::MapCreate, &mut map)?)
    })
}

#[repr(C)]
struct LoadTypes {
    bytes: u64,
    messages: u64,
    length: u32,
    room: u32,
    level: u32,
    pad: u32,
}

/// Loads type information (BTF).
pub(in super::super) fn load_types(bytes: &[u8]) -> io::Result<OwnedFd> {
    let (length, bytes) = (length(bytes.len())?, start(bytes));
    let mut types = LoadTypes { bytes, messages: 0, length, room: 0, level: 0, pad: 0 };
    descriptor(call(Command::TypesLoad, &mut types)?)
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct LoadProgram {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    level: u32,
    room: u32,
    messages: u64,
    kernel: u32,
    flags: u32,
    name: [u8; NAME_BYTES],
    interface: u32,
    hook: u32,
    types: u32,
    function_bytes: u32,
    functions: u64,
    function_count: u32,
    line_bytes: u32,
    lines: u64,
    line_count: u32,
    pad: u32,
}

/// Loads a program. When it is refused it is tried again with the verifier's messages on.
pub(in super::super) fn load_program(code: &Code<'_>) -> Result<OwnedFd, Refusal> {
    /// Bytes of an instruction.
    const INSTRUCTION: usize = 8;
    let prepare = || -> io::Result<LoadProgram> {
        let mut program = LoadProgram {
            kind: code.purpose.kind,
            hook: code.purpose.place,
            count: length(code.instructions.len() / INSTRUCTION)?,
            instructions: start(code.instructions),
            license: code.license.as_ptr().expose_provenance() as u64,
            name: short(code.name),
            ..LoadProgram::default()
        };
        if let Some(Types { btf, functions, lines }) = &code.types {
            program.types = number(*btf);
            let count = |(records, bytes): (&[u8], usize)| {
                Ok::<_, io::Error>((
                    length(records.len().checked_div(bytes).unwrap_or(0))?,
                    length(bytes)?,
                ))
            };
            program.functions = start(functions.0);
            (program.function_count, program.function_bytes) = count(*functions)?;
            program.lines = start(lines.0);
            (program.line_count, program.line_bytes) = count(*lines)?;
        }
        Ok(program)
    };
    let silent = |source| Refusal { source, messages: String::new() };
    let program = prepare().map_err(silent)?;
    with_memory(|| load(program)).map_err(|source| explained(program, source))
}

fn load(mut program: LoadProgram) -> io::Result<OwnedFd> {
    let mut result = call(Command::ProgLoad, &mut program);
    for _ in 1..TRIES {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                result = call(Command::ProgLoad, &mut program);
            }
            _ => break,
        }
    }
    descriptor(result?)
}

/// Asks the verifier what it has against a program that was refused.
fn explained(program: LoadProgram, source: io::Error) -> Refusal {
    let mut text = Vec::new();
    for room in ROOM {
        text = vec![0; room];
        let messages = text.as_mut_ptr().expose_provenance() as u64;
        let room = u32::try_from(room).unwrap_or(0);
        let again = load(LoadProgram { level: MESSAGES, room, messages, ..program });
        if again.err().and_then(|error| error.raw_os_error()) != Some(libc::ENOSPC) {
            break;
        }
    }
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    Refusal { source, messages: String::from_utf8_lossy(&text).into_owned() }
}

/// Once more with the limit of locked memory lifted, if that seems to be the reason.
fn with_memory<T>(mut load: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match load() {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && lock_any_amount() => load(),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_program_comes_with_what_the_verifier_said_root() {
        testkit::root_or_return!("a_refused_program_comes_with_what_the_verifier_said_root");
        // `exit` alone: nothing is returned.
        let instructions = [0x95, 0, 0, 0, 0, 0, 0, 0];
        let code = Code {
            name: "returns_nothing",
            purpose: Purpose::CLASSIFIER,
            instructions: &instructions,
            license: c"GPL",
            types: None,
        };
        let refusal = load_program(&code).expect_err("a program that returns nothing");
        assert_eq!(refusal.source.raw_os_error(), Some(libc::EACCES));
        assert!(refusal.messages.contains("R0 !read_ok"), "{}", refusal.messages);
    }
}
