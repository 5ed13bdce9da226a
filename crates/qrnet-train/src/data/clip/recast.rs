//! The same camera, another cast: people of a labelled film are taken out of pictures and put in elsewhere, so that a
//! model learns what they look like and not where they were.
//!
//! For cameras that do not move: what stands still is the median of the frames, and what differs from it inside a box is
//! whoever the box is about.

use std::collections::BTreeSet;

use blocks::preprocess::{Letterboxer, Picture, Rect};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::ClipLabels;
use crate::data::video::Frames;
use crate::error::Result;

/// Frames that the median is taken over.
const SAMPLES: usize = 31;
/// Difference from what stands still, in 255ths, from which on a pixel begins to count, and counts wholly.
const DIFFERENCE: (f32, f32) = (12.0, 36.0);
/// How much smaller and larger than they were people are put in.
const SCALES: (f64, f64) = (0.7, 1.6);
/// Most people that are put in beside the one that is asked for.
const MOST: usize = 3;
/// Whoever shares more of a box with somebody else is not cut out: the other would come along.
const ALONE: f64 = 0.05;
/// More of what is asked for is never covered.
pub(super) const COVERED: f64 = 0.2;
/// How often the one that is asked for is put in where it is not, and taken out where it is.
const EXCHANGED: f64 = 0.4;
/// Places that are tried for each.
pub(super) const TRIES: usize = 12;
/// Whom a picture has to have at least, in pixels, to be of use.
const LEAST_SIDE: f64 = 8.0;

/// Everybody who can be put in, and what is behind them.
#[derive(Debug)]
pub(super) struct Cast {
    still: Picture,
    actors: Vec<Actor>,
}

/// Somebody on a frame, with nobody else in the box.
#[derive(Debug, Clone, Copy)]
struct Actor {
    frame: u64,
    track: u64,
    rect: Rect,
}

/// A picture with another cast.
pub(super) struct Recast {
    pub(super) picture: Picture,
    /// Where what is asked for is now.
    pub(super) target: Option<Rect>,
    /// Everybody by track, from back to front.
    pub(super) people: Vec<(u64, Rect)>,
}

impl Cast {
    /// Looks through the frames once.
    ///
    /// # Errors
    /// A frame cannot be read.
    pub(super) fn new(labels: &ClipLabels, frames: &Frames) -> Result<Self> {
        let (width, height) = frames.size();
        let whole =
            |rect: &Rect| rect.x0 >= 0.0 && rect.y0 >= 0.0 && rect.x1 <= width as f64 && rect.y1 <= height as f64;
        let mut actors = Vec::new();
        for &frame in &labels.frames {
            let people: Vec<(u64, Rect)> = labels.boxes(frame).collect();
            let alone = |track: u64, rect: &Rect| {
                people.iter().all(|(other, there)| *other == track || shared(rect, there) <= ALONE)
            };
            let clear = people.iter().filter(|(track, rect)| whole(rect) && alone(*track, rect));
            actors.extend(clear.map(|(track, rect)| Actor { frame, track: *track, rect: *rect }));
        }
        Ok(Self { still: median(labels, frames)?, actors })
    }

    /// Another cast on frame `frame`, asked for the tracks `wanted`, or for something that does not move at `target`.
    ///
    /// # Errors
    /// A frame cannot be read.
    pub(super) fn recast(
        &self,
        (labels, frames): (&ClipLabels, &Frames),
        frame: u64,
        wanted: &BTreeSet<u64>,
        target: Option<Rect>,
        rng: &mut ChaCha8Rng,
    ) -> Result<Recast> {
        let people = super::from_back_to_front(labels.boxes(frame));
        let mut scene = Recast { picture: frames.picture(frame)?, target, people };
        let can_go = |target: &Rect, people: &[(u64, Rect)]| {
            people.iter().all(|(track, rect)| wanted.contains(track) || shared(target, rect) <= ALONE)
        };
        let moves = !wanted.is_empty();
        let (takes_out, takes_part) = (rng.random_bool(EXCHANGED), rng.random_bool(EXCHANGED));
        if scene.target.is_some_and(|target| moves && takes_out && can_go(&target, &scene.people)) {
            for (_, gone) in scene.people.iter().filter(|(track, _)| wanted.contains(track)) {
                self.erase(&mut scene.picture, gone);
            }
            scene.people.retain(|(track, _)| !wanted.contains(track));
            scene.target = None;
        }
        if scene.target.is_none() && moves && takes_part {
            let own: Vec<&Actor> = self.actors.iter().filter(|actor| wanted.contains(&actor.track)).collect();
            if !own.is_empty() {
                let actor = own[rng.random_range(0..own.len())];
                scene.target = self.enter(&mut scene, frames, actor, rng)?;
            }
        }
        for _ in 0..rng.random_range(0..=MOST) {
            if self.actors.is_empty() {
                break;
            }
            let actor = &self.actors[rng.random_range(0..self.actors.len())];
            // Nobody is there twice.
            let present = |track: u64| scene.people.iter().any(|(other, _)| *other == track);
            if !wanted.contains(&actor.track) && !present(actor.track) {
                self.enter(&mut scene, frames, actor, rng)?;
            }
        }
        Ok(scene)
    }

    /// Puts somebody in, larger or smaller, perhaps mirrored, where the one that is asked for stays in view. Returns the
    /// place; none where there was no room.
    fn enter(&self, scene: &mut Recast, frames: &Frames, actor: &Actor, rng: &mut ChaCha8Rng) -> Result<Option<Rect>> {
        let (width, height) = frames.size();
        let (least, most) = SCALES;
        let scale = least * (most / least).powf(rng.random::<f64>());
        let size = |length: f64| (length * scale).round();
        let (w, h) = (size(actor.rect.width()), size(actor.rect.height()));
        if w < LEAST_SIDE || h < LEAST_SIDE || w >= width as f64 || h >= height as f64 {
            return Ok(None);
        }
        let place = (0..TRIES).find_map(|_| {
            let x0 = rng.random_range(0..=width - w as usize) as f64;
            let y0 = rng.random_range(0..=height - h as usize) as f64;
            let rect = Rect { x0, y0, x1: x0 + w, y1: y0 + h };
            scene.target.is_none_or(|target| shared(&target, &rect) <= COVERED).then_some(rect)
        });
        let Some(place) = place else { return Ok(None) };
        let (patch, mask) = self.cut(&frames.picture(actor.frame)?, &actor.rect);
        let mut boxer = Letterboxer::default();
        let patch = boxer.resized(&patch.view()?, w as usize, h as usize)?;
        let mask = boxer.resized(&mask.view()?, w as usize, h as usize)?;
        blend(&mut scene.picture, &place, (&patch, &mask), rng.random_bool(0.5));
        scene.people.push((actor.track, place));
        Ok(Some(place))
    }

    /// What is inside a box of a frame, and how much each pixel belongs to who is in front.
    fn cut(&self, picture: &Picture, rect: &Rect) -> (Picture, Picture) {
        let (x0, y0) = (rect.x0.round() as usize, rect.y0.round() as usize);
        let width = (rect.x1.round() as usize).min(picture.width) - x0;
        let height = (rect.y1.round() as usize).min(picture.height) - y0;
        let (mut rgb, mut raw) = (Vec::with_capacity(3 * width * height), Vec::with_capacity(width * height));
        for y in y0..y0 + height {
            for x in x0..x0 + width {
                let at = 3 * (y * picture.width + x);
                let (there, still) = (&picture.rgb[at..at + 3], &self.still.rgb[at..at + 3]);
                let difference = there.iter().zip(still).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
                let (least, most) = DIFFERENCE;
                raw.push(((f32::from(difference) - least) / (most - least)).clamp(0.0, 1.0));
                rgb.extend_from_slice(there);
            }
        }
        // Clothes of the colour of what is behind them leave holes; neighbours fill those.
        let filled = (0..width * height).flat_map(|at| {
            let (x, y) = (at % width, at / width);
            let (left, right) = (x.saturating_sub(2), (x + 2).min(width - 1));
            let (above, below) = (y.saturating_sub(2), (y + 2).min(height - 1));
            let around = (above..=below).flat_map(|y| (left..=right).map(move |x| y * width + x));
            let (mut sum, mut count) = (0.0, 0.0f32);
            for other in around {
                sum += raw[other];
                count += 1.0;
            }
            let own = raw[at].max((2.0 * sum / count - 0.5).clamp(0.0, 1.0));
            [(255.0 * own) as u8; 3]
        });
        let mask = Picture { width, height, rgb: filled.collect() };
        (Picture { width, height, rgb }, mask)
    }

    /// Shows what is behind a box, and a little around it: shadows and sleeves.
    fn erase(&self, picture: &mut Picture, rect: &Rect) {
        const AROUND: f64 = 0.15;
        let (dx, dy) = (AROUND * rect.width(), AROUND * rect.height());
        let wide = Rect { x0: rect.x0 - dx, y0: rect.y0 - dy, x1: rect.x1 + dx, y1: rect.y1 + dy };
        let wide = wide.clipped(picture.width as f64, picture.height as f64);
        let (x0, x1) = (wide.x0 as usize, wide.x1 as usize);
        for y in wide.y0 as usize..wide.y1 as usize {
            let row = 3 * (y * picture.width + x0)..3 * (y * picture.width + x1);
            picture.rgb[row.clone()].copy_from_slice(&self.still.rgb[row]);
        }
    }
}

/// How much of `rect` lies in `other`, 0..1.
pub(super) fn shared(rect: &Rect, other: &Rect) -> f64 {
    rect.intersection(other) / (rect.width() * rect.height())
}

fn blend(picture: &mut Picture, place: &Rect, (patch, mask): (&Picture, &Picture), mirrored: bool) {
    let (x0, y0) = (place.x0 as usize, place.y0 as usize);
    for y in 0..patch.height {
        for x in 0..patch.width {
            let from = 3 * (y * patch.width + if mirrored { patch.width - 1 - x } else { x });
            let to = 3 * ((y0 + y) * picture.width + x0 + x);
            let share = u32::from(mask.rgb[from]);
            for channel in 0..3 {
                let (new, old) = (u32::from(patch.rgb[from + channel]), u32::from(picture.rgb[to + channel]));
                picture.rgb[to + channel] = ((new * share + old * (255 - share) + 127) / 255) as u8;
            }
        }
    }
}

/// Channel by channel over evenly spaced frames.
fn median(labels: &ClipLabels, frames: &Frames) -> Result<Picture> {
    let all = &labels.frames;
    let count = SAMPLES.min(all.len());
    let samples = (0..count).map(|i| frames.picture(all[(2 * i + 1) * all.len() / (2 * count)]));
    let samples: Vec<Picture> = samples.collect::<Result<_>>()?;
    let (width, height) = frames.size();
    let mut values = vec![0; count];
    let rgb = (0..3 * width * height).map(|at| {
        for (value, sample) in values.iter_mut().zip(&samples) {
            *value = sample.rgb[at];
        }
        *values.select_nth_unstable(count / 2).1
    });
    Ok(Picture { width, height, rgb: rgb.collect() })
}
