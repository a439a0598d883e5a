//! The command line of `etched dev`.

use std::path::PathBuf;

/// A cluster for developers: members on loopback, ended by Ctrl-C.
///
/// Commands are read from standard input while it runs: `help` lists them.
/// Variables ETCD_* are not given to the members; flags after -- are.
#[derive(clap::Parser, Debug, Clone)]
#[command(name = "etched dev", version)]
pub(super) struct Options {
    /// How many members there are [default: 3, or what the directory holds].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(super) members: Option<u16>,
    /// The first member's port for clients; the next member's is 10 higher, the port for members 1 higher; 0 takes
    /// free ones [default: 2379, or what the directory holds].
    #[arg(long)]
    pub(super) port: Option<u16>,
    /// Keeps the data here; the same directory goes on with them [default: a temporary directory].
    #[arg(long)]
    pub(super) data_dir: Option<PathBuf>,
    /// TLS between members and for clients, with certificates made for it.
    #[arg(long)]
    pub(super) tls: bool,
    /// Tells the members as one line of JSON when all serve, instead of a text.
    #[arg(long)]
    pub(super) json: bool,
    /// Flags for every member, after --.
    #[arg(last = true, value_name = "FLAGS")]
    pub(super) flags: Vec<String>,
}
