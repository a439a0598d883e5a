//! Who the members of a new cluster are, where the flags leave that to others: the SRV records of a domain, or the
//! keys of a discovery service, which is another cluster.
//!
//! Keys of the service, as etcd has them:
//!
//! ```text
//! /_etcd/registry/<token>/_config/size          how many members the cluster has
//! /_etcd/registry/<token>/members/<member id>   "name=url,name=url" of a member that has come
//! ```
//!
//! The first that came, by creation of their keys, are the cluster; who is later is refused.
//! The keys are looked at again and again rather than watched: it is a matter of seconds, once in a cluster's life.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use etched_proto::etcdserverpb::auth_client::AuthClient;
use etched_proto::etcdserverpb::kv_client::KvClient;
use etched_proto::etcdserverpb::{AuthenticateRequest, PutRequest, RangeRequest, RangeResponse};
use etched_srv::{Resolver, Service};
use tonic::Status;

use crate::flags::{Discovery, DiscoveryService, MemberOptions, Url};
use crate::log;
use crate::tls::{Connector, FileError, TlsOptions};
use crate::upstream::{Upstream, UpstreamOptions};

/// Below it are the keys of all clusters.
const REGISTRY: &str = "/_etcd/registry";
/// How often is looked whether further members have come.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The longest time between two tries, in powers of two of a second; as in etcd.
const BACKOFF_POWER_MAX: u32 = 8;

/// Why the members cannot be found out; in etcd's words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The domain does not name any.
    #[error("{0}")]
    Srv(String),
    /// The domain does not name this member.
    #[error("cannot find local etcd member {0:?} in SRV records")]
    NotInSrv(String),
    /// The size of the cluster is no number above 0.
    #[error("discovery: size key is bad")]
    BadSize,
    /// Nobody has said how large the cluster is.
    #[error("discovery: size key not found")]
    NoSize,
    /// All members have come.
    #[error("discovery: cluster is full")]
    Full,
    /// A member's key is not the URLs of a member.
    #[error("discovery: invalid peer URL")]
    BadMember,
    /// The service does not let this member in.
    #[error("discovery: {0}")]
    Refused(String),
    /// Certificates cannot be used.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The means to ask cannot be made.
    #[error("cannot ask the discovery service: {0}")]
    Io(#[from] io::Error),
}

impl DiscoveryError {
    /// Whether it was the discovery service that did not help.
    #[must_use]
    pub fn is_of_service(&self) -> bool {
        match self {
            Self::Srv(_) | Self::NotInSrv(_) => false,
            Self::BadSize
            | Self::NoSize
            | Self::Full
            | Self::BadMember
            | Self::Refused(_)
            | Self::Files(_)
            | Self::Io(_) => true,
        }
    }
}

type Members = BTreeMap<String, Vec<Url>>;

/// The member with the cluster that others say, if the flags leave it to them.
///
/// # Errors
///
/// When they do not say one that this member is part of.
pub(crate) fn resolve(member: &MemberOptions) -> Result<Option<MemberOptions>, DiscoveryError> {
    let mut resolved = member.clone();
    match &member.discovery {
        None => return Ok(None),
        Some(Discovery::Srv { domain, service_name }) => {
            let resolver = Resolver::of_the_system();
            resolved.initial_cluster = by_srv(&resolver, member, domain, service_name, &look_up)?;
        }
        Some(Discovery::Service(service)) => {
            resolved.initial_cluster_token.clone_from(&service.token);
            let own = BTreeMap::from([(member.name.clone(), member.initial_advertise_peer_urls.clone())]);
            resolved.initial_cluster = own;
            let id = super::join::founders(&resolved).member_id;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let config = pairs(&resolved.initial_cluster);
            let joining = Registry::new(service)?.join(id, &config);
            resolved.initial_cluster = runtime.block_on(joining)?;
        }
    }
    Ok(Some(resolved))
}

// === SRV records ===

type LookUp<'a> = &'a dyn Fn(&str, u16) -> io::Result<SocketAddr>;

fn look_up(host: &str, port: u16) -> io::Result<SocketAddr> {
    use std::net::ToSocketAddrs as _;
    (host, port).to_socket_addrs()?.next().ok_or_else(|| io::Error::other("no address"))
}

fn by_srv(
    resolver: &Resolver,
    member: &MemberOptions,
    domain: &str,
    service_name: &str,
    look_up: LookUp<'_>,
) -> Result<Members, DiscoveryError> {
    let suffix = if service_name.is_empty() { String::new() } else { format!("-{service_name}") };
    let mut members = Members::new();
    let mut errors = Vec::new();
    let mut number = 0;
    for (scheme, service) in
        [("https", format!("etcd-server-ssl{suffix}")), ("http", format!("etcd-server{suffix}"))]
    {
        let found = resolver.services(&format!("_{service}._tcp.{domain}"));
        let named = found
            .map_err(|error| format!("error querying DNS SRV records for _{service} {error}"))
            .and_then(|services| named(&services, scheme, &service, member, &mut number, look_up));
        match named {
            Ok(named) => {
                for (name, url) in named {
                    log!(Info, "got bootstrap from DNS for etcd-server", "node" => format!("{name}={url}"));
                    members.entry(name).or_default().push(url);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    if members.is_empty() {
        return Err(DiscoveryError::Srv(errors.join("\n")));
    }
    if !members.contains_key(&member.name) {
        return Err(DiscoveryError::NotInSrv(member.name.clone()));
    }
    members.values_mut().for_each(|urls| urls.sort());
    Ok(members)
}

/// The members that the records of one service name: this one by its name, others by numbers.
fn named(
    services: &[Service],
    scheme: &str,
    service_name: &str,
    member: &MemberOptions,
    number: &mut usize,
    look_up: LookUp<'_>,
) -> Result<Vec<(String, Url)>, String> {
    let mut own = BTreeMap::new();
    for url in &member.initial_advertise_peer_urls {
        let address = look_up(url.host(), url.port().unwrap_or(0)).map_err(|error| error.to_string())?;
        own.insert(address, url);
    }
    let mut failure = None;
    let mut found = Vec::new();
    for service in services {
        let address = match look_up(&service.target, service.port) {
            Ok(address) => address,
            Err(error) => {
                failure = Some(error.to_string());
                continue;
            }
        };
        let text = format!("{scheme}://{}:{}", service.target, service.port);
        let is_own = own.get(&address);
        if let Some(own) = is_own.filter(|own| own.scheme().is_secure() != (scheme == "https")) {
            failure = Some(format!(
                "bootstrap at {text} from DNS for {service_name} has scheme mismatch with expected peer {own}"
            ));
            continue;
        }
        let name = if is_own.is_some() {
            member.name.clone()
        } else {
            *number += 1;
            (*number - 1).to_string()
        };
        found.push((name, Url::parse(&text)?));
    }
    match failure {
        Some(failure) if found.is_empty() => Err(failure),
        Some(_) | None => Ok(found),
    }
}

// === the service ===

/// Whether the service may be spoken to by TLS: `--discovery-insecure-transport` is the default, and counts only where
/// neither a file of TLS nor an endpoint says otherwise.
fn wants_tls(service: &DiscoveryService) -> bool {
    let has_files = [&service.cert, &service.key, &service.cacert].iter().any(|file| file.is_some());
    let has_endpoints = service.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
    !service.insecure_transport || has_files || has_endpoints
}

/// The keys of one cluster in the service.
struct Registry<'a> {
    service: &'a DiscoveryService,
    upstream: Upstream,
    token: Option<String>,
    retries: u32,
}

impl<'a> Registry<'a> {
    fn new(service: &'a DiscoveryService) -> Result<Self, DiscoveryError> {
        let connector = if !wants_tls(service) {
            None
        } else {
            let options = TlsOptions {
                cert_file: service.cert.clone(),
                key_file: service.key.clone(),
                trusted_ca_file: service.cacert.clone(),
                is_made: service.insecure_skip_tls_verify,
                ..TlsOptions::default()
            };
            Some(Arc::new(Connector::for_grpc(&options)?))
        };
        let upstream = Upstream::new(UpstreamOptions {
            endpoints: service.endpoints.clone(),
            connector,
            http_connector: None,
            dial_timeout: service.dial_timeout,
            keepalive_time: service.keepalive_time,
            keepalive_timeout: service.keepalive_timeout,
            keepalive_while_idle: false,
        });
        Ok(Self { service, upstream, token: None, retries: 0 })
    }

    /// Enters the member and waits until all have come.
    async fn join(mut self, id: u64, config: &str) -> Result<Members, DiscoveryError> {
        let own = format!("{}/members/{id:x}", self.prefix());
        self.check(&own).await?;
        self.enter(&own, config).await?;
        let mut is_told = false;
        loop {
            let (size, members) = self.check(&own).await?;
            if members.len() >= size {
                log!(Info, "found all needed peers from discovery service", "clusterSize" => size, "found-peers" => members.len());
                return first(&members, size);
            }
            if !is_told {
                log!(Info, "waiting for peers from discovery service", "clusterSize" => size, "found-peers" => members.len());
                is_told = true;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn prefix(&self) -> String {
        format!("{REGISTRY}/{}", self.service.token)
    }

    /// The size of the cluster and the members so far, oldest first; this one must be of the first.
    async fn check(&mut self, own: &str) -> Result<(usize, Vec<Entry>), DiscoveryError> {
        let prefix = self.prefix();
        let size = self.read(&format!("{prefix}/_config/size"), &[]).await?;
        let size = size.kvs.first().ok_or(DiscoveryError::NoSize)?;
        let size = std::str::from_utf8(&size.value).ok().and_then(|text| text.parse::<usize>().ok());
        let size = size.filter(|size| *size > 0).ok_or(DiscoveryError::BadSize)?;
        let members = self.read(&format!("{prefix}/members"), format!("{prefix}/membert").as_bytes()).await?;
        let mut entries: Vec<Entry> = members
            .kvs
            .into_iter()
            .map(|pair| Entry {
                key: String::from_utf8_lossy(&pair.key).trim().to_owned(),
                config: String::from_utf8_lossy(&pair.value).trim().to_owned(),
                created: pair.create_revision,
            })
            .collect();
        entries.sort_by_key(|entry| entry.created);
        let is_in = entries.iter().take(size).any(|entry| entry.key == own);
        if entries.len() >= size && !is_in { Err(DiscoveryError::Full) } else { Ok((size, entries)) }
    }

    async fn enter(&mut self, key: &str, config: &str) -> Result<(), DiscoveryError> {
        loop {
            let put = PutRequest {
                key: key.as_bytes().to_vec().into(),
                value: config.as_bytes().to_vec().into(),
                ..PutRequest::default()
            };
            let request = self.request(put).await?;
            let mut client = KvClient::new(self.upstream.clone());
            match client.put(request).await {
                Ok(_) => {
                    self.retries = 0;
                    log!(Info, "register member itself successfully", "memberKey" => key, "memberInfo" => config);
                    return Ok(());
                }
                Err(status) => self.back_off("register member itself", &status).await?,
            }
        }
    }

    async fn read(&mut self, key: &str, range_end: &[u8]) -> Result<RangeResponse, DiscoveryError> {
        loop {
            let range = RangeRequest {
                key: key.as_bytes().to_vec().into(),
                range_end: range_end.to_vec().into(),
                ..RangeRequest::default()
            };
            let request = self.request(range).await?;
            let mut client = KvClient::new(self.upstream.clone());
            match client.range(request).await {
                Ok(response) => {
                    self.retries = 0;
                    return Ok(response.into_inner());
                }
                Err(status) => self.back_off("cluster status check", &status).await?,
            }
        }
    }

    /// The request with the time that it may take, and the token of the user if there is one.
    async fn request<T>(&mut self, message: T) -> Result<tonic::Request<T>, DiscoveryError> {
        if !self.service.user.is_empty() && self.token.is_none() {
            let credentials = AuthenticateRequest {
                name: self.service.user.clone(),
                password: self.service.password.clone(),
            };
            let mut client = AuthClient::new(self.upstream.clone());
            let answered = client.authenticate(credentials).await;
            let refused = |status: Status| DiscoveryError::Refused(status.message().to_owned());
            self.token = Some(answered.map_err(refused)?.into_inner().token);
        }
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.service.request_timeout);
        if let Some(token) = self.token.as_ref().and_then(|token| token.parse().ok()) {
            request.metadata_mut().insert("token", token);
        }
        Ok(request)
    }

    /// Waits before the next try, longer each time.
    async fn back_off(&mut self, step: &str, status: &Status) -> Result<(), DiscoveryError> {
        if [tonic::Code::PermissionDenied, tonic::Code::InvalidArgument].contains(&status.code()) {
            return Err(DiscoveryError::Refused(status.message().to_owned()));
        }
        if status.code() == tonic::Code::Unauthenticated {
            // The token's life may be over.
            self.token = None;
        }
        self.retries = self.retries.saturating_add(1);
        let seconds = 1 << self.retries.min(BACKOFF_POWER_MAX);
        let wait = Duration::from_secs(seconds);
        log!(
            Warn, "retry connecting to discovery service",
            "reason" => step, "backoff" => wait, "error" => status.message()
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// A member's key.
#[derive(Clone, Debug)]
struct Entry {
    key: String,
    config: String,
    created: i64,
}

/// The members of the cluster: the first that came.
fn first(entries: &[Entry], size: usize) -> Result<Members, DiscoveryError> {
    let mut members = Members::new();
    for pair in entries.iter().take(size).flat_map(|entry| entry.config.split(',')) {
        let (name, url) = pair.split_once('=').ok_or(DiscoveryError::BadMember)?;
        let url = Url::parse(url).map_err(|_| DiscoveryError::BadMember)?;
        members.entry(name.to_owned()).or_default().push(url);
    }
    members.values_mut().for_each(|urls| urls.sort());
    Ok(members)
}

/// `name=url,name=url`.
fn pairs(members: &Members) -> String {
    let pairs = members.iter().flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
    pairs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::joined;

    fn member(flags: &str) -> MemberOptions {
        let arguments: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        crate::flags::load("etched", &arguments, &[]).unwrap().options.member
    }

    fn service(target: &str, port: u16) -> Service {
        Service { priority: 0, weight: 0, port, target: target.to_owned() }
    }

    fn fixed(host: &str, port: u16) -> io::Result<SocketAddr> {
        match host {
            "m0.example" | "10.0.0.1" => Ok(([10, 0, 0, 1], port).into()),
            "m1.example" => Ok(([10, 0, 0, 2], port).into()),
            _ => Err(io::Error::other("no such host")),
        }
    }

    #[test]
    fn the_member_is_found_among_the_records_by_its_address() {
        let member =
            member("--name=a --initial-advertise-peer-urls=http://10.0.0.1:2380 --discovery-srv=example");
        let services = [service("m1.example", 2380), service("m0.example", 2380), service("gone.example", 1)];
        let found = named(&services, "http", "etcd-server", &member, &mut 0, &fixed).unwrap();
        let texts: Vec<String> = found.iter().map(|(name, url)| format!("{name}={url}")).collect();
        assert_eq!(texts, ["0=http://m1.example:2380", "a=http://m0.example:2380"]);
        let error = named(&services[1..2], "https", "etcd-server-ssl", &member, &mut 0, &fixed).unwrap_err();
        assert_eq!(
            error,
            "bootstrap at https://m0.example:2380 from DNS for etcd-server-ssl has scheme mismatch with expected peer \
             http://10.0.0.1:2380"
        );
    }

    #[test]
    fn files_and_endpoints_of_tls_count_more_than_the_default_of_plain_transport() {
        let wants = |flags: &str| {
            let common = "--initial-advertise-peer-urls=http://a:1 --discovery-token=t";
            match member(&format!("{common} {flags}")).discovery {
                Some(Discovery::Service(service)) => wants_tls(&service),
                Some(Discovery::Srv { .. }) | None => panic!("{flags}"),
            }
        };
        assert!(!wants("--discovery-endpoints=http://a:1,b:1"));
        assert!(wants("--discovery-endpoints=http://a:1,https://b:1"));
        assert!(wants("--discovery-endpoints=a:1 --discovery-cacert=ca.crt"));
        assert!(wants("--discovery-endpoints=a:1 --discovery-insecure-transport=false"));
    }

    #[test]
    fn the_first_that_came_are_the_cluster() {
        let entry = |config: &str, created| Entry { key: String::new(), config: config.to_owned(), created };
        let entries =
            [entry("a=http://1:1,a=http://1:2", 1), entry("b=http://2:1", 2), entry("c=http://3:1", 3)];
        let members = first(&entries, 2).unwrap();
        assert_eq!(pairs(&members), "a=http://1:1,a=http://1:2,b=http://2:1");
        assert_eq!(joined(&members["a"]), "http://1:1,http://1:2");
        assert!(matches!(first(&[entry("x", 1)], 1), Err(DiscoveryError::BadMember)));
    }
}
