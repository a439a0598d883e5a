//! Pages for those who look into a running member: `/debug/vars`, and `/debug/pprof/` where it is switched on.
//!
//! Go's profiles are made by its runtime. What the kernel knows of this process is shown in their place, and for the
//! rest the answer names the tool that does it.

use std::fmt::Write as _;
use std::fs;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::{JSON, Site, TEXT, not_found, plain, typed};
use crate::metrics::{ProcessMemory, open_file_limit};

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

impl Site {
    /// Answers below `/debug/`.
    pub(super) fn debug(&self, head: &Parts) -> Response<Bytes> {
        let path = head.uri.path();
        match path.strip_prefix("/debug/pprof") {
            None if path == "/debug/vars" => self.variables(),
            Some(page) if self.options.profiles => profile(page.trim_start_matches('/')),
            None | Some(_) => not_found(),
        }
    }

    /// What Go's `expvar` shows, as far as it has a meaning here.
    fn variables(&self) -> Response<Bytes> {
        let report = self.link.api().report();
        let id = self.link.identity().member_id;
        let state = match (report.is_leader, report.leader) {
            (true, _) => "StateLeader",
            (false, _) => "StateFollower",
        };
        let memory = ProcessMemory::read();
        let status = json!({
            "id": format!("{id:x}"),
            "term": report.raft_term,
            "commit": report.raft_committed,
            "lead": format!("{:x}", report.leader),
            "raftState": state,
            "applied": report.raft_applied,
            "progress": {},
            "leadtransferee": "0",
        });
        let arguments: Vec<String> = std::env::args().collect();
        let memory = json!({
            "Alloc": memory.anonymous,
            "HeapAlloc": memory.anonymous,
            "HeapSys": memory.data,
            "Sys": memory.virtual_size,
        });
        let text = [
            ("cmdline", Value::from(arguments)),
            ("file_descriptor_limit", Value::from(open_file_limit().unwrap_or(0))),
            ("memstats", memory),
            ("raft.status", status),
        ]
        .map(|(name, value)| format!("\"{name}\": {value}"))
        .join(",\n");
        let mut response = typed(JSON, format!("{{\n{text}\n}}\n"));
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        response
    }
}

fn profile(page: &str) -> Response<Bytes> {
    let process = std::process::id();
    match page {
        "" => typed(HTML, index()),
        "cmdline" => typed(TEXT, std::env::args().collect::<Vec<_>>().join("\0")),
        "symbol" => typed(TEXT, "num_symbols: 0\n"),
        "goroutine" | "threadcreate" => typed(TEXT, threads()),
        "heap" => typed(TEXT, memory()),
        "profile" | "trace" => unsupported(&format!(
            "This program does not sample itself.\n\
             On its machine: perf record --call-graph dwarf -p {process} -- sleep 30\n"
        )),
        "allocs" => {
            unsupported("The allocator keeps no record of who allocates; see heap for the amounts.\n")
        }
        "block" | "mutex" => unsupported(&format!(
            "Waiting is not recorded.\nOn its machine: perf trace --summary -p {process} -- sleep 30\n"
        )),
        _ => plain(StatusCode::NOT_FOUND, "Unknown profile\n"),
    }
}

fn unsupported(text: &str) -> Response<Bytes> {
    plain(StatusCode::NOT_IMPLEMENTED, text.to_owned())
}

fn index() -> String {
    let pages = ["cmdline", "goroutine", "heap", "threadcreate"];
    let links: String = pages.iter().map(|page| format!("<li><a href=\"{page}\">{page}</a></li>")).collect();
    format!("<html><head><title>/debug/pprof/</title></head><body><ul>{links}</ul></body></html>\n")
}

/// The threads with their names, states and processor time.
fn threads() -> String {
    let mut rows = Vec::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        // One that ends meanwhile is left out.
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
        let Some((start, rest)) = stat.rsplit_once(')') else { continue };
        let name = start.split_once('(').map_or("", |(_, name)| name).to_owned();
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        // A tick is ten milliseconds.
        rows.push((name, fields.first().copied().unwrap_or("?").to_owned(), (ticks(11) + ticks(12)) * 10));
    }
    rows.sort();
    let mut text = format!("threads: {}\n", rows.len());
    for (name, state, milliseconds) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:16} {state} {milliseconds} ms");
    }
    text
}

fn memory() -> String {
    let ProcessMemory { anonymous, data, stack, virtual_size, threads } = ProcessMemory::read();
    format!(
        "anonymous memory in RAM: {anonymous}\ndata segments: {data}\nfirst stack: {stack}\n\
         mapped: {virtual_size}\nthreads: {threads}\n"
    )
}
