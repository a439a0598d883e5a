//! Asks the leader what only it can answer, over the peers' HTTP, as etcd does.

use std::sync::Arc;
use std::time::Duration;

use etched_state_machine::Refusal;

use crate::api::{Answer, ApiError, LeaderQuestion};
use crate::member::handle::Shown;
use crate::peer::{PeerClient, PeerError};

/// How long to wait before the leader is looked for again.
const RETRY: Duration = Duration::from_millis(50);

/// Asks until the leader of the moment answers; the caller limits the time.
pub(crate) async fn ask(
    client: PeerClient,
    shown: Arc<Shown>,
    question: LeaderQuestion,
) -> Result<Answer, ApiError> {
    loop {
        if let Some(urls) = shown.leader_urls()
            && let Some(result) = once(&client, &urls, &question).await
        {
            return result;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// `None` if it is worth trying again.
async fn once(
    client: &PeerClient,
    urls: &[String],
    question: &LeaderQuestion,
) -> Option<Result<Answer, ApiError>> {
    let answered = match *question {
        LeaderQuestion::LeaseRenew { id } => {
            client.lease_renew(urls, id).await.map(|ttl| Answer::LeaseRenewed { ttl })
        }
        LeaderQuestion::LeaseTimeToLive { id, keys } => {
            client.lease_time_to_live(urls, id, keys).await.map(|lease| Answer::LeaseTimeToLive(Some(lease)))
        }
        LeaderQuestion::MemberPromote { id, ref token } => client
            .promote(urls, id, token.as_ref().map(|token| token.0.as_str()))
            .await
            .map(|members| Answer::MemberChanged { member: None, members }),
    };
    match answered {
        Ok(answer) => Some(Ok(answer)),
        Err(PeerError::LeaseNotFound) => Some(Ok(match question {
            LeaderQuestion::LeaseTimeToLive { .. } => Answer::LeaseTimeToLive(None),
            LeaderQuestion::LeaseRenew { .. } | LeaderQuestion::MemberPromote { .. } => {
                Answer::LeaseRenewed { ttl: 0 }
            }
        })),
        Err(PeerError::MemberNotFound) => Some(Err(Refusal::MemberNotFound.into())),
        Err(PeerError::NotLearner) => Some(Err(Refusal::MemberNotLearner.into())),
        Err(PeerError::LearnerNotReady) => Some(Err(ApiError::LearnerNotReady)),
        Err(
            PeerError::Timeout
            | PeerError::Compacted
            | PeerError::FutureRevision
            | PeerError::ClusterMismatch
            | PeerError::Unreachable(_)
            | PeerError::Unexpected { .. },
        ) => None,
    }
}
