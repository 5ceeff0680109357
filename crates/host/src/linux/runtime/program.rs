//! Finding and running a program inside the workload's view.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{AccessFlags, eaccess, execve};

use super::fault::{Doing, Fault};
use super::{Spec, descriptors};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where a workload keeps what it wants to find again.
pub(super) const DATA: &str = "/data";

/// A program with everything it starts with.
#[derive(Clone, Debug)]
pub(super) struct Program {
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    workdir: PathBuf,
}

impl Program {
    /// The program of a workload.
    pub(super) fn of(spec: &Spec) -> Self {
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
            ("HOME".to_owned(), DATA.to_owned()),
            ("HOSTNAME".to_owned(), spec.hostname.clone()),
        ]);
        env.extend(spec.env.clone());
        let workdir = spec.workdir.clone().unwrap_or_else(|| DATA.into());
        Self { argv: spec.argv.clone(), env, workdir }
    }

    /// A program with exactly these surroundings.
    pub(super) fn new(argv: Vec<String>, env: BTreeMap<String, String>, workdir: PathBuf) -> Self {
        Self { argv, env, workdir }
    }

    /// Another program in the same surroundings.
    pub(super) fn with(
        mut self,
        argv: Vec<String>,
        env: BTreeMap<String, String>,
        workdir: Option<PathBuf>,
    ) -> Self {
        self.argv = argv;
        self.env.extend(env);
        self.workdir = workdir.unwrap_or(self.workdir);
        self
    }

    /// Becomes the program; returns only when that failed. Signals get their default meaning first.
    pub(super) fn exec(&self) -> Fault {
        match self.try_exec() {
            Ok(never) => match never {},
            Err(fault) => fault,
        }
    }

    fn try_exec(&self) -> Result<Infallible, Fault> {
        let name = self.argv.first().ok_or_else(|| Fault::new("there is no program to run"))?;
        std::env::set_current_dir(&self.workdir)
            .doing(|| format!("working directory {}", self.workdir.display()))?;
        // The kernel names no path for a folder that cannot be reached from the root.
        std::env::current_dir()
            .doing(|| format!("{} is outside of the workload", self.workdir.display()))?;
        let path = self.find(name)?;
        let texts = |texts: Vec<String>| -> Result<Vec<CString>, Fault> {
            let texts: Result<_, _> = texts.into_iter().map(CString::new).collect();
            texts.doing(|| format!("`{name}`"))
        };
        let program =
            CString::new(path.as_os_str().as_encoded_bytes()).doing(|| format!("`{name}`"))?;
        let env = self.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let (argv, env) = (texts(self.argv.clone())?, texts(env)?);
        descriptors::close_on_exec().doing(|| "closing files".to_owned())?;
        default_signals();
        let Err(errno) = execve(&program, &argv, &env);
        Err(refused(name, &path, errno))
    }

    fn find(&self, name: &str) -> Result<PathBuf, Fault> {
        if name.contains('/') {
            return Ok(PathBuf::from(name));
        }
        let path = self.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        let candidates = path.split(':').filter(|folder| !folder.is_empty());
        candidates
            .map(|folder| Path::new(folder).join(name))
            .find(|file| file.is_file() && eaccess(file, AccessFlags::X_OK).is_ok())
            .ok_or_else(|| {
                Fault::new(format!("`{name}`: no such program in PATH; looked in {path}"))
            })
    }
}

fn refused(name: &str, path: &Path, errno: Errno) -> Fault {
    let reason = match errno {
        Errno::ENOENT if path.exists() => "its interpreter or loader does not exist".to_owned(),
        Errno::ENOENT => "no such program in what a workload sees of the host".to_owned(),
        Errno::ENOEXEC => "is not a program for this machine, nor a script with #!".to_owned(),
        Errno::EACCES => "the workload's user may not run it".to_owned(),
        errno => io::Error::from(errno).to_string(),
    };
    Fault::new(format!("`{name}`: {reason}"))
}

/// Undoes what Rust's runtime and the supervisor changed: an ignored or blocked signal stays so across `execve`.
#[expect(unsafe_code, reason = "signal dispositions have no safe form")]
fn default_signals() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator() {
        // SAFETY: the default disposition runs no code of this process.
        // Fails for SIGKILL and SIGSTOP only, which have no other meaning.
        let _unchangeable = unsafe { sigaction(signal, &default) };
    }
    // Fails for an unknown operation only.
    SigSet::all().thread_unblock().ok();
}

#[cfg(test)]
mod tests {
    use super::super::{Log, User};
    use super::*;

    fn program(argv: &str) -> Program {
        let argv = argv.split(' ').map(str::to_owned).collect();
        let netns = Path::new("/run/netns/x");
        Program::of(&Spec::new("shop.web", argv, User::of_endpoint(1), netns, Log::at("/x.log")))
    }

    #[test]
    fn programs_are_found_in_the_path_of_the_workload() {
        assert!(program("sh").find("sh").expect("every host has a shell").ends_with("sh"));
        let fault = program("ngnix").find("ngnix").expect_err("a typing error").to_string();
        assert_eq!(fault, format!("`ngnix`: no such program in PATH; looked in {DEFAULT_PATH}"));
        let folder = BTreeMap::from([("PATH".to_owned(), "/nowhere::/etc".to_owned())]);
        let moved = program("sh").with(vec!["sh".into()], folder, None);
        assert!(moved.find("sh").is_err());
        assert!(moved.find("passwd").is_err(), "a file that is no program");
    }

    #[test]
    fn the_file_may_replace_the_default_environment() {
        let program = program("true");
        assert_eq!(program.env.get("HOME").map(String::as_str), Some("/data"));
        assert_eq!(program.env.get("HOSTNAME").map(String::as_str), Some("web"));
        assert_eq!(program.env.len(), 3);
    }
}
