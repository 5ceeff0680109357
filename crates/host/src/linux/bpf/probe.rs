//! What this kernel can do for us, found out by trying, never by its version.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported, is_program_supported};
use rustix::thread::CapabilitySet;

use super::sys::{self, MapShape};
use super::{HookKind, grace};
use crate::linux::rcu::{self, Haste};

/// One ability of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// A short name, stable.
    pub name: &'static str,
    /// Whether the kernel has it.
    pub present: bool,
    /// Whether enforcement is impossible without it.
    pub required: bool,
    /// What was found, or what follows from the lack, in one sentence.
    pub detail: String,
    /// What to do when it is missing, where that is more than "another kernel".
    pub remedy: Option<&'static str>,
}

/// Name of the feature that decides how programs are attached.
pub const TCX_LINKS: &str = "TCX links";

/// Everything that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How programs would be attached.
    pub hooks: HookKind,
    /// Each ability, in the order of the report.
    pub features: Vec<Feature>,
}

impl Capabilities {
    /// What is missing and required; enforcement works when there is none.
    pub fn missing(&self) -> impl Iterator<Item = &Feature> {
        self.features.iter().filter(|feature| feature.required && !feature.present)
    }
}

/// `BPF_MAP_TYPE_HASH` and its neighbours, include/uapi/linux/bpf.h.
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;
const RING_BUFFER: u32 = 27;
/// `BPF_F_NO_PREALLOC`, `BPF_F_MMAPABLE`.
const GROWING: u32 = 1;
const SHARED: u32 = 1 << 10;

/// Whether this process may try at all. One that may not would find every feature missing.
#[must_use]
pub fn may_probe() -> bool {
    let may = rustix::thread::capabilities(None).map(|sets| sets.effective);
    may.is_ok_and(|may| {
        may.contains(CapabilitySet::SYS_ADMIN)
            || may.contains(CapabilitySet::BPF | CapabilitySet::NET_ADMIN)
    })
}

/// Tries everything. Takes a few milliseconds, and leaves nothing behind. Needs root.
#[must_use]
pub fn probe() -> Capabilities {
    let hooks = hook_kind();
    let features = vec![
        classifier(),
        redirect_peer(),
        map("shared arrays", &shape(ARRAY, 4, 8, SHARED), "the epoch cannot be stored atomically"),
        map("hash tables", &shape(HASH, 4, 8, GROWING), "there is no place for the policy"),
        map("LRU tables", &shape(LRU_HASH, 4, 8, 0), "fragments cannot be remembered"),
        map("prefix tries", &shape(LPM_TRIE, 24, 4, GROWING), "address blocks cannot be looked up"),
        map("ring buffer", &ring(), "flows and drops cannot be reported"),
        grace_period(),
        haste(rcu::haste()),
        exclusive_hooks(&running_kernel()),
        tcx(hooks),
        batches(),
        lookup_and_delete(),
        compiler(),
        unprivileged(),
        memory(),
        statistics(),
    ];
    Capabilities { hooks, features }
}

fn shape(kind: u32, key_bytes: u32, value_bytes: u32, flags: u32) -> MapShape {
    MapShape { kind, key_bytes, value_bytes, entries: 4, flags, ..MapShape::default() }
}

fn ring() -> MapShape {
    let entries = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    MapShape { kind: RING_BUFFER, entries, ..MapShape::default() }
}

/// A required feature that is there when `result` is fine.
fn required(name: &'static str, result: &io::Result<()>, lack: &str) -> Feature {
    let detail = match result {
        Ok(()) => "works".to_owned(),
        Err(error) => format!("{lack}: {error}"),
    };
    Feature { name, present: result.is_ok(), required: true, detail, remedy: None }
}

fn optional(name: &'static str, present: bool, detail: &str) -> Feature {
    Feature { name, present, required: false, detail: detail.to_owned(), remedy: None }
}

fn map(name: &'static str, shape: &MapShape, lack: &str) -> Feature {
    required(name, &sys::create_map(shape).map(drop), lack)
}

fn classifier() -> Feature {
    let answer = is_program_supported(ProgramType::SchedClassifier);
    let lack = "programs cannot be put on interfaces";
    required("tc programs", &supported(answer), lack)
}

fn redirect_peer() -> Feature {
    let answer =
        is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_redirect_peer);
    required("redirect to a peer", &supported(answer), "packets cannot be handed to a workload")
}

fn supported<E: std::error::Error + Send + Sync + 'static>(
    answer: Result<bool, E>,
) -> io::Result<()> {
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::ErrorKind::Unsupported.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn grace_period() -> Feature {
    let result = grace::wait().map_err(io::Error::other);
    required("grace periods", &result, "it cannot be told when no packet sees an old policy")
}

fn haste(found: Haste) -> Feature {
    let (present, detail) = match found {
        Haste::OnDemand => (true, "asked for while something changes"),
        Haste::Always => (true, "always on this host"),
        Haste::Ignored => (
            false,
            "this kernel is told to ignore them (rcu_normal is set): attaching a workload takes some 100 ms instead of 10",
        ),
        Haste::Refused => (
            false,
            "/sys/kernel/rcu_expedited cannot be written: attaching a workload takes some 100 ms instead of 10",
        ),
    };
    optional("short grace periods", present, detail)
}

/// What a kernel says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Running {
    /// As `uname -v` prints it: `#1 SMP PREEMPT_RT Debian 6.12.6-1`.
    version: String,
    /// `/sys/kernel/realtime`, which only such kernels have.
    realtime: Option<String>,
}

fn running_kernel() -> Running {
    let version = rustix::system::uname().version().to_string_lossy().into_owned();
    Running { version, realtime: setting("/sys/kernel/realtime") }
}

/// Real-time kernels (`PREEMPT_RT`) let one hook interrupt another on the same CPU: softirqs are threads there, and whether
/// sections with bottom halves disabled exclude each other depends on the release (kernel/softirq.c:
/// `CONFIG_PREEMPT_RT_NEEDS_BH_LOCK`). The programs' working memory is one for each CPU.
fn exclusive_hooks(kernel: &Running) -> Feature {
    let mut words = kernel.version.split_whitespace();
    let is_realtime =
        kernel.realtime.as_deref() == Some("1") || words.any(|word| word == "PREEMPT_RT");
    let detail = if is_realtime {
        "this kernel is built with PREEMPT_RT: hooks may interrupt each other and judge a packet by parts of another"
    } else {
        "works"
    };
    Feature {
        name: "hooks that exclude each other",
        present: !is_realtime,
        required: true,
        detail: detail.to_owned(),
        remedy: Some(
            "boot the distribution's ordinary kernel (Debian: linux-image-amd64 instead of linux-image-rt-amd64)",
        ),
    }
}

fn tcx(hooks: HookKind) -> Feature {
    let present = hooks == HookKind::Tcx;
    let detail = if present {
        "programs are attached by pinned links"
    } else {
        "programs are attached as clsact filters instead"
    };
    optional(TCX_LINKS, present, detail)
}

/// A table with one element, for trying calls on.
fn sample() -> io::Result<OwnedFd> {
    let map = sys::create_map(&shape(HASH, 4, 8, GROWING))?;
    sys::update(map.as_fd(), &1_u32, &1_u64, 0)?;
    Ok(map)
}

fn batches() -> Feature {
    let tried = sample().and_then(|map| sys::update_batch(map.as_fd(), &[2_u32, 3], &[2_u64, 3]));
    let lack = "large changes are written element by element";
    let detail = if tried.is_ok() { "large changes are written in batches" } else { lack };
    optional("batched map calls", tried.is_ok(), detail)
}

fn lookup_and_delete() -> Feature {
    let tried = sample().and_then(|map| sys::take(map.as_fd(), &1_u32, &mut 0_u64));
    let present = matches!(tried, Ok(true));
    let detail = if present {
        "the last packets of an ending flow are counted"
    } else {
        "packets in the moment when a flow ends may be missing in its counts"
    };
    optional("lookup and delete", present, detail)
}

fn setting(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn compiler() -> Feature {
    let value = setting("/proc/sys/net/core/bpf_jit_enable");
    // Without the file the kernel was built to compile always.
    let present = value.is_none_or(|value| value != "0");
    let detail = if present {
        "programs are compiled"
    } else {
        "programs are interpreted, which is several times slower: net.core.bpf_jit_enable is 0"
    };
    let remedy = Some("sysctl -w net.core.bpf_jit_enable=1");
    Feature { remedy, ..optional("JIT compiler", present, detail) }
}

fn unprivileged() -> Feature {
    let value = setting("/proc/sys/kernel/unprivileged_bpf_disabled");
    let present = value.is_some_and(|value| value != "0");
    let detail = if present {
        "only root may load programs"
    } else {
        "anybody may load programs: kernel.unprivileged_bpf_disabled is 0"
    };
    let remedy = Some("sysctl -w kernel.unprivileged_bpf_disabled=1");
    Feature { remedy, ..optional("unprivileged BPF off", present, detail) }
}

/// Maps of the default sizes need some 60 MiB, which kernels before 5.11 count as locked memory.
fn memory() -> Feature {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).maximum;
    let large = MapShape { entries: 65_536, ..shape(ARRAY, 4, 1024, 0) };
    let result = sys::create_map(&large).map(drop).map_err(|error| {
        let limit = limit.map_or_else(|| "unlimited".to_owned(), |bytes| format!("{bytes} bytes"));
        io::Error::new(error.kind(), format!("{error} (the limit of locked memory is {limit})"))
    });
    memory_for(&result)
}

fn memory_for(result: &io::Result<()>) -> Feature {
    let remedy = "raise the limit of locked memory: LimitMEMLOCK=infinity in the systemd unit, as packaging/bulkhead.service \
                  has it; in a shell `ulimit -l unlimited`; in a container --ulimit memlock=-1";
    Feature { remedy: Some(remedy), ..required("memory for maps", result, "the maps do not fit") }
}

fn statistics() -> Feature {
    let present = sys::enable_stats().is_ok();
    let detail = if present { "run times can be measured" } else { "run times cannot be measured" };
    optional("run-time statistics", present, detail)
}

/// Whether the kernel knows TCX links, asked on the loopback interface of a namespace nobody else
/// sees: its hooks can be listed, or the kind of hook is unknown.
pub(super) fn hook_kind() -> HookKind {
    const LOOPBACK: u32 = 1;
    match sys::attached(LOOPBACK, sys::TCX_INGRESS) {
        Ok(_) => HookKind::Tcx,
        // "No such hook in use" is an answer of a kernel that knows it.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => HookKind::Tcx,
        Err(_) => HookKind::Clsact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_kernels_are_refused_by_either_sign() {
        let kernel = |version: &str, realtime: Option<&str>| {
            let realtime = realtime.map(str::to_owned);
            exclusive_hooks(&Running { version: version.to_owned(), realtime })
        };
        for ordinary in [
            kernel("#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)", None),
            kernel("#53-Ubuntu SMP PREEMPT Tue Jan 9 10:00:00 UTC 2024", None),
        ] {
            assert!(ordinary.present, "{ordinary:?}");
        }
        for realtime in [
            kernel("#1 SMP PREEMPT_RT Debian 6.12.6-1 (2024-12-21)", None),
            kernel("#1 SMP PREEMPT Debian 5.10.0-rt", Some("1")),
        ] {
            assert!(!realtime.present && realtime.required, "{realtime:?}");
            assert!(realtime.detail.contains("PREEMPT_RT"));
        }
    }

    #[test]
    fn a_lack_of_locked_memory_names_the_limit_and_where_it_is_set() {
        let feature = memory_for(&Err(io::Error::other("not permitted")));
        assert!(!feature.present && feature.required);
        assert_eq!(feature.detail, "the maps do not fit: not permitted");
        assert!(feature.remedy.is_some_and(|remedy| remedy.contains("LimitMEMLOCK=infinity")));
    }
}
