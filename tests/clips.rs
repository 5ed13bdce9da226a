//! Every clip, real or made: a record a frame, at the time that ffprobe gives, with colours as they are meant.

use std::path::Path;

use blocks::preprocess::{Letterboxed, Letterboxer, MEAN, Picture, Rect, STD};
use grounding::Canvas;
use spotter::run::stream;
use spotter::stage::{Answer, Ground, Job, one_box};

use crate::support::{Scratch, bikes, clip, frame_of, json_lines, of_schema, repository, run_settings, tool};

/// Finds nothing, at no cost.
struct Nothing;

impl Ground for Nothing {
    fn canvas(&self) -> Canvas {
        Canvas { width: 64, height: 64 }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        Ok(jobs.iter().map(|_| one_box(Rect { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 }, Some(0.0))).collect())
    }
}

/// Times of all frames, in seconds, as ffprobe shows them.
fn probed(source: &str) -> Vec<f64> {
    let entries = "frame=best_effort_timestamp_time";
    let args = ["-v", "error", "-select_streams", "v", "-show_entries", entries, "-of", "csv=p=0", source];
    tool("ffprobe", &args).lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
}

/// How films are made here: a name, whose ending is the container's, and what ffmpeg is told.
const MADE: [(&str, &str); 38] = [
    // Containers and codecs.
    ("h264.mp4", "-c:v libx264 -bf 3"),
    ("h264.mov", "-c:v libx264 -bf 3"),
    ("h264.mkv", "-c:v libx264 -bf 3"),
    ("h264.ts", "-c:v libx264 -bf 2 -g 10"),
    ("h264.m2ts", "-c:v libx264 -bf 2 -f mpegts -mpegts_m2ts_mode 1"),
    ("h264.flv", "-c:v libx264 -bf 2"),
    ("h264.avi", "-c:v libx264 -bf 0"),
    ("hevc.mp4", "-c:v libx265 -x265-params log-level=none -tag:v hvc1"),
    ("hevc.mkv", "-c:v libx265 -x265-params log-level=none"),
    ("hevc.ts", "-c:v libx265 -x265-params log-level=none:keyint=10"),
    ("vp8.webm", "-c:v libvpx -deadline realtime -cpu-used 8"),
    ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
    ("av1.mkv", "-c:v libaom-av1 -cpu-used 8 -usage realtime"),
    ("av1.mp4", "-c:v libaom-av1 -cpu-used 8 -usage realtime"),
    ("mpeg2.mpg", "-c:v mpeg2video -bf 2"),
    ("mpeg2.ts", "-c:v mpeg2video -bf 2"),
    ("mpeg4.mp4", "-c:v mpeg4 -bf 2"),
    ("mpeg4.avi", "-c:v mpeg4"),
    ("mpeg4.3gp", "-c:v mpeg4"),
    ("mjpeg.avi", "-c:v mjpeg"),
    ("mjpeg.mov", "-c:v mjpeg"),
    ("prores.mov", "-c:v prores"),
    ("theora.ogv", "-c:v libtheora"),
    ("wmv2.asf", "-c:v wmv2"),
    ("ffv1.mkv", "-c:v ffv1 -pix_fmt yuv420p"),
    ("ffv1.nut", "-c:v ffv1 -pix_fmt yuv420p"),
    ("plain.mjpeg", "-c:v mjpeg"),
    // Layouts, odd sizes and depths.
    ("faststart.mp4", "-c:v libx264 -movflags +faststart"),
    ("fragments.mp4", "-c:v libx264 -movflags +frag_keyframe+empty_moov -g 10"),
    ("negative.mp4", "-c:v libx264 -bf 3 -movflags +negative_cts_offsets"),
    ("odd.mkv", "-c:v ffv1 -vf scale=161:119"),
    ("ten-bits.mp4", "-c:v libx264 -pix_fmt yuv420p10le"),
    ("fields.mp4", "-c:v libx264 -vf fps=50,interlace=scan=tff -flags +ildct+ilme"),
    ("fields.mpg", "-c:v mpeg2video -vf fps=50,interlace=scan=tff -flags +ildct+ilme"),
    // Gaps and odd starts.
    ("uneven.mp4", "-c:v libx264 -vf select=not(mod(n\\,3))+not(mod(n\\,7)) -fps_mode vfr"),
    ("gap.mkv", "-c:v libx264 -vf setpts=PTS+gte(N\\,20)*3/TB -fps_mode vfr"),
    ("late.mkv", "-c:v libx264 -output_ts_offset 1.5"),
    ("one.mp4", "-c:v libx264 -frames:v 1"),
];

/// The same with what is done to one of them, without decoding it.
const CHANGED: [(&str, &str, &str); 7] = [
    ("trimmed.mp4", "-ss 0.7", "h264.mp4"),
    ("trimmed.mov", "-ss 0.7", "h264.mov"),
    ("trimmed-hevc.mp4", "-ss 0.7", "hevc.mp4"),
    ("trimmed.mkv", "-ss 0.7", "h264.mkv"),
    ("trimmed.ts", "-ss 0.7", "h264.ts"),
    ("trimmed-hevc.ts", "-ss 0.7", "hevc.ts"),
    ("late.mp4", "-itsoffset 1.5", "h264.mp4"),
];

/// Frames and times of records, held against ffprobe's; what is wrong, if anything.
fn unlike_ffprobe(source: &str) -> Option<String> {
    let scratch = Scratch::new();
    let to = format!("jsonl:{}", scratch.file("out.jsonl"));
    let settings = run_settings(&["--source", source, "--query", "anything", "--out", &to]);
    let books = match stream(&settings, Box::new(Nothing), Some(0.5), true) {
        Ok(books) => books,
        Err(error) => return Some(format!("{source}: {error}")),
    };
    let times = probed(source);
    let lines = json_lines(&scratch.read("out.jsonl"));
    let records = of_schema(&lines, "spotter.frame/2");
    if !books.frames.closed() || books.frames.decoded != times.len() as u64 || records.len() != times.len() {
        return Some(format!("{source}: {books}, {} records, {} frames", records.len(), times.len()));
    }
    let seconds = |record: &serde_json::Value| record["pts_ns"].as_f64().expect("a time") / 1e9;
    // These have no zero of their own: ours is the first frame.
    let ending = Path::new(source).extension().and_then(|ending| ending.to_str());
    let shift = if matches!(ending, Some("ts" | "m2ts" | "mpg")) { times[0] - seconds(records[0]) } else { 0.0 };
    let found: Vec<f64> = records.iter().map(|record| seconds(record) + shift).collect();
    let apart = found.iter().zip(&times).find(|(found, time)| (*found - *time).abs() > 1e-3);
    apart.map(|(found, time)| format!("{source}: {found} against {time}"))
}

#[test]
fn records_are_ffprobes_frames_and_times() {
    let scratch = Scratch::new();
    let media = |name: &str| repository().join("media").join(name).to_str().expect("UTF-8").to_owned();
    let mut sources = vec![bikes(), media("bigbuckbunny.mp4"), media("carphone_pristine.mp4")];
    for (name, options) in MADE {
        let options: Vec<&str> = options.split(' ').collect();
        let pixels = if options.contains(&"-pix_fmt") { &[][..] } else { &["-pix_fmt", "yuv420p"] };
        let pixels = if options.contains(&"prores") || options.contains(&"mjpeg") { &[][..] } else { pixels };
        sources.push(clip(&scratch, name, "160x120", 40, &[pixels, &options].concat()));
    }
    for (name, options, of) in CHANGED {
        let (file, of) = (scratch.file(name), scratch.file(of));
        let before: Vec<&str> = options.split(' ').collect();
        tool("ffmpeg", &[&["-v", "error"], &before[..], &["-i", &of, "-c", "copy", &file]].concat());
        sources.push(file);
    }
    let wrong: Vec<String> = sources.iter().filter_map(|source| unlike_ffprobe(source)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is cut off ends with an event and a failure, and whatever came before it is there.
#[test]
fn damaged_films_alone_raise_events() {
    let scratch = Scratch::new();
    let made =
        [("a.mp4", "-movflags +faststart"), ("a.mkv", "-bf 0"), ("a.avi", "-bf 0"), ("a.mov", "-movflags +faststart")];
    for (name, options) in made {
        let options: Vec<&str> = ["-c:v", "libx264"].into_iter().chain(options.split(' ')).collect();
        let whole = clip(&scratch, name, "160x120", 100, &options);
        assert_eq!(unlike_ffprobe(&whole), None);
        let bytes = std::fs::read(&whole).expect("read");
        let cut = scratch.write(&format!("cut-{name}"), &bytes[..bytes.len() * 2 / 3]);
        let to = format!("jsonl:{}", scratch.file("cut.jsonl"));
        let settings = run_settings(&["--source", &cut, "--query", "anything", "--out", &to]);
        let error = stream(&settings, Box::new(Nothing), Some(0.5), true).expect_err("is cut short").to_string();
        assert!(error.contains("SOURCE_TRUNCATED"), "{name}: {error}");
        let lines = json_lines(&scratch.read("cut.jsonl"));
        let frames = of_schema(&lines, "spotter.frame/2").len();
        assert!((20..100).contains(&frames), "{name}: {frames} frames");
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

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        let answer = |job: &Job| {
            let [red, green, blue] = Self::of(job.picture);
            // Records clip boxes to the picture, which is 320x320.
            one_box(Rect { x0: red, y0: green, x1: red + blue / 8.0, y1: green + 10.0 }, None)
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
    let record = &of_schema(&lines, "spotter.frame/2")[2]["box"];
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
