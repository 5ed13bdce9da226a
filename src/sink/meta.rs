//! The verdict as metadata on the frame's own buffer.
//!
//! A found object is a `GstVideoRegionOfInterestMeta` of type [`ROI_TYPE`] with a `detection` structure; in addition
//! every forwarded frame carries a `GstCustomMeta` named [`FRAME_META`], so that "not here" can be told from "not
//! looked at". The copy is shallow: the pixels stay where the decoder put them.

use blocks::preprocess::Rect;
use gstreamer as gst;
use gstreamer_video as gst_video;
use records::track::Seen;
use records::{FrameStatus, NormBox};

use crate::overlay::Annotation;
use crate::stage::Frame;

/// `roi_type` of our regions.
pub const ROI_TYPE: &str = "spotter";
/// Name of the custom meta that every forwarded frame carries.
pub const FRAME_META: &str = "SpotterFrameMeta";
const DETECTION: &str = "detection";
const NOTICE: &str = "notice";

/// What was asked of the frames.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The sentence.
    pub text: &'a str,
    /// Counts up when it changes while running.
    pub rev: u32,
    /// False where the model's weights are as drawn: the caption says so.
    pub trained: bool,
}

/// A shallow copy of the frame's buffer with the verdict on it.
pub fn annotate(frame: &Frame, seen: &Seen, query: &Query) -> gst::Buffer {
    register();
    let mut buffer = frame.buffer.copy();
    let writable = buffer.make_mut();
    if let Ok(mut meta) = gst::meta::CustomMeta::add(writable, FRAME_META) {
        let structure = meta.mut_structure();
        structure.set("status", seen.status.as_str());
        structure.set("seq", frame.seq);
        structure.set("query", query.text);
        structure.set("query-rev", query.rev);
        structure.set("trained", query.trained);
        structure.set("measured", seen.measured);
        if let Some(presence) = seen.presence {
            structure.set("presence", f64::from(presence));
        }
    }
    if let Some(rect) = &seen.rect {
        // Edges are rounded, then subtracted: neighbouring boxes stay neighbours.
        let edge = |value: f64| value.round().max(0.0) as u32;
        let (x, y) = (edge(rect.x0), edge(rect.y0));
        let size = (edge(rect.x1) - x, edge(rect.y1) - y);
        let mut meta = gst_video::VideoRegionOfInterestMeta::add(writable, ROI_TYPE, (x, y, size.0, size.1));
        let norm = NormBox::new(rect, &frame.resolution());
        let mut detection = gst::Structure::builder(DETECTION)
            .field("query", query.text)
            .field("measured", seen.measured)
            .field("x_min", norm.x)
            .field("y_min", norm.y)
            .field("x_max", norm.x + norm.w)
            .field("y_max", norm.y + norm.h)
            .build();
        if let Some(presence) = seen.presence {
            detection.set("presence", f64::from(presence));
        }
        meta.add_param(detection);
        #[cfg(feature = "v1_24")]
        relate(writable, (x, y), size, seen.presence);
    }
    buffer
}

/// The same box as an object detection of GStreamer's own analytics metadata, of type [`ROI_TYPE`]. A model without a
/// presence head claims no confidence; there is no way to say so but 1.
#[cfg(feature = "v1_24")]
fn relate(buffer: &mut gst::BufferRef, (x, y): (u32, u32), (w, h): (u32, u32), presence: Option<f32>) {
    use gstreamer_analytics::prelude::*;
    let mut meta = gstreamer_analytics::AnalyticsRelationMeta::add(buffer);
    let kind = gst::glib::Quark::from_str(ROI_TYPE);
    if let Err(error) = meta.add_od_mtd(kind, x as i32, y as i32, w as i32, h as i32, presence.unwrap_or(1.0)) {
        tracing::debug!("analytics metadata: {error}");
    }
}

/// Reads back from a buffer what is to be drawn on it. `None` for a frame of which nothing is claimed.
pub fn annotation(buffer: &gst::BufferRef) -> Option<Annotation> {
    let frame = gst::meta::CustomMeta::from_buffer(buffer, FRAME_META).ok()?;
    let structure = frame.structure();
    let query = structure.get::<String>("query").ok()?;
    let presence = structure.get::<f64>("presence").ok().map(|p| p as f32);
    let trained = structure.get::<bool>("trained").unwrap_or(true);
    let measured = structure.get::<bool>("measured").unwrap_or(true);
    let region = buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>().find(|r| r.roi_type() == ROI_TYPE);
    let rect = region.map(|region| {
        let (x, y, w, h) = region.rect();
        let (x, y) = (f64::from(x), f64::from(y));
        Rect { x0: x, y0: y, x1: x + f64::from(w), y1: y + f64::from(h) }
    });
    let claimed = rect.is_some() || structure.get::<&str>("status") == Ok(FrameStatus::Absent.as_str());
    claimed.then_some(Annotation { rect, carried: !measured, query, presence, trained })
}

/// Copies what is claimed of a frame onto another picture of it, on which `place` says where a box lies.
pub(super) fn carry_over(from: &gst::BufferRef, to: &mut gst::BufferRef, place: impl Fn(Rect) -> Rect) {
    register();
    if let (Ok(before), Ok(mut after)) =
        (gst::meta::CustomMeta::from_buffer(from, FRAME_META), gst::meta::CustomMeta::add(to, FRAME_META))
    {
        for (name, value) in before.structure() {
            after.mut_structure().set_value(name, value.clone());
        }
    }
    if let Some(rect) = annotation(from).and_then(|annotation| annotation.rect) {
        let rect = place(rect);
        let edge = |value: f64| value.round().max(0.0) as u32;
        let (x, y) = (edge(rect.x0), edge(rect.y0));
        let size = (edge(rect.x1).saturating_sub(x), edge(rect.y1).saturating_sub(y));
        gst_video::VideoRegionOfInterestMeta::add(to, ROI_TYPE, (x, y, size.0, size.1));
    }
}

/// Notes on a frame that it is not of now, in words to be drawn on it. What is claimed of it is of then.
pub(super) fn set_notice(buffer: &mut gst::BufferRef, notice: &str) {
    register();
    if gst::meta::CustomMeta::from_buffer(buffer, FRAME_META).is_err() {
        drop(gst::meta::CustomMeta::add(buffer, FRAME_META));
    }
    if let Ok(mut meta) = gst::meta::CustomMeta::from_mut_buffer(buffer, FRAME_META) {
        meta.mut_structure().set(NOTICE, notice);
        meta.mut_structure().set("measured", false);
    }
}

/// What [`set_notice`] noted.
pub(super) fn notice(buffer: &gst::BufferRef) -> Option<String> {
    gst::meta::CustomMeta::from_buffer(buffer, FRAME_META).ok()?.structure().get(NOTICE).ok()
}

fn register() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| gst::meta::CustomMeta::register_simple(FRAME_META));
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use records::track::{Outcome, Track, Tracking};

    /// Claims that something was found at `x, y, w, h`.
    pub(in crate::sink) fn mark(buffer: &mut gst::BufferRef, place: (u32, u32, u32, u32)) {
        register();
        let mut meta = gst::meta::CustomMeta::add(buffer, FRAME_META).expect("registered");
        meta.mut_structure().set("query", "a dog");
        gst_video::VideoRegionOfInterestMeta::add(buffer, ROI_TYPE, place);
    }

    fn rect() -> Rect {
        Rect { x0: 10.4, y0: 20.6, x1: 50.5, y1: 60.2 }
    }

    fn seen(rect: Rect, presence: f32) -> Seen {
        let measured = Outcome::Measured { rect, presence: Some(presence) };
        Track::new(Tracking::plain(Some(0.5))).see(&measured, Duration::ZERO, 400.0)
    }

    fn query(text: &str) -> Query<'_> {
        Query { text, rev: 1, trained: true }
    }

    fn frame() -> Frame {
        gst::init().expect("GStreamer starts");
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 320, 240).build().expect("a format");
        let buffer = gst::Buffer::with_size(info.size()).expect("memory");
        Frame {
            seq: 7,
            buffer,
            info: Arc::new(info),
            rotation: 0,
            captured: None,
            clock: records::Clock::File,
            connection: 1,
            corrupt: false,
            damaged: false,
            stream_time: None,
            running_time: None,
            arrived: Instant::now(),
        }
    }

    #[test]
    fn the_box_rides_the_same_memory() {
        let frame = frame();
        let annotated = annotate(&frame, &seen(rect(), 0.75), &query("the red car"));
        let address = |buffer: &gst::BufferRef| buffer.peek_memory(0).as_ptr();
        assert_eq!(address(&annotated), address(&frame.buffer), "no pixel was copied");
        assert!(
            frame.buffer.meta::<gst_video::VideoRegionOfInterestMeta>().is_none(),
            "the decoder's buffer is untouched"
        );

        let region = annotated.meta::<gst_video::VideoRegionOfInterestMeta>().expect("a region");
        assert_eq!((region.roi_type(), region.rect()), ("spotter", (10, 21, 41, 39)));
        let detection = region.param("detection").expect("a detection");
        assert_eq!(detection.get::<&str>("query"), Ok("the red car"));
        assert_eq!(detection.get::<f64>("presence"), Ok(0.75));
        assert!((detection.get::<f64>("x_min").expect("a number") - 10.4 / 320.0).abs() < 1e-12);
        assert!((detection.get::<f64>("y_max").expect("a number") - 60.2 / 240.0).abs() < 1e-12);
        let read = annotation(&annotated).expect("an annotation");
        assert_eq!(read.caption(), "the red car 75 %");
        assert_eq!(read.rect, Some(Rect { x0: 10.0, y0: 21.0, x1: 51.0, y1: 60.0 }));
    }

    #[test]
    fn absence_has_no_region_but_is_said() {
        let absent = seen(rect(), 0.1);
        let annotated = annotate(&frame(), &absent, &query("a dog"));
        assert!(annotated.meta::<gst_video::VideoRegionOfInterestMeta>().is_none());
        assert_eq!(annotation(&annotated).expect("an annotation").caption(), "not here: a dog 10 %");
        let failed = Outcome::Error { cause: "picture", message: String::new() };
        let failed = Track::new(Tracking::plain(None)).see(&failed, Duration::ZERO, 400.0);
        assert_eq!(
            annotation(&annotate(&frame(), &failed, &query("a dog"))),
            None,
            "nothing is claimed of an unmeasured frame"
        );
    }

    #[test]
    fn a_carried_box_says_so() {
        let mut track = Track::new(Tracking::plain(Some(0.5)));
        track.see(&Outcome::Measured { rect: rect(), presence: Some(0.9) }, Duration::ZERO, 400.0);
        let skipped = track.see(&Outcome::Skipped { cause: "stride" }, Duration::ZERO, 400.0);
        let annotated = annotate(&frame(), &skipped, &query("a dog"));
        let region = annotated.meta::<gst_video::VideoRegionOfInterestMeta>().expect("a region");
        assert_eq!(region.param("detection").expect("a detection").get::<bool>("measured"), Ok(false));
        let read = annotation(&annotated).expect("an annotation");
        assert!(read.carried && read.rect.is_some());
    }
}
