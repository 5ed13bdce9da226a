//! The frame on which a thing is seen best, as JPEG: the whole picture with the box drawn in, and the thing alone, as it is.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use blocks::preprocess::Rect;
use frames::Portraits;
use frames::overlay::{Annotation, Parts, blend_rgb, tiles};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use super::types::FileRef;
use crate::error::{Error, Result};
use crate::sink::file_name;
use crate::stage::Frame;

/// How snapshots are made.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotSettings {
    /// Of the JPEG, 1..=100.
    pub quality: u8,
    /// What is left around the thing that is cut out, as a share of its width and height.
    pub margin: f64,
}

impl Default for SnapshotSettings {
    /// Quality 90, a tenth around.
    fn default() -> Self {
        Self { quality: 90, margin: 0.1 }
    }
}

/// A better picture is better by so much, so that it is not taken anew with every frame.
const BETTER: f64 = 1.15;

/// What is seen on a frame.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// In pixels of the frame.
    pub rect: Rect,
    /// Probability that it is there.
    pub score: Option<f32>,
    /// Name of its query.
    pub query: &'a str,
    /// Which of the queries of its stream, from 0: each has a colour.
    pub place: usize,
}

/// A frame as packed RGB: one for all sightings whose best it is.
struct Picture {
    rgb: Vec<u8>,
    width: usize,
    height: usize,
}

/// The best frame of a sighting.
pub struct Shot {
    picture: Arc<Picture>,
    annotation: Annotation,
    rect: Rect,
    pts_ns: Option<u64>,
}

/// A snapshot as JPEG.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// The whole picture, the box drawn in.
    pub whole: Vec<u8>,
    /// The thing alone, nothing drawn.
    pub crop: Vec<u8>,
}

/// The best frame of a sighting so far.
struct Best {
    worth: f64,
    /// None where it was taken already.
    shot: Option<Shot>,
}

/// The best frames of sightings that last.
#[derive(Default)]
pub struct Snapshots {
    portraits: Portraits,
    /// By the sighting's id.
    best: HashMap<String, Best>,
}

/// A frame that is looked at for several sightings, and what it was converted to for the first of them.
pub struct Look<'a> {
    frame: &'a Frame,
    picture: Option<Arc<Picture>>,
}

impl<'a> Look<'a> {
    /// At a frame.
    pub fn new(frame: &'a Frame) -> Self {
        Self { frame, picture: None }
    }
}

impl Snapshots {
    /// Looks at a frame of the sighting `id`, and keeps it where it is clearly better than the best one so far: score times size times
    /// sharpness. True where it was kept.
    pub fn consider(&mut self, id: &str, look: &mut Look, seen: &Seen) -> bool {
        match self.shoot(id, look, seen) {
            Ok(Some(best)) => {
                self.best.insert(id.to_owned(), best);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!("no snapshot of frame {}: {error}", look.frame.seq);
                false
            }
        }
    }

    fn shoot(&mut self, id: &str, look: &mut Look, seen: &Seen) -> frames::Result<Option<Best>> {
        let frame = look.frame;
        let (width, height) = (frame.info.width() as usize, frame.info.height() as usize);
        let rect = within(&seen.rect, width, height);
        let size = rect.width() * rect.height() / (width * height).max(1) as f64;
        if size <= 0.0 {
            return Ok(None);
        }
        let sharpness = self.portraits.sharpness(&frame.buffer, &frame.info, &rect)?;
        // A thing without any edges has a best frame too.
        let worth = f64::from(seen.score.unwrap_or(1.0)) * size * (1.0 + sharpness);
        if self.best.get(id).is_some_and(|best| worth < BETTER * best.worth) {
            return Ok(None);
        }
        let annotation = Annotation {
            rect: Some(rect),
            carried: false,
            place: seen.place,
            query: seen.query.to_owned(),
            id: None,
            score: seen.score,
            trained: true,
        };
        let picture = if let Some(picture) = &look.picture {
            Arc::clone(picture)
        } else {
            let rgb = self.portraits.rgb(&frame.buffer, &frame.info)?;
            Arc::clone(look.picture.insert(Arc::new(Picture { rgb, width, height })))
        };
        let pts_ns = frame.stream_time.map(gstreamer::ClockTime::nseconds);
        Ok(Some(Best { worth, shot: Some(Shot { picture, annotation, rect, pts_ns }) }))
    }

    /// Takes the best frame of a sighting so far; none where there is none that is better than what was taken last.
    pub fn take(&mut self, id: &str) -> Option<Shot> {
        self.best.get_mut(id)?.shot.take()
    }

    /// Forgets a sighting that is over.
    pub fn forget(&mut self, id: &str) {
        self.best.remove(id);
    }
}

impl Shot {
    /// It as JPEG.
    ///
    /// # Errors
    /// It cannot be drawn on, or is too large for a JPEG.
    pub fn pictures(&self, settings: SnapshotSettings) -> Result<Pictures> {
        let Picture { rgb, width, height } = &*self.picture;
        let mut drawn = rgb.clone();
        let tiles = tiles(std::slice::from_ref(&self.annotation), Parts::default(), *width, *height)?;
        blend_rgb(&mut drawn, *width, &tiles);
        let whole = jpeg(&drawn, (*width, *height), settings.quality)?;
        let (crop, size) = self.cut(settings.margin);
        Ok(Pictures { whole, crop: jpeg(&crop, size, settings.quality)? })
    }

    /// Writes it for the sighting `id` into `folder`, `ID.jpg` and `ID-crop.jpg`, in place of what is there of it. Gives the files, and
    /// the first of them as it is.
    ///
    /// # Errors
    /// As of [`Shot::pictures`], or a file cannot be written.
    pub fn write(&self, id: &str, folder: &Path, settings: SnapshotSettings) -> Result<(Vec<FileRef>, Vec<u8>)> {
        let Pictures { whole, crop } = self.pictures(settings)?;
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let name = file_name(id);
        let files = [("snapshot", ".jpg", &whole), ("crop", "-crop.jpg", &crop)];
        let written = files.into_iter().map(|(kind, ending, bytes)| -> Result<FileRef> {
            let path = folder.join(format!("{name}{ending}"));
            blocks::files::write(&path, bytes)?;
            Ok(FileRef { kind: kind.to_owned(), path, start_pts_ns: self.pts_ns, end_pts_ns: self.pts_ns })
        });
        Ok((written.collect::<Result<_>>()?, whole))
    }

    /// The thing, with a margin; packed RGB, and its width and height.
    fn cut(&self, margin: f64) -> (Vec<u8>, (usize, usize)) {
        let Self { rect, picture, .. } = self;
        let Picture { rgb, width, height } = &**picture;
        let (x, y) = (margin * rect.width(), margin * rect.height());
        let around = Rect { x0: rect.x0 - x, y0: rect.y0 - y, x1: rect.x1 + x, y1: rect.y1 + y };
        let around = within(&around, *width, *height);
        let (left, right) = pixels(around.x0, around.x1, *width);
        let (top, bottom) = pixels(around.y0, around.y1, *height);
        let rows = rgb.chunks(3 * width).take(bottom).skip(top);
        let crop = rows.flat_map(|row| &row[3 * left..3 * right]).copied().collect();
        (crop, (right - left, bottom - top))
    }
}

fn jpeg(rgb: &[u8], (width, height): (usize, usize), quality: u8) -> Result<Vec<u8>> {
    let fail = |reason: String| Error::Output { name: "snapshot".into(), reason };
    let side = |side: usize| {
        let side = u16::try_from(side).map(u32::from);
        side.map_err(|_| fail(format!("the picture is {width}x{height}, expected sides of up to 65535 pixels")))
    };
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(rgb, side(width)?, side(height)?, ExtendedColorType::Rgb8)
        .map_err(|e| fail(e.to_string()))?;
    Ok(bytes)
}

/// What of a box lies in the picture.
fn within(rect: &Rect, width: usize, height: usize) -> Rect {
    let (x, y) = (|x: f64| x.clamp(0.0, width as f64), |y: f64| y.clamp(0.0, height as f64));
    Rect { x0: x(rect.x0), y0: y(rect.y0), x1: x(rect.x1), y1: y(rect.y1) }
}

/// All pixels that a stretch touches, at least one.
fn pixels(from: f64, to: f64, length: usize) -> (usize, usize) {
    let from = (from.floor() as usize).min(length.saturating_sub(1));
    (from, (to.ceil() as usize).clamp(from + 1, length.max(from + 1)))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use gstreamer as gst;
    use gstreamer_video as gst_video;
    use records::Clock;

    use super::*;

    /// A grey frame with bright stripes within a box.
    fn frame(rect: &Rect, stripe: usize) -> Frame {
        gst::init().expect("GStreamer starts");
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Gray8, 64, 48).build().expect("a format");
        let mut pixels = vec![100u8; info.size()];
        let stride = usize::try_from(info.stride()[0]).expect("positive");
        for y in rect.y0 as usize..rect.y1 as usize {
            for x in rect.x0 as usize..rect.x1 as usize {
                pixels[y * stride + x] = if x / stripe % 2 == 1 { 220 } else { 100 };
            }
        }
        Frame {
            seq: 0,
            buffer: gst::Buffer::from_mut_slice(pixels),
            info: Arc::new(info),
            rotation: 0,
            stream_time: Some(gst::ClockTime::from_mseconds(40)),
            running_time: None,
            captured: None,
            clock: Clock::File,
            connection: 1,
            corrupt: false,
            damaged: false,
            arrived: Instant::now(),
        }
    }

    fn seen(rect: Rect, score: f32) -> Seen<'static> {
        Seen { rect, score: Some(score), query: "it", place: 0 }
    }

    const SMALL: Rect = Rect { x0: 8.0, y0: 8.0, x1: 20.0, y1: 20.0 };
    const LARGE: Rect = Rect { x0: 8.0, y0: 8.0, x1: 40.0, y1: 40.0 };

    #[test]
    fn the_best_frame_is_the_sure_the_large_and_the_sharp_one() {
        let mut snapshots = Snapshots::default();
        let mut consider = |rect: Rect, stripe: usize, score: f32| {
            let frame = frame(&rect, stripe);
            snapshots.consider("a", &mut Look::new(&frame), &seen(rect, score))
        };
        assert!(consider(SMALL, 4, 0.5), "the first one");
        assert!(!consider(SMALL, 4, 0.5), "the same again");
        assert!(!consider(SMALL, 4, 0.52), "hardly better");
        assert!(consider(SMALL, 4, 0.9), "surer");
        assert!(!consider(SMALL, 12, 0.9), "blurred");
        assert!(consider(LARGE, 4, 0.9), "larger");
        assert!(consider(LARGE, 1, 0.9), "sharper");
        assert!(!consider(SMALL, 4, 0.9), "worse than the best, though not than the last");
    }

    #[test]
    fn both_pictures_can_be_read_and_the_crop_has_no_box() {
        let mut snapshots = Snapshots::default();
        assert!(snapshots.take("a").is_none());
        assert!(snapshots.consider("a", &mut Look::new(&frame(&LARGE, 64)), &seen(LARGE, 0.5)));
        let shot = snapshots.take("a").expect("there");
        assert!(snapshots.take("a").is_none(), "it is taken once");
        let pictures = shot.pictures(SnapshotSettings { quality: 100, margin: 0.0 }).expect("drawn");
        let read = |bytes: &[u8]| image::load_from_memory(bytes).expect("a JPEG").into_rgb8();
        let (whole, crop) = (read(&pictures.whole), read(&pictures.crop));
        assert_eq!((whole.dimensions(), crop.dimensions()), ((64, 48), (32, 32)));
        let apart =
            |picture: &image::RgbImage| picture.pixels().any(|pixel| pixel.0.iter().any(|v| v.abs_diff(100) > 9));
        assert!(apart(&whole), "the box is drawn");
        assert!(!apart(&crop), "and not here");
    }

    #[test]
    fn sightings_of_one_frame_share_its_picture() {
        let mut snapshots = Snapshots::default();
        let frame = frame(&LARGE, 4);
        let mut look = Look::new(&frame);
        assert!(["a", "b"].into_iter().all(|id| snapshots.consider(id, &mut look, &seen(LARGE, 0.5))));
        assert!(!snapshots.consider("a", &mut look, &seen(LARGE, 0.5)), "not better");
        let [one, other] = ["a", "b"].map(|id| snapshots.take(id).expect("there"));
        assert!(Arc::ptr_eq(&one.picture, &other.picture));
        assert!(!snapshots.consider("a", &mut look, &seen(LARGE, 0.52)), "what was taken is known");
        snapshots.forget("a");
        assert!(snapshots.consider("a", &mut look, &seen(LARGE, 0.5)), "and forgotten");
    }

    #[test]
    fn a_box_over_the_edge_is_cut_there() {
        let mut snapshots = Snapshots::default();
        let over = Rect { x0: -20.0, y0: 30.0, x1: 10.0, y1: 90.0 };
        assert!(snapshots.consider("a", &mut Look::new(&frame(&SMALL, 2)), &seen(over, 0.5)));
        let shot = snapshots.take("a").expect("there");
        let pictures = shot.pictures(SnapshotSettings::default()).expect("drawn");
        let crop = image::load_from_memory(&pictures.crop).expect("a JPEG");
        // A tenth of what is in the picture around it, where there is something.
        assert_eq!((crop.width(), crop.height()), (11, 20));
        let outside = Rect { x0: 100.0, y0: 0.0, x1: 120.0, y1: 20.0 };
        assert!(!snapshots.consider("b", &mut Look::new(&frame(&SMALL, 2)), &seen(outside, 0.9)), "nothing is seen");
    }
}
