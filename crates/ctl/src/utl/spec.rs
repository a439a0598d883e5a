//! The commands of etchedutl and their flags, as data.

use crate::table::{Flag, Kind, Program, family, flag, leaf, switch};

/// A command, or a family of commands.
type Command = crate::table::Command<Action>;

/// The program.
pub(crate) const PROGRAM: Program<Action> = Program { root: &ROOT, globals: GLOBAL_FLAGS };

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
    switch("mark-compacted", "mark the raised revision as compacted (needed to raise it)"),
    flag("name", Kind::Text, "default", "name of this member"),
    switch("skip-hash-check", "accept a file without checksum, such as a copied database"),
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
                switch("force", "mark it even if the log holds what that version does not know"),
                flag("target-version", Kind::Text, "", "version of the form X.Y, at least 3.5"),
                WAL_DIR,
            ],
            Action::Migrate,
        ),
        leaf("options", "", "Shows the flags of all commands", &[], Action::Options),
        family(
            "snapshot",
            "Looks at snapshots and restores them",
            &[
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
        ),
        leaf("version", "", "Prints the version", &[], Action::Version),
    ],
};
