//! Which system calls a workload may make.
//!
//! Filters, of which the last word is said by the strictest, and among equals by the one installed last
//! (Linux Documentation/userspace-api/seccomp_filter.rst):
//!
//! 1. An allow list of what servers use, close to Docker's default. Anything else, also calls that are newer than this
//!    list, answers ENOSYS, so that programs fall back. `clone` may make threads and processes, not namespaces; `clone3`,
//!    whose flags a filter cannot see, is not on the list.
//! 2. What is dangerous and well known answers EPERM: namespaces (`unshare`, `setns`), mounts, kernel modules, `bpf`,
//!    `keyctl`, `ptrace` and the memory of other processes, `io_uring` (which would get around this filter), clocks, ...
//! 3. Sockets of other families than unix, inet, inet6 and netlink (so no `AF_PACKET`, no `AF_VSOCK`, no `AF_ALG`) answer
//!    EAFNOSUPPORT.
//! 4. Of these families, other protocols than TCP, UDP and ping, and other netlink than routes, answer EPROTONOSUPPORT:
//!    making such a socket would have the kernel load a module (`net-pf-<family>-proto-<protocol>`, `net/ipv4/af_inet.c`,
//!    `net/netlink/af_netlink.c`), which is code that the host's owner did not ask for. SCTP is allowed where it is loaded.
//!
//! In the host's network namespace, whose abstract unix sockets are those of the host's daemons, and where the kernel has no other wall
//! ([`super::landlock`]), there is a fifth: unix sockets other than pairs answer EAFNOSUPPORT.
//!
//! 32-bit system calls kill the program: their numbers mean something else.

use std::collections::BTreeMap;

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET,
    CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, EAFNOSUPPORT, ENOSYS, EPERM,
    EPROTONOSUPPORT, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP,
    NETLINK_ROUTE, SYS_clone, SYS_ioctl, SYS_personality, SYS_socket, SYS_socketpair, c_long,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

const NAMESPACES: u64 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET) as u64;

/// Protocols of inet sockets: the default of the type, ping, TCP, UDP.
const INET: [i32; 4] = [0, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP];
/// The same of inet6.
const INET6: [i32; 4] = [0, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP];
/// Protocols of netlink sockets: addresses and routes, which `getifaddrs(3)` reads.
const NETLINK: [i32; 1] = [NETLINK_ROUTE];

/// Families a workload may make sockets of.
const FAMILIES: [i32; 4] = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];

/// `TIOCSTI` types into a terminal, `TIOCLINUX` does so on a console (`ioctl_tty(2)`).
const TERMINAL_INJECTIONS: [u64; 2] = [0x5412, 0x541C];

/// `personality(2)`: Linux, and what it is now.
const PERSONALITIES: [u64; 2] = [0, 0xFFFF_FFFF];

/// The compiled filters, in the order of their installation.
pub(super) struct Filters(Vec<BpfProgram>);

impl Filters {
    /// Compiles the filters for this machine; `walled` is without unix sockets.
    pub(super) fn compile(walled: bool) -> Result<Self, seccompiler::BackendError> {
        let arch: TargetArch = std::env::consts::ARCH.try_into()?;
        let errno = |number: i32| SeccompAction::Errno(number.unsigned_abs());
        let allowed = SeccompFilter::new(allowed()?, errno(ENOSYS), SeccompAction::Allow, arch)?;
        let refused = SeccompFilter::new(refused(), SeccompAction::Allow, errno(EPERM), arch)?;
        let sockets =
            SeccompFilter::new(sockets()?, SeccompAction::Allow, errno(EAFNOSUPPORT), arch)?;
        let rules = protocols(has_sctp())?;
        let protocols =
            SeccompFilter::new(rules, SeccompAction::Allow, errno(EPROTONOSUPPORT), arch)?;
        let rules = Rules::from([(SYS_socket, vec![unix()?])]);
        let unix = SeccompFilter::new(rules, SeccompAction::Allow, errno(EAFNOSUPPORT), arch)?;
        let all = [allowed, refused, protocols, sockets].into_iter().chain(walled.then_some(unix));
        let programs = all.map(BpfProgram::try_from);
        programs.collect::<Result<_, _>>().map(Self)
    }

    /// Installs them for the calling thread and everything it starts, for good. Sets `no_new_privs`.
    pub(super) fn install(&self) -> seccompiler::Result<()> {
        self.0.iter().try_for_each(|program| apply_filter(program))
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn condition(
    arg: u8,
    op: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(arg, SeccompCmpArgLen::Dword, op, value)
}

fn allowed() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = ALLOWED.iter().chain(ALLOWED_HERE).map(|&nr| (nr, Vec::new())).collect();
    let no_namespace = condition(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0)?;
    rules.insert(SYS_clone, vec![SeccompRule::new(vec![no_namespace])?]);
    let harmless = TERMINAL_INJECTIONS.iter().map(|&nr| condition(1, SeccompCmpOp::Ne, nr));
    rules.insert(SYS_ioctl, vec![SeccompRule::new(harmless.collect::<Result<_, _>>()?)?]);
    let mut plain = Vec::new();
    for persona in PERSONALITIES {
        plain.push(SeccompRule::new(vec![condition(0, SeccompCmpOp::Eq, persona)?])?);
    }
    rules.insert(SYS_personality, plain);
    Ok(rules)
}

fn refused() -> Rules {
    REFUSED.iter().map(|&nr| (nr, Vec::new())).collect()
}

fn sockets() -> Result<Rules, seccompiler::BackendError> {
    let others = FAMILIES
        .iter()
        .map(|family| condition(0, SeccompCmpOp::Ne, u64::from(family.unsigned_abs())));
    let other_family = SeccompRule::new(others.collect::<Result<_, _>>()?)?;
    let calls = [SYS_socket, SYS_socketpair];
    Ok(calls.into_iter().map(|nr| (nr, vec![other_family.clone()])).collect())
}

fn unix() -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![condition(0, SeccompCmpOp::Eq, u64::from(AF_UNIX.unsigned_abs()))?])
}

/// Whether SCTP is there without a workload's doing.
fn has_sctp() -> bool {
    let protocols = std::fs::read_to_string("/proc/net/protocols").unwrap_or_default();
    protocols.lines().any(|line| line.split_ascii_whitespace().next() == Some("SCTP"))
}

fn protocols(sctp: bool) -> Result<Rules, seccompiler::BackendError> {
    let mut rules = Vec::new();
    let sctp = sctp.then_some(IPPROTO_SCTP);
    for (family, known, more) in [
        (AF_INET, INET.as_slice(), sctp),
        (AF_INET6, INET6.as_slice(), sctp),
        (AF_NETLINK, NETLINK.as_slice(), None),
    ] {
        let mut all = vec![condition(0, SeccompCmpOp::Eq, u64::from(family.unsigned_abs()))?];
        for protocol in known.iter().copied().chain(more) {
            all.push(condition(2, SeccompCmpOp::Ne, u64::from(protocol.unsigned_abs()))?);
        }
        rules.push(SeccompRule::new(all)?);
    }
    Ok(Rules::from([(SYS_socket, rules)]))
}

/// Numbers of system calls on this architecture.
macro_rules! numbers {
    ($($name:ident),* $(,)?) => { &[$(libc::$name),*] };
}

/// Refused with EPERM rather than ENOSYS, because people will look for the reason.
#[rustfmt::skip]
const REFUSED: &[c_long] = numbers![
    // namespaces and mounts
    SYS_unshare, SYS_setns, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_move_mount, SYS_open_tree,
    SYS_fsopen, SYS_fsmount, SYS_fsconfig, SYS_fspick, SYS_mount_setattr, SYS_open_by_handle_at,
    SYS_name_to_handle_at, SYS_quotactl, SYS_swapon, SYS_swapoff,
    // the kernel itself
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_bpf, SYS_perf_event_open,
    SYS_reboot, SYS_acct, SYS_syslog, SYS_lookup_dcookie, SYS_nfsservctl,
    SYS_settimeofday, SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex, SYS_sethostname, SYS_setdomainname,
    // keys are shared by the whole host
    SYS_keyctl, SYS_add_key, SYS_request_key,
    // other processes
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, SYS_pidfd_getfd, SYS_process_madvise,
    SYS_move_pages, SYS_migrate_pages,
    // ways around this filter, and big attack surfaces that servers do without
    SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_userfaultfd, SYS_vhangup,
    SYS_fanotify_init, SYS_fanotify_mark,
];

/// Allowed on every architecture.
#[rustfmt::skip]
const ALLOWED: &[c_long] = numbers![
    // files
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2,
    SYS_pwritev2, SYS_openat, SYS_openat2, SYS_close, SYS_close_range, SYS_lseek, SYS_fstat, SYS_newfstatat,
    SYS_statx, SYS_statfs, SYS_fstatfs, SYS_faccessat, SYS_faccessat2, SYS_getdents64, SYS_getcwd, SYS_chdir,
    SYS_fchdir, SYS_mkdirat, SYS_mknodat, SYS_unlinkat, SYS_renameat2, SYS_linkat, SYS_symlinkat, SYS_readlinkat,
    SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_utimensat, SYS_truncate, SYS_ftruncate, SYS_fallocate,
    SYS_fsync, SYS_fdatasync, SYS_sync, SYS_syncfs, SYS_sync_file_range, SYS_fadvise64, SYS_readahead, SYS_umask,
    SYS_dup, SYS_dup3, SYS_fcntl, SYS_flock, SYS_pipe2, SYS_splice, SYS_tee, SYS_vmsplice, SYS_sendfile,
    SYS_copy_file_range, SYS_memfd_create,
    SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr, SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_listxattr,
    SYS_llistxattr, SYS_flistxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
    SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch,
    SYS_io_setup, SYS_io_destroy, SYS_io_submit, SYS_io_cancel, SYS_io_getevents,
    // waiting
    SYS_pselect6, SYS_ppoll, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2,
    SYS_signalfd4, SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime,
    // memory
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_msync, SYS_mincore, SYS_mlock,
    SYS_mlock2, SYS_munlock, SYS_mlockall, SYS_munlockall, SYS_membarrier, SYS_remap_file_pages, SYS_rseq,
    SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect, SYS_get_mempolicy, SYS_set_mempolicy, SYS_mbind,
    // processes and threads
    SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_wait4, SYS_waitid, SYS_kill, SYS_tkill, SYS_tgkill,
    SYS_pidfd_open, SYS_pidfd_send_signal, SYS_getpid, SYS_getppid, SYS_gettid, SYS_set_tid_address, SYS_getpgid,
    SYS_setpgid, SYS_getsid, SYS_setsid, SYS_set_robust_list, SYS_get_robust_list, SYS_futex, SYS_prctl,
    SYS_getrlimit, SYS_setrlimit, SYS_prlimit64, SYS_getrusage, SYS_times, SYS_getpriority, SYS_setpriority,
    SYS_ioprio_get, SYS_ioprio_set, SYS_getcpu, SYS_restart_syscall,
    SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_sched_getparam, SYS_sched_setparam,
    SYS_sched_getscheduler, SYS_sched_setscheduler, SYS_sched_getattr, SYS_sched_setattr,
    SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_rr_get_interval,
    // users
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid, SYS_getresgid, SYS_getgroups, SYS_setuid,
    SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setfsuid, SYS_setfsgid,
    SYS_setgroups, SYS_capget, SYS_capset,
    // signals and time
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending, SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_sigaltstack, SYS_nanosleep,
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_gettimeofday, SYS_getitimer, SYS_setitimer,
    SYS_timer_create, SYS_timer_settime, SYS_timer_gettime, SYS_timer_getoverrun, SYS_timer_delete,
    // network
    SYS_socket, SYS_socketpair, SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect, SYS_getsockname,
    SYS_getpeername, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg,
    SYS_getsockopt, SYS_setsockopt, SYS_shutdown,
    // inter-process communication, private to the workload
    SYS_shmget, SYS_shmat, SYS_shmdt, SYS_shmctl, SYS_semget, SYS_semop, SYS_semtimedop, SYS_semctl, SYS_msgget,
    SYS_msgsnd, SYS_msgrcv, SYS_msgctl, SYS_mq_open, SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive,
    SYS_mq_notify, SYS_mq_getsetattr,
    // the host, and a program's own restrictions
    SYS_uname, SYS_sysinfo, SYS_getrandom, SYS_seccomp, SYS_landlock_create_ruleset, SYS_landlock_add_rule,
    SYS_landlock_restrict_self,
];

/// Older calls that only this architecture has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[c_long] = numbers![
    SYS_open, SYS_creat, SYS_stat, SYS_lstat, SYS_access, SYS_chmod, SYS_chown, SYS_lchown, SYS_getdents, SYS_mkdir,
    SYS_rmdir, SYS_mknod, SYS_unlink, SYS_rename, SYS_renameat, SYS_link, SYS_symlink, SYS_readlink, SYS_utime,
    SYS_utimes, SYS_futimesat, SYS_dup2, SYS_pipe, SYS_select, SYS_poll, SYS_epoll_create, SYS_epoll_wait,
    SYS_eventfd, SYS_signalfd, SYS_inotify_init, SYS_fork, SYS_vfork, SYS_getpgrp, SYS_alarm, SYS_pause, SYS_time,
    SYS_arch_prctl,
];

/// Older calls that only this architecture has.
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = numbers![SYS_renameat];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compile_within_the_kernels_bound() {
        let filters = Filters::compile(true).expect("the lists are well formed");
        let lengths: Vec<usize> = filters.0.iter().map(Vec::len).collect();
        assert_eq!(lengths.len(), 5);
        assert!(lengths.iter().all(|&length| length <= 4096), "{lengths:?}");
    }

    #[test]
    fn no_call_is_on_both_lists() {
        let allowed = allowed().expect("well formed");
        let both: Vec<&c_long> = REFUSED.iter().filter(|nr| allowed.contains_key(nr)).collect();
        assert!(both.is_empty(), "{both:?}");
        assert!(!allowed.contains_key(&libc::SYS_clone3));
    }
}
