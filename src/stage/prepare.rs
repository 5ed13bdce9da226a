//! Decoded frame → letterboxed picture. Colour follows the caps' matrix and range (`GstVideoConverter`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use qrnet::Canvas;
use qrnet::preprocess::{Letterboxed, Letterboxer, RgbView};

use super::intake::Arrival;
use super::sampling::Sampler;
use super::{Frame, Outcome, Prepared, StageSettings};
use crate::track::{CutDetector, THUMBNAIL};

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

/// Grey thumbnails of frames in any format, compared one by one.
#[derive(Default)]
struct Cuts {
    detector: CutDetector,
    grey: Option<Conversion>,
    packed: Vec<u8>,
}

impl Cuts {
    /// A frame that cannot be read is no cut; that it cannot be read is found out again where it matters.
    fn is_cut(&mut self, frame: &Frame) -> bool {
        let (w, h) = THUMBNAIL;
        let size = (w as u32, h as u32);
        let Ok(grey) = Conversion::of(&mut self.grey, frame, gst_video::VideoFormat::Gray8, size) else { return false };
        self.packed.clear();
        let (data, stride) = (grey.plane_data(0).unwrap_or_default(), grey.plane_stride()[0]);
        for row in data.chunks(usize::try_from(stride).unwrap_or(w).max(1)).take(h) {
            self.packed.extend_from_slice(&row[..w.min(row.len())]);
        }
        self.detector.is_cut(&self.packed)
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

/// A conversion of format and size, kept while its frames stay alike.
struct Conversion {
    from: Arc<gst_video::VideoInfo>,
    converter: gst_video::VideoConverter,
    target: gst_video::VideoInfo,
    buffer: gst::Buffer,
}

impl Conversion {
    /// Converts `frame`, making `slot` fit first where it does not.
    fn of<'a>(
        slot: &'a mut Option<Self>,
        frame: &Frame,
        format: gst_video::VideoFormat,
        size: (u32, u32),
    ) -> Result<gst_video::VideoFrameRef<&'a gst::BufferRef>, String> {
        let source = readable(&frame.buffer, &frame.info)?;
        let conversion = match slot.take().filter(|known| known.from == frame.info) {
            Some(known) => slot.insert(known),
            None => slot.insert(Self::new(&frame.info, format, size)?),
        };
        let buffer = conversion.buffer.make_mut();
        let mut target = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, &conversion.target)
            .map_err(|e| e.to_string())?;
        conversion.converter.frame_ref(&source, &mut target);
        drop(target);
        readable(&conversion.buffer, &conversion.target)
    }

    fn new(from: &Arc<gst_video::VideoInfo>, format: gst_video::VideoFormat, size: (u32, u32)) -> Result<Self, String> {
        // The converter changes colour and size, never rate or interlacing.
        let target = gst_video::VideoInfo::builder(format, size.0, size.1)
            .fps(from.fps())
            .interlace_mode(from.interlace_mode())
            .build()
            .map_err(|e| e.to_string())?;
        let converter = gst_video::VideoConverter::new(from, &target, None)
            .map_err(|e| format!("{:?} cannot be converted to {format:?}: {e}", from.format()))?;
        let buffer = gst::Buffer::with_size(target.size()).map_err(|e| e.to_string())?;
        Ok(Self { from: Arc::clone(from), converter, target, buffer })
    }
}

fn readable<'a>(
    buffer: &'a gst::Buffer,
    info: &'a gst_video::VideoInfo,
) -> Result<gst_video::VideoFrameRef<&'a gst::BufferRef>, String> {
    gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info)
        .map_err(|e| format!("the frame's memory cannot be mapped: {e}"))
}

fn view<'a>(frame: &'a gst_video::VideoFrameRef<&gst::BufferRef>) -> qrnet::Result<RgbView<'a>> {
    let data = frame.plane_data(0).unwrap_or_default();
    let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or(0);
    RgbView::new(frame.width() as usize, frame.height() as usize, stride, data)
}
