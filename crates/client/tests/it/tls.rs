//! Connections with TLS, and over Unix sockets.

use std::time::Duration;

use etched_client::{Client, Error, Options, Put, Tls};

use crate::certificates::Certificates;
use crate::etcd::{Etcd, Setup, options};

async fn outcome(endpoint: &str, tls: Option<Tls>) -> Result<(), Error> {
    let mut options = Options::default();
    options.request_timeout = Some(Duration::from_secs(1));
    options.tls = tls;
    let client = Client::connect([endpoint], options).await?;
    client.get("a").await.map(drop)
}

#[tokio::test]
async fn a_server_is_trusted_if_its_certificate_is() {
    let certificates = Certificates::new();
    let etcd = Etcd::start_with(certificates.setup()).await;
    let client = etcd.client().await;
    client.put(Put::new("a", "1")).await.unwrap();
    assert_eq!(client.http_get("/health").await.unwrap(), r#"{"health":"true","reason":""}"#);
    let endpoint = etcd.endpoint();
    let bare = endpoint.strip_prefix("https://").unwrap();

    let trusting = certificates.trusting().build().unwrap();
    outcome(bare, Some(trusting.clone())).await.unwrap();
    let unverified = Tls::builder().skip_verification().build().unwrap();
    outcome(&endpoint, Some(unverified)).await.unwrap();
    let named = certificates.trusting().server_name("etcd.test").build().unwrap();
    outcome(&endpoint, Some(named)).await.unwrap();

    let misnamed = certificates.trusting().server_name("other.test").build().unwrap();
    let stranger = Certificates::new().trusting().build().unwrap();
    for (endpoint, tls) in [
        (endpoint.as_str(), Some(misnamed)),
        (endpoint.as_str(), Some(stranger)),
        (endpoint.as_str(), None),
        (bare, None),
        (&format!("http://{bare}"), Some(trusting)),
    ] {
        let error = outcome(endpoint, tls).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. } | Error::Broken { .. }), "{endpoint}: {error:?}");
    }
}

#[tokio::test]
async fn a_server_can_demand_a_certificate() {
    let certificates = Certificates::new();
    let etcd = Etcd::start_with(certificates.setup_with_clients()).await;
    etcd.client().await.put(Put::new("a", "1")).await.unwrap();
    let nobody = certificates.trusting().build().unwrap();
    let error = outcome(&etcd.endpoint(), Some(nobody)).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_socket_is_an_endpoint_too() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = format!("unix://{}", directory.path().join("etcd.sock").display());
    let flags = vec![format!("--listen-client-urls={endpoint}")];
    // The last flag counts, so this member is not to be found on its port.
    let mut etcd = Etcd::new("m1".to_owned(), Setup { flags, tls: None });
    etcd.found();
    let client = Client::connect([&endpoint], options()).await.unwrap();
    client.put(Put::new("a", "1")).await.unwrap();
    assert_eq!(client.get("a").await.unwrap().count, 1);
}
