//! The time that a stream's pipelines share.

use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// Clock and base time of a stream, and how late its frames come. All connections of a live source keep the same time, and
/// so does the output: running time goes on where a connection ends and the next one begins.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Of live sources.
    fixed: Option<(gst::Clock, gst::ClockTime)>,
    /// Weak: the pipeline ends with its connection.
    pipeline: Arc<Mutex<gst::glib::WeakRef<gst::Pipeline>>>,
    /// As last known.
    latency: Arc<Mutex<gst::ClockTime>>,
}

impl Timing {
    /// A time of its own for a `live` source; others have none that matters.
    pub fn new(live: bool) -> Self {
        let clock = live.then(gst::SystemClock::obtain);
        Self {
            fixed: clock.map(|clock| (clock.clone(), clock.time())),
            pipeline: Arc::default(),
            latency: Arc::default(),
        }
    }

    /// The clock, and what it showed when running time was 0; none for sources that are not live.
    pub(crate) fn base(&self) -> Option<(gst::Clock, gst::ClockTime)> {
        self.fixed.clone()
    }

    /// Makes `pipeline` keep this time, where it is one that is kept.
    pub(crate) fn keep(&self, pipeline: &gst::Pipeline) {
        if let Some((clock, base_time)) = &self.fixed {
            pipeline.use_clock(Some(clock));
            pipeline.set_start_time(gst::ClockTime::NONE);
            pipeline.set_base_time(*base_time);
        }
    }

    /// `pipeline` is now what frames come from.
    pub(super) fn watch(&self, pipeline: &gst::Pipeline) {
        *self.pipeline.lock().unwrap_or_else(PoisonError::into_inner) = pipeline.downgrade();
    }

    /// How long a frame takes from the camera to the stage at least, now or when there was a connection last; none for
    /// sources that are not live.
    pub fn latency(&self) -> Option<gst::ClockTime> {
        self.fixed.as_ref()?;
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = self.ask() {
            *latency = now;
        }
        Some(*latency)
    }

    fn ask(&self) -> Option<gst::ClockTime> {
        let pipeline = self.pipeline.lock().unwrap_or_else(PoisonError::into_inner).upgrade()?;
        let mut query = gst::query::Latency::new();
        // Of what stands before the appsink: it does not keep time itself, and so would say that nothing is live.
        let sinks = pipeline.iterate_sinks().into_iter().flatten().filter_map(|sink| sink.static_pad("sink"));
        let answered = sinks.into_iter().any(|pad| pad.peer_query(&mut query));
        answered.then(|| query.result().1)
    }
}
