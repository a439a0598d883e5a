//! The versions that the members of a cluster speak, and what the cluster agrees on.

/// What a member says of its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerVersion {
    /// Of the server, `major.minor.patch`.
    pub server: String,
    /// Of the cluster, as far as that member knows; may be empty.
    pub cluster: String,
}
