//! The command line: commands, flags and their help texts. Completions and man pages come from here.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Zero-trust isolation for containers and virtual machines on a plain Linux host.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done · 1 refused or failed · 2 usage · 3 a check or plan found a difference · 70 internal"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print data as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Folder with the agent's socket and the workloads' namespaces
    #[arg(long, global = true, env = "BULKHEAD_RUN_DIR", default_value = "/run/bulkhead")]
    pub(crate) run_dir: PathBuf,
    /// Folder that survives a reboot: last good document, allocations, flow history, logs
    #[arg(long, global = true, env = "BULKHEAD_STATE_DIR", default_value = "/var/lib/bulkhead")]
    pub(crate) state_dir: PathBuf,
    /// Folder on a BPF file system where programs and maps are pinned
    #[arg(long, global = true, env = "BULKHEAD_BPFFS", default_value = "/sys/fs/bpf/bulkhead")]
    pub(crate) bpffs: PathBuf,
    /// When to use colour; words never depend on it
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub(crate) color: Colour,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How a change of the host's own policy is made.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Guard {
    /// A change of the host's own policy goes back after this time unless it is confirmed: 60s, 10m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = window)]
    pub(crate) confirm_within: u32,
    /// Apply it although it cuts connections by which this host is managed
    #[arg(long)]
    pub(crate) cut_connections: bool,
}

/// Seconds of a time to confirm in.
fn window(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    number
        .filter(|seconds| (5..=3600).contains(seconds))
        .ok_or_else(|| format!("`{text}` is not a time from 5s to 60m, such as 60s or 10m"))
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Apply files; without a running agent, start one in the background
    Up {
        /// The file, and Kubernetes manifests beside it: files or folders; - reads standard input
        #[arg(value_name = "FILE", default_value = "bulkhead.yaml")]
        files: Vec<PathBuf>,
        /// Show the kernel objects that change too
        #[arg(long, short)]
        verbose: bool,
        #[command(flatten)]
        guard: Guard,
    },
    /// Keep a change of the host's own policy; over a connection that began after it was applied
    Confirm,
    /// Stop every workload and remove every network; with --clean leave the host as it was
    Down {
        /// Also forget allocations, the last document and pinned programs, and end the agent
        #[arg(long)]
        clean: bool,
    },
    /// Show what `up` would change; exit 3 when it would change something
    Plan {
        /// The file, and Kubernetes manifests beside it: files or folders; - reads standard input
        #[arg(value_name = "FILE", default_value = "bulkhead.yaml")]
        files: Vec<PathBuf>,
        /// Show the kernel objects that change too
        #[arg(long, short)]
        verbose: bool,
        #[command(flatten)]
        form: PlanForm,
    },
    /// Judge the recorded flows by a file; exit 3 when it would drop some that passed
    Replay {
        /// The file, and Kubernetes manifests beside it: files or folders; - reads standard input
        #[arg(value_name = "FILE", default_value = "bulkhead.yaml")]
        files: Vec<PathBuf>,
        /// Only of the last time: 90m, 12h, 7d
        #[arg(long, value_name = "TIME", value_parser = period)]
        since: Option<u32>,
    },
    /// Show the agent and every workload
    Status,
    /// Show flows, one a line: time, verdict, source, target, rule or reason
    Observe(Observe),
    /// Explain the verdict for one connection, and what else is on its way
    Why(Question),
    /// Send real packets and compare what comes back with the policy
    Probe {
        #[command(flatten)]
        pair: Pair,
        /// How long to wait for an answer, in milliseconds
        #[arg(long, value_name = "MS", default_value_t = 1000,
            value_parser = clap::value_parser!(u32).range(1..=10_000))]
        timeout: u32,
    },
    /// Show who may reach whom
    Matrix {
        /// Also probe every pair with real packets and compare
        #[arg(long)]
        live: bool,
        /// Draw it: one SVG file on standard output
        #[arg(long, conflicts_with_all = ["live", "json"])]
        svg: bool,
    },
    /// Run a command inside a workload
    Exec {
        /// The workload, `tenant/name`, or `name` when that is unique
        workload: String,
        /// As which user: the workload's own by default; `root` keeps the workload's namespaces but not its limits
        #[arg(long)]
        user: Option<String>,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Show what a workload wrote to its standard output and error
    Logs {
        /// The workload
        workload: String,
        /// Go on with new lines
        #[arg(long, short)]
        follow: bool,
        /// Only the newest lines
        #[arg(long, short = 'n', value_name = "N")]
        lines: Option<u32>,
    },
    /// Workloads and their labels
    #[command(subcommand)]
    Workload(WorkloadCommand),
    /// Show workloads that runtimes attached at run time
    Attachments,
    /// Attach a network namespace as a workload, until it is detached or gone
    Attach(NewAttachment),
    /// End an attachment; one that is not there is no error
    Detach {
        /// Its key, as `attachments` shows it
        key: String,
    },
    /// Policies: check a file, count rules
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Ports of the host that can be reached
    #[command(subcommand)]
    Publish(PublishCommand),
    /// Report what this host can promise, what it cannot, and why
    Doctor(Doctor),
    /// Explain a code such as BH0102, BH-D002 or BH-H010
    Explain {
        /// The code; without one, all of them
        code: Option<String>,
    },
    /// Print the version
    Version,
    /// Run the agent in the foreground
    Agent {
        /// Group that may read through the socket
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        #[command(flatten)]
        keep: FlowKeep,
        /// Docker's socket, asked only when a file names a network of Docker's
        #[arg(long, value_name = "SOCKET", default_value = agent::Options::DOCKER)]
        docker: PathBuf,
        /// Podman's socket, asked for names and labels of the containers that it attaches
        #[arg(long, value_name = "SOCKET", default_value = agent::Options::PODMAN)]
        podman: PathBuf,
        /// Be a network driver of Docker's, called as the socket is: `docker network create -d bulkhead`
        #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true, default_missing_value = agent::Options::DOCKER_DRIVER)]
        docker_driver: Option<PathBuf>,
        /// Put in force what was in force, with the confirmed policy of the host, and end: at boot, before the network is up
        #[arg(long)]
        once: bool,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write generated documents: man pages, completions, JSON schemas, OpenAPI
    #[command(hide = true)]
    Generate {
        /// Folder to write to
        folder: PathBuf,
    },
    /// Run a command in a workload's namespaces
    #[command(hide = true)]
    Enter {
        /// Where to go and what to run, as JSON
        request: String,
    },
    /// Send a probe from a cgroup
    #[command(hide = true)]
    ProbeAt {
        /// Where from and to, as JSON
        order: String,
    },
    /// Hook of the OCI runtime specification: attaches a container as createRuntime hook, ends it as poststop hook
    Hook {
        /// The network that containers join
        #[arg(long, value_name = "TENANT/NETWORK[/SEGMENT]")]
        network: String,
        /// Labels of every container, for example `app=web,tier=front`
        #[arg(long = "label", short = 'l', value_name = "KEY=VALUE")]
        labels: Vec<String>,
        /// What the interface is called inside
        #[arg(long, default_value = "eth0")]
        interface: String,
    },
    /// Hook of libvirt for QEMU: attaches a virtual machine before it starts, ends it when it has stopped
    LibvirtHook {
        /// What libvirt calls it with: DOMAIN OPERATION PART EXTRA
        #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// CNI plugin, as by the name bulkhead-cni
    #[command(hide = true)]
    Cni,
    /// netavark plugin, as by the name netavark-bulkhead
    #[command(hide = true)]
    Netavark {
        /// create, setup NETNS, teardown NETNS or info
        arguments: Vec<String>,
    },
    /// Wait for the deadline of a change of the host's own policy
    #[command(hide = true)]
    DeadMan {
        /// The change
        #[arg(long)]
        token: String,
    },
    /// Supervise one workload
    #[command(hide = true)]
    Shim {
        /// The workload's folder
        #[arg(long)]
        dir: PathBuf,
    },
}

/// `90m`, `12h`, `7d`, `2w` in seconds.
fn period(text: &str) -> Result<u32, String> {
    let unit = text.chars().last().unwrap_or_default();
    let scale = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err("write it as 90m, 12h or 7d".to_owned()),
    };
    let number = text.trim_end_matches(unit).parse::<u32>().ok();
    let seconds = number.and_then(|number| number.checked_mul(scale)).filter(|it| *it > 0);
    seconds.ok_or_else(|| "write it as 90m, 12h or 7d".to_owned())
}

/// How many flows are kept for `replay` and `policy suggest`; whichever is reached first.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FlowKeep {
    /// How long flows are kept, in days
    #[arg(long, value_name = "DAYS", default_value_t = agent::Options::FLOW_DAYS,
        value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub(crate) flow_days: u32,
    /// How large the flow store may become, at least 64MiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = flow_size)]
    pub(crate) flow_size: u64,
}

/// `512MiB`, `2GiB`, or bytes.
fn flow_size(text: &str) -> Result<u64, String> {
    let (digits, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let scale = match unit {
        "" | "B" => Some(1_u64),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let bytes = scale.zip(digits.parse::<u64>().ok()).and_then(|(scale, n)| n.checked_mul(scale));
    match bytes {
        Some(bytes) if bytes >= agent::Options::MIN_FLOW_BYTES => Ok(bytes),
        Some(_) => Err("at least 64MiB are needed".to_owned()),
        None => Err("write it as 512MiB or 2GiB".to_owned()),
    }
}

/// In which form a plan is shown.
#[derive(Debug, Clone, Copy, Default, Args)]
#[group(multiple = false)]
pub(crate) struct PlanForm {
    /// As a comment for a review
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    /// Draw the segments and the connections that change: one SVG file on standard output
    #[arg(long, conflicts_with = "json")]
    pub(crate) svg: bool,
}

/// Which flows to show.
#[derive(Debug, Clone, Args)]
pub(crate) struct Observe {
    /// Go on with new flows
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only from this workload, address or prefix, or from these labels: web, 10.0.0.0/8, world, app=web
    #[arg(long, value_name = "PARTY")]
    pub(crate) from: Option<String>,
    /// Only to this one
    #[arg(long, value_name = "PARTY")]
    pub(crate) to: Option<String>,
    /// Only allow, drop or audit
    #[arg(long, value_enum)]
    pub(crate) verdict: Option<VerdictFilter>,
    /// At most this many of the newest, up to 10000
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) limit: u32,
}

/// A verdict to filter by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerdictFilter {
    /// What passed
    Allow,
    /// What was dropped
    Drop,
    /// What passed and would have been dropped
    Audit,
}

/// A connection in question.
#[derive(Debug, Clone, Args)]
pub(crate) struct Pair {
    /// Who opens it: a workload, `host`, `world`, or an address
    pub(crate) from: String,
    /// To whom
    pub(crate) to: String,
    /// Protocol and port: tcp/5432, udp/53, icmp
    pub(crate) service: String,
    /// Source port
    #[arg(long, value_name = "PORT")]
    pub(crate) source_port: Option<u16>,
}

/// What `why` is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct Question {
    /// Who opens it: a workload, `host`, `world`, or an address
    #[arg(required_unless_present = "flow")]
    pub(crate) from: Option<String>,
    /// To whom
    #[arg(required_unless_present = "flow")]
    pub(crate) to: Option<String>,
    /// Protocol and port: tcp/5432, udp/53, icmp
    #[arg(required_unless_present = "flow")]
    pub(crate) service: Option<String>,
    /// Source port; a live connection with it is shown
    #[arg(long, value_name = "PORT")]
    pub(crate) source_port: Option<u16>,
    /// Instead of a pair: a flow record by its number, as `observe` shows it
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to", "service", "source_port"])]
    pub(crate) flow: Option<u64>,
    /// Show every step of the way, not only what is wrong
    #[arg(long)]
    pub(crate) walk: bool,
    /// Answer from the policy alone, without a look at links, routes, other firewalls and the service
    #[arg(long, conflicts_with = "walk")]
    pub(crate) no_walk: bool,
}

/// What `doctor` looks at beside the host as it is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Doctor {
    /// Try whether frames of MACs that switch or provider did not give come back on this interface: sends at most three ARP probes
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) probe_uplink: Option<String>,
    /// Whom to ask there; without it, the router of the interface's default route
    #[arg(long, value_name = "ADDRESS", requires = "probe_uplink")]
    pub(crate) ask: Option<Ipv4Addr>,
}

/// What is attached.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewAttachment {
    /// The namespace: an absolute path such as /run/netns/web or /proc/1234/ns/net
    #[arg(value_name = "NETNS")]
    pub(crate) netns: PathBuf,
    /// The network that it joins
    #[arg(long, value_name = "TENANT/NETWORK[/SEGMENT]")]
    pub(crate) network: String,
    /// The workload's name in its tenant; one is made up by default
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Labels, for example `app=web,tier=front`
    #[arg(long = "label", short = 'l', value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// An address that it is to have, one of each IP version
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Vec<std::net::IpAddr>,
    /// What the interface is called inside
    #[arg(long, default_value = "eth0")]
    pub(crate) interface: String,
    /// What the attachment is called; by default after the namespace and the interface
    #[arg(long)]
    pub(crate) key: Option<String>,
}

/// Commands about workloads.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkloadCommand {
    /// List them
    List {
        /// Only those with these labels, for example `app=api,tier=front`
        #[arg(long, short = 'l', value_name = "LABELS")]
        label: Option<String>,
    },
    /// Change labels at run time: `app=web` sets, `app-` removes; until the next `up`
    Label {
        /// The workload
        workload: String,
        /// The changes
        #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
        labels: Vec<String>,
    },
}

/// Commands about ports of the host.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum PublishCommand {
    /// Show every port that can be reached, who opened it, and whether policy lets the world in
    List,
}

/// Commands about policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check files without an agent; exit 3 when there are only warnings and --strict is given
    #[command(alias = "lint")]
    Check {
        /// The file, and Kubernetes manifests beside it: files or folders; - reads standard input
        #[arg(value_name = "FILE", default_value = "bulkhead.yaml")]
        files: Vec<PathBuf>,
        /// Treat warnings as a difference
        #[arg(long)]
        strict: bool,
    },
    /// The same as `bulkhead matrix`
    #[command(hide = true)]
    Matrix {
        /// Also probe every pair with real packets and compare
        #[arg(long)]
        live: bool,
        /// Draw it: one SVG file on standard output
        #[arg(long, conflicts_with_all = ["live", "json"])]
        svg: bool,
    },
    /// Lay a file out, in place: comments and meaning stay
    Fmt {
        /// The file; - reads standard input and prints the result
        #[arg(value_name = "FILE", default_value = "bulkhead.yaml")]
        file: PathBuf,
        /// Change nothing; exit 3 when the file is laid out differently
        #[arg(long)]
        check: bool,
    },
    /// Prove the assertions of a file without an agent; exit 1 when one does not hold
    Prove {
        /// The file, and Kubernetes manifests beside it: files or folders; - reads standard input
        #[arg(value_name = "FILE", default_value = "bulkhead.yaml")]
        files: Vec<PathBuf>,
    },
    /// Show what falls if a workload is taken over: whom it reaches, and whom those do
    BlastRadius {
        /// The workload, `tenant/name`, or `name` when that is unique
        workload: String,
        /// Compare with what these would make of it: the file, and Kubernetes manifests beside it
        #[arg(long, value_name = "FILE", num_args = 1..)]
        file: Vec<PathBuf>,
        /// Look at the file alone and ask no agent
        #[arg(long, requires = "file")]
        offline: bool,
    },
    /// Show every rule in force and how often it decided
    Rules,
    /// Make a file of another firewall's rules; what is not understood is told and allows nothing
    Import {
        /// What it is: the output of nft -j list ruleset, of iptables-save or ip6tables-save, of ufw show added (or user.rules), or a
        /// compose file
        #[arg(long, value_enum)]
        from: ImportFrom,
        /// The file; - reads standard input
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
    },
    /// Print the file in force with the tightest policies that pass what was recorded; applies nothing
    Suggest {
        /// Only for flows of this workload; other policies stay
        #[arg(long = "for", value_name = "WORKLOAD")]
        workload: Option<String>,
        /// Only of the last time: 90m, 12h, 7d
        #[arg(long, value_name = "TIME", value_parser = period)]
        since: Option<u32>,
    },
    /// List the connections that Kubernetes network policies allow; needs no cluster and no agent
    Connections {
        /// Folder of manifests; every .yaml, .yml and .json below it is read
        #[arg(long, value_name = "DIR", required = true)]
        kubernetes: PathBuf,
        #[command(flatten)]
        analysis: Analysis,
    },
    /// Show how two folders of manifests differ in what they allow; exit 3 when they do
    Diff {
        /// Folders of manifests: as it was, and as it is to be
        #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], required = true)]
        kubernetes: Vec<PathBuf>,
        #[command(flatten)]
        analysis: Analysis,
    },
}

/// What can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFrom {
    /// nft -j list ruleset
    Nft,
    /// iptables-save or ip6tables-save
    Iptables,
    /// Docker compose
    Compose,
    /// ufw show added, or /etc/ufw/user.rules
    Ufw,
}

/// How an analysis is printed.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Analysis {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// List ranges of IPv6 too
    #[arg(long)]
    pub(crate) ipv6: bool,
}

/// The forms of an analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// One line for each connection
    Text,
    /// As data, like --json
    Json,
}
