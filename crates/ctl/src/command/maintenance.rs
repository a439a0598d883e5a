//! `alarm`, `defrag`, `downgrade` and `move-leader`.

use std::time::Instant;

use etched_proto::etcdserverpb::AlarmResponse;

use super::{Context, member_id, write};
use crate::failure::{Exit, Failure, text_of};
use crate::output::{Answer, DowngradeStep};
use crate::text::duration;

pub(super) async fn alarm_list(context: &Context) -> Result<(), Failure> {
    if !context.args.all().is_empty() {
        return Err(Failure::arguments("alarm list command accepts no arguments"));
    }
    let response = context.client().await?.alarm_list().await?;
    context.print(&Answer::Alarm(response))
}

pub(super) async fn alarm_disarm(context: &Context) -> Result<(), Failure> {
    if !context.args.all().is_empty() {
        return Err(Failure::arguments("alarm disarm command accepts no arguments"));
    }
    let client = context.client().await?;
    let mut disarmed = AlarmResponse::default();
    for alarm in client.alarm_list().await?.alarms {
        disarmed.alarms.extend(client.alarm_disarm(alarm).await?.alarms);
    }
    context.print(&Answer::Alarm(disarmed))
}

pub(super) async fn defrag(context: &Context) -> Result<(), Failure> {
    let mut failed = false;
    for endpoint in context.endpoints_to_ask().await? {
        let client = context.client_of(&endpoint).await?;
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

pub(super) async fn move_leader(context: &Context) -> Result<(), Failure> {
    let words = context.args.all();
    let [target] = words.as_slice() else {
        return Err(Failure::arguments("move-leader command needs 1 argument"));
    };
    let target = member_id(target).map_err(Failure::arguments)?;
    for endpoint in &context.endpoints {
        let client = context.client_of(endpoint).await?;
        let status = client.status().await?;
        let leader = status.leader;
        if status.header.is_some_and(|header| header.member_id == leader) {
            let response = client.move_leader(target).await?;
            return context.print(&Answer::MoveLeader { leader, target, response });
        }
    }
    let given = context.endpoints.join(" ");
    Err(Failure::arguments(format!("no leader endpoint given at [{given}]")))
}

pub(super) async fn downgrade(context: &Context, step: DowngradeStep) -> Result<(), Failure> {
    let response = match step {
        DowngradeStep::Validate => {
            let version = target_version(context)?;
            context.client().await?.downgrade_validate(version).await?
        }
        DowngradeStep::Enable => {
            let version = target_version(context)?;
            context.client().await?.downgrade_enable(version).await?
        }
        DowngradeStep::Cancel => context.client().await?.downgrade_cancel().await?,
    };
    context.print(&Answer::Downgrade { step, response })
}

fn target_version(context: &Context) -> Result<String, Failure> {
    match context.args.all().as_slice() {
        [] => Err(Failure::arguments("TARGET_VERSION not provided")),
        [version] if version.is_empty() => Err(Failure::arguments("target version not provided")),
        [version] => Ok(String::from_utf8_lossy(version).into_owned()),
        [..] => Err(Failure::arguments("too many arguments")),
    }
}
