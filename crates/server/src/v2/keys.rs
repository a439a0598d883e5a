//! `/v2/keys`: reads and changes of the tree.

use bytes::Bytes;
use etched_replica::{V2Answer, V2Call};
use etched_state_machine::v2store::{
    Access, Code, Compared, Depth, Error, KEYS, Reply, Request as Change, Watched, What, Written, clean,
};
use etched_state_machine::{Command, Outcome, V2Command, V2Done};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use tonic::body::Body;

use super::form::{Form, NotOfType};
use super::{Asked, Told, V2, error_text, is_of_type, is_read, json, refuse_method, unexpected, unix_ns};
use crate::api::{Answer, ApiError, Request};
use crate::front::Answered;

const ETCD_INDEX: HeaderName = HeaderName::from_static("x-etcd-index");
const RAFT_INDEX: HeaderName = HeaderName::from_static("x-raft-index");
const RAFT_TERM: HeaderName = HeaderName::from_static("x-raft-term");

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// What is asked of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Question {
    Read { depth: Depth, is_linearizable: bool },
    Watch { since: u64, is_recursive: bool, is_stream: bool },
    Change(What),
}

/// A request about keys, as it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyRequest {
    /// The path without a namespace.
    path: String,
    question: Question,
    is_recursive: bool,
    wants_no_value: bool,
}

/// Where in the log an answer stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) etcd_index: u64,
    pub(super) raft_index: u64,
    pub(super) raft_term: u64,
}

impl V2 {
    pub(super) async fn keys(&self, asked: Asked<'_>, rest: &str) -> Response<Body> {
        let whole = |response: Response<Bytes>| response.map(|bytes| Body::new(Full::new(bytes)));
        let Asked { head, body } = asked;
        if let Some(response) = refuse_method(head, "HEAD,GET,PUT,POST,DELETE") {
            return whole(response);
        }
        let has_form = head.method == Method::PUT || head.method == Method::POST;
        let body = if has_form && is_of_type(head, "application/x-www-form-urlencoded") {
            match self.read(body).await {
                Ok(body) => body,
                Err(response) => return whole(response),
            }
        } else {
            Bytes::new()
        };
        let form = Form::parse(&body, head.uri.query().unwrap_or_default());
        let request = form
            .map_err(|text| Error::new(Code::InvalidForm, text, 0))
            .and_then(|form| KeyRequest::parse(&head.method, rest, &form, unix_ns()));
        let request = match request {
            Ok(request) => request,
            Err(error) => return whole(self.refused(&error)),
        };
        let access =
            Access { path: &request.path, is_write: !is_read(head), is_recursive: request.is_recursive };
        match self.may_use(head, access).await {
            Ok(true) => {}
            Ok(false) => {
                let error = Error::new(Code::Unauthorized, "Insufficient credentials", 0);
                return whole(self.refused(&error));
            }
            Err(error) => return whole(self.failed_on_keys(&error)),
        }
        let wants_no_value = request.wants_no_value;
        let path = if request.path == "/" { KEYS.to_owned() } else { format!("{KEYS}{}", request.path) };
        let result = match request.question {
            Question::Watch { since, is_recursive, is_stream } => {
                return match self.watch(Watched { path, is_recursive }, since, is_stream).await {
                    Ok(Ok(response)) => response,
                    Ok(Err(error)) => whole(self.refused(&error)),
                    Err(error) => whole(self.failed_on_keys(&error)),
                };
            }
            Question::Read { depth, is_linearizable } => {
                self.read_node(V2Call::Read { path, depth, is_linearizable, now_ns: unix_ns() }).await
            }
            Question::Change(what) => self.change(Change { path, what, now_ns: unix_ns() }).await,
        };
        whole(match result {
            Ok((Ok(reply), stamp)) => self.reply(&reply, stamp, wants_no_value),
            Ok((Err(error), _)) => self.refused(&error),
            Err(error) => self.failed_on_keys(&error),
        })
    }

    async fn read_node(&self, call: V2Call) -> Result<(Result<Reply, Error>, Stamp), ApiError> {
        let Told { answer, raft_index, raft_term } = self.ask_v2(call).await?;
        let V2Answer::Read(result) = answer else { return Err(unexpected()) };
        Ok((result, Stamp { etcd_index: 0, raft_index, raft_term }))
    }

    async fn change(&self, change: Change) -> Result<(Result<Reply, Error>, Stamp), ApiError> {
        let command = Command::V2(V2Command::Change(change));
        let Answered { answer, raft_term, .. } = self.ask(Request::Propose(command)).await?;
        let Answer::Applied(Outcome::V2 { raft_index, done }) = answer else { return Err(unexpected()) };
        let V2Done::Change(result) = *done else { return Err(unexpected()) };
        Ok((result, Stamp { etcd_index: 0, raft_index, raft_term }))
    }

    fn reply(&self, reply: &Reply, stamp: Stamp, wants_no_value: bool) -> Response<Bytes> {
        let event = &reply.event;
        let status = if event.is_created() { StatusCode::CREATED } else { StatusCode::OK };
        let body = if wants_no_value { event.to_json_without_values(KEYS) } else { event.to_json(KEYS) };
        let mut response = self.named(json(status, &body));
        Stamp { etcd_index: reply.index, ..stamp }.put(&mut response);
        response
    }

    pub(super) fn refused(&self, error: &Error) -> Response<Bytes> {
        let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = self.named(json(status, &error.to_json(KEYS)));
        response.headers_mut().insert(ETCD_INDEX, error.index.into());
        response
    }

    fn failed_on_keys(&self, error: &ApiError) -> Response<Bytes> {
        self.refused(&Error::new(Code::RaftInternal, error_text(error), 0))
    }
}

impl Stamp {
    pub(super) fn put<B>(self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        let names =
            [(ETCD_INDEX, self.etcd_index), (RAFT_INDEX, self.raft_index), (RAFT_TERM, self.raft_term)];
        for (name, number) in names {
            headers.insert(name, HeaderValue::from(number));
        }
    }
}

impl KeyRequest {
    /// Reads the parameters, in etcd's order: the first that is wrong is the one that is told.
    fn parse(method: &Method, rest: &str, form: &Form, now_ns: i64) -> Result<Self, Error> {
        let refuse = |code, cause: &str| Error::new(code, cause, 0);
        let number = |name: &str| {
            let wrong = |NotOfType| refuse(Code::IndexNotANumber, &format!("invalid value for \"{name}\""));
            form.number(name).map_err(wrong)
        };
        let flag = |name: &str| {
            let wrong = |NotOfType| refuse(Code::InvalidField, &format!("invalid value for \"{name}\""));
            form.flag(name).map_err(wrong)
        };
        let (prev_index, since) = (number("prevIndex")?, number("waitIndex")?);
        let (is_recursive, _) = (flag("recursive")?, flag("sorted")?);
        let (is_wait, is_dir) = (flag("wait")?, flag("dir")?);
        let (is_linearizable, is_stream) = (flag("quorum")?, flag("stream")?);
        if is_wait && *method != Method::GET {
            return Err(refuse(Code::InvalidField, "\"wait\" can only be used with GET requests"));
        }
        if form.get("prevValue") == Some("") {
            return Err(refuse(Code::PrevValueRequired, "\"prevValue\" cannot be empty"));
        }
        let wants_no_value = flag("noValueOnSuccess")?;
        let ttl = match form.text("ttl") {
            "" => None,
            _ => Some(
                form.number("ttl")
                    .map_err(|NotOfType| refuse(Code::TtlNotANumber, "invalid value for \"ttl\""))?,
            ),
        };
        let optional = |name: &str| match form.get(name) {
            None => Ok(None),
            Some(_) => form
                .flag(name)
                .map(Some)
                .map_err(|NotOfType| refuse(Code::InvalidField, &format!("invalid value for {name}"))),
        };
        let prev_exist = optional("prevExist")?;
        let is_refresh = optional("refresh")? == Some(true);
        if is_refresh && !form.text("value").is_empty() {
            return Err(refuse(Code::RefreshValue, "A value was provided on a refresh"));
        }
        if is_refresh && ttl.is_none() {
            return Err(refuse(Code::RefreshTtlRequired, "No TTL value set"));
        }
        let expires_ns = ttl.map_or(0, |ttl| {
            let life = i64::try_from(ttl.saturating_mul(SECOND_NS)).unwrap_or(i64::MAX);
            now_ns.saturating_add(life)
        });
        let written = Written { value: form.text("value").to_owned(), is_dir, expires_ns, is_refresh };
        let compared = Compared { value: form.text("prevValue").to_owned(), index: prev_index };
        let is_compared = !compared.value.is_empty() || compared.index > 0;
        let depth = if is_recursive { Depth::All } else { Depth::One };
        let question = match *method {
            Method::POST => Question::Change(What::CreateInOrder(written)),
            Method::DELETE if is_compared => Question::Change(What::CompareAndDelete(compared)),
            Method::DELETE => Question::Change(What::Delete { is_dir, is_recursive }),
            Method::PUT => Question::Change(match prev_exist {
                Some(false) => What::Create(written),
                Some(true) | None if is_compared => What::CompareAndSwap(compared, written),
                Some(true) => What::Update(written),
                None => What::Set(written),
            }),
            _ if is_wait => Question::Watch { since, is_recursive, is_stream },
            _ => Question::Read { depth, is_linearizable },
        };
        Ok(Self { path: clean(rest), question, is_recursive, wants_no_value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause_of(method: &Method, query: &str) -> (u16, String) {
        let form = Form::parse(b"", query).unwrap();
        let error = KeyRequest::parse(method, "/a", &form, 0).unwrap_err();
        (error.code.number(), error.cause)
    }

    #[test]
    fn what_is_wrong_is_told_by_code_and_cause() {
        for (query, code, cause) in [
            ("prevIndex=x", 203, "invalid value for \"prevIndex\""),
            ("waitIndex=-1", 203, "invalid value for \"waitIndex\""),
            ("recursive=yes", 209, "invalid value for \"recursive\""),
            ("wait=true", 209, "\"wait\" can only be used with GET requests"),
            ("prevValue=", 201, "\"prevValue\" cannot be empty"),
            ("ttl=-1", 202, "invalid value for \"ttl\""),
            ("prevExist=", 209, "invalid value for prevExist"),
            ("refresh=x", 209, "invalid value for refresh"),
            ("refresh=true&value=a&ttl=1", 211, "A value was provided on a refresh"),
            ("refresh=true", 212, "No TTL value set"),
        ] {
            assert_eq!(cause_of(&Method::PUT, query), (code, cause.into()), "{query}");
        }
    }

    #[test]
    fn parameters_choose_the_change() {
        let what = |method: &Method, query: &str| {
            let form = Form::parse(b"", query).unwrap();
            KeyRequest::parse(method, "//a/../b/", &form, 7).unwrap()
        };
        let written = |value: &str| Written { value: value.into(), ..Written::default() };
        assert_eq!(what(&Method::PUT, "value=v").path, "/b");
        assert_eq!(what(&Method::PUT, "value=v").question, Question::Change(What::Set(written("v"))));
        let compared = Compared { value: "o".into(), index: 0 };
        assert_eq!(
            what(&Method::PUT, "value=v&prevExist=true&prevValue=o").question,
            Question::Change(What::CompareAndSwap(compared, written("v")))
        );
        assert_eq!(
            what(&Method::DELETE, "recursive=true").question,
            Question::Change(What::Delete { is_dir: false, is_recursive: true })
        );
        let Question::Change(What::Set(written)) = what(&Method::PUT, "ttl=2").question else { panic!() };
        assert_eq!(written.expires_ns, 2_000_000_007);
        assert_eq!(
            what(&Method::HEAD, "quorum=true").question,
            Question::Read { depth: Depth::One, is_linearizable: true }
        );
    }
}
