//! What is read as a file, and what is refused instead of being waited for.

use std::path::Path;
use std::process::Command;

use super::*;

/// What is said about this path, with its folder cut off.
fn refused(path: &Path) -> String {
    let failure = read(path).expect_err("is refused");
    let Failure::Error(error) = failure else { panic!("{failure:?}") };
    let folder = path.parent().map(|folder| format!("{}/", folder.display())).unwrap_or_default();
    let text = format!("{} {} ({})", error.code, error.message, error.hint.unwrap_or_default());
    text.replace(&folder, "")
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    insta::assert_snapshot!(refused(&pipe), @"BH0222 pipe is a named pipe, not a file (hand its text over as standard input: cat PIPE | bulkhead policy check -)");
    std::fs::create_dir(folder.path().join("folder")).expect("a folder");
    insta::assert_snapshot!(refused(&folder.path().join("folder")), @"BH0222 folder is a folder, not a file (name the file in it)");
    insta::assert_snapshot!(refused(Path::new("/dev/zero")), @"BH0222 zero is a device, not a file (write the text to a file first)");
    insta::assert_snapshot!(refused(&folder.path().join("missing")), @"BH0222 read missing (check the path and its permissions)");
    assert_eq!(called(Path::new("-")), "<stdin>", "which is read, whatever it is");
}

#[test]
fn files_are_read_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("f.yaml");
    std::fs::write(&file, b"\xff\0").expect("is written");
    assert_eq!(read(&file).expect("is read"), b"\xff\0");
}

/// A pipe that a shell hands over (`<(..)`) is a descriptor of this process.
#[test]
fn a_pipe_that_is_open_is_read_to_its_end() {
    use std::os::fd::AsRawFd as _;
    let (out, mut into) = std::io::pipe().expect("a pipe");
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut into, b"bulkhead: 1\n"));
    let path = format!("/dev/fd/{}", out.as_raw_fd());
    assert_eq!(read(Path::new(&path)).expect("is read"), b"bulkhead: 1\n");
    writer.join().expect("ends").expect("is written");
}
