//! Several streams on one model.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use grounding::Canvas;
use serde_json::Value;
use spotter::config::load_model;
use spotter::run::stream;
use spotter::stage::{Answer, Ground, Job, Model};

use super::{AS_CAMERAS, Live, RATE, events, frames};
use crate::support::counter::{Counter, counter_clip, counter_of, counters};
use crate::support::relay::{self, Harm};
use crate::support::servers::{Server, free_port};
use crate::support::{Scratch, clip, json_lines, model_with_presence, of_schema, run_settings, spotter};

fn of_source<'a>(lines: &'a [Value], source: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["source"] == source).collect()
}

#[test]
fn cameras_of_a_file_have_names_queries_and_videos_of_their_own() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 30 * RATE as usize, &AS_CAMERAS);
    let (gate, yard) = (Server::camera(&clip, &[]), Server::camera(&clip, &[]));
    let (through, lever) = relay::tcp(&yard.address, Harm::None);
    let text = format!(
        "[[stream]]\nid = \"gate/1\"\nsource = \"{}\"\nquery = \"the red car\"\n\
         [[stream]]\nid = \"yard\"\nsource = \"{through}\"\n",
        gate.address
    );
    let file = scratch.write("two.streams", text.as_bytes());
    let checked = spotter(&["check", &file]).expect_success().stdout;
    assert!(checked.contains("source      gate/1\nquery       the red car\nmode        freshest\n"), "{checked}");

    let videos = format!("mkv:{}", scratch.file("{source}.mkv"));
    let flags = ["--source", &file, "--query", "a dog", "--out", &videos, "--reconnect-interval", "200ms"];
    let mut live = Live::start(&flags, Counter { takes: Duration::ZERO });
    let comes = |name: &'static str| move |line: &Value| line["source"] == name && line["measured"] == true;
    live.wait_for("frame", comes("gate/1"));
    live.wait_for("frame", comes("yard"));
    lever.set(Harm::Cut);
    let gap = live.wait_for_event("gap_start");
    assert_eq!(gap["source"], "yard", "{gap}");
    // One that is away is no matter of the other's.
    for _ in 0..RATE {
        live.wait_for("frame", comes("gate/1"));
    }
    lever.set(Harm::None);
    assert_eq!(live.wait_for_event("gap_end")["source"], "yard");
    for _ in 0..RATE {
        live.wait_for("frame", comes("yard"));
    }
    let (outcome, lines) = live.end();
    let books = outcome.expect("no failure");
    assert!(books.frames.closed(), "{books}");
    for (source, query, video) in [("gate/1", "the red car", "gate_1.mkv"), ("yard", "a dog", "yard.mkv")] {
        let own: Vec<Value> = of_source(&lines, source).into_iter().cloned().collect();
        let records = frames(&own);
        assert!(records.iter().all(|record| record["query"] == query));
        let order: Vec<_> = records.iter().map(|record| record["seq"].as_u64().expect("a number")).collect();
        assert_eq!(order, (0..order.len() as u64).collect::<Vec<_>>());
        assert_eq!(events(&own, "end").len(), 1, "each is told its end");
        let said: Vec<usize> =
            records.iter().filter(|record| record["status"] != "dropped").map(|record| counter_of(record)).collect();
        assert_eq!(counters(&scratch.file(video)), said, "{source}: pictures and records are each other's");
    }
}

#[test]
fn one_camera_that_is_given_up_is_told_and_the_others_go_on() {
    let scratch = Scratch::new();
    let file = clip(&scratch, "clip.mp4", "160x120", 50, &["-c:v", "libx264", "-pix_fmt", "yuv420p"]);
    let nobody = format!("rtsp://127.0.0.1:{}/nobody", free_port());
    let model = model_with_presence();
    let flags = ["run", "--source", &nobody, "--source", &file, "--query", "a", "--model", &model, "--out", "jsonl:-"];
    let ran = spotter(&[&flags[..], &["--reconnect-attempts", "1", "--reconnect-interval", "10ms"]].concat());
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("STREAM_CONNECTION_FAILED") && ran.stderr.contains("given up"), "{}", ran.stderr);
    let lines = ran.lines();
    assert_eq!(of_schema(&lines, "spotter.frame/2").len(), 50);
    let ends = events(&lines, "end");
    assert_eq!(ends.len(), 2);
    for end in ends {
        assert_eq!(end["error"].is_null(), end["source"] == file.as_str(), "{end}");
    }
}

/// A model that counts the pictures that it is given at once.
struct Counting {
    model: Model,
    most: Arc<AtomicUsize>,
}

impl Ground for Counting {
    fn canvas(&self) -> Canvas {
        self.model.canvas()
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        self.most.fetch_max(jobs.len(), Ordering::AcqRel);
        self.model.ground(jobs)
    }
}

/// Whoever shares a model with others gets the same answers as alone, bit for bit, also where the others look for
/// something else.
#[test]
fn company_changes_no_answer() {
    let scratch = Scratch::new();
    let codec = ["-c:v", "libx264", "-pix_fmt", "yuv420p"];
    let clips = ["160x120", "200x120", "128x160"].map(|size| clip(&scratch, &format!("{size}.mp4"), size, 40, &codec));
    let dir = model_with_presence();
    let run = |sources: &[(&str, &str)], batch: &str, to: &str| {
        let grounder =
            load_model(Some(std::path::Path::new(&dir)), "cpu", grounding::Precision::F32, false).expect("loads");
        let queries = ["red car", "dog"].map(|text| Arc::new(grounder.compile(text).expect("compiles")));
        let queries =
            sources.iter().map(|(_, query)| vec![Arc::clone(&queries[usize::from(*query == "dog")])]).collect();
        let (out, most) = (format!("jsonl:{to}"), Arc::new(AtomicUsize::new(0)));
        let mut flags =
            vec!["--query", "a", "--reproducible", "--max-batch", batch, "--batch-timeout-ms", "50", "--out", &out];
        for (source, _) in sources {
            flags.extend(["--source", source]);
        }
        let model = Counting { model: Model { grounder: Arc::new(grounder), queries }, most: Arc::clone(&most) };
        stream(&run_settings(&flags), Box::new(model), Some(0.5), true).expect("runs");
        (json_lines(&std::fs::read_to_string(to).expect("read")), most.load(Ordering::Acquire))
    };
    let sources = [(clips[0].as_str(), "red car"), (&clips[1], "dog"), (&clips[2], "red car")];
    let (together, most) = run(&sources, "3", &scratch.file("shared.jsonl"));
    assert_eq!(most, 3, "they went through the model together");
    for source in sources {
        let (alone, most) = run(&[source], "1", &scratch.file("alone.jsonl"));
        assert_eq!((alone.len(), most), (42, 1));
        assert_eq!(of_source(&together, source.0), alone.iter().collect::<Vec<_>>());
    }
}

#[test]
fn file_names_hold_the_streams_name_and_the_time() {
    let scratch = Scratch::new();
    let out = format!("jsonl:{}", scratch.file("{source}-{time}.jsonl"));
    let model = model_with_presence();
    let sources = ["--source", "test:ball?frames=3", "--source", "test:snow?frames=3"];
    spotter(&[&["run", "--query", "a", "--model", &model, "--out", &out], &sources[..]].concat()).expect_success();
    let names = scratch.names();
    let digits = |name: &String| name.bytes().filter(u8::is_ascii_digit).count();
    assert!(
        names[0].starts_with("test_ball_frames_3-20") && names[1].starts_with("test_snow_frames_3-20"),
        "{names:?}"
    );
    // Date, time, and the 3.
    assert!(names.iter().all(|name| digits(name) == 8 + 6 + 1), "{names:?}");
}

#[test]
fn wrong_files_of_streams_say_what_is_wrong() {
    let scratch = Scratch::new();
    let run = |text: &str, flags: &[&str]| {
        let file = scratch.write("cameras.streams", text.as_bytes());
        let ran = spotter(&[&["run", "--source", &file], flags].concat());
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        scratch.generic(&ran.stderr)
    };
    let (jsonl, asked) = (["--out", "jsonl:-"], ["--out", "jsonl:-", "--query", "a"]);
    let twice = "[[stream]]\nid = \"a\"\nsource = \"test:\"\n[[stream]]\nid = \"a\"\nsource = \"test:ball\"\n";
    insta::assert_snapshot!("streams_empty", run("", &asked));
    insta::assert_snapshot!("streams_list", run("# two\n\nrtsp://one/a\nrtsp://one/a\n", &asked));
    insta::assert_snapshot!("streams_table", run("[[streams]]\nsource = \"rtsp://one/a\"\n", &asked));
    insta::assert_snapshot!("streams_key", run("[[stream]]\nurl = \"rtsp://one/a\"\n", &asked));
    insta::assert_snapshot!("streams_twice", run(twice, &asked));
    insta::assert_snapshot!("streams_query", run("[[stream]]\nsource = \"test:\"\n", &jsonl));
    insta::assert_snapshot!("streams_scheme", run("[[stream]]\nsource = \"ftp://one/a\"\n", &asked));
    let two = "[[stream]]\nsource = \"test:\"\n[[stream]]\nsource = \"test:ball\"\n";
    let shared = format!("mp4:{}", scratch.file("out.mp4"));
    insta::assert_snapshot!("streams_one_video", run(two, &["--query", "a", "--out", &shared]));
    insta::assert_snapshot!("streams_batch", run(two, &[&asked[..], &["--max-batch", "0"]].concat()));
    let login = scratch.write("login.txt", b"no colon\n");
    insta::assert_snapshot!("streams_login", run(two, &[&asked[..], &["--credentials", &login]].concat()));
    insta::assert_snapshot!("streams_latency", run(two, &[&asked[..], &["--latency", "100000h"]].concat()));
    insta::assert_snapshot!("streams_space", run("rtsp://camera/x the red car\n", &asked));
    insta::assert_snapshot!(
        "streams_credentials",
        run("[[stream]]\nsource = \"rtsp://a/x\"\ncredentials = \"no\"\n", &asked)
    );
    insta::assert_snapshot!("streams_port", run("rtsp://camera:99999/x\n", &asked));
    insta::assert_snapshot!("streams_stall", run(two, &[&asked[..], &["--stall-timeout", "0"]].concat()));
}
