//! Which members there are, where they listen, and where their data are.
//!
//! A plan is kept as `cluster.json` in the directory of the data, since members of a cluster cannot change their
//! number or addresses by being started differently.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::options::Options;

const MEMBERS: u16 = 3;
/// etcd's port for clients.
const PORT: u16 = 2379;
/// From one member's ports to the next one's.
const STRIDE: u16 = 10;
const FILE: &str = "cluster.json";

/// Where the data are, and whether they stay.
pub(super) enum Home {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Home {
    /// Makes the directory, or a temporary one if none is named.
    pub(super) fn open(dir: Option<&Path>) -> Result<Self> {
        let Some(dir) = dir else {
            let dir = tempfile::Builder::new().prefix("etched-dev-").tempdir();
            return Ok(Self::Temporary(dir.context("cannot make a temporary directory")?));
        };
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self::Kept(std::path::absolute(dir)?))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }
}

/// A cluster that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where the data are.
    pub(super) home: PathBuf,
    /// The members, `m1` first.
    pub(super) members: Vec<Member>,
    /// Where the certificates are, if there is TLS.
    pub(super) tls: Option<PathBuf>,
    /// Flags for every member, after those of the plan.
    flags: Vec<String>,
}

/// A member that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    client_port: u16,
    peer_port: u16,
}

impl Plan {
    /// The plan that the directory holds, or one for these options.
    pub(super) fn of(options: &Options, home: &Path) -> Result<Self> {
        let path = home.join(FILE);
        let stored = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let mut plan = match stored {
            None => Self::fresh(options, home)?,
            Some(bytes) => {
                let plan = Self::stored(&bytes, home)
                    .with_context(|| format!("{} is not of `etched dev`", path.display()))?;
                plan.ensure_same(options)?;
                plan
            }
        };
        plan.flags.clone_from(&options.flags);
        Ok(plan)
    }

    fn fresh(options: &Options, home: &Path) -> Result<Self> {
        let (count, port) = (options.members.unwrap_or(MEMBERS), options.port.unwrap_or(PORT));
        let free = if port == 0 { free_ports(usize::from(count) * 2)? } else { Vec::new() };
        let members = (0..count).map(|number| {
            let ports = match free.chunks_exact(2).nth(usize::from(number)) {
                Some(pair) => Some((pair[0], pair[1])),
                None => port
                    .checked_add(number * STRIDE)
                    .and_then(|client| Some((client, client.checked_add(1)?))),
            };
            let (client_port, peer_port) = ports.context("there are no such ports: choose a lower --port")?;
            Ok(Member { name: format!("m{}", number + 1), client_port, peer_port })
        });
        Ok(Self {
            home: home.to_owned(),
            members: members.collect::<Result<_>>()?,
            tls: options.tls.then(|| home.join("tls")),
            flags: Vec::new(),
        })
    }

    /// Reads a plan; `None` in no field is taken for granted.
    fn stored(bytes: &[u8], home: &Path) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes)?;
        let port = |member: &Value, name| member[name].as_u64().and_then(|port| u16::try_from(port).ok());
        let members = value["members"].as_array().context("there are no members")?.iter().map(|member| {
            Ok(Member {
                name: member["name"].as_str().context("a member has no name")?.to_owned(),
                client_port: port(member, "client_port").context("a member has no port for clients")?,
                peer_port: port(member, "peer_port").context("a member has no port for members")?,
            })
        });
        let has_tls = value["tls"].as_bool().context("it does not say whether there is TLS")?;
        let members = members.collect::<Result<Vec<_>>>()?;
        ensure!(!members.is_empty(), "there are no members");
        Ok(Self { home: home.to_owned(), members, tls: has_tls.then(|| home.join("tls")), flags: Vec::new() })
    }

    /// Refuses what the members that are there cannot be started with.
    fn ensure_same(&self, options: &Options) -> Result<()> {
        let home = self.home.display();
        if let Some(members) = options.members {
            let there = self.members.len();
            ensure!(usize::from(members) == there, "{home} holds a cluster with --members {there}");
        }
        match options.port {
            None | Some(0) => {}
            Some(port) => {
                let there = self.members[0].client_port;
                ensure!(port == there, "{home} holds a cluster with --port {there}");
            }
        }
        if options.tls && self.tls.is_none() {
            bail!("{home} holds a cluster without --tls");
        }
        Ok(())
    }

    /// Keeps the plan beside the data.
    pub(super) fn save(&self) -> Result<()> {
        let members: Vec<Value> = self.members.iter().map(Member::to_json).collect();
        let text = format!("{:#}\n", json!({ "members": members, "tls": self.tls.is_some() }));
        let (path, unfinished) = (self.home.join(FILE), self.home.join("cluster.json.tmp"));
        std::fs::write(&unfinished, text)
            .and_then(|()| std::fs::rename(&unfinished, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Where clients reach a member.
    pub(super) fn client_url(&self, member: &Member) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), member.client_port)
    }

    fn peer_url(&self, member: &Member) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), member.peer_port)
    }

    /// The file that gets a member's log.
    pub(super) fn log_path(&self, member: &Member) -> PathBuf {
        self.home.join(format!("{}.log", member.name))
    }

    /// The flags of a member.
    pub(super) fn flags_of(&self, member: &Member) -> Vec<String> {
        let (client, peer) = (self.client_url(member), self.peer_url(member));
        let all: Vec<String> =
            self.members.iter().map(|one| format!("{}={}", one.name, self.peer_url(one))).collect();
        let mut flags = vec![
            format!("--name={}", member.name),
            format!("--data-dir={}", self.home.join(format!("{}.etcd", member.name)).display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}", all.join(",")),
            "--initial-cluster-token=etched-dev".to_owned(),
        ];
        if let Some(tls) = &self.tls {
            for prefix in ["", "peer-"] {
                flags.push(format!("--{prefix}cert-file={}", tls.join("server.pem").display()));
                flags.push(format!("--{prefix}key-file={}", tls.join("server-key.pem").display()));
                flags.push(format!("--{prefix}trusted-ca-file={}", tls.join("ca.pem").display()));
                flags.push(format!("--{prefix}client-cert-auth"));
            }
        }
        flags.extend(self.flags.iter().cloned());
        flags
    }

    /// The variables that have `etchedctl` and `etcdctl` use this cluster.
    pub(super) fn client_environment(&self) -> Vec<(&'static str, String)> {
        let urls: Vec<String> = self.members.iter().map(|member| self.client_url(member)).collect();
        let mut variables = vec![("ETCDCTL_ENDPOINTS", urls.join(","))];
        if let Some(tls) = &self.tls {
            let path = |name| tls.join(name).display().to_string();
            variables.push(("ETCDCTL_CACERT", path("ca.pem")));
            variables.push(("ETCDCTL_CERT", path("client.pem")));
            variables.push(("ETCDCTL_KEY", path("client-key.pem")));
        }
        variables
    }
}

impl Member {
    fn to_json(&self) -> Value {
        json!({ "name": self.name, "client_port": self.client_port, "peer_port": self.peer_port })
    }
}

/// Ports that nobody listened on a moment ago, all different.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    Ok(listeners
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn options(arguments: &[&str]) -> Options {
        Options::try_parse_from([&["etched dev"], arguments].concat()).unwrap()
    }

    #[test]
    fn the_first_member_has_the_port_of_etcd() {
        let plan = Plan::of(&options(&[]), Path::new("/nowhere")).unwrap();
        let urls: Vec<String> = plan.members.iter().map(|member| plan.client_url(member)).collect();
        assert_eq!(urls, ["http://127.0.0.1:2379", "http://127.0.0.1:2389", "http://127.0.0.1:2399"]);
        let flags = plan.flags_of(&plan.members[1]);
        assert!(flags.contains(&"--name=m2".to_owned()), "{flags:?}");
        let cluster =
            "--initial-cluster=m1=http://127.0.0.1:2380,m2=http://127.0.0.1:2390,m3=http://127.0.0.1:2400";
        assert!(flags.contains(&cluster.to_owned()), "{flags:?}");
    }

    #[test]
    fn flags_of_every_member_load_as_options_of_the_server() {
        let plan =
            Plan::of(&options(&["--tls", "--", "--heartbeat-interval=50"]), Path::new("/nowhere")).unwrap();
        for member in &plan.members {
            let loaded = crate::flags::load("etched", &plan.flags_of(member), &[]).unwrap();
            assert_eq!(loaded.options.member.name, member.name);
            assert_eq!(loaded.options.member.heartbeat_interval.as_millis(), 50);
        }
    }

    #[test]
    fn a_kept_plan_comes_back_and_is_not_contradicted() {
        let home = tempfile::tempdir().unwrap();
        let plan = Plan::of(&options(&["--members=5", "--port=0"]), home.path()).unwrap();
        plan.save().unwrap();
        assert_eq!(Plan::of(&options(&[]), home.path()).unwrap(), plan);
        assert_eq!(Plan::of(&options(&["--port=0"]), home.path()).unwrap(), plan);
        for (arguments, text) in
            [(["--members=3"], "--members 5"), (["--port=1"], "--port "), (["--tls"], "without --tls")]
        {
            let error = Plan::of(&options(&arguments), home.path()).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_refused() {
        let home = tempfile::tempdir().unwrap();
        for text in
            ["", "[]", r#"{"members":[]}"#, r#"{"members":[],"tls":false}"#, r#"{"members":[{}],"tls":true}"#]
        {
            std::fs::write(home.path().join(FILE), text).unwrap();
            Plan::of(&options(&[]), home.path()).unwrap_err();
        }
    }

    #[test]
    fn ports_beyond_the_last_are_refused() {
        Plan::of(&options(&["--port=65530"]), Path::new("/nowhere")).unwrap_err();
        Plan::of(&options(&["--port=65500"]), Path::new("/nowhere")).unwrap();
    }
}
