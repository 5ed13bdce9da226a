//! The output pipeline: `appsrc ! overlaycomposition ! sinks`. Built once the first frame is there, since encoders want
//! to know its size. A picture of another size or format needs another pipeline, and other files.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::branches::{self, Branch, BranchBuilder, Built, Drawing, Target};
use super::output_file::PartialFile;
use crate::error::{Error, Result};
use crate::pipeline::{self, SinkPart};
use crate::source::{Report, Timing, forward_bus};
use crate::stage::{QUEUE, frame_time};

/// What all output pipelines of a run have in common.
#[derive(Debug, Clone, Default)]
pub struct OutputSettings {
    /// Where frames go.
    pub targets: Vec<Target>,
    /// Sinks of the user's own pipeline description.
    pub sinks: Vec<SinkPart>,
    /// Elements of a program that embeds this one.
    pub branches: Vec<Branch>,
    /// Files that this run reads or writes otherwise: later parts of a video do not replace them.
    pub in_use: Vec<PathBuf>,
    /// Whether encoders use one thread.
    pub reproducible: bool,
    /// What is drawn.
    pub drawing: Drawing,
}

impl OutputSettings {
    /// True where nothing wants frames.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.sinks.iter().all(|sink| sink.target.is_some()) && self.branches.is_empty()
    }

    /// All targets, for messages.
    pub fn name(&self) -> String {
        let targets = self.targets.iter().map(ToString::to_string);
        targets.chain(self.sinks.iter().map(|_| "--pipeline".to_owned())).collect::<Vec<_>>().join(", ")
    }
}

/// A running output pipeline.
pub struct Output {
    pipeline: gst::Pipeline,
    appsrc: gst_app::AppSrc,
    info: gst_video::VideoInfo,
    name: String,
    files: Arc<Vec<PartialFile>>,
    queues: Vec<gst::Element>,
    taken: u64,
    /// When the last frame starts, and when it ends.
    times: (Option<gst::ClockTime>, gst::ClockTime),
    ended: Receiver<std::result::Result<(), String>>,
    live: Option<Live>,
    reproducible: bool,
    /// Its first frame is shown from zero on, whenever it comes: muxers begin with it, and what is counted by the source's
    /// times would be off by as much.
    from_zero: bool,
    /// Held while the branches that still work end after another one failed.
    saving: Arc<Mutex<()>>,
}

/// What a live output promises to those behind it.
struct Live {
    upstream: gst::ClockTime,
    budget: Duration,
}

/// Time that the stage may take from the first frame on; grows where it takes longer.
const STAGE_BUDGET: Duration = Duration::from_millis(100);

/// x264 takes no smaller pictures.
const LEAST_SIDE: u32 = 16;
/// How long a frame lasts whose source does not say.
const FRAME_TIME: gst::ClockTime = gst::ClockTime::from_mseconds(40);

impl Output {
    /// Builds and starts the pipeline for frames like `info`. `part` counts the pipelines of a run from 1: later ones
    /// write into files with that number. A failure goes to `failed`. With the `timing` of a live source, both
    /// pipelines share clock and base time.
    ///
    /// # Errors
    /// An element is missing or refuses to start.
    pub fn start(
        settings: &OutputSettings,
        info: &gst_video::VideoInfo,
        part: usize,
        timing: Option<&Timing>,
        failed: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Self> {
        let name = settings.name();
        let fail = |reason: String| Error::Output { name: name.clone(), reason };
        let wants_video = settings.targets.iter().any(Target::is_video);
        if wants_video && (info.width() < LEAST_SIDE || info.height() < LEAST_SIDE) {
            let size = format!("{}x{}", info.width(), info.height());
            return Err(fail(format!("the picture is {size}, H.264 video needs at least {LEAST_SIDE}x{LEAST_SIDE}")));
        }
        let mut caps = info.to_caps().map_err(|e| fail(e.to_string()))?;
        if info.fps().numer() == 0 {
            // Times stay as they are; but without any rate the last frame would last no time, and players would not
            // show it.
            let rate = gst::Fraction::new((gst::ClockTime::SECOND.nseconds() / FRAME_TIME.nseconds()) as i32, 1);
            caps.make_mut().set("framerate", rate);
        }
        let upstream = timing.and_then(Timing::latency);
        let appsrc = gst_app::AppSrc::builder()
            .name("frames")
            .caps(&caps)
            .format(gst::Format::Time)
            .is_live(upstream.is_some())
            .max_buffers(QUEUE as u64)
            .block(true)
            .build();
        let pipeline = gst::Pipeline::new();
        pipeline.add(&appsrc).map_err(|e| fail(e.to_string()))?;
        let builder = BranchBuilder::new(&pipeline, appsrc.upcast_ref(), &name);
        let Built { files, queues } = branches::connect(settings, info, part, upstream.is_some(), &builder)?;
        if let Some(timing) = timing.filter(|_| upstream.is_some()) {
            timing.keep(&pipeline);
        }
        let ended = report_end(&pipeline, failed);
        let output = Self {
            pipeline,
            appsrc,
            info: info.clone(),
            name,
            files: Arc::new(files),
            queues,
            taken: 0,
            times: (None, gst::ClockTime::ZERO),
            ended,
            live: upstream.map(|upstream| Live { upstream, budget: STAGE_BUDGET }),
            reproducible: settings.reproducible,
            from_zero: part == 1 && upstream.is_none(),
            saving: Arc::default(),
        };
        output.promise_latency();
        if output.pipeline.set_state(gst::State::Playing).is_err() {
            let reason = match output.ended.try_recv() {
                Ok(Err(reason)) => reason,
                _ => "the pipeline refuses to start".into(),
            };
            return Err(Error::Output { name: output.name.clone(), reason });
        }
        Ok(output)
    }

    /// Whether a frame like `info` can go on in this pipeline.
    pub fn fits(&self, info: &gst_video::VideoInfo) -> bool {
        let like = |info: &gst_video::VideoInfo| (info.width(), info.height(), info.format(), info.par());
        like(info) == like(&self.info)
    }

    /// Hands a frame to the pipeline; `spent` is the time since it left the decoder.
    ///
    /// # Blocking
    /// While the pipeline has enough frames waiting.
    ///
    /// # Errors
    /// The pipeline was stopped.
    pub fn push(
        &mut self,
        mut buffer: gst::Buffer,
        running_time: Option<gst::ClockTime>,
        spent: Duration,
    ) -> Result<()> {
        if let Some(live) = self.live.as_mut().filter(|live| spent > live.budget) {
            live.budget = spent.mul_f64(LATENCY_MARGIN);
            self.promise_latency();
        }
        let writable = buffer.make_mut();
        // A muxer wants rising times on all frames; one that has none, or one in the past, follows the frame before it.
        let (last, next) = self.times;
        let running_time = if self.from_zero && last.is_none() { Some(gst::ClockTime::ZERO) } else { running_time };
        let time = running_time.filter(|time| last.is_none_or(|last| *time > last)).unwrap_or(next);
        let duration = writable.duration().or_else(|| frame_time(&self.info)).unwrap_or(FRAME_TIME);
        self.times = (Some(time), time + duration);
        writable.set_pts(time);
        writable.set_duration(duration);
        writable.set_dts(None);
        self.appsrc
            .push_buffer(buffer)
            .map_err(|e| Error::Output { name: self.name.clone(), reason: format!("takes no more frames: {e}") })?;
        self.taken += 1;
        Ok(())
    }

    /// Another connection of the source may be slower, or faster, than the one before.
    pub fn renew_latency(&mut self, timing: &Timing) {
        if let (Some(live), Some(upstream)) = (&mut self.live, timing.latency())
            && live.upstream != upstream
        {
            live.upstream = upstream;
            self.promise_latency();
        }
    }

    /// Tells the sinks how late frames arrive here, so that they do not take them for late.
    fn promise_latency(&self) {
        if let Some(live) = &self.live {
            let budget = gst::ClockTime::try_from(live.budget).unwrap_or(gst::ClockTime::ZERO);
            self.appsrc.set_latency(live.upstream + budget, gst::ClockTime::NONE);
        }
    }

    /// Says that no more frames come, waits until the files are whole, and puts them where they were wanted. Without a
    /// frame there is no file to finish.
    ///
    /// # Errors
    /// The files are not finished in time or cannot be put there. A failure of the pipeline itself was reported already,
    /// to `failed`.
    pub fn finish(self, limit: Duration) -> Result<()> {
        if self.taken == 0 {
            return Ok(());
        }
        pipeline::draw(&self.pipeline, &format!("output-{}", self.name));
        if let Err(error) = self.appsrc.end_of_stream() {
            tracing::debug!("output {}: end of stream refused: {error}", self.name);
        }
        match self.ended.recv_timeout(limit) {
            Ok(Ok(())) => {}
            // It failed, and that was said. What the other branches have is kept.
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                self.rescue().save();
                return self.files.iter().filter(|file| file.is_whole()).try_for_each(PartialFile::publish);
            }
            Err(RecvTimeoutError::Timeout) => {
                let reason = format!("was not finished within {} s", limit.as_secs());
                return Err(Error::Output { name: self.name.clone(), reason });
            }
        }
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("the output pipeline did not stop cleanly");
        }
        if self.reproducible {
            self.files.iter().try_for_each(PartialFile::clear_times)?;
        }
        self.files.iter().try_for_each(PartialFile::publish)
    }

    /// A handle that stops the pipeline at once and lets go whoever is blocked in [`Output::push`].
    /// Branches that still work finish their files first.
    pub fn stopper(&self) -> impl Fn() + Send + use<> {
        let rescue = self.rescue();
        move || rescue.save()
    }

    fn rescue(&self) -> Rescue {
        Rescue {
            pipeline: self.pipeline.clone(),
            queues: self.queues.clone(),
            files: Arc::clone(&self.files),
            alone: Arc::clone(&self.saving),
        }
    }
}

/// Ends a pipeline of which one branch failed.
struct Rescue {
    pipeline: gst::Pipeline,
    queues: Vec<gst::Element>,
    files: Arc<Vec<PartialFile>>,
    /// Held meanwhile.
    alone: Arc<Mutex<()>>,
}

impl Rescue {
    /// Tells every branch that the stream is over, waits until the files of those that work are whole, and stops.
    fn save(&self) {
        const LIMIT: Duration = Duration::from_secs(10);
        const TICK: Duration = Duration::from_millis(10);
        // Who heard of the failure and who finishes the output may come at the same time. Branches that have been told are
        // not told again, and the second one would take them for failed and stop them in the middle.
        let _alone = self.alone.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.pipeline.current_state() == gst::State::Null {
            return;
        }
        // A branch that failed refuses. One that was told already refuses too: the source itself says that the stream is over
        // when a branch fails, and it may be faster.
        let told = |pad: &gst::Pad| pad.sticky_event::<gst::event::Eos>(0).is_some();
        let healthy = self.queues.iter().filter_map(|queue| queue.static_pad("sink"));
        let healthy = healthy.filter(|pad| pad.send_event(gst::event::Eos::new()) || told(pad)).count();
        let start = Instant::now();
        let whole = || self.files.iter().filter(|file| file.is_whole()).count();
        while whole() < self.files.len().min(healthy) && start.elapsed() < LIMIT {
            std::thread::sleep(TICK);
        }
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::debug!("the output pipeline did not stop cleanly");
        }
    }
}

/// How much more than the longest time so far is promised, so that it is not promised anew with every frame.
const LATENCY_MARGIN: f64 = 1.25;

impl Drop for Output {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("the output pipeline did not stop cleanly");
        }
        self.files.iter().for_each(PartialFile::discard);
    }
}

/// A channel that says once how the pipeline came to its end; of a failure `failed` hears too.
fn report_end(
    pipeline: &gst::Pipeline,
    failed: impl Fn(String) + Send + Sync + 'static,
) -> Receiver<std::result::Result<(), String>> {
    let (end, ended) = bounded(1);
    let end = Arc::new(Mutex::new(Some(end)));
    forward_bus(pipeline, move |report| {
        let end = end.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let outcome = match report {
            Report::End => Ok(()),
            Report::Failed(fault) => {
                failed(fault.reason.clone());
                Err(fault.reason)
            }
        };
        if let Some(end) = end {
            let _ = end.try_send(outcome);
        }
    });
    ended
}
