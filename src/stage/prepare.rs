//! Decoded frame → letterboxed picture. Colour follows the caps' matrix and range (`GstVideoConverter`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use gstreamer as gst;
use gstreamer_video as gst_video;
use qrnet::Canvas;
use qrnet::preprocess::{Letterboxed, Letterboxer};

use super::convert::{Conversion, readable, view};
use super::cuts::Cuts;
use super::intake::Arrival;
use super::planes::Planes;
use super::sampling::Sampler;
use super::{Frame, Outcome, Prepared, StageSettings};

/// Prepares frames until there are none or nobody takes them.
pub(super) fn run(
    arrivals: &Receiver<Arrival>,
    prepared: &Sender<Prepared>,
    recycled: &Receiver<Vec<f32>>,
    canvas: Canvas,
    settings: StageSettings,
    stop: &AtomicBool,
) {
    let mut converter = Converter::default();
    let mut sampler = Sampler::new(settings.sampling);
    let mut cuts = settings.watch_cuts.then(Cuts::default);
    for Arrival { overtaken, frame } in arrivals {
        for frame in overtaken {
            let outcome = Outcome::Dropped { cause: "overload" };
            if prepared.send(Prepared::without(frame, outcome)).is_err() {
                return;
            }
        }
        if stop.load(Ordering::Acquire) {
            let outcome = Outcome::Dropped { cause: "shutdown" };
            if prepared.send(Prepared::without(frame.without_picture(), outcome)).is_err() {
                return;
            }
            continue;
        }
        let start = Instant::now();
        let queued = start.duration_since(frame.arrived);
        let cut = cuts.as_mut().is_some_and(|cuts| cuts.is_cut(&frame));
        let picture = if frame.corrupt {
            let message = "the decoder could not restore the whole picture".into();
            Err(Outcome::Error { cause: "decode", message })
        } else if let Some(cause) = sampler.skips(&frame) {
            Err(Outcome::Skipped { cause })
        } else {
            let letterboxed = converter.letterbox(&frame, canvas, recycled.try_recv().unwrap_or_default());
            letterboxed.map_err(|message| Outcome::Error { cause: "picture", message })
        };
        let ready = Instant::now();
        let spent = if picture.is_ok() { ready - start } else { Duration::ZERO };
        if prepared.send(Prepared { frame, picture, cut, spent, ready, queued }).is_err() {
            return;
        }
    }
}

impl Prepared {
    fn without(frame: Frame, outcome: Outcome) -> Self {
        let queued = frame.arrived.elapsed();
        Self { frame, picture: Err(outcome), cut: false, spent: Duration::ZERO, ready: Instant::now(), queued }
    }
}

/// Conversion to RGB and the letterbox, with the memory that both reuse.
#[derive(Default)]
struct Converter {
    rgb: Option<Conversion>,
    letterboxer: Letterboxer,
}

impl Converter {
    fn letterbox(&mut self, frame: &Frame, canvas: Canvas, memory: Vec<f32>) -> Result<Letterboxed, String> {
        let letterboxer = &mut self.letterboxer;
        if let Some(planes) = Planes::of(&frame.info) {
            let frame = readable(&frame.buffer, &frame.info)?;
            let view = planes.view(&frame).map_err(|e| e.to_string())?;
            return letterboxer.letterbox_yuv(&view, canvas, memory).map_err(|e| e.to_string());
        }
        let place = |rgb: &gst_video::VideoFrameRef<&gst::BufferRef>| {
            view(rgb).and_then(|v| letterboxer.letterbox_into(&v, canvas, memory)).map_err(|e| e.to_string())
        };
        if frame.info.format() == gst_video::VideoFormat::Rgb {
            return place(&readable(&frame.buffer, &frame.info)?);
        }
        let size = (frame.info.width(), frame.info.height());
        place(&Conversion::of(&mut self.rgb, frame, gst_video::VideoFormat::Rgb, size)?)
    }
}
