//! The members of a new cluster, as flags name them.

use std::collections::{BTreeMap, BTreeSet};

use etched_state_machine::check_peer_urls;

use crate::failure::{Exit, Failure};

/// The members of a new cluster, and who of them this one is.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Peer addresses by name.
    members: BTreeMap<String, Vec<String>>,
    name: String,
}

impl Cluster {
    /// Reads the flags, with etcd's checks.
    pub(crate) fn read(name: &str, initial_cluster: &str, advertised: &str) -> Result<Self, Failure> {
        let advertised = urls(advertised.split(','))?;
        let mut given: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for part in initial_cluster.split(',').filter(|part| !part.is_empty()) {
            let (name, url) = part.split_once('=').unwrap_or((part, ""));
            given.entry(name.to_owned()).or_default().push(url);
        }
        let mut members = BTreeMap::new();
        for (name, given) in given {
            members.insert(name, urls(given.into_iter())?);
        }
        let cluster = Self { members, name: name.to_owned() };
        cluster.check(&advertised)?;
        Ok(cluster)
    }

    fn check(&self, advertised: &[String]) -> Result<(), Failure> {
        let Self { members, name } = self;
        let Some(own) = members.get(name) else {
            return Err(failed(format!(
                "couldn't find local name {name:?} in the initial cluster configuration"
            )));
        };
        if let Some(missing) = own.iter().find(|url| !advertised.contains(url)) {
            let (why, advertised) = (difference(advertised, own), advertised.join(","));
            return Err(failed(format!(
                "--initial-cluster has {name}={missing} but missing from \
                 --initial-advertise-peer-urls={advertised} ({why})"
            )));
        }
        if let Some(missing) = advertised.iter().find(|url| !own.contains(url)) {
            // So says etcd, though these are the advertised ones again.
            let listed: Vec<_> = advertised.iter().map(|url| format!("{name}={url}")).collect();
            let listed = listed.join(",");
            return Err(failed(format!(
                "--initial-advertise-peer-urls has {missing} but missing from --initial-cluster={listed}"
            )));
        }
        let mut seen = BTreeSet::new();
        if !members.values().flatten().all(|url| seen.insert(url)) {
            let mut pairs: Vec<_> = members
                .iter()
                .flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")))
                .collect();
            pairs.sort();
            return Err(failed(format!("initial cluster {} has duplicate url", pairs.join(","))));
        }
        Ok(())
    }

    /// Names and addresses.
    pub(crate) fn members(&self) -> Vec<(String, Vec<String>)> {
        self.members.iter().map(|(name, urls)| (name.clone(), urls.clone())).collect()
    }

    /// The addresses of this member.
    pub(crate) fn own_urls(&self) -> &[String] {
        &self.members[&self.name]
    }
}

/// In what two lists of addresses differ.
fn difference(advertised: &[String], own: &[String]) -> String {
    let pair = advertised.iter().zip(own).find(|(advertised, own)| advertised != own);
    match pair.filter(|_| advertised.len() == own.len()) {
        Some((advertised, own)) => {
            format!("{advertised:?}(resolved from {advertised:?}) != {own:?}(resolved from {own:?})")
        }
        None => format!("len([{}]) != len([{}])", quoted(advertised), quoted(own)),
    }
}

fn quoted(urls: &[String]) -> String {
    urls.iter().map(|url| format!("{url:?}")).collect::<Vec<_>>().join(" ")
}

fn failed(message: String) -> Failure {
    Failure::new(Exit::Request, message)
}

fn urls<'a>(given: impl Iterator<Item = &'a str>) -> Result<Vec<String>, Failure> {
    let mut checked = Vec::new();
    for url in given {
        let url = url.trim();
        checked.extend(check_peer_urls(&[url.to_owned()]).map_err(|_| failed(fault(url)))?);
    }
    checked.sort();
    Ok(checked)
}

/// What is wrong with an address, in etcd's words.
fn fault(url: &str) -> String {
    let Some((_, rest)) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
    else {
        return format!("URL scheme must be http, https, unix, or unixs: {url}");
    };
    if rest.contains('/') && rest.split('/').next().is_some_and(|host| host.contains(':')) {
        return format!("URL must not contain a path: {url}");
    }
    format!("URL address does not have the form \"host:port\": {url}")
}
