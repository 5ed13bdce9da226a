//! `spotter run` on real files, to the end and interrupted.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::support::{
    Ran, Scratch, bikes, clip, command, frame_of, json_lines, model, model_with_presence, of_schema, probe, spotter,
    tool, turn,
};

const FRAME: &str = "spotter.frame/2";
const EVENT: &str = "spotter.event/1";

/// Runs the small model over `source` for the query "a", with these outputs.
fn run(source: &str, outs: &[&str]) -> Ran {
    let model = model();
    let mut args = vec!["run", "--source", source, "--query", "a", "--model", &model];
    args.extend(outs.iter().flat_map(|out| ["--out", out]));
    spotter(&args)
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_real_clip_gives_a_record_a_frame_and_a_video_that_plays() {
    let scratch = Scratch::new();
    let (jsonl, mp4) = (scratch.file("boxes.jsonl"), scratch.file("boxes.mp4"));
    let out = [format!("jsonl:{jsonl}"), format!("mp4:{mp4}")];
    let ran = spotter(&[
        "run",
        "--source",
        &bikes(),
        "--query",
        "a bicycle",
        "--model",
        &model(),
        "--out",
        &out[0],
        "--out",
        &out[1],
    ])
    .expect_success();
    assert!(ran.stderr.contains("untrained"), "an untrained model is called so: {}", ran.stderr);
    assert!(ran.stderr.contains("250 frames: 250 box"), "{}", ran.stderr);

    let lines = json_lines(&scratch.read("boxes.jsonl"));
    let frames = of_schema(&lines, FRAME);
    assert_eq!(frames.len(), 250);
    let times = "frame=best_effort_timestamp_time";
    let times =
        tool("ffprobe", &["-v", "error", "-select_streams", "v", "-show_entries", times, "-of", "csv=p=0", &bikes()]);
    for (i, (frame, time)) in frames.iter().zip(times.lines().filter(|line| !line.trim().is_empty())).enumerate() {
        assert_eq!((frame["seq"].as_u64(), frame["frame_index"].as_u64()), (Some(i as u64), Some(i as u64)));
        let expected: f64 = time.trim_end_matches(',').parse().expect("seconds");
        assert!(
            (number(&frame["pts_ns"]) / 1e9 - expected).abs() < 1e-6,
            "frame {i}: stream time is ffprobe's {expected}"
        );
        assert_eq!(
            (&frame["status"], &frame["measured"], &frame["query"]),
            (&"box".into(), &true.into(), &"a bicycle".into())
        );
        assert!(frame.get("presence").is_none(), "nothing claims a confidence");
        assert_eq!(frame["resolution"], serde_json::json!({"width": 640, "height": 272, "rotation": 0, "par": 1.0}));
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| number(&frame["box"][key]));
        assert!(x >= 0.0 && y >= 0.0 && w > 0.0 && h > 0.0 && x + w <= 640.01 && y + h <= 272.01, "{frame}");
        assert!((number(&frame["box_norm"]["w"]) - w / 640.0).abs() < 1e-4);
        let latency = &frame["latency_ms"];
        assert!(number(&latency["total"]) + 0.02 >= number(&latency["ground"]), "{latency}");
    }
    let events = of_schema(&lines, EVENT);
    assert_eq!(events.iter().map(|e| e["event"].as_str().expect("a kind")).collect::<Vec<_>>(), ["source_up", "end"]);
    let books = &events[1]["books"];
    assert_eq!((books["decoded"].as_u64(), books["box"].as_u64()), (Some(250), Some(250)));
    let ids: std::collections::BTreeSet<_> = lines.iter().map(|line| line["run_id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), 1);

    assert_eq!(probe(&mp4), (640, 272, 250));
    // The box that the record names is the one that is drawn: its left edge is yellow, in the middle of its height.
    let boxed = &frames[100]["box"];
    let picture = image::open(frame_of(&scratch, &mp4, 100, "frame.png")).expect("a picture").into_rgb8();
    let y = (number(&boxed["y"]) + number(&boxed["h"]) / 2.0) as u32;
    let left = number(&boxed["x"]).round() as u32;
    let yellow = (left..left + 8).any(|x| {
        let [r, g, b] = picture.get_pixel(x.min(639), y).0;
        r > 150 && g > 130 && b < 110
    });
    assert!(yellow, "no yellow at x = {left}.., y = {y}");
}

#[test]
fn a_decoded_frame_and_its_picture_give_the_same_box() {
    let scratch = Scratch::new();
    let model = model();
    let ran = spotter(&["run", "--source", &bikes(), "--query", "a car", "--model", &model, "--out", "jsonl:-"])
        .expect_success();
    let lines = ran.lines();
    let frames = of_schema(&lines, FRAME);
    for index in [0, 60, 249] {
        let picture = frame_of(&scratch, &bikes(), index, "frame.png");
        let ground = spotter(&["ground", &picture, "--query", "a car", "--model", &model]).expect_success();
        let (a, b) = (&frames[index as usize]["box"], &ground.lines()[0]["box"]);
        for key in ["x", "y", "w", "h"] {
            assert!((number(&a[key]) - number(&b[key])).abs() <= 0.5, "frame {index}: {a} against {b}");
        }
    }
}

#[test]
fn odd_sizes_are_padded_in_the_video_and_nowhere_else() {
    let scratch = Scratch::new();
    let source = clip(&scratch, "odd.mkv", "161x121", 12, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    let mp4 = scratch.file("odd.mp4");
    let ran = run(&source, &["jsonl:-", &format!("mp4:{mp4}")]).expect_success();
    assert_eq!(probe(&mp4), (162, 122, 12));
    let lines = ran.lines();
    for frame in of_schema(&lines, FRAME) {
        assert_eq!((&frame["resolution"]["width"], &frame["resolution"]["height"]), (&161.into(), &121.into()));
    }
}

#[test]
fn formats_and_sizes_that_files_come_in() {
    let scratch = Scratch::new();
    let cases: [(&str, &str, &[&str]); 6] = [
        ("ten.mkv", "160x120", &["-c:v", "ffv1", "-pix_fmt", "yuv420p10le"]),
        ("444.mkv", "160x120", &["-c:v", "ffv1", "-pix_fmt", "yuv444p"]),
        ("rgb.mkv", "160x120", &["-c:v", "ffv1", "-pix_fmt", "bgr0"]),
        ("grey.mkv", "160x120", &["-c:v", "ffv1", "-pix_fmt", "gray"]),
        ("wide.mkv", "640x20", &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]),
        ("interlaced.avi", "160x120", &["-c:v", "mpeg4", "-flags", "+ildct+ilme", "-top", "1"]),
    ];
    for (name, size, options) in cases {
        let source = clip(&scratch, name, size, 5, options);
        let mp4 = scratch.file("out.mp4");
        let ran = run(&source, &["jsonl:-", &format!("mp4:{mp4}")]);
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
        let lines = ran.lines();
        assert!(of_schema(&lines, FRAME).iter().all(|frame| frame["status"] == "box"), "{name}");
        assert_eq!(probe(&mp4).2, 5, "{name}");
    }
}

#[test]
fn a_rotated_clip_is_grounded_upright() {
    let scratch = Scratch::new();
    let flat = clip(&scratch, "flat.mp4", "160x96", 5, &["-c:v", "libx264", "-pix_fmt", "yuv420p"]);
    let turned = turn(&scratch, &flat, 96);
    let ran = run(&turned, &["jsonl:-"]).expect_success();
    let lines = ran.lines();
    let resolution = &of_schema(&lines, FRAME)[0]["resolution"];
    assert_eq!(resolution, &serde_json::json!({"width": 96, "height": 160, "rotation": 90, "par": 1.0}));
}

#[test]
fn a_model_with_a_presence_head_says_not_here() {
    let scratch = Scratch::new();
    let source = clip(&scratch, "clip.mkv", "160x120", 6, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    for (threshold, status) in [("1", "absent"), ("0", "box")] {
        let mp4 = scratch.file("out.mp4");
        let ran = spotter(&[
            "run",
            "--source",
            &source,
            "--query",
            "a",
            "--model",
            &model_with_presence(),
            "--threshold",
            threshold,
            "--out",
            "jsonl:-",
            "--out",
            &format!("mp4:{mp4}"),
        ])
        .expect_success();
        let lines = ran.lines();
        let frames = of_schema(&lines, FRAME);
        assert_eq!(frames.len(), 6);
        for frame in frames {
            assert_eq!((frame["status"].as_str(), frame["measured"].as_bool()), (Some(status), Some(true)));
            assert!((0.0..=1.0).contains(&number(&frame["presence"])));
            assert_eq!(frame["box"].is_null(), status == "absent");
        }
        let end = of_schema(&lines, EVENT)[1];
        assert_eq!(end["books"][status].as_u64(), Some(6));
        assert_eq!(probe(&mp4).2, 6, "absent frames stay in the video");
    }
}

#[test]
fn an_interrupted_run_closes_its_books_and_finishes_its_files() {
    let scratch = Scratch::new();
    let mp4 = scratch.file("cut.mp4");
    let source = clip(
        &scratch,
        "long.mp4",
        "320x240",
        3000,
        &["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"],
    );
    let mut child = command(&[
        "run",
        "--source",
        &source,
        "--query",
        "a",
        "--model",
        &model(),
        "--out",
        "jsonl:-",
        "--out",
        &format!("mp4:{mp4}"),
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("starts");
    let mut reader = BufReader::new(child.stdout.take().expect("piped"));
    let mut text = String::new();
    for _ in 0..8 {
        reader.read_line(&mut text).expect("a line");
    }
    // Nobody reads on now, so the full pipe holds the run in its middle, wherever it is.
    tool("kill", &["-INT", &child.id().to_string()]);
    reader.read_to_string(&mut text).expect("the rest");
    let status = child.wait().expect("ends");
    let mut stderr = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("read");
    assert_eq!(status.code(), Some(130), "{stderr}");

    let lines = json_lines(&text);
    let end = lines.last().expect("lines");
    assert_eq!((end["event"].as_str(), end["error"].as_str()), (Some("end"), Some("interrupted")));
    let books = &end["books"];
    let count = |key: &str| books[key].as_u64().expect("a count");
    assert_eq!(count("decoded"), count("box") + count("dropped"));
    assert!(count("decoded") < 3000, "the run was cut");
    let frames = of_schema(&lines, FRAME);
    assert_eq!(frames.len() as u64, count("decoded"), "a record for every frame");
    assert!(frames.iter().enumerate().all(|(i, frame)| frame["seq"].as_u64() == Some(i as u64)), "gap-free");
    let dropped: Vec<_> = frames.iter().filter(|frame| frame["status"] == "dropped").collect();
    assert!(dropped.iter().all(|frame| frame["cause"] == "shutdown" && frame["measured"] == false));
    assert_eq!(u64::from(probe(&mp4).2), count("box"), "the video plays, and holds what was grounded");
}

#[test]
fn a_second_interrupt_ends_the_run_at_once() {
    let scratch = Scratch::new();
    let options = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];
    let source = clip(&scratch, "long.mp4", "320x240", 3000, &options);
    let model = model();
    let child = command(&["run", "--source", &source, "--query", "a", "--model", &model, "--out", "jsonl:-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    stdout.read_line(&mut String::new()).expect("a line");
    // Nobody reads records any more: the first one cannot finish.
    tool("kill", &["-INT", &child.id().to_string()]);
    let mut said = String::new();
    while !said.contains("interrupted") {
        assert!(stderr.read_line(&mut said).expect("a line") > 0, "{said}");
    }
    // Right after the first it says nothing new: it is heard a moment later.
    let status = loop {
        tool("kill", &["-INT", &child.id().to_string()]);
        if let Some(status) = child.try_wait().expect("known") {
            break status;
        }
    };
    assert_eq!(status.code(), Some(130));
}

/// As `timeout` does: its child, and then its group.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let scratch = Scratch::new();
    let options = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];
    let source = clip(&scratch, "long.mp4", "320x240", 3000, &options);
    let (model, video) = (model(), scratch.file("out.mp4"));
    let to = format!("mp4:{video}");
    let child = command(&["run", "--source", &source, "--query", "a", "--model", &model, "--out", "jsonl:-"])
        .args(["--out", &to])
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.expect("starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut String::new()).expect("a line");
    let id = child.id().to_string();
    tool("kill", &["-TERM", &id]);
    tool("kill", &["-TERM", &id]);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("read");
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    assert!(rest.lines().last().is_some_and(|line| line.contains("\"event\":\"end\"")), "the books are closed");
    assert!(probe(&video).2 > 0, "the video is whole");
}

/// Shutdown races with whatever is going on, so it is tried at ten different places.
#[test]
fn an_interrupt_at_any_moment_leaves_a_video_that_plays_to_its_end() {
    let scratch = Scratch::new();
    let options = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];
    let source = clip(&scratch, "long.mp4", "320x240", 3000, &options);
    let (mp4, model) = (scratch.file("cut.mp4"), model());
    let out = format!("mp4:{mp4}");
    for moment in 0..10 {
        let args = ["run", "--source", &source, "--query", "a", "--model", &model, "--out", "jsonl:-", "--out", &out];
        let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("starts");
        let mut reader = BufReader::new(child.stdout.take().expect("piped"));
        let mut text = String::new();
        // Later every time, and the run is not held up: it is somewhere else in its work whenever the signal comes.
        for _ in 0..2 + 13 * moment {
            reader.read_line(&mut text).expect("a line");
        }
        tool("kill", &["-INT", &child.id().to_string()]);
        reader.read_to_string(&mut text).expect("the rest");
        assert_eq!(child.wait().expect("ends").code(), Some(130), "moment {moment}");
        let lines = json_lines(&text);
        let kept = of_schema(&lines, FRAME).iter().filter(|frame| frame["status"] == "box").count();
        assert_eq!(probe(&mp4).2 as usize, kept, "moment {moment}");
        assert_eq!(scratch.names(), ["cut.mp4", "long.mp4"], "moment {moment}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = command(&["run", "--source", &bikes(), "--query", "a", "--model", &model(), "--out", "jsonl:-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut reader = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    drop(reader);
    let output = child.wait_with_output().expect("ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_full_disk_is_a_failure() {
    let ran = run(&bikes(), &["jsonl:/dev/full"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot write /dev/full: No space left on device"), "{}", ran.stderr);
}

#[test]
fn names_of_files_are_only_names() {
    let scratch = Scratch::new();
    let name = "a \" ! fakesink name=x' {uri} %20 ü.mkv";
    let source = clip(&scratch, name, "160x120", 3, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    let mp4 = scratch.file("out \" ! { location }.mp4");
    let ran = run(&source, &["jsonl:-", &format!("mp4:{mp4}")]).expect_success();
    assert_eq!(of_schema(&ran.lines(), FRAME).len(), 3);
    assert_eq!(probe(&mp4).2, 3);
}

#[test]
fn a_cut_file_is_truncated_and_not_over() {
    let scratch = Scratch::new();
    let h264: &[&str] = &["-c:v", "libx264", "-g", "10", "-pix_fmt", "yuv420p"];
    let cases: [(&str, &[&str]); 4] = [
        ("fast.mp4", &["-movflags", "+faststart"]),
        ("fragments.mp4", &["-movflags", "+frag_keyframe+empty_moov"]),
        ("clip.mkv", &[]),
        ("clip.avi", &[]),
    ];
    for (name, options) in cases {
        let whole = clip(&scratch, name, "320x240", 100, &[h264, options].concat());
        let both = |source: &str, jsonl: &str, mp4: &str| {
            let out = [format!("jsonl:{}", scratch.file(jsonl)), format!("mp4:{}", scratch.file(mp4))];
            spotter(&[
                "run",
                "--source",
                source,
                "--query",
                "a",
                "--model",
                &model(),
                "--out",
                &out[0],
                "--out",
                &out[1],
            ])
        };
        both(&whole, "whole.jsonl", "whole.mp4").expect_success();
        let bytes = std::fs::read(&whole).expect("read");
        let cut = scratch.write(&format!("cut-{name}"), &bytes[..bytes.len() / 2]);
        let ran = both(&cut, "cut.jsonl", "cut.mp4");
        assert_eq!(ran.code, Some(1), "{name}: {}", ran.stderr);
        let lines = json_lines(&scratch.read("cut.jsonl"));
        let frames = of_schema(&lines, FRAME).len() as u32;
        assert!(frames > 10 && frames < 100, "{name}: what is there is grounded, {frames} frames");
        let end = lines.last().expect("lines");
        let error = end["error"].as_str().expect("an error");
        assert!(error.starts_with("SOURCE_TRUNCATED"), "{name}: {error}");
        assert_eq!(probe(&scratch.file("cut.mp4")).2, frames, "{name}: the video holds what was grounded");
    }
}

#[test]
fn a_reader_that_leaves_does_not_cost_the_video() {
    let scratch = Scratch::new();
    let mp4 = scratch.file("out.mp4");
    let mut child = command(&[
        "run",
        "--source",
        &bikes(),
        "--query",
        "a",
        "--model",
        &model(),
        "--out",
        "jsonl:-",
        "--out",
        &format!("mp4:{mp4}"),
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(probe(&mp4).2, 250);
}

#[test]
fn a_picture_that_changes_its_size_goes_on_in_a_second_file() {
    let scratch = Scratch::new();
    let part = |name: &str, size: &str| {
        clip(&scratch, name, size, 10, &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-f", "mpegts"])
    };
    let (a, b) = (part("a.ts", "160x120"), part("b.ts", "320x240"));
    let both = [std::fs::read(a).expect("read"), std::fs::read(b).expect("read")].concat();
    let source = scratch.write("both.ts", &both);
    let mp4 = scratch.file("out.mp4");
    let ran = run(&source, &["jsonl:-", &format!("mp4:{mp4}")]).expect_success();
    let lines = ran.lines();
    let widths: Vec<_> = of_schema(&lines, FRAME).iter().map(|f| f["resolution"]["width"].as_u64()).collect();
    assert_eq!(widths, [[Some(160); 10], [Some(320); 10]].concat());
    assert_eq!(of_schema(&lines, EVENT).iter().filter(|e| e["event"] == "resolution").count(), 1);
    assert_eq!(probe(&mp4), (160, 120, 10));
    assert_eq!(probe(&scratch.file("out-0002.mp4")), (320, 240, 10));
}

#[test]
fn frames_without_a_time_still_make_a_video() {
    let scratch = Scratch::new();
    let source = clip(&scratch, "raw.mjpeg", "160x120", 12, &["-c:v", "mjpeg", "-f", "mjpeg"]);
    let mp4 = scratch.file("out.mp4");
    let ran = run(&source, &["jsonl:-", &format!("mp4:{mp4}")]).expect_success();
    assert_eq!(of_schema(&ran.lines(), FRAME).len(), 12);
    assert_eq!(probe(&mp4).2, 12);
}

#[test]
fn what_stands_still_is_measured_once_in_a_while() {
    let scratch = Scratch::new();
    let film = scratch.file("film.mp4");
    // A square stands for 30 frames, moves for 20, and stands again.
    let moves = "[0][1]overlay=x='20+8*clip(t*25-29,0,20)':y=80:eval=frame:shortest=1,format=yuv420p";
    let (grass, square) = ("color=c=gray:s=320x192:r=25:d=3", "color=c=red:s=24x24:r=25:d=3");
    let made = ["-c:v", "libx264", "-preset", "ultrafast", "-frames:v", "70", &film];
    let given = ["-v", "error", "-f", "lavfi", "-i", grass, "-f", "lavfi", "-i", square, "-filter_complex", moves];
    tool("ffmpeg", &[&given[..], &made].concat());
    let model = model();
    let flags = ["run", "--source", &film, "--query", "a", "--model", &model, "--out", "jsonl:-"];
    for (recheck, standing) in [("25", vec![0, 25]), ("12", vec![0, 12, 24, 61])] {
        let gate = ["--static-gate", "4", "--static-recheck", recheck];
        let ran = spotter(&[&flags[..], &gate].concat()).expect_success();
        let lines = ran.lines();
        let frames = of_schema(&lines, FRAME);
        let mut measured: Vec<u64> = Vec::new();
        for (seq, frame) in (0..).zip(&frames) {
            if frame["measured"] == true {
                measured.push(seq);
                continue;
            }
            let before = &frames[*measured.last().expect("the first is measured") as usize];
            assert_eq!((&frame["status"], &frame["cause"]), (&"skipped".into(), &"static".into()));
            assert_eq!(frame["box"], before["box"], "carried from the measured one before");
        }
        let mut expected: Vec<u64> = standing.into_iter().chain(30..50).collect();
        expected.sort_unstable();
        assert_eq!(measured, expected, "--static-recheck {recheck}");
    }
}

#[test]
fn a_compiled_query_runs_as_the_sentence_that_it_was() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "96x64", 12, &[]);
    let (query, model) = (scratch.file("query.safetensors"), model());
    let picture = crate::support::picture(&scratch, "a.png", (60, 40));
    spotter(&["ground", &picture, "--query", "cat", "--model", &model, "--save-query", &query]).expect_success();
    let records = |flags: &[&str]| {
        let mut args = vec!["run", "--source", &film, "--model", &model, "--reproducible", "--out", "jsonl:-"];
        args.extend(flags);
        spotter(&args).expect_success().stdout
    };
    let typed = records(&["--query", "cat"]);
    assert!(typed.contains("\"query\":\"cat\""), "{typed}");
    assert_eq!(records(&["--compiled-query", &query]), typed);
    // In a file of settings as well, where a typed sentence takes its place.
    let settings = scratch.write("run.toml", format!("compiled_query = {query:?}").as_bytes());
    assert_eq!(records(&["--config", &settings]), typed);
    spotter(&["check", &settings]).expect_success();
    let other = records(&["--config", &settings, "--query", "dog"]);
    assert!(other.contains("\"query\":\"dog\""), "{other}");
    // Streams with sentences of their own beside it.
    let two = format!(
        "[[stream]]\nid = \"a\"\nsource = {film:?}\n[[stream]]\nid = \"b\"\nsource = {film:?}\nquery = \"dog\"\n"
    );
    let streams = scratch.write("two.streams", two.as_bytes());
    let args = ["run", "--source", &streams, "--model", &model, "--compiled-query", &query, "--out", "jsonl:-"];
    let both = spotter(&args).expect_success().stdout;
    for query in ["cat", "dog"] {
        assert_eq!(both.matches(&format!("\"query\":\"{query}\"")).count(), 12, "{both}");
    }
}
