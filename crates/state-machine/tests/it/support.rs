//! A machine with its store, and short ways to say commands.

use bytes::Bytes;
use etched_backend::{Backend, Durability, MemoryBackend};
use etched_key_range::KeyRange;
use etched_mvcc::{RangeOutput, RangeQuery};
use etched_proto::mvccpb::KeyValue;
use etched_state_machine::{
    Applied, Command, Compare, CompareTarget, DeleteRange, Header, Options, Outcome, Put, Range, Refusal,
    StateMachine, Txn, TxnOp, schema,
};
use prost::Message;

/// One member, fed by hand.
pub(crate) struct Member {
    pub(crate) backend: MemoryBackend,
    pub(crate) machine: StateMachine,
}

impl Member {
    pub(crate) fn new() -> Self {
        Self::with_options(options())
    }

    pub(crate) fn with_options(options: Options) -> Self {
        let backend = MemoryBackend::new();
        let machine = StateMachine::restore(&backend.view().unwrap(), options).unwrap();
        Self { backend, machine }
    }

    /// What is left of the member after a crash.
    pub(crate) fn restarted(self) -> Self {
        let machine = StateMachine::restore(&self.backend.view().unwrap(), options()).unwrap();
        Self { backend: self.backend, machine }
    }

    pub(crate) fn commit(&mut self) {
        let batch = self.machine.take_batch();
        self.backend.commit(&batch, Durability::Synced).unwrap();
        self.machine.on_committed(self.machine.revision());
    }

    pub(crate) fn apply_entry(&mut self, entry: &Bytes) -> Applied {
        let view = self.backend.view().unwrap();
        let (index, term) = self.machine.applied();
        self.machine.apply(&view, index + 1, term.max(1), entry).unwrap()
    }

    pub(crate) fn apply(&mut self, command: Command) -> Applied {
        let applied = self.apply_entry(&entry(&command));
        assert_eq!(applied.request_id, 42);
        assert_eq!(applied.revision, self.machine.revision());
        applied
    }

    pub(crate) fn run(&mut self, command: Command) -> Result<Outcome, Refusal> {
        self.apply(command).outcome
    }

    /// Runs a command that is not refused.
    pub(crate) fn done(&mut self, command: Command) -> Outcome {
        self.run(command).unwrap()
    }

    pub(crate) fn range(&self, query: RangeQuery) -> RangeOutput {
        self.machine.range(&self.backend.view().unwrap(), &Range::new(query)).unwrap()
    }

    /// All keys as `key=value@create/mod/version/lease`.
    pub(crate) fn dump(&self) -> Vec<String> {
        self.range(RangeQuery::new(KeyRange::all())).records.iter().map(show).collect()
    }
}

pub(crate) fn options() -> Options {
    Options { member_id: 7, value_cache_bytes: 0, ..Options::default() }
}

pub(crate) fn entry(command: &Command) -> Bytes {
    schema::encode(&Header { request_id: 42, ..Header::default() }, command)
}

pub(crate) fn show(record: &Bytes) -> String {
    let kv = KeyValue::decode(record.clone()).unwrap();
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}={}@{}/{}/{}/{}",
        text(&kv.key),
        text(&kv.value),
        kv.create_revision,
        kv.mod_revision,
        kv.version,
        kv.lease
    )
}

pub(crate) fn put_of(key: &str, value: &str) -> Put {
    Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Put::default()
    }
}

pub(crate) fn put(key: &str, value: &str) -> Command {
    Command::Put(put_of(key, value))
}

pub(crate) fn put_leased(key: &str, lease: i64) -> Command {
    Command::Put(Put { lease, ..put_of(key, "") })
}

pub(crate) fn span(key: &str, end: &str) -> KeyRange {
    KeyRange::from_wire(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(end.as_bytes()))
}

pub(crate) fn delete(key: &str, end: &str) -> Command {
    Command::DeleteRange(DeleteRange { range: span(key, end), prev_kv: false })
}

pub(crate) fn op_put(key: &str, value: &str) -> TxnOp {
    TxnOp::Put(put_of(key, value))
}

pub(crate) fn op_delete(key: &str, end: &str) -> TxnOp {
    TxnOp::DeleteRange(DeleteRange { range: span(key, end), prev_kv: true })
}

pub(crate) fn op_range(key: &str, end: &str, revision: i64) -> TxnOp {
    TxnOp::Range(Range::new(RangeQuery { revision, ..RangeQuery::new(span(key, end)) }))
}

pub(crate) fn compare(key: &str, result: i32, target: CompareTarget) -> Compare {
    Compare { range: span(key, ""), result, target }
}

pub(crate) fn txn(compares: Vec<Compare>, success: Vec<TxnOp>, failure: Vec<TxnOp>) -> Txn {
    Txn { compares, success, failure }
}
