//! Every clip, real or made: a record a frame, at the time that ffprobe gives, with colours as they are meant.

use qrnet::Canvas;
use qrnet::preprocess::{Letterboxed, Rect};
use spotter::stage::Ground;
use spotter::verbs::stream;

use crate::support::{
    Scratch, bikes, clip, frame_of, json_lines, model, of_schema, repository, run_settings, spotter, tool,
};

/// Finds nothing, at no cost.
struct Nothing;

impl Ground for Nothing {
    fn canvas(&self) -> Canvas {
        Canvas { width: 64, height: 64 }
    }

    fn ground(&mut self, _: &Letterboxed) -> qrnet::Result<(Rect, Option<f32>)> {
        Ok((Rect { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 }, Some(0.0)))
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
        for (record, time) in records.iter().zip(times) {
            let found = record["pts_ns"].as_f64().expect("a time") / 1e9;
            assert!((found - time).abs() <= 1e-3, "{source}: {found} against {time}");
        }
    }
}

/// The box on a frame of a clip is the box on the same frame as a picture, as ffmpeg decodes and converts it.
#[test]
fn colours_follow_matrix_range_and_depth() {
    let scratch = Scratch::new();
    let model = model();
    for (matrix, tag) in [("bt601", "smpte170m"), ("bt709", "bt709")] {
        for (range, tag_range) in [("limited", "tv"), ("full", "pc")] {
            for depth in ["yuv420p", "yuv420p10le"] {
                let convert = format!("scale=out_color_matrix={matrix}:out_range={range},format={depth}");
                let name = format!("{matrix}-{range}-{depth}.mkv");
                let file = scratch.file(&name);
                let source = "testsrc2=size=320x192:rate=25";
                let mut args = vec!["-v", "error", "-f", "lavfi", "-i", source, "-frames:v", "3", "-vf", &convert];
                args.extend(["-c:v", "ffv1", "-colorspace", tag, "-color_range", tag_range, &file]);
                tool("ffmpeg", &args);
                let picture = frame_of(&scratch, &file, 2, "frame.png");
                let ask = ["--query", "a car", "--model", &model];
                let run = spotter(&[&["run", "--source", &file, "--out", "jsonl:-"], &ask[..]].concat());
                let run = run.expect_success();
                let ground = spotter(&[&["ground", &picture], &ask[..]].concat()).expect_success();
                let (lines, still) = (run.lines(), ground.lines());
                let moving = of_schema(&lines, "spotter.frame/1")[2];
                for key in ["x", "y", "w", "h"] {
                    let side = |record: &serde_json::Value| record["box"][key].as_f64().expect("a number");
                    let apart = (side(moving) - side(&still[0])).abs();
                    assert!(
                        apart <= 0.5,
                        "{name}: {key} is {apart} px apart: {} and {}",
                        moving["box"],
                        still[0]["box"]
                    );
                }
            }
        }
    }
}
