//! The calls of bpf(2): single and batched map access by number of bytes, pins, TCX links by interface
//! index, test runs; loading is in [`program`].
//!
//! Each function is one system call. Layouts are those of `union bpf_attr`, include/uapi/linux/bpf.h;
//! the kernel takes a shorter structure for zeroes.

#![expect(unsafe_code, reason = "bpf(2) takes addresses")]

pub(super) mod program;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Memory that may be exchanged with the kernel byte by byte.
///
/// # Safety
///
/// The type has no padding, no pointers and no invalid bit patterns.
pub(super) unsafe trait Plain: Copy + Default + Send + Sync + 'static {}

macro_rules! plain {
    ($($type:ty),* $(,)?) => {$(
        // SAFETY: an integer, or a `repr(C)` structure of integers whose padding is spelled out;
        // the test `values_have_no_padding` holds sizes against the sum of the fields.
        unsafe impl Plain for $type {}
    )*
        /// Their names, for the test that looks at all of them.
        #[cfg(test)]
        pub(super) const PLAIN: &[&str] = &[$(stringify!($type)),*];
    };
}

plain!(
    u32,
    u64,
    verdict::abi::Config,
    verdict::abi::Endpoint,
    verdict::abi::Event,
    verdict::abi::FlowEntry,
    verdict::abi::FlowKey,
    verdict::abi::Peer,
    verdict::abi::PeerKey,
    verdict::abi::PortEntry,
    verdict::abi::PortKey,
    verdict::abi::PrefixKey,
    verdict::abi::Row,
    verdict::abi::RowKey,
    verdict::meters::Budget,
    verdict::meters::DropKey,
    verdict::meters::Limit,
    verdict::meters::LimitKey,
    verdict::meters::RuleCount,
    verdict::meters::Traffic,
);

/// Commands of bpf(2).
#[derive(Clone, Copy)]
#[repr(i32)]
enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    ObjInfo = 15,
    ProgQuery = 16,
    TypesLoad = 18,
    MapLookupAndDelete = 21,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
    EnableStats = 32,
    LinkDetach = 34,
}

/// Calls bpf(2) with one of the structures below.
fn call<T>(command: Command, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: `attributes` is a live structure of the given size; every address in it was taken from
    // a reference that outlives the call and is as large as the kernel is told.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The descriptor in a successful answer.
fn descriptor(result: i64) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address<T>(value: &T) -> u64 {
    std::ptr::from_ref(value).addr() as u64
}

fn address_mut<T>(value: &mut T) -> u64 {
    std::ptr::from_mut(value).expose_provenance() as u64
}

#[derive(Default)]
#[repr(C)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads a value into `value`; `false` when there is none. For per-CPU maps `V` holds all CPUs.
pub(super) fn lookup<K: Plain, V: ?Sized>(
    map: BorrowedFd<'_>,
    key: &K,
    value: *mut V,
) -> io::Result<bool> {
    let value = value.cast::<u8>().expose_provenance() as u64;
    let mut element = Element { map: number(map), key: address(key), value, ..Element::default() };
    present(call(Command::MapLookup, &mut element))
}

/// Reads a value and removes it in one step; `false` when there is none.
pub(super) fn take<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &mut V,
) -> io::Result<bool> {
    let (key, value) = (address(key), address_mut(value));
    let mut element = Element { map: number(map), key, value, ..Element::default() };
    present(call(Command::MapLookupAndDelete, &mut element))
}

/// Writes a value; `flags` are `BPF_ANY`, `BPF_NOEXIST`, `BPF_EXIST`.
pub(super) fn update<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
    flags: u64,
) -> io::Result<()> {
    let (key, value) = (address(key), address(value));
    let mut element = Element { map: number(map), key, value, flags, ..Element::default() };
    call(Command::MapUpdate, &mut element).map(drop)
}

/// Removes a value; `false` when there was none.
pub(super) fn delete<K: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<bool> {
    let mut element = Element { map: number(map), key: address(key), ..Element::default() };
    present(call(Command::MapDelete, &mut element))
}

/// Reads the key after `previous`, or the first one; `None` at the end.
pub(super) fn next_key<K: Plain>(
    map: BorrowedFd<'_>,
    previous: Option<&K>,
) -> io::Result<Option<K>> {
    let mut next = K::default();
    let key = previous.map_or(0, address);
    let value = address_mut(&mut next);
    let mut element = Element { map: number(map), key, value, ..Element::default() };
    let found = present(call(Command::MapNextKey, &mut element))?;
    Ok(found.then_some(next))
}

fn present(result: io::Result<i64>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[derive(Default)]
#[repr(C)]
struct Batch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Where a batched walk stands: a bucket number or a key, as the map likes it.
pub(super) type Cursor = [u64; 8];

/// Reads up to as many elements as the buffers hold; says how many, and where to go on (`None` at
/// the end).
pub(super) fn lookup_batch<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    from: Option<&Cursor>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, Option<Cursor>)> {
    let mut next = Cursor::default();
    let room = keys.len().min(values.len());
    let mut batch = Batch {
        from: from.map_or(0, address),
        next: address_mut(&mut next),
        keys: keys.as_mut_ptr().expose_provenance() as u64,
        values: values.as_mut_ptr().expose_provenance() as u64,
        count: u32::try_from(room).unwrap_or(u32::MAX),
        map: number(map),
        ..Batch::default()
    };
    let end = match call(Command::MapLookupBatch, &mut batch) {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    Ok(((batch.count as usize).min(room), (!end).then_some(next)))
}

/// Writes `keys` and `values`, which are equally long; an error leaves some of them written.
pub(super) fn update_batch<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    let mut batch = Batch {
        keys: keys.as_ptr().expose_provenance() as u64,
        values: values.as_ptr().expose_provenance() as u64,
        count: u32::try_from(keys.len().min(values.len())).unwrap_or(u32::MAX),
        map: number(map),
        ..Batch::default()
    };
    call(Command::MapUpdateBatch, &mut batch).map(drop)
}

/// Removes `keys`; stops at the first one that is not there.
pub(super) fn delete_batch<K: Plain>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    let mut batch = Batch {
        keys: keys.as_ptr().expose_provenance() as u64,
        count: u32::try_from(keys.len()).unwrap_or(u32::MAX),
        map: number(map),
        ..Batch::default()
    };
    call(Command::MapDeleteBatch, &mut batch).map(drop)
}

/// What a map is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct MapShape {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) key_bytes: u32,
    pub(super) value_bytes: u32,
    pub(super) entries: u32,
    pub(super) flags: u32,
}

/// Makes a map that nothing pins. For probes.
///
/// Kernels before 5.11 count maps as locked memory and refuse those above the limit with `EPERM`: the
/// limit is then raised for this process, as the loader library does for the maps that stay.
pub(super) fn create_map(shape: &MapShape) -> io::Result<OwnedFd> {
    let MapShape { kind, key_bytes, value_bytes, entries, flags, .. } = *shape;
    let create = || {
        let mut attributes = [kind, key_bytes, value_bytes, entries, flags];
        descriptor(call(Command::MapCreate, &mut attributes)?)
    };
    match create() {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && lock_any_amount() => create(),
        result => result,
    }
}

/// Lifts the limit of locked memory of this process; whether the system let us.
fn lock_any_amount() -> bool {
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    rustix::process::setrlimit(rustix::process::Resource::Memlock, unlimited).is_ok()
}

/// Makes a map whose values are maps like `inner`.
pub(super) fn create_map_of_maps(shape: &MapShape, inner: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let MapShape { kind, key_bytes, value_bytes, entries, flags, .. } = *shape;
    let mut attributes = [kind, key_bytes, value_bytes, entries, flags, number(inner)];
    descriptor(call(Command::MapCreate, &mut attributes)?)
}

#[derive(Default)]
#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    value: u64,
}

/// Reads a prefix of the kernel's description of a map, program or link.
fn info<T: Default>(object: BorrowedFd<'_>) -> io::Result<T> {
    let mut value = T::default();
    let length = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let mut attributes = Info { fd: number(object), length, value: address_mut(&mut value) };
    call(Command::ObjInfo, &mut attributes)?;
    Ok(value)
}

/// Reads what a map is made of.
pub(super) fn map_shape(map: BorrowedFd<'_>) -> io::Result<MapShape> {
    info(map)
}

/// A link as the kernel describes it. `interface` is 0 when the interface is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct LinkInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) program: u32,
    pad: u32,
    pub(super) interface: u32,
    pub(super) hook: u32,
}

/// Reads what a link connects.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    info(link)
}

/// The beginning of `struct bpf_prog_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct ProgramInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) tag: [u8; 8],
    pub(super) native_bytes: u32,
    pub(super) bytes: u32,
}

/// Reads what the kernel made of a program; `native_bytes` is 0 when it is interpreted.
pub(super) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    info(program)
}

#[derive(Default)]
#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

fn terminated(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Gives an object a name in a bpffs.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = terminated(path)?;
    let address = path.as_ptr().expose_provenance() as u64;
    let mut attributes = Object { path: address, fd: number(object), flags: 0 };
    call(Command::ObjPin, &mut attributes).map(drop)
}

/// Opens a pinned object.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = terminated(path)?;
    let address = path.as_ptr().expose_provenance() as u64;
    let mut attributes = Object { path: address, ..Object::default() };
    descriptor(call(Command::ObjGet, &mut attributes)?)
}

/// `BPF_TCX_INGRESS`.
pub(super) const TCX_INGRESS: u32 = 46;
/// `BPF_TCX_EGRESS`.
pub(super) const TCX_EGRESS: u32 = 47;

/// Attaches a program to an interface of the calling thread's namespace. It goes with the last
/// descriptor and pin of the link. `first` puts it before all programs that are there.
pub(super) fn link(
    program: BorrowedFd<'_>,
    interface: u32,
    hook: u32,
    first: bool,
) -> io::Result<OwnedFd> {
    /// `BPF_F_BEFORE`; without a program to be relative to: before all.
    const BEFORE: u32 = 1 << 3;
    let flags = if first { BEFORE } else { 0 };
    // prog_fd, target_ifindex, attach_type, flags, tcx.relative_fd, padding, expected_revision.
    let mut attributes = [number(program), interface, hook, flags, 0, 0, 0, 0];
    descriptor(call(Command::LinkCreate, &mut attributes)?)
}

/// Attaches a program to a cgroup, beside others that are there. It goes with the last descriptor and pin of the link, or with the
/// cgroup.
pub(super) fn link_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    hook: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = [number(program), number(cgroup), hook, 0];
    descriptor(call(Command::LinkCreate, &mut attributes)?)
}

/// A link to a cgroup as the kernel describes it. `cgroup` is 0 when that is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct CgroupLinkInfo {
    kind: u32,
    pub(super) id: u32,
    pub(super) program: u32,
    pad: u32,
    pub(super) cgroup: u64,
    hook: u32,
    tail: u32,
}

/// Reads what a link to a cgroup connects.
pub(super) fn cgroup_link_info(link: BorrowedFd<'_>) -> io::Result<CgroupLinkInfo> {
    info(link)
}

/// How many programs act at a hook of a cgroup, those of its parents among them.
pub(super) fn programs_on(cgroup: BorrowedFd<'_>, hook: u32) -> io::Result<u32> {
    /// `BPF_F_QUERY_EFFECTIVE`.
    const EFFECTIVE: u32 = 1;
    let mut query = Query { interface: number(cgroup), hook, flags: EFFECTIVE, ..Query::default() };
    call(Command::ProgQuery, &mut query)?;
    Ok(query.count)
}

/// Replaces the program of a link; no packet goes without one.
pub(super) fn relink(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = [number(link), number(program), 0, 0];
    call(Command::LinkUpdate, &mut attributes).map(drop)
}

/// Takes a link off, whoever holds it. It then is on nothing.
pub(super) fn unlink(link: BorrowedFd<'_>) -> io::Result<()> {
    call(Command::LinkDetach, &mut [number(link)]).map(drop)
}

#[derive(Default)]
#[repr(C)]
struct Query {
    interface: u32,
    hook: u32,
    flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    pad: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

/// The numbers of programs and links at a TCX hook of an interface of the calling thread's namespace.
pub(super) fn attached(interface: u32, hook: u32) -> io::Result<Vec<(u32, u32)>> {
    let (mut programs, mut links) = ([0_u32; 64], [0_u32; 64]);
    let mut query = Query {
        interface,
        hook,
        programs: address_mut(&mut programs),
        links: address_mut(&mut links),
        count: 64,
        ..Query::default()
    };
    call(Command::ProgQuery, &mut query)?;
    Ok(programs.into_iter().zip(links).take(query.count as usize).collect())
}

/// Makes the kernel count run time and runs of programs while the descriptor is open.
pub(super) fn enable_stats() -> io::Result<OwnedFd> {
    descriptor(call(Command::EnableStats, &mut [0_u32])?)
}

#[derive(Default)]
#[repr(C)]
struct TestRun {
    program: u32,
    result: u32,
    in_bytes: u32,
    out_bytes: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
    context_in_bytes: u32,
    context_out_bytes: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    pad: u32,
}

/// Runs a program `repeat` times on `packet` as if it had met the second of two interfaces of the calling
/// thread's namespace (0: the loopback), after it came to this host by the first (0: not told). Returns its result, the packet's length in `out`, and the
/// mean duration in nanoseconds.
pub(super) fn test_run(
    program: BorrowedFd<'_>,
    packet: &[u8],
    out: &mut [u8],
    [entered, interface]: [u32; 2],
    repeat: u32,
) -> io::Result<(u32, usize, u32)> {
    // struct __sk_buff: `ingress_ifindex` is the tenth word, `ifindex` the eleventh; the kernel checks that what it does not
    // take from us is zero.
    let mut context = [0_u32; 48];
    [context[9], context[10]] = [entered, interface];
    let words = u32::try_from(size_of_val(&context)).map_err(io::Error::other)?;
    let mut run = TestRun {
        program: number(program),
        in_bytes: u32::try_from(packet.len()).map_err(io::Error::other)?,
        out_bytes: u32::try_from(out.len()).map_err(io::Error::other)?,
        data_in: packet.as_ptr().expose_provenance() as u64,
        data_out: if out.is_empty() { 0 } else { out.as_mut_ptr().expose_provenance() as u64 },
        repeat,
        context_in_bytes: if interface == 0 { 0 } else { words },
        context_in: if interface == 0 { 0 } else { address(&context) },
        ..TestRun::default()
    };
    call(Command::ProgTestRun, &mut run)?;
    Ok((run.result, run.out_bytes as usize, run.duration_ns))
}
