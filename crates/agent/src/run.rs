//! The life of the agent: folders, lock, adopt, restore, serve, end.
//!
//! **Order.** The socket is opened last, when the last document is in force again. Ending removes the socket and nothing
//! else: programs, networks and workloads go on.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use api::{Error, codes};
use host::linux::bpf::{Datapath, Limits};
use host::linux::kernel::Linux;
use tracing_subscriber::EnvFilter;

use crate::accounts::{self, Accounts};
use crate::fault::failed;
use crate::keeper::{Commands, Keeper};
use crate::notify::Notify;
use crate::options::Options;
use crate::ports::{self, Ports};
use crate::saved::Store;
use crate::server;
use crate::shared::Shared;
use crate::{descriptors, docker, history, lock, podman, wakes, watch};

/// Runs the agent until it is told to stop by SIGTERM, SIGINT or `down --clean`.
///
/// # Errors
/// `BH0213` when another agent has the run folder, `BH0215` when the kernel's programs and maps cannot be used, `BH0214`
/// and `BH0220` when folders, state or socket cannot.
pub fn run(options: Options) -> Result<(), Error> {
    let Opened { lock: _lock, store, datapath, kernel } = open(&options)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        path = ?datapath.hooks().kind(),
        programs = ?datapath.origin(),
        "bulkhead agent"
    );
    let meters = datapath.meters().map_err(|error| loaded(&error))?;
    let events = datapath.events().map_err(|error| loaded(&error))?;
    let collector = datapath.collector().map_err(|error| loaded(&error))?;
    let (commands, queue) = Commands::channel();
    let (clock, hooks) = (datapath.clock(), datapath.hooks().kind());
    let origin = datapath.origin();
    let ports = Ports::new(datapath.places().map_err(|error| loaded(&error))?);
    let accounts = Accounts::new(datapath.accounts());
    let shared = Shared::new(options, meters, clock, hooks, (ports, accounts), commands);
    let shared = Arc::new(shared);
    let mut keeper = Keeper::new(Arc::clone(&shared), kernel, datapath, Arc::clone(&store));
    let stop = AtomicBool::new(false);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| failed(codes::SETUP, "start the event loop", &error))?;
    history::recall(&shared, &store, origin);
    let writer = history::hours::Writer::open(&shared, &store, origin);
    let recalled = shared.flows().ring.last_number();
    let (end, ended) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| wakes::run(&shared, &stop));
        scope.spawn(|| docker::run(&shared, &stop));
        scope.spawn(|| podman::run(&shared, &stop));
        let docker_driver = shared.options.docker_driver.clone();
        let watching = scope.spawn(|| watch::run(&shared, events, collector, &stop));
        scope.spawn(|| ports::run(&shared, &stop));
        scope.spawn(|| accounts::run(&shared, &stop));
        scope.spawn(|| {
            let ended = ended;
            history::run(&shared, &store, writer, recalled, &ended);
        });
        keeper.restore();
        // Without a document there are no names to wait for.
        shared.named.store(true, Ordering::Release);
        // Dockerd asks at once for whatever it has waited with.
        if let Some(socket) = docker_driver {
            let (shared, stop) = (&shared, &stop);
            scope.spawn(move || docker::driver::run(shared, &socket, stop));
        }
        let ending = Ending(Arc::clone(&shared));
        let keeping = scope.spawn(move || {
            let _ending = ending;
            keeper.run(&queue);
        });
        let served = runtime.block_on(server::serve(&shared, &Notify::from_environment()));
        shared.commands.stop();
        let kept = keeping.join();
        stop.store(true, Ordering::Relaxed);
        // The last records are written when the watcher has read the last events.
        let watched = watching.join();
        drop(end);
        if watched.is_err() {
            tracing::error!("the watcher ended in a panic");
        }
        if kept.is_err() {
            return Err(Error::new(codes::INTERNAL, "the keeper ended in a panic; see the log"));
        }
        served
    })
}

/// Puts in force what was in force, with the host part that was confirmed, and ends: at boot, before the network is up, and when a change of
/// the host part is to go back and no agent runs.
///
/// # Errors
/// As [`run`]; `BH0210` when something could not be put in force.
pub fn once(options: Options) -> Result<(), Error> {
    let Opened { lock: _lock, store, datapath, kernel } = open(&options)?;
    let meters = datapath.meters().map_err(|error| loaded(&error))?;
    let (commands, _queue) = Commands::channel();
    let (clock, hooks) = (datapath.clock(), datapath.hooks().kind());
    let ports = Ports::new(datapath.places().map_err(|error| loaded(&error))?);
    let accounts = Accounts::new(datapath.accounts());
    let shared = Shared::new(options, meters, clock, hooks, (ports, accounts), commands);
    let shared = Arc::new(shared);
    Keeper::new(Arc::clone(&shared), kernel, datapath, store).brief().restore();
    let condition = shared.condition();
    match condition.problems.get("document") {
        Some(problem) => Err(Error::new(codes::APPLY, problem.clone())),
        None => Ok(()),
    }
}

/// What an agent holds from its start to its end.
struct Opened {
    lock: lock::Lock,
    store: Arc<Store>,
    datapath: Datapath,
    kernel: Linux,
}

/// Makes the folders, and takes and opens what is in them.
fn open(options: &Options) -> Result<Opened, Error> {
    log();
    descriptors::raise();
    make(&options.run_dir, 0o755)?;
    make(&options.state_dir, 0o700)?;
    let lock = lock::take(&options.run_dir)?;
    let store = Arc::new(Store::open(&options.state_dir)?);
    let datapath = Datapath::open(&options.bpffs, &Limits::default()).map_err(|e| loaded(&e))?;
    let kernel = Linux::open(&options.run_dir)
        .map_err(|error| failed(codes::SETUP, "open the kernel's network", &error))?;
    Ok(Opened { lock, store, datapath, kernel })
}

/// Lets the server end when the keeper does, however it does.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.stopping.send_replace(true);
    }
}

fn loaded(error: &host::linux::bpf::Error) -> Error {
    failed(codes::DATAPATH, "open programs and maps", error)
}

fn make(folder: &Path, mode: u32) -> Result<(), Error> {
    let done = fs::DirBuilder::new().recursive(true).mode(mode).create(folder);
    done.map_err(|error| failed(codes::SETUP, format!("make {}", folder.display()), &error))
}

/// Messages go to standard error: one line each, the service manager adds the time. `BULKHEAD_LOG` sets the detail.
fn log() {
    let filter = EnvFilter::try_from_env("BULKHEAD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second agent in one process keeps the first one's log.
    let _second = subscriber.with_ansi(false).with_target(false).try_init();
}
