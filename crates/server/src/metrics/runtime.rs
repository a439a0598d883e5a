//! The families of Go's runtime, which programs that watch etcd expect.
//!
//! There is no such runtime here: each family shows the nearest thing that the kernel knows of this process, and those
//! about the garbage collector and Go's own allocator are zero. `docs/compat.md` has the list.

use std::fs;

use super::exposition::{Exposition, Type};

/// What `/proc/self/status` says, in bytes (but for threads).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessMemory {
    /// Memory that is no file's and is in RAM: what the allocator holds.
    pub(crate) anonymous: u64,
    /// Data segments.
    pub(crate) data: u64,
    /// The stack of the first thread.
    pub(crate) stack: u64,
    /// All that is mapped.
    pub(crate) virtual_size: u64,
    /// Threads.
    pub(crate) threads: u64,
}

impl ProcessMemory {
    /// As of now; what cannot be read is zero.
    pub(crate) fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        const KIBIBYTE: u64 = 1024;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0)
        };
        Self {
            anonymous: field("RssAnon") * KIBIBYTE,
            data: field("VmData") * KIBIBYTE,
            stack: field("VmStk") * KIBIBYTE,
            virtual_size: field("VmSize") * KIBIBYTE,
            threads: field("Threads"),
        }
    }
}

/// Adds the families.
pub(super) fn render(exposition: &mut Exposition) {
    let memory = ProcessMemory::read();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    exposition.summary("go_gc_duration_seconds", "Pauses of a garbage collector: there is none.", 0, 0);
    let info = ("go_info", Type::Gauge, "What the server is made with.");
    exposition.sample(info, &[("version", concat!("etched ", env!("CARGO_PKG_VERSION")))], 1);
    let none = "Zero: there is no garbage collector and no Go allocator here.";
    let mut sample = |name, kind, help, value: u64| exposition.sample((name, kind, help), &[], value);
    let mut gauge = |name, help, value| sample(name, Type::Gauge, help, value);
    gauge("go_gc_gogc_percent", none, 0);
    gauge("go_gc_gomemlimit_bytes", none, 0);
    gauge("go_goroutines", "Threads.", memory.threads);
    gauge("go_threads", "Threads.", memory.threads);
    gauge("go_sched_gomaxprocs_threads", "Processors that may be used.", processors as u64);
    let anonymous = "Memory in RAM that belongs to no file, in bytes.";
    gauge("go_memstats_alloc_bytes", anonymous, memory.anonymous);
    gauge("go_memstats_heap_alloc_bytes", anonymous, memory.anonymous);
    gauge("go_memstats_heap_inuse_bytes", anonymous, memory.anonymous);
    let idle = memory.data.saturating_sub(memory.anonymous);
    gauge("go_memstats_heap_idle_bytes", "Data segments that are not in RAM, in bytes.", idle);
    gauge("go_memstats_heap_released_bytes", "Data segments that are not in RAM, in bytes.", idle);
    gauge("go_memstats_heap_sys_bytes", "Data segments, in bytes.", memory.data);
    gauge("go_memstats_stack_inuse_bytes", "The first thread's stack, in bytes.", memory.stack);
    gauge("go_memstats_stack_sys_bytes", "The first thread's stack, in bytes.", memory.stack);
    gauge("go_memstats_sys_bytes", "All that is mapped, in bytes.", memory.virtual_size);
    for name in [
        "go_memstats_buck_hash_sys_bytes",
        "go_memstats_gc_sys_bytes",
        "go_memstats_heap_objects",
        "go_memstats_last_gc_time_seconds",
        "go_memstats_mcache_inuse_bytes",
        "go_memstats_mcache_sys_bytes",
        "go_memstats_mspan_inuse_bytes",
        "go_memstats_mspan_sys_bytes",
        "go_memstats_next_gc_bytes",
        "go_memstats_other_sys_bytes",
    ] {
        gauge(name, none, 0);
    }
    for name in ["go_memstats_alloc_bytes_total", "go_memstats_frees_total", "go_memstats_mallocs_total"] {
        sample(name, Type::Counter, none, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_memory_and_threads() {
        let status = "Name:\tetched\nVmSize:\t   2048 kB\nRssAnon:\t     100 kB\nVmData:\t 300 kB\n\
                      VmStk:\t     132 kB\nThreads:\t9\n";
        let memory = ProcessMemory::parse(status);
        assert_eq!((memory.anonymous, memory.data, memory.threads), (102_400, 307_200, 9));
        assert!(ProcessMemory::read().threads > 0);
    }
}
