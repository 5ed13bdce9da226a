//! Other people's players: ffprobe, ffmpeg, GStreamer's rtspsrc, a client in pure Python, VLC where it can.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Service;
use crate::support::{Scratch, aloud, probe, repository};

const PASSWORD: &str = "s3cret-word";
const SOURCE: [&str; 4] = ["--source", "test:ball?live=true&size=320x240&fps=25", "--query", "the white circle"];

/// Plays for two seconds; whether it worked, and what was said.
fn plays(program: &str, args: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "25", program]).args(args).envs(environment.iter().copied()).stdin(Stdio::null());
    let output = command.output().expect("starts");
    let said = [output.stdout, output.stderr].concat();
    let said = format!("{program} {args:?}: {}\n{}", output.status, String::from_utf8_lossy(&said));
    if output.status.success() { Ok(()) } else { Err(said) }
}

fn with_login(address: &str) -> String {
    address.replacen("://", &format!("://viewer:{PASSWORD}@"), 1)
}

/// `rtspsrc` with these properties gets fifty whole frames. How it ends is its own affair: told to pause, it may find that the
/// connection is gone.
fn gst_plays(scratch: &Scratch, properties: &[&str]) -> Result<(), String> {
    const FRAME: u64 = 320 * 240 * 3 / 2;
    let raw = scratch.file("frames.raw");
    drop(std::fs::remove_file(&raw));
    let location = format!("location={raw}");
    let rest = "! rtph264depay ! h264parse ! avdec_h264 ! identity eos-after=51 ! filesink".split(' ');
    let launch: Vec<&str> =
        ["-q", "rtspsrc"].iter().chain(properties).copied().chain(rest).chain([&*location]).collect();
    let ended = plays("gst-launch-1.0", &launch, &[]);
    let frames = std::fs::metadata(&raw).map_or(0, |file| file.len() / FRAME);
    match frames {
        50.. => Ok(()),
        frames => Err(format!("{frames} frames came, expected 50; {}", ended.err().unwrap_or_default())),
    }
}

/// Every player over every transport that it has.
fn all_play(scratch: &Scratch, address: &str, login: bool) {
    let full = if login { with_login(address) } else { address.to_owned() };
    for transport in ["tcp", "udp"] {
        let entries = "stream=codec_name,width,height";
        plays("ffprobe", &["-v", "error", "-rtsp_transport", transport, "-show_entries", entries, &full], &[])
            .expect("ffprobe");
        let video = scratch.file(&format!("{transport}.mkv"));
        let save = ["-y", "-v", "error", "-xerror", "-rtsp_transport", transport, "-i", &full, "-frames:v", "50"];
        plays("ffmpeg", &[&save[..], &[&video]].concat(), &[]).expect("ffmpeg");
        assert_eq!(probe(&video), (320, 240, 50), "what ffmpeg saved over {transport}");
        let (location, protocols) = (format!("location={address}"), format!("protocols={transport}"));
        let mut properties = vec![location.as_str(), &protocols];
        let password = format!("user-pw={PASSWORD}");
        if login {
            properties.extend(["user-id=viewer", &password]);
        }
        gst_plays(scratch, &properties).expect("rtspsrc");
        plays_in_python(&full.replacen("rtsp://", if transport == "tcp" { "rtspt://" } else { "rtsp://" }, 1));
    }
}

/// A client that shares no code with GStreamer or ffmpeg.
fn plays_in_python(address: &str) {
    let packages = repository().join("target/rtsp-client");
    if !packages.exists() {
        aloud(&format!("SKIPPED: {} is not there (make peers)", packages.display()));
        return;
    }
    let script = repository().join("tests/support/rtsp_client.py");
    let path = packages.to_str().expect("UTF-8");
    plays("python3", &[script.to_str().expect("UTF-8"), address, "50"], &[("PYTHONPATH", path)]).expect("aiortsp");
}

#[test]
fn players_play_without_and_with_a_password() {
    let scratch = Scratch::new();
    let out = ["--out", "rtsp://127.0.0.1:0/found"];
    let open = Service::start(&[&SOURCE[..], &out].concat());
    all_play(&scratch, &open.address(), false);
    assert!(open.stop().0.success());
    let users = scratch.write("users", format!("other:word\nviewer:{PASSWORD}\n").as_bytes());
    let closed = Service::start(&[&SOURCE[..], &out, &["--out-credentials", &users]].concat());
    all_play(&scratch, &closed.address(), true);
    assert!(closed.stop().0.success());
}

/// Who looks first and plays then, and the next one at the moment when the last one leaves.
#[test]
fn players_follow_each_other_at_once() {
    let service = Service::start(&[&SOURCE[..], &["--out", "rtsp://127.0.0.1:0/found", "--out", "jsonl:-"]].concat());
    let address = service.address();
    service.record("frame", |line| line["seq"].is_number());
    for turn in 0..20 {
        let transport = ["tcp", "udp"][turn % 2];
        let args = [
            "-v",
            "error",
            "-xerror",
            "-rtsp_transport",
            transport,
            "-i",
            &address,
            "-frames:v",
            "3",
            "-f",
            "null",
            "-",
        ];
        plays("ffmpeg", &args, &[]).unwrap_or_else(|e| panic!("turn {turn}: {e}"));
    }
    assert!(service.stop().0.success());
}

#[test]
fn players_play_over_tls_and_know_with_whom() {
    let scratch = Scratch::new();
    let pem = super::access::certificate(&scratch);
    let users = scratch.write("users", format!("viewer:{PASSWORD}\n").as_bytes());
    let out = ["--out", "rtsps://127.0.0.1:0/found", "--out-tls", &pem, "--out-credentials", &users];
    let service = Service::start(&[&SOURCE[..], &out].concat());
    let address = service.address();
    let full = with_login(&address);
    let save = |verify: &[&str], video: &str| {
        let args = ["-y", "-v", "error", "-xerror", "-rtsp_transport", "tcp"];
        let what = ["-i", &full, "-frames:v", "50", video];
        plays("ffmpeg", &[&args[..], verify, &what].concat(), &[])
    };
    let video = scratch.file("tls.mkv");
    save(&[], &video).expect("ffmpeg");
    assert_eq!(probe(&video), (320, 240, 50));
    let (location, password) = (format!("location={address}"), format!("user-pw={PASSWORD}"));
    let gst_over = |protocols: &str, flags: &str| {
        let (protocols, flags) = (format!("protocols={protocols}"), format!("tls-validation-flags={flags}"));
        gst_plays(&scratch, &[&location, &protocols, "user-id=viewer", &password, &flags])
    };
    gst_over("tcp", "0").expect("rtspsrc, any certificate");
    gst_over("tcp", "unknown-ca").expect_err("the certificate is nobody's that it knows");
    gst_over("udp", "0").expect_err("nothing leaves unencrypted");
    gst_over("udp+tcp", "0").expect("whoever would like datagrams comes over the connection");
    // Spotter itself, which verifies.
    let ours =
        ["run", "--source", &full, "--query", "a", "--tls-ca", &pem, "--out", "jsonl:-", "--reconnect-attempts", "1"];
    let mut watching = crate::support::command(&ours);
    let mut watching = watching.stdout(Stdio::piped()).spawn().expect("starts");
    let records = super::lines(watching.stdout.take().expect("piped"));
    super::wait(&records, "frame of ours", |line| line.contains("spotter.frame/2"));
    watching.kill().expect("killed");
    watching.wait().expect("gone");
    assert!(service.stop().0.success());
}

#[test]
fn vlc_plays_where_it_can() {
    let plugin = "/usr/lib/x86_64-linux-gnu/vlc/plugins/access/liblive555_plugin.so";
    if !Path::new(plugin).exists() {
        aloud("SKIPPED: this VLC plays no RTSP at all: it is built without live555, as Debian's is");
        return;
    }
    let service = Service::start(&[&SOURCE[..], &["--out", "rtsp://127.0.0.1:0/found"]].concat());
    let scratch = Scratch::new();
    let (video, home) = (scratch.file("vlc.ts"), scratch.path().to_str().expect("UTF-8").to_owned());
    let out = format!("#std{{access=file,mux=ts,dst={video}}}");
    let args = ["-I", "dummy", "--no-audio", "--run-time", "4", &service.address(), "--sout", &out, "vlc://quit"];
    plays("cvlc", &args, &[("HOME", &home)]).expect("VLC");
    assert!(probe(&video).2 > 50);
}
