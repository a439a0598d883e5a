//! `/v2/members` and `/v2/machines`: who takes part, and changes of it.

use bytes::Bytes;
use etched_replica::{V2Answer, V2Call};
use etched_state_machine::Refusal;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::Value;

use super::{
    Asked, V2, content_type, empty, failed, is_of_type, json, message, refuse_method, text_json, unexpected,
};
use crate::api::{Answer, ApiError, MemberEntry, Request};
use crate::flags::Url;
use crate::front::Answered;
use crate::http::{plain, typed};

impl V2 {
    pub(super) async fn machines(&self, head: &Parts) -> Response<Bytes> {
        if let Some(response) = refuse_method(head, "GET,HEAD") {
            return response;
        }
        match self.list_members().await {
            Ok(members) => {
                let mut urls: Vec<String> =
                    members.into_iter().flat_map(|member| member.client_urls).collect();
                urls.sort();
                typed(http::HeaderValue::from_static("text/plain; charset=utf-8"), urls.join(", "))
            }
            Err(error) => failed(&error),
        }
    }

    pub(super) async fn members(&self, asked: Asked<'_>, rest: &str) -> Response<Bytes> {
        if let Some(response) = refuse_method(asked.head, "GET,POST,DELETE,PUT") {
            return response;
        }
        match self.is_root_or_read(asked.head).await {
            Ok(true) => {}
            Ok(false) => return message(StatusCode::UNAUTHORIZED, "Insufficient credentials"),
            Err(error) => return failed(&error),
        }
        let rest = rest.trim_start_matches('/').to_owned();
        let response = match asked.head.method {
            Method::POST => self.add_member(asked).await,
            Method::DELETE => self.remove_member(&rest).await,
            Method::PUT => self.update_member(asked, &rest).await,
            _ => self.show_members(&rest).await,
        };
        self.named(response)
    }

    async fn show_members(&self, rest: &str) -> Response<Bytes> {
        let members = match self.list_members().await {
            Ok(members) => members,
            Err(error) => return failed(&error),
        };
        match rest {
            "" => {
                let members: Vec<String> = members.iter().map(member_json).collect();
                json(StatusCode::OK, &format!("{{\"members\":[{}]}}", members.join(",")))
            }
            "leader" => {
                let leader = self.link.api().report().leader;
                match members.iter().find(|member| member.id == leader) {
                    Some(member) => json(StatusCode::OK, &member_json(member)),
                    None => message(StatusCode::SERVICE_UNAVAILABLE, "During election"),
                }
            }
            _ => message(StatusCode::NOT_FOUND, "Not found"),
        }
    }

    async fn add_member(&self, asked: Asked<'_>) -> Response<Bytes> {
        let peer_urls = match self.read_urls(asked).await {
            Ok(urls) => urls,
            Err(response) => return response,
        };
        let unix_seconds = super::unix_ns() / 1_000_000_000;
        let request = Request::MemberAdd { peer_urls, is_learner: false, unix_seconds };
        match self.ask(request).await {
            Ok(Answered { answer: Answer::MemberChanged { member: Some(member), .. }, .. }) => {
                json(StatusCode::CREATED, &member_json(&member))
            }
            Ok(_) => failed(&unexpected()),
            Err(ApiError::Refused(Refusal::MemberExists)) => {
                message(StatusCode::CONFLICT, "membership: ID exists")
            }
            Err(ApiError::Refused(Refusal::PeerUrlExists)) => {
                message(StatusCode::CONFLICT, "membership: peerURL exists")
            }
            Err(error) => failed(&error),
        }
    }

    async fn remove_member(&self, name: &str) -> Response<Bytes> {
        let Some(id) = parse_id(name) else { return no_id(name) };
        match self.ask(Request::MemberRemove { id }).await {
            Ok(_) => empty(StatusCode::NO_CONTENT),
            Err(ApiError::Refused(Refusal::MemberNotFound)) => match self.was_removed(id).await {
                Ok(true) => message(StatusCode::GONE, &format!("Member permanently removed: {id:x}")),
                Ok(false) => no_such(&format!("{id:x}")),
                Err(error) => failed(&error),
            },
            Err(error) => failed(&error),
        }
    }

    async fn was_removed(&self, id: u64) -> Result<bool, ApiError> {
        let told = self.ask_v2(V2Call::WasRemoved { member_id: id }).await?;
        let V2Answer::WasRemoved(was_removed) = told.answer else { return Err(unexpected()) };
        Ok(was_removed)
    }

    async fn update_member(&self, asked: Asked<'_>, name: &str) -> Response<Bytes> {
        let Some(id) = parse_id(name) else { return no_id(name) };
        let peer_urls = match self.read_urls(asked).await {
            Ok(urls) => urls,
            Err(response) => return response,
        };
        match self.ask(Request::MemberUpdate { id, peer_urls }).await {
            Ok(_) => empty(StatusCode::NO_CONTENT),
            Err(ApiError::Refused(Refusal::PeerUrlExists)) => {
                message(StatusCode::CONFLICT, "membership: peerURL exists")
            }
            Err(ApiError::Refused(Refusal::MemberNotFound)) => no_such(&format!("{id:x}")),
            Err(error) => failed(&error),
        }
    }

    /// The URLs in a body.
    async fn read_urls(&self, asked: Asked<'_>) -> Result<Vec<String>, Response<Bytes>> {
        if !is_of_type(asked.head, "application/json") {
            let given = content_type(asked.head);
            let text = format!("Bad Content-Type {given}, accept application/json");
            return Err(message(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text));
        }
        let body = self.read(asked.body).await?;
        let bad = |text: &str| message(StatusCode::BAD_REQUEST, text);
        let value: Value = serde_json::from_slice(&body).map_err(|error| bad(&error.to_string()))?;
        let urls = value.get("peerURLs").and_then(Value::as_array).cloned().unwrap_or_default();
        let urls: Vec<&str> = urls.iter().filter_map(Value::as_str).collect();
        if urls.is_empty() {
            return Err(bad("no valid URLs given"));
        }
        let parse = |url: &&str| Url::parse(url).map(|url| url.as_str().to_owned());
        let mut urls = urls.iter().map(parse).collect::<Result<Vec<_>, _>>().map_err(|text| bad(&text))?;
        urls.sort();
        Ok(urls)
    }
}

fn parse_id(name: &str) -> Option<u64> {
    let is_hex = name.bytes().all(|digit| digit.is_ascii_hexdigit());
    u64::from_str_radix(name, 16).ok().filter(|_| is_hex)
}

/// The answer where a member's name should be and is not.
fn no_id(name: &str) -> Response<Bytes> {
    if name.is_empty() {
        plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
    } else {
        no_such(name)
    }
}

fn no_such(name: &str) -> Response<Bytes> {
    message(StatusCode::NOT_FOUND, &format!("No such member: {name}"))
}

fn member_json(member: &MemberEntry) -> String {
    let list = |urls: &[String]| {
        let urls: Vec<String> = urls.iter().map(|url| text_json(url)).collect();
        format!("[{}]", urls.join(","))
    };
    format!(
        "{{\"id\":\"{:x}\",\"name\":{},\"peerURLs\":{},\"clientURLs\":{}}}",
        member.id,
        text_json(&member.name),
        list(&member.peer_urls),
        list(&member.client_urls),
    )
}
