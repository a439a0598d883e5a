//! `member`: list, add, remove, update, promote.

use etched_proto::etcdserverpb::{MemberAddResponse, MemberListResponse};

use super::{Context, member_id, write};
use crate::failure::{Exit, Failure};
use crate::output::{Answer, Format, MemberChange};
use crate::text::quote::quote;

pub(super) async fn list(context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    let response = match context.args.text("consistency") {
        "" | "l" => client.member_list().await?,
        "s" => client.member_list_serializable().await?,
        other => {
            return Err(Failure::new(Exit::Unsupported, format!("unknown consistency flag \"{other}\"")));
        }
    };
    context.print(&Answer::MemberList(response))
}

pub(super) async fn add(context: &Context) -> Result<(), Failure> {
    let words = context.args.all();
    let name = match words.as_slice() {
        [] => return Err(Failure::arguments("member name not provided")),
        [name] => String::from_utf8_lossy(name),
        [..] => return Err(Failure::arguments(too_many(&words))),
    };
    let urls = peer_urls(context)?;
    let client = context.client().await?;
    let response = if context.args.bool("learner") {
        client.member_add_learner(urls).await?
    } else {
        client.member_add(urls).await?
    };
    let settings = settings(&name, context.args.text("peer-urls"), &response);
    context.print(&Answer::MemberAdd(response))?;
    if context.style.format == Format::Simple { write(settings.as_bytes()) } else { Ok(()) }
}

/// A URL among the arguments was meant for the flag.
fn too_many(words: &[Vec<u8>]) -> String {
    let mut text = "too many arguments".to_owned();
    for word in words.iter().map(|word| String::from_utf8_lossy(word)) {
        if word.to_lowercase().starts_with("http") {
            text.push_str(&format!(", did you mean --peer-urls={word}"));
        }
    }
    text
}

/// The variables with which the new member is to be started.
fn settings(name: &str, urls: &str, response: &MemberAddResponse) -> String {
    let new_id = response.member.as_ref().map_or(0, |member| member.id);
    let cluster: Vec<_> = response
        .members
        .iter()
        .flat_map(|member| {
            let name = if member.id == new_id { name } else { &member.name };
            member.peer_ur_ls.iter().map(move |url| format!("{name}={url}"))
        })
        .collect();
    let [name, cluster, urls] = [name, &cluster.join(","), urls].map(|text| quote(text.as_bytes()));
    format!(
        "\nETCD_NAME={name}\nETCD_INITIAL_CLUSTER={cluster}\nETCD_INITIAL_ADVERTISE_PEER_URLS={urls}\n\
         ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n"
    )
}

pub(super) async fn remove(context: &Context) -> Result<(), Failure> {
    let id = only_member_id(context)?;
    let response = context.client().await?.member_remove(id).await?;
    let response = MemberListResponse { header: response.header, members: response.members };
    context.print(&Answer::MemberChanged { change: MemberChange::Removed, id, response })
}

pub(super) async fn update(context: &Context) -> Result<(), Failure> {
    let id = only_member_id(context)?;
    let urls = peer_urls(context)?;
    let response = context.client().await?.member_update(id, urls).await?;
    let response = MemberListResponse { header: response.header, members: response.members };
    context.print(&Answer::MemberChanged { change: MemberChange::Updated, id, response })
}

pub(super) async fn promote(context: &Context) -> Result<(), Failure> {
    let id = only_member_id(context)?;
    let response = context.client().await?.member_promote(id).await?;
    let response = MemberListResponse { header: response.header, members: response.members };
    context.print(&Answer::MemberChanged { change: MemberChange::Promoted, id, response })
}

/// The only argument of a command: the id of a member.
fn only_member_id(context: &Context) -> Result<u64, Failure> {
    let words = context.args.all();
    let [id] = words.as_slice() else { return Err(Failure::arguments("member ID is not provided")) };
    member_id(id).map_err(|why| Failure::arguments(format!("bad member ID arg ({why}), expecting ID in Hex")))
}

fn peer_urls(context: &Context) -> Result<Vec<String>, Failure> {
    let urls = context.args.text("peer-urls");
    if urls.is_empty() {
        return Err(Failure::arguments("member peer urls not provided"));
    }
    let urls: Vec<_> = urls.split(',').map(str::to_owned).collect();
    urls.iter().try_for_each(|url| check_url(url.trim())).map_err(|why| Failure::new(Exit::Request, why))?;
    Ok(urls)
}

/// Whether a URL is one that members can have, in the words of etcd's client.
fn check_url(url: &str) -> Result<(), String> {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| {
        let mut chars = scheme.chars();
        chars.next().is_some_and(|first| first.is_ascii_alphabetic())
            && chars.all(|other| other.is_ascii_alphanumeric() || "+-.".contains(other))
    });
    match scheme {
        Some("unix" | "unixs") => Ok(()),
        Some("http" | "https") => {
            let rest = url.split_once("://").map_or("", |(_, rest)| rest);
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let outside = host.rsplit_once(']').map_or(host, |(_, port)| port);
            if outside.matches(':').count() != 1 {
                return Err(format!("URL address does not have the form \"host:port\": {url}"));
            }
            if path.is_empty() { Ok(()) } else { Err(format!("URL must not contain a path: {url}")) }
        }
        None if url.split('/').next().is_some_and(|first| first.contains(':')) => {
            Err(format!("parse {}: first path segment in URL cannot contain colon", quote(url.as_bytes())))
        }
        Some(_) | None => Err(format!("URL scheme must be http, https, unix, or unixs: {url}")),
    }
}

#[cfg(test)]
mod tests {
    use etched_proto::etcdserverpb::Member;

    use super::*;

    #[test]
    fn urls_are_checked_before_they_are_sent() {
        for url in ["http://a:1", "https://[::1]:2380", "unix://x", "unixs:///a/b"] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for (url, why) in [
            ("x", "URL scheme must be http, https, unix, or unixs: x"),
            ("localhost:1", "URL scheme must be http, https, unix, or unixs: localhost:1"),
            ("127.0.0.1:1", "parse \"127.0.0.1:1\": first path segment in URL cannot contain colon"),
            ("http://a", "URL address does not have the form \"host:port\": http://a"),
            ("http://a:1/b", "URL must not contain a path: http://a:1/b"),
        ] {
            assert_eq!(check_url(url), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_url_among_the_arguments_is_taken_for_a_forgotten_flag() {
        let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(
            too_many(&words("m4 HTTP://a:1")),
            "too many arguments, did you mean --peer-urls=HTTP://a:1"
        );
        assert_eq!(too_many(&words("m4 m5")), "too many arguments");
    }

    #[test]
    fn the_new_member_is_told_how_to_start() {
        let member = |id, name: &str, urls: &[&str]| Member {
            id,
            name: name.to_owned(),
            peer_ur_ls: urls.iter().map(|url| (*url).to_owned()).collect(),
            ..Member::default()
        };
        let new = member(2, "", &["http://b:1", "http://b:2"]);
        let response = MemberAddResponse {
            header: None,
            member: Some(new.clone()),
            members: vec![member(1, "m1", &["http://a:1"]), new],
        };
        let expected = "\n\
            ETCD_NAME=\"m2\"\n\
            ETCD_INITIAL_CLUSTER=\"m1=http://a:1,m2=http://b:1,m2=http://b:2\"\n\
            ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://b:1,http://b:2\"\n\
            ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n";
        assert_eq!(settings("m2", "http://b:1,http://b:2", &response), expected);
    }
}
