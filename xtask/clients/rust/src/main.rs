//! What an application does with the crate `etcd-client`, against the server whose address is the only argument.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, EventType, GetOptions, LeaseGrantOptions,
    LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, WatchOptions,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).context("an address is the only argument")?;
    let mut client = Client::connect([address], None).await?;
    keys(&mut client).await.context("keys")?;
    transactions(&mut client).await.context("transactions")?;
    watches(&mut client).await.context("watches")?;
    leases(&mut client).await.context("leases")?;
    maintenance(&mut client).await.context("maintenance")?;
    Ok(())
}

async fn keys(client: &mut Client) -> Result<()> {
    for number in 0..10 {
        client.put(format!("k/{number}"), format!("v{number}"), None).await?;
    }
    let answer = client.put("k/3", "changed", Some(PutOptions::new().with_prev_key())).await?;
    ensure!(answer.prev_key().is_some_and(|kv| kv.value() == b"v3"), "the previous value is told");
    let answer = client.get("k/", Some(GetOptions::new().with_prefix().with_limit(4))).await?;
    ensure!(answer.kvs().len() == 4 && answer.more() && answer.count() == 10, "a limited range: {answer:?}");
    let options = GetOptions::new().with_prefix().with_sort(SortTarget::Mod, SortOrder::Descend);
    let answer = client.get("k/", Some(options)).await?;
    let first = answer.kvs().first().context("a sorted range has keys")?;
    ensure!(first.key() == b"k/3" && first.version() == 2, "the newest key comes first");
    let old = GetOptions::new().with_revision(first.mod_revision() - 1);
    let answer = client.get("k/3", Some(old)).await?;
    ensure!(answer.kvs()[0].value() == b"v3", "the past is readable");
    let options = DeleteOptions::new().with_prefix().with_prev_key();
    let answer = client.delete("k/", Some(options)).await?;
    ensure!(answer.deleted() == 10 && answer.prev_kvs().len() == 10, "all keys were deleted");
    let error = client.get("", None).await.err().context("an empty key is refused")?;
    ensure!(error.to_string().contains("etcdserver: key is not provided"), "{error}");
    Ok(())
}

async fn transactions(client: &mut Client) -> Result<()> {
    let txn = |expected: &str| {
        Txn::new()
            .when([Compare::value("t", CompareOp::Equal, expected)])
            .and_then([TxnOp::put("t", "second", None), TxnOp::get("t", None)])
            .or_else([TxnOp::get("t", None)])
    };
    client.put("t", "first", None).await?;
    let answer = client.txn(txn("first")).await?;
    ensure!(answer.succeeded(), "the compare holds");
    let responses = answer.op_responses();
    let Some(TxnOpResponse::Get(get)) = responses.get(1) else { anyhow::bail!("{responses:?}") };
    ensure!(get.kvs()[0].value() == b"second", "a transaction sees its own write");
    ensure!(!client.txn(txn("first")).await?.succeeded(), "the compare holds no more");
    Ok(())
}

async fn watches(client: &mut Client) -> Result<()> {
    let revision = client.put("w/0", "past", None).await?.header().context("a header")?.revision();
    let options = WatchOptions::new().with_prefix().with_start_revision(revision).with_prev_key();
    let mut stream = client.watch("w/", Some(options)).await?;
    client.put("w/0", "present", None).await?;
    client.delete("w/0", None).await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let next = tokio::time::timeout(Duration::from_secs(10), stream.message()).await?;
        let answer = next?.context("the watch goes on")?;
        ensure!(!answer.canceled(), "the watch was cancelled: {}", answer.cancel_reason());
        for event in answer.events() {
            let value = event.kv().map(|kv| String::from_utf8_lossy(kv.value()).into_owned());
            let before = event.prev_kv().map(|kv| String::from_utf8_lossy(kv.value()).into_owned());
            seen.push((event.event_type(), value.unwrap_or_default(), before.unwrap_or_default()));
        }
    }
    let expected = [
        (EventType::Put, "past".to_owned(), String::new()),
        (EventType::Put, "present".to_owned(), "past".to_owned()),
        (EventType::Delete, String::new(), "present".to_owned()),
    ];
    ensure!(seen == expected, "{seen:?}");
    Ok(())
}

async fn leases(client: &mut Client) -> Result<()> {
    let granted = client.lease_grant(600, Some(LeaseGrantOptions::new().with_id(77))).await?;
    ensure!(granted.id() == 77 && granted.ttl() == 600, "{granted:?}");
    client.put("l", "leased", Some(PutOptions::new().with_lease(77))).await?;
    let (mut keeper, mut answers) = client.lease_keep_alive(77).await?;
    keeper.keep_alive().await?;
    let answer = answers.message().await?.context("a keep-alive is answered")?;
    ensure!(answer.ttl() == 600, "{answer:?}");
    let answer = client.lease_time_to_live(77, Some(LeaseTimeToLiveOptions::new().with_keys())).await?;
    ensure!(answer.keys() == [b"l".to_vec()] && answer.granted_ttl() == 600, "{answer:?}");
    ensure!(client.leases().await?.leases().iter().any(|lease| lease.id() == 77), "the lease is listed");
    client.lease_revoke(77).await?;
    ensure!(client.get("l", None).await?.kvs().is_empty(), "a revoked lease takes its keys along");
    let error = client.lease_revoke(77).await.err().context("an unknown lease is refused")?;
    ensure!(error.to_string().contains("etcdserver: requested lease not found"), "{error}");
    Ok(())
}

async fn maintenance(client: &mut Client) -> Result<()> {
    let status = client.status().await?;
    ensure!(status.version().starts_with("3.") && status.leader() != 0, "{status:?}");
    let revision = client.get("t", None).await?.header().context("a header")?.revision();
    client.compact(revision, None).await?;
    let old = GetOptions::new().with_revision(revision - 1);
    let error = client.get("t", Some(old)).await.err().context("what is compacted is refused")?;
    ensure!(error.to_string().contains("required revision has been compacted"), "{error}");
    ensure!(client.hash_kv(0).await?.hash() != 0, "there is something to hash");
    let members = client.member_list().await?;
    ensure!(members.members().len() == 1 && members.members()[0].name() == "one", "{members:?}");
    client.defragment().await?;
    Ok(())
}
