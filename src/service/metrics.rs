//! Numbers for Prometheus. What is counted, is counted when it happens; lengths and ages are taken when somebody asks.

use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use records::track::FrameResult;
use records::{Change, FrameStatus, Query, QueryStatus, SightingChange};

use crate::notify::NotifierCounts;
use crate::sightings::{Told, What};
use crate::stage::GroundedFrame;

/// Seconds; from the small model on many cores to the full one on two.
const GROUNDING_SECONDS: [f64; 13] = [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4];

/// Registers; names are ours and differ, so it cannot fail, and a metric that is not registered is only not seen.
macro_rules! metric {
    ($registry:expr, $kind:ident, $name:literal, $help:literal, $labels:expr) => {{
        let made = $kind::new(Opts::new($name, $help).into(), $labels);
        let made = made.unwrap_or_else(|e| unreachable!("{}: {e}", $name));
        let registered = $registry.register(Box::new(made.clone()));
        debug_assert!(registered.is_ok(), "{} twice", $name);
        made
    }};
}

/// All metrics of a run.
pub(super) struct Metrics {
    registry: Registry,
    frames: IntCounterVec,
    decoded: IntCounterVec,
    found: IntCounterVec,
    grounding: HistogramVec,
    latency: HistogramVec,
    queue: IntGaugeVec,
    age: GaugeVec,
    gaps: IntCounterVec,
    retries: IntCounterVec,
    reconnects: IntCounterVec,
    up: IntGaugeVec,
    revision: IntGaugeVec,
    clients: IntGaugeVec,
    kept: IntGaugeVec,
    sightings: SightingMetrics,
    notices: NoticeMetrics,
}

/// What became of events that receivers are told of.
struct NoticeMetrics {
    waiting: IntGaugeVec,
    sent: IntCounterVec,
    failures: IntCounterVec,
    held: IntCounterVec,
    lost: IntCounterVec,
}

/// Those of sightings, zones and lines.
#[derive(Clone)]
struct SightingMetrics {
    began: IntCounterVec,
    open: IntGaugeVec,
    held: IntCounterVec,
    entered: IntCounterVec,
    crossed: IntCounterVec,
}

impl SightingMetrics {
    fn new(registry: &Registry) -> Self {
        let r = registry;
        Self {
            began: metric!(
                r,
                IntCounterVec,
                "spotter_sightings_total",
                "Sightings that began, whether they were told or held back.",
                &["stream", "query"]
            ),
            open: metric!(
                r,
                IntGaugeVec,
                "spotter_sightings_open",
                "Sightings that have not ended.",
                &["stream", "query"]
            ),
            held: metric!(
                r,
                IntCounterVec,
                "spotter_sightings_held_total",
                "Sightings that were not told, so that there are not too many events.",
                &["stream", "query"]
            ),
            entered: metric!(
                r,
                IntCounterVec,
                "spotter_zone_entries_total",
                "Things that came into a zone.",
                &["stream", "query", "zone"]
            ),
            crossed: metric!(
                r,
                IntCounterVec,
                "spotter_line_crossings_total",
                "Things that crossed a line, by the side to which they went.",
                &["stream", "query", "line", "direction"]
            ),
        }
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let seconds = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(GROUNDING_SECONDS.to_vec());
            let made = HistogramVec::new(options, &["stream"]).unwrap_or_else(|e| unreachable!("{name}: {e}"));
            let registered = r.register(Box::new(made.clone()));
            debug_assert!(registered.is_ok(), "{name} twice");
            made
        };
        let metrics = Self {
            frames: metric!(
                r,
                IntCounterVec,
                "spotter_frames_total",
                "Frames by what became of them, and why they were not measured.",
                &["stream", "status", "cause"]
            ),
            decoded: metric!(
                r,
                IntCounterVec,
                "spotter_frames_decoded_total",
                "Frames that came out of the decoder.",
                &["stream"]
            ),
            found: metric!(
                r,
                IntCounterVec,
                "spotter_query_frames_total",
                "Frames by what is claimed of a query on them: box, absent, carried or none.",
                &["stream", "query", "status"]
            ),
            grounding: seconds("spotter_grounding_seconds", "Letterbox and model, of measured frames."),
            latency: seconds("spotter_latency_seconds", "From the decoder to the record, of measured frames."),
            queue: metric!(
                r,
                IntGaugeVec,
                "spotter_queue_length",
                "What waits for the model (stage) and for whoever takes results (delivery).",
                &["stream", "queue"]
            ),
            age: metric!(
                r,
                GaugeVec,
                "spotter_newest_frame_age_seconds",
                "Since the newest delivered frame came out of the decoder.",
                &["stream"]
            ),
            gaps: metric!(
                r,
                IntCounterVec,
                "spotter_gaps_total",
                "Connections that were lost or not made, by the code of the reason.",
                &["stream", "code"]
            ),
            retries: metric!(
                r,
                IntCounterVec,
                "spotter_failed_reconnects_total",
                "Further attempts to connect that failed, by the code of the reason.",
                &["stream", "code"]
            ),
            reconnects: metric!(
                r,
                IntCounterVec,
                "spotter_reconnects_total",
                "Times that frames came again after a gap.",
                &["stream"]
            ),
            up: metric!(r, IntGaugeVec, "spotter_up", "1 while frames come from the source.", &["stream"]),
            revision: metric!(
                r,
                IntGaugeVec,
                "spotter_query_revision",
                "Counts up when a query changes while running.",
                &["stream", "query"]
            ),
            clients: metric!(
                r,
                IntGaugeVec,
                "spotter_rtsp_clients",
                "Clients that are connected to an RTSP server of this run.",
                &["address"]
            ),
            kept: metric!(
                r,
                IntGaugeVec,
                "spotter_sightings_kept_bytes",
                "Bytes of all clips and pictures in a folder of sightings.",
                &["folder"]
            ),
            sightings: SightingMetrics::new(r),
            notices: NoticeMetrics::new(r),
            registry: registry.clone(),
        };
        let version = metric!(r, IntGaugeVec, "spotter_build_info", "1; the version as a label.", &["version"]);
        version.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        // Memory, processor time and descriptors of this process, where the system tells them.
        drop(registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self())));
        metrics
    }

    /// Those of one stream, all there from the beginning.
    pub(super) fn of_stream(&self, stream: &str) -> StreamMetrics {
        let one = [stream];
        let metrics = StreamMetrics {
            stream: stream.to_owned(),
            frames: self.frames.clone(),
            decoded: self.decoded.with_label_values(&one),
            found: self.found.clone(),
            grounding: self.grounding.with_label_values(&one),
            latency: self.latency.with_label_values(&one),
            queue: self.queue.clone(),
            age: self.age.clone(),
            gaps: self.gaps.clone(),
            retries: self.retries.clone(),
            reconnects: self.reconnects.with_label_values(&one),
            up: self.up.clone(),
            revision: self.revision.clone(),
            sightings: self.sightings.clone(),
        };
        metrics.refresh(false, None, 0, &[]);
        metrics
    }

    /// As Prometheus reads it (text format 0.0.4); `kept` are folders and their bytes.
    pub(super) fn text(
        &self,
        clients: impl Iterator<Item = (String, usize)>,
        kept: impl Iterator<Item = (String, u64)>,
        notified: &[NotifierCounts],
    ) -> String {
        for (address, count) in clients {
            self.clients.with_label_values(&[address]).set(count as i64);
        }
        for (folder, bytes) in kept {
            self.kept.with_label_values(&[folder]).set(bytes as i64);
        }
        self.notices.set(notified);
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!("metrics: {error}");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

impl NoticeMetrics {
    fn new(r: &Registry) -> Self {
        Self {
            waiting: metric!(
                r,
                IntGaugeVec,
                "spotter_notify_queue_length",
                "Events that wait to be told to a receiver.",
                &["notifier"]
            ),
            sent: metric!(
                r,
                IntCounterVec,
                "spotter_notify_sent_total",
                "Events that a receiver has said it has.",
                &["notifier"]
            ),
            failures: metric!(
                r,
                IntCounterVec,
                "spotter_notify_failures_total",
                "Attempts to tell a receiver that failed.",
                &["notifier"]
            ),
            held: metric!(
                r,
                IntCounterVec,
                "spotter_notify_held_total",
                "Events that were held back, by the rule: cooldown, quiet or rate.",
                &["notifier", "cause"]
            ),
            lost: metric!(
                r,
                IntCounterVec,
                "spotter_notify_lost_total",
                "Events that a receiver will never have: the channel or the queue was full, the disk took nothing, or it refused.",
                &["notifier", "cause"]
            ),
        }
    }

    fn set(&self, notified: &[NotifierCounts]) {
        for NotifierCounts { name, waiting, sent, failures, held, lost } in notified {
            let one = [name.as_str()];
            self.waiting.with_label_values(&one).set(*waiting as i64);
            raise(&self.sent.with_label_values(&one), *sent);
            raise(&self.failures.with_label_values(&one), *failures);
            for (cause, count) in held {
                raise(&self.held.with_label_values(&[name.as_str(), *cause]), *count);
            }
            for (cause, count) in lost {
                raise(&self.lost.with_label_values(&[name.as_str(), *cause]), *count);
            }
        }
    }
}

/// Brings a counter up to what was counted elsewhere.
fn raise(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

/// What text of metrics is.
pub(super) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The metrics of one stream.
pub(super) struct StreamMetrics {
    stream: String,
    frames: IntCounterVec,
    decoded: IntCounter,
    found: IntCounterVec,
    grounding: Histogram,
    latency: Histogram,
    queue: IntGaugeVec,
    age: GaugeVec,
    gaps: IntCounterVec,
    retries: IntCounterVec,
    reconnects: IntCounter,
    up: IntGaugeVec,
    revision: IntGaugeVec,
    sightings: SightingMetrics,
}

impl StreamMetrics {
    pub(super) fn frame<'a>(
        &self,
        queries: impl Iterator<Item = &'a Query>,
        result: &FrameResult,
        grounded: &GroundedFrame,
    ) {
        let labels = [&self.stream, result.status.as_str(), result.cause.unwrap_or_default()];
        self.frames.with_label_values(&labels).inc();
        for (query, claim) in queries.zip(&result.queries) {
            let status = if claim.carried() { QueryStatus::Carried } else { claim.status };
            self.found.with_label_values(&[self.stream.as_str(), &query.name, status.as_str()]).inc();
        }
        if result.status == FrameStatus::Measured {
            self.grounding.observe(grounded.grounding.as_secs_f64());
            self.latency.observe(grounded.frame.arrived.elapsed().as_secs_f64());
        }
    }

    pub(super) fn gap(&self, code: &str) {
        self.gaps.with_label_values(&[&self.stream, code]).inc();
    }

    pub(super) fn retry(&self, code: &str) {
        self.retries.with_label_values(&[&self.stream, code]).inc();
    }

    pub(super) fn back(&self) {
        self.reconnects.inc();
    }

    /// Something is told of a sighting, or would be.
    pub(super) fn told(&self, told: &Told) {
        let stream = self.stream.as_str();
        match &told.what {
            What::Sighting { sighting, change } => {
                let labels = [stream, &sighting.query];
                match change {
                    SightingChange::Start => {
                        self.sightings.began.with_label_values(&labels).inc();
                        self.sightings.open.with_label_values(&labels).inc();
                        self.sightings.held.with_label_values(&labels).inc_by(u64::from(told.silent));
                    }
                    SightingChange::End { .. } => self.sightings.open.with_label_values(&labels).dec(),
                    SightingChange::Update => {}
                }
            }
            What::Enter { who, zone, .. } => {
                self.sightings.entered.with_label_values(&[stream, &who.query, zone]).inc();
            }
            What::Cross { who, line, to, .. } => {
                self.sightings.crossed.with_label_values(&[stream, &who.query, line, to.as_str()]).inc();
            }
            What::Leave { .. } | What::File { .. } | What::Held { .. } => {}
        }
    }

    /// A query is asked from now on, or no more.
    pub(super) fn query_changed(&self, change: Change, query: &Query) {
        let labels = [self.stream.as_str(), &query.name];
        match change {
            Change::Removed => drop(self.revision.remove_label_values(&labels)),
            Change::Added | Change::Changed => self.revision.with_label_values(&labels).set(i64::from(query.rev)),
        }
    }

    pub(super) fn refresh(&self, up: bool, age: Option<Duration>, decoded: u64, waiting: &[(&str, usize)]) {
        let stream = [&self.stream];
        self.up.with_label_values(&stream).set(i64::from(up));
        if let Some(age) = age {
            self.age.with_label_values(&stream).set(age.as_secs_f64());
        }
        raise(&self.decoded, decoded);
        for (queue, length) in waiting {
            self.queue.with_label_values(&[&*self.stream, *queue]).set(*length as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use records::{Best, Crossings, FrameRef, PixelBox, Side, Sighting};

    use super::*;
    use crate::sightings::Who;

    #[test]
    fn sightings_are_counted_by_query_and_stream() {
        let metrics = Metrics::new();
        let gate = metrics.of_stream("gate");
        let boxed = PixelBox { x: 1.0, y: 2.0, w: 3.0, h: 4.0 };
        let best = Best { boxed, score: None, presence: None, frame_index: None, seq: 1, unix_ns: 0 };
        let sighting = Sighting {
            id: "1".into(),
            stream: "gate".into(),
            query: "car".into(),
            text: "a car".into(),
            objects: vec![1],
            start_pts_ns: None,
            start_unix_ns: 0,
            last_pts_ns: None,
            last_unix_ns: 0,
            best,
            zones: Vec::new(),
            path: Vec::new(),
            files: Vec::new(),
        };
        let change =
            |change, silent| Told { what: What::Sighting { sighting: Box::new(sighting.clone()), change }, silent };
        for told in [
            change(SightingChange::Start, false),
            change(SightingChange::Start, true),
            change(SightingChange::Update, false),
            change(SightingChange::End { cause: "gone" }, false),
        ] {
            gate.told(&told);
        }
        let who = Who { sighting_id: "1".into(), query: "car".into(), object: 1 };
        let (at, counts) = (FrameRef { seq: 1, pts_ns: None, unix_ns: 0 }, Crossings { left: 1, right: 0 });
        let what = What::Cross { who: who.clone(), line: "kerb".into(), at, to: Side::Left, counts };
        gate.told(&Told { what, silent: true });
        gate.told(&Told { what: What::Enter { who, zone: "drive".into(), at }, silent: false });
        let kept = std::iter::once(("/kept".to_owned(), 7));
        let text = metrics.text(std::iter::empty(), kept, &[]);
        for line in [
            "spotter_sightings_total{query=\"car\",stream=\"gate\"} 2",
            "spotter_sightings_open{query=\"car\",stream=\"gate\"} 1",
            "spotter_sightings_held_total{query=\"car\",stream=\"gate\"} 1",
            "spotter_line_crossings_total{direction=\"left\",line=\"kerb\",query=\"car\",stream=\"gate\"} 1",
            "spotter_sightings_kept_bytes{folder=\"/kept\"} 7",
            "spotter_zone_entries_total{query=\"car\",stream=\"gate\",zone=\"drive\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
    }
}
