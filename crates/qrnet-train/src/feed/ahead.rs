//! Threads that prepare batches ahead of the training step.

use std::thread;
use std::time::{Duration, Instant};

use blocks::text::tokenizer::QueryTokenizer;
use crossbeam_channel::{Receiver, bounded};
use qrnet::plan::CanvasPlan;

use super::Feed;
use crate::batch::{Collator, Prepared};
use crate::error::{Error, Result};

/// Batches in order from threads of their own.
pub struct Ahead {
    /// One channel a thread; batch `n` comes from channel `n % threads`.
    channels: Vec<Receiver<Result<Prepared>>>,
    next: u64,
}

/// Batches that each thread holds ready.
const READY: usize = 2;

impl Ahead {
    /// Starts `threads` threads that prepare batches `from` to `to`. They end when the batches are taken or when this
    /// value is dropped. `plans` holds every canvas that the recipe names, or the model's alone.
    pub fn start<'scope, 'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        feed: &'env Feed,
        (plans, tokenizer): (&'env [CanvasPlan], &'env QueryTokenizer),
        batches: std::ops::Range<u64>,
        threads: usize,
    ) -> Self {
        let threads = threads.max(1) as u64;
        let channels = (0..threads)
            .map(|thread| {
                let (sender, receiver) = bounded(READY);
                let batches = batches.clone();
                scope.spawn(move || {
                    let mut collator = Collator::with_plans(plans, tokenizer);
                    for number in batches.filter(|number| number % threads == thread) {
                        let batch = match &mut collator {
                            Ok(collator) => feed.prepare(number, collator),
                            Err(error) => Err(Error::Unsupported(error.to_string())),
                        };
                        if sender.send(batch).is_err() {
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        Self { channels, next: batches.start }
    }

    /// The next batch, and how long it was waited for.
    ///
    /// # Errors
    /// An example cannot be read, or all batches were taken.
    pub fn take(&mut self) -> Result<(Prepared, Duration)> {
        let start = Instant::now();
        let channel = &self.channels[(self.next % self.channels.len() as u64) as usize];
        let batch = channel.recv().map_err(|_| Error::Unsupported("the thread that prepares data ended".into()))??;
        self.next += 1;
        Ok((batch, start.elapsed()))
    }
}
