//! `lease`: grant, revoke, timetolive, list, keep-alive.

use etched_client::{ErrorKind, Gone, LeaseState};

use super::{Context, lease_id, write};
use crate::failure::{Exit, Failure, text_of};
use crate::output::Answer;
use crate::text::number::parse_int;

/// The only argument of a command.
fn only(context: &Context, otherwise: &str) -> Result<Vec<u8>, Failure> {
    let mut words = context.args.all();
    if words.len() != 1 {
        return Err(Failure::arguments(otherwise));
    }
    Ok(words.remove(0))
}

pub(super) async fn grant(context: &Context) -> Result<(), Failure> {
    let ttl = only(context, "lease grant command needs TTL argument")?;
    let ttl = parse_int(&ttl, 10).map_err(|why| Failure::arguments(format!("bad TTL ({why})")))?;
    match context.client().await?.lease_grant(ttl).await {
        Ok(response) => context.print(&Answer::LeaseGrant(response)),
        Err(error) => {
            Err(Failure::new(Exit::Request, format!("failed to grant lease ({})", text_of(&error))))
        }
    }
}

pub(super) async fn revoke(context: &Context) -> Result<(), Failure> {
    let id = lease_id(&only(context, "lease revoke command needs 1 argument")?, "lease ID arg")?;
    match context.client().await?.lease_revoke(id).await {
        Ok(response) => context.print(&Answer::LeaseRevoke { id, response }),
        Err(error) => {
            Err(Failure::new(Exit::Request, format!("failed to revoke lease ({})", text_of(&error))))
        }
    }
}

pub(super) async fn time_to_live(context: &Context) -> Result<(), Failure> {
    let id =
        lease_id(&only(context, "lease timetolive command needs lease ID as argument")?, "lease ID arg")?;
    let with_keys = context.args.bool("keys");
    let client = context.client().await?;
    let response = if with_keys {
        client.lease_time_to_live_with_keys(id).await?
    } else {
        client.lease_time_to_live(id).await?
    };
    context.print(&Answer::LeaseTimeToLive { response, with_keys })
}

pub(super) async fn list(context: &Context) -> Result<(), Failure> {
    let response = context.client().await?.lease_leases().await;
    let response = response.map_err(|error| Failure::new(Exit::Connection, text_of(&error)))?;
    context.print(&Answer::LeaseList(response))
}

pub(super) async fn keep_alive(context: &Context) -> Result<(), Failure> {
    let id =
        lease_id(&only(context, "lease keep-alive command needs lease ID as argument")?, "lease ID arg")?;
    let client = context.client().await?;
    if context.args.bool("once") {
        let response = client
            .lease_keep_alive_once(id)
            .await
            .map_err(|error| Failure::new(Exit::Connection, text_of(&error)))?;
        if response.ttl <= 0 {
            return Err(Failure::new(Exit::Connection, ErrorKind::LeaseNotFound.text()));
        }
        return context.print(&Answer::LeaseKeepAlive(response));
    }
    if let Ok(mut keep_alive) = client.keep_alive(id).await {
        let mut state = keep_alive.state();
        loop {
            match state {
                LeaseState::Alive(response) => context.print(&Answer::LeaseKeepAlive(response))?,
                LeaseState::Unconfirmed | LeaseState::Doubtful => {}
                LeaseState::Gone(Gone::Ended | Gone::Refused(_)) => break,
            }
            state = keep_alive.changed().await;
        }
    }
    write(format!("lease {id:016x} expired or revoked.\n").as_bytes())
}
