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

use super::{Frame, Prepared};

/// Prepares frames until there are none or nobody takes them.
pub(super) fn run(
    frames: &Receiver<Frame>,
    prepared: &Sender<Prepared>,
    recycled: &Receiver<Vec<f32>>,
    canvas: Canvas,
    stop: &AtomicBool,
) {
    let mut converter = Converter::default();
    for frame in frames {
        let start = Instant::now();
        let queued = start.duration_since(frame.arrived);
        let picture = if stop.load(Ordering::Acquire) {
            Err(String::new())
        } else {
            converter.letterbox(&frame, canvas, recycled.try_recv().unwrap_or_default())
        };
        let ready = Instant::now();
        let spent = if picture.is_ok() { ready - start } else { Duration::ZERO };
        if prepared.send(Prepared { frame, picture, spent, ready, queued }).is_err() {
            return;
        }
    }
}

/// Conversion to RGB and the letterbox, with the memory that both reuse.
#[derive(Default)]
pub(crate) struct Converter {
    rgb: Option<ToRgb>,
    letterboxer: Letterboxer,
}

struct ToRgb {
    from: Arc<gst_video::VideoInfo>,
    converter: gst_video::VideoConverter,
    target: gst_video::VideoInfo,
    buffer: gst::Buffer,
}

impl Converter {
    fn letterbox(&mut self, frame: &Frame, canvas: Canvas, memory: Vec<f32>) -> Result<Letterboxed, String> {
        let source = gst_video::VideoFrameRef::from_buffer_ref_readable(&frame.buffer, &frame.info)
            .map_err(|e| format!("the frame's memory cannot be mapped: {e}"))?;
        if frame.info.format() == gst_video::VideoFormat::Rgb {
            return view(&source)
                .and_then(|v| self.letterboxer.letterbox_into(&v, canvas, memory))
                .map_err(|e| e.to_string());
        }
        if self.rgb.as_ref().is_none_or(|rgb| rgb.from != frame.info) {
            self.rgb = Some(ToRgb::new(&frame.info)?);
        }
        let rgb = self.rgb.as_mut().ok_or("no converter")?;
        let buffer = rgb.buffer.make_mut();
        let mut target =
            gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, &rgb.target).map_err(|e| e.to_string())?;
        rgb.converter.frame_ref(&source, &mut target);
        drop(target);
        let target =
            gst_video::VideoFrameRef::from_buffer_ref_readable(&rgb.buffer, &rgb.target).map_err(|e| e.to_string())?;
        view(&target).and_then(|v| self.letterboxer.letterbox_into(&v, canvas, memory)).map_err(|e| e.to_string())
    }
}

impl ToRgb {
    fn new(from: &Arc<gst_video::VideoInfo>) -> Result<Self, String> {
        // The converter changes colour and size, never rate or interlacing.
        let target = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, from.width(), from.height())
            .fps(from.fps())
            .interlace_mode(from.interlace_mode())
            .build()
            .map_err(|e| e.to_string())?;
        let converter = gst_video::VideoConverter::new(from, &target, None)
            .map_err(|e| format!("{:?} cannot be converted to RGB: {e}", from.format()))?;
        let buffer = gst::Buffer::with_size(target.size()).map_err(|e| e.to_string())?;
        Ok(Self { from: Arc::clone(from), converter, target, buffer })
    }
}

fn view<'a>(frame: &'a gst_video::VideoFrameRef<&gst::BufferRef>) -> qrnet::Result<RgbView<'a>> {
    let data = frame.plane_data(0).unwrap_or_default();
    let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or(0);
    RgbView::new(frame.width() as usize, frame.height() as usize, stride, data)
}
