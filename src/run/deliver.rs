//! The end of a frame's way: what is claimed of it, its record, and the frame itself to the output pipeline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use records::track::{FrameResult, Outcome, StreamTracker};
use records::{Change, Clock, Counts, EventKind, FrameStatus, Query, RecordFile, Resolution};

use super::lines::Lines;
use super::names::Names;
use super::news::News;
use super::outputs::Outputs;
use super::supervisor::StreamEnd;
use super::watched::{Watch, watched};
use super::{Message, OutputStopper};
use crate::cli::OverlaySync;
use crate::config::StreamSettings;
use crate::error::{Error, Result};
use crate::notify::Notifiers;
use crate::page::LiveStream;
use crate::service::Status;
use crate::sightings::FrameFacts;
use crate::sink::{LatestResult, MountPoint, annotate};
use crate::source::Timing;
use crate::stage::{ActiveQueries, GroundedFrame, QueryUpdate, StreamEvent, StreamItem, StreamItems, tracked};

/// How long files of sightings may take to be finished.
const FINISH_TIMEOUT: Duration = Duration::from_mins(1);
/// How long receivers' queues may take for what was told last.
const LAST_QUEUED: Duration = Duration::from_secs(5);
/// How far apart frames are taken to be that have no time.
const FRAME_TIME: Duration = Duration::from_millis(40);

/// What ties a delivery to the rest of the run.
pub(super) struct Links {
    /// Counted from 0.
    pub(super) stream: usize,
    pub(super) messages: Sender<Message>,
    pub(super) stopper: OutputStopper,
    pub(super) status: Arc<Status>,
    /// Whom to tell what was seen.
    pub(super) notifiers: Notifiers,
    /// Where the stream is served.
    pub(super) mounts: Vec<MountPoint>,
    pub(super) overlay_sync: OverlaySync,
    /// How the stream ended; disconnected where nobody knows.
    pub(super) finished: Receiver<StreamEnd>,
    /// Where somebody wants them.
    pub(super) sightings: Option<Box<Watch>>,
    /// What the page shows of it, where there is one.
    pub(super) live: Option<Arc<LiveStream>>,
}

/// How often is looked whether a thing has been away for too long, while no frame comes.
const TICK: Duration = Duration::from_millis(500);

/// A stretch without a connection.
struct Gap {
    since: Instant,
    /// The last connection before it.
    connection: u64,
}

/// Writes records and feeds the output pipeline of one stream. Outputs are opened with the first frame, records with the
/// first line, so that a run that fails before it leaves nothing behind.
pub(super) struct Delivery {
    names: Names,
    queries: ActiveQueries,
    track: StreamTracker,
    lines: Lines,
    outputs: Outputs,
    resolution: Option<Resolution>,
    /// Of the next frame.
    next_seq: u64,
    clock: Option<Clock>,
    gap: Option<Gap>,
    /// Connections so far.
    connection: u64,
    broken: bool,
    counts: Counts,
    /// Until the current connection.
    counts_before: Counts,
    damaged: u64,
    was_damaged: bool,
    links: Links,
    /// When the last frame was delivered.
    newest: Instant,
}

impl Delivery {
    pub(super) fn new(
        settings: &StreamSettings,
        queries: ActiveQueries,
        names: Names,
        records: Vec<RecordFile>,
        timing: Timing,
        links: Links,
    ) -> Self {
        let is_shown = !settings.output.is_empty() || !links.mounts.is_empty();
        let stream = (links.stream, links.messages.clone());
        Self {
            names,
            track: StreamTracker::new(tracked(&queries)),
            queries,
            lines: Lines::new(records, links.live.clone(), is_shown),
            outputs: Outputs::new(settings.output.clone(), timing, stream, Arc::clone(&links.stopper)),
            resolution: None,
            next_seq: 0,
            clock: None,
            gap: None,
            connection: 0,
            broken: false,
            counts: Counts::default(),
            counts_before: Counts::default(),
            damaged: 0,
            was_damaged: false,
            links,
            newest: Instant::now(),
        }
    }

    /// Delivers items until there are none, finishes the files and writes the last event. After a failure the rest is
    /// only counted.
    pub(super) fn run(mut self, items: &Receiver<StreamItems>) -> Counts {
        let _span = tracing::info_span!("deliver", stream = self.names.address.name).entered();
        {
            // Said also where this thread panics: the supervisor waits for it.
            let (stream, messages) = (self.links.stream, self.links.messages.clone());
            let _at_the_end = OnDrop(|| drop(messages.send(Message::Drained(stream))));
            let restarted = self.sightings(|watch| Ok(watch.restarted()), false);
            self.note_failure(restarted);
            while let Some(items_now) = self.next(items) {
                for item in items_now {
                    let delivered = match item {
                        StreamItem::Frame(grounded) => self.frame(&grounded, items.len()),
                        StreamItem::Event(event) => self.stream_event(event),
                    };
                    self.note_failure(delivered);
                }
            }
            let ended = self.sightings(Watch::end, true);
            self.note_failure(ended);
            self.links.status.end();
            self.links.notifiers.available(&self.names.address.name, false);
            // Both take their time; nobody has to wait for the other.
            let mounts = self.links.mounts.clone();
            let farewell = std::thread::Builder::new().name("farewell".into());
            let farewell = farewell.spawn(move || MountPoint::end_all(&mounts));
            if let Err(error) = self.outputs.finish() {
                self.post_failure(error);
            }
            let kept = self.sightings(|watch| Ok(watch.finish(FINISH_TIMEOUT)), true);
            self.note_failure(kept);
            let notifiers = self.links.notifiers.clone();
            let noted = self.sightings(
                |watch| {
                    notifiers.wait_until_queued(watch.handed_over(), LAST_QUEUED);
                    watch.noted().map(|()| Vec::new())
                },
                true,
            );
            self.note_failure(noted);
            if let Ok(farewell) = farewell {
                drop(farewell.join());
            }
        }
        if let Ok(ending) = self.links.finished.recv() {
            self.close(&ending);
        }
        // Behind the last line of the records.
        if let Some(live) = &self.links.live {
            live.end();
        }
        self.counts
    }

    /// The next items; none after a while without any, so that time can be seen to go by. `None` where no more come.
    fn next(&mut self, items: &Receiver<StreamItems>) -> Option<StreamItems> {
        if self.links.sightings.is_none() || !self.names.address.is_live() {
            return items.recv().ok();
        }
        match items.recv_timeout(TICK) {
            Ok(items) => Some(items),
            Err(RecvTimeoutError::Timeout) => {
                let since = self.newest.elapsed();
                let passed = self.sightings(|watch| watch.passed(since), true);
                self.note_failure(passed);
                Some(StreamItems::new())
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Tells what sightings have to say. What cannot be written any more is told by the next run. `counted` where it
    /// happened in this one.
    fn sightings(&mut self, ask: impl FnOnce(&mut Watch) -> Result<Vec<News>>, counted: bool) -> Result<()> {
        if self.broken {
            return Ok(());
        }
        let Some(mut watch) = self.links.sightings.take() else { return Ok(()) };
        let outcome = ask(&mut watch).and_then(|news| self.tell(&mut watch, news, counted));
        self.links.sightings = Some(watch);
        outcome
    }

    /// Writes it into the records, and tells receivers what stands there.
    fn tell(&mut self, watch: &mut Watch, news: Vec<News>, counted: bool) -> Result<()> {
        for one in &news {
            let told = &one.told;
            if counted {
                self.links.status.told(told);
            }
            if told.silent {
                continue;
            }
            self.event(&told.kind())?;
            if self.links.notifiers.is_none() {
                continue;
            }
            let names = (&*self.names.run_id, self.names.address.name.as_str());
            // An earlier run may have ended before everybody's queue had the start; who has it is not told again.
            let start = (!counted).then(|| watch.start_of(one, names)).flatten();
            for notice in start.into_iter().chain(watch.notice(one, names)) {
                if counted {
                    self.links.notifiers.publish(&notice);
                } else {
                    self.links.notifiers.publish_owed(&notice);
                }
            }
        }
        if !self.links.notifiers.is_none() {
            for (query, count) in watch.changes(&news) {
                self.links.notifiers.state(&self.names.address.name, &query, count > 0, count);
            }
        }
        if !news.is_empty() {
            watch.were_told(news, self.links.notifiers.handed_over());
        }
        watch.note_told(self.links.notifiers.queued())
    }

    fn note_failure(&mut self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.broken = true;
            self.post_failure(error);
        }
    }

    fn post_failure(&self, error: Error) {
        drop(self.links.messages.send(Message::Sink(error)));
    }

    fn frame(&mut self, grounded: &GroundedFrame, waiting: usize) -> Result<()> {
        let _span = tracing::trace_span!("frame out").entered();
        let frame = &grounded.frame;
        self.next_seq = frame.seq + 1;
        let resolution = frame.resolution();
        let time =
            frame.stream_time.map_or_else(|| FRAME_TIME * u32::try_from(frame.seq).unwrap_or(u32::MAX), Duration::from);
        let other_picture = self.resolution.is_some_and(|before| before != resolution);
        let other_connection = self.gap.is_some() && frame.connection > self.connection;
        if grounded.cut || other_picture || other_connection {
            self.track.reset();
        }
        let diagonal = (resolution.width as f64).hypot(resolution.height as f64);
        let result = self.track.update(&grounded.outcome, time, diagonal);
        self.counts.add(&result, self.track.queries());
        self.links.status.frame(grounded, &self.track.queries(), &result, waiting);
        if self.broken {
            return Ok(());
        }
        self.resume(grounded)?;
        self.deliver(grounded, &result, resolution)?;
        self.newest = frame.arrived;
        if self.links.sightings.is_none() {
            return Ok(());
        }
        let facts = FrameFacts { time, ..self.names.facts(grounded) };
        self.sightings(|watch| watch.frame(&facts, grounded, &result), true)
    }

    /// Tells of the end of a gap.
    fn resume(&mut self, grounded: &GroundedFrame) -> Result<()> {
        let GroundedFrame { frame, .. } = grounded;
        if let Some(gap) = self.gap.take_if(|gap| frame.connection > gap.connection) {
            let seconds = frame.arrived.saturating_duration_since(gap.since).as_secs_f64();
            if gap.connection > 0 {
                tracing::info!("is back after {seconds:.1} s");
                self.links.status.back();
            }
            self.links.notifiers.available(&self.names.address.name, true);
            self.event(&EventKind::GapEnd { seq: frame.seq, seconds })?;
            self.outputs.renew_latency();
        }
        self.connection = frame.connection;
        Ok(())
    }

    fn deliver(&mut self, grounded: &GroundedFrame, result: &FrameResult, resolution: Resolution) -> Result<()> {
        let frame = &grounded.frame;
        match self.resolution.replace(resolution) {
            None => self.open(resolution)?,
            Some(before) if before != resolution => {
                self.event(&EventKind::Resolution { seq: frame.seq, resolution })?;
            }
            Some(_) => {}
        }
        if let Some(from) = self.clock.replace(frame.clock).filter(|from| *from != frame.clock) {
            self.event(&EventKind::Clock { seq: frame.seq, from, to: frame.clock })?;
        }
        self.note_error(grounded)?;
        tracing::trace_span!("record").in_scope(|| {
            let record = self.names.record(grounded, self.track.queries(), result);
            let annotated = || annotate(frame, result, self.track.queries(), self.names.trained);
            self.lines.frame(&record, |live| live.frame(frame, &record, result.status, annotated))
        })?;
        if result.status == FrameStatus::Dropped {
            return Ok(());
        }
        let at_once = self.links.overlay_sync == OverlaySync::LowLatency;
        if at_once {
            // This one has been shown already; the next ones get what was found on it.
            for mount in &self.links.mounts {
                let queries = Arc::clone(&self.queries);
                mount.set_latest(Some(LatestResult { result: result.clone(), queries, resolution }));
            }
        }
        if self.outputs.is_empty() && (at_once || self.links.mounts.is_empty()) {
            return Ok(());
        }
        let _span = tracing::trace_span!("annotate").entered();
        let annotated = annotate(frame, result, self.track.queries(), self.names.trained);
        if !at_once {
            self.links.mounts.iter().try_for_each(|mount| mount.show(frame, annotated.clone()))?;
        }
        if self.outputs.is_empty() { Ok(()) } else { self.outputs.push(frame, annotated) }
    }

    fn stream_event(&mut self, event: StreamEvent) -> Result<()> {
        self.links.status.stream_event(&event);
        if self.broken {
            return Ok(());
        }
        match event {
            StreamEvent::GapStart { fault, decoded, since } => {
                self.counts.frames.decoded = decoded;
                let counts = self.counts.since(&self.counts_before);
                self.counts_before = self.counts.clone();
                self.gap = Some(Gap { since, connection: self.connection });
                self.links.notifiers.available(&self.names.address.name, false);
                for mount in &self.links.mounts {
                    mount.set_gap(fault.code);
                    // What comes next may show something else.
                    mount.set_latest(None);
                }
                self.event(&EventKind::GapStart { code: fault.code, reason: &fault.reason, counts })
            }
            StreamEvent::GapRetry { attempt, fault } => {
                self.links.mounts.iter().for_each(|mount| mount.set_gap(fault.code));
                self.event(&EventKind::GapRetry { attempt, code: fault.code, reason: &fault.reason })
            }
            StreamEvent::Queries(update) => self.set_queries(&update),
        }
    }

    /// From the next frame on, other queries. What is known of those that stay is kept.
    fn set_queries(&mut self, update: &QueryUpdate) -> Result<()> {
        self.queries = Arc::clone(&update.queries);
        self.track.set_queries(tracked(&self.queries));
        self.links.mounts.iter().for_each(|mount| mount.set_latest(None));
        let asked = self.queries.iter().map(|active| &active.tracked.query);
        let asked: Vec<_> = asked.map(|query| (query.name.clone(), query.text.clone())).collect();
        self.links.notifiers.queries(&self.names.address.name, &asked);
        for (change, active) in &update.changes {
            let Query { name, text, rev } = &active.tracked.query;
            let seq = self.next_seq;
            if *change == Change::Removed {
                tracing::info!("looks for {text:?} no more from frame {seq} on");
            } else {
                tracing::info!("looks for {text:?} from frame {seq} on (revision {rev})");
            }
            self.event(&EventKind::Query { seq, change: *change, name, text, rev: *rev })?;
        }
        let queries = watched(&self.queries);
        self.sightings(|watch| watch.set_queries(queries), true)
    }

    /// Says the first failure of a frame aloud, and every stretch of damaged ones in the records.
    fn note_error(&mut self, grounded: &GroundedFrame) -> Result<()> {
        let seq = grounded.frame.seq;
        if let Outcome::Error { message, .. } = &grounded.outcome {
            // One is said, all are in the records: a format that cannot be read fails on every frame.
            if self.counts.frames.error == 1 {
                tracing::warn!("frame {seq}: {message}");
            } else {
                tracing::debug!("frame {seq}: {message}");
            }
        }
        let damaged = grounded.frame.corrupt || grounded.frame.damaged;
        let began = damaged && !self.was_damaged;
        self.was_damaged = damaged;
        if began {
            self.damaged += 1;
            if self.damaged == 1 {
                tracing::warn!(
                    "frame {seq}: the decoder could not restore the whole picture; events tell of the next ones"
                );
            }
            self.event(&EventKind::DecodeError { seq, count: self.damaged })?;
        }
        Ok(())
    }

    fn open(&mut self, resolution: Resolution) -> Result<()> {
        self.outputs.make_folders()?;
        self.links.notifiers.available(&self.names.address.name, true);
        self.event(&EventKind::SourceUp { resolution })
    }

    fn event(&mut self, kind: &EventKind) -> Result<()> {
        self.lines.event(&self.names, kind)
    }

    fn close(&mut self, ending: &StreamEnd) {
        self.counts.frames.decoded = ending.decoded;
        let last = EventKind::End { counts: self.counts.clone(), error: ending.error.as_deref() };
        if let Err(error) = self.lines.close(&self.names, &last)
            && !self.broken
        {
            self.post_failure(error);
        }
    }
}

/// Calls a function when it goes.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
