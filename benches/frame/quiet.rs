//! Whether somebody else works on this machine.

use std::time::{Duration, Instant};

/// `/proc` counts in these.
const TICK: Duration = Duration::from_millis(10);
/// Share of all cores that others may take in a sample that counts.
const ALLOWED: f64 = 0.04;
/// How long a machine may take to become quiet.
const PATIENCE: Duration = Duration::from_mins(3);

/// CPU time of the whole machine and of named processes, at one moment.
pub(crate) struct Moment {
    at: Instant,
    all: Duration,
    ours: Duration,
}

impl Moment {
    /// Of this process and `others`.
    pub(crate) fn now(others: &[u32]) -> Self {
        let stat = std::fs::read_to_string("/proc/stat").expect("Linux");
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
        // user, nice, system, -, -, irq, softirq, steal
        let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|i| ticks.get(*i)).sum();
        let ours = others.iter().map(ToString::to_string).chain(["self".to_owned()]).map(|id| of_process(&id)).sum();
        Self { at: Instant::now(), all: TICK * u32::try_from(busy).unwrap_or(u32::MAX), ours }
    }

    /// Share of all cores that others took since then.
    pub(crate) fn foreign(&self, others: &[u32]) -> f64 {
        let now = Self::now(others);
        let (all, ours) = (now.all.saturating_sub(self.all), now.ours.saturating_sub(self.ours));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // Both counts are rounded.
        let others = all.saturating_sub(ours).saturating_sub(TICK * 2);
        others.as_secs_f64() / ((now.at - self.at).as_secs_f64() * cores as f64).max(1e-9)
    }
}

/// Processor time of this process so far, user and system, with that of its children that have ended.
pub(crate) fn spent() -> Duration {
    of_process("self")
}

fn of_process(id: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name may hold spaces and ends with a parenthesis; user and system time are the 14th and 15th field, those of
    // children that have ended the two after.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u32 = fields.skip(11).take(4).filter_map(|n| n.parse::<u32>().ok()).sum();
    TICK * ticks
}

/// Whether a sample counts in which others took this share.
pub(crate) fn spoilt(foreign: f64) -> bool {
    foreign > ALLOWED
}

/// How often a spoilt sample is tried again.
const RETRIES: usize = 5;

/// A sample in which nobody else worked, if one can be had; counts those that were thrown away. `others` are processes
/// that belong to the sample.
pub(crate) fn sample(name: &str, others: &[u32], spoilt_ones: &mut usize, mut once: impl FnMut() -> f64) -> f64 {
    for _ in 0..RETRIES {
        let before = Moment::now(others);
        let value = once();
        let foreign = before.foreign(others);
        if !spoilt(foreign) {
            return value;
        }
        *spoilt_ones += 1;
        super::report::say(&format!("{name}: others took {:.0} % of the machine, measured again", 100.0 * foreign));
    }
    once()
}

/// Waits until nobody else works. Returns the share of others that is left.
pub(crate) fn wait() -> f64 {
    let start = Instant::now();
    loop {
        let before = Moment::now(&[]);
        std::thread::sleep(Duration::from_secs(1));
        let foreign = before.foreign(&[]);
        if !spoilt(foreign) || start.elapsed() > PATIENCE {
            return foreign;
        }
    }
}
