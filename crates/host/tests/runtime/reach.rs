//! What a workload reaches of what it is shown: files that every user may read, and nothing that only root may.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use host::linux::runtime::{self, Exec, Spec, User};
use nix::mount::{MntFlags, MsFlags};

use super::Test;
use super::lab::{Lab, exe, exec, output, run, until};
use super::walls::{request, text};

pub(crate) const TESTS: &[Test] = &[
    ("sockets_of_the_host_are_seen_and_not_reached_root", sockets_of_the_host_are_not_reached),
    ("sockets_are_hidden_where_ids_cannot_be_mapped_root", sockets_are_hidden),
    ("what_only_root_may_read_is_not_shown_to_root_root", what_only_root_may_read),
    ("root_inside_is_nobody_outside_root", root_inside_is_nobody_outside),
    ("exec_as_root_is_nobody_outside_root", exec_as_root_is_nobody_outside),
];

const DENIED: &str = "Permission denied (os error 13)";
const ROOT: User = User { uid: 0, gid: 0 };

/// A folder of the host that is shown: a socket that everybody may write to, with somebody who listens, and files.
struct Shown {
    folder: tempfile::TempDir,
    _listener: UnixListener,
}

impl Shown {
    fn new() -> Self {
        // On a disk, as what is shown is.
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        set_mode(folder.path(), 0o755);
        let listener = UnixListener::bind(folder.path().join("open.sock")).expect("a socket");
        set_mode(&folder.path().join("open.sock"), 0o666);
        for (name, mode) in [("all", 0o644), ("root", 0o600), ("group", 0o640), ("none", 0o000)] {
            let path = folder.path().join(name);
            File::create(&path).expect("a file");
            set_mode(&path, mode);
        }
        Self { folder, _listener: listener }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("plain").to_owned()
    }

    /// What a workload says that was started with this folder.
    fn reached(&self, lab: &Lab, user: User, names: &[&str]) -> Vec<String> {
        let paths: Vec<String> = names.iter().map(|name| self.path(name)).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let spec = lab.probe("box", &[&["reach"], paths.as_slice()].concat());
        let read_only = vec![PathBuf::from(self.folder.path())];
        let lines = run(lab, &Spec { user, read_only, ..spec });
        let short = |line: &String| line.replace(&format!("{}/", self.folder.path().display()), "");
        lines.iter().map(short).collect()
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("our own");
}

fn sockets_of_the_host_are_not_reached() {
    let shown = Shown::new();
    for as_root in [false, true] {
        let lab = Lab::new();
        let user = if as_root { ROOT } else { lab.user };
        let lines = shown.reached(&lab, user, &["open.sock", "all"]);
        assert_eq!(lines, [format!("open.sock: {DENIED}"), "all: works".to_owned()], "{user:?}");
    }
}

/// A file system that knows no mapped ids, as every one before Linux 5.12; unmounted with its folder.
struct Simple(tempfile::TempDir);

impl Simple {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let none = None::<&str>;
        nix::mount::mount(none, folder.path(), Some("ramfs"), MsFlags::empty(), none)
            .expect("memory");
        set_mode(folder.path(), 0o755);
        Self(folder)
    }
}

impl Drop for Simple {
    fn drop(&mut self) {
        nix::mount::umount2(self.0.path(), MntFlags::MNT_DETACH).expect("unmounted");
    }
}

fn sockets_are_hidden() {
    let lab = Lab::new();
    let simple = Simple::new();
    let deep = simple.0.path().join("a/b");
    fs::create_dir_all(&deep).expect("folders");
    let path = deep.join("open.sock");
    let _listener = UnixListener::bind(&path).expect("a socket");
    set_mode(&path, 0o666);
    let path = path.to_str().expect("plain");
    let read_only = vec![simple.0.path().to_owned()];
    let lines = run(&lab, &Spec { read_only, ..lab.probe("box", &["reach", path]) });
    assert_eq!(lines, [format!("{path}: Connection refused (os error 111)")]);
}

fn what_only_root_may_read() {
    let lab = Lab::new();
    let shown = Shown::new();
    let lines = shown.reached(&lab, ROOT, &["all", "root", "group", "none"]);
    let denied = |name| format!("{name}: {DENIED}");
    assert_eq!(lines, ["all: works".to_owned(), denied("root"), denied("group"), denied("none")]);
}

fn root_inside_is_nobody_outside() {
    let lab = Lab::new();
    let script = "echo $(id -u) $(id -g); touch /data/own; stat -c %u /data/own; chown 33:33 /data/own; stat -c %u /data/own; \
                  exec sleep 600";
    let spec = lab.spec("box", &["sh", "-c", script]);
    let data = lab.dirs.state.join("data/t.box");
    let handle = lab.start(&Spec { user: ROOT, data: Some(data.clone()), ..spec });
    let said = until("its words", || Some(output(&handle)).filter(|said| said.len() >= 3));
    assert_eq!(said, ["0 0", "0", "33"]);
    let (code, inside) = exec(&handle, &["cat", "/proc/self/uid_map"]);
    assert_eq!(code, Some(0), "{inside}");
    let first = inside.split_whitespace().nth(1).and_then(|id| id.parse::<u32>().ok());
    assert!(first.is_some_and(|first| first > 1_000_000), "{inside}");
    let owner = fs::metadata(data.join("own")).expect("on the host's disk").uid();
    assert_eq!(Some(owner), first.map(|first| first + 33));
    assert_eq!(exec(&handle, &["id", "-u"]), (Some(0), "0".to_owned()));
    let (_, denied) = exec(&handle, &["sh", "-c", "kill -9 1; cat /proc/1/environ"]);
    assert!(denied.contains("ermission denied"), "{denied}");
}

fn exec_as_root_is_nobody_outside() {
    let lab = Lab::new();
    let shown = Shown::new();
    let read_only = vec![PathBuf::from(shown.folder.path())];
    let spec = lab.spec("box", &["sh", "-c", "umask 077; echo x > /data/own; exec sleep 600"]);
    let handle = lab.start(&Spec { read_only, ..spec });
    let secret = shown.path("root");
    let script = format!("id -u; until cat /data/own; do :; done; cat {secret}");
    let exec = Exec { user: Some(ROOT), ..request(&["sh", "-c", &script]) };
    let (code, said) = text(&mut runtime::command_in(&handle, &exec, &exe()).expect("encodable"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("0\nx\n"), "root over the files of the workload: {said}");
    assert!(said.contains("ermission denied"), "and of nobody else: {said}");
}
