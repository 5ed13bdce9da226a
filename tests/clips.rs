//! Every clip, real or made: a record a frame, at the time that ffprobe gives, with colours as they are meant.

use std::path::Path;

use qrnet::Canvas;
use qrnet::preprocess::{Letterboxed, Letterboxer, MEAN, Picture, Rect, STD};
use spotter::stage::{Answer, Ground, Job};
use spotter::verbs::stream;

use crate::support::{Scratch, bikes, clip, frame_of, json_lines, of_schema, repository, run_settings, tool};

/// Finds nothing, at no cost.
struct Nothing;

impl Ground for Nothing {
    fn canvas(&self) -> Canvas {
        Canvas { width: 64, height: 64 }
    }

    fn ground(&mut self, jobs: &[Job]) -> qrnet::Result<Vec<Answer>> {
        Ok(jobs.iter().map(|_| (Rect { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 }, Some(0.0))).collect())
    }
}

/// Times of all frames, in seconds, as ffprobe shows them.
fn probed(source: &str) -> Vec<f64> {
    let entries = "frame=best_effort_timestamp_time";
    let args = ["-v", "error", "-select_streams", "v", "-show_entries", entries, "-of", "csv=p=0", source];
    tool("ffprobe", &args).lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

#[test]
fn records_are_ffprobes_frames_and_times() {
    let scratch = Scratch::new();
    let h264 = |extra: &[&'static str]| [&["-c:v", "libx264", "-pix_fmt", "yuv420p"], extra].concat();
    let uneven = ["-vf", "select=not(mod(n\\,3))+not(mod(n\\,7))", "-fps_mode", "vfr"];
    let media = |name: &str| repository().join("media").join(name).to_str().expect("UTF-8").to_owned();
    let sources = [
        bikes(),
        media("bigbuckbunny.mp4"),
        media("carphone_pristine.mp4"),
        clip(&scratch, "plain.mp4", "160x120", 50, &h264(&["-bf", "3"])),
        clip(&scratch, "faststart.mp4", "160x120", 50, &h264(&["-movflags", "+faststart"])),
        clip(&scratch, "fragments.mp4", "160x120", 50, &h264(&["-movflags", "+frag_keyframe+empty_moov", "-g", "10"])),
        clip(&scratch, "uneven.mp4", "160x120", 30, &h264(&uneven)),
        clip(&scratch, "plain.mkv", "641x359", 20, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]),
        clip(&scratch, "vp9.webm", "160x120", 20, &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"]),
        clip(&scratch, "hevc.mp4", "160x120", 20, &["-c:v", "libx265", "-x265-params", "log-level=none"]),
        clip(&scratch, "stream.ts", "160x120", 20, &h264(&["-bf", "2"])),
        clip(&scratch, "motion.avi", "160x120", 20, &["-c:v", "mjpeg"]),
    ];
    for source in sources {
        let out = scratch.file("out.jsonl");
        let to = format!("jsonl:{out}");
        let settings = run_settings(&["--source", &source, "--query", "anything", "--out", &to]);
        let books = stream(&settings, Box::new(Nothing), Some(0.5), true).unwrap_or_else(|e| panic!("{source}: {e}"));
        let times = probed(&source);
        assert!(books.closed() && books.decoded == times.len() as u64, "{source}: {books}, {} frames", times.len());
        let lines = json_lines(&scratch.read("out.jsonl"));
        let records = of_schema(&lines, "spotter.frame/1");
        assert_eq!(records.len(), times.len(), "{source}");
        // Times of a transport stream begin anywhere; stream time begins with the stream.
        let seconds = |record: &serde_json::Value| record["pts_ns"].as_f64().expect("a time") / 1e9;
        let shift = if source.ends_with("stream.ts") { times[0] - seconds(records[0]) } else { 0.0 };
        for (record, time) in records.iter().zip(times) {
            let found = seconds(record) + shift;
            assert!((found - time).abs() <= 1e-3, "{source}: {found} against {time}");
        }
    }
}

/// Tells the colour in the middle of the picture: its place in the record is red, green and blue.
struct Colour(usize);

impl Colour {
    fn of(picture: &Letterboxed) -> [f64; 3] {
        let canvas = picture.transform.canvas;
        let (plane, middle) = (canvas.width * canvas.height, canvas.height / 2 * canvas.width + canvas.width / 2);
        std::array::from_fn(|c| f64::from(picture.pixels[c * plane + middle] * STD[c] + MEAN[c]) * 255.0)
    }
}

impl Ground for Colour {
    fn canvas(&self) -> Canvas {
        Canvas { width: self.0, height: self.0 }
    }

    fn ground(&mut self, jobs: &[Job]) -> qrnet::Result<Vec<Answer>> {
        let answer = |job: &Job| {
            let [red, green, blue] = Self::of(job.picture);
            // Records clip boxes to the picture, which is 320x320.
            (Rect { x0: red, y0: green, x1: red + blue / 8.0, y1: green + 10.0 }, None)
        };
        Ok(jobs.iter().map(answer).collect())
    }
}

/// Red, green and blue of the middle of frame 2, by way of a run on a canvas of this size.
fn colour(source: &str, canvas: usize) -> [f64; 3] {
    let scratch = Scratch::new();
    let to = format!("jsonl:{}", scratch.file("out.jsonl"));
    let settings = run_settings(&["--source", source, "--query", "anything", "--out", &to]);
    stream(&settings, Box::new(Colour(canvas)), None, true).expect("runs");
    let lines = json_lines(&scratch.read("out.jsonl"));
    let record = &of_schema(&lines, "spotter.frame/1")[2]["box"];
    let side = |key: &str| record[key].as_f64().expect("a number");
    [side("x"), side("y"), 8.0 * side("w")]
}

/// Colours of a clip are those of its frames as pictures, as ffmpeg decodes and converts them: for every matrix, range and
/// depth, in small (planes are scaled first) and in full size. A wrong matrix or range would show.
#[test]
fn colours_follow_matrix_range_and_depth() {
    let scratch = Scratch::new();
    let apart = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let mut seen = Vec::new();
    for (matrix, tag) in [("bt601", "smpte170m"), ("bt709", "bt709")] {
        for (range, tag_range) in [("limited", "tv"), ("full", "pc")] {
            for depth in ["yuv420p", "yuv420p10le"] {
                // Made with one matrix and range, tagged with it, and tagged wrongly.
                let convert = format!("format=gbrp,scale=out_color_matrix=bt709:out_range=limited,format={depth}");
                let name = format!("{matrix}-{range}-{depth}.mkv");
                let file = scratch.file(&name);
                let source = "color=c=0x20B0D0:size=320x320:rate=25";
                let mut args = vec!["-v", "error", "-f", "lavfi", "-i", source, "-frames:v", "3", "-vf", &convert];
                args.extend(["-c:v", "ffv1", "-colorspace", tag, "-color_range", tag_range, &file]);
                tool("ffmpeg", &args);
                let picture = Picture::open(Path::new(&frame_of(&scratch, &file, 2, "frame.png"))).expect("a picture");
                let canvas = Canvas { width: 128, height: 128 };
                let view = picture.view().expect("pixels");
                let still = Colour::of(&Letterboxer::default().letterbox(&view, canvas).expect("fits"));
                for canvas in [128, 320] {
                    let moving = colour(&file, canvas);
                    assert!(apart(moving, still) <= 2.5, "{name}, canvas {canvas}: {moving:?} against {still:?}");
                }
                seen.push(still);
            }
        }
    }
    for depths in seen.chunks(2) {
        assert!(apart(depths[0], depths[1]) < 2.5, "{seen:?}");
    }
    for (a, b) in [(0, 2), (0, 4), (2, 6)] {
        assert!(apart(seen[a], seen[b]) > 8.0, "a wrong tag shows: {seen:?}");
    }
}
