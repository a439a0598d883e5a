//! TLS: for clients and members that connect, and for the connections that this member makes to others.
//!
//! [`ServerTls`] accepts; [`Connector`] connects.
//! Both read their files again when these change, so that certificates, keys, authorities and lists of revoked
//! certificates can be replaced while the member runs: the next connection uses the new ones, connections that are
//! there go on, and files that cannot be used leave the old ones in use.
//!
//! ```no_run
//! use etched::flags;
//! use etched::tls::{Endpoint, ServerTls};
//!
//! # async fn accept(stream: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
//! let arguments = ["--cert-file=server.crt", "--key-file=server.key"].map(str::to_owned);
//! let loaded = flags::load("etched", &arguments, &[]).expect("these flags are fine");
//! let tls = ServerTls::new(&loaded.options.security.client, Endpoint::Client)?;
//! let remote = stream.peer_addr()?;
//! let secured = tls.accept(stream, Some(remote)).await?;
//! println!("{:?}", secured.identity);
//! # Ok(())
//! # }
//! ```
//!
//! The rules are those of etcd.
//! Whoever connects must show a certificate if `--client-cert-auth` or `--trusted-ca-file` is given; it is verified
//! against the given authorities, or those of the system.
//! Its names may have to be on a list; it may not be revoked; and the certificate of a member must belong to the
//! address that it comes from.
//! The [`Identity`] in it goes with the connection and, in a [`Visitor`], into the extensions of each request.
//!
//! Handshakes run beside each other on the front threads, each within a time limit.
//! A client that has not said hello yet holds a socket and a small buffer.
//! What certificates say is read by a small reader of DER; bytes of the other side never panic.

#[cfg(test)]
mod authority;
mod certificate;
mod connector;
mod der;
mod files;
mod made;
mod options;
mod reason;
mod remote;
mod reverse;
mod server;
mod suites;
#[cfg(test)]
mod tests;
mod verify;

pub use certificate::Identity;
pub use connector::Connector;
pub use files::FileError;
pub(crate) use files::common_name;
pub use made::MadeError;
pub use options::TlsOptions;
pub use server::{Endpoint, Rejected, Secured, ServerTls, Visitor};
pub use suites::{Protocol, SuiteError, TlsVersion};
