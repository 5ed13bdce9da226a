//! Clips that are cut from files.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use spotter::run::stream;
use spotter::sightings::{ClipSettings, Clips, Container, RectJson};
use spotter::source::{PacketLimits, PacketRing};

use crate::sources::{FRAME, probed};
use crate::support::clips::{AFTER, BEFORE, clip_settings, is_within, only, sighting, slices, text, wait_for};
use crate::support::counter::{Counter, counter_clip, counter_of, counters};
use crate::support::{Scratch, clip, json_lines, of_schema, probe, run_settings, tool};

const RATE: u32 = 25;
/// Frames of a film, twelve seconds.
const LENGTH: usize = 300;
/// The first frame with the thing, and the last one.
const SEEN: (usize, usize) = (133, 178);
/// B-frames, and a key frame every second.
const H264: [&str; 4] = ["-bf", "3", "-g", "25"];
const LIMIT: Duration = Duration::from_mins(1);

/// Plays a film with its packets kept; returns them and the frames' records.
fn play(scratch: &Scratch, film: &str) -> (Arc<PacketRing>, Vec<Value>) {
    play_with(scratch, film, PacketLimits { time: Duration::from_mins(1), waits: true, ..PacketLimits::default() })
}

/// The same with as many packets as these limits say.
fn play_with(scratch: &Scratch, film: &str, limits: PacketLimits) -> (Arc<PacketRing>, Vec<Value>) {
    let ring = PacketRing::new(limits);
    let out = scratch.file("out.jsonl");
    let mut settings = run_settings(&["--source", film, "--query", "the counter", "--out", &format!("jsonl:{out}")]);
    settings.streams[0].source.packets = Some(Arc::clone(&ring));
    let counts = stream(&settings, Box::new(Counter { takes: Duration::ZERO }), None, true).expect("played");
    assert!(counts.frames.closed(), "{counts}");
    let lines = json_lines(&scratch.read("out.jsonl"));
    (ring, of_schema(&lines, FRAME).into_iter().cloned().collect())
}

/// The record of the frame with this counter.
fn with_counter(frames: &[Value], counter: usize) -> &Value {
    frames.iter().find(|frame| counter_of(frame) == counter).unwrap_or_else(|| panic!("no frame {counter}"))
}

/// The clip of what is seen, of a film with counters on its frames.
fn clip_of(scratch: &Scratch, film: &str, settings: ClipSettings) -> spotter::sightings::FileRef {
    let (ring, frames) = play(scratch, film);
    let seen = sighting("a", with_counter(&frames, SEEN.0), with_counter(&frames, SEEN.1));
    let mut clips = Clips::new(ring, settings);
    clips.begin(&seen);
    clips.end(&seen);
    let file = only(clips.finish(LIMIT));
    let shown = counters(text(&file.path));
    assert!(shown.windows(2).all(|pair| pair[1] == pair[0] + 1), "{film}: {shown:?}");
    assert!(shown[0] + (BEFORE * u64::from(RATE)) as usize <= SEEN.0, "{film} begins with {}", shown[0]);
    let last = shown.last().copied().unwrap_or_default();
    assert!(last >= SEEN.1 + (AFTER * u64::from(RATE)) as usize, "{film} ends with {last}");
    let times = probed(text(&file.path));
    let wanted: Vec<f64> = (0..shown.len()).map(|frame| frame as f64 / f64::from(RATE)).collect();
    let even = times.len() == wanted.len() && times.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 2e-3);
    assert!(even, "{film}: a player shows the first picture at once, and every one when it was: {times:?}");
    let start = with_counter(&frames, shown[0])["pts_ns"].as_u64().expect("a time");
    let told = file.start_pts_ns.expect("a time");
    assert!(told.abs_diff(start) < 2_000_000, "{film}: its stream time is {start}, and {told} was told");
    file
}

#[test]
fn clips_of_files_are_whole_and_nothing_is_encoded_anew() {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, LENGTH, &H264);
    let hevc = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=25:bframes=3:log-level=none"];
    let of_hevc = Scratch::new();
    let hevc_film = counter_clip(&of_hevc, RATE, LENGTH, &hevc);
    let copied = |name: &str| {
        let file = scratch.file(name);
        tool("ffmpeg", &["-v", "error", "-i", &film, "-c", "copy", &file]);
        file
    };
    let trimmed = scratch.file("trimmed.mp4");
    tool("ffmpeg", &["-v", "error", "-ss", "1.3", "-i", &film, "-c", "copy", &trimmed]);
    // One key frame, at the beginning.
    let other = Scratch::new();
    let rare = counter_clip(&other, RATE, LENGTH, &["-bf", "3", "-g", "1000", "-sc_threshold", "0"]);
    let films = [
        (film.clone(), "h264"),
        (rare, "h264"),
        (copied("film.mkv"), "h264"),
        (copied("film.ts"), "h264"),
        // Between two key frames: an edit list hides what is needed to decode the first pictures.
        (trimmed, "h264"),
        (hevc_film, "hevc"),
    ];
    for (number, (film, codec)) in films.iter().enumerate() {
        for container in [Container::Mp4, Container::Mkv] {
            let folder = scratch.path().join(format!("{number}-{container:?}"));
            let file = clip_of(&scratch, film, clip_settings(&folder, container));
            let (of_clip, of_film) = (slices(text(&file.path), codec), slices(film, codec));
            assert!(of_clip.len() > 100 && is_within(&of_clip, &of_film), "{film}: {} slices", of_clip.len());
        }
    }
}

#[test]
fn motion_jpeg_goes_into_matroska_as_it_is() {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, LENGTH, &H264);
    let jpeg = scratch.file("jpeg.mov");
    tool("ffmpeg", &["-v", "error", "-i", &film, "-c:v", "mjpeg", "-q:v", "3", &jpeg]);
    let file = clip_of(&scratch, &jpeg, clip_settings(scratch.path(), Container::Mp4));
    assert!(text(&file.path).ends_with("a.mkv"), "{:?}", file.path);
    let pictures = |video: &str| {
        let pictures = scratch.file("pictures.mjpeg");
        tool("ffmpeg", &["-v", "error", "-y", "-i", video, "-map", "0:v", "-c", "copy", "-f", "mjpeg", &pictures]);
        std::fs::read(pictures).expect("read")
    };
    let (of_clip, of_film) = (pictures(text(&file.path)), pictures(&jpeg));
    assert!(of_film.windows(of_clip.len()).any(|window| window == of_clip), "the bytes are those of the film");
}

#[test]
fn sound_comes_along() {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, LENGTH, &H264);
    let with = |name: &str, options: &[&str]| {
        let file = scratch.file(name);
        let sine = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000", "-c:v", "copy", "-shortest"];
        tool("ffmpeg", &[&["-v", "error", "-i", &film][..], &sine, options, &[&file]].concat());
        file
    };
    let aac = with("aac.mp4", &["-c:a", "aac"]);
    let adts = with("adts.ts", &["-c:a", "aac"]);
    let law = with("law.mov", &["-c:a", "pcm_mulaw"]);
    let cases = [
        (&aac, Container::Mp4, "aac"),
        (&aac, Container::Mkv, "aac"),
        (&adts, Container::Mp4, "aac"),
        (&law, Container::Mkv, "pcm_mulaw"),
        (&law, Container::Mp4, "aac"),
    ];
    for (number, (film, container, codec)) in cases.into_iter().enumerate() {
        let folder = scratch.path().join(format!("sound-{number}"));
        let file = clip_of(&scratch, film, clip_settings(&folder, container));
        let entries = ["-v", "error", "-select_streams", "a", "-of", "csv=p=0", "-show_entries"];
        let of = |entry: &str| tool("ffprobe", &[&entries[..], &[entry, text(&file.path)]].concat());
        assert_eq!(of("stream=codec_name").trim(), codec, "{film}");
        let times: Vec<f64> =
            of("packet=pts_time").lines().filter_map(|line| line.trim_matches(',').parse().ok()).collect();
        let (first, last) = (times[0], times[times.len() - 1]);
        let length = probed(text(&file.path)).last().copied().expect("a picture");
        assert!(first < 0.3 && last > length - 0.5, "{film}: sound from {first} to {last} of {length} s");
    }
    let silent = ClipSettings { sound: false, ..clip_settings(&scratch.path().join("silent"), Container::Mp4) };
    let file = clip_of(&scratch, &aac, silent);
    let streams =
        tool("ffprobe", &["-v", "error", "-of", "csv=p=0", "-show_entries", "stream=codec_name", text(&file.path)]);
    assert_eq!(streams.trim(), "h264");
}

/// Sound that stops within a clip, and sound that begins late in it, leave its picture whole.
#[test]
fn sound_that_is_there_at_times_holds_up_no_clip() {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, LENGTH, &H264);
    for (name, sine) in [("stops.mp4", ["-t", "4"]), ("begins.mp4", ["-itsoffset", "6"])] {
        let file = scratch.file(name);
        let sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=6", "-c:v", "copy", "-c:a", "aac"];
        tool("ffmpeg", &[&["-v", "error", "-i", &film][..], &sine, &sound, &[&file]].concat());
        for container in [Container::Mp4, Container::Mkv] {
            clip_of(&scratch, &file, clip_settings(&scratch.path().join(format!("{name}-{container:?}")), container));
        }
    }
}

#[test]
fn a_source_without_packets_is_encoded() {
    let scratch = Scratch::new();
    let (ring, frames) = play(&scratch, "test:ball?frames=200&size=321x192&fps=25");
    let seen = sighting("a", &frames[110], &frames[130]);
    let mut clips = Clips::new(ring, clip_settings(scratch.path(), Container::Mp4));
    clips.begin(&seen);
    clips.end(&seen);
    let file = only(clips.finish(LIMIT));
    let (width, height, count) = probe(text(&file.path));
    assert_eq!((width, height), (322, 192), "a column is added: the codec wants even sides");
    // A key frame every fifty: from 50 on, to the asked-for 155 or a little later.
    assert!((106..130).contains(&count), "{count} frames");
    assert_eq!(file.start_pts_ns, Some(2_000_000_000));
}

#[test]
fn long_clips_go_in_parts_without_a_hole_and_several_share_the_packets() {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, LENGTH, &H264);
    let (ring, frames) = play(&scratch, &film);
    let settings = ClipSettings {
        max_length: Duration::from_secs(3),
        cues: true,
        ..clip_settings(scratch.path(), Container::Mp4)
    };
    let mut clips = Clips::new(ring, settings);
    let long = sighting("long", &frames[60], &frames[250]);
    let short = sighting("short", &frames[100], &frames[110]);
    for seen in [&long, &short] {
        clips.begin(seen);
    }
    for frame in &frames[60..250] {
        let rect = RectJson { x: counter_of(frame) as f64, y: 0.0, w: 1.0, h: 1.0 };
        let time = frame["pts_ns"].as_u64().expect("a time");
        clips.note("long", time, rect, None);
        clips.progress(time);
    }
    for seen in [&long, &short] {
        clips.end(seen);
    }
    let finished = clips.finish(LIMIT);
    let of = |id: &str, kind: &str| {
        let files = finished.iter().filter(|finished| finished.sighting == id);
        let files = files.map(|finished| finished.file.as_ref().expect("written"));
        files.filter(|file| file.kind == kind).map(|file| text(&file.path).to_owned()).collect::<Vec<_>>()
    };
    let (parts, boxes) = (of("long", "clip"), of("long", "cues"));
    assert!(parts.len() >= 3, "{parts:?}");
    let shown: Vec<usize> = parts.iter().flat_map(|part| counters(part)).collect();
    assert!(shown.windows(2).all(|pair| pair[1] == pair[0] + 1), "{shown:?}");
    assert!(shown[0] <= 10 && shown[shown.len() - 1] >= 275, "{shown:?}");
    assert_eq!(of("short", "clip").len(), 1);
    assert_eq!(boxes.len(), parts.len(), "{boxes:?}");
    // The boxes of a part are those of its pictures, in its own time.
    let (second, counters) = (std::fs::read_to_string(&boxes[1]).expect("read"), counters(&parts[1]));
    let first = second.lines().nth(3).expect("a cue");
    let cue: Value = serde_json::from_str(first).expect("JSON");
    assert_eq!(cue["box"]["x"].as_f64(), Some(counters[0] as f64), "{second}");
    assert!(second.lines().nth(2).is_some_and(|times| times.starts_with("00:00:00.000 -->")), "{second}");
    let left = std::fs::read_dir(scratch.path().join("1970-01-01")).expect("listed").flatten();
    let staged = left.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count();
    assert_eq!(staged, 0, "nothing is left of how they were made");
}

/// Another size in the middle of a broadcast, whose times begin anew with it.
#[test]
fn another_format_is_another_part() {
    let scratch = Scratch::new();
    let options = ["-c:v", "libx264", "-bf", "2", "-g", "25"];
    let parts = [("large.ts", "320x192"), ("small.ts", "160x96")]
        .map(|(name, size)| std::fs::read(clip(&scratch, name, size, 100, &options)).expect("read"));
    let (ring, frames) = play(&scratch, &scratch.write("both.ts", &parts.concat()));
    assert!(frames.len() > 150, "{} frames", frames.len());
    let seen = sighting("a", &frames[80], &frames[120]);
    let mut clips = Clips::new(ring, clip_settings(scratch.path(), Container::Mp4));
    clips.begin(&seen);
    clips.end(&seen);
    let files: Vec<_> = clips.finish(LIMIT).into_iter().map(|finished| finished.file.expect("written")).collect();
    let sizes: Vec<_> = files.iter().map(|file| probe(text(&file.path))).collect();
    assert_eq!(sizes.len(), 2, "{sizes:?}");
    assert_eq!([(sizes[0].0, sizes[0].1), (sizes[1].0, sizes[1].1)], [(320, 192), (160, 96)]);
    // From frame 25, the key frame before 30, to the last one of that size; from the first of the other size on.
    assert!(sizes[0].2 >= 70 && sizes[1].2 >= 45, "{sizes:?}");
}

/// No key frame comes for a minute: clips begin with the one before, as far as what came since has room; else with the next one, and
/// where that is behind their end, it is told.
#[test]
fn a_minute_without_a_key_frame_ends_no_clip() {
    const MINUTE: usize = 65 * RATE as usize;
    let scratch = Scratch::new();
    let film = counter_clip(
        &scratch,
        RATE,
        70 * RATE as usize,
        &["-bf", "2", "-g", &MINUTE.to_string(), "-keyint_min", &MINUTE.to_string(), "-sc_threshold", "0"],
    );
    let clip = |bytes: usize, (first, last): (usize, usize)| {
        // Less than lies between its key frames.
        let limits = PacketLimits { bytes, time: Duration::from_secs(6), waits: true };
        let (ring, frames) = play_with(&scratch, &film, limits);
        assert!(ring.held().bytes <= bytes, "{:?}", ring.held());
        let seen = sighting("a", with_counter(&frames, first), with_counter(&frames, last));
        let mut clips = Clips::new(ring, clip_settings(scratch.path(), Container::Mp4));
        clips.begin(&seen);
        clips.end(&seen);
        let mut finished = clips.finish(LIMIT);
        assert_eq!(finished.len(), 1, "{finished:?}");
        let shown = finished.remove(0).file.map(|file| counters(text(&file.path)));
        if let Ok(shown) = &shown {
            assert!(shown.windows(2).all(|pair| pair[1] == pair[0] + 1), "{shown:?}");
            assert!(shown[shown.len() - 1] >= last + (AFTER * u64::from(RATE)) as usize, "{shown:?}");
        }
        shown
    };
    assert_eq!(clip(64 << 20, (1500, 1550)).expect("written")[0], 0, "the key frame before");
    assert_eq!(clip(256 << 10, (1560, 1700)).expect("written")[0], MINUTE, "the next one");
    let told = clip(256 << 10, (1500, 1560)).expect_err("there was none").to_string();
    assert!(told.contains("no key frame came"), "{told}");
}

#[test]
fn what_cannot_be_a_clip_is_told() {
    let scratch = Scratch::new();
    let ring = PacketRing::new(PacketLimits::default());
    let mut clips = Clips::new(ring, clip_settings(scratch.path(), Container::Mp4));
    clips.begin(&sighting("a", &Value::Null, &Value::Null));
    let told = wait_for(&clips, 1).remove(0).file.expect_err("no clip").to_string();
    assert!(told.contains("its source says nothing of time"), "{told}");
}

const ALONE: &str = "SPOTTER_TEST_ALONE";

/// Files may grow to so many blocks of 512 bytes, as on a disk that is full behind them.
const BLOCKS: u32 = 8000;

#[test]
fn a_full_disk_is_told_once_and_what_was_written_can_be_played() {
    const NAME: &str = "sighted::clips::a_full_disk_is_told_once_and_what_was_written_can_be_played";
    if let Some(folder) = std::env::var_os(ALONE) {
        return run_out_of_room(std::path::Path::new(&folder));
    }
    let scratch = Scratch::new();
    // Noise does not compress.
    let noise = ["-vf", "noise=alls=30:allf=t", "-qp", "20"];
    counter_clip(&scratch, RATE, LENGTH, &[&H264[..], &noise].concat());
    let script = format!("trap '' XFSZ; ulimit -c 0; ulimit -f {BLOCKS}; exec \"$0\" --exact {NAME} --nocapture");
    let mut alone = std::process::Command::new("sh");
    alone.args(["-c", &script]).arg(std::env::current_exe().expect("known")).env(ALONE, scratch.path());
    let output = alone.output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["1970-01-01/mp4.mp4", "1970-01-01/mkv.mkv"] {
        let shown = counters(&scratch.file(name));
        assert!(shown.len() > RATE as usize, "{name}: {shown:?}");
        assert!(shown.windows(2).all(|pair| pair[1] == pair[0] + 1), "{name}: {shown:?}");
    }
}

fn run_out_of_room(folder: &std::path::Path) {
    let scratch = Scratch::new();
    let film = folder.join("counter.mp4");
    let (ring, frames) = play(&scratch, text(&film));
    for (id, container) in [("mp4", Container::Mp4), ("mkv", Container::Mkv)] {
        let mut clips = Clips::new(Arc::clone(&ring), clip_settings(folder, container));
        let seen = sighting(id, &frames[60], &frames[250]);
        clips.begin(&seen);
        clips.end(&seen);
        let finished = clips.finish(LIMIT);
        let (saved, failed): (Vec<_>, Vec<_>) = finished.into_iter().partition(|finished| finished.file.is_ok());
        assert_eq!((saved.len(), failed.len()), (1, 1), "{saved:?} {failed:?}");
        let told = failed[0].file.as_ref().expect_err("no room").to_string();
        assert!(told.contains(&format!("{id}.{id}")) && told.contains("File too large"), "{told}");
    }
}
