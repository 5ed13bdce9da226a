//! `--profile`: where the time of a frame goes, as a Chrome trace and as a table.
//!
//! Parts of the work are spans at trace level, in the stage as in the model; they cost nothing while nobody listens.
//! What GStreamer does in its own threads (decoding, encoding) is not among them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Level, Metadata, Subscriber};
use tracing_chrome::{ChromeLayerBuilder, EventOrSpan, FlushGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::error::{Error, Result};

/// A recording that goes on. Dropped, it ends: the trace is written to its end, and the table is said.
pub struct Profile {
    parts: Arc<Mutex<Parts>>,
    began: Instant,
    path: String,
    /// Ends the trace.
    flush: Option<FlushGuard>,
}

/// What a part of the work took.
#[derive(Debug, Clone)]
pub struct PartTime {
    /// The parts around it, from the outermost, and its own name.
    pub path: Vec<String>,
    /// How often it ran.
    pub times: u64,
    /// How long in all, parts inside included.
    pub busy: Duration,
}

/// By path: names of the spans around a part and its own.
type Parts = BTreeMap<Vec<Named>, Part>;

/// Name of a span with its number, where it has one; ordered as first met.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    first_met: usize,
    name: String,
}

/// What is known of a part.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    times: u64,
    busy: Duration,
}

impl Profile {
    /// Begins a recording into `path`, and a layer that makes it.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn start<S>(path: &Path) -> Result<(Self, impl Layer<S>)>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let file = BufWriter::new(File::create(path).map_err(Error::io("create", path))?);
        let name = |item: &EventOrSpan<'_, '_, S>| match item {
            EventOrSpan::Event(event) => event.metadata().name().to_owned(),
            EventOrSpan::Span(span) => {
                let own = span.extensions().get::<Running>().and_then(|running| running.path.last().cloned());
                own.map_or_else(|| span.metadata().name().to_owned(), |named| named.name)
            }
        };
        let (chrome, flush) = ChromeLayerBuilder::new().writer(file).name_fn(Box::new(name)).build();
        let parts = Arc::new(Mutex::new(Parts::new()));
        let totals = Totals { parts: Arc::clone(&parts), names: Mutex::default() };
        let layer = totals.and_then(chrome).with_filter(filter_fn(is_part));
        Ok((Self { parts, began: Instant::now(), path: path.display().to_string(), flush: Some(flush) }, layer))
    }

    /// What has been recorded until now, in the order in which parts were first met.
    pub fn parts(&self) -> Vec<PartTime> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let part = |(path, part): (&Vec<Named>, &Part)| PartTime {
            path: path.iter().map(|named| named.name.clone()).collect(),
            times: part.times,
            busy: part.busy,
        };
        parts.iter().map(part).collect()
    }

    /// The table: for every part how often it ran, how long in the mean, and its share of the part around it.
    fn table(&self) -> String {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = format!("{:<40} {:>8} {:>12} {:>12} {:>7}", "part", "times", "ms each", "ms in all", "share");
        let whole = self.began.elapsed();
        for (path, part) in parts.iter() {
            let around = parts.get(&path[..path.len() - 1]).map_or(whole, |around| around.busy);
            let name = format!("{:indent$}{}", "", path[path.len() - 1].name, indent = 2 * (path.len() - 1));
            let all = part.busy.as_secs_f64() * 1e3;
            let share = 100.0 * part.busy.as_secs_f64() / around.as_secs_f64().max(1e-9);
            let each = all / part.times.max(1) as f64;
            // Writing to a string cannot fail.
            let _ = write!(table, "\n{name:<40} {:>8} {each:>12.3} {all:>12.1} {share:>5.1} %", part.times);
        }
        table
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        drop(self.flush.take());
        tracing::info!("trace in {}; where the time went, as far as it is known by part:\n{}", self.path, self.table());
    }
}

/// Parts are spans at trace level; those at others say whose work it is.
fn is_part(metadata: &Metadata) -> bool {
    let ours = ["spotter", "qrnet", "grounding_dino", "blocks"].iter().any(|name| metadata.target().starts_with(name));
    metadata.is_span() && ours && *metadata.level() == Level::TRACE
}

/// Adds up what spans take.
struct Totals {
    parts: Arc<Mutex<Parts>>,
    names: Mutex<Vec<String>>,
}

/// A span that is open.
struct Running {
    path: Vec<Named>,
    entered: Option<Instant>,
    busy: Duration,
}

impl Totals {
    fn named(&self, name: String) -> Named {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let first_met = names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name.clone());
            names.len() - 1
        });
        Named { first_met, name }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Totals {
    fn on_new_span(&self, attributes: &Attributes, id: &Id, context: Context<S>) {
        let Some(span) = context.span(id) else { return };
        let around = span.parent().and_then(|parent| parent.extensions().get::<Running>().map(|r| r.path.clone()));
        let mut number = Number(None);
        attributes.record(&mut number);
        let name = attributes.metadata().name();
        let name = number.0.map_or_else(|| name.to_owned(), |number| format!("{name} {number}"));
        let mut path = around.unwrap_or_default();
        path.push(self.named(name));
        span.extensions_mut().insert(Running { path, entered: None, busy: Duration::ZERO });
    }

    fn on_enter(&self, id: &Id, context: Context<S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(running) = span.extensions_mut().get_mut::<Running>() {
            running.entered = Some(Instant::now());
        }
    }

    fn on_exit(&self, id: &Id, context: Context<S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(running) = span.extensions_mut().get_mut::<Running>() {
            running.busy += running.entered.take().map_or(Duration::ZERO, |entered| entered.elapsed());
        }
    }

    fn on_close(&self, id: Id, context: Context<S>) {
        let Some(span) = context.span(&id) else { return };
        let running = span.extensions_mut().remove::<Running>();
        if let Some(running) = running {
            let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            let part = parts.entry(running.path).or_default();
            part.times += 1;
            part.busy += running.busy;
        }
    }
}

/// The field `number` of a span.
struct Number(Option<u64>);

impl Visit for Number {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "number" {
            self.0 = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
