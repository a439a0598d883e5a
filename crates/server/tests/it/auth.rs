//! Authentication of one member across restarts, and its flags. Who may do what is in `identities`.

use etched_client::{Client, Credentials, Get, Keys, Options};

use crate::identities::log_everybody_in;
use crate::process::{Server, Settings};
use crate::session::connect;

async fn with_token(server: &Server, token: &str) -> Client {
    let mut options = Options::default();
    options.credentials = Some(Credentials::token(token));
    Client::connect([&server.endpoint], options).await.unwrap()
}

/// etcd 14409 and 11652: nothing is open after a restart, and nothing is applied twice.
#[tokio::test]
async fn users_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(dir.path()).with("--bcrypt-cost=4");
    let server = settings.start();
    let tokens = log_everybody_in(&server).await;
    let known = connect(&server).await.auth_status().await.unwrap();
    server.kill();
    let server = settings.start();
    let nobody = connect(&server).await;
    let error = nobody.get("a").await.unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: user name is empty");
    // A login that the log still holds is done again, and its token is good again.
    with_token(&server, &tokens["root"]).await.get("z").await.unwrap();
    let now = nobody.auth_status().await.unwrap();
    assert_eq!((now.enabled, now.auth_revision), (true, known.auth_revision));
    let mut options = Options::default();
    options.credentials = Some(Credentials::password("alice", "secret"));
    let again = Client::connect([&server.endpoint], options).await.unwrap();
    again.get(Get::new(Keys::between("a", "c"))).await.unwrap();
}

#[test]
fn flags_of_tokens_that_make_no_sense_end_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for token in ["complex", "jwt", "jwt,sign-method=RS256,pub-key=/nowhere"] {
        let ended = Settings::new(dir.path()).with(&format!("--auth-token={token}")).refused();
        assert!(ended.log.contains("auth: invalid auth options"), "{token}: {}", ended.log);
    }
}
