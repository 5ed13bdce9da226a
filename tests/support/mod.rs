//! A program run, a scratch folder, small models, and media made on the spot.

pub(crate) mod clips;
pub(crate) mod counter;
pub(crate) mod relay;
pub(crate) mod servers;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use clap::Parser;
use spotter::cli::{Cli, Verb};
use spotter::config::RunSettings;

/// One finished run of a program.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// The JSON lines on stdout.
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        json_lines(&self.stdout)
    }

    pub(crate) fn expect_success(self) -> Self {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self
    }
}

/// JSON, a value a line, as it stands there.
pub(crate) fn raw_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"))).collect()
}

/// The same as one query sees it: most tests ask one, and look for one box.
pub(crate) fn json_lines(text: &str) -> Vec<serde_json::Value> {
    raw_lines(text).into_iter().map(of_one_query).collect()
}

/// What a line says of its only query, at the top of it: `status` is the frame's where it was not measured, and `box`
/// with what belongs to it that of its object. Counts stand under `books`.
pub(crate) fn of_one_query(mut line: serde_json::Value) -> serde_json::Value {
    let [query] = line["queries"].as_array().map_or(&[][..], Vec::as_slice) else { return line };
    let query = query.clone();
    if line["schema"] == FRAME_SCHEMA {
        let object = line["objects"][0].clone();
        for key in ["box", "box_raw", "box_norm"] {
            line[key] = object[key].clone();
        }
        for (to, from) in [("query", "text"), ("query_rev", "rev"), ("measured", "measured")] {
            line[to] = query[from].clone();
        }
        for key in ["presence", "cause"] {
            if let Some(value) = query.get(key) {
                line[key] = value.clone();
            }
        }
        if line["status"] == "measured" {
            line["status"] = query["status"].clone();
        }
    } else if line["frames"].is_object() {
        let mut books = line["frames"].clone();
        for key in ["box", "absent", "carried"] {
            books[key] = query[key].clone();
        }
        line["books"] = books;
    }
    line
}

/// Schema of frame records.
const FRAME_SCHEMA: &str = "spotter.frame/2";

/// The lines of one schema.
pub(crate) fn of_schema<'a>(lines: &'a [serde_json::Value], schema: &str) -> Vec<&'a serde_json::Value> {
    lines.iter().filter(|line| line["schema"] == schema).collect()
}

/// The program, not yet started. Where no model is named it takes the small one, which knows drawn scenes exactly; the
/// built-in one has tests of its own.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spotter"));
    command.args(args).stdin(Stdio::null()).env_remove("SPOTTER_LOG");
    command.env("SPOTTER_MODEL", repository().join("models/spotter-tiny"));
    command
}

/// The program, run to its end.
pub(crate) fn spotter(args: &[&str]) -> Ran {
    command(args).output().expect("the program starts").into()
}

/// Says something that is heard although the test passes: what the test runner captures goes through `eprintln`.
pub(crate) fn aloud(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("written");
}

/// Another program, which must be there and succeed; its stdout.
pub(crate) fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output =
        output.unwrap_or_else(|e| panic!("{program} is needed for this test (scripts/setup.sh installs it): {e}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A folder that goes away with the test.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of `name` in the folder, as text.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        let file = self.file(name);
        std::fs::write(&file, bytes).expect("written");
        file
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).expect("read")
    }

    /// Names in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("listed");
        let mut names: Vec<String> =
            entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    /// `text` with the folder's own path taken out.
    pub(crate) fn generic(&self, text: &str) -> String {
        let name = self.path().file_name().and_then(|name| name.to_str()).expect("UTF-8");
        text.replace(self.path().to_str().expect("UTF-8"), "DIR").replace(name, "NAME")
    }
}

/// Tries until it is there.
pub(crate) fn until<T>(what: &str, limit: Duration, mut there: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(it) = there() {
            return it;
        }
        assert!(began.elapsed() < limit, "no {what} within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    repository().join("crates/qrnet/tests/fixtures").join(name)
}

/// A small random model of the Grounding DINO family: `idea-7`, `idea-12`, `mm-7` or `mm-12`.
pub(crate) fn grounding_dino(name: &str) -> String {
    let path = repository().join("crates/grounding-dino/tests/fixtures").join(name);
    path.to_str().expect("UTF-8").to_owned()
}

/// The real clip: H.264, 640x272, 25 frames/s, 250 frames.
pub(crate) fn bikes() -> String {
    let clip = repository().join("media/bikes.mp4");
    assert!(clip.exists(), "{} is missing: run scripts/fetch-media.sh (make test does)", clip.display());
    clip.to_str().expect("UTF-8").to_owned()
}

static MODELS: LazyLock<Scratch> = LazyLock::new(|| {
    let scratch = Scratch::new();
    let tiny = std::fs::read_to_string(repository().join("configs/model/tiny.toml")).expect("read");
    let presence = scratch.write("presence.toml", tiny.replace("presence = false", "presence = true").as_bytes());
    spotter(&["convert", "--random", "7", "--config", "tiny", "--out", &scratch.file("plain")]).expect_success();
    spotter(&["convert", "--random", "7", "--config", &presence, "--out", &scratch.file("presence")]).expect_success();
    scratch
});

/// What a process is told for its clock to be as `file` says, to libfaketime: `+0`, `-1h`, or a time at which it stands still. What
/// only goes forward (monotonic time) stays the machine's.
pub(crate) fn clock_of(file: &str) -> [(&'static str, String); 5] {
    let library = repository().join("target/faketime/libfaketimeMT.so.1");
    assert!(library.exists(), "{} is not there (make peers)", library.display());
    [
        ("LD_PRELOAD", library.to_str().expect("UTF-8").to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("TZ", "UTC".to_owned()),
    ]
}

/// A small untrained model without a presence head.
pub(crate) fn model() -> String {
    MODELS.file("plain")
}

/// The same with a presence head.
pub(crate) fn model_with_presence() -> String {
    MODELS.file("presence")
}

/// A test picture as PNG.
pub(crate) fn picture(scratch: &Scratch, name: &str, (width, height): (u32, u32)) -> String {
    let file = scratch.file(name);
    let rgb = image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, ((x + y) % 256) as u8])
    });
    rgb.save(&file).expect("saved");
    file
}

/// A clip from ffmpeg's test source; `options` choose the codec.
pub(crate) fn clip(scratch: &Scratch, name: &str, size: &str, frames: u32, options: &[&str]) -> String {
    let file = scratch.file(name);
    let source = format!("testsrc=size={size}:rate=25");
    let frames = frames.to_string();
    let mut args = vec!["-v", "error", "-f", "lavfi", "-i", &source, "-frames:v", &frames];
    args.extend(options);
    args.push(&file);
    tool("ffmpeg", &args);
    file
}

/// Frames as they are given to ffmpeg, one after the other: their pixels (`gray`, `rgb24`), width, height, and how many
/// there are a second.
#[derive(Clone, Copy)]
pub(crate) struct Raw {
    pub(crate) format: &'static str,
    pub(crate) size: (usize, usize),
    pub(crate) rate: u32,
}

/// Writes frames as H.264 in 4:2:0; `options` are the encoder's.
pub(crate) fn encode(file: &str, raw: Raw, frames: impl Iterator<Item = Vec<u8>>, options: &[&str]) {
    let Raw { format, size: (width, height), rate } = raw;
    let (size, rate) = (format!("{width}x{height}"), rate.to_string());
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", format, "-s", &size, "-r", &rate, "-i", "-"])
        .args(["-c:v", "libx264", "-pix_fmt", "yuv420p"])
        .args(options)
        .arg(file)
        .stdin(Stdio::piped())
        .spawn()
        .expect("ffmpeg is needed for this test (scripts/setup.sh installs it)");
    let mut pipe = ffmpeg.stdin.take().expect("a pipe");
    frames.for_each(|frame| pipe.write_all(&frame).expect("taken"));
    drop(pipe);
    assert!(ffmpeg.wait().expect("ends").success());
}

/// A copy of an MP4 of this height that is to be shown turned by 90 degrees clockwise, as phones note it: in the track
/// header's matrix.
pub(crate) fn turn(scratch: &Scratch, mp4: &str, height: u32) -> String {
    let mut bytes = std::fs::read(mp4).expect("read");
    let header = bytes.windows(4).position(|w| w == b"tkhd").expect("a track header") + 4;
    let matrix: [u32; 9] = [0, 1 << 16, 0, (-1i32 << 16) as u32, 0, 0, height << 16, 0, 1 << 30];
    let matrix: Vec<u8> = matrix.iter().flat_map(|value| value.to_be_bytes()).collect();
    bytes[header + 40..header + 76].copy_from_slice(&matrix);
    scratch.write("turned.mp4", &bytes)
}

/// Width, height and number of frames that decode, by ffprobe.
pub(crate) fn probe(file: &str) -> (u32, u32, u32) {
    let fields = "stream=width,height,nb_read_frames";
    let text = tool(
        "ffprobe",
        &["-v", "error", "-count_frames", "-select_streams", "v", "-show_entries", fields, "-of", "csv=p=0", file],
    );
    let numbers: Vec<u32> =
        text.trim().trim_end_matches(',').split(',').map(|n| n.parse().expect("a number")).collect();
    (numbers[0], numbers[1], numbers[2])
}

/// Frame `index` of a video, decoded by ffmpeg, with its most exact conversion to RGB.
pub(crate) fn frame_of(scratch: &Scratch, video: &str, index: u32, name: &str) -> String {
    let file = scratch.file(name);
    let select = format!("select=eq(n\\,{index})");
    let exact = "accurate_rnd+full_chroma_int+full_chroma_inp";
    tool("ffmpeg", &["-v", "error", "-y", "-i", video, "-vf", &select, "-sws_flags", exact, "-frames:v", "1", &file]);
    file
}

/// Settings of `spotter run` with these flags, for runs inside this process.
pub(crate) fn run_settings(flags: &[&str]) -> RunSettings {
    gstreamer::init().expect("GStreamer starts");
    match Cli::parse_from(["spotter", "run"].iter().chain(flags)).verb {
        Verb::Run(args) => RunSettings::resolve(*args).expect("valid"),
        _ => unreachable!("run was typed"),
    }
}
