//! What goes wrong with real files, disks and installations ends in one clear message, or goes on and says so.

use std::path::Path;
use std::process::Command;

use crate::support::{Ran, Scratch, aloud, clip, command, json_lines, model, of_schema, probe, spotter, tool};

const FRAME: &str = "spotter.frame/2";
const EVENT: &str = "spotter.event/1";

fn run(source: &str, extra: &[&str]) -> Ran {
    let model = model();
    let args = ["run", "--source", source, "--query", "a", "--model", &model];
    spotter(&[&args, extra].concat())
}

/// A clip whose middle is noise.
fn damaged(scratch: &Scratch, name: &str, options: &[&str]) -> String {
    let whole = clip(scratch, &format!("whole-{name}"), "320x240", 100, options);
    let mut bytes = std::fs::read(whole).expect("read");
    let middle = bytes.len() / 2;
    for (at, byte) in bytes[middle..middle + 1500].iter_mut().enumerate() {
        *byte ^= (at * 37 % 251) as u8;
    }
    scratch.write(name, &bytes)
}

#[test]
fn a_corrupt_stretch_is_counted_and_the_run_goes_on() {
    let scratch = Scratch::new();
    let h264 = ["-c:v", "libx264", "-g", "20", "-pix_fmt", "yuv420p", "-movflags", "+faststart"];
    for (name, least) in [("bad.mp4", 100), ("bad.mkv", 70)] {
        let source = damaged(&scratch, name, &h264);
        let mp4 = scratch.file("out.mp4");
        let ran = run(&source, &["--out", "jsonl:-", "--out", &format!("mp4:{mp4}")]);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        let lines = ran.lines();
        let (frames, events) = (of_schema(&lines, FRAME), of_schema(&lines, EVENT));
        let errors: Vec<u64> = events
            .iter()
            .filter(|e| e["event"] == "decode_error")
            .map(|e| e["seq"].as_u64().expect("a frame"))
            .collect();
        assert!(!errors.is_empty(), "{name}: {events:?}");
        assert!(errors.iter().all(|seq| (20..90).contains(seq)), "{name}: {errors:?}");
        assert!(ran.stderr.contains("could not restore"), "{}", ran.stderr);
        assert_eq!(frames.last().expect("frames")["status"], "box", "{name}: the run went on to the end");
        // Matroska's demuxer skips to the next cluster.
        assert!(frames.len() >= least, "{name}: {}", frames.len());
        assert_eq!(probe(&mp4).2 as usize, frames.len(), "{name}");
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
    }
}

#[test]
fn reproducible_runs_are_equal_byte_for_byte_whatever_the_threads() {
    let scratch = Scratch::new();
    let h264 = ["-c:v", "libx264", "-g", "20", "-bf", "2", "-pix_fmt", "yuv420p", "-movflags", "+faststart"];
    let good = clip(&scratch, "good.mp4", "320x240", 60, &h264);
    // Damage all over a restless picture: with more threads, what is guessed differs every few runs.
    let restless = scratch.file("restless.mp4");
    let input = ["-v", "error", "-f", "lavfi", "-i", "mandelbrot=size=640x360:rate=25", "-frames:v", "100"];
    tool("ffmpeg", &[&input[..], &h264[..], &[&restless]].concat());
    let mut bytes = std::fs::read(restless).expect("read");
    let half = bytes.len() / 4..bytes.len() * 3 / 4;
    half.step_by(700).for_each(|at| bytes[at] ^= 0x55);
    let sources = [good, scratch.write("bad.mp4", &bytes)];
    for source in sources {
        let outputs: Vec<(Vec<u8>, Vec<u8>)> = ["1", "1", "2", "2"]
            .iter()
            .map(|threads| {
                let (jsonl, mkv) = (scratch.file("out.jsonl"), scratch.file("out.mkv"));
                let outs = [format!("jsonl:{jsonl}"), format!("mkv:{mkv}")];
                run(&source, &["--reproducible", "--threads", threads, "--out", &outs[0], "--out", &outs[1]]);
                let pixels = ["-v", "error", "-i", &mkv, "-f", "framemd5", "-"];
                (std::fs::read(&jsonl).expect("read"), tool("ffmpeg", &pixels).into_bytes())
            })
            .collect();
        assert!(!outputs[0].0.is_empty() && outputs[0].1.len() > 1000);
        assert!(outputs.iter().all(|output| *output == outputs[0]), "{source}");
    }
}

#[test]
fn files_without_a_picture() {
    let scratch = Scratch::new();
    let none = scratch.file("none.mkv");
    let nothing = ["-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x64", "-t", "0", "-c:v", "libx264", &none];
    tool("ffmpeg", &nothing);
    let sound = scratch.file("sound.mp4");
    tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", &sound]);
    let text = scratch.write("text.mp4", "Nothing to be seen.\n".repeat(400).as_bytes());
    for (source, reason) in [(none, "without a video frame"), (sound, "no picture"), (text, "a text file")] {
        let out = scratch.file("out.jsonl");
        let ran = run(&source, &["--out", &format!("jsonl:{out}")]);
        assert_eq!(ran.code, Some(1), "{source}: {}", ran.stderr);
        let errors: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("ERROR")).collect();
        assert_eq!(errors.len(), 1, "one clear message: {}", ran.stderr);
        assert!(errors[0].contains(&source) && errors[0].contains(reason), "{}", ran.stderr);
        assert!(!Path::new(&out).exists(), "{source} left {out}");
    }
}

#[test]
fn chroma_depths_and_sizes_from_the_far_end() {
    let scratch = Scratch::new();
    let cases: [(&str, &str, &[&str]); 4] = [
        ("422.mp4", "160x120", &["-c:v", "libx264", "-pix_fmt", "yuv422p"]),
        ("422-10.mp4", "160x120", &["-c:v", "libx264", "-pix_fmt", "yuv422p10le"]),
        (
            "interlaced.mp4",
            "160x120",
            &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-flags", "+ildct+ilme", "-x264opts", "tff=1"],
        ),
        ("8k.mp4", "7680x4320", &["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]),
    ];
    for (name, size, options) in cases {
        let source = clip(&scratch, name, size, 3, options);
        let ran = run(&source, &["--out", "jsonl:-"]).expect_success();
        let lines = ran.lines();
        let frames = of_schema(&lines, FRAME);
        assert_eq!(frames.len(), 3, "{name}");
        let (width, height, _) = probe(&source);
        let told = &frames[2]["resolution"];
        assert_eq!(
            (told["width"].as_u64(), told["height"].as_u64()),
            (Some(width.into()), Some(height.into())),
            "{name}"
        );
    }
}

/// A folder of links to all installed plugins but one.
fn plugins_without(scratch: &Scratch, plugin: &str) -> String {
    let folder = tool("pkg-config", &["--variable=pluginsdir", "gstreamer-1.0"]);
    let links = scratch.file("plugins");
    std::fs::create_dir(&links).expect("made");
    for entry in std::fs::read_dir(folder.trim()).expect("plugins") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_str().expect("UTF-8");
        if path.is_file() && name != plugin {
            std::os::unix::fs::symlink(&path, Path::new(&links).join(name)).expect("linked");
        }
    }
    links
}

#[test]
fn a_missing_encoder_is_named_with_its_package() {
    let scratch = Scratch::new();
    let source = clip(&scratch, "clip.mkv", "160x120", 5, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    let plugins = plugins_without(&scratch, "libgstx264.so");
    let mp4 = scratch.file("out.mp4");
    let (out, model) = (format!("mp4:{mp4}"), model());
    let ran: Ran = command(&["run", "--source", &source, "--query", "a", "--model", &model, "--out", &out])
        .env("GST_PLUGIN_SYSTEM_PATH_1_0", &plugins)
        .env("GST_REGISTRY_1_0", scratch.file("registry.bin"))
        .output()
        .expect("starts")
        .into();
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("x264enc") && ran.stderr.contains("gstreamer1.0-plugins-ugly"), "{}", ran.stderr);
    assert!(!Path::new(&mp4).exists());
}

#[test]
fn a_small_disk_fills_up() {
    let scratch = Scratch::new();
    let disk = scratch.file("disk");
    std::fs::create_dir(&disk).expect("made");
    let options = "size=200k,mode=0777";
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs", &disk]).output().expect("mount");
    if !mounted.status.success() {
        let why = String::from_utf8_lossy(&mounted.stderr);
        aloud(&format!("NOT TESTED: a full disk needs the right to mount a tmpfs: {why}"));
        return;
    }
    // Noise, which x264 cannot make small.
    let noise = "nullsrc=size=320x240:rate=25,geq=random(1)*255:128:128";
    let source = scratch.file("noise.mkv");
    tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", noise, "-frames:v", "60", "-c:v", "ffv1", &source]);
    let jsonl = scratch.file("out.jsonl");
    for kind in ["mp4", "mkv"] {
        let file = format!("{disk}/out.{kind}");
        let ran = run(&source, &["--out", &format!("{kind}:{file}"), "--out", &format!("jsonl:{jsonl}")]);
        let frames = json_lines(&scratch.read("out.jsonl"));
        drop(std::fs::remove_file(&file));
        assert_eq!(ran.code, Some(1), "{kind}: {}", ran.stderr);
        assert!(ran.stderr.to_lowercase().contains("space"), "{kind}: {}", ran.stderr);
        assert!(!of_schema(&frames, FRAME).is_empty(), "{kind}: records until then are whole");
        assert!(of_schema(&frames, EVENT).last().is_some_and(|end| end["event"] == "end"), "{kind}");
    }
    // Records there, the video elsewhere: it holds the frames until then.
    let long = clip(&scratch, "long.mkv", "64x64", 1500, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    let mp4 = scratch.file("out.mp4");
    let ran = run(&long, &["--out", &format!("jsonl:{disk}/out.jsonl"), "--out", &format!("mp4:{mp4}")]);
    tool("umount", &[&disk]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot write") && ran.stderr.contains("space"), "{}", ran.stderr);
    assert!(probe(&mp4).2 > 100, "the frames until then are in a video that plays");
}

#[test]
fn a_camera_that_is_not_there() {
    let scratch = Scratch::new();
    let file = scratch.write("no-device", b"");
    for device in ["/dev/video97".to_owned(), format!("v4l2://{file}")] {
        let ran = run(&device, &["--out", "jsonl:-"]);
        assert!(ran.code.is_some_and(|code| code == 1 || code == 2), "{device}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains(&device) || ran.stderr.contains("no-device"), "{}", ran.stderr);
    }
}

#[test]
fn an_output_that_cannot_be_opened_is_said_at_once() {
    let scratch = Scratch::new();
    let source = clip(&scratch, "clip.mkv", "160x120", 200, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    for out in ["mp4:/proc/x.mp4", "mkv:/proc/x.mkv"] {
        let ran = run(&source, &["--out", out]);
        assert_eq!(ran.code, Some(1), "{out}: {}", ran.stderr);
        assert!(ran.stderr.contains(out) && ran.stderr.contains("/proc"), "{out}: {}", ran.stderr);
    }
}

#[test]
fn outputs_of_different_delay_do_not_wait_for_each_other() {
    let scratch = Scratch::new();
    let folder = scratch.file("pictures");
    std::fs::create_dir(&folder).expect("made");
    let pictures = format!("{folder}/%02d.png");
    tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", "testsrc=size=640x360", "-frames:v", "20", &pictures]);
    let (frames, mp4) = (scratch.file("frames"), scratch.file("out.mp4"));
    run(&folder, &["--out", &format!("frames:{frames}"), "--out", &format!("mp4:{mp4}")]).expect_success();
    assert_eq!(std::fs::read_dir(&frames).expect("a folder").count(), 20);
    assert_eq!(probe(&mp4), (640, 360, 20));
}

#[test]
fn a_second_part_does_not_replace_the_source() {
    let scratch = Scratch::new();
    let part = |name: &str, size: &str| {
        let ts = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-f", "mpegts"];
        std::fs::read(clip(&scratch, name, size, 10, &ts)).expect("read")
    };
    let both = [part("a.ts", "160x120"), part("b.ts", "320x240")].concat();
    let source = scratch.write("x-0002.mkv", &both);
    let out = format!("mkv:{}", scratch.file("x.mkv"));
    let ran = run(&source, &["--out", &out]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("would replace"), "{}", ran.stderr);
    assert_eq!(std::fs::read(&source).expect("still there"), both);
    assert_eq!(probe(&scratch.file("x.mkv")), (160, 120, 10), "the first part is whole");

    let linked = scratch.file("linked.mp4");
    std::fs::hard_link(&source, &linked).expect("linked");
    let ran = run(&source, &["--out", &format!("mp4:{linked}")]);
    assert!(ran.stderr.contains("is the source itself"), "{}", ran.stderr);
}

#[test]
fn a_branch_that_fails_costs_the_others_nothing() {
    let scratch = Scratch::new();
    let source = clip(&scratch, "clip.mkv", "160x120", 300, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    let pipeline = scratch.write("broken.toml", b"[[sink]]\nlaunch = \"identity error-after=60 ! fakesink\"\n");
    // Several threads hear of the failure; who is first differs.
    for round in 0..6 {
        let mp4 = scratch.file(&format!("out-{round}.mp4"));
        let ran = run(&source, &["--pipeline", &pipeline, "--out", &format!("mp4:{mp4}")]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(probe(&mp4).2 >= 50, "what was encoded until then plays");
    }
}

#[test]
fn one_lost_reader_costs_other_records_no_line() {
    let scratch = Scratch::new();
    let source = clip(&scratch, "clip.mkv", "64x64", 2000, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    let (file, model) = (scratch.file("all.jsonl"), model());
    let out = format!("jsonl:{file}");
    let mut child =
        command(&["run", "--source", &source, "--query", "a", "--model", &model, "--out", "jsonl:-", "--out", &out])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("starts");
    drop(child.stdout.take());
    let ran: Ran = child.wait_with_output().expect("ends").into();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let lines = json_lines(&scratch.read("all.jsonl"));
    assert_eq!(of_schema(&lines, FRAME).len(), 2000);
    assert_eq!(lines.last().expect("lines")["event"], "end");
}

#[test]
fn a_pipeline_file_takes_the_place_of_a_built_in_one() {
    let scratch = Scratch::new();
    let source = clip(&scratch, "clip.mkv", "160x120", 10, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    let own = "[[sink]]\ntarget = \"mkv\"\nlaunch = \"videoconvert ! jpegenc ! matroskamux ! filesink location={location}\"\n";
    let pipeline = scratch.write("own.toml", own.as_bytes());
    let mkv = scratch.file("out.mkv");
    run(&source, &["--pipeline", &pipeline, "--out", &format!("mkv:{mkv}")]).expect_success();
    let codec = ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", &mkv];
    assert_eq!(tool("ffprobe", &codec).trim(), "mjpeg");
    let ran = run(&source, &["--pipeline", &pipeline, "--out", "jsonl:-"]);
    assert!(ran.stderr.contains("no --out mkv: is given"), "{}", ran.stderr);
}

#[test]
fn a_window_without_a_display_is_refused() {
    let model = model();
    let ran: Ran = command(&["run", "--source", "test:", "--query", "a", "--model", &model, "--out", "display:"])
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .output()
        .expect("starts")
        .into();
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("neither DISPLAY nor WAYLAND_DISPLAY is set"), "{}", ran.stderr);
}
