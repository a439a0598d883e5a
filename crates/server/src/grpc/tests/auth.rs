//! The Auth service, and who asks, over a scripted member.

use std::sync::Mutex;

use etched_proto::authpb;
use etched_state_machine::auth::{Done, Operation, Refusal as AuthRefusal, password};
use pb::auth_client::AuthClient;
use pb::kv_client::KvClient;
use tonic::Request as Call;

use super::*;
use crate::api::Credentials;

/// A member with one user, whose password is "secret"; `revisions` are those of its users at each question.
fn member(revisions: &'static [u64]) -> Served {
    let hash = password::hash("secret", 4, [7; 16]).unwrap();
    let asked = Mutex::new(revisions.iter().copied());
    let script = move |request: &Request| {
        let next = || asked.lock().unwrap().next().expect("the script knows all questions");
        Some(Ok(match request {
            Request::PasswordHash { name } if name == "alice" => {
                Answer::PasswordHash { hash: hash.clone().into(), revision: next() }
            }
            Request::PasswordHash { .. } => {
                return Some(Err(Refusal::Auth(AuthRefusal::AuthenticationFailed).into()));
            }
            Request::Propose(Command::Auth(Operation::Authenticate { name, simple_token, .. })) => {
                let token = format!("{}.7", simple_token.0).into();
                let done = Done::Authenticated { user: name.clone(), token, revision: next() };
                Answer::Applied(Outcome::Auth { revision: 9, done })
            }
            _ => Answer::Applied(Outcome::Auth { revision: 9, done: Done::Changed }),
        }))
    };
    serve(FakeApi::new(script), "")
}

fn authenticate(name: &str, password: &str) -> pb::AuthenticateRequest {
    pb::AuthenticateRequest { name: name.into(), password: password.into() }
}

fn operation(served: &Served) -> Operation {
    match proposed(served) {
        Command::Auth(operation) => operation,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_logs_in_gets_a_token_that_the_log_has_only_a_part_of() {
    let served = member(&[3, 3]);
    let mut client = AuthClient::new(served.channel().await);
    let answer = client.authenticate(authenticate("alice", "secret")).await.unwrap().into_inner();
    assert_eq!(answer.header, header(9));
    let Operation::Authenticate { name, password, simple_token } = operation(&served) else {
        panic!("a login is proposed");
    };
    assert_eq!((name.as_str(), password.0.as_str()), ("alice", ""));
    assert_eq!(answer.token, format!("{}.7", simple_token.0));
    assert_eq!(simple_token.0.len(), 16);
    served.stop().await;
}

#[tokio::test]
async fn a_login_begins_anew_when_the_password_may_have_changed_meanwhile() {
    let served = member(&[3, 4, 4, 4]);
    let mut client = AuthClient::new(served.channel().await);
    client.authenticate(authenticate("alice", "secret")).await.unwrap();
    assert_eq!(served.api.requests.lock().unwrap().len(), 4);
    served.stop().await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_are_the_same_error() {
    let served = member(&[3]);
    let mut client = AuthClient::new(served.channel().await);
    for (name, password) in [("alice", "wrong"), ("bob", "secret")] {
        let error = client.authenticate(authenticate(name, password)).await.unwrap_err();
        let text = "etcdserver: authentication failed, invalid user ID or password";
        assert_eq!((error.code(), error.message()), (Code::InvalidArgument, text));
    }
    served.stop().await;
}

#[tokio::test]
async fn passwords_are_hashed_before_anything_is_proposed() {
    let served = member(&[]);
    let mut client = AuthClient::new(served.channel().await);
    let add = pb::AuthUserAddRequest {
        name: "bob".into(),
        password: "secret".into(),
        hashed_password: "of the client".into(),
        options: None,
    };
    client.user_add(add.clone()).await.unwrap();
    let Operation::UserAdd { password, hashed_password, no_password: None, .. } = operation(&served) else {
        panic!("a user is added");
    };
    assert_eq!(password.0, "");
    assert!(hashed_password.0.starts_with("JDJhJD"), "the hash is this member's");
    let options = Some(authpb::UserAddOptions { no_password: true });
    client.user_add(pb::AuthUserAddRequest { options, ..add.clone() }).await.unwrap();
    assert!(
        matches!(operation(&served), Operation::UserAdd { no_password: Some(true), hashed_password, .. } if hashed_password.0 == "of the client")
    );
    let change = pb::AuthUserChangePasswordRequest {
        name: "bob".into(),
        password: "new".into(),
        ..Default::default()
    };
    client.user_change_password(change).await.unwrap();
    assert!(
        matches!(operation(&served), Operation::UserChangePassword { password, hashed_password, .. } if password.0.is_empty() && hashed_password.0.starts_with("JDJhJD"))
    );
    let long = pb::AuthUserAddRequest { password: "x".repeat(73), ..add };
    let error = client.user_add(long).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unknown, "bcrypt: password length exceeds 72 bytes"));
    served.stop().await;
}

#[tokio::test]
async fn each_request_goes_with_the_credentials_of_its_metadata() {
    let served = serve_outcome(Outcome::Put(PutDone { revision: 9, previous: None }));
    let mut client = KvClient::new(served.channel().await);
    for (name, value, is_simple) in [
        ("token", "abcdefghijklmnop.7", true),
        ("token", "nonsense", false),
        ("authorization", "Bearer abcdefghijklmnop.8", true),
    ] {
        let mut put = Call::new(pb::PutRequest { key: "a".into(), ..Default::default() });
        put.metadata_mut().insert(name, value.parse().unwrap());
        client.put(put).await.unwrap();
        match served.api.credentials.lock().unwrap().last() {
            Some(Credentials::Simple(_)) => assert!(is_simple, "{value}"),
            Some(Credentials::Invalid) => assert!(!is_simple, "{value}"),
            other => panic!("{other:?}"),
        }
    }
    client.put(pb::PutRequest { key: "a".into(), ..Default::default() }).await.unwrap();
    assert_eq!(served.api.credentials.lock().unwrap().last(), Some(&Credentials::Anonymous));
    served.stop().await;
}
