//! What was found as metadata on the frame's own buffer.
//!
//! Every object is a `GstVideoRegionOfInterestMeta` of type [`ROI_TYPE`] with its id and a `detection` structure; in addition
//! every forwarded frame carries a `GstCustomMeta` named [`FRAME_META`] that lists its queries, so that "not here" can be told
//! from "not looked at". On a shallow copy of the decoder's buffer the pixels stay where they are.

use blocks::preprocess::Rect;
use gstreamer as gst;
use gstreamer_video as gst_video;
use records::track::{FrameResult, Object};
use records::{NormBox, Query, QueryStatus, Resolution};

use crate::overlay::Annotation;

/// `roi_type` of our regions.
pub const ROI_TYPE: &str = "spotter";
/// Name of the custom meta that every forwarded frame carries.
pub const FRAME_META: &str = "SpotterFrameMeta";
const DETECTION: &str = "detection";
const QUERY: &str = "query";
const NOTICE: &str = "notice";

/// Attaches the `result` of `queries` on the frame with the number `seq` to its buffer; boxes are in pixels of `resolution`.
/// `trained` is false where the model's weights are as drawn: captions say so.
pub fn attach<'a>(
    buffer: &mut gst::BufferRef,
    seq: u64,
    resolution: &Resolution,
    result: &FrameResult,
    queries: impl IntoIterator<Item = &'a Query>,
    trained: bool,
) {
    register();
    let (mut claims, mut objects) = (Vec::with_capacity(result.queries.len()), Vec::new());
    for (place, (query, claim)) in queries.into_iter().zip(&result.queries).enumerate() {
        let mut structure = gst::Structure::builder(QUERY)
            .field("name", &query.name)
            .field("text", &query.text)
            .field("rev", query.rev)
            .field("status", claim.status.as_str())
            .field("measured", claim.measured)
            .build();
        if let Some(presence) = claim.presence {
            structure.set("presence", f64::from(presence));
        }
        claims.push(structure);
        objects.extend(claim.objects.iter().map(|object| (place, query, object)));
    }
    if let Ok(mut meta) = gst::meta::CustomMeta::add(buffer, FRAME_META) {
        let structure = meta.mut_structure();
        structure.set("status", result.status.as_str());
        structure.set("seq", seq);
        structure.set("trained", trained);
        structure.set("queries", gst::Array::new(claims));
    }
    for (place, query, object) in objects {
        add_region(buffer, resolution, place, query, object);
    }
    #[cfg(feature = "v1_24")]
    relate(buffer, result);
}

/// The region of one object. `label_id` is the place of its query, from 1.
fn add_region(buffer: &mut gst::BufferRef, resolution: &Resolution, place: usize, query: &Query, object: &Object) {
    let mut meta = gst_video::VideoRegionOfInterestMeta::add(buffer, ROI_TYPE, edges(&object.rect));
    meta.set_id((object.id & i32::MAX as u64) as i32);
    let norm = NormBox::new(&object.rect, resolution);
    let mut detection = gst::Structure::builder(DETECTION)
        .field("label", &query.name)
        .field("label_id", u32::try_from(place + 1).unwrap_or(u32::MAX))
        .field("id", object.id)
        .field("measured", object.measured)
        .field("x_min", norm.x)
        .field("y_min", norm.y)
        .field("x_max", norm.x + norm.w)
        .field("y_max", norm.y + norm.h)
        .build();
    if let Some(score) = object.score {
        detection.set("confidence", f64::from(score));
    }
    meta.add_param(detection);
}

/// Left, top, width and height in whole pixels. Edges are rounded, then subtracted: neighbouring boxes stay neighbours.
fn edges(rect: &Rect) -> (u32, u32, u32, u32) {
    let edge = |value: f64| value.round().max(0.0) as u32;
    let (x, y) = (edge(rect.x0), edge(rect.y0));
    (x, y, edge(rect.x1).saturating_sub(x), edge(rect.y1).saturating_sub(y))
}

/// The same objects in GStreamer's own analytics metadata, as detections of type [`ROI_TYPE`], each tied to a track of its
/// id. A model without scores claims no confidence; there is no way to say so but 1.
#[cfg(feature = "v1_24")]
fn relate(buffer: &mut gst::BufferRef, result: &FrameResult) {
    use gstreamer_analytics::prelude::*;
    let objects: Vec<&Object> = result.queries.iter().flat_map(|claim| &claim.objects).collect();
    if objects.is_empty() {
        return;
    }
    let mut meta = gstreamer_analytics::AnalyticsRelationMeta::add(buffer);
    let kind = gst::glib::Quark::from_str(ROI_TYPE);
    for object in objects {
        let (x, y, w, h) = edges(&object.rect);
        let score = object.score.unwrap_or(1.0);
        let detection = meta.add_od_mtd(kind, x as i32, y as i32, w as i32, h as i32, score).map(|mtd| mtd.id());
        let track = meta.add_tracking_mtd(object.id, gst::ClockTime::ZERO).map(|mtd| mtd.id());
        let tied = detection.and_then(|detection| {
            let track = track?;
            meta.set_relation(gstreamer_analytics::RelTypes::RELATE_TO, detection, track)
        });
        if let Err(error) = tied {
            tracing::debug!("analytics metadata: {error}");
        }
    }
}

/// Reads back from a buffer what is to be drawn on it. Empty for a frame of which nothing is claimed.
pub fn annotations(buffer: &gst::BufferRef) -> Vec<Annotation> {
    let Ok(frame) = gst::meta::CustomMeta::from_buffer(buffer, FRAME_META) else { return Vec::new() };
    let structure = frame.structure();
    let trained = structure.get::<bool>("trained").unwrap_or(true);
    // Set where the picture is of later than what is claimed of it.
    let late = structure.get::<bool>("late").unwrap_or(false);
    let regions = buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>().filter(|r| r.roi_type() == ROI_TYPE);
    let of_region = |region: gst::MetaRef<'_, gst_video::VideoRegionOfInterestMeta>| {
        let detection = region.param(DETECTION)?;
        let (x, y, w, h) = region.rect();
        let (x, y) = (f64::from(x), f64::from(y));
        let place = detection.get::<u32>("label_id").unwrap_or(1).saturating_sub(1) as usize;
        Some(Annotation {
            rect: Some(Rect { x0: x, y0: y, x1: x + f64::from(w), y1: y + f64::from(h) }),
            carried: late || !detection.get::<bool>("measured").unwrap_or(true),
            place,
            query: detection.get("label").ok()?,
            id: detection.get("id").ok(),
            score: detection.get::<f64>("confidence").ok().map(|score| score as f32),
            trained,
        })
    };
    let mut all: Vec<Annotation> = regions.filter_map(of_region).collect();
    let claims = structure.get::<gst::Array>("queries");
    let claims = claims.iter().flat_map(gst::Array::as_slice).filter_map(|value| value.get::<gst::Structure>().ok());
    for (place, claim) in claims.enumerate() {
        if claim.get::<&str>("status") != Ok(QueryStatus::Absent.as_str()) {
            continue;
        }
        let Ok(query) = claim.get::<String>("name") else { continue };
        let score = claim.get::<f64>("presence").ok().map(|presence| presence as f32);
        let carried = late || !claim.get::<bool>("measured").unwrap_or(true);
        all.push(Annotation { rect: None, carried, place, query, id: None, score, trained });
    }
    all
}

/// Copies what is claimed of a frame onto another picture of it, on which `place` says where a box lies.
pub(crate) fn carry_over(from: &gst::BufferRef, to: &mut gst::BufferRef, place: impl Fn(Rect) -> Rect) {
    register();
    if let (Ok(before), Ok(mut after)) =
        (gst::meta::CustomMeta::from_buffer(from, FRAME_META), gst::meta::CustomMeta::add(to, FRAME_META))
    {
        for (name, value) in before.structure() {
            after.mut_structure().set_value(name, value.clone());
        }
    }
    for region in from.iter_meta::<gst_video::VideoRegionOfInterestMeta>().filter(|r| r.roi_type() == ROI_TYPE) {
        let (x, y, w, h) = region.rect();
        let (x, y) = (f64::from(x), f64::from(y));
        let rect = place(Rect { x0: x, y0: y, x1: x + f64::from(w), y1: y + f64::from(h) });
        let mut copy = gst_video::VideoRegionOfInterestMeta::add(to, ROI_TYPE, edges(&rect));
        copy.set_id(region.id());
        if let Some(detection) = region.param(DETECTION) {
            copy.add_param(detection.to_owned());
        }
    }
}

/// Notes on a frame that it is not of now, in words to be drawn on it. What is claimed of it is of then.
pub fn set_notice(buffer: &mut gst::BufferRef, notice: &str) {
    register();
    if gst::meta::CustomMeta::from_buffer(buffer, FRAME_META).is_err() {
        drop(gst::meta::CustomMeta::add(buffer, FRAME_META));
    }
    if let Ok(mut meta) = gst::meta::CustomMeta::from_mut_buffer(buffer, FRAME_META) {
        meta.mut_structure().set(NOTICE, notice);
        meta.mut_structure().set("late", true);
    }
}

/// What [`set_notice`] noted.
pub(crate) fn notice(buffer: &gst::BufferRef) -> Option<String> {
    gst::meta::CustomMeta::from_buffer(buffer, FRAME_META).ok()?.structure().get(NOTICE).ok()
}

fn register() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| gst::meta::CustomMeta::register_simple(FRAME_META));
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use blocks::findings::{Finding, Findings};
    use records::track::{Outcome, StreamTracker, TrackedQuery, Tracking};

    use super::*;
    use crate::overlay::Parts;

    /// Claims that something was found at `x, y, w, h`.
    pub(crate) fn mark(buffer: &mut gst::BufferRef, place: (u32, u32, u32, u32)) {
        register();
        gst::meta::CustomMeta::add(buffer, FRAME_META).expect("registered");
        let mut region = gst_video::VideoRegionOfInterestMeta::add(buffer, ROI_TYPE, place);
        region.add_param(gst::Structure::builder(DETECTION).field("label", "a dog").build());
    }

    fn rect() -> Rect {
        Rect { x0: 10.4, y0: 20.6, x1: 50.5, y1: 60.2 }
    }

    fn asked(texts: &[&str]) -> StreamTracker {
        let asked = |text: &&str| TrackedQuery { query: Query::of(text), tracking: Tracking::plain(Some(0.5)) };
        StreamTracker::new(texts.iter().map(asked).collect())
    }

    fn one_box(presence: f32) -> Vec<Findings> {
        let found = vec![Finding { rect: rect(), on_canvas: [0.0; 4], score: Some(presence) }];
        vec![Findings { presence: Some(presence), found }]
    }

    fn see(track: &mut StreamTracker, outcome: &Outcome) -> gst::Buffer {
        let result = track.update(outcome, Duration::ZERO, 400.0);
        annotated(&buffer(), &result, track)
    }

    fn annotated(buffer: &gst::Buffer, result: &FrameResult, track: &StreamTracker) -> gst::Buffer {
        let resolution = Resolution { width: 320, height: 240, rotation: 0, par: 1.0 };
        let mut copy = buffer.copy();
        attach(copy.make_mut(), 7, &resolution, result, track.queries(), true);
        copy
    }

    /// A frame of 320 x 240 in I420.
    fn buffer() -> gst::Buffer {
        gst::init().expect("GStreamer starts");
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 320, 240).build().expect("a format");
        gst::Buffer::with_size(info.size()).expect("memory")
    }

    fn captions(buffer: &gst::BufferRef) -> Vec<String> {
        annotations(buffer).iter().filter_map(|annotation| annotation.caption(Parts::default())).collect()
    }

    #[test]
    fn boxes_ride_the_same_memory() {
        let (decoded, mut track) = (buffer(), asked(&["the red car", "a dog", "a cat"]));
        let answer = [one_box(0.75), one_box(0.1), one_box(0.9)].concat();
        let result = track.update(&Outcome::Measured(answer), Duration::ZERO, 400.0);
        let annotated = annotated(&decoded, &result, &track);
        let address = |buffer: &gst::BufferRef| buffer.peek_memory(0).as_ptr();
        assert_eq!(address(&annotated), address(&decoded), "no pixel was copied");
        assert!(decoded.meta::<gst_video::VideoRegionOfInterestMeta>().is_none(), "the decoder's buffer is untouched");

        let regions: Vec<_> = annotated.iter_meta::<gst_video::VideoRegionOfInterestMeta>().collect();
        assert_eq!(regions.len(), 2);
        assert_eq!((regions[0].roi_type(), regions[0].rect()), ("spotter", (10, 21, 41, 39)));
        assert_ne!(regions[0].id(), regions[1].id());
        let detection = regions[0].param("detection").expect("a detection");
        assert_eq!(detection.get::<&str>("label"), Ok("the red car"));
        assert_eq!(detection.get::<f64>("confidence"), Ok(0.75));
        assert!((detection.get::<f64>("x_min").expect("a number") - 10.4 / 320.0).abs() < 1e-12);
        assert!((detection.get::<f64>("y_max").expect("a number") - 60.2 / 240.0).abs() < 1e-12);
        assert_eq!(captions(&annotated), ["the red car 75 %", "a cat 90 %", "not here: a dog 10 %"]);
        let read = annotations(&annotated);
        assert_eq!(read[0].rect, Some(Rect { x0: 10.0, y0: 21.0, x1: 51.0, y1: 60.0 }));
        assert_eq!(read.iter().map(|annotation| annotation.place).collect::<Vec<_>>(), [0, 2, 1]);
    }

    #[test]
    fn absence_has_no_region_but_is_said() {
        let mut track = asked(&["a dog"]);
        let annotated = see(&mut track, &Outcome::Measured(one_box(0.1)));
        assert!(annotated.meta::<gst_video::VideoRegionOfInterestMeta>().is_none());
        assert_eq!(captions(&annotated), ["not here: a dog 10 %"]);
        let failed = Outcome::Error { cause: "picture", message: String::new() };
        assert_eq!(annotations(&see(&mut track, &failed)), [], "nothing is claimed of an unmeasured frame");
    }

    #[test]
    fn a_carried_box_says_so() {
        let mut track = asked(&["a dog"]);
        see(&mut track, &Outcome::Measured(one_box(0.9)));
        let annotated = see(&mut track, &Outcome::Skipped { cause: "stride" });
        let region = annotated.meta::<gst_video::VideoRegionOfInterestMeta>().expect("a region");
        assert_eq!(region.param("detection").expect("a detection").get::<bool>("measured"), Ok(false));
        let read = annotations(&annotated);
        assert!(read[0].carried && read[0].rect.is_some());
    }
}
