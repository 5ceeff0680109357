//! Every code `BH02nn` that the agent and the client answer with, for `bulkhead explain` and the reference.

/// A code with its documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `BH02nn`; never reused.
    pub code: &'static str,
    /// HTTP status that it travels with; 0 for codes that only the client makes.
    pub status: u16,
    /// A few words.
    pub title: &'static str,
    /// When it happens and what holds then.
    pub text: &'static str,
    /// What to do.
    pub hint: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $status:literal, $title:literal, $text:literal, $hint:literal;)*) => {
        $(#[doc = $title] pub const $name: &str = $code;)*
        /// All of them, in the order of their numbers.
        pub const ALL: &[Code] = &[
            $(Code { code: $code, status: $status, title: $title, text: $text, hint: $hint }),*
        ];
    };
}

codes! {
    INTERNAL = "BH0200", 500, "internal error",
        "The agent met a state that it should never meet. What was enforced stays enforced.",
        "please report it together with the agent's log";
    NO_AGENT = "BH0201", 0, "no agent is running",
        "Nothing listens on the agent's socket. Enforcement does not need the agent, changes and questions do.",
        "start one: bulkhead agent, or bulkhead up FILE";
    BROKEN = "BH0202", 0, "the conversation with the agent broke off",
        "The agent closed the connection or did not answer in time. A change may still have been applied.",
        "bulkhead status tells the generation in force";
    FORBIDDEN = "BH0203", 403, "not allowed",
        "The caller's user id may not do this: changes need root or the agent's own user, reading needs the socket's group.",
        "use sudo, or join the group that owns the socket";
    BAD_REQUEST = "BH0204", 400, "the request is malformed",
        "The body or the query does not have the documented shape.",
        "docs/reference/openapi.json has the shapes; client and agent may be of different versions";
    BUSY = "BH0205", 503, "too many requests at once",
        "The agent serves a bounded number of connections and one change at a time.",
        "try again when the others are done";
    DOCUMENT = "BH0206", 422, "the file is refused",
        "The file has errors. Nothing was changed.",
        "every error names its place; bulkhead policy check FILE shows them without an agent";
    COMPILE = "BH0207", 422, "the file cannot be planned for this host",
        "The document is correct by itself, but this host cannot carry it: no free address or endpoint number, a limit, a collision.",
        "give the object that the message names another address or name; where tables are too small, fewer and wider CIDRs and port ranges \
         that begin and end at multiples of a power of two need fewer entries";
    ASSERTION = "BH0208", 409, "an assertion does not hold",
        "The new policy breaks a line under `assert:`. Nothing was changed.",
        "change the policy or the assertion; bulkhead plan FILE shows the counterexample";
    CAPABILITY = "BH0209", 409, "this host cannot enforce it",
        "The kernel or its configuration lacks something the document needs. Nothing was changed.",
        "bulkhead doctor tells what is missing and how to get it";
    APPLY = "BH0210", 500, "applying stopped at a step",
        "A step failed. Endpoints that existed keep a whole policy, old or new; endpoints that are not finished pass nothing.",
        "the message names the step; after repairing the cause run the same `up` again";
    UNKNOWN_PARTY = "BH0211", 404, "no such workload, network or address",
        "A name in the question is not in the document in force, or more than one tenant has it.",
        "bulkhead status lists the workloads; write tenant/workload";
    NOT_FOUND = "BH0212", 404, "no such method",
        "The path is not part of this agent's API.",
        "client and agent may be of different versions: bulkhead version";
    LOCKED = "BH0213", 0, "another agent has this run folder",
        "Two agents never work on one run folder.",
        "bulkhead status, or choose another --run-dir, --state-dir and --bpffs";
    STATE = "BH0214", 500, "the state folder cannot be read or written",
        "The last good document and the allocations cannot be kept, so nothing is changed.",
        "check the folder's owner and free space";
    DATAPATH = "BH0215", 500, "the kernel programs or maps cannot be used",
        "Loading, attaching or updating failed. What was attached stays attached.",
        "bulkhead doctor";
    NO_DOCUMENT = "BH0216", 409, "nothing was applied yet",
        "The question needs a policy in force, and there is none.",
        "bulkhead up FILE";
    NOT_RUN_BY_US = "BH0217", 409, "the workload was not started by Bulkhead",
        "A workload with `netns:` is adopted: it has neither logs nor processes of ours.",
        "ask the runtime that started it";
    PROBE = "BH0218", 409, "the probe could not be sent",
        "The probe needs a workload with a network on this host, or the host itself, as its source. \
         It is TCP, UDP, SCTP or an ICMP echo request: other ICMP messages are not sent.",
        "bulkhead status lists them";
    STOPPING = "BH0219", 503, "the agent is stopping",
        "It takes no more changes. What is enforced stays enforced.",
        "start it again";
    SETUP = "BH0220", 0, "the agent cannot start",
        "A folder, the lock or the socket could not be made.",
        "the message names the path";
    EXEC = "BH0221", 0, "the command cannot be run in the workload",
        "Entering a workload needs root on the host and a workload that runs.",
        "bulkhead status tells what runs; sudo bulkhead exec WORKLOAD -- COMMAND";
    FILE = "BH0222", 0, "a file cannot be read or written",
        "The command needs a file or folder that it cannot open.",
        "check the path and its permissions";
    UNKNOWN_CODE = "BH0223", 0, "no such code",
        "The code is not one of this version's.",
        "bulkhead explain lists all codes";
    ATTACH = "BH0230", 422, "the workload cannot be attached",
        "What a runtime wants to attach is malformed, or the document in force has no such tenant, network, segment or address.",
        "the cause says what is wrong; bulkhead status lists the networks' workloads, bulkhead attachments what is attached";
    ATTACHED = "BH0231", 409, "attached workloads stand in the way",
        "The file drops a network or segment that runtimes have attached workloads to, names a workload as one of them is named, or gives away \
         the address of one. Nothing was changed.",
        "stop these workloads, or bulkhead detach KEY; or leave them their network, name and address in the file";
    ATTACH_NAME = "BH0233", 409, "another workload has the name",
        "Names are unique in a tenant, whoever brings the workload: the file or a runtime.",
        "attach it under another name; bulkhead attachments tells who has this one";
    ATTACH_FULL = "BH0234", 409, "too many attachments",
        "An agent keeps at most 8,192 attachments.",
        "bulkhead attachments lists them; those whose namespace is gone end within 10 seconds";
    NO_FLOW = "BH0240", 404, "no such flow record",
        "The agent keeps the newest 65,536 flow records since it started, each with a number; this number is older, or was never given, \
         or belongs to a network that the document in force no longer has.",
        "bulkhead observe shows the numbers; or ask for the pair: bulkhead why A B tcp/PORT";
    CUTS = "BH0250", 409, "the host's policy would cut those who manage it",
        "By the new policy of the host, an established connection of an SSH daemon, or a new one by the same way, would be dropped. Nothing was changed.",
        "add the line that the message shows, or go on with --cut-connections: the change goes back by itself unless it is confirmed over a new connection";
    NOTHING_WAITS = "BH0251", 409, "nothing waits for a confirmation",
        "No change of the host's own policy waits: none was made, it was confirmed already, or its time was over and it went back.",
        "bulkhead status tells what is in force";
    NOT_CONFIRMED = "BH0252", 409, "this connection confirms nothing",
        "A confirmation proves something only over a connection that the new policy has let in: an SSH connection from outside that began after the change \
         was applied, or a console of the machine.",
        "from another machine, with a new connection: ssh -o ControlPath=none HOST bulkhead confirm";
    DOCKER = "BH0260", 409, "Docker does not tell its network",
        "The file names a network of Docker's without its subnets. Docker has no such network, or does not answer on its socket, and it was not known before.",
        "docker network ls; the agent's option --docker names the socket; or write `subnets:` in the file";
    UPLINK = "BH0270", 409, "a network cannot be on the LAN of an uplink",
        "A network of mode `bridge` or `macvlan` names an uplink that this host does not have or that is not fit for it: it is no Ethernet interface, is down, \
         is a part of another interface, is a radio, needs 802.1Q that the kernel lacks, or is known or feared not to pass frames of MACs that \
         switch or provider did not give. Or an uplink could not be probed. Nothing was changed.",
        "the cause says which; bulkhead doctor --probe-uplink NAME tries whether frames of foreign MACs come back";
}

/// The documentation of a code.
#[must_use]
pub fn find(code: &str) -> Option<&'static Code> {
    ALL.iter().find(|known| known.code == code)
}
