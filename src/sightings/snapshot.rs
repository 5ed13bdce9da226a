//! The frame on which a thing is seen best, as JPEG: the whole picture with the box drawn in, and the thing alone, as it is.

use std::collections::HashMap;
use std::path::Path;

use blocks::preprocess::Rect;
use frames::Portraits;
use frames::overlay::{Annotation, Parts, blend_rgb, tiles};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use super::types::{FileRef, Sighting};
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

/// The best frame of a sighting so far.
struct Shot {
    worth: f64,
    /// Packed RGB.
    rgb: Vec<u8>,
    width: usize,
    height: usize,
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

/// The best frames of sightings that last.
#[derive(Default)]
pub struct Snapshots {
    settings: SnapshotSettings,
    portraits: Portraits,
    /// By the sighting's id.
    shots: HashMap<String, Shot>,
}

impl Snapshots {
    /// None so far.
    pub fn new(settings: SnapshotSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Looks at a frame of the sighting `id`, and keeps it where it is clearly better than the best one so far: score times size times
    /// sharpness. True where it was kept.
    pub fn consider(&mut self, id: &str, frame: &Frame, seen: &Seen) -> bool {
        match self.shoot(id, frame, seen) {
            Ok(Some(shot)) => {
                self.shots.insert(id.to_owned(), shot);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!("no snapshot of frame {}: {error}", frame.seq);
                false
            }
        }
    }

    fn shoot(&mut self, id: &str, frame: &Frame, seen: &Seen) -> frames::Result<Option<Shot>> {
        let (width, height) = (frame.info.width() as usize, frame.info.height() as usize);
        let rect = within(&seen.rect, width, height);
        let size = rect.width() * rect.height() / (width * height).max(1) as f64;
        if size <= 0.0 {
            return Ok(None);
        }
        let sharpness = self.portraits.sharpness(&frame.buffer, &frame.info, &rect)?;
        // A thing without any edges has a best frame too.
        let worth = f64::from(seen.score.unwrap_or(1.0)) * size * (1.0 + sharpness);
        if self.shots.get(id).is_some_and(|shot| worth < BETTER * shot.worth) {
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
        let rgb = self.portraits.rgb(&frame.buffer, &frame.info)?;
        let pts_ns = frame.stream_time.map(gstreamer::ClockTime::nseconds);
        Ok(Some(Shot { worth, rgb, width, height, annotation, rect, pts_ns }))
    }

    /// The best frame of a sighting so far; none where there is none.
    ///
    /// # Errors
    /// It cannot be drawn on, or is too large for a JPEG.
    pub fn pictures(&self, id: &str) -> Result<Option<Pictures>> {
        let Some(shot) = self.shots.get(id) else { return Ok(None) };
        let mut drawn = shot.rgb.clone();
        let tiles = tiles(std::slice::from_ref(&shot.annotation), Parts::default(), shot.width, shot.height)?;
        blend_rgb(&mut drawn, shot.width, &tiles);
        let whole = self.jpeg(&drawn, shot.width, shot.height)?;
        let (crop, width, height) = self.cut(shot);
        Ok(Some(Pictures { whole, crop: self.jpeg(&crop, width, height)? }))
    }

    /// Writes the best frame of a sighting into `folder`, `ID.jpg` and `ID-crop.jpg`, in place of what is there of it.
    ///
    /// # Errors
    /// As of [`Snapshots::pictures`], or a file cannot be written.
    pub fn write(&self, sighting: &Sighting, folder: &Path) -> Result<Vec<FileRef>> {
        let Some(pictures) = self.pictures(&sighting.id)? else { return Ok(Vec::new()) };
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let name = file_name(&sighting.id);
        let pts_ns = self.shots.get(&sighting.id).and_then(|shot| shot.pts_ns);
        let files = [("snapshot", ".jpg", &pictures.whole), ("crop", "-crop.jpg", &pictures.crop)];
        let written = files.into_iter().map(|(kind, ending, bytes)| -> Result<FileRef> {
            let path = folder.join(format!("{name}{ending}"));
            let staged = tempfile::NamedTempFile::new_in(folder).and_then(|staged| {
                std::fs::write(staged.path(), bytes)?;
                blocks::files::publish(staged, &path)
            });
            staged.map_err(Error::io("write", &path))?;
            Ok(FileRef { kind: kind.to_owned(), path, start_pts_ns: pts_ns, end_pts_ns: pts_ns })
        });
        written.collect()
    }

    /// Forgets a sighting that is over.
    pub fn forget(&mut self, id: &str) {
        self.shots.remove(id);
    }

    /// The thing, with a margin; packed RGB, width, height.
    fn cut(&self, shot: &Shot) -> (Vec<u8>, usize, usize) {
        let Shot { rect, width, height, .. } = shot;
        let (x, y) = (self.settings.margin * rect.width(), self.settings.margin * rect.height());
        let around = Rect { x0: rect.x0 - x, y0: rect.y0 - y, x1: rect.x1 + x, y1: rect.y1 + y };
        let around = within(&around, *width, *height);
        let (left, right) = pixels(around.x0, around.x1, *width);
        let (top, bottom) = pixels(around.y0, around.y1, *height);
        let rows = shot.rgb.chunks(3 * width).take(bottom).skip(top);
        let crop = rows.flat_map(|row| &row[3 * left..3 * right]).copied().collect();
        (crop, right - left, bottom - top)
    }

    fn jpeg(&self, rgb: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
        let fail = |reason: String| Error::Output { name: "snapshot".into(), reason };
        let side = |side: usize| {
            let side = u16::try_from(side).map(u32::from);
            side.map_err(|_| fail(format!("the picture is {width}x{height}, expected sides of up to 65535 pixels")))
        };
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, self.settings.quality)
            .encode(rgb, side(width)?, side(height)?, ExtendedColorType::Rgb8)
            .map_err(|e| fail(e.to_string()))?;
        Ok(bytes)
    }
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
    use std::sync::Arc;
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
            snapshots.consider("a", &frame, &seen(rect, score))
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
        let mut snapshots = Snapshots::new(SnapshotSettings { quality: 100, margin: 0.0 });
        assert!(snapshots.pictures("a").expect("nothing yet").is_none());
        assert!(snapshots.consider("a", &frame(&LARGE, 64), &seen(LARGE, 0.5)));
        let pictures = snapshots.pictures("a").expect("drawn").expect("there");
        let read = |bytes: &[u8]| image::load_from_memory(bytes).expect("a JPEG").into_rgb8();
        let (whole, crop) = (read(&pictures.whole), read(&pictures.crop));
        assert_eq!((whole.dimensions(), crop.dimensions()), ((64, 48), (32, 32)));
        let apart =
            |picture: &image::RgbImage| picture.pixels().any(|pixel| pixel.0.iter().any(|v| v.abs_diff(100) > 9));
        assert!(apart(&whole), "the box is drawn");
        assert!(!apart(&crop), "and not here");
        snapshots.forget("a");
        assert!(snapshots.pictures("a").expect("forgotten").is_none());
    }

    #[test]
    fn a_box_over_the_edge_is_cut_there() {
        let mut snapshots = Snapshots::new(SnapshotSettings::default());
        let over = Rect { x0: -20.0, y0: 30.0, x1: 10.0, y1: 90.0 };
        assert!(snapshots.consider("a", &frame(&SMALL, 2), &seen(over, 0.5)));
        let pictures = snapshots.pictures("a").expect("drawn").expect("there");
        let crop = image::load_from_memory(&pictures.crop).expect("a JPEG");
        // A tenth of what is in the picture around it, where there is something.
        assert_eq!((crop.width(), crop.height()), (11, 20));
        let outside = Rect { x0: 100.0, y0: 0.0, x1: 120.0, y1: 20.0 };
        assert!(!snapshots.consider("b", &frame(&SMALL, 2), &seen(outside, 0.9)), "nothing is seen");
    }
}
