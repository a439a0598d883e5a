//! The commands of etchedctl and their flags, as data.

use crate::table::{Flag, Kind, Program, family, flag, leaf, switch};

/// A command, or a family of commands.
type Command = crate::table::Command<Action>;

/// The program.
pub(crate) const PROGRAM: Program<Action> = Program { root: &ROOT, globals: GLOBAL_FLAGS };

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Get,
    Put,
    Del,
    Txn,
    Compaction,
    Watch,
    LeaseGrant,
    LeaseRevoke,
    LeaseTimeToLive,
    LeaseList,
    LeaseKeepAlive,
    MemberList,
    MemberAdd,
    MemberRemove,
    MemberUpdate,
    MemberPromote,
    MoveLeader,
    SnapshotSave,
    DowngradeValidate,
    DowngradeEnable,
    DowngradeCancel,
    CheckPerf,
    CheckDatascale,
    EndpointHealth,
    EndpointStatus,
    EndpointHashKv,
    AlarmList,
    AlarmDisarm,
    Defrag,
    AuthEnable,
    AuthDisable,
    AuthStatus,
    UserAdd,
    UserDelete,
    UserGet,
    UserList,
    UserPasswd,
    UserGrantRole,
    UserRevokeRole,
    RoleAdd,
    RoleDelete,
    RoleGet,
    RoleList,
    RoleGrantPermission,
    RoleRevokePermission,
    Lock,
    Elect,
    MakeMirror,
    Version,
    Completion,
    Options,
    Help,
}

/// The flags of all commands. Each has an environment variable, `ETCDCTL_` and its name.
pub(crate) const GLOBAL_FLAGS: &[Flag] = &[
    flag("auth-jwt-token", Kind::Text, "", "token to send with requests, in place of a user and a password"),
    flag("cacert", Kind::Text, "", "file with the certificates of the trusted authorities"),
    flag("cert", Kind::Text, "", "file with the certificate of this client"),
    flag("command-timeout", Kind::Duration, "5s", "time limit of each request of a short command"),
    switch("debug", "print the settings in use"),
    flag("dial-timeout", Kind::Duration, "2s", "time limit of one attempt to connect"),
    Flag {
        name: "discovery-srv",
        short: Some(b'd'),
        kind: Kind::Text,
        default: "",
        about: "domain whose SRV records name the endpoints",
    },
    flag("discovery-srv-name", Kind::Text, "", "service name within the domain of --discovery-srv"),
    flag("endpoints", Kind::List, "127.0.0.1:2379", "members to talk to"),
    switch("hex", "print bytes and ids as hexadecimal digits"),
    flag("insecure-discovery", Kind::Bool, "true", "accept SRV records of endpoints without TLS"),
    switch("insecure-skip-tls-verify", "accept any certificate of a server"),
    flag(
        "insecure-transport",
        Kind::Bool,
        "true",
        "do not use TLS, unless other flags or the endpoint ask for it",
    ),
    flag("keepalive-time", Kind::Duration, "2s", "silence after which a connection is probed (at least 10s)"),
    flag("keepalive-timeout", Kind::Duration, "6s", "time after which an unanswered probe ends a connection"),
    flag("key", Kind::Text, "", "file with the private key of this client"),
    flag("max-recv-bytes", Kind::Int, "0", "largest answer in bytes; 0 means 2 GiB"),
    flag("max-request-bytes", Kind::Int, "0", "largest request in bytes; 0 means 2 MiB"),
    flag("password", Kind::Text, "", "password of --user, which has none then"),
    flag("user", Kind::Text, "", "name[:password] to sign in with; a missing password is asked for"),
    Flag {
        name: "write-out",
        short: Some(b'w'),
        kind: Kind::Text,
        default: "simple",
        about: "output format: simple, fields, json, protobuf or table",
    },
];

pub(crate) const GET_FLAGS: &[Flag] = &[
    flag("consistency", Kind::Text, "l", "linearizable (l) or serializable (s)"),
    switch("count-only", "answer with the number of keys"),
    switch("from-key", "all keys from the given one on"),
    switch("keys-only", "leave out the values"),
    flag("limit", Kind::Int, "0", "largest number of keys to answer with"),
    flag("max-create-rev", Kind::Int, "0", "leave out keys created later"),
    flag("max-mod-rev", Kind::Int, "0", "leave out keys changed later"),
    flag("min-create-rev", Kind::Int, "0", "leave out keys created earlier"),
    flag("min-mod-rev", Kind::Int, "0", "leave out keys changed earlier"),
    flag("order", Kind::Text, "", "ASCEND or DESCEND"),
    switch("prefix", "all keys that begin with the given one"),
    switch("print-value-only", "print values without keys (simple format)"),
    flag("rev", Kind::Int, "0", "read the state at this revision"),
    flag("sort-by", Kind::Text, "", "CREATE, KEY, MODIFY, VALUE or VERSION"),
    switch("stream", "fetch the range in chunks"),
];

pub(crate) const PUT_FLAGS: &[Flag] = &[
    switch("ignore-lease", "keep the key's lease"),
    switch("ignore-value", "keep the key's value"),
    flag("lease", Kind::Text, "0", "lease to attach the key to, in hexadecimal digits"),
    switch("prev-kv", "print the previous value"),
];

pub(crate) const DEL_FLAGS: &[Flag] = &[
    switch("from-key", "all keys from the given one on"),
    switch("prefix", "all keys that begin with the given one"),
    switch("prev-kv", "print the deleted keys and values"),
    switch("range", "delete a range without the two seconds to think it over"),
];

const TXN_FLAGS: &[Flag] = &[Flag {
    name: "interactive",
    short: Some(b'i'),
    kind: Kind::Bool,
    default: "false",
    about: "prompt for the parts",
}];

pub(crate) const WATCH_FLAGS: &[Flag] = &[
    Flag {
        name: "interactive",
        short: Some(b'i'),
        kind: Kind::Bool,
        default: "false",
        about: "read watches from standard input",
    },
    switch("prefix", "all keys that begin with the given one"),
    switch("prev-kv", "print the previous values"),
    switch("progress-notify", "have the server tell the progress of an idle watch"),
    flag("rev", Kind::Int, "0", "begin with the changes of this revision"),
];

const CLUSTER_FLAG: &[Flag] = &[switch("cluster", "all members of the cluster, rather than --endpoints")];
const CONSISTENCY_FLAG: &[Flag] =
    &[flag("consistency", Kind::Text, "l", "linearizable (l) or serializable (s)")];
const HASHKV_FLAGS: &[Flag] = &[
    switch("cluster", "all members of the cluster, rather than --endpoints"),
    flag("rev", Kind::Int, "0", "hash the history up to this revision"),
];

const PEER_URLS_FLAG: Flag = flag("peer-urls", Kind::Text, "", "URLs for its peers, separated by commas");
const MEMBER_ADD_FLAGS: &[Flag] = &[switch("learner", "let it learn first, without a vote"), PEER_URLS_FLAG];
const MEMBER_UPDATE_FLAGS: &[Flag] = &[PEER_URLS_FLAG];

const fn check_flags(prefix: &'static str) -> [Flag; 4] {
    [
        switch("auto-compact", "give up the history of the check afterwards"),
        switch("auto-defrag", "give free space of the storage back afterwards"),
        flag("load", Kind::Text, "s", "how much to ask: s(mall), m(edium), l(arge), xl(arge)"),
        flag("prefix", Kind::Text, prefix, "prefix of the keys to write"),
    ]
}

const CHECK_PERF_FLAGS: &[Flag] = &check_flags("/etcdctl-check-perf/");
const CHECK_DATASCALE_FLAGS: &[Flag] = &check_flags("/etcdctl-check-datascale/");

const CHECK: Command = family(
    "check",
    "Checks what a cluster can bear",
    &[
        leaf(
            "datascale",
            "[options]",
            "Writes much data, and prints the memory that it takes in the first endpoint",
            CHECK_DATASCALE_FLAGS,
            Action::CheckDatascale,
        ),
        leaf(
            "perf",
            "[options]",
            "Writes for a minute, and judges speed and latency",
            CHECK_PERF_FLAGS,
            Action::CheckPerf,
        ),
    ],
);

const DOWNGRADE: Command = family(
    "downgrade",
    "Takes the cluster back to the version before",
    &[
        leaf("cancel", "", "Calls a downgrade off", &[], Action::DowngradeCancel),
        leaf("enable", "<version>", "Begins a downgrade", &[], Action::DowngradeEnable),
        leaf("validate", "<version>", "Asks whether a downgrade is possible", &[], Action::DowngradeValidate),
    ],
);

const MEMBER: Command = family(
    "member",
    "Lists and changes the members of the cluster",
    &[
        leaf("add", "<name> [options]", "Adds a member", MEMBER_ADD_FLAGS, Action::MemberAdd),
        leaf("list", "[options]", "Lists the members", CONSISTENCY_FLAG, Action::MemberList),
        leaf("promote", "<member>", "Makes a learner a voter", &[], Action::MemberPromote),
        leaf("remove", "<member>", "Removes a member for ever", &[], Action::MemberRemove),
        leaf(
            "update",
            "<member> [options]",
            "Replaces the peer URLs of a member",
            MEMBER_UPDATE_FLAGS,
            Action::MemberUpdate,
        ),
    ],
);

const AUTH: Command = family(
    "auth",
    "Turns authentication on and off",
    &[
        leaf("disable", "", "Turns authentication off", &[], Action::AuthDisable),
        leaf("enable", "", "Turns authentication on", &[], Action::AuthEnable),
        leaf("status", "", "Prints whether authentication is on", &[], Action::AuthStatus),
    ],
);

const USER_ADD_FLAGS: &[Flag] = &[
    flag(
        "interactive",
        Kind::Bool,
        "true",
        "ask for the password, rather than read a word of standard input",
    ),
    flag("new-user-password", Kind::Text, "", "the password"),
    switch("no-password", "no password: the user signs in with a certificate"),
];
const USER_PASSWD_FLAGS: &[Flag] = &[flag(
    "interactive",
    Kind::Bool,
    "true",
    "ask for the password, rather than read a word of standard input",
)];
const USER_GET_FLAGS: &[Flag] = &[switch("detail", "print what the roles of the user may do")];

const USER: Command = family(
    "user",
    "Manages users",
    &[
        leaf(
            "add",
            "<user name or user:password> [options]",
            "Creates a user",
            USER_ADD_FLAGS,
            Action::UserAdd,
        ),
        leaf("delete", "<user name>", "Deletes a user", &[], Action::UserDelete),
        leaf("get", "<user name> [options]", "Prints the roles of a user", USER_GET_FLAGS, Action::UserGet),
        leaf("grant-role", "<user name> <role name>", "Gives a user a role", &[], Action::UserGrantRole),
        leaf("list", "", "Lists all users", &[], Action::UserList),
        leaf(
            "passwd",
            "<user name> [options]",
            "Gives a user another password",
            USER_PASSWD_FLAGS,
            Action::UserPasswd,
        ),
        leaf(
            "revoke-role",
            "<user name> <role name>",
            "Takes a role from a user",
            &[],
            Action::UserRevokeRole,
        ),
    ],
);

const PERMISSION_FLAGS: &[Flag] = &[
    switch("from-key", "all keys from the given one on"),
    switch("prefix", "all keys that begin with the given one"),
];

const ROLE: Command = family(
    "role",
    "Manages roles",
    &[
        leaf("add", "<role name>", "Creates a role", &[], Action::RoleAdd),
        leaf("delete", "<role name>", "Deletes a role", &[], Action::RoleDelete),
        leaf("get", "<role name>", "Prints what a role may do", &[], Action::RoleGet),
        leaf(
            "grant-permission",
            "[options] <role name> <read|write|readwrite> <key> [endkey]",
            "Lets a role use keys",
            PERMISSION_FLAGS,
            Action::RoleGrantPermission,
        ),
        leaf("list", "", "Lists all roles", &[], Action::RoleList),
        leaf(
            "revoke-permission",
            "<role name> <key> [endkey]",
            "Forbids a role to use keys",
            PERMISSION_FLAGS,
            Action::RoleRevokePermission,
        ),
    ],
);

const ELECT_FLAGS: &[Flag] = &[Flag {
    name: "listen",
    short: Some(b'l'),
    kind: Kind::Bool,
    default: "false",
    about: "print who holds the office, rather than campaign for it",
}];
const LOCK_FLAGS: &[Flag] =
    &[flag("ttl", Kind::Int, "10", "seconds after which a dead holder loses the lock")];

pub(crate) const MIRROR_FLAGS: &[Flag] = &[
    flag(
        "dest-cacert",
        Kind::Text,
        "",
        "file with the authorities that the destination's certificate is from",
    ),
    flag("dest-cert", Kind::Text, "", "file with the certificate for the destination"),
    flag("dest-insecure-transport", Kind::Bool, "true", "do not use TLS to the destination"),
    flag("dest-key", Kind::Text, "", "file with the private key for the destination"),
    flag("dest-password", Kind::Text, "", "password of --dest-user, which has none then"),
    flag("dest-prefix", Kind::Text, "", "what stands in the place of --prefix at the destination"),
    flag("dest-user", Kind::Text, "", "name[:password] at the destination; a missing password is asked for"),
    flag("max-txn-ops", Kind::Uint, "128", "largest number of changes in one transaction"),
    switch("no-dest-prefix", "nothing stands in the place of --prefix at the destination"),
    flag("prefix", Kind::Text, "", "copy only keys that begin so"),
    flag("rev", Kind::Int, "0", "copy only changes from this revision on"),
];

const SNAPSHOT: Command = family(
    "snapshot",
    "Copies the storage of a member",
    &[leaf("save", "<file>", "Writes a copy of the storage to a file", &[], Action::SnapshotSave)],
);

/// All commands.
pub(crate) const ROOT: Command = family(
    "",
    "Talks to an etcd or etched cluster.",
    &[
        family(
            "alarm",
            "Lists and disarms alarms",
            &[
                leaf("disarm", "", "Disarms all alarms", &[], Action::AlarmDisarm),
                leaf("list", "", "Lists the alarms of all members", &[], Action::AlarmList),
            ],
        ),
        AUTH,
        CHECK,
        leaf(
            "compaction",
            "[options] <revision>",
            "Gives up the history before a revision",
            &[switch("physical", "wait until the history is gone from the storage")],
            Action::Compaction,
        ),
        leaf(
            "completion",
            "<bash|zsh|fish|powershell>",
            "Prints a completion script for a shell",
            &[],
            Action::Completion,
        ),
        leaf(
            "defrag",
            "[options]",
            "Gives free space of members' storage back",
            CLUSTER_FLAG,
            Action::Defrag,
        ),
        leaf(
            "del",
            "[options] <key> [range_end]",
            "Deletes a key or a range of keys",
            DEL_FLAGS,
            Action::Del,
        ),
        DOWNGRADE,
        leaf(
            "elect",
            "<election-name> [proposal]",
            "Campaigns for an office, or prints who holds it",
            ELECT_FLAGS,
            Action::Elect,
        ),
        family(
            "endpoint",
            "Asks members about themselves",
            &[
                leaf(
                    "hashkv",
                    "[options]",
                    "Prints the hash of each member's history",
                    HASHKV_FLAGS,
                    Action::EndpointHashKv,
                ),
                leaf(
                    "health",
                    "[options]",
                    "Checks whether members answer",
                    CLUSTER_FLAG,
                    Action::EndpointHealth,
                ),
                leaf(
                    "status",
                    "[options]",
                    "Prints the state of each member",
                    CLUSTER_FLAG,
                    Action::EndpointStatus,
                ),
            ],
        ),
        leaf("get", "[options] <key> [range_end]", "Reads a key or a range of keys", GET_FLAGS, Action::Get),
        leaf("help", "[command]", "Shows help for a command", &[], Action::Help),
        family(
            "lease",
            "Creates, renews and ends leases",
            &[
                leaf("grant", "<ttl>", "Creates a lease of so many seconds", &[], Action::LeaseGrant),
                leaf(
                    "keep-alive",
                    "[options] <lease>",
                    "Renews a lease again and again",
                    &[switch("once", "renew it only once")],
                    Action::LeaseKeepAlive,
                ),
                leaf("list", "", "Lists all leases", &[], Action::LeaseList),
                leaf("revoke", "<lease>", "Ends a lease and deletes its keys", &[], Action::LeaseRevoke),
                leaf(
                    "timetolive",
                    "[options] <lease>",
                    "Prints how long a lease has left",
                    &[switch("keys", "print its keys too")],
                    Action::LeaseTimeToLive,
                ),
            ],
        ),
        leaf(
            "lock",
            "<lockname> [exec-command arg1 arg2 ...]",
            "Holds a lock, until a signal or while a command runs",
            LOCK_FLAGS,
            Action::Lock,
        ),
        leaf(
            "make-mirror",
            "[options] <destination>",
            "Copies keys to another cluster, and every change that follows",
            MIRROR_FLAGS,
            Action::MakeMirror,
        ),
        MEMBER,
        leaf("move-leader", "<member>", "Has the leader hand over to a member", &[], Action::MoveLeader),
        leaf("options", "", "Shows the flags of all commands", &[], Action::Options),
        leaf(
            "put",
            "[options] <key> [value]",
            "Writes a key; the value may come from standard input",
            PUT_FLAGS,
            Action::Put,
        ),
        ROLE,
        SNAPSHOT,
        leaf("txn", "[options]", "Runs a transaction read from standard input", TXN_FLAGS, Action::Txn),
        USER,
        leaf("version", "", "Prints the version", &[], Action::Version),
        leaf(
            "watch",
            "[options] [key [range_end]] [-- command [argument...]]",
            "Prints changes of keys as they happen",
            WATCH_FLAGS,
            Action::Watch,
        ),
    ],
);
