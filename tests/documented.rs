//! Every command line of the documentation is run, as it stands there but for names: addresses of cameras become those of
//! cameras made here, and `clip.mp4`, `street.jpg` and the like are files made here.

use std::io::{BufRead, BufReader, ErrorKind::NotFound, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser;
use spotter::cli::Cli;

use crate::support::servers::{Peer, Server, free_port, rtmp_server, web_server};
use crate::support::{Scratch, aloud, clip, command, picture, repository, tool, until};

/// A line that a reader may type, and where it stands.
struct Documented {
    file: String,
    line: String,
}

/// What cannot be run here, by what stands in the line, and why. Such a line is parsed, and the files that it names are there.
const NOT_RUN: [(&str, &str); 10] = [
    ("spotter train", "takes hours; tests/train.rs trains"),
    ("spotter calibrate", "wants the photographs; tests/eval.rs calibrates"),
    ("spotter eval configs/", "wants the photographs, or hours of training before"),
    ("examples/camera-finetune", "wants a film of 96 MB"),
    ("runs/", "wants what the lines before it trained"),
    ("cuda", "wants a GPU"),
    ("--peer", "wants 5 GB of other engines; tests/bench.rs runs a peer"),
    ("spotter fetch", "wants a network; tests/fetch.rs fetches from a hub on loopback"),
    ("llmdet-tiny", "wants a model of 692 MB"),
    ("best.pth", "wants weights of the reference; tests/convert.rs converts some"),
];

/// Those that play a camera on hardware that no test machine has: their pipeline files are checked.
const HARDWARE: [&str; 2] = ["pipelines/camera-to-rtsp.toml", "pipelines/rtsp-in-vaapi.toml"];

/// Files below a folder, by their endings.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, endings, found);
        } else if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
            found.push(path);
        }
    }
}

fn documented() -> Vec<Documented> {
    let mut paths = vec![repository().join("README.md")];
    for (folder, endings) in [
        ("docs", &["md"][..]),
        ("models", &["md"]),
        ("examples", &["md", "toml"]),
        ("src/cli", &["rs"]),
        ("pipelines", &["toml"]),
        ("configs", &["toml"]),
    ] {
        files(&repository().join(folder), endings, &mut paths);
    }
    let mut found = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("read");
        let file = path.strip_prefix(repository()).expect("ours").display().to_string();
        let mut lines = text.lines().map(|line| line.trim_start_matches(['/', '#', '!']).trim());
        while let Some(line) = lines.next() {
            if !line.starts_with("spotter ") && !line.contains(" | spotter ") {
                continue;
            }
            let mut whole = line.to_owned();
            while let Some(front) = whole.strip_suffix('\\') {
                whole = format!("{front}{}", lines.next().expect("goes on"));
            }
            // What follows is for the reader.
            let command = whole.split("  #").next().unwrap_or_default().trim();
            // What a shell is to do beside is done here one after the other.
            let command = command.trim_end_matches('&').trim().to_owned();
            if command.contains(" --") || command.split(' ').count() > 2 || command == "spotter bench" {
                found.push(Documented { file: file.clone(), line: command });
            }
        }
    }
    found
}

/// A folder that looks like that of somebody who follows the documentation.
fn home() -> Scratch {
    let home = Scratch::new();
    let h264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25", "-bf", "0"];
    for folder in ["out", "films", "cam1", "cam2", "frames", "models"] {
        std::fs::create_dir(home.path().join(folder)).expect("made");
    }
    let link = |from: &str, to: &str| {
        std::os::unix::fs::symlink(repository().join(from), home.path().join(to)).expect("linked");
    };
    for name in ["media", "configs", "pipelines", "examples"] {
        link(name, name);
    }
    link("models/spotter-tiny", "models/mine");
    link("models/spotter-tiny", "models/qrnet");
    link("models/spotter-tiny", "models/spotter-tiny");
    link("models/spotter-base", "models/spotter-base");
    // What is not ours to ship has a small random model in its place.
    link("crates/grounding-dino/tests/fixtures/mm-7", "models/llmdet-tiny");
    for name in ["clip.mp4", "clip.mkv", "films/a.mp4", "films/c.ts", "cam1/b.mp4", "cam2/a.mkv"] {
        clip(&home, name, "160x120", 50, &h264);
    }
    let (pem, key) = (home.file("server.pem"), home.file("key.pem"));
    let make =
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &pem, "-subj", "/CN=localhost"];
    tool("openssl", &make);
    let both = std::fs::read_to_string(&pem).expect("read") + &std::fs::read_to_string(&key).expect("read");
    home.write("server.pem", both.as_bytes());
    for name in ["street.jpg", "picture.png", "frames/1.png", "frames/2.png"] {
        picture(&home, name, (64, 48));
    }
    home
}

/// What lies in it, and among its models.
fn contents(home: &Scratch) -> Vec<PathBuf> {
    let listed =
        |folder: PathBuf| std::fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry").path());
    listed(home.path().to_owned()).chain(listed(home.path().join("models"))).collect()
}

/// Runs a line in `home` by the shell; one that has no end is ended when its first record has come.
fn run(home: &Scratch, line: &str, endless: bool) -> Result<(), String> {
    let program = Path::new(env!("CARGO_BIN_EXE_spotter"));
    let path = format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").expect("set"));
    // A camera that gives nothing is waited for without end. The signal below goes through `timeout`.
    let exec = match line.starts_with("spotter") {
        true if endless => "exec timeout 120 ",
        true => "exec ",
        false => "",
    };
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{exec}{line}")]).current_dir(home.path()).env("PATH", path);
    shell.env("SPOTTER_MODEL", repository().join("models/spotter-tiny")).process_group(0);
    let mut child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell");
    let mut stderr = child.stderr.take().expect("piped");
    let said = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text).unwrap_or_default()
    });
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut records = 0;
    for line in lines {
        records += u64::from(line.contains("spotter.frame/2"));
        if endless && records == 1 {
            tool("kill", &["-TERM", &child.id().to_string()]);
        }
    }
    let status = child.wait().expect("ends");
    let said = said.join().expect("no panic");
    match status.code() {
        Some(0) if !endless || records > 0 => Ok(()),
        code => Err(format!("{line}\n  exit {code:?}, {records} records: {said}")),
    }
}

#[test]
fn every_documented_command_line_runs() {
    let home = home();
    let film = home.file("clip.mp4");
    // People's cameras, made here.
    let camera = Server::camera(&film, &["--encode"]);
    let endless = |to: &[&str]| {
        let from = ["-v", "error", "-re", "-stream_loop", "-1", "-i", &film];
        Peer::start("ffmpeg", &[&from[..], to].concat())
    };
    let (srt, udp) = (free_port(), free_port());
    let (_server, web) = web_server(&home.file(""));
    tool("ffmpeg", &["-v", "error", "-i", &film, "-c", "copy", "-hls_list_size", "0", &home.file("live.m3u8")]);
    let (srt, udp) = (format!("srt://127.0.0.1:{srt}"), format!("udp://127.0.0.1:{udp}"));
    let _srt = endless(&["-c", "copy", "-f", "mpegts", &format!("{srt}?mode=listener")]);
    let _udp = endless(&["-c", "copy", "-f", "mpegts", &udp]);
    let port = free_port();
    let rtmp = format!("rtmp://127.0.0.1:{port}/live/door");
    let (nginx, settings) = rtmp_server(&home, port);
    let _rtmp = Peer::start(&nginx, &settings.each_ref().map(String::as_str));
    until("RTMP server", Duration::from_secs(20), || listens(&rtmp));
    let _sender = endless(&["-c", "copy", "-f", "flv", &rtmp]);
    let socket = format!("unix:{}", home.file("spotter.sock"));
    let streams = format!(
        "[[stream]]\nid = \"gate\"\nsource = \"{}\"\nquery = \"a dog\"\n[[stream]]\nid = \"yard\"\nsource = \
         \"test:ball?live=true\"\n",
        camera.address
    );
    home.write("cameras.streams", streams.as_bytes());
    let mut service: Option<Peer> = None;
    let (as_it_was, mut before) = (contents(&home), String::new());
    let mut wrong = Vec::new();
    for Documented { file, line } in documented() {
        if file != before {
            // Who reads another text begins anew.
            for path in contents(&home).into_iter().filter(|path| !as_it_was.contains(path)) {
                let gone = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
                // A service that ends takes its own socket away.
                gone.or_else(|error| if error.kind() == NotFound { Ok(()) } else { Err(error) }).expect("gone");
            }
            before.clone_from(&file);
        }
        if let Err(error) = parsed(&line) {
            wrong.push(format!("{file}: {line}\n  {error}"));
            continue;
        }
        if let Some((_, why)) = NOT_RUN.iter().find(|(part, _)| line.contains(part)) {
            aloud(&format!("NOT RUN: {line}: {why}"));
            continue;
        }
        if let Some(pipeline) = HARDWARE.into_iter().find(|pipeline| line.contains(pipeline)) {
            // The description is whole; the chip or the camera may be missing.
            let text = std::fs::read_to_string(repository().join(pipeline)).expect("read");
            assert!(text.contains("[source]"), "{pipeline}");
            aloud(&format!("NOT RUN: {line}: wants hardware"));
            continue;
        }
        let (mut typed, mut is_live) = (line.clone(), line.contains("cameras.streams"));
        let mjpeg = format!("http://127.0.0.1:{}/stream.mjpg", free_port());
        let mut peer = None;
        if line.contains("http://camera/stream.mjpg") {
            let pictures = ["-vf", "fps=10", "-c:v", "mjpeg", "-f", "mpjpeg", "-listen", "1", &mjpeg];
            peer = Some(endless(&pictures));
            until("MJPEG server", Duration::from_secs(20), || listens(&mjpeg));
        }
        for (written, here) in [
            ("rtsp://camera/stream", camera.address.as_str()),
            ("rtsp://127.0.0.1:8554/camera", &camera.address),
            ("srt://camera:7001", &srt),
            ("udp://239.1.1.1:5000", &udp),
            ("http://camera/stream.mjpg", &mjpeg),
            ("rtmp://server/live/door", &rtmp),
            ("/dev/video0", "'test:ball?live=true'"),
            ("configs/cameras.streams", "cameras.streams"),
        ] {
            if typed.contains(written) {
                typed = typed.replace(written, here);
                is_live = true;
            }
        }
        let typed = typed
            .replace("https://example.org", &web)
            .replace("rtsp://127.0.0.1:8555/", "rtsp://127.0.0.1:0/")
            .replace("rtsp://127.0.0.1:8554/", "rtsp://127.0.0.1:0/")
            .replace("--page 127.0.0.1:8080", "--page 127.0.0.1:0")
            .replace("--page https://127.0.0.1:8443", "--page https://127.0.0.1:0")
            .replace("find /archive", &format!("find {}", home.file("films")))
            .replace(" --out display:", "")
            .replace("unix:/tmp/spotter", &socket);
        if line.starts_with("spotter control") && UnixStream::connect(path_of(&socket)).is_err() {
            let streams = home.write("gate.streams", b"[[stream]]\nid = \"gate\"\nsource = \"test:ball?live=true\"\n");
            let fixed = ["run", "--source", &streams, "--query", "a", "--control", &socket, "--out", "jsonl:/dev/null"];
            let mut start = command(&fixed);
            let started = start.stderr(Stdio::null()).spawn();
            service = Some(Peer(started.expect("starts")));
            until("control socket", Duration::from_secs(20), || UnixStream::connect(path_of(&socket)).ok());
        }
        let typed = if is_live && !typed.contains("jsonl:-") { format!("{typed} --out jsonl:-") } else { typed };
        if let Err(error) = run(&home, &typed, is_live) {
            wrong.push(format!("{file}: {line}\n  {error}"));
        }
        drop(peer);
    }
    drop(service);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn path_of(socket: &str) -> &str {
    socket.trim_start_matches("unix:")
}

/// Without a connection, which a server that serves one client would take for that one.
fn listens(address: &str) -> Option<()> {
    let port: u16 = address.split([':', '/']).find_map(|part| part.parse().ok()).expect("a port");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("read");
    table.contains(&format!("0100007F:{port:04X} 00000000:0000 0A")).then_some(())
}

/// Whether the program's own reader of command lines takes it.
fn parsed(line: &str) -> Result<(), String> {
    let own = line.rsplit("| ").next().unwrap_or(line);
    let words = tool("sh", &["-f", "-c", &format!("printf '%s\\n' {own}")]);
    Cli::try_parse_from(words.lines()).map(drop).map_err(|e| e.to_string())
}
