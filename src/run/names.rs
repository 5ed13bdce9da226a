//! What records of a stream say of its run, and of the times of its frames.

use std::sync::Arc;
use std::time::Duration;

use records::track::FrameResult;
use records::{FrameRecord, Latency, Query};

use crate::config::StreamSettings;
use crate::sightings::FrameFacts;
use crate::source::Address;
use crate::stage::GroundedFrame;

/// What records of a stream are called by.
pub(super) struct Names {
    pub(super) run_id: Arc<str>,
    pub(super) address: Address,
    pub(super) trained: bool,
    reproducible: bool,
}

impl Names {
    pub(super) fn new(settings: &StreamSettings, run_id: &Arc<str>, trained: bool) -> Self {
        Self {
            run_id: Arc::clone(run_id),
            address: settings.address.clone(),
            trained,
            reproducible: settings.source.reproducible,
        }
    }

    /// What sightings have to know of a frame; its time is still open.
    pub(super) fn facts(&self, grounded: &GroundedFrame) -> FrameFacts {
        let GroundedFrame { frame, cut, .. } = grounded;
        let pts_ns = frame.stream_time.map(gstreamer::ClockTime::nseconds);
        // A film has no time of day: then it is the time at which it is looked at, or the film's own, which is the same
        // every time.
        let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
        let unix_ns = match frame.captured {
            _ if self.reproducible => signed(pts_ns.unwrap_or(0)),
            Some(captured) => signed(captured),
            None => crate::clock::now_unix_ns(),
        };
        FrameFacts {
            seq: frame.seq,
            frame_index: (!self.address.is_live()).then_some(frame.seq),
            time: Duration::ZERO,
            pts_ns,
            unix_ns,
            resolution: frame.resolution(),
            cut: *cut,
        }
    }

    /// The record of a frame.
    pub(super) fn record<'a>(
        &'a self,
        grounded: &GroundedFrame,
        queries: impl IntoIterator<Item = &'a Query>,
        result: &FrameResult,
    ) -> FrameRecord<'a> {
        let GroundedFrame { frame, queued, grounding, .. } = grounded;
        let milliseconds = |duration: Duration| 1e3 * duration.as_secs_f64();
        let live = self.address.is_live();
        let names = (&*self.run_id, self.address.name.as_str());
        FrameRecord {
            frame_index: (!live).then_some(frame.seq),
            file: self.address.picture(frame.seq).map(|path| path.to_string_lossy()),
            pts_ns: frame.stream_time.map(gstreamer::ClockTime::nseconds),
            capture_unix_ns: frame.captured.filter(|_| !self.reproducible),
            clock: frame.clock,
            latency_ms: (!self.reproducible).then(|| Latency {
                queue: milliseconds(*queued),
                ground: milliseconds(*grounding),
                total: milliseconds(frame.arrived.elapsed()),
            }),
            ..FrameRecord::new(names, frame.seq, queries, result, Some(frame.resolution()))
        }
    }
}
