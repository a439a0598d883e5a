//! What is asked: first a script with every error and corner that is known, then requests by chance.

use super::exchange::Request;
use crate::random::Random;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn plain(method: &'static str, target: &str) -> Request {
    Request { method, target: target.to_owned(), body: None }
}

fn form(method: &'static str, target: &str, body: &str) -> Request {
    Request { method, target: target.to_owned(), body: Some((FORM, body.to_owned())) }
}

fn json(method: &'static str, target: &str, body: &str) -> Request {
    Request { method, target: target.to_owned(), body: Some((JSON, body.to_owned())) }
}

/// The requests that every session begins with.
pub(super) fn script() -> Vec<Request> {
    let mut script =
        vec![plain("GET", "/v2/keys"), plain("GET", "/v2/keys/"), plain("GET", "/v2/keys/none/such")];
    for body in [
        "value=x",
        "value=%C3%A4%3Cb%3E%26%22%5C%0A%01",
        "value=x&ttl=abc",
        "value=x&ttl=-1",
        "value=x&ttl=",
        "prevIndex=x",
        "prevValue=",
        "prevExist=maybe",
        "prevExist=false&value=y",
        "prevExist=true&value=y",
        "prevExist=true",
        "refresh=maybe",
        "refresh=true",
        "refresh=true&value=x&ttl=5",
        "refresh=true&ttl=500&prevExist=true",
        "refresh=true&ttl=500",
        "dir=maybe",
        "wait=true",
        "recursive=x",
        "stream=x",
        "quorum=x",
        "sorted=x",
        "waitIndex=x",
        "noValueOnSuccess=x",
        "value=z&noValueOnSuccess=true",
        "value=z&prevValue=z&noValueOnSuccess=true",
        "value=a%zz",
        "prevValue=z&prevIndex=1&value=q",
        "prevValue=wrong&prevIndex=1&value=q",
        "prevIndex=1&value=q",
        "dir=true",
    ] {
        script.push(form("PUT", "/v2/keys/a", body));
    }
    script.extend(directories_and_waits());
    script.extend(members_and_strays());
    script
}

fn directories_and_waits() -> Vec<Request> {
    vec![
        form("PUT", "/v2/keys/d", "dir=true"),
        form("PUT", "/v2/keys/d", "dir=true"),
        form("PUT", "/v2/keys/d", "value=x"),
        form("PUT", "/v2/keys/d", "dir=true&prevExist=true&ttl=300"),
        form("PUT", "/v2/keys/d", "prevExist=true&ttl="),
        form("PUT", "/v2/keys/d", "prevValue=x&value=y"),
        form("PUT", "/v2/keys/a/b", "value=x"),
        plain("GET", "/v2/keys/a/b"),
        form("PUT", "/v2/keys/d/e/f", "value=x"),
        form("PUT", "/v2/keys/d/_h", "value=x"),
        form("PUT", "/v2/keys/_hidden/x", "value=x"),
        plain("GET", "/v2/keys/d?recursive=true&sorted=true"),
        plain("GET", "/v2/keys/_hidden"),
        plain("GET", "/v2/keys/?quorum=true"),
        plain("HEAD", "/v2/keys/d"),
        plain("HEAD", "/v2/keys/d?wait=true"),
        plain("PATCH", "/v2/keys/d"),
        plain("DELETE", "/v2/keys/d"),
        plain("DELETE", "/v2/keys/d?dir=true"),
        plain("DELETE", "/v2/keys/d?prevValue=x"),
        plain("DELETE", "/v2/keys/d/e/f?prevValue=y"),
        plain("DELETE", "/v2/keys/d/e/f?prevIndex=1"),
        plain("DELETE", "/v2/keys/d/e/f?prevValue=x"),
        plain("DELETE", "/v2/keys/d?recursive=true"),
        plain("DELETE", "/v2/keys/?recursive=true"),
        plain("DELETE", "/v2/keys/?prevValue=x"),
        form("PUT", "/v2/keys/", "value=x"),
        form("PUT", "/v2/keys/", "prevExist=true&value=x"),
        form("PUT", "/v2/keys/", "prevValue=a&value=x"),
        form("POST", "/v2/keys/queue", "value=1&ttl=400"),
        form("POST", "/v2/keys/queue", "dir=true"),
        form("POST", "/v2/keys/", "value=1"),
        plain("GET", "/v2/keys/queue?sorted=true"),
        plain("PUT", "/v2/keys/q?value=in-the-query"),
        plain("GET", "/v2/keys/a?wait=true&waitIndex=4"),
        plain("GET", "/v2/keys/d?wait=true&waitIndex=4&recursive=true"),
    ]
}

fn members_and_strays() -> Vec<Request> {
    vec![
        plain("GET", "/v2/keysabc"),
        plain("GET", "/v2"),
        plain("GET", "/v2/stats/none"),
        plain("PUT", "/v2/stats/self"),
        plain("PUT", "/v2/machines"),
        plain("GET", "/v2/members/none"),
        plain("PATCH", "/v2/members"),
        plain("DELETE", "/v2/members/zz"),
        plain("DELETE", "/v2/members/abc"),
        plain("DELETE", "/v2/members/"),
        form("POST", "/v2/members", "{}"),
        json("POST", "/v2/members", "{\"peerURLs\":[\"http://nothing\"]}"),
        json("POST", "/v2/members", "{\"peerURLs\":[\"nothing\"]}"),
        json("PUT", "/v2/members/abc", "{\"peerURLs\":[\"http://127.0.0.1:1\"]}"),
    ]
}

/// Requests about users and roles, with every error that is known.
pub(super) fn users_and_roles() -> Vec<Request> {
    let user = |name: &str, rest: &str| {
        json("PUT", &format!("/v2/auth/users/{name}"), &format!("{{\"user\":\"{name}\"{rest}}}"))
    };
    let role = |name: &str, rest: &str| {
        json("PUT", &format!("/v2/auth/roles/{name}"), &format!("{{\"role\":\"{name}\"{rest}}}"))
    };
    vec![
        plain("GET", "/v2/auth/enable"),
        plain("PUT", "/v2/auth/enable"),
        plain("DELETE", "/v2/auth/enable"),
        plain("GET", "/v2/auth/users"),
        plain("GET", "/v2/auth/roles"),
        plain("GET", "/v2/auth/roles/root"),
        plain("GET", "/v2/auth/users/alice"),
        plain("GET", "/v2/auth/roles/fleet"),
        user("alice", ""),
        user("alice", ",\"password\":\"p\""),
        user("alice", ",\"password\":\"p\",\"roles\":[\"fleet\"]"),
        user("alice", ",\"grant\":[\"fleet\"]"),
        user("alice", ",\"grant\":[\"fleet\"]"),
        user("alice", ",\"revoke\":[\"other\"]"),
        user("alice", ""),
        user("alice", ",\"roles\":[\"a\"],\"grant\":[\"b\"]"),
        user("bob", ",\"revoke\":[\"other\"]"),
        json("PUT", "/v2/auth/users/carol", "{\"user\":\"alice\"}"),
        json("PUT", "/v2/auth/users/carol", "{"),
        role("fleet", ",\"permissions\":{\"kv\":{\"read\":[\"/a/*\"],\"write\":[]}}"),
        role("fleet", ",\"permissions\":{\"kv\":{\"read\":[\"/a/*\"]}}"),
        role("fleet", ",\"grant\":{\"kv\":{\"read\":[\"/a/*\"]}}"),
        role("fleet", ",\"grant\":{\"kv\":{\"read\":[\"/b\"],\"write\":[\"/b\",\"/a\"]}}"),
        role("fleet", ",\"revoke\":{\"kv\":{\"read\":[\"/b\"]}}"),
        role("root", ",\"permissions\":{\"kv\":{\"read\":[\"/a/*\"]}}"),
        role("none", ",\"grant\":{\"kv\":{\"read\":[\"/b\"]}}"),
        plain("GET", "/v2/auth/users/alice"),
        plain("GET", "/v2/auth/users"),
        plain("GET", "/v2/auth/roles"),
        plain("PUT", "/v2/auth/enable"),
        plain("DELETE", "/v2/auth/roles/none"),
        plain("DELETE", "/v2/auth/users/bob"),
        plain("DELETE", "/v2/auth/users/alice"),
        plain("DELETE", "/v2/auth/roles/fleet"),
        plain("DELETE", "/v2/auth/roles/root"),
        plain("GET", "/v2/auth/users/a/b"),
        plain("PATCH", "/v2/auth/users"),
    ]
}

/// A request by chance, about few keys, so that requests meet each other.
pub(super) fn request(random: &mut Random) -> Request {
    let path = path(random);
    let target = format!("/v2/keys{path}");
    match random.below(12) {
        0..5 => form("PUT", &target, &parameters(random)),
        5 => form("POST", &target, &parameters(random)),
        6 | 7 => {
            let query = *random.pick(&["", "?dir=true", "?recursive=true", "?prevValue=x", "?prevIndex=5"]);
            plain("DELETE", &format!("{target}{query}"))
        }
        8 => plain("HEAD", &target),
        _ => {
            let query = *random.pick(&["", "?recursive=true", "?sorted=true&recursive=1", "?quorum=true"]);
            plain("GET", &format!("{target}{query}"))
        }
    }
}

fn path(random: &mut Random) -> String {
    let names = random.below(4);
    (0..names).map(|_| format!("/{}", random.pick(&["a", "b", "_c", "a-", "d.e"]))).collect()
}

fn parameters(random: &mut Random) -> String {
    let mut parameters = Vec::new();
    if !random.one_in(6) {
        parameters.push(format!("value={}", random.pick(&["x", "y", "", "%3Cz%3E"])));
    }
    if random.one_in(4) {
        parameters.push(format!("ttl={}", random.pick(&["1000", "500", ""])));
    }
    let optional = [
        "dir=true",
        "prevExist=true",
        "prevExist=false",
        "prevValue=x",
        "prevIndex=5",
        "noValueOnSuccess=true",
    ];
    for parameter in optional {
        if random.one_in(7) {
            parameters.push(parameter.to_owned());
        }
    }
    parameters.join("&")
}
