//! A password is nowhere to be read.

use base64::Engine;

use super::{AS_CAMERAS, RATE};
use crate::support::counter::counter_clip;
use crate::support::servers::Server;
use crate::support::{Scratch, command, model};

/// With everything that means something to shells, addresses and launch lines.
const PASSWORD: &str = "s3cr:t/p@ss \"w\\rd'+ü";
const ENCODED: &str = "s3cr%3At%2Fp%40ss%20%22w%5Crd%27%2B%C3%BC";

/// Every form in which it could have been written.
fn forms() -> Vec<String> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let of_both = base64.encode(format!("me:{PASSWORD}"));
    vec![
        PASSWORD.into(),
        ENCODED.into(),
        ENCODED.to_lowercase(),
        of_both.trim_end_matches('=').into(),
        base64.encode(PASSWORD).trim_end_matches('=').into(),
        // What is left where quotes or letters beyond ASCII were written otherwise.
        "s3cr".into(),
    ]
}

/// Flags and environment.
type Way<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

#[test]
fn no_output_holds_a_password() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 20 * RATE as usize, &AS_CAMERAS);
    let login = format!("me:{PASSWORD}");
    let credentials = scratch.write("login.txt", format!("{login}\n").as_bytes());
    std::fs::set_permissions(&credentials, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    for options in [&["--login", &login][..], &["--login", &login, "--basic"]] {
        let camera = Server::camera(&clip, options);
        let in_address = camera.address.replace("rtsp://", &format!("rtsp://me:{ENCODED}@"));
        let config = scratch.write("run.toml", format!("source = \"{in_address}\"\n").as_bytes());
        let streams = scratch.write(
            "cameras.streams",
            format!("[[stream]]\nid = \"gate\"\nsource = \"{}\"\ncredentials = \"{credentials}\"\n", camera.address)
                .as_bytes(),
        );
        let ways: [Way; 5] = [
            (&["--source", &camera.address, "--credentials", &credentials], &[]),
            (&["--source", &camera.address], &[("SPOTTER_RTSP_USER", "me"), ("SPOTTER_RTSP_PASSWORD", PASSWORD)]),
            (&["--source", &in_address], &[]),
            (&["--config", &config], &[]),
            (&["--source", &streams], &[]),
        ];
        for (flags, environment) in ways {
            assert_kept(flags, environment, &forms());
        }
    }
}

/// A pipeline description holds what its user writes into it, and GStreamer's parser logs it word for word.
#[test]
fn no_output_holds_the_password_of_a_pipeline_description() {
    const WORD: &str = "opensesame";
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 20 * RATE as usize, &AS_CAMERAS);
    let camera = Server::camera(&clip, &["--login", &format!("me:{WORD}")]);
    let in_address = camera.address.replace("rtsp://", &format!("rtsp://me:{WORD}@"));
    for launch in [
        format!("rtspsrc location={{uri}} protocols=tcp user-id=me user-pw={WORD} ! decodebin ! videoconvert"),
        format!("rtspsrc location={in_address} protocols=tcp ! decodebin ! videoconvert"),
        format!("uridecodebin uri={in_address} caps=video/x-raw(ANY) expose-all-streams=false ! videoconvert"),
    ] {
        let pipeline = scratch.write("own.toml", format!("[source]\nlaunch = \"{launch}\"\n").as_bytes());
        assert_kept(&["--source", &camera.address, "--pipeline", &pipeline], &[], &[WORD.into()]);
    }
}

/// What is typed wrongly is complained of, and not shown.
#[test]
fn no_complaint_repeats_a_password() {
    const WORD: &str = "opensesame";
    let scratch = Scratch::new();
    let run = |arguments: &[&str]| {
        let output = command(arguments).output().expect("starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains(WORD), "{arguments:?}: {said}");
        assert_ne!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(said.len() > 40, "something is said: {said}");
    };
    let asked = ["--query", "a", "--out", "jsonl:-", "--reconnect-attempts", "0"];
    let model = model();
    let with = |source: &str| {
        for format in ["text", "json"] {
            run(&[&["--log-format", format, "run", "--source", source, "--model", &model], &asked[..]].concat());
        }
    };
    with(&format!("rtsp://me:{WORD}/x@127.0.0.1:1/live/x"));
    with(&format!("rtsp://me:{WORD}@/x"));
    with(&format!("rtsp:/me:{WORD}@127.0.0.1:1/x"));
    with(&format!("rtsp://127.0.0.1:1/user=me&password={WORD}&channel=1"));
    with(&format!("rtsp://127.0.0.1:1/x?token={WORD}"));
    with(&format!("http://me:{WORD}@127.0.0.1:1/clip.mp4"));
    with(&format!("rtmp://me:{WORD}@127.0.0.1:1/x"));
    run(&["run", &format!("rtsp://me:{WORD}@127.0.0.1:1/x")]);
    run(&["run", "--source", "test:", "--query", "a", "--out", &format!("rtsp://me:{WORD}@203.0.113.9:1/x")]);
    run(&["run", "--source", "test:", "--query", "a", "--out", &format!("rtsp://me:{WORD}@127.0.0.1/")]);
    run(&[&["run", "--source", "rtsp://127.0.0.1:1/x", "--credentials", &format!("me:{WORD}")], &asked[..]].concat());
    let file = scratch.write("run.toml", format!("source = \"ftp://me:{WORD}@127.0.0.1/x\"\n").as_bytes());
    run(&["check", &file]);
    let file = scratch.write("one.streams", format!("[[stream]]\nsource = \"rtsp://me:{WORD}/@a\"\n").as_bytes());
    run(&["check", &file]);
}

/// Runs with everything that GStreamer can say, and looks for what nobody may read.
fn assert_kept(flags: &[&str], environment: &[(&str, &str)], forms: &[String]) {
    let drawings = Scratch::new();
    let (model, log) = (model(), drawings.file("gst.log"));
    let video = format!("mkv:{}", drawings.file("out.mkv"));
    let mut run = command(&["-vv", "run", "--query", "a", "--model", &model, "--out", "jsonl:-", "--out", &video]);
    run.args(flags)
        .envs(environment.iter().copied())
        .env("GST_DEBUG", "5,rtsp*:9")
        .env("GST_DEBUG_FILE", &log)
        .env("GST_DEBUG_NO_COLOR", "1")
        .env("GST_DEBUG_DUMP_DOT_DIR", drawings.path());
    let (records, messages) = until_frames(run);
    assert!(records.contains("spotter.frame/2"), "it was let in: {messages}");
    let mut written = vec![("records".to_owned(), records), ("messages".to_owned(), messages)];
    let read = |name: String| {
        let bytes = std::fs::read(drawings.file(&name)).expect("read");
        (name, String::from_utf8_lossy(&bytes).into_owned())
    };
    written.extend(drawings.names().into_iter().filter(|name| name != "out.mkv").map(read));
    assert!(
        written.iter().any(|(name, text)| name.starts_with("spotter-") && text.contains("GstRTSPSrc")),
        "a drawing"
    );
    let log = &written.iter().find(|(name, _)| name == "gst.log").expect("a log").1;
    assert!(log.lines().count() > 1000 && log.contains("rtspsrc"), "a log");
    for (name, text) in &written {
        for form in forms {
            let line = text.lines().find(|line| line.contains(form));
            assert_eq!(line, None, "{flags:?}: {name} holds {form}");
        }
        let digest = text.lines().find(|line| line.contains("response=\"") && !line.contains("response=\"***\""));
        assert_eq!(digest, None, "{name}");
    }
}

/// Runs until ten records were written, then ends it; standard output and error.
fn until_frames(mut run: std::process::Command) -> (String, String) {
    use std::io::{BufRead, BufReader, Read};
    let mut child =
        run.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("starts");
    let mut stderr = child.stderr.take().expect("piped");
    let messages = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).expect("read");
        text
    });
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut records = String::new();
    while records.matches("spotter.frame/2").count() < 10 && stdout.read_line(&mut records).expect("read") > 0 {}
    crate::support::tool("kill", &["-INT", &child.id().to_string()]);
    stdout.read_to_string(&mut records).expect("read");
    child.wait().expect("ends");
    (records, messages.join().expect("read"))
}
