//! What `/proc` tells about processes and the machine.

use std::fs::read_to_string;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The processor time that a process has used, all its threads together, ended ones too. Steps of 10 ms.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).context("reading a process's stat")?;
    let (_, fields) = stat.rsplit_once(')').context("a stat line has a name in parentheses")?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let mut next = || -> Result<u64> { Ok(times.next().context("a stat line has times")?.parse()?) };
    Ok(of_ticks(next()? + next()?))
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// The processor time that all processes of the machine have used.
pub(crate) fn machine_cpu() -> Result<Duration> {
    let stat = read_to_string("/proc/stat")?;
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1)
        .flat_map(str::parse)
        .collect();
    // user, nice, system, idle, iowait, irq, softirq; what the host steals is not ours to count.
    let busy = fields.iter().enumerate().filter(|(index, _)| matches!(index, 0 | 1 | 2 | 5 | 6));
    Ok(of_ticks(busy.map(|(_, ticks)| ticks).sum()))
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All of it, mapped files too.
    pub(crate) resident: u64,
    /// The part that no file stands behind.
    pub(crate) anonymous: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = read_to_string(format!("/proc/{pid}/status")).context("reading a process's status")?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a field of status")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    };
    Ok(Memory { resident: field("VmRSS:")?, anonymous: field("RssAnon:")?, peak: field("VmHWM:")? })
}

/// The load average of the last minute.
pub(crate) fn load_average() -> Result<f64> {
    let text = read_to_string("/proc/loadavg")?;
    Ok(text.split_ascii_whitespace().next().context("loadavg has fields")?.parse()?)
}

/// The machine in a few words: processors, their model, memory.
pub(crate) fn machine() -> Result<String> {
    let cpuinfo = read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let meminfo = read_to_string("/proc/meminfo")?;
    let kilobytes: u64 = meminfo.split_ascii_whitespace().nth(1).context("meminfo has a total")?.parse()?;
    let model = model.map_or("unknown processor", |(_, model)| model);
    Ok(format!("{cores} x {model}, {} GB", kilobytes / 1_000_000))
}

/// Bytes of all files below a directory, as they are allocated on disk.
pub(crate) fn directory_size(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut total = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += if metadata.is_dir() { directory_size(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_the_machine() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.resident >= memory.anonymous && memory.anonymous > 0);
        assert!(memory.peak >= memory.resident);
        assert!(machine_cpu().unwrap() >= cpu(std::process::id()).unwrap());
        assert!(machine().unwrap().contains(" GB"));
    }
}
