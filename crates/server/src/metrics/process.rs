//! What the kernel says of this process: files of `/proc` and resource limits.

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};

use super::exposition::{Exposition, Type};

/// Clock ticks in a second, in which the kernel counts processor time for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Raises the limit on open files as far as this process may, since each connection is one.
/// Where that is refused, the limit stays.
pub fn raise_open_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// Connections that clients may have at a time: as many as files may be open, but for those that the member needs.
pub(crate) fn connections_max() -> usize {
    const FILES_OF_THE_MEMBER: u64 = 150;
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(FILES_OF_THE_MEMBER)).unwrap_or(usize::MAX).max(1)
}

/// How many files this process may have open; `None` if that is not limited.
pub(crate) fn open_file_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Adds the families of this process; what cannot be read is left out.
pub(super) fn render(exposition: &mut Exposition) {
    let mut gauge = |name, help, value: Option<String>| {
        if let Some(value) = value {
            exposition.sample((name, Type::Gauge, help), &[], value);
        }
    };
    let open_files = fs::read_dir("/proc/self/fd").map(|entries| entries.count().to_string()).ok();
    let file_limit = open_file_limit().map(|limit| limit.to_string());
    gauge("os_fd_used", "File descriptors in use.", open_files.clone());
    gauge("os_fd_limit", "File descriptors that may be in use.", file_limit.clone());
    gauge("process_open_fds", "File descriptors in use.", open_files);
    gauge("process_max_fds", "File descriptors that may be in use.", file_limit);

    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let page_bytes = rustix::param::page_size() as u64;
    let mut pages = statm.split_ascii_whitespace().map(|field| field.parse::<u64>().ok());
    let mut bytes = || pages.next().flatten().map(|pages| (pages * page_bytes).to_string());
    gauge("process_virtual_memory_bytes", "Virtual memory in bytes.", bytes());
    gauge("process_resident_memory_bytes", "Memory in RAM in bytes.", bytes());
    let address_space = getrlimit(Resource::As).current.unwrap_or(u64::MAX);
    gauge(
        "process_virtual_memory_max_bytes",
        "Virtual memory that may be used, in bytes.",
        Some(address_space.to_string()),
    );
    render_times(exposition);
    render_network(exposition);
}

fn render_times(exposition: &mut Exposition) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program may hold anything; fields are counted from behind its closing parenthesis.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_ascii_whitespace().collect());
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (ticks(14), ticks(15)) {
        let name = ("process_cpu_seconds_total", Type::Counter, "Processor time used, in seconds.");
        exposition.sample(name, &[], (user + system) / TICKS_PER_SECOND);
    }
    let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
        line.trim().parse::<f64>().ok()
    });
    if let (Some(boot), Some(start)) = (boot, ticks(22)) {
        let name = ("process_start_time_seconds", Type::Gauge, "When the process started, in Unix time.");
        exposition.sample(name, &[], boot + start / TICKS_PER_SECOND);
    }
}

fn render_network(exposition: &mut Exposition) {
    let netstat = fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    let mut rows = netstat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (Some(names), Some(values)) = (rows.next(), rows.next()) else { return };
    let columns: Vec<_> = names.split_ascii_whitespace().zip(values.split_ascii_whitespace()).collect();
    for (column, family, help) in [
        ("InOctets", "process_network_receive_bytes_total", "Bytes received over the network."),
        ("OutOctets", "process_network_transmit_bytes_total", "Bytes sent over the network."),
    ] {
        if let Some((_, value)) = columns.iter().find(|(name, _)| *name == column) {
            exposition.sample((family, Type::Counter, help), &[], value);
        }
    }
}
