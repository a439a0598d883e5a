//! The endpoints of a cluster as the records of a domain name them (`--discovery-srv`).

use std::sync::Arc;
use std::time::Duration;

use etched_srv::{ClientService, Resolver, client_services};
use tokio::net::TcpStream;

use super::Parsed;
use crate::log;
use crate::tls::{Connector, TlsOptions};

/// How long a server may take to show its certificate.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// What the domain names; nothing if there is none, or if nothing that it names can be trusted.
///
/// # Errors
///
/// When the records cannot be had.
pub(super) async fn discovered(parsed: &Parsed, ca_flag: &str) -> Result<Vec<ClientService>, String> {
    let domain = parsed.text("discovery-srv").to_owned();
    if domain.is_empty() {
        return Ok(Vec::new());
    }
    let service_name = parsed.text("discovery-srv-name").to_owned();
    let asked = domain.clone();
    let looking = tokio::task::spawn_blocking(move || {
        client_services(&Resolver::of_the_system(), &asked, &service_name)
    });
    let found = looking.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let urls: Vec<String> = found.iter().map(|found| found.url.clone()).collect();
    log!(Info, "discovered cluster from SRV", "srv-server" => domain.as_str(), "endpoints" => urls);
    if parsed.is_on("insecure-discovery") {
        return Ok(found);
    }
    let options = TlsOptions { trusted_ca_file: parsed.path(ca_flag), ..TlsOptions::default() };
    let connector = Arc::new(Connector::new(&options).map_err(|error| error.to_string())?);
    let mut trusted = Vec::new();
    for one in found {
        match validate(&one.url, &domain, &connector).await {
            Ok(()) => trusted.push(one),
            Err(error) => log!(
                Warn, "failed to validate discovered endpoints",
                "srv-server" => domain.as_str(), "endpoints" => vec![one.url], "error" => error
            ),
        }
    }
    Ok(trusted)
}

/// The server must show a certificate of the domain.
async fn validate(url: &str, domain: &str, connector: &Connector) -> Result<(), String> {
    let address = url.strip_prefix("https://").ok_or_else(|| format!("{url:?} is insecure"))?;
    let shaking = async {
        let stream = TcpStream::connect(address).await?;
        connector.connect(domain, stream).await.map(drop)
    };
    match tokio::time::timeout(HANDSHAKE_TIME_MAX, shaking).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("i/o timeout".to_owned()),
    }
}
