//! Asks other members what Raft does not carry.

use std::time::Duration;

use bytes::Bytes;
use etched_proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveRequest};
use etched_proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use etched_state_machine::HashKv;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use prost::Message as _;
use serde_json::Value as Json;

use super::dial::{Dialer, Requester, Stall};
use super::questions::{COMPACTED, FUTURE_REVISION, LEARNER_NOT_READY, NOT_LEARNER};
use super::{PeerIdentity, PeerVersions, Secure, head};
use crate::api::{LeaseTimeToLive, MemberEntry};
use crate::flags::Url;

/// How long opening a connection may take.
const DIAL_TIME_MAX: Duration = Duration::from_secs(2);
/// How long an answer may take: as long as members give to requests by default.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(7);

/// Asks other members; each question goes to the given URLs in turn until one answers.
///
/// What a member answers counts, also if it is an error; only a URL that gives no answer makes room for the next.
/// Questions are asked on the runtime of the caller, which needs tokio's network and time.
#[derive(Clone)]
pub struct PeerClient {
    dialer: Dialer,
    headers: HeaderMap,
    answer_time_max: Duration,
}

/// The hash that another member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashAnswer {
    /// Who answered; 0 if it did not say so, as etcd.
    pub member_id: u64,
    /// Its revision when it answered.
    pub revision: i64,
    /// The hash.
    pub hash: HashKv,
}

/// Why another member did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// There is no such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// That member is behind with applying, or does not know its leader.
    #[error("waiting for node to catch up its applied index has timed out")]
    Timeout,
    /// There is no such member.
    #[error("member not found")]
    MemberNotFound,
    /// The member to be promoted votes already.
    #[error("can only promote a learner member")]
    NotLearner,
    /// The learner is behind.
    #[error("can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// The revision is compacted there.
    #[error("mvcc: required revision has been compacted")]
    Compacted,
    /// The revision is not there yet.
    #[error("mvcc: required revision is a future revision")]
    FutureRevision,
    /// It is a member of another cluster.
    #[error("cluster ID mismatch")]
    ClusterMismatch,
    /// No URL could be reached.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// The answer was another error, or not understood.
    #[error("unexpected answer with status {status}: {text}")]
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// The body, or what is wrong with it.
        text: String,
    },
}

/// What is asked.
struct Question {
    method: Method,
    path: String,
    content_type: Option<&'static str>,
    body: Bytes,
    token: Option<HeaderValue>,
}

impl Question {
    fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            content_type: None,
            body: Bytes::new(),
            token: None,
        }
    }

    fn post(path: &str, message: &impl prost::Message) -> Self {
        let body = Bytes::from(message.encode_to_vec());
        let content_type = Some("application/protobuf");
        Self { method: Method::POST, path: path.to_owned(), content_type, body, token: None }
    }
}

impl PeerClient {
    /// A client that names this member in its requests.
    pub fn new(identity: &PeerIdentity, secure: Option<Secure>) -> Self {
        let dialer = Dialer { secure, within: DIAL_TIME_MAX, stall: Stall::default(), local: None };
        Self { dialer, headers: head::of_requests(identity), answer_time_max: ANSWER_TIME_MAX }
    }

    /// A client of a process that is not yet a member of a cluster, and asks one to become it.
    pub fn of_stranger(secure: Option<Secure>) -> Self {
        let dialer = Dialer { secure, within: DIAL_TIME_MAX, stall: Stall::default(), local: None };
        Self { dialer, headers: HeaderMap::new(), answer_time_max: ANSWER_TIME_MAX }
    }

    /// The same client with another time to wait for an answer.
    #[must_use]
    pub fn with_answer_time_max(self, answer_time_max: Duration) -> Self {
        Self { answer_time_max, ..self }
    }

    /// Renews a lease at the leader; the time to live in seconds.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn lease_renew(&self, urls: &[String], id: i64) -> Result<i64, PeerError> {
        let question = Question::post("/leases", &LeaseKeepAliveRequest { id });
        let (head, body) = self.ask(urls, question).await?;
        check_lease(&head, &body)?;
        match LeaseKeepAliveResponse::decode(&body[..]) {
            Ok(answer) if answer.id == id => Ok(answer.ttl),
            Ok(_) => Err(unexpected(&head, "the answer is about another lease")),
            Err(error) => Err(unexpected(&head, error)),
        }
    }

    /// Asks the leader for the remaining life of a lease.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn lease_time_to_live(
        &self,
        urls: &[String],
        id: i64,
        keys: bool,
    ) -> Result<LeaseTimeToLive, PeerError> {
        let asked = LeaseTimeToLiveRequest { id, keys };
        let question = Question::post(
            "/leases/internal",
            &LeaseInternalRequest { lease_time_to_live_request: Some(asked) },
        );
        let (head, body) = self.ask(urls, question).await?;
        check_lease(&head, &body)?;
        let answer = LeaseInternalResponse::decode(body).map_err(|error| unexpected(&head, error))?;
        match answer.lease_time_to_live_response {
            Some(lease) if lease.id == id => {
                Ok(LeaseTimeToLive { remaining: lease.ttl, granted: lease.granted_ttl, keys: lease.keys })
            }
            _ => Err(unexpected(&head, "the answer is about another lease")),
        }
    }

    /// The cluster's id and its members, as a running member knows them.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn members(&self, urls: &[String]) -> Result<(u64, Vec<MemberEntry>), PeerError> {
        let (head, body) = self.ask(urls, Question::get("/members")).await?;
        check_ok(&head, &body)?;
        let id = head::parse_hex(head::text(&head.headers, &head::CLUSTER_ID));
        let id = id.ok_or_else(|| unexpected(&head, "the answer names no cluster"))?;
        let members =
            parse_members(&body).ok_or_else(|| unexpected(&head, "the members are not understood"))?;
        Ok((id, members))
    }

    /// Has the leader promote a learner, with the token of the caller; all members.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn promote(
        &self,
        urls: &[String],
        id: u64,
        token: Option<&str>,
    ) -> Result<Vec<MemberEntry>, PeerError> {
        let mut question = Question::get(&format!("/members/promote/{id}"));
        question.method = Method::POST;
        // A token that is no header's value is none that a member gave out.
        question.token = token.and_then(|token| HeaderValue::from_str(token).ok());
        let (head, body) = self.ask(urls, question).await?;
        let text = String::from_utf8_lossy(&body);
        match head.status {
            StatusCode::OK => {
                parse_members(&body).ok_or_else(|| unexpected(&head, "the members are not understood"))
            }
            StatusCode::REQUEST_TIMEOUT => Err(PeerError::Timeout),
            StatusCode::NOT_FOUND => Err(PeerError::MemberNotFound),
            StatusCode::PRECONDITION_FAILED if text.contains(LEARNER_NOT_READY) => {
                Err(PeerError::LearnerNotReady)
            }
            StatusCode::PRECONDITION_FAILED if text.contains(NOT_LEARNER) => Err(PeerError::NotLearner),
            _ => Err(unexpected(&head, text.trim_end())),
        }
    }

    /// The versions that a member runs with.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn versions(&self, urls: &[String]) -> Result<PeerVersions, PeerError> {
        let (head, body) = self.ask(urls, Question::get("/version")).await?;
        check_ok(&head, &body)?;
        let answer: Json = serde_json::from_slice(&body).map_err(|error| unexpected(&head, error))?;
        let text = |name: &str, unknown: &str| {
            let text = answer.get(name).and_then(Json::as_str).unwrap_or_default();
            if text == unknown { String::new() } else { text.to_owned() }
        };
        Ok(PeerVersions {
            server: text("etcdserver", ""),
            cluster: text("etcdcluster", "not_decided"),
            storage: text("storage", "unknown"),
        })
    }

    /// Whether a member says that a downgrade of the cluster is under way.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn downgrade_enabled(&self, urls: &[String]) -> Result<bool, PeerError> {
        let (head, body) = self.ask(urls, Question::get("/downgrade/enabled")).await?;
        match head.status {
            // Members before 3.5 do not know the question, and no downgrade either.
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::OK if body.trim_ascii() == b"true" => Ok(true),
            StatusCode::OK if body.trim_ascii() == b"false" => Ok(false),
            _ => Err(unexpected(&head, String::from_utf8_lossy(&body).trim_end())),
        }
    }

    /// The hash of a member's key space at a revision.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub async fn hash_kv(&self, urls: &[String], revision: i64) -> Result<HashAnswer, PeerError> {
        let mut question = Question::get("/members/hashkv");
        question.content_type = Some("application/json");
        question.body = Bytes::from(format!("{{\"revision\":{revision}}}"));
        let (head, body) = self.ask(urls, question).await?;
        let text = String::from_utf8_lossy(&body);
        match head.status {
            StatusCode::BAD_REQUEST if text.contains(COMPACTED) => return Err(PeerError::Compacted),
            StatusCode::BAD_REQUEST if text.contains(FUTURE_REVISION) => {
                return Err(PeerError::FutureRevision);
            }
            _ => check_ok(&head, &body)?,
        }
        let answer: Json = serde_json::from_slice(&body).map_err(|error| unexpected(&head, error))?;
        let signed = |name: &str| answer.get(name).and_then(Json::as_i64).unwrap_or_default();
        let hash = u32::try_from(signed("hash")).map_err(|error| unexpected(&head, error))?;
        let header = answer.get("header");
        let header = |name: &str| header.and_then(|header| header.get(name));
        Ok(HashAnswer {
            member_id: header("member_id").and_then(Json::as_u64).unwrap_or_default(),
            revision: header("revision").and_then(Json::as_i64).unwrap_or_default(),
            hash: HashKv {
                hash,
                compact_revision: signed("compact_revision"),
                hash_revision: signed("hash_revision"),
            },
        })
    }

    async fn ask(&self, urls: &[String], question: Question) -> Result<(Parts, Bytes), PeerError> {
        let mut problem = "the member has no URL".to_owned();
        for url in urls {
            let url = match Url::parse(url) {
                Ok(url) => url,
                Err(error) => {
                    problem = error;
                    continue;
                }
            };
            let mut requester = Requester::new(self.dialer.clone());
            match requester.ask(&url, self.request(&question)?, self.answer_time_max).await {
                Ok(answer) => return Ok(answer),
                Err(error) => problem = error.to_string(),
            }
        }
        Err(PeerError::Unreachable(problem))
    }

    fn request(&self, question: &Question) -> Result<Request<Full<Bytes>>, PeerError> {
        let mut request = Request::new(Full::new(question.body.clone()));
        *request.method_mut() = question.method.clone();
        *request.uri_mut() =
            question.path.parse().map_err(|_| PeerError::Unreachable("the path is none".to_owned()))?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if let Some(content_type) = question.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(token) = &question.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        Ok(request)
    }
}

fn unexpected(head: &Parts, text: impl ToString) -> PeerError {
    PeerError::Unexpected { status: head.status.as_u16(), text: text.to_string() }
}

fn check_ok(head: &Parts, body: &[u8]) -> Result<(), PeerError> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_end();
    match head.status {
        StatusCode::OK => Ok(()),
        StatusCode::PRECONDITION_FAILED if text == head::CLUSTER_MISMATCH => Err(PeerError::ClusterMismatch),
        _ => Err(unexpected(head, text)),
    }
}

fn check_lease(head: &Parts, body: &[u8]) -> Result<(), PeerError> {
    match head.status {
        StatusCode::REQUEST_TIMEOUT => Err(PeerError::Timeout),
        StatusCode::NOT_FOUND => Err(PeerError::LeaseNotFound),
        _ => check_ok(head, body),
    }
}

fn parse_members(body: &[u8]) -> Option<Vec<MemberEntry>> {
    let members: Json = serde_json::from_slice(body).ok()?;
    let texts = |member: &Json, name: &str| -> Option<Vec<String>> {
        match member.get(name) {
            None | Some(Json::Null) => Some(Vec::new()),
            Some(texts) => texts.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        }
    };
    let parse = |member: &Json| {
        Some(MemberEntry {
            id: member.get("id")?.as_u64()?,
            name: member.get("name").and_then(Json::as_str).unwrap_or_default().to_owned(),
            peer_urls: texts(member, "peerURLs")?,
            client_urls: texts(member, "clientURLs")?,
            is_learner: member.get("isLearner").and_then(Json::as_bool).unwrap_or_default(),
        })
    };
    members.as_array()?.iter().map(parse).collect()
}
