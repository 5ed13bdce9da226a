//! Films of files and cameras, against ffprobe: every picture has the time of the record that tells what it shows. Pictures carry a number,
//! so that one that is a whole frame early or late is found out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{Film, Run, Viewer, Watched, decodes, encoded, get};
use crate::sources::probed;
use crate::support::counter::{Counter, counter_clip, counters};
use crate::support::servers::Server;
use crate::support::{Scratch, clip, tool};

const RATE: u32 = 25;
/// Frames of a film, forty seconds: who looks on a busy machine comes late.
const LENGTH: usize = 1000;
/// Pictures that are looked at.
const ENOUGH: usize = 60;
/// The page takes times that are so near for one, ns.
const SAME: f64 = 8e6;
const HEVC: [&str; 6] =
    ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=25:bframes=3:log-level=none"];

/// Times of records, by the number that their picture shows, ns.
fn times(lines: &[Value]) -> BTreeMap<usize, f64> {
    let measured = lines.iter().filter(|line| line["schema"] == "spotter.frame/2" && line["status"] == "measured");
    let number = |line: &Value| Some(line["objects"][0]["box"]["x"].as_f64()? as usize);
    measured.filter_map(|line| Some((number(line)?, line["pts_ns"].as_f64()?))).collect()
}

/// Watches a source; sees that it is one film whose pictures are those of the records.
fn holds(scratch: &Scratch, source: &str) -> Film {
    let run = Run::start(&["--source", source, "--query", "the counter"], Counter { takes: Duration::ZERO });
    let described = get(&run.place, &format!("/api/v1/streams/{}", encoded(source))).json();
    assert_eq!(described["video"], serde_json::json!(["mp4", "jpeg"]));
    let mut viewer = Viewer::open(&run.place, source, "?video=mp4");
    let mut pictures = 0;
    let mut watched = Watched::until(&mut viewer, |watched| {
        assert!(!watched.none, "it is said that there is no film");
        pictures = watched.films.last().map_or(0, |film| film.bytes.windows(4).filter(|w| w == b"moof").count());
        pictures >= ENOUGH && times(&watched.lines).len() >= ENOUGH
    });
    drop(viewer);
    assert!(run.end().frames.closed());
    assert!(pictures >= ENOUGH, "{pictures} pictures");
    let heads: Vec<&Value> = watched.films.iter().map(|film| &film.head).collect();
    assert_eq!(heads.len(), 1, "{heads:?}");
    let head = heads[0];
    assert_eq!((&head["width"], &head["height"]), (&320.into(), &192.into()));
    assert!(head["codec"].as_str().is_some_and(|codec| codec.starts_with("avc1.") && codec.len() == 11), "{head}");
    let film = watched.films.remove(0);
    let file = scratch.write("film.mp4", &film.bytes);
    decodes(&file);
    let (shown, numbers, told) = (probed(&file), counters(&file), times(&watched.lines));
    assert_eq!(shown.len(), numbers.len());
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    let origin = film.head["origin_ns"].as_f64().expect("a time");
    let mut seen = 0;
    for (number, time) in numbers.iter().zip(&shown) {
        // Records of frames from before the viewer came are not there, nor of those that nobody measured.
        let Some(told) = told.get(number) else { continue };
        let off = origin + time * 1e9 - told;
        assert!(off.abs() < SAME, "picture {number} is {} ms late", off / 1e6);
        seen += 1;
    }
    assert!(seen >= ENOUGH / 2, "{seen} pictures of {numbers:?} have records: {:?}", told.keys());
    film
}

#[test]
fn pictures_in_order_have_the_times_of_their_records() {
    let scratch = Scratch::new();
    holds(&scratch, &counter_clip(&scratch, RATE, LENGTH, &["-bf", "0", "-g", "10"]));
}

#[test]
fn pictures_out_of_order_have_the_times_of_their_records() {
    let scratch = Scratch::new();
    let shuffled = ["-g", "25", "-bf", "3", "-b_strategy", "0"];
    let source = counter_clip(&scratch, RATE, LENGTH, &shuffled);
    holds(&scratch, &source);
    // As it comes over the air, with a time of decoding beside that of showing.
    let other = Scratch::new();
    let air = other.file("film.ts");
    tool("ffmpeg", &["-v", "error", "-i", &source, "-c", "copy", &air]);
    holds(&other, &air);
}

/// RTSP says when pictures are shown, and not when they are decoded.
#[test]
fn pictures_of_a_camera_have_the_times_of_their_records_in_whatever_order_they_come() {
    for options in [&["-bf", "0", "-g", "25"][..], &["-g", "25", "-bf", "3", "-b_strategy", "0"]] {
        let scratch = Scratch::new();
        let camera = Server::camera(&counter_clip(&scratch, RATE, LENGTH, options), &[]);
        holds(&scratch, &camera.address);
    }
}

#[test]
fn what_is_no_h264_is_encoded_and_keeps_its_times() {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, LENGTH, &HEVC);
    holds(&scratch, &film);
    let other = |name: &str, options: &[&str]| {
        let file = scratch.file(name);
        tool("ffmpeg", &[&["-v", "error", "-i", &film][..], options, &[&file]].concat());
        file
    };
    for source in [
        other("jpeg.mov", &["-c:v", "mjpeg", "-q:v", "3"]),
        other("raw.mkv", &["-c:v", "rawvideo", "-pix_fmt", "yuv420p"]),
        // Its container does not say when pictures are shown that come in another order.
        other("film.avi", &["-c:v", "libx264", "-g", "25", "-bf", "2"]),
    ] {
        holds(&scratch, &source);
    }
    let camera = Server::camera(&film, &["--h265"]);
    holds(&scratch, &camera.address);
}

/// Parameter sets that change from one key frame to the next, as where one film follows on another.
#[test]
fn a_film_with_several_parameter_sets_decodes() {
    let scratch = Scratch::new();
    let part = |name: &str, options: &[&str]| {
        let coded = [&["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-bf", "0"][..], options].concat();
        clip(&scratch, name, "320x192", 100, &coded)
    };
    let list = [part("a.ts", &["-crf", "20"]), part("b.ts", &["-crf", "40", "-refs", "1", "-profile:v", "baseline"])];
    let list = list.map(|file| format!("file '{file}'\n")).concat();
    let list = scratch.write("list", list.as_bytes());
    let source = scratch.file("both.ts");
    tool("ffmpeg", &["-v", "error", "-f", "concat", "-safe", "0", "-i", &list, "-c", "copy", &source]);
    let run = Run::start(&["--source", &source, "--query", "a"], Counter { takes: Duration::ZERO });
    let watched = Watched::until(&mut Viewer::open(&run.place, &source, "?video=mp4"), |watched| watched.none);
    assert!(run.end().frames.closed());
    let codecs: Vec<&Value> = watched.films.iter().map(|film| &film.head["codec"]).collect();
    assert_eq!(codecs.len(), 2, "{codecs:?}");
    assert_ne!(codecs[0], codecs[1]);
    let mut shown = 0;
    for (number, film) in watched.films.iter().enumerate() {
        let file = scratch.write(&format!("film-{number}.mp4"), &film.bytes);
        decodes(&file);
        shown += probed(&file).len();
    }
    assert!(shown > 150, "{shown} of 200 pictures");
}

/// A file that is read faster than it plays has no film: nobody could follow it.
#[test]
fn what_is_no_film_is_said() {
    let scratch = Scratch::new();
    let source = counter_clip(&scratch, RATE, LENGTH, &["-g", "10"]);
    let out = format!("jsonl:{}", scratch.file("out.jsonl"));
    let slow = Counter { takes: Duration::from_millis(20) };
    let run = Run::start(&["--source", &source, "--query", "the counter", "--out", &out], slow);
    let described = get(&run.place, &format!("/api/v1/streams/{}", encoded(&source))).json();
    assert_eq!(described["video"], serde_json::json!(["jpeg"]));
    let watched = Watched::until(&mut Viewer::open(&run.place, &source, "?video=mp4"), |watched| watched.none);
    assert!(watched.none && watched.films.is_empty());
    // So it is where a picture is smaller than any encoder takes.
    let small = "test:ball?live=true&size=320x12";
    let run = Run::start(&["--source", small, "--query", "a"], Counter { takes: Duration::ZERO });
    let watched = Watched::until(&mut Viewer::open(&run.place, small, "?video=mp4"), |watched| watched.none);
    assert!(watched.none && watched.films.is_empty());
}
