//! The commands and their flags, as data. Parsing, help and completion read these tables.

/// A flag.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) short: Option<u8>,
    pub(crate) kind: Kind,
    /// In the form in which it would be typed.
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
}

/// What a flag's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Takes a value only behind an equals sign.
    Bool,
    Int,
    Uint,
    Duration,
    Text,
    /// Separated by commas; a repeated flag adds to it.
    List,
}

/// A command, or a family of commands if it has no action.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// The arguments, for the usage line.
    pub(crate) arguments: &'static str,
    pub(crate) about: &'static str,
    pub(crate) flags: &'static [Flag],
    pub(crate) action: Option<Action>,
    pub(crate) children: &'static [Self],
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    SnapshotStatus,
    SnapshotRestore,
    HashKv,
    Defrag,
    Migrate,
    Convert,
    Version,
    Completion,
    Options,
    Help,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Flag {
    Flag { name, short: None, kind, default, about }
}

const fn leaf(
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    flags: &'static [Flag],
    action: Action,
) -> Command {
    Command { name, arguments, about, flags, action: Some(action), children: &[] }
}

/// The flags of all commands.
pub(crate) const GLOBAL_FLAGS: &[Flag] = &[
    flag("timeout", Kind::Duration, "10s", "how long to wait for a file that is in use, 0 for ever"),
    Flag {
        name: "write-out",
        short: Some(b'w'),
        kind: Kind::Text,
        default: "simple",
        about: "output format (fields, json, protobuf, simple, table)",
    },
];

/// The flag that every command has.
pub(crate) const HELP_FLAG: Flag =
    Flag { name: "help", short: Some(b'h'), kind: Kind::Bool, default: "false", about: "show this text" };

const DATA_DIR: Flag = flag("data-dir", Kind::Text, "", "data directory of a member that has stopped");
const WAL_DIR: Flag =
    flag("wal-dir", Kind::Text, "", "directory of the log, if it is not in the data directory");

const RESTORE_FLAGS: &[Flag] = &[
    flag("bump-revision", Kind::Uint, "0", "by how much to raise the newest revision"),
    flag("data-dir", Kind::Text, "", "data directory to be made (the name and .etcd, unless given)"),
    flag("initial-advertise-peer-urls", Kind::Text, "http://localhost:2380", "peer addresses of this member"),
    flag("initial-cluster", Kind::Text, "default=http://localhost:2380", "the members of the new cluster"),
    flag("initial-cluster-token", Kind::Text, "etcd-cluster", "token of the new cluster"),
    flag(
        "initial-memory-map-size",
        Kind::Uint,
        "10737418240",
        "has no effect, nothing is mapped into memory",
    ),
    flag("mark-compacted", Kind::Bool, "false", "mark the raised revision as compacted (needed to raise it)"),
    flag("name", Kind::Text, "default", "name of this member"),
    flag("skip-hash-check", Kind::Bool, "false", "accept a file without checksum, such as a copied database"),
    flag("wal-dir", Kind::Text, "", "directory of the log (in the data directory, unless given)"),
];

/// All commands.
pub(crate) const ROOT: Command = Command {
    name: "",
    arguments: "",
    about: "etchedutl works on the files of a stopped member of etched or etcd, and on snapshots.",
    flags: &[],
    action: None,
    children: &[
        leaf("completion", "bash|zsh|fish|powershell", "Prints a completion script", &[], Action::Completion),
        leaf(
            "convert",
            "",
            "Turns the data directory of a stopped etched into one of etcd, in place",
            &[DATA_DIR, flag("to", Kind::Text, "etcd", "the program that is to use it: etcd"), WAL_DIR],
            Action::Convert,
        ),
        leaf("defrag", "", "Rewrites the database of a stopped member", &[DATA_DIR], Action::Defrag),
        leaf(
            "hashkv",
            "<filename>",
            "Prints the hash over the history of keys in a database or snapshot",
            &[flag("rev", Kind::Int, "0", "revision up to which to hash, 0 for the newest")],
            Action::HashKv,
        ),
        leaf("help", "[command]", "Shows help about a command", &[], Action::Help),
        leaf(
            "migrate",
            "",
            "Marks the database of a stopped member with the version of another etcd",
            &[
                DATA_DIR,
                flag(
                    "force",
                    Kind::Bool,
                    "false",
                    "mark it even if the log holds what that version does not know",
                ),
                flag("target-version", Kind::Text, "", "version of the form X.Y, at least 3.5"),
                WAL_DIR,
            ],
            Action::Migrate,
        ),
        leaf("options", "", "Shows the flags of all commands", &[], Action::Options),
        Command {
            name: "snapshot",
            arguments: "",
            about: "Looks at snapshots and restores them",
            flags: &[],
            action: None,
            children: &[
                leaf(
                    "restore",
                    "<filename>",
                    "Makes a data directory of a snapshot",
                    RESTORE_FLAGS,
                    Action::SnapshotRestore,
                ),
                leaf(
                    "status",
                    "<filename>",
                    "Checks a snapshot or database and says what is in it",
                    &[],
                    Action::SnapshotStatus,
                ),
            ],
        },
        leaf("version", "", "Prints the version", &[], Action::Version),
    ],
};

/// What the tests of the shared parser name; they are run with the other program, whose flags these are.
#[cfg(test)]
pub(crate) const GET_FLAGS: &[Flag] = &[];
#[cfg(test)]
pub(crate) const MIRROR_FLAGS: &[Flag] = &[];
