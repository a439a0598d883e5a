//! Ids of members and clusters: hashes, so that members that never met agree on them.

use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::Member;

/// The entry that makes an initial member known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapChange {
    /// The member's id, of the `AddNode` change of term 1.
    pub member_id: u64,
    /// The change's context.
    pub context: Bytes,
}

/// The id of a member, from its peer addresses and the cluster's token.
///
/// Members of the initial cluster have the cluster's token and no time; members added later have an empty token and the
/// time at which they are added, in seconds of the Unix epoch.
pub fn member_id(peer_urls: &[String], token: &str, unix_seconds: Option<i64>) -> u64 {
    let mut urls: Vec<&String> = peer_urls.iter().collect();
    urls.sort();
    let mut hash = Sha1::new();
    for url in urls {
        hash.update(url.as_bytes());
    }
    hash.update(token.as_bytes());
    if let Some(seconds) = unix_seconds {
        hash.update(seconds.to_string().as_bytes());
    }
    first_eight(hash)
}

/// The id of a cluster, from the ids of its initial members.
pub fn cluster_id(members: &[u64]) -> u64 {
    let mut ids = members.to_vec();
    ids.sort_unstable();
    let mut hash = Sha1::new();
    for id in ids {
        hash.update(id.to_be_bytes());
    }
    first_eight(hash)
}

/// The entries that every initial member writes to its own log when the cluster is founded, in their order: indexes 1
/// and up, term 1, committed from the start. `initial_cluster` is names with their peer addresses.
pub fn bootstrap_changes(initial_cluster: &[(String, Vec<String>)], token: &str) -> Vec<BootstrapChange> {
    let mut members: Vec<Member> = initial_cluster
        .iter()
        .map(|(name, urls)| {
            let mut peer_urls = urls.clone();
            peer_urls.sort();
            let id = member_id(&peer_urls, token, None);
            Member { id, name: name.clone(), peer_urls, ..Member::default() }
        })
        .collect();
    members.sort_by_key(|member| member.id);
    members.iter().map(|member| BootstrapChange { member_id: member.id, context: member.to_json() }).collect()
}

fn first_eight(hash: Sha1) -> u64 {
    let digest: [u8; 20] = hash.finalize().into();
    let (head, _) = digest.split_first_chunk().expect("a digest has twenty bytes");
    u64::from_be_bytes(*head)
}
