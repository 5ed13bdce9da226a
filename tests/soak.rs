//! Streams of others for ten minutes (`SPOTTER_SOAK_MINUTES`), each cut off three times: ffmpeg's UDP, SRT and JPEG pictures over
//! HTTP, and a live HLS playlist that Python's web server hands out.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::servers::free_port;
use crate::support::{Scratch, aloud, clip, command, json_lines, repository, tool};

/// A server that can be cut off and started again.
struct Peer {
    program: &'static str,
    args: Vec<String>,
    /// ffmpeg serves JPEG pictures to one client, and ends with it.
    again: bool,
    child: Option<Child>,
}

impl Peer {
    fn start(&mut self) {
        let mut command = Command::new(self.program);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("{} is needed: {e}", self.program)));
    }

    fn cut(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).expect("gone");
        }
    }

    /// Starts what ended by itself.
    fn mend(&mut self) {
        let ended = self.child.as_mut().is_some_and(|child| child.try_wait().expect("a state").is_some());
        if self.again && ended {
            self.start();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.cut();
    }
}

fn resident_kb(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
#[ignore = "takes ten minutes (make test-slow)"]
fn soak_of_streams_that_others_send() {
    const CUTS: u64 = 3;
    let minutes: u64 = std::env::var("SPOTTER_SOAK_MINUTES").map_or(10, |text| text.parse().expect("minutes"));
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "320x240", 250, &["-c:v", "libx264", "-g", "25", "-bf", "0"]);
    let web = scratch.file("web");
    std::fs::create_dir(&web).expect("made");
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    let udp = format!("udp://127.0.0.1:{}", ports[0]);
    let srt = format!("srt://127.0.0.1:{}", ports[1]);
    let mjpeg = format!("http://127.0.0.1:{}/camera.mjpg", ports[2]);
    let hls = format!("http://127.0.0.1:{}/live.m3u8", ports[3]);
    let ffmpeg = |to: &[&str], again: bool| {
        let from = ["-v", "error", "-re", "-stream_loop", "-1", "-i", &film];
        let args = from.iter().chain(to).map(|arg| (*arg).to_owned()).collect();
        Peer { program: "ffmpeg", args, again, child: None }
    };
    let listener = format!("{srt}?mode=listener");
    let segments =
        ["-c", "copy", "-f", "hls", "-hls_time", "1", "-hls_list_size", "6", "-hls_flags", "delete_segments"];
    let playlist = format!("{web}/live.m3u8");
    let mut writer = ffmpeg(&[&segments[..], &[&playlist]].concat(), false);
    let server = ["-m", "http.server", "--bind", "127.0.0.1", "--directory", &web, &ports[3].to_string()];
    let server = server.iter().map(|arg| (*arg).to_owned()).collect();
    let mut peers = [
        ffmpeg(&["-c", "copy", "-f", "mpegts", &udp], false),
        ffmpeg(&["-c", "copy", "-f", "mpegts", &listener], true),
        ffmpeg(&["-vf", "fps=10", "-c:v", "mjpeg", "-f", "mpjpeg", "-listen", "1", &mjpeg], true),
        Peer { program: "python3", args: server, again: false, child: None },
    ];
    writer.start();
    peers.iter_mut().for_each(Peer::start);
    let ids = ["udp", "srt", "mjpeg", "hls"];
    let table = |(id, source): (&str, &String)| format!("[[stream]]\nid = \"{id}\"\nsource = \"{source}\"\n");
    let streams: String = ids.into_iter().zip([&udp, &srt, &mjpeg, &hls]).map(table).collect();
    let streams = scratch.write("others.streams", streams.as_bytes());
    // A playlist has segments after a while, and what is asked for once must be there.
    while !std::path::Path::new(&playlist).exists() {
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(2));
    let out = scratch.file("out.jsonl");
    let to = format!("jsonl:{out}");
    let model = repository().join("models/spotter-tiny").to_str().expect("UTF-8").to_owned();
    let fixed = ["run", "--source", &streams, "--query", "a red circle", "--model", &model, "--out", &to];
    let flags = ["--max-fps", "5", "--reconnect-max-interval", "4s", "--stall-timeout", "6s"];
    let run = command(&[&fixed[..], &flags].concat()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut sizes = Vec::new();
    let seconds = minutes * 60;
    for second in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        peers.iter_mut().for_each(Peer::mend);
        // One after the other, each for fifteen seconds.
        let slot = seconds / (CUTS * 4 + 1);
        let (number, within) = (second / slot, second % slot);
        if number < CUTS * 4 {
            let peer = &mut peers[(number % 4) as usize];
            match within {
                2 => peer.cut(),
                w if w == 2 + slot / 2 => peer.start(),
                _ => {}
            }
        }
        if second % (seconds / 10) == 0 {
            sizes.push(resident_kb(run.id()));
        }
    }
    tool("kill", &["-TERM", &run.id().to_string()]);
    let ended = run.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(!said.contains("do not close"), "{said}");
    let lines = json_lines(&scratch.read("out.jsonl"));
    let mut counts: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for id in ids {
        let mine: Vec<&Value> = lines.iter().filter(|line| line["source"] == id).collect();
        let of = |key: &str, value: &str| mine.iter().filter(|line| line[key] == value).count() as u64;
        let found = [of("schema", "spotter.frame/1"), of("event", "gap_start"), of("event", "gap_end")];
        let times: Vec<u64> = mine.iter().filter_map(|line| line["pts_ns"].as_u64()).collect();
        assert!(times.is_sorted_by(|a, b| a < b), "{id}: times rise");
        assert!(found[1] >= CUTS && found[2] >= CUTS, "{id}: {found:?} frames, gaps, ends\n{said}");
        assert!(found[0] > seconds * 3, "{id}: {found:?}");
        counts.insert(id, found);
    }
    aloud(&format!("{minutes} minutes: frames, gaps and their ends {counts:?}; resident kB {sizes:?}"));
    std::io::stderr().flush().expect("flushed");
    let (early, late) = (sizes[sizes.len() / 3], *sizes.last().expect("sizes"));
    assert!(late < early + early / 10, "memory grows: {sizes:?}");
}
