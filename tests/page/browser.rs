//! The page in Debian's Chromium, driven by Playwright: boxes on the very frames that they were measured on, another
//! sentence, sightings and their clips, zones.

use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::bounded;
use image::RgbImage;
use serde_json::{Value, json};
use spotter::run::stream_until;

use super::encoded;
use crate::rtsp::{AS_CAMERAS, RATE};
use crate::served::Service;
use crate::sightings::{Finder, drawn_with};
use crate::support::counter::{BOX, BOX_TOP, STEP, STEPS, Stepping, WIDTH, counter_clip, read_counter};
use crate::support::servers::{Server, free_port};
use crate::support::{Scratch, aloud, repository, run_settings, tool};

/// One browser at a time: two would starve each other.
static BROWSER: Mutex<()> = Mutex::new(());

/// A browser that is there.
struct Browser {
    packages: String,
    folder: Scratch,
    _alone: MutexGuard<'static, ()>,
}

impl Browser {
    /// None where it cannot be had; that is said.
    fn new() -> Option<Self> {
        let packages = repository().join("target/browser");
        for needed in [packages.join("playwright"), "/usr/bin/chromium".into()] {
            if !needed.exists() {
                aloud(&format!("SKIPPED: {} is not there (make peers)", needed.display()));
                return None;
            }
        }
        let alone = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Self { packages: packages.to_str().expect("UTF-8").to_owned(), folder: Scratch::new(), _alone: alone })
    }

    /// Does something on the page at `place`; what is told of it.
    fn act(&self, command: &str, place: &str, settings: &Value) -> Value {
        let script = repository().join("tests/page/browser.py");
        let output = Command::new("python3")
            .arg(script)
            .args([command, &format!("http://{place}/"), self.folder.path().to_str().expect("UTF-8")])
            .arg(settings.to_string())
            .env("PYTHONPATH", &self.packages)
            .stdin(Stdio::null())
            .output()
            .expect("Python starts");
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            self.keep();
        }
        assert!(output.status.success(), "{command}: {said}");
        let told = String::from_utf8(output.stdout).expect("UTF-8");
        let told: Value = serde_json::from_str(told.lines().last().expect("a line")).expect("JSON");
        assert_eq!(told["wrong"], json!([]), "the browser found something wrong");
        told
    }

    /// What the browser showed, one after the other.
    fn screens(&self, told: &Value) -> impl Iterator<Item = RgbImage> {
        let count = told["screens"].as_u64().expect("a count");
        let open = |number| image::open(self.folder.file(&format!("{number:05}.jpg"))).expect("a picture").into_rgb8();
        (1..=count).map(open)
    }

    /// What somebody who looks for the reason wants to see.
    fn keep(&self) {
        let (from, to) = (self.folder.path().join("failed.png"), repository().join("target/browser-failed.png"));
        if std::fs::copy(from, &to).is_ok() {
            aloud(&format!("what the browser showed last: {}", to.display()));
        }
    }
}

/// Where one picture of the page lies on the screen.
#[derive(Debug, Clone, Copy)]
struct Place {
    x: f64,
    y: f64,
    scale: f64,
}

impl Place {
    fn all(told: &Value) -> Vec<Self> {
        let side = |place: &Value, key: &str| place[key].as_f64().expect("a number");
        let of = |place: &Value| Self {
            x: side(place, "x"),
            y: side(place, "y"),
            scale: side(place, "width") / WIDTH as f64,
        };
        told["places"].as_array().expect("places").iter().map(of).collect()
    }

    /// The point of the screen on which a point of the picture lies.
    fn on(self, screen: &RgbImage, (x, y): (f64, f64)) -> [u8; 3] {
        let at = |from: f64, along: f64, most: u32| ((from + along * self.scale) as u32).min(most - 1);
        screen.get_pixel(at(self.x, x, screen.width()), at(self.y, y, screen.height())).0
    }
}

/// Whether a point has the colour of the first query, as far as JPEG keeps it: nothing else on these pictures is yellow.
fn is_yellow([red, green, blue]: [u8; 3]) -> bool {
    red.min(green) > blue.saturating_add(60)
}

/// A box on a screen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Drawn {
    /// Its left side, pixels of the picture.
    left: f64,
    /// Whether its line has no gaps.
    solid: bool,
}

/// The first upright line between two heights of a picture, if there is one.
fn drawn(screen: &RgbImage, place: Place, (top, bottom): (f64, f64)) -> Option<Drawn> {
    let rows = ((bottom - top) * place.scale) as u32;
    // Of a dashed line four sevenths are there.
    let share = |column: u32| {
        let there = |row: &u32| {
            let y = (place.y + top * place.scale) as u32 + row;
            is_yellow(screen.get_pixel(column, y).0)
        };
        (0..rows).filter(there).count() as f64 / f64::from(rows)
    };
    let first = place.x.ceil() as u32;
    let columns = first..((place.x + WIDTH as f64 * place.scale) as u32).min(screen.width());
    let left = columns.clone().find(|column| share(*column) > 0.35)?;
    let most = (left..(left + 4).min(columns.end)).map(share).fold(0.0, f64::max);
    // The middle of a line of 2.5 pixels.
    let middle = if left == first { 0.0 } else { f64::from(left) + 1.25 - place.x };
    Some(Drawn { left: middle / place.scale, solid: most > 0.93 })
}

/// What somebody sees of a stream with the counter at one moment: its number, and the number that the box is of.
#[derive(Debug, Clone, Copy)]
struct Look {
    counter: usize,
    boxed: Option<(usize, bool)>,
}

fn look(screen: &RgbImage, place: Place) -> Look {
    let bright = |x: usize, y: usize| place.on(screen, (x as f64, y as f64))[1] > 128;
    let heights = (BOX_TOP + 6.0, BOX_TOP + BOX.1 - 6.0);
    let boxed = drawn(screen, place, heights).map(|drawn| ((drawn.left / STEP as f64).round() as usize, drawn.solid));
    Look { counter: read_counter(bright), boxed }
}

/// What is seen of a file and of a camera side by side while so many frames are shown.
fn looks(takes: Duration, frames: usize, flags: &[&str]) -> Option<Vec<Vec<Look>>> {
    const ATTEMPTS: usize = 3;
    let browser = Browser::new()?;
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, 60 * RATE as usize, &AS_CAMERAS);
    for _ in 0..ATTEMPTS {
        let camera = Server::camera(&film, &[]);
        let place = format!("127.0.0.1:{}", free_port());
        let sources = ["--source", &film, "--source", &camera.address, "--rtsp-transport", "tcp", "--query", "a"];
        let settings = run_settings(&[&sources[..], flags, &["--page", &place]].concat());
        let (stop, stopped) = bounded::<()>(0);
        let run =
            std::thread::spawn(move || stream_until(&settings, Box::new(Stepping { takes }), None, true, stopped));
        let told = browser.act("watch", &place, &json!({ "streams": 2, "frames": frames }));
        drop(stop);
        let books = run.join().expect("no panic").expect("no failure");
        assert!(books.frames.closed(), "{books}");
        if books.frames.error > 0 {
            // On a machine that is too busy a camera's packets come too late, and its pictures are guessed.
            continue;
        }
        let places = Place::all(&told);
        let screens: Vec<RgbImage> = browser.screens(&told).collect();
        let of = |place: &Place| screens.iter().map(|screen| look(screen, *place)).collect();
        return Some(places.iter().map(of).collect());
    }
    panic!("{ATTEMPTS} times the camera's pictures were damaged on their way in");
}

/// Solid boxes are those of the frame that is seen, or of the one beside it; returns of how many frames one was seen, and how
/// many of them had their very own.
fn fits(looks: &[Look]) -> (usize, usize) {
    let (mut frames, mut own) = (std::collections::BTreeSet::new(), 0);
    for (at, Look { counter, boxed }) in looks.iter().enumerate() {
        let Some((boxed, true)) = boxed else { continue };
        let off = (counter % STEPS + STEPS - boxed) % STEPS;
        let near = &looks[at.saturating_sub(3)..(at + 4).min(looks.len())];
        assert!([0, 1, STEPS - 1].contains(&off), "the box of {boxed} on frame {counter}: {near:?}");
        if frames.insert(*counter) {
            own += usize::from(off == 0);
        }
    }
    (frames.len(), own)
}

#[test]
fn boxes_lie_on_the_frames_that_they_were_measured_on() {
    let Some(streams) = looks(Duration::ZERO, 450, &[]) else { return };
    assert_eq!(streams.len(), 2);
    for looks in streams {
        let (frames, own) = fits(&looks);
        aloud(&format!("{frames} frames with a box, {own} of them their very own; {} pictures", looks.len()));
        assert!(frames >= 300, "{frames} frames had a box: {looks:?}");
    }
}

#[test]
fn boxes_of_a_model_that_is_slower_than_the_camera_do_so_too() {
    let takes = Duration::from_millis(100);
    let Some(streams) = looks(takes, 330, &["--mode", "freshest"]) else { return };
    for looks in streams {
        let (frames, own) = fits(&looks);
        let shown: std::collections::BTreeSet<usize> = looks.iter().map(|look| look.counter).collect();
        aloud(&format!("{frames} of {} frames with a box of their own, {own} their very own", shown.len()));
        assert!(shown.len() >= 300, "{} frames were shown", shown.len());
        // Every third or so is measured, and the others have the box of one before, with gaps in its line.
        let carried: Vec<usize> = looks
            .iter()
            .filter_map(|look| {
                look.boxed.filter(|(_, solid)| !solid).map(|(boxed, _)| (look.counter + STEPS - boxed) % STEPS)
            })
            .collect();
        assert!(frames >= 60 && carried.len() >= 100, "{frames} measured, {} carried: {looks:?}", carried.len());
        assert!(carried.iter().all(|behind| *behind <= STEPS / 2), "a box of a later frame: {carried:?}");
    }
}

/// A red circle on the left and a blue square on the right, for a minute.
fn two_shapes(scratch: &Scratch) -> String {
    let picture = RgbImage::from_fn(320, 192, |x, y| {
        let (x, y) = (i64::from(x), i64::from(y));
        if (x - 80).pow(2) + (y - 96).pow(2) < 40i64.pow(2) {
            image::Rgb([220, 30, 30])
        } else if (200..270).contains(&x) && (60..130).contains(&y) {
            image::Rgb([30, 60, 220])
        } else {
            image::Rgb([235, 235, 235])
        }
    });
    let (still, film) = (scratch.file("still.png"), scratch.file("shapes.mp4"));
    picture.save(&still).expect("saved");
    let input = ["-v", "error", "-loop", "1", "-framerate", "25", "-i", &still, "-t", "60"];
    let options = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-bf", "0", &film];
    tool("ffmpeg", &[&input[..], &options].concat());
    film
}

#[test]
fn a_sentence_that_is_typed_is_what_the_next_measured_frame_shows() {
    let Some(browser) = Browser::new() else { return };
    let scratch = Scratch::new();
    let film = two_shapes(&scratch);
    let service = Service::start(&["--source", &film, "--query", "the red circle", "--page", "127.0.0.1:0"]);
    let place = super::place(&service);
    let settings = json!({ "stream": encoded(&film), "sentence": "the blue square" });
    let told = browser.act("ask", &place, &settings);
    let lines = told["lines"].as_array().expect("lines");
    let changed = lines.iter().position(|line| line["event"] == "query" && line["change"] == "changed").expect("told");
    // Where the middle of the box is, of frames that were measured.
    let middles = |lines: &[Value]| -> Vec<(String, f64)> {
        let measured = lines.iter().filter(|line| line["status"] == "measured" && line["objects"][0].is_object());
        let number = |line: &Value, key: &str| line["objects"][0]["box"][key].as_f64().expect("a number");
        let middle = |line: &Value| {
            let text = line["queries"][0]["text"].as_str().expect("a sentence").to_owned();
            (text, number(line, "x") + number(line, "w") / 2.0)
        };
        measured.map(middle).collect()
    };
    let (before, after) = (middles(&lines[..changed]), middles(&lines[changed..]));
    assert!(before.iter().all(|(text, x)| text == "the red circle" && (60.0..100.0).contains(x)), "{before:?}");
    assert!(after.iter().all(|(text, x)| text == "the blue square" && (215.0..255.0).contains(x)), "{after:?}");
    assert!(before.len() > 2 && after.len() > 2, "{} and {} frames", before.len(), after.len());
    let next = lines[changed..].iter().find(|line| line["status"] == "measured").expect("a frame");
    assert_eq!(next["queries"][0]["status"], "box", "the next measured frame: {next}");

    let place = Place::all(&told)[0];
    let lefts: Vec<f64> = browser
        .screens(&told)
        .filter_map(|screen| drawn(&screen, place, (85.0, 105.0)))
        .filter(|drawn| drawn.solid)
        .map(|drawn| drawn.left)
        .collect();
    let first = lefts.iter().position(|left| *left > 150.0).expect("the square is found");
    let near = |lefts: &[f64], at: f64| lefts.iter().all(|left| (left - at).abs() < 15.0);
    assert!(
        near(&lefts[..first], 40.0) && near(&lefts[first..], 200.0),
        "first the circle, then the square: {lefts:?}"
    );
    assert!(first > 0 && lefts.len() > first + 2, "{first} and {} pictures", lefts.len() - first);
}

#[test]
fn sightings_come_by_themselves_and_their_clips_play() {
    // Frames on which the square is there, in each stay; frames from one to the next.
    const STAY: usize = 50;
    const EVERY: usize = 100;
    let Some(browser) = Browser::new() else { return };
    let scratch = Scratch::new();
    let square = |frame: usize| {
        let within = frame.checked_sub(EVERY).map(|frame| frame % EVERY).filter(|frame| *frame < STAY)?;
        Some((12 + 4 * within, 80))
    };
    let film = drawn_with(&scratch, (0..6 * EVERY).map(square), &["-g", "10"]);
    let dir = scratch.file("kept");
    let clips = "clips = { before = \"400ms\", after = \"400ms\", cues = true }";
    let table =
        scratch.write("kept.toml", format!("[sightings]\ndir = {dir:?}\nsnapshots = true\n{clips}\n").as_bytes());
    let place = format!("127.0.0.1:{}", free_port());
    // The other stream goes on when the film is over, and the page with it.
    let sources = ["--source", &film, "--source", "test:black?live=true&size=64x48&fps=5", "--query", "the square"];
    let kept = ["--zones", &table, "--confirm", "10", "--forget", "400ms", "--page", &place];
    let settings = run_settings(&[&sources[..], &kept].concat());
    let (stop, stopped) = bounded::<()>(0);
    let run = std::thread::spawn(move || stream_until(&settings, Box::new(Finder), Some(0.5), true, stopped));
    let told = browser.act("seen", &place, &json!({ "stream": film, "count": 3, "until": 1.0 }));
    drop(stop);
    run.join().expect("no panic").expect("runs");
    let times = |key: &str| told[key].as_object().expect("times by id").clone();
    let shown = times("shown");
    assert!(shown.len() >= 3, "{told}");
    let late: Vec<f64> =
        times("told").iter().filter_map(|(id, told)| Some(shown.get(id)?.as_f64()? - told.as_f64()?)).collect();
    aloud(&format!("pictures of sightings were there after {late:.0?} ms"));
    assert!(late.iter().any(|late| *late < 2000.0), "ms from the event to the picture: {late:?}");
    assert!(told["clip"]["currentTime"].as_f64().expect("a time") > 1.0, "{told}");

    // The box lies around the square.
    let clip = image::open(browser.folder.file("clip.png")).expect("a picture").into_rgb8();
    let scale = f64::from(clip.width()) / WIDTH as f64;
    let row = (100.0 * scale) as u32;
    let white = |x: &u32| clip.get_pixel(*x, row).0.iter().all(|value| *value > 200);
    let columns: Vec<u32> = (0..clip.width()).filter(white).collect();
    let (left, right) = (columns[0], columns[columns.len() - 1]);
    assert!((f64::from(right - left) / scale - 40.0).abs() < 8.0, "the square is seen, from {left} to {right}");
    let upright = |x: &u32| ((85.0 * scale) as u32..(110.0 * scale) as u32).all(|y| is_yellow(clip.get_pixel(*x, y).0));
    let sides: Vec<u32> = (0..clip.width()).filter(upright).collect();
    let off = |side: u32, of: u32| (f64::from(side) - f64::from(of)).abs() / scale;
    let (first, last) = (sides[0], sides[sides.len() - 1]);
    // It moves four pixels a frame.
    assert!(off(first, left) < 6.0 && off(last, right) < 6.0, "{first} to {last} around {left} to {right}");
}

#[test]
fn a_zone_that_is_dragged_stands_in_the_settings_file() {
    let Some(browser) = Browser::new() else { return };
    let scratch = Scratch::new();
    let text = "# Our gate.\n[[stream]]\nid = \"gate\"\nsource = \"test:ball?live=true&size=320x192\"\nquery = \"a\"\n";
    let file = scratch.write("run.toml", text.as_bytes());
    let service = Service::start(&["--config", &file, "--page", "127.0.0.1:0"]);
    let place = super::place(&service);
    let told = browser.act("draw", &place, &json!({ "stream": "gate", "name": "the drive", "to": [0.1, 0.2] }));
    assert!(told["said"].as_str().is_some_and(|said| said.contains("one is in run.toml")), "{told}");
    let written = scratch.read("run.toml");
    assert!(written.starts_with(text), "{written}");
    let written: toml::Value = toml::from_str(&written).expect("TOML");
    let zone = &written["stream"][0]["zone"][0];
    assert_eq!(zone["name"].as_str(), Some("the drive"));
    let points: Vec<f64> = zone["points"]
        .as_array()
        .expect("points")
        .iter()
        .flat_map(|point| point.as_array().expect("a point").iter().filter_map(toml::Value::as_float))
        .collect();
    let wanted = [0.1, 0.2, 0.7, 0.3, 0.75, 0.705, 0.3, 0.7];
    let near = |(one, other): (&f64, &f64)| (one - other).abs() < 0.01;
    assert!(points.len() == wanted.len() && points.iter().zip(&wanted).all(near), "{points:?}");
}
