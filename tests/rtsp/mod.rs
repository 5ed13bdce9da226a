//! RTSP cameras in: servers that are not ours, servers that die, freeze, refuse and lie.

mod clips;
mod clocks;
mod codes;
mod foreign;
mod gaps;
mod many;
mod schemas;
mod secrecy;
mod soak;

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use records::Counts;
use serde_json::Value;
use spotter::config::RunSettings;
use spotter::run::stream_until;
use spotter::stage::Ground;

use crate::support::counter::{Counter, counter_of};
use crate::support::servers::Server;
use crate::support::{Scratch, clip, of_one_query, run_settings, tool};

/// Frames that need nothing but those before them, as cameras send them, with a key frame a second.
pub(crate) const AS_CAMERAS: [&str; 8] = ["-profile:v", "baseline", "-bf", "0", "-g", "25", "-tune", "zerolatency"];
pub(crate) const RATE: u32 = 25;
const FRAME_NS: f64 = 1e9 / RATE as f64;
/// How long anything may take to happen.
const PATIENCE: Duration = Duration::from_mins(1);

/// A run within this process, its records read as they come.
struct Live {
    run: std::thread::JoinHandle<spotter::Result<Counts>>,
    stop: Sender<()>,
    coming: Receiver<Value>,
    /// What came until now.
    lines: Vec<Value>,
    _scratch: Scratch,
}

impl Live {
    fn start(flags: &[&str], model: impl Ground + 'static) -> Self {
        Self::start_with(flags, model, |_| {})
    }

    /// The same with settings that no flag has.
    fn start_with(flags: &[&str], model: impl Ground + 'static, change: impl FnOnce(&mut RunSettings)) -> Self {
        let scratch = Scratch::new();
        let pipe = scratch.file("pipe");
        tool("mkfifo", &[&pipe]);
        let out = format!("jsonl:{pipe}");
        let mut settings = run_settings(&[flags, &["--out", &out]].concat());
        change(&mut settings);
        let (stop, stopped) = bounded(0);
        let run = std::thread::spawn(move || stream_until(&settings, Box::new(model), None, true, stopped));
        let (say, coming) = bounded(100_000);
        std::thread::spawn(move || {
            let lines = BufReader::new(std::fs::File::open(pipe).expect("opened")).lines();
            for line in lines.map_while(Result::ok) {
                let line = of_one_query(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e} in {line}")));
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        Self { run, stop, coming, lines: Vec::new(), _scratch: scratch }
    }

    /// The next line that is looked for.
    fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            match self.coming.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
                Ok(line) => {
                    self.lines.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {what} within {PATIENCE:?}; {:?}", self.lines.last()),
                Err(RecvTimeoutError::Disconnected) => panic!("no {what} until the end; {:?}", self.lines.last()),
            }
        }
    }

    fn wait_for_event(&mut self, event: &str) -> Value {
        self.wait_for(event, |line| line["event"] == event)
    }

    /// So many more frames.
    fn wait_for_frames(&mut self, count: usize) {
        (0..count).for_each(|_| drop(self.wait_for("frame", |line| line["schema"] == "spotter.frame/2")));
    }

    /// Waits for the run to end by itself; returns how it went and all lines.
    fn end_by_itself(mut self) -> (spotter::Result<Counts>, Vec<Value>) {
        let outcome = self.run.join().expect("no panic");
        drop(self.stop);
        self.lines.extend(self.coming.iter());
        (outcome, self.lines)
    }

    /// Ends the run; returns how it went and all lines.
    fn end(mut self) -> (spotter::Result<Counts>, Vec<Value>) {
        drop(self.stop);
        let outcome = self.run.join().expect("no panic");
        self.lines.extend(self.coming.iter());
        (outcome, self.lines)
    }
}

fn frames(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["schema"] == "spotter.frame/2").collect()
}

fn events<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

fn number(record: &Value, key: &str) -> f64 {
    record[key].as_f64().unwrap_or_else(|| panic!("{key} of {record}"))
}

/// Measured frames whose pictures are whole: where a datagram was lost, they are guessed until the next key frame, and
/// their counters with them.
fn sure(lines: &[Value]) -> Vec<&Value> {
    let guessed: Vec<u64> = events(lines, "decode_error").iter().filter_map(|event| event["seq"].as_u64()).collect();
    let is_sure = |frame: &&Value| {
        let seq = frame["seq"].as_u64().expect("a number");
        !guessed.iter().any(|at| (at.saturating_sub(5)..at + 2 * u64::from(RATE)).contains(&seq))
    };
    frames(lines).into_iter().filter(|frame| frame["measured"] == true).filter(is_sure).collect()
}

/// Frames are counted without a gap, times rise, and the time between two frames is what lies between their counters.
fn assert_counters_and_times_agree(lines: &[Value]) {
    let frames = frames(lines);
    let order: Vec<_> = frames.iter().map(|frame| frame["seq"].as_u64().expect("a number")).collect();
    assert_eq!(order, (0..order.len() as u64).collect::<Vec<_>>(), "one record a frame, in order");
    let times: Vec<f64> = frames.iter().map(|frame| number(frame, "pts_ns")).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "times rise");
    let measured = sure(lines);
    assert!(measured.len() > 20, "{} frames", measured.len());
    for pair in measured.windows(2) {
        let (from, to) = (counter_of(pair[0]), counter_of(pair[1]));
        let steps = (number(pair[1], "pts_ns") - number(pair[0], "pts_ns")) / FRAME_NS;
        // Servers count from the moment when they send, which trembles.
        assert!(
            to > from && (steps - (to - from) as f64).abs() < 0.6,
            "{from} and {to} are {steps:.2} frames apart: {}",
            pair[1]
        );
    }
}

#[test]
fn our_own_camera_takes_a_clip_that_rtsp_cannot_carry() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.avi", "192x96", 100, &["-c:v", "msmpeg4v2"]);
    let server = Server::camera(&film, &["--encode"]);
    let takes = Duration::from_millis(1);
    let mut live = Live::start(&["--source", &server.address, "--query", "the counter"], Counter { takes });
    live.wait_for_frames(10);
    let (outcome, lines) = live.end();
    assert!(outcome.expect("no failure").frames.closed());
    assert_eq!(frames(&lines)[0]["resolution"]["width"], 192);
}
