//! `member list`, `alarm` and `defrag`.

use std::time::Instant;

use etched_proto::etcdserverpb::AlarmResponse;

use super::{Context, write};
use crate::failure::{Exit, Failure, text_of};
use crate::output::Answer;
use crate::text::duration;

pub(super) async fn member_list(context: &Context) -> Result<(), Failure> {
    let client = context.client()?;
    let response = match context.args.text("consistency") {
        "" | "l" => client.member_list().await?,
        "s" => client.member_list_serializable().await?,
        other => {
            return Err(Failure::new(Exit::Unsupported, format!("unknown consistency flag \"{other}\"")));
        }
    };
    context.print(&Answer::MemberList(response))
}

pub(super) async fn alarm_list(context: &Context) -> Result<(), Failure> {
    if !context.args.all().is_empty() {
        return Err(Failure::arguments("alarm list command accepts no arguments"));
    }
    let response = context.client()?.alarm_list().await?;
    context.print(&Answer::Alarm(response))
}

pub(super) async fn alarm_disarm(context: &Context) -> Result<(), Failure> {
    if !context.args.all().is_empty() {
        return Err(Failure::arguments("alarm disarm command accepts no arguments"));
    }
    let client = context.client()?;
    let mut disarmed = AlarmResponse::default();
    for alarm in client.alarm_list().await?.alarms {
        disarmed.alarms.extend(client.alarm_disarm(alarm).await?.alarms);
    }
    context.print(&Answer::Alarm(disarmed))
}

pub(super) async fn defrag(context: &Context) -> Result<(), Failure> {
    let mut failed = false;
    for endpoint in context.endpoints_to_ask().await? {
        let client = context.client_of(&endpoint)?;
        let start = Instant::now();
        let result = client.defragment().await;
        let took = duration::format(start.elapsed());
        match result {
            Ok(_) => {
                write(format!("Finished defragmenting etcd member[{endpoint}]. took {took}\n").as_bytes())?
            }
            Err(error) => {
                failed = true;
                let text = text_of(&error);
                eprintln!("Failed to defragment etcd member[{endpoint}]. took {took}. ({text})");
            }
        }
    }
    if failed { Err(Failure::silent(Exit::Request)) } else { Ok(()) }
}
