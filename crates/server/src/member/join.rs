//! Who a member is at its first start: a founder of a new cluster, or one that joins a running cluster.
//!
//! What the flags say is compared with what members that run already answer, so that a member which lost its data, or
//! was told of another cluster, is refused before it can vote.

use std::time::Duration;

use etched_state_machine::bootstrap_changes;
use tokio::task::JoinSet;

use crate::api::MemberEntry;
use crate::flags::{self, ClusterState, MemberOptions, Options};
use crate::log;
use crate::member::storage::Bootstrap;
use crate::peer::{PeerClient, PeerIdentity, PeerInfo, Secure};

/// How long one member may take to say who is in its cluster.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// The same when a member only asks whether it is known already; the others may not have been started yet.
const LOOK_TIME_MAX: Duration = Duration::from_secs(1);

/// Why a member cannot be part of the cluster that the flags name; in etcd's words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// No member of the cluster answers.
    #[error(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs"
    )]
    NoAnswer,
    /// The running cluster has other members than the flags say.
    #[error("error validating peerURLs {cluster}: {reason}")]
    Mismatch {
        /// What the running cluster says of itself.
        cluster: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// The member was part of the cluster before, and its data is gone.
    #[error("member {0:x} has already been bootstrapped")]
    AlreadyBootstrapped(u64),
    /// The means to ask other members cannot be made.
    #[error("cannot ask other members: {0}")]
    Io(#[from] std::io::Error),
}

/// Decides who the member is; asks other members where that is needed.
pub(crate) fn first_start(options: &Options, secure: Option<Secure>) -> Result<Bootstrap, JoinError> {
    match options.member.initial_cluster_state {
        ClusterState::New => found(options, secure),
        ClusterState::Existing => join(options, secure),
    }
}

/// The initial members as the flags name them.
pub(crate) fn founders(member: &MemberOptions) -> Bootstrap {
    let cluster: Vec<(String, Vec<String>)> =
        member.initial_cluster.iter().map(|(name, urls)| (name.clone(), flags::texts(urls))).collect();
    let token = &member.initial_cluster_token;
    let member_id = etched_state_machine::member_id(&own_urls(member), token, None);
    let changes = bootstrap_changes(&cluster, token);
    let ids: Vec<u64> = changes.iter().map(|change| change.member_id).collect();
    let peers = cluster
        .iter()
        .map(|(_, urls)| PeerInfo {
            id: etched_state_machine::member_id(urls, token, None),
            urls: urls.clone(),
        })
        .collect();
    Bootstrap { member_id, cluster_id: etched_state_machine::cluster_id(&ids), changes, peers }
}

/// As they stand in the cluster, where the ids come from; what is advertised may be the same in other words.
pub(crate) fn own_urls(member: &MemberOptions) -> Vec<String> {
    let own = member.initial_cluster.get(&member.name);
    flags::texts(own.unwrap_or(&member.initial_advertise_peer_urls))
}

fn found(options: &Options, secure: Option<Secure>) -> Result<Bootstrap, JoinError> {
    let bootstrap = founders(&options.member);
    let others: Vec<&PeerInfo> =
        bootstrap.peers.iter().filter(|peer| peer.id != bootstrap.member_id).collect();
    if others.is_empty() {
        return Ok(bootstrap);
    }
    // The client URLs of a member are known once it has started.
    let answer = ask(options, &others, secure, LOOK_TIME_MAX)?;
    let is_known = answer.is_some_and(|(_, members)| {
        members.iter().any(|member| member.id == bootstrap.member_id && !member.client_urls.is_empty())
    });
    if is_known { Err(JoinError::AlreadyBootstrapped(bootstrap.member_id)) } else { Ok(bootstrap) }
}

fn join(options: &Options, secure: Option<Secure>) -> Result<Bootstrap, JoinError> {
    let member = &options.member;
    let own = own_urls(member);
    let flags_say: Vec<PeerInfo> =
        member.initial_cluster.values().map(|urls| PeerInfo { id: 0, urls: flags::texts(urls) }).collect();
    let others: Vec<&PeerInfo> = flags_say.iter().filter(|peer| peer.urls != own).collect();
    let (cluster_id, members) = ask(options, &others, secure, ANSWER_TIME_MAX)?.ok_or(JoinError::NoAnswer)?;
    let member_id = own_id(&flags_say, &members, &own)?;
    let peers =
        members.into_iter().map(|member| PeerInfo { id: member.id, urls: member.peer_urls }).collect();
    Ok(Bootstrap { member_id, cluster_id, changes: Vec::new(), peers })
}

/// The id under which the running cluster knows the member with these URLs, if its members are those of the flags.
fn own_id(flags_say: &[PeerInfo], members: &[MemberEntry], own: &[String]) -> Result<u64, JoinError> {
    let mismatch = |reason| JoinError::Mismatch { cluster: describe(members), reason };
    if flags_say.len() != members.len() {
        return Err(mismatch("member count is unequal"));
    }
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort();
        urls
    };
    let mut wanted: Vec<Vec<String>> = flags_say.iter().map(|peer| sorted(&peer.urls)).collect();
    let mut there: Vec<Vec<String>> = members.iter().map(|member| sorted(&member.peer_urls)).collect();
    wanted.sort();
    there.sort();
    if wanted != there {
        return Err(mismatch("unmatched member while checking PeerURLs"));
    }
    let own = sorted(own);
    let found = members.iter().find(|member| sorted(&member.peer_urls) == own);
    found.map(|member| member.id).ok_or_else(|| mismatch("unmatched member while checking PeerURLs"))
}

fn describe(members: &[MemberEntry]) -> String {
    let all: Vec<String> = members
        .iter()
        .map(|member| format!("{:x}:{}={}", member.id, member.name, member.peer_urls.join(",")))
        .collect();
    format!("{{{}}}", all.join(" "))
}

/// The cluster's id and members, from the first member that answers; all are asked at once.
fn ask(
    options: &Options,
    others: &[&PeerInfo],
    secure: Option<Secure>,
    time_max: Duration,
) -> Result<Option<(u64, Vec<MemberEntry>)>, JoinError> {
    // Neither of the ids is known yet.
    let identity = PeerIdentity { member_id: 0, cluster_id: 0, urls: own_urls(&options.member) };
    let client = PeerClient::new(&identity, secure);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut asking = JoinSet::new();
        for peer in others {
            let (client, urls) = (client.clone(), peer.urls.clone());
            asking.spawn(async move {
                let answered = tokio::time::timeout(time_max, client.members(&urls)).await;
                let reason = match answered {
                    Ok(Ok(answer)) => return Some(answer),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "timed out".to_owned(),
                };
                log!(Warn, "failed to get cluster response", "peer-urls" => urls.join(","), "error" => reason);
                None
            });
        }
        while let Some(answered) = asking.join_next().await {
            if let Ok(Some(answer)) = answered {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, url: &str) -> MemberEntry {
        MemberEntry {
            id,
            name: String::new(),
            peer_urls: vec![url.to_owned()],
            client_urls: Vec::new(),
            is_learner: false,
        }
    }

    fn peer(url: &str) -> PeerInfo {
        PeerInfo { id: 0, urls: vec![url.to_owned()] }
    }

    #[test]
    fn a_member_finds_its_id_by_its_urls() {
        let flags_say = [peer("http://a:1"), peer("http://b:1")];
        let members = [entry(7, "http://b:1"), entry(9, "http://a:1")];
        assert_eq!(own_id(&flags_say, &members, &["http://a:1".to_owned()]).unwrap(), 9);
    }

    #[test]
    fn a_cluster_of_other_members_is_refused() {
        let own = ["http://a:1".to_owned()];
        let members = [entry(7, "http://b:1"), entry(9, "http://a:1")];
        let error = own_id(&[peer("http://a:1")], &members, &own).unwrap_err();
        assert!(error.to_string().ends_with("member count is unequal"), "{error}");
        let error = own_id(&[peer("http://a:1"), peer("http://c:1")], &members, &own).unwrap_err();
        assert!(error.to_string().ends_with("unmatched member while checking PeerURLs"), "{error}");
    }
}
