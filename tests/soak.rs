//! Streams of others for ten minutes (`SPOTTER_SOAK_MINUTES`), each cut off three times: UDP and JPEG pictures over HTTP by ffmpeg,
//! SRT by `srt-live-transmit`, RTMP by nginx, and a live HLS playlist that Python's web server hands out.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::servers::{Peer, Server, free_port, rtmp_server};
use crate::support::{Scratch, aloud, clip, command, json_lines, repository, tool};

/// A server that can be cut off and started again.
struct Mortal {
    program: String,
    args: Vec<String>,
    /// ffmpeg serves JPEG pictures to one client, and ends with it; or sends to a server, and ends with that.
    again: bool,
    running: Option<Peer>,
}

impl Mortal {
    fn start(&mut self) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        self.running = Some(Peer::start(&self.program, &args));
    }

    fn cut(&mut self) {
        self.running = None;
    }

    /// Starts what ended by itself.
    fn mend(&mut self) {
        let ended = self.running.as_mut().is_some_and(|peer| peer.0.try_wait().expect("a state").is_some());
        if self.again && ended {
            self.start();
        }
    }
}

fn resident_kb(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Those who are cut off, those behind them, and what the former serve.
struct Others {
    peers: Vec<Mortal>,
    writers: Vec<Mortal>,
    sources: [String; 5],
}

const PLAYLIST: &str = "live.m3u8";

/// Of `film`; `web` is the folder of a web server.
fn others(scratch: &Scratch, film: &str, web: &str) -> Others {
    let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
    let udp = format!("udp://127.0.0.1:{}", ports[0]);
    let srt = format!("srt://127.0.0.1:{}", ports[1]);
    let mjpeg = format!("http://127.0.0.1:{}/camera.mjpg", ports[2]);
    let hls = format!("http://127.0.0.1:{}/{PLAYLIST}", ports[3]);
    let rtmp = format!("rtmp://127.0.0.1:{}/live/door", ports[4]);
    let peer = |program: &str, args: &[&str], again| {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Mortal { program: program.into(), args, again, running: None }
    };
    let ffmpeg = |to: &[&str], again| {
        let from = ["-v", "error", "-re", "-stream_loop", "-1", "-i", film];
        peer("ffmpeg", &[&from[..], to].concat(), again)
    };
    let segments =
        ["-c", "copy", "-f", "hls", "-hls_time", "1", "-hls_list_size", "6", "-hls_flags", "delete_segments"];
    let playlist = format!("{web}/{PLAYLIST}");
    let relayed = format!("udp://127.0.0.1:{}", ports[5]);
    let (nginx, nginx_args) = rtmp_server(scratch, ports[4]);
    // Those behind the ones that are cut off.
    let writers = vec![
        ffmpeg(&[&segments[..], &[&playlist]].concat(), false),
        ffmpeg(&["-c", "copy", "-f", "mpegts", &format!("{relayed}?pkt_size=1316")], true),
        ffmpeg(&["-c", "copy", "-f", "flv", &rtmp], true),
    ];
    let peers = vec![
        ffmpeg(&["-c", "copy", "-f", "mpegts", &udp], false),
        peer("srt-live-transmit", &["-q", &relayed, &format!("{srt}?mode=listener")], true),
        ffmpeg(&["-vf", "fps=10", "-c:v", "mjpeg", "-f", "mpjpeg", "-listen", "1", &mjpeg], true),
        peer(
            "python3",
            &["-m", "http.server", "--bind", "127.0.0.1", "--directory", web, &ports[3].to_string()],
            false,
        ),
        peer(&nginx, &nginx_args.each_ref().map(String::as_str), false),
    ];
    Others { peers, writers, sources: [udp, srt, mjpeg, hls, rtmp] }
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
    let Others { mut peers, mut writers, sources } = others(&scratch, &film, &web);
    peers.iter_mut().chain(&mut writers).for_each(Mortal::start);
    let ids = ["udp", "srt", "mjpeg", "hls", "rtmp"];
    let table = |(id, source): (&str, &String)| format!("[[stream]]\nid = \"{id}\"\nsource = \"{source}\"\n");
    let streams: String = ids.into_iter().zip(&sources).map(table).collect();
    let streams = scratch.write("others.streams", streams.as_bytes());
    // A playlist has segments after a while, and what is asked for once must be there.
    while !Path::new(&web).join(PLAYLIST).exists() {
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(2));
    let out = scratch.file("out.jsonl");
    let to = format!("jsonl:{out}");
    let model = repository().join("models/spotter-tiny").to_str().expect("UTF-8").to_owned();
    let fixed = ["run", "--source", &streams, "--model", &model, "--out", &to];
    let fixed = [&fixed[..], &["--query", "a red circle", "--query", "the white square", "--query", "a dog"]].concat();
    let flags = ["--max-fps", "5", "--reconnect-max-interval", "4s", "--stall-timeout", "6s"];
    let run = command(&[&fixed[..], &flags].concat()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut sizes = Vec::new();
    let seconds = minutes * 60;
    for second in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        peers.iter_mut().chain(&mut writers).for_each(Mortal::mend);
        // One after the other, each for half of its time.
        let slot = seconds / (CUTS * 5 + 1);
        let (number, within) = (second / slot, second % slot);
        if number < CUTS * 5 {
            let peer = &mut peers[(number % 5) as usize];
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
        let found = [of("schema", "spotter.frame/2"), of("event", "gap_start"), of("event", "gap_end")];
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

/// A camera whose only key frame is its first picture: who loses that one sees nothing for forty seconds.
#[test]
#[ignore = "takes minutes (make test-slow)"]
fn soak_of_connections_on_a_machine_whose_cores_are_busy() {
    let connections: u64 =
        std::env::var("SPOTTER_SOAK_CONNECTIONS").map_or(200, |text| text.parse().expect("a number"));
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "320x240", 1000, &["-c:v", "libx264", "-g", "1000", "-sc_threshold", "0"]);
    let camera = Server::camera(&film, &["--private"]);
    let cores = std::thread::available_parallelism().expect("known").get();
    let _busy: Vec<Peer> = (0..cores).map(|_| Peer::start("sh", &["-c", "while :; do :; done"])).collect();
    let model = repository().join("models/spotter-tiny").to_str().expect("UTF-8").to_owned();
    for number in 1..=connections {
        let fixed = ["run", "--source", &camera.address, "--query", "a red circle", "--model", &model];
        let mut run = command(&[&fixed[..], &["--out", "jsonl:-", "--max-fps", "1"]].concat());
        let mut child = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut before: Vec<String> = Vec::new();
        for line in lines {
            if line.contains("spotter.frame/2") {
                tool("kill", &["-KILL", &child.id().to_string()]);
                break;
            }
            before.push(line);
            if !before.iter().all(|line| line.contains("\"source_up\"")) {
                tool("kill", &["-KILL", &child.id().to_string()]);
                break;
            }
        }
        child.wait().expect("ends");
        assert!(before.iter().all(|line| line.contains("\"source_up\"")), "connection {number}: {before:#?}");
    }
    aloud(&format!("{connections} connections, each with its first key frame, {cores} cores busy"));
}
