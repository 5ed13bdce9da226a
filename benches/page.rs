//! What the page costs: nothing to speak of while nobody watches, little for one who plays the camera's own packets, and bounded memory for fifty.
//!
//! `cargo bench --bench page` (nine minutes; `-- nobody`, `one` or `fifty` for a part); `cargo test` runs it in short. Needs
//! `cargo build --release --examples` for a camera, and `media/bikes.mp4`.

#[path = "common/process.rs"]
mod process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use process::{memory, processor_seconds};

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("printed");
}

/// A process that goes with us.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    f64::midpoint(low, high)
}

/// A camera, and where it is.
struct Camera {
    _process: Process,
    address: String,
    _folder: tempfile::TempDir,
}

impl Camera {
    /// A film in a loop, long enough for any of this.
    fn start() -> Option<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_spotter")).with_file_name("examples").join("rtsp_camera");
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/bikes.mp4");
        if !program.exists() || !media.exists() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let film: PathBuf = folder.path().join("film.mp4");
        let looped = Command::new("ffmpeg")
            .args(["-v", "error", "-stream_loop", "200", "-i"])
            .arg(&media)
            .args(["-map", "0:v", "-c", "copy"])
            .arg(&film)
            .status();
        assert!(looped.expect("ffmpeg starts").success());
        let mut child = Command::new(program).arg(&film).stdout(Stdio::piped()).spawn().expect("starts");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut address).expect("says its address");
        Some(Self { _process: Process(child), address: address.trim().to_owned(), _folder: folder })
    }
}

/// The program, looking at a camera with the built-in model, five frames a second.
struct Run {
    process: Process,
    page: Option<String>,
    records: tempfile::NamedTempFile,
}

impl Run {
    fn start(camera: &Camera, with_page: bool) -> Self {
        let records = tempfile::NamedTempFile::new().expect("a file");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let page = with_page.then(|| port.expect("a port").to_string());
        let mut command = Command::new(env!("CARGO_BIN_EXE_spotter"));
        command.env_remove("SPOTTER_MODEL").args(["-q", "run", "--query", "a red car", "--max-fps", "5"]);
        command.args(["--source", &camera.address]).args(["--out", &format!("jsonl:{}", records.path().display())]);
        if let Some(page) = &page {
            command.args(["--page", page]);
        }
        let process = Process(command.stdout(Stdio::null()).spawn().expect("starts"));
        Self { process, page, records }
    }

    fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Processor time over `length` after as long a while, as cores.
    fn share(&self, length: Duration) -> f64 {
        std::thread::sleep(length / 2);
        let before = processor_seconds(self.pid());
        std::thread::sleep(length);
        (processor_seconds(self.pid()) - before) / length.as_secs_f64()
    }

    /// Ends it as an operator does; whether its books are closed.
    fn end(mut self) -> Value {
        let ended = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(ended.expect("kill starts").success());
        assert!(self.process.0.wait().expect("ends").success());
        let text = std::fs::read_to_string(self.records.path()).expect("read");
        let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        let frames = last["frames"].clone();
        let count = |key: &str| frames[key].as_u64().unwrap_or_default();
        let all: u64 = ["measured", "skipped", "dropped", "error"].map(count).iter().sum();
        assert!(all > 0 && count("decoded") == all, "{frames}");
        frames
    }
}

/// Somebody who watches, and reads whatever comes.
struct Viewer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Viewer {
    fn open(page: &str, stream: &str) -> Self {
        let name: String = percent_encoding::utf8_percent_encode(stream, percent_encoding::NON_ALPHANUMERIC).collect();
        let mut socket = loop {
            if let Ok(socket) = TcpStream::connect(page) {
                break socket;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        write!(
            socket,
            "GET /api/v1/streams/{name}/live?video=mp4 HTTP/1.1\r\nHost: {page}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .expect("sent");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        // Nothing is made of it: it is the program's time that counts.
        let thread = std::thread::spawn(move || {
            let (mut bytes, mut all) = (vec![0; 64 * 1024], 0);
            while !stopped.load(Ordering::Acquire) {
                match socket.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(count) => all += count as u64,
                    Err(_) => {}
                }
            }
            all
        });
        Self { stop, thread }
    }

    /// Leaves; bytes that came.
    fn leave(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("no panic")
    }
}

/// The same run in turns: without a page, with one that nobody looks at, and with one viewer.
fn in_turns(camera: &Camera, turns: usize, length: Duration, watched: bool) {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for turn in 0..2 * turns {
        // The one that began goes second the next time.
        let is_with = (turn + turn / 2) % 2 == 1;
        let run = Run::start(camera, is_with);
        let viewer = (is_with && watched).then(|| Viewer::open(run.page.as_deref().expect("a page"), &camera.address));
        let share = run.share(length);
        if let Some(viewer) = viewer {
            let bytes = viewer.leave();
            assert!(bytes > 10_000, "{bytes} bytes came: it saw nothing");
        }
        run.end();
        if is_with { &mut with } else { &mut without }.push(share);
    }
    let what = if watched { "a page and one viewer" } else { "a page that nobody watches" };
    let spread = |values: &[f64]| {
        let of = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        format!("{:.4} to {:.4}", of(f64::min), of(f64::max))
    };
    let (ranges, medians) = ([spread(&without), spread(&with)], [median(without), median(with)]);
    say(&format!("  no page: {:.4} cores ({})", medians[0], ranges[0]));
    say(&format!("  {what}: {:.4} cores ({}), {:.3} of that", medians[1], ranges[1], medians[1] / medians[0]));
}

/// Fifty viewers: what they cost, how memory grows, and that every frame is accounted for.
fn fifty(camera: &Camera, length: Duration) {
    const VIEWERS: usize = 50;
    let run = Run::start(camera, true);
    let alone = run.share(length);
    let before = memory(run.pid(), "VmRSS:");
    let page = run.page.clone().expect("a page");
    let viewers: Vec<Viewer> = (0..VIEWERS).map(|_| Viewer::open(&page, &camera.address)).collect();
    let mut held = Vec::new();
    let mut shares = Vec::new();
    for _ in 0..3 {
        shares.push(run.share(length));
        held.push(format!("{:.0}", memory(run.pid(), "VmRSS:")));
    }
    let bytes: Vec<u64> = viewers.into_iter().map(Viewer::leave).collect();
    std::thread::sleep(length / 2);
    let after = memory(run.pid(), "VmRSS:");
    let (least, most) = (bytes.iter().min().copied().unwrap_or(0), bytes.iter().max().copied().unwrap_or(0));
    say(&format!("  nobody: {alone:.3} cores, {before:.0} MiB"));
    let share = median(shares);
    say(&format!(
        "  {VIEWERS} viewers: {share:.3} cores, {} MiB over time; {least} to {most} bytes each",
        held.join(" ")
    ));
    say(&format!("  {after:.0} MiB after they left; {}", run.end()));
}

fn main() {
    // `cargo test` passes --test, `cargo bench` --bench.
    let short = !std::env::args().any(|arg| arg == "--bench");
    let (turns, length) = if short { (1, Duration::from_secs(2)) } else { (10, Duration::from_secs(6)) };
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|named| named == name);
    let Some(camera) = Camera::start() else {
        return say("page: left out, there is no camera (cargo build --release --examples, scripts/fetch-media.sh)");
    };
    say("page: an RTSP camera of 640x272 at 25 frames/s, five a second measured with the built-in model");
    if wanted("nobody") {
        in_turns(&camera, turns, length, false);
    }
    if wanted("one") {
        in_turns(&camera, turns, length, true);
    }
    if wanted("fifty") {
        fifty(&camera, length);
    }
}
