//! A command on a terminal of its own, with a pair of ours in the place of the caller's.

use std::os::fd::AsFd as _;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, Winsize};

use super::*;

/// How long anything here may take.
const SOON: Duration = Duration::from_secs(20);

/// The caller's terminal: we sit at the near end, the caller has the far one.
struct Desk {
    near: OwnedFd,
    far: OwnedFd,
    shown: String,
}

impl Desk {
    fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let near = openpt(flags).expect("a terminal");
        grantpt(&near).expect("ours");
        unlockpt(&near).expect("open");
        let far = ioctl_tiocgptpeer(&near, flags).expect("its other end");
        let size = Winsize { ws_row: 33, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&near, size).expect("a size");
        Self { near, far, shown: String::new() }
    }

    /// Runs a script as `exec` would, on the streams that are marked.
    fn run(&self, script: &str, streams: [bool; 3]) -> JoinHandle<io::Result<ExitStatus>> {
        let null = std::fs::File::open("/dev/null").expect("nothing");
        let stream = |is_ours: bool| if is_ours { self.far.as_fd() } else { null.as_fd() };
        let terminal = Terminal::of(streams.map(stream)).expect("a pair").expect("a terminal");
        let mut command = Command::new("setsid");
        // It takes the terminal from its standard input.
        command.args(streams[0].then_some("--ctty")).args(["--wait", "sh", "-c", script]);
        std::thread::spawn(move || terminal.run(command))
    }

    /// Reads until the terminal shows `text`.
    fn see(&mut self, text: &str) {
        let until = Instant::now() + SOON;
        while !self.shown.contains(text) {
            assert!(Instant::now() < until, "waiting for {text:?}: {:?}", self.shown);
            let mut fds = [PollFd::new(&self.near, PollFlags::IN)];
            if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 })) == Ok(1) {
                let mut piece = [0; PIECE];
                let count = read(&self.near, &mut piece).expect("readable");
                self.shown += &String::from_utf8_lossy(&piece[..count]);
            }
        }
    }

    fn type_in(&self, text: &str) {
        assert_eq!(write(&self.near, text.as_bytes()), Ok(text.len()));
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.far).expect("settings").local_modes.contains(LocalModes::ECHO)
    }
}

#[test]
fn a_command_talks_through_a_terminal_of_its_own() {
    let mut desk = Desk::new();
    let running = desk.run("stty size; echo ready; read word; echo \"<$word>\"; exit 7", [true; 3]);
    desk.see("33 111");
    desk.see("ready");
    assert!(!desk.echoes(), "the caller's terminal hands every key on");
    desk.type_in("hello\r");
    desk.see("<hello>");
    let status = running.join().expect("no panic").expect("it ran");
    assert_eq!(status.code(), Some(7));
    assert!(desk.echoes(), "as it was before");
}

#[test]
fn keys_make_signals_inside_and_nowhere_else() {
    let mut desk = Desk::new();
    let script = "trap 'echo interrupted; exit 3' INT; echo ready; while :; do read word; done";
    let running = desk.run(script, [true; 3]);
    desk.see("ready");
    desk.type_in("\u{3}");
    desk.see("interrupted");
    assert_eq!(running.join().expect("no panic").expect("it ran").code(), Some(3));
    assert!(desk.echoes());
}

#[test]
fn all_that_was_written_is_shown_before_the_end() {
    let mut desk = Desk::new();
    let running = desk.run("seq 5000; echo over", [true; 3]);
    desk.see("4999\r\n5000\r\nover");
    assert!(running.join().expect("no panic").expect("it ran").success());
    assert_eq!(desk.shown.lines().count(), 5001);
}

#[test]
fn the_terminal_of_the_caller_stays_with_the_caller() {
    let mut desk = Desk::new();
    // Left behind, it goes on reading after the command has ended.
    let running =
        desk.run("(trap '' HUP; while :; do read word || exit; done) & echo over", [true; 3]);
    assert!(running.join().expect("no panic").expect("it ran").success());
    desk.see("over");
    desk.type_in("secret\r");
    let mut fds = [PollFd::new(&desk.far, PollFlags::IN)];
    let wait = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&wait)), Ok(1), "nobody else has taken it");
    let mut piece = [0; PIECE];
    let count = read(&desk.far, &mut piece).expect("readable");
    assert_eq!(&piece[..count], b"secret\n");
}

#[test]
fn without_a_keyboard_lines_are_ended_once() {
    let mut desk = Desk::new();
    let running = desk.run("echo one; echo over", [false, true, true]);
    desk.see("over");
    assert!(running.join().expect("no panic").expect("it ran").success());
    assert!(desk.shown.starts_with("one\r\nover"), "{:?}", desk.shown);
    assert!(desk.echoes(), "untouched");
}

#[test]
fn who_else_writes_to_the_terminal_has_lines_as_before() {
    let mut desk = Desk::new();
    let script = "echo one >&2; read word; echo \"<$word>\" >&2";
    let running = desk.run(script, [true, false, true]);
    desk.see("one");
    let settings = tcgetattr(&desk.far).expect("settings");
    assert!(settings.output_modes.contains(OutputModes::OPOST) && !desk.echoes());
    assert_eq!(write(&desk.far, b"from grep\n"), Ok(10));
    desk.see("from grep\r\n");
    desk.type_in("hello\r");
    desk.see("<hello>\r\n");
    assert!(running.join().expect("no panic").expect("it ran").success());
    assert!(desk.shown.contains("one\r\n") && !desk.shown.contains("\r\r"), "{:?}", desk.shown);
}

#[test]
fn streams_that_are_no_terminal_need_none() {
    let null = std::fs::File::open("/dev/null").expect("nothing");
    assert!(Terminal::of([null.as_fd(); 3]).expect("no terminal").is_none());
}

#[test]
fn a_command_that_cannot_be_run_leaves_the_terminal_as_it_was() {
    let desk = Desk::new();
    let terminal = Terminal::of([desk.far.as_fd(); 3]).expect("a pair").expect("a terminal");
    terminal.run(Command::new("/nowhere/to/be/found")).expect_err("not there");
    assert!(desk.echoes());
}
