//! What a pad probe downstream reads is what the records say.

use std::path::Path;
use std::sync::{Arc, Mutex};

use blocks::preprocess::Rect;
use frames::meta::{FRAME_META, ROI_TYPE};
use grounding::Canvas;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use spotter::run::stream;
use spotter::sink::Branch;
use spotter::stage::{Answer, Ground, Job, one_box};

use crate::support::{Scratch, clip, json_lines, of_schema, run_settings, tool, turn};

/// Another box on every picture, with broken numbers, now and then absent.
struct Wanderer(u32);

impl Ground for Wanderer {
    fn canvas(&self) -> Canvas {
        Canvas { width: 64, height: 64 }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        let answer = |_: &Job| {
            self.0 += 1;
            let step = f64::from(self.0);
            let rect = Rect { x0: 3.3 * step, y0: 1.7 * step + 0.5, x1: 3.3 * step + 20.25, y1: 1.7 * step + 31.125 };
            one_box(rect, Some(if self.0.is_multiple_of(5) { 0.1 } else { 0.875 }))
        };
        Ok(jobs.iter().map(answer).collect())
    }
}

/// What stood on one buffer.
#[derive(Debug)]
struct Read {
    seq: u64,
    size: Option<(u32, u32)>,
    rect: Option<(u32, u32, u32, u32)>,
    detection: Option<gst::Structure>,
}

fn read(buffer: &gst::BufferRef) -> Read {
    let frame = gst::meta::CustomMeta::from_buffer(buffer, FRAME_META).expect("every frame carries one");
    let region = buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>().find(|r| r.roi_type() == ROI_TYPE);
    Read {
        seq: frame.structure().get("seq").expect("a number"),
        size: buffer.meta::<gst_video::VideoMeta>().map(|meta| (meta.width(), meta.height())),
        rect: region.as_ref().map(|region| region.rect()),
        detection: region.and_then(|region| region.param("detection").map(ToOwned::to_owned)),
    }
}

fn probe(seen: &Arc<Mutex<Vec<Read>>>) -> Branch {
    let seen = Arc::clone(seen);
    Branch::new(move || {
        let sink = gst::ElementFactory::make("fakesink").property("sync", false).build().expect("a core element");
        let seen = Arc::clone(&seen);
        sink.static_pad("sink").expect("a pad").add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            seen.lock().expect("whole").push(read(info.buffer().expect("a buffer")));
            gst::PadProbeReturn::Ok
        });
        Ok(sink)
    })
}

/// Runs a clip and compares both; `expected` is width, height, rotation and pixel aspect ratio of its records.
fn compare(source: &str, expected: (u64, u64, u64, f64)) {
    let scratch = Scratch::new();
    let out = format!("jsonl:{}", scratch.file("out.jsonl"));
    let mut settings = run_settings(&["--source", source, "--query", "a wanderer", "--hysteresis", "0", "--out", &out]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    settings.streams[0].output.branches.push(probe(&seen));
    stream(&settings, Box::new(Wanderer(0)), Some(0.5), true).expect("runs");

    let lines = json_lines(&scratch.read("out.jsonl"));
    let records = of_schema(&lines, "spotter.frame/2");
    let seen = seen.lock().expect("whole");
    assert_eq!((seen.len(), records.len()), (10, 10));
    for (read, record) in seen.iter().zip(records) {
        let resolution = &record["resolution"];
        let (width, height) = (resolution["width"].as_u64().expect("w"), resolution["height"].as_u64().expect("h"));
        assert_eq!((width, height, resolution["rotation"].as_u64()), (expected.0, expected.1, Some(expected.2)));
        assert!((resolution["par"].as_f64().expect("a ratio") - expected.3).abs() < 1e-3, "{resolution}");
        if let Some(size) = read.size {
            assert_eq!((u64::from(size.0), u64::from(size.1)), (width, height), "boxes are in the buffer's own pixels");
        }
        assert_eq!(Some(read.seq), record["seq"].as_u64());
        let number = |rect: &str, key: &str| record[rect][key].as_f64().unwrap_or_else(|| panic!("{rect} in {record}"));
        let Some((x, y, w, h)) = read.rect else {
            assert_eq!(record["status"], "absent");
            continue;
        };
        let edges = [x, y, x + w, y + h].map(f64::from);
        let (left, top) = (number("box", "x"), number("box", "y"));
        let wanted = [left, top, left + number("box", "w"), top + number("box", "h")].map(f64::round);
        assert!(
            edges.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 0.5),
            "edges are rounded, then subtracted: {record}"
        );
        let detection = read.detection.as_ref().expect("a detection");
        assert_eq!(detection.get::<&str>("label"), Ok("a wanderer"));
        assert_eq!(detection.get::<f64>("confidence"), Ok(0.875));
        let norm = |name: &str| detection.get::<f64>(name).expect("a share");
        assert!((norm("x_min") - number("box_norm", "x")).abs() < 1e-4);
        assert!((norm("y_max") - number("box_norm", "y") - number("box_norm", "h")).abs() < 2e-4);
    }
}

const H264: [&str; 4] = ["-c:v", "libx264", "-pix_fmt", "yuv420p"];

#[test]
fn a_rotated_clip() {
    let scratch = Scratch::new();
    let flat = clip(&scratch, "flat.mp4", "320x192", 10, &H264);
    let turned = turn(&scratch, &flat, 192);
    compare(&turned, (192, 320, 90, 1.0));
}

#[test]
fn pixels_that_are_not_square() {
    let scratch = Scratch::new();
    let wide = clip(&scratch, "wide.mp4", "320x192", 10, &[&["-vf", "setsar=4/3"], &H264[..]].concat());
    compare(&wide, (320, 192, 0, 4.0 / 3.0));
}

#[test]
fn an_odd_size() {
    let scratch = Scratch::new();
    let odd = clip(&scratch, "odd.mkv", "641x359", 10, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    compare(&odd, (641, 359, 0, 1.0));
}

#[test]
fn the_example_prints_a_line_a_frame() {
    let example = Path::new(env!("CARGO_BIN_EXE_spotter")).with_file_name("examples").join("boxes_downstream");
    let scratch = Scratch::new();
    let source = clip(&scratch, "ten.mp4", "320x192", 10, &H264);
    let printed = tool(example.to_str().expect("UTF-8"), &[&source, "the red circle"]);
    assert_eq!(printed.lines().count(), 10, "{printed}");
    assert!(printed.lines().all(|line| line.contains("not here") || line.contains("confidence 0.")), "{printed}");
}

/// A threshold may be small where things are seldom there; what was seen once must still be gone some day.
#[test]
fn hysteresis_follows_the_threshold() {
    let of = |more: &[&str], threshold: f32| {
        let settings = run_settings(&[&["--query", "a wanderer"], more].concat());
        settings.streams[0].hysteresis.of(Some(threshold))
    };
    let film = ["--source", "test:ball"];
    for threshold in [0.5, 0.05, 0.0] {
        assert!((of(&film, threshold) - 0.2 * threshold).abs() < 1e-7, "{threshold}");
    }
    assert!((of(&["--source", "test:ball", "--hysteresis", "0.03"], 0.05) - 0.03).abs() < 1e-7);
}
