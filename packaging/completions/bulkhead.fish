# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_bulkhead_global_optspecs
    string join \n json run-dir= state-dir= bpffs= color= h/help V/version
end

function __fish_bulkhead_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_bulkhead_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_bulkhead_using_subcommand
    set -l cmd (__fish_bulkhead_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c bulkhead -n "__fish_bulkhead_needs_command" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_needs_command" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_needs_command" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_needs_command" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_needs_command" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "up" -d 'Apply files; without a running agent, start one in the background'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "confirm" -d 'Keep a change of the host\'s own policy; over a connection that began after it was applied'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "down" -d 'Stop every workload and remove every network; with --clean leave the host as it was'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "plan" -d 'Show what `up` would change; exit 3 when it would change something'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "replay" -d 'Judge the recorded flows by a file; exit 3 when it would drop some that passed'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "status" -d 'Show the agent and every workload'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "observe" -d 'Show flows, one a line: time, verdict, source, target, rule or reason'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "why" -d 'Explain the verdict for one connection, and what else is on its way'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "probe" -d 'Send real packets and compare what comes back with the policy'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "matrix" -d 'Show who may reach whom'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "exec" -d 'Run a command inside a workload'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "logs" -d 'Show what a workload wrote to its standard output and error'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "workload" -d 'Workloads and their labels'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "attachments" -d 'Show workloads that runtimes attached at run time'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "attach" -d 'Attach a network namespace as a workload, until it is detached or gone'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "detach" -d 'End an attachment; one that is not there is no error'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "policy" -d 'Policies: check a file, count rules'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "publish" -d 'Ports of the host that can be reached'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "doctor" -d 'Report what this host can promise, what it cannot, and why'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "explain" -d 'Explain a code such as BH0102, BH-D002 or BH-H010'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "version" -d 'Print the version'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "agent" -d 'Run the agent in the foreground'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "completions" -d 'Print completions for a shell'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "generate" -d 'Write generated documents: man pages, completions, JSON schemas, OpenAPI'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "enter" -d 'Run a command in a workload\'s namespaces'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "probe-at" -d 'Send a probe from a cgroup'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "hook" -d 'Hook of the OCI runtime specification: attaches a container as createRuntime hook, ends it as poststop hook'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "libvirt-hook" -d 'Hook of libvirt for QEMU: attaches a virtual machine before it starts, ends it when it has stopped'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "cni" -d 'CNI plugin, as by the name bulkhead-cni'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "netavark" -d 'netavark plugin, as by the name netavark-bulkhead'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "dead-man" -d 'Wait for the deadline of a change of the host\'s own policy'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "shim" -d 'Supervise one workload'
complete -c bulkhead -n "__fish_bulkhead_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand up" -l confirm-within -d 'A change of the host\'s own policy goes back after this time unless it is confirmed: 60s, 10m' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand up" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand up" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand up" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand up" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand up" -s v -l verbose -d 'Show the kernel objects that change too'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand up" -l cut-connections -d 'Apply it although it cuts connections by which this host is managed'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand up" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand up" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand confirm" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand confirm" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand confirm" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand confirm" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand confirm" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand confirm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand confirm" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand down" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand down" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand down" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand down" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand down" -l clean -d 'Also forget allocations, the last document and pinned programs, and end the agent'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand down" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand down" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand down" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand plan" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand plan" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand plan" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand plan" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand plan" -s v -l verbose -d 'Show the kernel objects that change too'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand plan" -l markdown -d 'As a comment for a review'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand plan" -l svg -d 'Draw the segments and the connections that change: one SVG file on standard output'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand plan" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand plan" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand replay" -l since -d 'Only of the last time: 90m, 12h, 7d' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand replay" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand replay" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand replay" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand replay" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand replay" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand replay" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand status" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand status" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand status" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand status" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand status" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand status" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -l from -d 'Only from this workload, address or prefix, or from these labels: web, 10.0.0.0/8, world, app=web' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -l to -d 'Only to this one' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -l verdict -d 'Only allow, drop or audit' -r -f -a "allow\t'What passed'
drop\t'What was dropped'
audit\t'What passed and would have been dropped'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -s n -l limit -d 'At most this many of the newest, up to 10000' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -s f -l follow -d 'Go on with new flows'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand observe" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand why" -l source-port -d 'Source port; a live connection with it is shown' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand why" -l flow -d 'Instead of a pair: a flow record by its number, as `observe` shows it' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand why" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand why" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand why" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand why" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand why" -l walk -d 'Show every step of the way, not only what is wrong'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand why" -l no-walk -d 'Answer from the policy alone, without a look at links, routes, other firewalls and the service'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand why" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand why" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand why" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe" -l source-port -d 'Source port' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe" -l timeout -d 'How long to wait for an answer, in milliseconds' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand matrix" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand matrix" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand matrix" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand matrix" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand matrix" -l live -d 'Also probe every pair with real packets and compare'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand matrix" -l svg -d 'Draw it: one SVG file on standard output'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand matrix" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand matrix" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand matrix" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand exec" -l user -d 'As which user: the workload\'s own by default; `root` keeps the workload\'s namespaces but not its limits' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand exec" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand exec" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand exec" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand exec" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand exec" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand exec" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand logs" -s n -l lines -d 'Only the newest lines' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand logs" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand logs" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand logs" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand logs" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand logs" -s f -l follow -d 'Go on with new lines'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand logs" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand logs" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and not __fish_seen_subcommand_from list label help" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and not __fish_seen_subcommand_from list label help" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and not __fish_seen_subcommand_from list label help" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and not __fish_seen_subcommand_from list label help" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and not __fish_seen_subcommand_from list label help" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and not __fish_seen_subcommand_from list label help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and not __fish_seen_subcommand_from list label help" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and not __fish_seen_subcommand_from list label help" -f -a "list" -d 'List them'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and not __fish_seen_subcommand_from list label help" -f -a "label" -d 'Change labels at run time: `app=web` sets, `app-` removes; until the next `up`'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and not __fish_seen_subcommand_from list label help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from list" -s l -l label -d 'Only those with these labels, for example `app=api,tier=front`' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from list" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from list" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from list" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from list" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from list" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from label" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from label" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from label" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from label" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from label" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from label" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from label" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from help" -f -a "list" -d 'List them'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from help" -f -a "label" -d 'Change labels at run time: `app=web` sets, `app-` removes; until the next `up`'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand workload; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attachments" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attachments" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attachments" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attachments" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attachments" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attachments" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attachments" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -l network -d 'The network that it joins' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -l name -d 'The workload\'s name in its tenant; one is made up by default' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -s l -l label -d 'Labels, for example `app=web,tier=front`' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -l address -d 'An address that it is to have, one of each IP version' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -l interface -d 'What the interface is called inside' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -l key -d 'What the attachment is called; by default after the namespace and the interface' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand attach" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand detach" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand detach" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand detach" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand detach" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand detach" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand detach" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand detach" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -f -a "check" -d 'Check files without an agent; exit 3 when there are only warnings and --strict is given'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -f -a "matrix" -d 'The same as `bulkhead matrix`'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -f -a "fmt" -d 'Lay a file out, in place: comments and meaning stay'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -f -a "prove" -d 'Prove the assertions of a file without an agent; exit 1 when one does not hold'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -f -a "blast-radius" -d 'Show what falls if a workload is taken over: whom it reaches, and whom those do'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -f -a "rules" -d 'Show every rule in force and how often it decided'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -f -a "import" -d 'Make a file of another firewall\'s rules; what is not understood is told and allows nothing'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -f -a "suggest" -d 'Print the file in force with the tightest policies that pass what was recorded; applies nothing'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -f -a "connections" -d 'List the connections that Kubernetes network policies allow; needs no cluster and no agent'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -f -a "diff" -d 'Show how two folders of manifests differ in what they allow; exit 3 when they do'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and not __fish_seen_subcommand_from check matrix fmt prove blast-radius rules import suggest connections diff help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from check" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from check" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from check" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from check" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from check" -l strict -d 'Treat warnings as a difference'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from check" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from matrix" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from matrix" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from matrix" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from matrix" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from matrix" -l live -d 'Also probe every pair with real packets and compare'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from matrix" -l svg -d 'Draw it: one SVG file on standard output'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from matrix" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from matrix" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from matrix" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from fmt" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from fmt" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from fmt" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from fmt" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from fmt" -l check -d 'Change nothing; exit 3 when the file is laid out differently'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from fmt" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from fmt" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from fmt" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from prove" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from prove" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from prove" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from prove" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from prove" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from prove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from prove" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from blast-radius" -l file -d 'Compare with what these would make of it: the file, and Kubernetes manifests beside it' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from blast-radius" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from blast-radius" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from blast-radius" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from blast-radius" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from blast-radius" -l offline -d 'Look at the file alone and ask no agent'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from blast-radius" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from blast-radius" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from blast-radius" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from rules" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from rules" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from rules" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from rules" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from rules" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from rules" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from rules" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from import" -l from -d 'What it is: the output of nft -j list ruleset, of iptables-save or ip6tables-save, of ufw show added (or user.rules), or a compose file' -r -f -a "nft\t'nft -j list ruleset'
iptables\t'iptables-save or ip6tables-save'
compose\t'Docker compose'
ufw\t'ufw show added, or /etc/ufw/user.rules'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from import" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from import" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from import" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from import" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from import" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from import" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from suggest" -l for -d 'Only for flows of this workload; other policies stay' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from suggest" -l since -d 'Only of the last time: 90m, 12h, 7d' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from suggest" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from suggest" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from suggest" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from suggest" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from suggest" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from suggest" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from suggest" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from connections" -l kubernetes -d 'Folder of manifests; every .yaml, .yml and .json below it is read' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from connections" -s o -l output -d 'Form of the output' -r -f -a "text\t'One line for each connection'
json\t'As data, like --json'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from connections" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from connections" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from connections" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from connections" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from connections" -l ipv6 -d 'List ranges of IPv6 too'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from connections" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from connections" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from connections" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from diff" -l kubernetes -d 'Folders of manifests: as it was, and as it is to be' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from diff" -s o -l output -d 'Form of the output' -r -f -a "text\t'One line for each connection'
json\t'As data, like --json'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from diff" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from diff" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from diff" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from diff" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from diff" -l ipv6 -d 'List ranges of IPv6 too'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from diff" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from diff" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check files without an agent; exit 3 when there are only warnings and --strict is given'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "matrix" -d 'The same as `bulkhead matrix`'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "fmt" -d 'Lay a file out, in place: comments and meaning stay'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "prove" -d 'Prove the assertions of a file without an agent; exit 1 when one does not hold'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "blast-radius" -d 'Show what falls if a workload is taken over: whom it reaches, and whom those do'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "rules" -d 'Show every rule in force and how often it decided'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "import" -d 'Make a file of another firewall\'s rules; what is not understood is told and allows nothing'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "suggest" -d 'Print the file in force with the tightest policies that pass what was recorded; applies nothing'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "connections" -d 'List the connections that Kubernetes network policies allow; needs no cluster and no agent'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "diff" -d 'Show how two folders of manifests differ in what they allow; exit 3 when they do'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and not __fish_seen_subcommand_from list help" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and not __fish_seen_subcommand_from list help" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and not __fish_seen_subcommand_from list help" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and not __fish_seen_subcommand_from list help" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and not __fish_seen_subcommand_from list help" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and not __fish_seen_subcommand_from list help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and not __fish_seen_subcommand_from list help" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and not __fish_seen_subcommand_from list help" -f -a "list" -d 'Show every port that can be reached, who opened it, and whether policy lets the world in'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and not __fish_seen_subcommand_from list help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and __fish_seen_subcommand_from list" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and __fish_seen_subcommand_from list" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and __fish_seen_subcommand_from list" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and __fish_seen_subcommand_from list" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and __fish_seen_subcommand_from list" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and __fish_seen_subcommand_from help" -f -a "list" -d 'Show every port that can be reached, who opened it, and whether policy lets the world in'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand publish; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand doctor" -l probe-uplink -d 'Try whether frames of MACs that switch or provider did not give come back on this interface: sends at most three ARP probes' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand doctor" -l ask -d 'Whom to ask there; without it, the router of the interface\'s default route' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand doctor" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand doctor" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand doctor" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand doctor" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand doctor" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand explain" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand explain" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand explain" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand explain" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand explain" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand explain" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand version" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand version" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand version" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand version" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand version" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand version" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand version" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l group -d 'Group that may read through the socket' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l flow-days -d 'How long flows are kept, in days' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l flow-size -d 'How large the flow store may become, at least 64MiB' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l docker -d 'Docker\'s socket, asked only when a file names a network of Docker\'s' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l podman -d 'Podman\'s socket, asked for names and labels of the containers that it attaches' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l docker-driver -d 'Be a network driver of Docker\'s, called as the socket is: `docker network create -d bulkhead`' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l once -d 'Put in force what was in force, with the confirmed policy of the host, and end: at boot, before the network is up'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand agent" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand completions" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand completions" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand completions" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand completions" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand completions" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand completions" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand generate" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand generate" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand generate" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand generate" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand generate" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand generate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand generate" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand enter" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand enter" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand enter" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand enter" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand enter" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand enter" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand enter" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe-at" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe-at" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe-at" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe-at" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe-at" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe-at" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand probe-at" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand hook" -l network -d 'The network that containers join' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand hook" -s l -l label -d 'Labels of every container, for example `app=web,tier=front`' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand hook" -l interface -d 'What the interface is called inside' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand hook" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand hook" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand hook" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand hook" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand hook" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand hook" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand hook" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand libvirt-hook" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand libvirt-hook" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand libvirt-hook" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand libvirt-hook" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand libvirt-hook" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand libvirt-hook" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand libvirt-hook" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand cni" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand cni" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand cni" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand cni" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand cni" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand cni" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand cni" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand netavark" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand netavark" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand netavark" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand netavark" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand netavark" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand netavark" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand netavark" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand dead-man" -l token -d 'The change' -r
complete -c bulkhead -n "__fish_bulkhead_using_subcommand dead-man" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand dead-man" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand dead-man" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand dead-man" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand dead-man" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand dead-man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand dead-man" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand shim" -l dir -d 'The workload\'s folder' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand shim" -l run-dir -d 'Folder with the agent\'s socket and the workloads\' namespaces' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand shim" -l state-dir -d 'Folder that survives a reboot: last good document, allocations, flow history, logs' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand shim" -l bpffs -d 'Folder on a BPF file system where programs and maps are pinned' -r -F
complete -c bulkhead -n "__fish_bulkhead_using_subcommand shim" -l color -d 'When to use colour; words never depend on it' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c bulkhead -n "__fish_bulkhead_using_subcommand shim" -l json -d 'Print data as JSON'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand shim" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand shim" -s V -l version -d 'Print version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "up" -d 'Apply files; without a running agent, start one in the background'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "confirm" -d 'Keep a change of the host\'s own policy; over a connection that began after it was applied'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "down" -d 'Stop every workload and remove every network; with --clean leave the host as it was'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "plan" -d 'Show what `up` would change; exit 3 when it would change something'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "replay" -d 'Judge the recorded flows by a file; exit 3 when it would drop some that passed'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "status" -d 'Show the agent and every workload'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "observe" -d 'Show flows, one a line: time, verdict, source, target, rule or reason'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "why" -d 'Explain the verdict for one connection, and what else is on its way'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "probe" -d 'Send real packets and compare what comes back with the policy'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "matrix" -d 'Show who may reach whom'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "exec" -d 'Run a command inside a workload'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "logs" -d 'Show what a workload wrote to its standard output and error'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "workload" -d 'Workloads and their labels'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "attachments" -d 'Show workloads that runtimes attached at run time'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "attach" -d 'Attach a network namespace as a workload, until it is detached or gone'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "detach" -d 'End an attachment; one that is not there is no error'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "policy" -d 'Policies: check a file, count rules'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "publish" -d 'Ports of the host that can be reached'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "doctor" -d 'Report what this host can promise, what it cannot, and why'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "explain" -d 'Explain a code such as BH0102, BH-D002 or BH-H010'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "version" -d 'Print the version'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "agent" -d 'Run the agent in the foreground'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "completions" -d 'Print completions for a shell'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "generate" -d 'Write generated documents: man pages, completions, JSON schemas, OpenAPI'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "enter" -d 'Run a command in a workload\'s namespaces'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "probe-at" -d 'Send a probe from a cgroup'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "hook" -d 'Hook of the OCI runtime specification: attaches a container as createRuntime hook, ends it as poststop hook'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "libvirt-hook" -d 'Hook of libvirt for QEMU: attaches a virtual machine before it starts, ends it when it has stopped'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "cni" -d 'CNI plugin, as by the name bulkhead-cni'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "netavark" -d 'netavark plugin, as by the name netavark-bulkhead'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "dead-man" -d 'Wait for the deadline of a change of the host\'s own policy'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "shim" -d 'Supervise one workload'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and not __fish_seen_subcommand_from up confirm down plan replay status observe why probe matrix exec logs workload attachments attach detach policy publish doctor explain version agent completions generate enter probe-at hook libvirt-hook cni netavark dead-man shim help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from workload" -f -a "list" -d 'List them'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from workload" -f -a "label" -d 'Change labels at run time: `app=web` sets, `app-` removes; until the next `up`'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "check" -d 'Check files without an agent; exit 3 when there are only warnings and --strict is given'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "matrix" -d 'The same as `bulkhead matrix`'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "fmt" -d 'Lay a file out, in place: comments and meaning stay'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "prove" -d 'Prove the assertions of a file without an agent; exit 1 when one does not hold'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "blast-radius" -d 'Show what falls if a workload is taken over: whom it reaches, and whom those do'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "rules" -d 'Show every rule in force and how often it decided'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "import" -d 'Make a file of another firewall\'s rules; what is not understood is told and allows nothing'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "suggest" -d 'Print the file in force with the tightest policies that pass what was recorded; applies nothing'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "connections" -d 'List the connections that Kubernetes network policies allow; needs no cluster and no agent'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "diff" -d 'Show how two folders of manifests differ in what they allow; exit 3 when they do'
complete -c bulkhead -n "__fish_bulkhead_using_subcommand help; and __fish_seen_subcommand_from publish" -f -a "list" -d 'Show every port that can be reached, who opened it, and whether policy lets the world in'
