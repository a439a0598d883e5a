//! `endpoint`: health, status, hashkv.

use std::time::Instant;

use etched_client::{Client, ErrorKind};
use etched_proto::etcdserverpb::AlarmType;
use tokio::task::JoinSet;

use super::Context;
use crate::failure::{Exit, Failure, text_of};
use crate::output::{Answer, Format, Health, unhealthy};

pub(super) async fn health(context: &Context) -> Result<(), Failure> {
    let mut checks = JoinSet::new();
    for endpoint in context.endpoints_to_ask().await? {
        let client = context.lazy_client_of(&endpoint)?;
        checks.spawn(health_of(endpoint, client));
    }
    // The order is that of the answers.
    let all = checks.join_all().await;
    let failed = all.iter().any(|health| !health.healthy);
    if context.style.format == Format::Simple {
        all.iter().filter(|health| !health.healthy).for_each(|health| eprintln!("{}", unhealthy(health)));
    }
    context.print(&Answer::Health(all))?;
    if failed { Err(Failure::new(Exit::Request, "unhealthy cluster")) } else { Ok(()) }
}

/// A member is healthy if it can read the newest state and raises no alarm.
async fn health_of(endpoint: String, client: Client) -> Health {
    let start = Instant::now();
    let read = client.get("health").await;
    let took = start.elapsed();
    let error = match read {
        // Whoever may not read the key knows all the same that the cluster decides.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => String::new(),
        Err(error) => text_of(&error),
        Ok(_) => String::new(),
    };
    let error = if error.is_empty() { alarms(&client).await } else { error };
    Health { endpoint, healthy: error.is_empty(), took, error }
}

/// The alarms, or why they are not known; empty if there is none.
async fn alarms(client: &Client) -> String {
    let alarms = match client.alarm_list().await {
        Ok(response) => response.alarms,
        Err(error) => return format!("Unable to fetch the alarm list {}", text_of(&error)),
    };
    let names = alarms.iter().map(|alarm| match AlarmType::try_from(alarm.alarm) {
        Ok(AlarmType::Nospace) => "NOSPACE ",
        Ok(AlarmType::Corrupt) => "CORRUPT ",
        Ok(AlarmType::None) | Err(_) => "UNKNOWN ",
    });
    let names: String = names.collect();
    if names.is_empty() { names } else { format!("Active Alarm(s): {names}") }
}

pub(super) async fn status(context: &Context) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut failed = false;
    for endpoint in context.endpoints_to_ask().await? {
        match context.client_of(&endpoint).await?.status().await {
            Ok(status) => all.push((endpoint, status)),
            Err(error) => {
                failed = true;
                eprintln!("Failed to get the status of endpoint {endpoint} ({})", text_of(&error));
            }
        }
    }
    context.print(&Answer::Status(all))?;
    if failed { Err(Failure::silent(Exit::Request)) } else { Ok(()) }
}

pub(super) async fn hash_kv(context: &Context) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut failure = None;
    for endpoint in context.endpoints_to_ask().await? {
        match context.client_of(&endpoint).await?.hash_kv(context.args.int("rev")).await {
            Ok(response) => all.push((endpoint, response)),
            Err(error) => {
                eprintln!("Failed to get the hash of endpoint {endpoint} ({})", text_of(&error));
                failure = Some(Failure::from(error));
            }
        }
    }
    context.print(&Answer::HashKv(all))?;
    failure.map_or(Ok(()), Err)
}
