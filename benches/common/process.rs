//! What a process has taken so far, as `/proc` says it: for benches that watch a program from outside.

/// Seconds of processor time, its own and the system's for it.
pub(crate) fn processor_seconds(pid: u32) -> f64 {
    /// So many ticks make a second.
    const TICKS: f64 = 100.0;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].iter().filter_map(|k| fields.get(*k)?.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// Memory by the name of its line in `status` (`VmRSS:` what is resident, `VmHWM:` the most that was), MiB; not a number where there is
/// no such process.
pub(crate) fn memory(pid: u32, name: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}
