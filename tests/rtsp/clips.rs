//! Clips of cameras: the seconds before are in them, and the packets are the camera's own.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use spotter::sightings::{Clips, Container};
use spotter::source::{PacketLimits, PacketRing};

use super::{FRAME_NS, Live, RATE, events, frames, number};
use crate::sources::probed;
use crate::support::clips::{AFTER, BEFORE, clip_settings, is_within, only, sighting, slices, text, wait_for};
use crate::support::counter::{Counter, counter_clip, counter_of, counters};
use crate::support::relay::{self, Harm};
use crate::support::servers::Server;
use crate::support::{Scratch, tool};

const FAST: Counter = Counter { takes: Duration::ZERO };
/// What a clip needs to begin in time, with a key frame a second.
const LIMITS: PacketLimits = PacketLimits { bytes: 8 << 20, time: Duration::from_secs(6), waits: false };
/// A film is as long as any test looks at it.
const FRAMES: usize = 90 * RATE as usize;

/// A run whose packets are kept, and its clips.
struct Watched {
    live: Live,
    ring: Arc<PacketRing>,
    clips: Clips,
}

impl Watched {
    fn start(scratch: &Scratch, flags: &[&str], limits: PacketLimits) -> Self {
        let ring = PacketRing::new(limits);
        let flags = [&["--query", "the counter"], flags].concat();
        let live = Live::start_with(&flags, FAST, |settings| {
            settings.streams[0].source.packets = Some(Arc::clone(&ring));
        });
        let clips = Clips::new(Arc::clone(&ring), clip_settings(scratch.path(), Container::Mp4));
        Self { live, ring, clips }
    }

    /// Looks at so many frames, and then at more until one is measured: a busy machine drops some. Returns that one.
    fn look(&mut self, count: usize) -> Value {
        for looked in 1.. {
            let frame = self.live.wait_for("frame", |line| line["schema"] == "spotter.frame/2");
            self.clips.progress(frame["pts_ns"].as_u64().expect("a time"));
            let held = self.ring.held();
            assert!(held.bytes <= self.ring_limit(), "{held:?}");
            if looked >= count && frame["measured"] == true {
                return frame;
            }
        }
        unreachable!("it looks until it returns")
    }

    fn ring_limit(&self) -> usize {
        self.ring.limits().bytes
    }
}

/// Ten sightings, one beginning while the clips of others are still open.
fn ten_of_ten(options: &[&str], codec: &str, served: &[&str]) {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, FRAMES, options);
    let camera = Server::camera(&film, served);
    let mut watched = Watched::start(&scratch, &["--source", &camera.address], LIMITS);
    watched.look((BEFORE as usize + 2) * RATE as usize);
    let mut asked = Vec::new();
    for turn in 0..10 {
        let id = format!("sighting-{turn}");
        let first = watched.look(7);
        watched.clips.begin(&sighting(&id, &first, &first));
        let last = watched.look(RATE as usize / 2);
        watched.clips.end(&sighting(&id, &first, &last));
        asked.push((id, counter_of(&first), counter_of(&last)));
    }
    // The seconds after the last one come with the frames after it.
    watched.look((AFTER as usize + 2) * RATE as usize);
    let mut finished = wait_for(&watched.clips, asked.len());
    let (outcome, lines) = watched.live.end();
    outcome.expect("no failure");
    let of_film = slices(&film, codec);
    for (id, first, last) in asked {
        let place = finished.iter().position(|finished| finished.sighting == id).expect("told of");
        let file = only(vec![finished.remove(place)]);
        let shown = counters(text(&file.path));
        assert!(shown.windows(2).all(|pair| pair[1] == pair[0] + 1), "{id}: {shown:?}");
        assert!(shown.contains(&first), "{id}: {first} in {shown:?}");
        assert!(shown[0] + (BEFORE as usize) * RATE as usize <= first, "{id}: {first} in {shown:?}");
        let end = shown[shown.len() - 1];
        assert!(end >= last + (AFTER as usize) * RATE as usize, "{id}: {last} in {shown:?}");
        // Times of the file count from its first picture, and what is told of it is that one's stream time.
        let times = probed(text(&file.path));
        assert_eq!(times.len(), shown.len());
        for (counter, time) in shown.iter().zip(&times) {
            let off = time * 1e9 / FRAME_NS - (counter - shown[0]) as f64;
            assert!(off.abs() < 0.6, "{id}: picture {counter} at {time} s");
        }
        let measured = frames(&lines).into_iter().filter(|frame| frame["measured"] == true);
        let begin = measured.into_iter().find(|frame| counter_of(frame) == first).expect("a record");
        let told = file.start_pts_ns.expect("a time") as f64;
        let off = (number(begin, "pts_ns") - told) / FRAME_NS - (first - shown[0]) as f64;
        assert!(off.abs() < 0.6, "{id}: it was told to begin at {told}");
        let of_clip = slices(text(&file.path), codec);
        assert!(
            of_clip.len() > 50 && is_within(&of_clip, &of_film),
            "{id}: {} slices are not the camera's",
            of_clip.len()
        );
    }
}

#[test]
fn clips_of_h264_with_reordered_pictures_begin_in_time() {
    ten_of_ten(&["-bf", "3", "-g", "25"], "h264", &[]);
}

#[test]
fn clips_of_h265_begin_in_time() {
    ten_of_ten(
        &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=25:bframes=3:log-level=none"],
        "hevc",
        &["--h265"],
    );
}

/// Motion JPEG has no groups, and RTP leaves out the headers of its pictures: what is left of them is the camera's.
#[test]
fn clips_of_motion_jpeg_begin_in_time() {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, 20 * RATE as usize, &["-bf", "0", "-g", "25"]);
    let jpeg = scratch.file("jpeg.mov");
    // RTP carries pictures with the usual tables alone.
    let options = ["-c:v", "mjpeg", "-q:v", "3", "-huffman", "default", "-pix_fmt", "yuvj420p"];
    tool("ffmpeg", &[&["-v", "error", "-i", &film][..], &options, &[&jpeg]].concat());
    let camera = Server::camera(&jpeg, &[]);
    let mut watched = Watched::start(&scratch, &["--source", &camera.address], LIMITS);
    let first = watched.look((BEFORE as usize + 1) * RATE as usize);
    watched.clips.begin(&sighting("a", &first, &first));
    let last = watched.look(2 * RATE as usize);
    watched.clips.end(&sighting("a", &first, &last));
    watched.look((AFTER as usize + 1) * RATE as usize);
    let file = only(wait_for(&watched.clips, 1));
    watched.live.end().0.expect("no failure");
    assert!(text(&file.path).ends_with("a.mkv"), "{:?}", file.path);
    let (shown, first, last) = (counters(text(&file.path)), counter_of(&first), counter_of(&last));
    assert!(shown.windows(2).all(|pair| pair[1] == pair[0] + 1), "{shown:?}");
    let before = BEFORE as usize * RATE as usize;
    // Every picture is a key frame: none is there for another's sake.
    assert!((first - before - 1..=first - before).contains(&shown[0]), "{first} in {shown:?}");
    assert!(shown[shown.len() - 1] >= last + AFTER as usize * RATE as usize, "{last} in {shown:?}");
    let (of_clip, of_film) = (scans(&scratch, text(&file.path)), scans(&scratch, &jpeg));
    assert_eq!(of_clip.len(), shown.len());
    assert!(is_within(&of_clip, &of_film), "the pictures are not the camera's");
}

/// What the pictures of a video of JPEGs say of their pixels, without headers.
fn scans(scratch: &Scratch, video: &str) -> Vec<Vec<u8>> {
    let pictures = scratch.file("pictures.mjpeg");
    tool("ffmpeg", &["-v", "error", "-y", "-i", video, "-map", "0:v", "-c", "copy", "-f", "mjpeg", &pictures]);
    let bytes = std::fs::read(pictures).expect("read");
    let places = |marker: u8| {
        let found = bytes.windows(2).enumerate().filter(move |(_, pair)| *pair == [0xff, marker]);
        found.map(|(at, _)| at).collect::<Vec<_>>()
    };
    let (starts, ends) = (places(0xda), places(0xd9));
    assert_eq!(starts.len(), ends.len(), "{video}");
    // Behind the marker stands how long its header is, which names the colours, in whatever way.
    let header = |start: usize| 2 + usize::from(u16::from_be_bytes([bytes[start + 2], bytes[start + 3]]));
    let scan = |(start, end): (&usize, &usize)| bytes[*start + header(*start)..*end].to_vec();
    starts.iter().zip(&ends).map(scan).collect()
}

#[test]
fn sound_of_a_camera_is_in_its_clips() {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, FRAMES, &["-bf", "3", "-g", "25"]);
    for (name, codec, rate) in [("aac.mp4", "aac", "44100"), ("law.mov", "pcm_alaw", "8000")] {
        let with_sound = scratch.file(name);
        let sine = ["-f", "lavfi", "-i", "sine=frequency=440", "-c:v", "copy", "-shortest", "-c:a", codec, "-ar", rate];
        tool("ffmpeg", &[&["-v", "error", "-i", &film][..], &sine, &[&with_sound]].concat());
        let camera = Server::camera(&with_sound, &[]);
        let folder = Scratch::new();
        let mut watched = Watched::start(&folder, &["--source", &camera.address], LIMITS);
        let first = watched.look((BEFORE as usize + 1) * RATE as usize);
        watched.clips.begin(&sighting("a", &first, &first));
        let last = watched.look(RATE as usize);
        watched.clips.end(&sighting("a", &first, &last));
        watched.look((AFTER as usize + 1) * RATE as usize);
        let file = only(wait_for(&watched.clips, 1));
        drop(watched.live.end());
        let entries = ["-v", "error", "-select_streams", "a", "-of", "csv=p=0", "-show_entries"];
        let of = |entry: &str| tool("ffprobe", &[&entries[..], &[entry, text(&file.path)]].concat());
        assert_eq!(of("stream=codec_name").trim(), "aac", "{name}");
        let times: Vec<f64> =
            of("packet=pts_time").lines().filter_map(|line| line.trim_matches(',').parse().ok()).collect();
        let length = probed(text(&file.path)).last().copied().expect("a picture");
        let (from, to) = (times[0], times[times.len() - 1]);
        assert!(from < 1.0 && to > length - 1.0, "{name}: sound from {from} to {to} of {length} s");
    }
}

/// A part ends where the camera goes, and another one begins where it is back.
#[test]
fn a_gap_ends_a_part() {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, FRAMES, &["-bf", "3", "-g", "25"]);
    let camera = Server::camera(&film, &[]);
    let (address, lever) = relay::tcp(&camera.address, Harm::None);
    let flags = ["--source", &address, "--reconnect-interval", "100ms", "--reconnect-max-interval", "100ms"];
    let mut watched = Watched::start(&scratch, &flags, LIMITS);
    let first = watched.look(3 * RATE as usize);
    watched.clips.begin(&sighting("a", &first, &first));
    watched.look(RATE as usize);
    lever.set(Harm::Cut);
    watched.live.wait_for_event("gap_start");
    // What there is can be seen while the camera is away.
    let before = only(wait_for(&watched.clips, 1));
    lever.set(Harm::None);
    watched.live.wait_for_event("gap_end");
    let last = watched.look(2 * RATE as usize);
    watched.clips.end(&sighting("a", &first, &last));
    watched.look((AFTER as usize + 2) * RATE as usize);
    let after = only(wait_for(&watched.clips, 1));
    drop(watched.live.end());
    let (one, other) = (counters(text(&before.path)), counters(text(&after.path)));
    for shown in [&one, &other] {
        assert!(shown.windows(2).all(|pair| pair[1] == pair[0] + 1), "{shown:?}");
    }
    assert!(one.contains(&counter_of(&first)) && other.contains(&counter_of(&last)), "{one:?} {other:?}");
    assert!(before.end_pts_ns < after.start_pts_ns, "{before:?} {after:?}");
}

/// Datagrams are lost on the way: the clip is told all the same, and plays from its beginning to its end.
#[test]
fn what_is_lost_on_the_way_leaves_a_clip_that_plays() {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, FRAMES, &["-bf", "0", "-g", "25"]);
    let camera = Server::camera(&film, &[]);
    let (address, _lever) = relay::udp(&camera.address, Harm::Lose(40));
    let flags = ["--source", &address, "--rtsp-transport", "udp"];
    let mut watched = Watched::start(&scratch, &flags, LIMITS);
    let first = watched.look((BEFORE as usize + 2) * RATE as usize);
    watched.clips.begin(&sighting("a", &first, &first));
    let last = watched.look(2 * RATE as usize);
    watched.clips.end(&sighting("a", &first, &last));
    watched.look((AFTER as usize + 2) * RATE as usize);
    let file = only(wait_for(&watched.clips, 1));
    let (_, lines) = watched.live.end();
    assert!(!events(&lines, "decode_error").is_empty(), "something was lost");
    let times = probed(text(&file.path));
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    let (length, least) = (times[times.len() - 1] - times[0], (BEFORE + 2 + AFTER) as f64 - 0.5);
    assert!(length > least && times.len() > 2 * RATE as usize, "{} pictures in {length} s", times.len());
}

/// Packets that do not fit go in whole groups; what is kept can still be decoded.
#[test]
fn a_small_ring_stays_small() {
    let scratch = Scratch::new();
    let film = counter_clip(&scratch, RATE, FRAMES, &["-bf", "0", "-g", "25", "-vf", "noise=alls=10:allf=t"]);
    let camera = Server::camera(&film, &[]);
    let limits = PacketLimits { bytes: 512 << 10, ..LIMITS };
    let mut watched = Watched::start(&scratch, &["--source", &camera.address], limits);
    let first = watched.look(5 * RATE as usize);
    watched.clips.begin(&sighting("a", &first, &first));
    let last = watched.look(2 * RATE as usize);
    watched.clips.end(&sighting("a", &first, &last));
    watched.look((AFTER as usize + 2) * RATE as usize);
    let file = only(wait_for(&watched.clips, 1));
    drop(watched.live.end());
    let shown = counters(text(&file.path));
    assert!(shown.windows(2).all(|pair| pair[1] == pair[0] + 1), "{shown:?}");
    assert!(shown[shown.len() - 1] >= counter_of(&last), "{shown:?}");
}
