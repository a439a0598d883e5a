//! `make-mirror`: copies keys to another cluster, and every change that follows.

use std::time::Duration;

use bytes::Bytes;
use etched_client::{Client, Delete, Error, Mirror, Op, Options, Put, Txn, WatchNotice};
use etched_proto::mvccpb::Event;
use etched_proto::mvccpb::event::EventType;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::{Context, write};
use crate::connection::{self, Files};
use crate::failure::{Exit, Failure};

/// How often the number of copied keys is printed.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);
const TXN_OPS_MAX: usize = 128;

pub(super) async fn make_mirror(context: &Context) -> Result<(), Failure> {
    let args = &context.args;
    let words = args.all();
    let [destination] = words.as_slice() else {
        return Err(Failure::arguments("make-mirror takes one destination argument"));
    };
    let destination = String::from_utf8_lossy(destination).into_owned();
    let target = super::connect(&[destination], target_options(context)?).await?;
    let source = context.client().await?;
    if args.bool("no-dest-prefix") && !args.text("dest-prefix").is_empty() {
        return Err(Failure::arguments(
            "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one",
        ));
    }
    let ops_max = match args.is_given("max-txn-ops") {
        true => usize::try_from(args.int("max-txn-ops")).unwrap_or(TXN_OPS_MAX),
        false => TXN_OPS_MAX,
    };
    let mut copy = Copy {
        source: source.with_timeout(None),
        target: target.with_timeout(None),
        prefix: args.text("prefix").to_owned(),
        target_prefix: args.text("dest-prefix").to_owned(),
        ops_max: ops_max.max(1),
        total: 0,
    };
    let mut reports = interval_at(tokio::time::Instant::now() + REPORT_INTERVAL, REPORT_INTERVAL);
    reports.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let revision = args.int("rev") - 1;
    let mirror = if revision > 0 {
        // The whole of the keys is skipped, and with it, as in etcdctl, the default of the prefix at the destination.
        Mirror::changes_since(&copy.source, copy.prefix.clone(), revision + 1)
    } else {
        if !args.bool("no-dest-prefix") && copy.target_prefix.is_empty() {
            copy.target_prefix.clone_from(&copy.prefix);
        }
        Mirror::new(&copy.source, copy.prefix.clone())
    };
    copy.run(mirror, &mut reports).await
}

/// The flags of the destination, in the form of those of the source.
fn target_options(context: &Context) -> Result<Options, Failure> {
    let args = &context.args;
    let mut options = context.options.clone();
    let files =
        Files { cert: args.text("dest-cert"), key: args.text("dest-key"), cacert: args.text("dest-cacert") };
    let insecure = !args.is_given("dest-insecure-transport") || args.bool("dest-insecure-transport");
    options.tls = connection::tls_of(files, "", false, insecure)?;
    options.credentials = match args.text("dest-user") {
        "" => None,
        user => {
            let (user, password) =
                connection::user_and_password(user, args.text("dest-password"), "Destination Password: ")?;
            connection::credentials_of(user, password)
        }
    };
    Ok(options)
}

/// A copy that is being made.
struct Copy {
    source: Client,
    target: Client,
    prefix: String,
    target_prefix: String,
    ops_max: usize,
    total: u64,
}

impl Copy {
    /// Goes on until something fails.
    async fn run(&mut self, mut mirror: Mirror, reports: &mut Interval) -> Result<(), Failure> {
        while let Some(page) = mirror.next_page().await? {
            for kv in page.kvs {
                let put = Put::new(self.renamed(&kv.key), kv.value);
                self.target.put(put).await?;
                self.total += 1;
                self.report(reports)?;
            }
        }
        let mut changes = mirror.changes().await?;
        loop {
            let notice = tokio::select! {
                notice = changes.next() => notice,
                _tick = reports.tick() => {
                    write(format!("{}\n", self.total).as_bytes())?;
                    continue;
                }
            };
            match notice {
                Some(Ok(WatchNotice::Events { events, .. })) => self.apply(events).await?,
                Some(Ok(WatchNotice::Progress { .. })) => {}
                Some(Err(error @ Error::Compacted { .. })) => return Err(error.into()),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Failure::new(Exit::Request, "the watch of the source ended")),
            }
        }
    }

    /// Prints the number of copied keys, if it is time.
    fn report(&self, reports: &mut Interval) -> Result<(), Failure> {
        use std::task::{Context, Poll, Waker};
        match reports.poll_tick(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(_) => write(format!("{}\n", self.total).as_bytes()),
            Poll::Pending => Ok(()),
        }
    }

    /// The changes of one revision become one transaction, unless they are too many for one.
    async fn apply(&mut self, events: Vec<Event>) -> Result<(), Failure> {
        let mut ops: Vec<Op> = Vec::new();
        let mut last_revision = 0;
        for event in events {
            let is_delete = event.r#type() == EventType::Delete;
            let kv = event.kv.unwrap_or_default();
            let is_next = last_revision != 0 && kv.mod_revision > last_revision;
            if is_next || ops.len() == self.ops_max {
                self.commit(std::mem::take(&mut ops)).await?;
            }
            last_revision = kv.mod_revision;
            let key = self.renamed(&kv.key);
            ops.push(if is_delete { Delete::new(key).into() } else { Put::new(key, kv.value).into() });
            self.total += 1;
        }
        self.commit(ops).await
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<(), Failure> {
        if !ops.is_empty() {
            self.target.txn(Txn::new().then(ops)).await?;
        }
        Ok(())
    }

    /// The key at the destination.
    fn renamed(&self, key: &Bytes) -> Bytes {
        match key.strip_prefix(self.prefix.as_bytes()) {
            Some(rest) => [self.target_prefix.as_bytes(), rest].concat().into(),
            None => key.clone(),
        }
    }
}
