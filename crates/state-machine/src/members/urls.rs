//! Peer addresses as clients give them.

use alloc::string::String;
use alloc::vec::Vec;

use crate::refusal::Refusal;

/// Reads a list of peer addresses: `http`, `https` with host and port and nothing after, or `unix`, `unixs`; at least
/// one. They come back without spaces around them and sorted, the form in which members are stored.
///
/// # Errors
///
/// [`Refusal::MemberBadUrls`].
pub fn check_peer_urls(urls: &[String]) -> Result<Vec<String>, Refusal> {
    let mut checked: Vec<String> = urls.iter().map(|url| url.trim().into()).collect();
    if checked.is_empty() || !checked.iter().all(|url| is_peer_url(url)) {
        return Err(Refusal::MemberBadUrls);
    }
    checked.sort();
    Ok(checked)
}

fn is_peer_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let is_text = rest.chars().all(|character| !character.is_control() && character != ' ');
    match scheme {
        "http" | "https" => is_text && is_host_and_port(rest),
        "unix" | "unixs" => is_text && !rest.is_empty(),
        _ => false,
    }
}

fn is_host_and_port(authority: &str) -> bool {
    let Some((host, port)) = authority.rsplit_once(':') else { return false };
    let is_port =
        port.is_empty() || port.parse::<u32>().is_ok_and(|_| port.bytes().all(|byte| byte.is_ascii_digit()));
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| !address.contains(['[', ']'])),
        None => !host.contains([':', '[', ']']),
    };
    is_port && is_host && !authority.contains(['/', '?', '#', '@'])
}
