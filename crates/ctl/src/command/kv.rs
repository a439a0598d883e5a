//! `get`, `put`, `del` and `compaction`; the first three also as operations of transactions.

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use etched_client::proto::{SortOrder, SortTarget};
use etched_client::{Delete, Get, Keys, Put};
use etched_proto::etcdserverpb::RangeResponse;

use super::{Context, lease_id, write};
use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::output::{Answer, Format};
use crate::text::number::parse_int;
use crate::text::quote::quote;

pub(super) async fn get(context: &Context) -> Result<(), Failure> {
    let args = &context.args;
    let get = get_of(args)?;
    if args.bool("count-only") && context.style.format != Format::Fields {
        return Err(Failure::arguments("--count-only is only for `--write-out=fields`"));
    }
    let values_only = args.bool("print-value-only");
    if values_only && context.style.format != Format::Simple {
        return Err(Failure::arguments("print-value-only is only for `--write-out=simple`"));
    }
    let client = context.client().await?;
    if !args.bool("stream") {
        let response = client.get(get).await?;
        return context.print(&Answer::Get { response, values_only });
    }
    let mut chunks = client.range_stream(get).await?;
    let mut whole = RangeResponse::default();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if context.style.format == Format::Simple {
            context.print(&Answer::Get { response: chunk, values_only })?;
        } else {
            let kvs = std::mem::take(&mut whole.kvs);
            whole = chunk;
            whole.kvs.splice(..0, kvs);
        }
    }
    context.print(&Answer::Get { response: whole, values_only })
}

/// The read that arguments and flags ask for.
pub(super) fn get_of(args: &Args) -> Result<Get, Failure> {
    let words = args.all();
    if words.is_empty() {
        return Err(Failure::arguments(
            "get command needs one argument as key and an optional argument as range_end",
        ));
    }
    if args.bool("keys-only") && args.bool("count-only") {
        return Err(Failure::arguments(
            "`--keys-only` and `--count-only` cannot be set at the same time, choose one",
        ));
    }
    let mut get = Get::new(keys_of(args, &words)?);
    match args.text("consistency") {
        "s" => get = get.serializable(),
        "" | "l" => {}
        other => {
            return Err(Failure::new(
                Exit::Unsupported,
                format!("unknown consistency flag {}", quote(other.as_bytes())),
            ));
        }
    }
    get = sorted(get, args.text("order"), args.text("sort-by"))?;
    get = bounded(get, args)?;
    if args.bool("keys-only") {
        get = get.keys_only();
    }
    if args.bool("count-only") {
        get = get.count_only();
    }
    Ok(get.limit(args.int("limit")).revision(args.int("rev")))
}

fn sorted(get: Get, order: &str, target: &str) -> Result<Get, Failure> {
    let target_of = match target.to_uppercase().as_str() {
        "CREATE" => Some(SortTarget::Create),
        "KEY" => Some(SortTarget::Key),
        "MODIFY" => Some(SortTarget::Mod),
        "VALUE" => Some(SortTarget::Value),
        "VERSION" => Some(SortTarget::Version),
        "" => None,
        _ => return Err(Failure::new(Exit::Unsupported, format!("bad sort target {target}"))),
    };
    let order_of = match order.to_uppercase().as_str() {
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        "" => SortOrder::None,
        _ => return Err(Failure::new(Exit::Unsupported, format!("bad sort order {order}"))),
    };
    Ok(get.sort(target_of.unwrap_or(SortTarget::Key), order_of))
}

fn bounded(get: Get, args: &Args) -> Result<Get, Failure> {
    let bounds = |name: &str, min: &str, max: &str| {
        let (min, max) = (args.int(min), args.int(max));
        let text = || format!("getMin{name}Rev(={min}) > getMax{name}Rev(={max})");
        if max > 0 && min > max { Err(Failure::new(Exit::Unsupported, text())) } else { Ok((min, max)) }
    };
    let (create_min, create_max) = bounds("Create", "min-create-rev", "max-create-rev")?;
    let (mod_min, mod_max) = bounds("Mod", "min-mod-rev", "max-mod-rev")?;
    let get = get.create_revision_min(create_min).create_revision_max(create_max);
    Ok(get.mod_revision_min(mod_min).mod_revision_max(mod_max))
}

/// The keys that arguments and the flags `--prefix` and `--from-key` name.
fn keys_of(args: &Args, words: &[Vec<u8>]) -> Result<Keys, Failure> {
    let (prefix, from_key) = (args.bool("prefix"), args.bool("from-key"));
    if prefix && from_key {
        return Err(Failure::arguments(
            "`--prefix` and `--from-key` cannot be set at the same time, choose one",
        ));
    }
    let key = words[0].clone();
    match words.get(1) {
        Some(_) if prefix || from_key => {
            let text = "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";
            Err(Failure::arguments(text))
        }
        Some(end) => Ok(Keys::between(key, end.clone())),
        None if prefix => Ok(Keys::prefix(key)),
        None if from_key => Ok(Keys::from_key(key)),
        None => Ok(Keys::one(key)),
    }
}

pub(super) async fn put(context: &Context) -> Result<(), Failure> {
    let put = put_of(&context.args, || {
        let mut value = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut value)
            .map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
        Ok(value)
    })?;
    let response = context.client().await?.put(put).await?;
    context.print(&Answer::Put(response))
}

/// The write that arguments and flags ask for; a missing value is read.
pub(super) fn put_of(
    args: &Args,
    read_value: impl FnOnce() -> Result<Vec<u8>, Failure>,
) -> Result<Put, Failure> {
    let missing = || Failure::arguments("put command needs 1 argument and input from stdin or 2 arguments");
    let words = args.all();
    let key = Bytes::from(words.first().ok_or_else(missing)?.clone());
    let ignore_value = args.bool("ignore-value");
    let value = match words.get(1) {
        Some(_) if ignore_value => {
            return Err(Failure::arguments("put command needs only 1 argument when 'ignore-value' is set"));
        }
        Some(value) => value.clone(),
        None if ignore_value => Vec::new(),
        None => Some(read_value()?).filter(|value| !value.is_empty()).ok_or_else(missing)?,
    };
    let mut put = Put::new(key, value);
    if args.is_given("lease") {
        put = put.lease(lease_id(args.text("lease").as_bytes(), "lease ID")?);
    }
    if args.bool("prev-kv") {
        put = put.prev_kv();
    }
    if ignore_value {
        put = put.ignore_value();
    }
    if args.bool("ignore-lease") {
        put = put.ignore_lease();
    }
    Ok(put)
}

pub(super) async fn del(context: &Context) -> Result<(), Failure> {
    let args = &context.args;
    let del = del_of(args)?;
    let words = args.all();
    if let (Some(end), false) = (words.get(1), args.bool("range")) {
        eprintln!(
            "Warning: Keys between {} and {} will be deleted. Please interrupt the command within next 2 seconds to \
             cancel. You can provide `--range` flag to avoid the delay.",
            quote(&words[0]),
            quote(end)
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let response = context.client().await?.delete(del).await?;
    context.print(&Answer::Del(response))
}

/// The deletion that arguments and flags ask for.
pub(super) fn del_of(args: &Args) -> Result<Delete, Failure> {
    let words = args.all();
    if words.is_empty() {
        return Err(Failure::arguments(
            "del command needs one argument as key and an optional argument as range_end",
        ));
    }
    let delete = Delete::new(keys_of(args, &words)?);
    Ok(if args.bool("prev-kv") { delete.prev_kv() } else { delete })
}

pub(super) async fn compaction(context: &Context) -> Result<(), Failure> {
    let words = context.args.all();
    let [revision] = words.as_slice() else {
        return Err(Failure::arguments("compaction command needs 1 argument"));
    };
    let revision = parse_int(revision, 10).map_err(|why| Failure::new(Exit::Request, why))?;
    let client = context.client().await?;
    if context.args.bool("physical") {
        client.compact_physical(revision).await?;
    } else {
        client.compact(revision).await?;
    }
    write(format!("compacted revision {revision}\n").as_bytes())
}
