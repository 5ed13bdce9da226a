//! Clips with a frame counter burnt in, and a grounder that reads it.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use blocks::preprocess::{Letterboxed, Rect};
use grounding::Canvas;
use spotter::stage::{ActiveQuery, Answer, Ground, Job, one_box};

use super::{Raw, Scratch, encode};

pub(crate) const WIDTH: usize = 320;
pub(crate) const HEIGHT: usize = 192;
/// Side of the square that shows a bit; the counter's bits lie side by side at the top, the lowest first.
const SQUARE: usize = 20;
const BITS: usize = 16;
/// Boxes are drawn below the counter, with room for the caption above them.
pub(crate) const BOX_TOP: f64 = 120.0;
pub(crate) const BOX: (f64, f64) = (50.0, 40.0);
/// Boxes that a video can tell apart: they lie so many pixels beside each other.
pub(crate) const STEPS: usize = 32;
pub(crate) const STEP: usize = 8;

/// Puts the counter's bits on a grey plane.
fn counted(frame: usize) -> Vec<u8> {
    let mut plane = vec![128; WIDTH * HEIGHT];
    for (at, pixel) in plane.iter_mut().enumerate() {
        let (x, y) = (at % WIDTH, at / WIDTH);
        if y < SQUARE && x / SQUARE < BITS {
            *pixel = if frame >> (x / SQUARE) & 1 == 1 { 235 } else { 16 };
        }
    }
    plane
}

/// Reads the counter from something that tells which points are bright.
pub(crate) fn read_counter(bright: impl Fn(usize, usize) -> bool) -> usize {
    (0..BITS).filter(|bit| bright(bit * SQUARE + SQUARE / 2, SQUARE / 2)).map(|bit| 1 << bit).sum()
}

/// A clip of so many frames; `options` are the encoder's.
pub(crate) fn counter_clip(scratch: &Scratch, rate: u32, frames: usize, options: &[&str]) -> String {
    let file = scratch.file("counter.mp4");
    let raw = Raw { format: "gray", size: (WIDTH, HEIGHT), rate };
    let options = [&["-color_range", "tv"][..], options].concat();
    encode(&file, raw, (0..frames).map(counted), &options);
    file
}

/// The counter on every frame of a video as it was encoded.
pub(crate) fn counters(video: &str) -> Vec<usize> {
    planes(video).iter().map(|plane| read_counter(|x, y| plane[y * WIDTH + x] > 128)).collect()
}

/// The counter on every frame, and by how much the drawn box says that it is, modulo [`STEPS`]: for [`Stepping`] boxes.
pub(crate) fn counters_and_boxes(video: &str) -> Vec<(usize, Option<usize>)> {
    let read = |plane: &Vec<u8>| {
        // The rim of the box is black, on grey; that of a carried one has gaps.
        let dark = |x: &usize| (130..150).filter(|y| plane[y * WIDTH + x] < 90).count() >= 6;
        let left = (0..WIDTH).find(dark).map(|x| (x as f64 / STEP as f64).round() as usize);
        (read_counter(|x, y| plane[y * WIDTH + x] > 128), left)
    };
    planes(video).iter().map(read).collect()
}

/// How bright a point is on every frame of a video whose pictures are as wide and high as they say.
pub(crate) fn lumas(video: &str, (x, y): (usize, usize)) -> Vec<u8> {
    let (width, height, _) = super::probe(video);
    raw(video).chunks((width * height) as usize).map(|plane| plane[y * width as usize + x]).collect()
}

fn planes(video: &str) -> Vec<Vec<u8>> {
    raw(video).chunks(WIDTH * HEIGHT).map(<[u8]>::to_vec).collect()
}

/// All frames in grey, one after the other.
fn raw(video: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i", video, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .output()
        .expect("ffmpeg starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Says what the counter of each picture is: its number is the box's left edge.
pub(crate) struct Counter {
    pub(crate) takes: Duration,
}

impl Counter {
    fn read(picture: &Letterboxed) -> usize {
        read_counter(|x, y| picture.pixels[y * WIDTH + x] > 0.0)
    }
}

impl Ground for Counter {
    fn canvas(&self) -> Canvas {
        Canvas { width: WIDTH, height: HEIGHT }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        std::thread::sleep(self.takes);
        let answer = |job: &Job| {
            let left = Self::read(job.picture) as f64;
            one_box(at(left), None)
        };
        Ok(jobs.iter().map(answer).collect())
    }
}

fn at(left: f64) -> Rect {
    Rect { x0: left, y0: BOX_TOP, x1: left + BOX.0, y1: BOX_TOP + BOX.1 }
}

/// The same with boxes that a video can tell apart.
pub(crate) struct Stepping {
    pub(crate) takes: Duration,
}

impl Ground for Stepping {
    fn canvas(&self) -> Canvas {
        Canvas { width: WIDTH, height: HEIGHT }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        std::thread::sleep(self.takes);
        Ok(jobs.iter().map(|job| one_box(at((Counter::read(job.picture) % STEPS * STEP) as f64), None)).collect())
    }
}

/// Answers several queries: each says what the counter is, below the one before. The first is always there, the second on
/// every second number, the third on every third.
pub(crate) struct Several {
    pub(crate) takes: Duration,
    /// How many, at first; of all streams alike.
    pub(crate) queries: usize,
}

impl Several {
    /// Whether query `place` is there on picture `number`.
    pub(crate) fn is_there(place: usize, number: usize) -> bool {
        number.is_multiple_of(place + 1)
    }

    fn answer(place: usize, number: usize) -> Answer {
        /// Pixels that each query's boxes lie below those before.
        const BELOW: f64 = 5.0;
        let rect = at(number as f64);
        let rect = Rect { y0: rect.y0 + BELOW * place as f64, y1: rect.y1 + BELOW * place as f64, ..rect };
        one_box(rect, Some(if Self::is_there(place, number) { 0.9 } else { 0.1 }))
    }
}

impl Ground for Several {
    fn canvas(&self) -> Canvas {
        Canvas { width: WIDTH, height: HEIGHT }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        std::thread::sleep(self.takes);
        let answer = |job: &Job| {
            let number = Counter::read(job.picture);
            (0..self.queries).flat_map(|place| Self::answer(place, number)).collect()
        };
        Ok(jobs.iter().map(answer).collect())
    }

    fn set_queries(&mut self, _: usize, queries: &[Arc<ActiveQuery>]) {
        self.queries = queries.len();
    }
}

/// The counter that a record's box says.
pub(crate) fn counter_of(record: &serde_json::Value) -> usize {
    record["box"]["x"].as_f64().expect("a box") as usize
}
