//! Sources as people have them: trimmed and late files, pipes, cameras that send pictures over HTTP, streams of others.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::servers::{Peer, free_port, rtmp_server, web_server};
use crate::support::{
    Ran, Scratch, clip, clock_of, command, json_lines, model, of_schema, probe, repository, spotter, tool, until,
};

pub(crate) const FRAME: &str = "spotter.frame/2";
/// A key frame every four seconds, and B-frames: what a trimmed file hides depends on frames before its beginning.
pub(crate) const FILM: [&str; 6] = ["-c:v", "libx264", "-g", "100", "-sc_threshold", "0"];
/// What ffprobe and we may differ by: it writes microseconds.
const ROUNDING: f64 = 1e-6;

pub(crate) fn run(source: &str, flags: &[&str]) -> Ran {
    let model = model();
    let fixed = ["run", "--source", source, "--query", "a", "--model", &model, "--stride", "25", "--out", "jsonl:-"];
    spotter(&[&fixed[..], flags].concat())
}

/// Of a film that comes by standard input or by a named pipe.
pub(crate) fn piped(film: &[u8], source: &str) -> Ran {
    let model = model();
    let mut run = command(&["run", "--source", source, "--query", "a", "--model", &model, "--out", "jsonl:-"]);
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    let written = if source == "-" { stdin.write_all(film) } else { std::fs::write(source, film) };
    drop(stdin);
    let ran = Ran::from(child.wait_with_output().expect("ends"));
    // What is refused, and that alone, is not read to its end.
    if let Err(error) = written {
        let is_refused = error.kind() == std::io::ErrorKind::BrokenPipe && ran.code != Some(0);
        assert!(is_refused, "{error}: {}", ran.stderr);
    }
    ran
}

/// Times of all frames, seconds.
pub(crate) fn times(lines: &[Value]) -> Vec<f64> {
    let seconds = |frame: &&Value| frame["pts_ns"].as_f64().expect("a time") / 1e9;
    of_schema(lines, FRAME).iter().map(seconds).collect()
}

/// The same by ffprobe.
pub(crate) fn probed(file: &str) -> Vec<f64> {
    let entries = ["-show_entries", "frame=pts_time", "-of", "csv=p=0"];
    let text = tool("ffprobe", &[&["-v", "error", "-select_streams", "v:0"], &entries[..], &[file]].concat());
    let times = text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok());
    times.collect()
}

pub(crate) fn assert_equal(ours: &[f64], theirs: &[f64], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}: frames");
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() <= ROUNDING, "{what}: {ours} and {theirs}");
    }
}

/// Cut without encoding anew, as video editors and archives do it: an edit list hides what stands before.
#[test]
fn trimmed_files_give_the_frames_and_times_of_ffprobe() {
    let scratch = Scratch::new();
    let whole = clip(&scratch, "whole.mp4", "160x120", 300, &FILM);
    let in_order = clip(&scratch, "in-order.mp4", "160x120", 300, &[&FILM[..], &["-bf", "0"]].concat());
    let hevc = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=100"];
    let hevc = clip(&scratch, "hevc.mp4", "160x120", 300, &hevc);
    let trimmed = |name: &str, of: &str, from: &str, length: &str| {
        let file = scratch.file(name);
        tool("ffmpeg", &["-v", "error", "-ss", from, "-i", of, "-t", length, "-c", "copy", &file]);
        file
    };
    let files = [
        trimmed("a.mp4", &whole, "1.5", "2"),
        trimmed("b.mp4", &whole, "3", "2"),
        trimmed("c.mp4", &whole, "5.3", "5"),
        trimmed("d.mov", &whole, "5.3", "4"),
        trimmed("e.mkv", &whole, "5.3", "4"),
        trimmed("f.mp4", &in_order, "5.3", "4"),
        trimmed("g.mp4", &hevc, "5.3", "4"),
        whole,
    ];
    for file in files {
        let ran = run(&file, &[]).expect_success();
        assert_equal(&times(&ran.lines()), &probed(&file), &file);
    }
}

/// The index comes before the pictures, or behind them.
#[test]
fn trimmed_files_are_as_whole_from_a_web_server_and_through_a_pipe() {
    let scratch = Scratch::new();
    let whole = clip(&scratch, "whole.mp4", "160x120", 300, &FILM);
    let (_server, address) = web_server(&scratch.file(""));
    let none: [&str; 0] = [];
    for (name, flags) in [("behind.mp4", &none[..]), ("before.mp4", &["-movflags", "+faststart"])] {
        let file = scratch.file(name);
        let cut = ["-v", "error", "-ss", "5.3", "-i", &whole, "-t", "4", "-c", "copy"];
        tool("ffmpeg", &[&cut[..], flags, &[&file]].concat());
        let expected = probed(&file);
        let ran = run(&format!("{address}/{name}"), &[]).expect_success();
        assert_equal(&times(&ran.lines()), &expected, "by http");
        let ran = piped(&std::fs::read(&file).expect("read"), "-").expect_success();
        assert_equal(&times(&ran.lines()), &expected, "through a pipe");
    }
}

/// Demuxers cut off what is shown after the length that the media claim.
#[test]
fn frames_shown_late_are_not_lost_where_no_edit_list_says_so() {
    let scratch = Scratch::new();
    let file = clip(&scratch, "late.mp4", "160x120", 100, &[&FILM[..], &["-use_editlist", "0"]].concat());
    assert_eq!(times(&run(&file, &[]).expect_success().lines()).len(), 100);
}

/// Whichever way it comes, and whatever else it holds.
#[test]
fn what_ends_early_is_told_and_what_is_whole_is_not() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mkv", "160x120", 100, &FILM);
    let with_sound = |name: &str, seconds: &str, codec: &str| {
        let file = scratch.file(name);
        let sound =
            ["-f", "lavfi", "-i", &format!("sine=duration={seconds}"), "-c:v", "copy", "-c:a", codec].map(String::from);
        let sound: Vec<&str> = sound.iter().map(String::as_str).collect();
        tool("ffmpeg", &[&["-v", "error", "-i", &film], &sound[..], &[&file]].concat());
        std::fs::read(file).expect("read")
    };
    let told = |ran: &Ran, what: &str| {
        assert_eq!(ran.code, Some(1), "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains("SOURCE_TRUNCATED"), "{what}: {}", ran.stderr);
    };
    let (mkv, flv) = (with_sound("a.mkv", "4", "aac"), with_sound("a.flv", "4", "aac"));
    let longer = with_sound("longer.mkv", "12", "aac");
    let (_server, address) = web_server(&scratch.file(""));
    for whole in ["a.mkv", "a.flv", "longer.mkv"] {
        let ran = run(&format!("{address}/{whole}"), &[]).expect_success();
        assert_eq!(times(&ran.lines()).len(), 100, "{whole} on a server");
        assert_eq!(times(&run(&scratch.file(whole), &[]).expect_success().lines()).len(), 100, "{whole}");
    }
    assert_eq!(times(&piped(&longer, "-").expect_success().lines()).len(), 100, "through a pipe");
    told(&piped(&mkv[..mkv.len() / 2], "-"), "half through a pipe");
    let half = scratch.write("half.mkv", &mkv[..mkv.len() / 2]);
    told(&run(&half, &[]), "half a file");
    told(&run(&format!("{address}/half.mkv"), &[]), "half on a server");
    told(&run(&scratch.write("half.flv", &flv[..flv.len() / 2]), &[]), "half an FLV");
}

/// Frames may be missing from a file whose sizes are right: its index tells.
#[test]
fn a_file_that_gives_less_than_its_index_holds_says_so() {
    let scratch = Scratch::new();
    let whole = clip(&scratch, "whole.mp4", "160x120", 200, &[&FILM[..], &["-bf", "0", "-g", "200"]].concat());
    let mut bytes = std::fs::read(&whole).expect("read");
    let data = bytes.windows(4).position(|name| name == b"mdat").expect("has data") + 4;
    let end = bytes.windows(4).position(|name| name == b"moov").expect("has an index") - 4;
    // The key frame at the beginning stays.
    bytes[usize::midpoint(data, end)..end].fill(0);
    let ran = run(&scratch.write("hollow.mp4", &bytes), &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("SOURCE_INCOMPLETE"), "{}", ran.stderr);
    assert!(ran.stderr.contains("its index holds 200"), "{}", ran.stderr);
}

/// A picture of a slide show, or the only one, may last longer than all that came before.
#[test]
fn a_whole_file_whose_last_picture_lasts_is_not_cut_short() {
    let scratch = Scratch::new();
    for frames in ["4", "1"] {
        let show = scratch.file(&format!("show-{frames}.mkv"));
        let source = ["-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=1/5", "-frames:v", frames];
        tool("ffmpeg", &[&source[..], &FILM, &[&show]].concat());
        let ran = run(&show, &[]).expect_success();
        assert_eq!(times(&ran.lines()).len().to_string(), frames);
    }
}

/// MPEG-TS goes on from what was broadcast, and a film may begin late: either way cues fit the video that is made.
#[test]
fn records_and_videos_of_a_run_have_one_zero() {
    let scratch = Scratch::new();
    let stream = clip(&scratch, "stream.ts", "160x120", 50, &FILM);
    let late = scratch.file("late.mp4");
    let film = clip(&scratch, "film.mp4", "160x120", 50, &FILM);
    tool("ffmpeg", &["-v", "error", "-itsoffset", "1.5", "-i", &film, "-c", "copy", &late]);
    for (source, begins) in [(stream, 0.0), (late, 1.5)] {
        let (mp4, mkv) = (scratch.file("out.mp4"), scratch.file("out.mkv"));
        let out = [format!("mp4:{mp4}"), format!("mkv:{mkv}")];
        let ran = run(&source, &["--out", &out[0], "--out", &out[1]]).expect_success();
        let records = times(&ran.lines());
        assert!((records[0] - begins).abs() <= ROUNDING, "{source} begins at {}", records[0]);
        for video in [mp4, mkv] {
            let shown = probed(&video);
            assert!(shown[0].abs() <= ROUNDING, "{video}: its first frame is there from the beginning");
            let close = |(record, shown): (&f64, &f64)| (record - shown).abs() < 1e-3;
            assert_eq!(shown.len(), records.len(), "{video}");
            assert!(records.iter().zip(&shown).skip(1).all(close), "{video}: {records:?} and {shown:?}");
        }
    }
}

/// A recording that begins anywhere: what is shown is whole, from the first picture on.
#[test]
fn films_that_begin_between_two_key_frames_are_shown_from_where_they_are_whole() {
    const FRAMES: usize = 150;
    let x265 = |more: &str| format!("libx265 -preset ultrafast -x265-params log-level=error:keyint=25:bframes=0{more}");
    // Where there are no key frames, pictures are refreshed column by column.
    for (name, codec, least) in [
        ("h264", "libx264 -g 25 -sc_threshold 0 -bf 2".to_owned(), 75),
        ("h264-refreshed", "libx264 -g 25 -x264-params intra-refresh=1 -bf 0".to_owned(), 50),
        ("h265", x265(""), 75),
        ("h265-refreshed", x265(":intra-refresh=1"), 25),
        ("mpeg2", "mpeg2video -g 25 -bf 2 -qscale 3".to_owned(), 75),
    ] {
        let scratch = Scratch::new();
        let codec: Vec<&str> = codec.split(' ').collect();
        let film = clip(&scratch, "whole.ts", "160x120", FRAMES as u32, &[&["-c:v"], &codec[..]].concat());
        let bytes = std::fs::read(&film).expect("read");
        let packets = bytes.len() / 188;
        // The tables, and what stands behind the first third.
        let late = scratch.write("late.ts", &[&bytes[..3 * 188], &bytes[packets / 3 * 188..]].concat());
        let pictures = scratch.file("pictures");
        let model = repository().join("models/spotter-tiny").to_str().expect("UTF-8").to_owned();
        let fixed = ["run", "--source", &late, "--query", "a", "--model", &model, "--threshold", "1", "--stride", "25"];
        let to = format!("frames:{pictures}");
        let ran = spotter(&[&fixed[..], &["--out", "jsonl:-", "--out", &to]].concat()).expect_success();
        let shown = times(&ran.lines()).len();
        assert!((least..=FRAMES * 2 / 3).contains(&shown), "{name}: {shown} of {FRAMES}");
        let first = scratch.file("first.png");
        let select = format!("select=eq(n\\,{})", FRAMES - shown);
        tool("ffmpeg", &["-v", "error", "-i", &film, "-vf", &select, "-frames:v", "1", "-update", "1", &first]);
        let open = |path: &str| image::open(path).expect("decodes").to_luma8();
        let (ours, theirs) = (open(&format!("{pictures}/00000000.png")), open(&first));
        // Below the caption.
        let half = (ours.width() * ours.height() / 2) as usize;
        let differences = ours.iter().zip(theirs.iter()).skip(half).map(|(a, b)| u64::from(a.abs_diff(*b)));
        let mean = differences.sum::<u64>() as f64 / half as f64;
        assert!(mean < 3.0, "{name}: {shown} frames, the first differs by {mean}");
        assert!(!ran.stdout.contains("could not restore"), "{name}: {}", ran.stdout);
    }
}

/// As a recorder of several cameras writes it.
#[test]
fn any_of_several_video_tracks_is_played() {
    let scratch = Scratch::new();
    let inputs = ["-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=1"];
    let second = ["-f", "lavfi", "-i", "testsrc=size=96x64:rate=10:duration=1", "-map", "0", "-map", "1"];
    for ending in ["mkv", "mp4", "ts"] {
        let file = scratch.file(&format!("two.{ending}"));
        tool("ffmpeg", &[&inputs[..], &second, &FILM[..2], &[&file]].concat());
        for (track, frames, width) in [("1", 25, 160), ("2", 10, 96)] {
            let lines = run(&file, &["--video-track", track]).expect_success().lines();
            let played = of_schema(&lines, FRAME);
            assert_eq!((played.len(), &played[0]["resolution"]["width"]), (frames, &width.into()), "{file} {track}");
        }
        let out = scratch.file(&format!("found-{ending}"));
        let model = model();
        let fixed = ["batch", &file, "--query", "a", "--model", &model, "--out", &out, "--video-track", "2"];
        spotter(&fixed).expect_success();
        let lines = json_lines(&std::fs::read_to_string(format!("{out}/two.jsonl")).expect("read"));
        assert_eq!(of_schema(&lines, FRAME).len(), 10, "{file}");
        let none = run(&file, &["--video-track", "3"]);
        assert_eq!(none.code, Some(1), "{}", none.stderr);
        assert!(none.stderr.contains("holds 2 video tracks, and number 3 is wanted"), "{}", none.stderr);
    }
}

/// A thing that moves sideways is in two places in a frame of two fields: rows that differ from both neighbours.
#[test]
fn fields_become_whole_frames() {
    let scratch = Scratch::new();
    let film = scratch.file("fields.mkv");
    let bar = "color=black:size=160x120:rate=50:duration=1,format=yuv420p[a];color=white:size=16x120:rate=50[b];\
               [a][b]overlay=x=n*2:shortest=1,interlace=scan=tff:lowpass=off";
    let made = ["-v", "error", "-filter_complex", bar, "-c:v", "libx264", "-qp", "0", "-flags", "+ildct+ilme"];
    tool("ffmpeg", &[&made[..], &[&film]].concat());
    let combs = |how: &[&str]| {
        let folder = scratch.file("drawn");
        let out = format!("frames:{folder}");
        let model = repository().join("models/spotter-tiny").to_str().expect("UTF-8").to_owned();
        let fixed = ["run", "--source", &film, "--query", "a", "--model", &model, "--threshold", "1", "--out", &out];
        spotter(&[&fixed[..], how].concat()).expect_success();
        let first = std::fs::read_dir(&folder).expect("drawn").filter_map(|entry| Some(entry.ok()?.path())).max();
        let picture = image::open(first.expect("a picture")).expect("decodes").to_luma8();
        std::fs::remove_dir_all(&folder).expect("gone");
        let at = |x: u32, y: u32| i32::from(picture.get_pixel(x, y).0[0]);
        let comb = |x: u32, y: u32| (at(x, y) - at(x, y - 1)).min(at(x, y) - at(x, y + 1)) > 100;
        // Below the caption.
        (picture.height() / 2..picture.height() - 1).filter(|y| (0..picture.width()).any(|x| comb(x, *y))).count()
    };
    let (whole, woven) = (combs(&[]), combs(&["--deinterlace", "off"]));
    assert!(woven > 20 && whole < 4, "{woven} rows of combs, {whole} where fields are made whole");
}

/// What phones, scanners and chats make.
#[test]
fn pictures_of_every_kind_are_read() {
    let scratch = Scratch::new();
    let png = scratch.file("a.png");
    let bars = ["-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=10"];
    tool("ffmpeg", &[&bars[..], &["-frames:v", "1", &png]].concat());
    for name in ["b.tiff", "c.gif"] {
        tool("ffmpeg", &[&bars[..], &["-frames:v", "1", &scratch.file(name)]].concat());
    }
    tool("heif-enc", &[&png, "-o", &scratch.file("d.heic")]);
    tool("heif-enc", &["-A", &png, "-o", &scratch.file("e.avif")]);
    let folder = scratch.path().to_str().expect("UTF-8");
    let lines = run(folder, &[]).expect_success().lines();
    let frames = of_schema(&lines, FRAME);
    assert_eq!(frames.len(), 5);
    for frame in frames {
        assert_eq!(
            (&frame["resolution"]["width"], &frame["resolution"]["height"]),
            (&64.into(), &48.into()),
            "{frame}"
        );
        assert_ne!(frame["status"], "error", "{frame}");
    }
    // One that moves is a film, at its own times.
    let moving = scratch.file("moving.gif");
    tool("ffmpeg", &[&bars[..], &["-frames:v", "8", &moving]].concat());
    let lines = run(&moving, &[]).expect_success().lines();
    assert_equal(&times(&lines), &(0..8).map(|n| f64::from(n) / 10.0).collect::<Vec<_>>(), "moving.gif");
    let broken = scratch.write("broken.heic", &std::fs::read(scratch.file("d.heic")).expect("read")[..300]);
    let ran = run(&broken, &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("broken.heic: cannot be decoded"), "{}", ran.stderr);
}

#[test]
fn standard_input_and_named_pipes_are_read_to_their_end() {
    let scratch = Scratch::new();
    let film = std::fs::read(clip(&scratch, "film.ts", "160x120", 50, &FILM)).expect("read");
    let pipe = scratch.file("pipe");
    tool("mkfifo", &[&pipe]);
    for source in ["-", pipe.as_str()] {
        let ran = piped(&film, source).expect_success();
        assert_eq!(times(&ran.lines()).len(), 50, "{source}");
    }
    let empty = spotter(&["run", "--source", "-", "--query", "a", "--out", "jsonl:-"]);
    assert_eq!((empty.code, empty.stdout.as_str()), (Some(1), ""), "{}", empty.stderr);
    assert!(empty.stderr.contains("source -"), "{}", empty.stderr);
}

/// A camera that serves one client, once: whoever asks what it is must play the answer. It says of it what ffmpeg says.
#[test]
fn pictures_over_http_are_a_camera_whatever_their_boundaries() {
    let scratch = Scratch::new();
    let frames = scratch.file("%03d.jpg");
    tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120", "-frames:v", "20", &frames]);
    let picture = |number: usize| std::fs::read(scratch.file(&format!("{number:03}.jpg"))).expect("read");
    for (kind, lengths) in [
        ("multipart/x-mixed-replace; boundary=x", true),
        ("multipart/x-mixed-replace", false),
        ("application/octet-stream", true),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}/video", listener.local_addr().expect("an address"));
        let pictures: Vec<Vec<u8>> = (1..=20).map(picture).collect();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            // What is not read makes the end of a connection a fault.
            assert!(stream.read(&mut [0; 4096]).expect("a request") > 0);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n").expect("written");
            for picture in &pictures {
                let length = if lengths { format!("Content-Length: {}\r\n", picture.len()) } else { String::new() };
                write!(stream, "--x\r\nContent-Type: image/jpeg\r\n{length}\r\n").expect("written");
                stream.write_all(picture).and_then(|()| stream.write_all(b"\r\n")).expect("written");
            }
        });
        let ran = run(&address, &["--mode", "every-frame", "--reconnect-attempts", "0"]);
        served.join().expect("no panic");
        assert_eq!(ran.code, Some(1), "it is lost in the end: {}", ran.stderr);
        let lines = ran.lines();
        let times = times(&lines);
        assert_eq!(times.len(), 20, "{kind}: {}", ran.stderr);
        assert!(times[0] == 0.0 && times.is_sorted(), "{times:?}");
        assert!(of_schema(&lines, FRAME).iter().all(|frame| frame["clock"] == "arrival"), "{kind}");
    }
}

/// What ffmpeg sends by UDP: begun at any moment, it is whole from the first key frame on.
#[test]
fn mpeg_ts_over_udp_is_a_live_source() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "160x120", 100, &["-c:v", "libx264", "-g", "25", "-bf", "0"]);
    let address = format!("udp://127.0.0.1:{}", free_port());
    let send = ["-v", "error", "-re", "-stream_loop", "-1", "-i", &film, "-c", "copy", "-f", "mpegts", &address];
    let mut sender = std::process::Command::new("ffmpeg").args(send).stdin(Stdio::null()).spawn().expect("ffmpeg");
    let model = model();
    let mut run = command(&["run", "--source", &address, "--query", "a", "--model", &model, "--out", "jsonl:-"]);
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut frames = Vec::new();
    while frames.len() < 30 {
        let line: Value = serde_json::from_str(&lines.next().expect("more").expect("text")).expect("JSON");
        if line["schema"] == FRAME {
            frames.push(line);
        }
    }
    tool("kill", &["-TERM", &child.id().to_string()]);
    drop(lines);
    sender.kill().and_then(|()| sender.wait()).expect("gone");
    child.wait().expect("ends");
    assert!(frames.iter().all(|frame| frame["status"] != "error"), "{frames:?}");
    assert!(times(&frames).is_sorted_by(|a, b| a < b));
}

/// A pipeline of one's own needs no address, and may be one that comes back.
/// Nobody waits for sound that may never come.
#[test]
fn rtmp_begins_at_once_with_sound_and_without() {
    let scratch = Scratch::new();
    let port = free_port();
    let (nginx, settings) = rtmp_server(&scratch, port);
    let _server = Peer::start(&nginx, &settings.each_ref().map(String::as_str));
    until("an RTMP server", Duration::from_secs(20), || TcpStream::connect(("127.0.0.1", port)).ok());
    let silent = clip(&scratch, "silent.mp4", "160x120", 250, &["-c:v", "libx264", "-g", "25"]);
    let loud = scratch.file("loud.mp4");
    let sound = ["-f", "lavfi", "-i", "sine=duration=10", "-c:v", "copy", "-c:a", "aac", &loud];
    tool("ffmpeg", &[&["-v", "error", "-i", &silent], &sound[..]].concat());
    for (name, film) in [("silent", &silent), ("loud", &loud)] {
        let address = format!("rtmp://127.0.0.1:{port}/live/{name}");
        let send = ["-v", "error", "-re", "-stream_loop", "-1", "-i", film, "-c", "copy", "-f", "flv", &address];
        let _sender = Peer::start("ffmpeg", &send);
        let model = model();
        let fixed = ["run", "--source", &address, "--query", "a", "--model", &model, "--out", "jsonl:-"];
        // Below what the demuxer would wait for the other kind.
        let mut run = command(&[&fixed[..], &["--stall-timeout", "5s"]].concat());
        let mut child = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut before: Vec<String> = Vec::new();
        for line in lines {
            if line.contains(FRAME) {
                break;
            }
            before.push(line);
            if before.last().is_some_and(|line| line.contains("STREAM_TIMEOUT")) {
                break;
            }
        }
        tool("kill", &["-TERM", &child.id().to_string()]);
        child.wait().expect("ends");
        assert!(!before.iter().any(|line| line.contains("STREAM_TIMEOUT")), "{name}: {before:?}");
    }
}

#[test]
fn a_pipeline_that_names_its_source_needs_no_other() {
    let scratch = Scratch::new();
    let launch = "videotestsrc num-buffers=5 ! capsfilter caps=video/x-raw,width=160,height=120,framerate=25/1";
    let model = model();
    let start = |live: &str| {
        let file = scratch.write("door.toml", format!("[source]\nlaunch = \"{launch}\"\n{live}").as_bytes());
        let fixed = ["run", "--pipeline", &file, "--query", "a", "--model", &model, "--out", "jsonl:-"];
        let mut run = command(&[&fixed[..], &["--reconnect-interval", "50ms"]].concat());
        run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
    };
    let once = Ran::from(start("").wait_with_output().expect("ends")).expect_success();
    assert_eq!(times(&once.lines()).len(), 5);
    assert!(of_schema(&once.lines(), FRAME).iter().all(|frame| frame["source"] == "door"));
    let mut again = start("live = true\n");
    let lines = BufReader::new(again.stdout.take().expect("piped")).lines();
    let opened = lines.map_while(Result::ok).any(|line| line.contains("\"gap_end\""));
    assert!(opened, "it is opened again");
    tool("kill", &["-TERM", &again.id().to_string()]);
    again.wait().expect("ends");
}

/// Every place that an address is put into is looked at, before anything is written.
#[test]
fn holes_in_outputs_are_filled_or_named() {
    let scratch = Scratch::new();
    let place = scratch.file("{source}-{date}.mp4");
    let unknown = run("test:?frames=2", &["--out", &format!("mp4:{place}")]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("{date} is not known; did you mean {time}?"), "{}", unknown.stderr);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
    let sources = ["--source", "test:smpte?frames=5", "--out", "rtsp://127.0.0.1:0/{source}"];
    let served = run("test:ball?frames=5", &sources).expect_success();
    for name in ["test_ball_frames_5", "test_smpte_frames_5"] {
        assert!(served.stderr.contains(&format!("/{name}")), "{}", served.stderr);
    }
    let local = scratch.file("{time:local}.mp4");
    run("test:?frames=2", &["--out", &format!("mp4:{local}")]).expect_success();
    assert_eq!(scratch.names().first().map(String::len), Some("20261125T194300.mp4".len()));
}

/// As where a clock is set back, or local time is in autumn.
#[test]
fn a_time_that_comes_twice_replaces_no_file() {
    let scratch = Scratch::new();
    let clock = scratch.write("clock", b"2026-11-25 18:43:00");
    std::fs::create_dir(scratch.file("out")).expect("made");
    let model = model();
    let [records, video] =
        ["jsonl", "mkv"].map(|kind| format!("{kind}:{}", scratch.file(&format!("out/{{time}}.{kind}"))));
    for source in ["test:?frames=2", "test:?frames=3", "test:?frames=4"] {
        let flags = ["--query", "a", "--model", &model, "--out", &records, "--out", &video];
        let ran = command(&[&["run", source], &flags[..]].concat()).envs(clock_of(&clock)).output().expect("starts");
        Ran::from(ran).expect_success();
    }
    for (name, count) in [("", 2), ("-0002", 3), ("-0003", 4)] {
        let file = |ending: &str| format!("out/20261125T184300Z{name}.{ending}");
        assert_eq!(of_schema(&json_lines(&scratch.read(&file("jsonl"))), FRAME).len(), count, "{name}");
        assert_eq!(probe(&scratch.file(&file("mkv"))).2 as usize, count, "{name}");
    }
    assert_eq!(std::fs::read_dir(scratch.file("out")).expect("listed").count(), 6);
}

/// Also a name that is no text in any language.
#[test]
fn a_source_may_be_called_anything() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mkv", "160x120", 3, &FILM);
    let odd = scratch.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe.mkv"));
    std::fs::rename(film, &odd).expect("renamed");
    let mut run = command(&["run", "--query", "a", "--out", "jsonl:-", "--model"]);
    run.arg(model()).arg("--source").arg(&odd).current_dir(repository());
    let ran = Ran::from(run.output().expect("starts")).expect_success();
    assert_eq!(times(&ran.lines()).len(), 3);
}

/// Whatever it is, it is told without the names of GStreamer's parts.
#[test]
fn what_is_no_video_is_told_as_what_it_is() {
    let scratch = Scratch::new();
    let noise: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sound = scratch.file("sound.m4a");
    tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", &sound]);
    let cases = [
        (scratch.write("noise.mp4", &noise), "is in no format that is known here, expected a video"),
        (scratch.write("zeros.ts", &[0; 5000]), "is in no format that is known here, expected a video"),
        (scratch.write("notes.txt", b"bring bread, milk and the red car"), "is in no format that is known here"),
        (sound, "holds sound and no picture"),
        ("rtmp://127.0.0.1:1/live".into(), "names no stream, expected rtmp://HOST/APPLICATION/STREAM"),
        ("srt://127.0.0.1:1?mode=foo".into(), "mode=foo: expected caller, listener, rendezvous"),
    ];
    for (source, expected) in cases {
        let ran = run(&source, &[]);
        assert_ne!(ran.code, Some(0), "{source}");
        assert!(ran.stderr.contains(expected), "{source}: {}", ran.stderr);
        assert!(!ran.stderr.contains("typefind") && !ran.stderr.contains(".c("), "{source}: {}", ran.stderr);
    }
    for (input, expected) in [(&b""[..], "gave nothing, or too little"), (&noise, "is in no format")] {
        let ran = piped(input, "-");
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
}
