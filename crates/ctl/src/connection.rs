//! Reads the flags that say how to reach the cluster: endpoints, time limits, TLS.

use std::path::Path;
use std::time::Duration;

use etched_client::{Credentials, Options, Tls, TlsError};

use crate::args::Args;
use crate::failure::{Exit, Failure, text_of_io};
use crate::prompt;
use crate::spec::GLOBAL_FLAGS;
use crate::table::Flag;
use crate::text::duration;

/// The options of the client.
///
/// # Errors
///
/// Certificates and keys are read here.
pub(crate) fn options(args: &Args) -> Result<Options, Failure> {
    let mut options = Options::default();
    options.request_timeout = Some(duration_of(args, "command-timeout"));
    options.dial_timeout = dial_timeout(duration_of(args, "dial-timeout"));
    options.keepalive_interval = duration_of(args, "keepalive-time");
    options.keepalive_timeout = duration_of(args, "keepalive-timeout");
    let size = |flag| usize::try_from(args.int(flag)).ok().filter(|bytes| *bytes > 0);
    options.request_bytes_max = size("max-request-bytes").unwrap_or(options.request_bytes_max);
    options.response_bytes_max = size("max-recv-bytes").unwrap_or(options.response_bytes_max);
    options.tls = tls(args)?;
    Ok(options)
}

/// Zero is no limit to etcdctl, to whose gRPC an attempt may then take 20 seconds.
fn dial_timeout(given: Duration) -> Duration {
    if given.is_zero() { Duration::from_secs(20) } else { given }
}

/// The endpoints that the flags name, or that the domain of `--discovery-srv` lists.
///
/// # Errors
///
/// The domain may have no such records.
pub(crate) fn endpoints(args: &Args) -> Result<Vec<String>, Failure> {
    let domain = args.text("discovery-srv");
    if !domain.is_empty() {
        let resolver = etched_srv::Resolver::of_the_system();
        let found = etched_srv::client_services(&resolver, domain, args.text("discovery-srv-name"))
            .map_err(|error| Failure::new(Exit::Request, error.to_string()))?;
        let found = found.into_iter().map(|found| found.url);
        let (found, insecure): (Vec<_>, Vec<_>) =
            found.partition(|url| accepts_insecure(args) || !url.starts_with("http://"));
        insecure.iter().for_each(|url| eprintln!("ignoring discovered insecure endpoint \"{url}\""));
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let given = if args.is_given("endpoints") { args.text("endpoints") } else { default_of("endpoints") };
    let all = given.split(',').map(|endpoint| endpoint.trim().to_owned());
    let all: Vec<_> = all.filter(|endpoint| !endpoint.is_empty()).collect();
    if all.is_empty() {
        return Err(Failure::new(Exit::Connection, "etcdclient: no available endpoints"));
    }
    Ok(all)
}

/// The value of a flag of all commands that is a duration.
pub(crate) fn duration_of(args: &Args, name: &str) -> Duration {
    let value = if args.is_given(name) { args.text(name) } else { default_of(name) };
    duration::parse(value).expect("values are checked when they are read")
}

/// A switch of all commands that is on unless it is given as off.
fn is_on(args: &Args, name: &str) -> bool {
    if args.is_given(name) { args.bool(name) } else { default_of(name) == "true" }
}

fn default_of(name: &str) -> &'static str {
    let named = |flag: &&Flag| flag.name == name;
    GLOBAL_FLAGS.iter().find(named).expect("the flag is in the table").default
}

fn accepts_insecure(args: &Args) -> bool {
    is_on(args, "insecure-discovery")
}

/// Who the user is; a missing password is asked for.
///
/// # Errors
///
/// The password cannot be read.
pub(crate) fn credentials(args: &Args) -> Result<Option<Credentials>, Failure> {
    match (args.text("auth-jwt-token"), args.text("user")) {
        ("", "") => Ok(None),
        ("", user) => {
            let (user, password) = user_and_password(user, args.text("password"), "Password: ")?;
            Ok(credentials_of(user, password))
        }
        (token, _) => Ok(Some(Credentials::token(token))),
    }
}

/// Without a name or without a password nobody signs in, as with etcdctl.
pub(crate) fn credentials_of(user: String, password: String) -> Option<Credentials> {
    let is_somebody = !user.is_empty() && !password.is_empty();
    is_somebody.then(|| Credentials::password(user, password))
}

/// Reads `name[:password]`; a password that is given apart leaves the name whole, and a missing one is asked for.
pub(crate) fn user_and_password(
    given: &str,
    password: &str,
    prompt: &str,
) -> Result<(String, String), Failure> {
    if !password.is_empty() {
        return Ok((given.to_owned(), password.to_owned()));
    }
    match given.split_once(':') {
        Some((user, password)) => Ok((user.to_owned(), password.to_owned())),
        None => {
            let password = prompt::secret(prompt).map_err(|why| Failure::new(Exit::Request, why))?;
            Ok((given.to_owned(), password))
        }
    }
}

/// The files of TLS; empty for those that are not given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'a> {
    pub(crate) cert: &'a str,
    pub(crate) key: &'a str,
    pub(crate) cacert: &'a str,
}

/// The settings of TLS, if any flag asks for it.
fn tls(args: &Args) -> Result<Option<Tls>, Failure> {
    for flag in ["cert", "key", "cacert"] {
        if args.is_given(flag) && args.text(flag).is_empty() {
            return Err(Failure::arguments(format!("empty string is passed to --{flag} option")));
        }
    }
    let files = Files { cert: args.text("cert"), key: args.text("key"), cacert: args.text("cacert") };
    let server_name = if accepts_insecure(args) { "" } else { args.text("discovery-srv") };
    let unverified = args.bool("insecure-skip-tls-verify");
    tls_of(files, server_name, unverified, is_on(args, "insecure-transport"))
}

/// The settings of TLS with these files.
///
/// # Errors
///
/// Files that cannot be read or used.
pub(crate) fn tls_of(
    files: Files<'_>,
    server_name: &str,
    unverified: bool,
    insecure: bool,
) -> Result<Option<Tls>, Failure> {
    let Files { cert, key, cacert } = files;
    let any_file = [cert, key, cacert, server_name].iter().any(|text| !text.is_empty());
    if !any_file && !unverified && insecure {
        return Ok(None);
    }
    if cert.is_empty() != key.is_empty() {
        let text = format!("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]");
        return Err(Failure::arguments(text));
    }
    let mut builder = Tls::builder();
    if !cert.is_empty() {
        builder = builder.identity(read(cert)?, read(key)?);
    }
    if !cacert.is_empty() {
        builder = builder.trust(read(cacert)?);
    }
    if !server_name.is_empty() {
        builder = builder.server_name(server_name);
    }
    if unverified {
        builder = builder.skip_verification();
    }
    let tls = builder.build().map_err(|error| Failure::arguments(text_of_tls(&error)))?;
    Ok(Some(tls))
}

fn text_of_tls(error: &TlsError) -> String {
    let find = |what: &str| format!("tls: failed to find any PEM data in {what} input");
    match error {
        TlsError::Certificate(_) => find("certificate"),
        TlsError::Key(_) => find("key"),
        TlsError::Identity(cause) => format!("tls: {error}: {cause}"),
        TlsError::Authorities(_) | TlsError::NoAuthority | TlsError::ServerName(_) | _ => {
            format!("tls: {error}")
        }
    }
}

fn read(path: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::arguments(text_of_io("open", Path::new(path), &error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        let words: Vec<_> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        Args::parse(&[GLOBAL_FLAGS], &words).unwrap()
    }

    #[test]
    fn endpoints_are_split_and_trimmed() {
        assert_eq!(endpoints(&args("")).unwrap(), ["127.0.0.1:2379"]);
        assert_eq!(endpoints(&args("--endpoints a:1,,b:2")).unwrap(), ["a:1", "b:2"]);
        let none = endpoints(&args("--endpoints=")).unwrap_err();
        assert_eq!(
            (none.exit, none.message.as_str()),
            (Exit::Connection, "etcdclient: no available endpoints")
        );
    }

    #[test]
    fn no_time_limit_of_a_dial_is_not_a_limit_of_nothing() {
        let limit = |line: &str| options(&args(line)).unwrap().dial_timeout;
        assert_eq!(limit(""), Duration::from_secs(2));
        assert_eq!(limit("--dial-timeout=7s"), Duration::from_secs(7));
        assert_eq!(limit("--dial-timeout=0s"), Duration::from_secs(20));
    }

    #[test]
    fn tls_is_used_if_a_flag_asks_for_it() {
        assert!(tls(&args("")).unwrap().is_none());
        assert!(tls(&args("--insecure-transport=false")).unwrap().is_some());
        assert!(tls(&args("--insecure-skip-tls-verify")).unwrap().is_some());
        assert!(tls(&args("--discovery-srv a.b --insecure-discovery=false")).unwrap().is_some());
        assert!(tls(&args("--discovery-srv a.b")).unwrap().is_none());
    }

    #[test]
    fn mistakes_about_certificates_have_etcdctls_words() {
        let wrong = |line: &str| tls(&args(line)).unwrap_err();
        for (line, text) in [
            ("--cert=", "empty string is passed to --cert option"),
            ("--cert a", "KeyFile and CertFile must both be present[key: , cert: a]"),
            ("--cert /nonexistent/c --key k", "open /nonexistent/c: no such file or directory"),
            ("--cacert /nonexistent/c", "open /nonexistent/c: no such file or directory"),
        ] {
            assert_eq!((wrong(line).exit, wrong(line).message.as_str()), (Exit::Arguments, text));
        }
    }
}
