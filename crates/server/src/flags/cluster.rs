//! Whether `--initial-cluster` fits the member, in etcd's words; it counts only when a member starts for the first
//! time.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use super::options::{ClusterState, MemberOptions, Options};
use super::url::{Scheme, Url, joined, texts};

impl Options {
    /// Checks `--initial-cluster`.
    ///
    /// Host names are looked up where the texts of two URLs differ, so this may take a while.
    ///
    /// # Errors
    ///
    /// etcd's text, which it reports as the fatal line `discovery failed`.
    pub fn check_initial_cluster(&self) -> Result<(), String> {
        check(&self.member, &look_up)
    }
}

/// The address of a host and port, or why there is none.
type LookUp<'a> = &'a dyn Fn(&str, u16) -> Result<SocketAddr, String>;

fn check(member: &MemberOptions, look_up: LookUp<'_>) -> Result<(), String> {
    if let Some(error) = &member.initial_cluster_error {
        return Err(error.clone());
    }
    let name = &member.name;
    let Some(own) = member.initial_cluster.get(name) else {
        return Err(format!("couldn't find local name {name:?} in the initial cluster configuration"));
    };
    match member.initial_cluster_state {
        ClusterState::New => check_advertised(name, own, &member.initial_advertise_peer_urls, look_up)?,
        // Those that run know the URLs already.
        ClusterState::Existing => {}
    }
    let mut all: Vec<&Url> = member.initial_cluster.values().flatten().collect();
    all.sort();
    if all.windows(2).any(|pair| pair[0] == pair[1]) {
        let members = member.initial_cluster.iter();
        let text: Vec<String> = members.map(|(name, urls)| pairs(name, urls)).collect();
        return Err(format!("initial cluster {} has duplicate url", text.join(",")));
    }
    Ok(())
}

/// The URLs that the member gives others must be those of its name in the cluster.
fn check_advertised(name: &str, own: &[Url], advertised: &[Url], look_up: LookUp<'_>) -> Result<(), String> {
    let Err(error) = compare(advertised, own, look_up) else { return Ok(()) };
    let only_in_cluster: Vec<Url> = own.iter().filter(|url| !advertised.contains(url)).cloned().collect();
    if !only_in_cluster.is_empty() {
        return Err(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={} ({error})",
            pairs(name, &only_in_cluster),
            joined(advertised)
        ));
    }
    let only_advertised: Vec<Url> = advertised.iter().filter(|url| !own.contains(url)).cloned().collect();
    let cluster = pairs(name, advertised);
    if only_advertised.is_empty() {
        return Err(format!(
            "failed to resolve {} to match --initial-cluster={cluster} ({error})",
            joined(advertised)
        ));
    }
    Err(format!(
        "--initial-advertise-peer-urls has {} but missing from --initial-cluster={cluster}",
        joined(&only_advertised)
    ))
}

fn compare(advertised: &[Url], own: &[Url], look_up: LookUp<'_>) -> Result<(), String> {
    let list = |urls: &[Url]| {
        let quoted: Vec<String> = texts(urls).iter().map(|text| format!("{text:?}")).collect();
        format!("len([{}])", quoted.join(" "))
    };
    if advertised.len() != own.len() {
        return Err(format!("{} != {}", list(advertised), list(own)));
    }
    if advertised == own {
        return Ok(());
    }
    let resolved = |urls: &[Url]| {
        let mut resolved =
            urls.iter().map(|url| resolve(url, look_up)).collect::<Result<Vec<String>, String>>()?;
        resolved.sort();
        Ok::<_, String>(resolved)
    };
    for (one, other) in resolved(advertised)?.iter().zip(&resolved(own)?) {
        if one != other {
            return Err(format!("resolved urls: {one:?} != {other:?}"));
        }
    }
    Ok(())
}

/// The URL with an address in place of its host name; `localhost` stays as it is.
fn resolve(url: &Url, look_up: LookUp<'_>) -> Result<String, String> {
    let is_address = url.host().parse::<IpAddr>().is_ok();
    let port = match url.scheme() {
        Scheme::Http | Scheme::Https => url.port(),
        Scheme::Unix | Scheme::Unixs => None,
    };
    match port {
        Some(port) if !is_address && url.host() != "localhost" => {
            let address = look_up(url.host(), port)
                .map_err(|error| format!("failed to resolve {:?} ({error})", url.as_str()))?;
            Ok(url.with_host(address.ip()).as_str().to_owned())
        }
        Some(_) | None => Ok(url.as_str().to_owned()),
    }
}

fn look_up(host: &str, port: u16) -> Result<SocketAddr, String> {
    let mut addresses = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
    addresses.next().ok_or_else(|| "no address".to_owned())
}

/// `name=url,name=url`.
fn pairs(name: &str, urls: &[Url]) -> String {
    let pairs: Vec<String> = urls.iter().map(|url| format!("{name}={url}")).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    fn checked(flags: &str) -> Result<(), String> {
        let arguments: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        let loaded = load("etched", &arguments, &[]).unwrap();
        check(&loaded.options.member, &|host, port| match host {
            "one.example" => Ok(([10, 0, 0, 1], port).into()),
            _ => Err("no such host".to_owned()),
        })
    }

    #[test]
    fn the_cluster_must_name_this_member_with_its_own_urls() {
        for (flags, error) in [
            (
                "--initial-cluster=x=http://localhost:2380",
                "couldn't find local name \"default\" in the initial cluster configuration",
            ),
            (
                "--name=n --initial-cluster=",
                "couldn't find local name \"n\" in the initial cluster configuration",
            ),
            (
                "--name=n --initial-cluster-state=existing --initial-cluster=m=http://127.0.0.1:1",
                "couldn't find local name \"n\" in the initial cluster configuration",
            ),
            (
                "--name=y --initial-cluster=y=http://127.0.0.1:2480",
                "--initial-cluster has y=http://127.0.0.1:2480 but missing from \
                 --initial-advertise-peer-urls=http://localhost:2380 (resolved urls: \"http://localhost:2380\" != \
                 \"http://127.0.0.1:2480\")",
            ),
            (
                "--name=n --initial-advertise-peer-urls=http://127.0.0.1:1 \
                 --initial-cluster=n=http://127.0.0.1:1,n=http://127.0.0.1:2",
                "--initial-cluster has n=http://127.0.0.1:2 but missing from \
                 --initial-advertise-peer-urls=http://127.0.0.1:1 (len([\"http://127.0.0.1:1\"]) != \
                 len([\"http://127.0.0.1:1\" \"http://127.0.0.1:2\"]))",
            ),
            (
                "--name=n --initial-advertise-peer-urls=http://127.0.0.1:1,http://127.0.0.1:2 \
                 --initial-cluster=n=http://127.0.0.1:1",
                "--initial-advertise-peer-urls has http://127.0.0.1:2 but missing from \
                 --initial-cluster=n=http://127.0.0.1:1,n=http://127.0.0.1:2",
            ),
            (
                "--initial-cluster=default=http://localhost:2380,b=http://localhost:2380",
                "initial cluster b=http://localhost:2380,default=http://localhost:2380 has duplicate url",
            ),
            (
                "--initial-cluster=default=foo",
                "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: foo",
            ),
            (
                "--initial-cluster=default",
                "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: ",
            ),
        ] {
            assert_eq!(checked(flags).unwrap_err(), error, "{flags}");
        }
    }

    #[test]
    fn names_of_hosts_and_their_addresses_are_the_same() {
        let flags = "--name=n --initial-advertise-peer-urls=http://10.0.0.1:1 --initial-cluster=n=http://";
        assert_eq!(checked(&format!("{flags}one.example:1")), Ok(()));
        assert!(
            checked(&format!("{flags}one.example:2"))
                .unwrap_err()
                .contains("(resolved urls: \"http://10.0.0.1:1\" != \"http://10.0.0.1:2\")")
        );
        assert!(checked(&format!("{flags}two.example:1")).unwrap_err().contains("no such host"));
    }

    #[test]
    fn what_fits_is_accepted() {
        for flags in [
            "--name=z",
            "--name=n --initial-cluster=n=http://localhost:2380,,m=http://127.0.0.1:1",
            "--name=n --initial-cluster-state=existing --initial-cluster=n=http://127.0.0.1:1",
        ] {
            assert_eq!(checked(flags), Ok(()), "{flags}");
        }
    }
}
