//! What is seen while a model comes: a bar on a terminal, a line for every tenth elsewhere.

use std::collections::BTreeMap;

use hub::{Event, Repository};
use indicatif::{ProgressBar, ProgressStyle};

use crate::logging;

/// Lines that are written where there is no terminal.
const LINES: u64 = 10;

/// Shows events; what it draws goes with it.
pub(super) struct Display {
    name: String,
    total: u64,
    /// How much is there, by file.
    files: BTreeMap<String, u64>,
    told: u64,
    bar: Option<ProgressBar>,
}

impl Display {
    pub(super) fn new(repository: &Repository) -> Self {
        Self { name: repository.to_string(), total: 0, files: BTreeMap::new(), told: 0, bar: None }
    }

    pub(super) fn show(&mut self, event: Event<'_>) {
        match event {
            Event::OtherProcess => tracing::info!("{}: another process fetches it, waiting for that", self.name),
            Event::InUse => tracing::info!("{}: another process reads the files it has, waiting for that", self.name),
            Event::Plan { bytes } => {
                self.total = bytes;
                tracing::info!("{}: {}", self.name, hub::bytes(bytes));
                let template =
                    "{bar:30} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left, {wide_msg}";
                self.bar = logging::bars().map(|bars| {
                    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
                    bars.add(ProgressBar::new(bytes).with_style(style))
                });
            }
            Event::Position { name, bytes } => self.move_on(name, bytes),
            Event::Retry { reason, wait } => {
                let wait = wait.as_secs_f64();
                tracing::warn!("{}: {reason}; again in {wait:.0} s", self.name);
            }
        }
    }

    fn move_on(&mut self, file: &str, bytes: u64) {
        match self.files.get_mut(file) {
            Some(there) => *there = bytes,
            None => {
                self.files.insert(file.to_owned(), bytes);
            }
        }
        // What comes before the plan is small.
        if self.total == 0 {
            return;
        }
        let there: u64 = self.files.values().sum();
        if let Some(bar) = &self.bar {
            bar.set_message(file.to_owned());
            bar.set_position(there);
            return;
        }
        let lines = (u128::from(there.min(self.total)) * u128::from(LINES) / u128::from(self.total)) as u64;
        if lines > self.told {
            self.told = lines;
            let (there, total) = (hub::bytes(there), hub::bytes(self.total));
            tracing::info!("{}: {there} of {total}", self.name);
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
