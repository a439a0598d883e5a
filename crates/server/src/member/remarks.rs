//! Lines about what took long or failed while it was applied or read.

use std::time::Duration;

use bytes::Bytes;
use etched_replica::Remark;
use etched_state_machine::Refusal;

use crate::grpc::status::message_of;
use crate::log;
use crate::logging::entry;

/// Writes the line of a remark; gives whether it is one of something slow.
pub(super) fn write(remark: &Remark, expected: Duration) -> bool {
    match remark {
        Remark::SlowEntry { entry, took_ns, refusal } => {
            slow_entry(entry, Duration::from_nanos(*took_ns), expected, *refusal);
            true
        }
        Remark::FailedEntry { entry: bytes, took_ns, refusal } => {
            log!(
                Warn, "failed to apply request",
                "took" => Duration::from_nanos(*took_ns), "request" => entry::entry(bytes), "response" => "",
                "error" => message_of(&(*refusal).into())
            );
            false
        }
        Remark::SlowRange { query, took_ns, waited_ns, records, bytes } => {
            let response = records
                .map_or(String::new(), |records| format!("range_response_count:{records} size:{bytes}"));
            let (key, range_end) = query.range.to_wire();
            let request = entry::range_parts(&key, &range_end, query.limit, query.revision, false);
            slow_read("read-only range ", request, response, [*took_ns, *waited_ns], expected);
            true
        }
        Remark::SlowReadTxn { operations: (compares, success, failure), took_ns, waited_ns } => {
            let request = format!("compare:<{compares}> success:<{success}> failure:<{failure}>");
            slow_read("read-only txn ", request, String::new(), [*took_ns, *waited_ns], expected);
            true
        }
    }
}

fn slow_entry(bytes: &Bytes, took: Duration, expected: Duration, refusal: Option<Refusal>) {
    let request = entry::entry(bytes);
    match refusal {
        Some(refusal) => log!(
            Warn, "apply request took too long",
            "took" => took, "expected-duration" => expected, "prefix" => "", "request" => request,
            "response" => "", "error" => message_of(&refusal.into()), "slow-phase" => "apply"
        ),
        None => log!(
            Warn, "apply request took too long",
            "took" => took, "expected-duration" => expected, "prefix" => "", "request" => request,
            "response" => "", "slow-phase" => "apply"
        ),
    }
}

/// `took` and the part of it that was waiting, in nanoseconds.
fn slow_read(prefix: &str, request: String, response: String, times: [u64; 2], expected: Duration) {
    let [took, waited] = times.map(Duration::from_nanos);
    let phase = if waited > took / 2 { "agreement" } else { "read" };
    log!(
        Warn, "apply request took too long",
        "took" => took, "expected-duration" => expected, "prefix" => prefix, "request" => request,
        "response" => response, "slow-phase" => phase, "waited" => waited
    );
}
