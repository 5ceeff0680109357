//! A place for workloads: a network namespace, folders and a cgroup that go away with it, and are checked to have gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use host::linux::runtime::{
    self, Dirs, Exec, Handle, Ids, Log, Phase, Restart, Spec, Status, UID_BASE, User,
};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(20);

static NEXT: AtomicU16 = AtomicU16::new(0);

/// This binary.
pub(crate) fn exe() -> PathBuf {
    std::env::current_exe().expect("a running binary has a path")
}

pub(crate) struct Lab {
    pub(crate) dirs: Dirs,
    pub(crate) user: User,
    netns: String,
    cgroup: PathBuf,
    folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bhrt{}-{number}", std::process::id());
        ip(&["netns", "add", &name]);
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        let open = fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(open).tempdir().expect("a folder");
        let dirs = Dirs { run: folder.path().join("run"), state: folder.path().join("state") };
        // Above the numbers of endpoints, so that no workload of the host shares the user.
        let user = User::of_endpoint(
            20_000 + u16::try_from(std::process::id() % 200).expect("small") * 100 + number,
        );
        Self { dirs, user, cgroup: PathBuf::from(&name), netns: name, folder }
    }

    pub(crate) fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.netns)
    }

    /// A workload `t.<name>` of this lab that is never restarted.
    pub(crate) fn spec(&self, name: &str, argv: &[&str]) -> Spec {
        let id = format!("t.{name}");
        let argv = argv.iter().map(|&arg| arg.to_owned()).collect();
        let log = Log::at(self.dirs.state.join("logs").join(format!("{id}.log")));
        let spec = Spec::new(&id, argv, self.user, &self.netns(), log);
        let ids = Some(Ids::numbered(self.user.uid - UID_BASE));
        Spec { cgroup: self.cgroup.join(&id), restart: Restart::No, ids, ..spec }
    }

    /// A workload that runs `probe` of this binary, where the workload's user gets at it: the checkout may lie in a home.
    pub(crate) fn probe(&self, name: &str, what: &[&str]) -> Spec {
        let copy = self.folder.path().join("probe");
        if !copy.exists() {
            fs::copy(exe(), &copy).expect("copied");
        }
        let argv = [&[copy.to_str().expect("plain"), "probe"], what].concat();
        self.spec(name, &argv)
    }

    pub(crate) fn start(&self, spec: &Spec) -> Handle {
        runtime::start(&self.dirs, spec, &exe()).expect("the supervisor comes up")
    }

    /// Every process of this lab's user.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("proc is mounted") {
            let name = entry.expect("readable").file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
                continue;
            };
            let is_ours =
                status.lines().any(|line| line.starts_with(&format!("Uid:\t{}\t", self.user.uid)));
            let is_dead = status.lines().any(|line| line.starts_with("State:\tZ"));
            if is_ours && !is_dead {
                found.push(pid);
            }
        }
        found
    }

    /// Cgroups with the lab's name, in every hierarchy.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
        let roots = mounts.lines().filter(|line| line.contains(" - cgroup"));
        let folders = roots.filter_map(|line| line.split(' ').nth(4));
        folders
            .map(|root| Path::new(root).join(&self.cgroup))
            .filter(|path| path.exists())
            .collect()
    }

    pub(crate) fn cgroup_of(&self, name: &str, file: &str) -> Option<String> {
        let groups = self.cgroups().into_iter();
        let files = groups.map(|group| group.join(format!("t.{name}")).join(file));
        files.into_iter().find_map(|file| fs::read_to_string(file).ok())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for handle in runtime::list(&self.dirs).expect("readable").handles {
            runtime::stop(&handle, Duration::ZERO).expect("a workload stops");
        }
        ip(&["netns", "del", &self.netns]);
        if !std::thread::panicking() {
            assert_eq!(self.processes(), [0_u32; 0], "processes are left");
            assert_eq!(self.cgroups(), Vec::<PathBuf>::new(), "cgroups are left");
        }
    }
}

fn ip(args: &[&str]) {
    let status = Command::new("ip").args(args).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {args:?}: {status}");
}

/// Waits until `look` finds something.
#[expect(clippy::disallowed_methods, reason = "this is the wait for a condition with a deadline")]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < limit, "waited 20 s for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn status(handle: &Handle) -> Status {
    runtime::status(handle).expect("the supervisor says so")
}

pub(crate) fn until_phase(handle: &Handle, phase: Phase) -> Status {
    until(&format!("{phase:?}"), || Some(status(handle)).filter(|status| status.phase == phase))
}

/// The text of every line of the log, without time and stream.
pub(crate) fn output(handle: &Handle) -> Vec<String> {
    let mut reader = runtime::logs(&handle.spec().log, None).expect("readable");
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line(Duration::ZERO).expect("readable") {
        let mut words = line.splitn(3, ' ');
        if matches!(words.nth(1), Some("out" | "err")) {
            lines.push(words.next().unwrap_or_default().to_owned());
        }
    }
    lines
}

/// Runs a workload to its end and returns its output.
pub(crate) fn run(lab: &Lab, spec: &Spec) -> Vec<String> {
    let handle = lab.start(spec);
    let status =
        until("the workload's end", || Some(status(&handle)).filter(|now| now.phase.is_final()));
    assert_eq!(status.error, None);
    output(&handle)
}

/// Runs a command in a workload and returns its exit code and its output.
pub(crate) fn exec(handle: &Handle, argv: &[&str]) -> (Option<i32>, String) {
    let exec = Exec { argv: argv.iter().map(|&arg| arg.to_owned()).collect(), ..Exec::default() };
    let output =
        runtime::command_in(handle, &exec, &exe()).expect("encodable").output().expect("spawned");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// Runs a command of the host in the lab's network.
pub(crate) fn in_network(lab: &Lab, argv: &[&str]) -> String {
    let exec = Exec { argv: argv.iter().map(|&arg| arg.to_owned()).collect(), ..Exec::default() };
    let mut command = runtime::command_in_netns(&lab.netns(), &exec, &exe()).expect("encodable");
    let output = command.output().expect("spawned");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim_end().to_owned()
}

/// An agent that starts a workload and then is no more, as by `kill -9`.
pub(crate) fn agent_main(run: &str, state: &str, spec: &str) -> ExitCode {
    let dirs = Dirs { run: run.into(), state: state.into() };
    let spec: Spec = serde_json::from_str(spec).expect("a spec");
    runtime::start(&dirs, &spec, &exe()).expect("the supervisor comes up");
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("own process");
    ExitCode::FAILURE
}
