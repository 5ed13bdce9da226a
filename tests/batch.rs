//! Many files: killed anywhere, shared by processes, called anything, broken in part.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{Ran, Scratch, aloud, clip, command, json_lines, of_schema, picture, spotter, tool, until};

const QUERY: &str = "the circle";
const X264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "1"];

/// `count` short clips in a folder of their own, each with other pictures.
fn films(scratch: &Scratch, count: u32, frames: u32) -> String {
    std::fs::create_dir(scratch.file("in")).expect("made");
    for i in 0..count {
        clip(scratch, &format!("in/film{i}.mp4"), &format!("{}x96", 96 + 16 * i), frames + 5 * i, &X264);
    }
    scratch.file("in")
}

fn batch<'a>(inputs: &[&'a str], out: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    [&["batch"], inputs, &["--query", QUERY, "--out", out], flags].concat()
}

/// Names and bytes of all that lies in a folder, but for the ledger, which holds times.
fn results(out: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(out).expect("listed").map(|entry| entry.expect("an entry").path());
    let results = entries.filter(|path| !path.ends_with("ledger.sqlite"));
    results.map(|path| (path.file_name().expect("a name").into(), std::fs::read(&path).expect("read"))).collect()
}

/// The same bytes under the same names. The summary tells where its inputs are.
fn expect_same(found: &BTreeMap<PathBuf, Vec<u8>>, wanted: &BTreeMap<PathBuf, Vec<u8>>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (name, bytes) in wanted {
        assert!(found[name] == *bytes, "{} differs", name.display());
    }
}

/// What the ledger says happened: input, what, in order.
fn events(out: &str) -> Vec<(String, String)> {
    let ledger = Connection::open(Path::new(out).join("ledger.sqlite")).expect("a ledger");
    let mut query = ledger.prepare("SELECT given, what FROM event JOIN work ON work.id = event.work ORDER BY event.id");
    let rows = query.as_mut().expect("a query").query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

fn count(events: &[(String, String)], what: &str) -> usize {
    events.iter().filter(|(_, event)| event == what).count()
}

fn start(flags: &[&str]) -> Child {
    command(flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
}

fn ended(child: Child) -> Ran {
    child.wait_with_output().expect("ends").into()
}

fn summary(out: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(Path::new(out).join("summary.json")).expect("read")).expect("JSON")
}

#[test]
fn killed_at_random_moments_it_goes_on_to_the_same_bytes() {
    const KILLS: u32 = 10;
    let scratch = Scratch::new();
    let folder = films(&scratch, 5, 90);
    let wanted = scratch.file("undisturbed");
    let flags = ["--overlay", "--format", "native", "--format", "coco"];
    let begun = Instant::now();
    spotter(&batch(&[&folder], &wanted, &flags)).expect_success();
    let takes = begun.elapsed();
    let wanted = results(&wanted);
    assert_eq!(wanted.len(), 5 * 3 + 1, "records, COCO and video of each, and a summary: {:?}", wanted.keys());
    let seed = rand::random();
    aloud(&format!("seed {seed}"));
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    for jobs in ["1", "2"] {
        let flags = [&flags[..], &["--jobs", jobs]].concat();
        let (mut kills, mut rounds, mut out) = (0, 0, scratch.file(&format!("out-{jobs}-0")));
        while kills < KILLS {
            let mut child = start(&batch(&[&folder], &out, &flags));
            // When it is killed is what chance decides; nothing is waited for.
            std::thread::sleep(takes.mul_f64(rng.random_range(0.0..0.6)));
            if child.try_wait().expect("asked").is_none() {
                child.kill().expect("killed");
                kills += 1;
            }
            let ran = ended(child);
            if let Some(code) = ran.code {
                assert_eq!(code, 0, "{}", ran.stderr);
                expect_same(&results(&out), &wanted);
                rounds += 1;
                out = scratch.file(&format!("out-{jobs}-{rounds}"));
            }
        }
        spotter(&batch(&[&folder], &out, &flags)).expect_success();
        expect_same(&results(&out), &wanted);
        // Whatever was begun came to an end, or is known to have been abandoned.
        let events = events(&out);
        let (listed, begun, done, abandoned) =
            (count(&events, "listed"), count(&events, "begun"), count(&events, "done"), count(&events, "abandoned"));
        assert_eq!((listed, done), (5, 5), "{events:?}");
        assert_eq!(begun, done + abandoned, "{events:?}");
    }
}

#[test]
fn two_processes_share_a_folder_and_do_nothing_twice() {
    let scratch = Scratch::new();
    let folder = films(&scratch, 6, 40);
    let (alone, shared) = (scratch.file("alone"), scratch.file("shared"));
    spotter(&batch(&[&folder], &alone, &[])).expect_success();
    let both = [(); 2].map(|()| start(&batch(&[&folder], &shared, &[])));
    // Neither ends before all is done, whoever did it.
    for ran in both.map(ended) {
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        // One may begin when the other has done something already.
        let last = ran.stdout.lines().last().unwrap_or_default();
        assert!(last == "6 done" || last.starts_with("6 done ("), "{}", ran.stdout);
    }
    expect_same(&results(&shared), &results(&alone));
    let events = events(&shared);
    assert_eq!(["listed", "begun", "done"].map(|what| count(&events, what)), [6, 6, 6], "{events:?}");
    assert_eq!(events.len(), 18, "{events:?}");
}

#[test]
fn interrupted_it_ends_at_once_and_goes_on_later() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "long.mp4", "640x360", 1500, &X264);
    let out = scratch.file("out");
    let child = start(&batch(&[&film], &out, &[]));
    let ledger = Path::new(&out).join("ledger.sqlite");
    let is_begun = || {
        let ledger = Connection::open_with_flags(&ledger, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        ledger.query_row("SELECT 1 FROM work WHERE state = 'working'", [], |_| Ok(())).ok()
    };
    until("work", Duration::from_mins(1), is_begun);
    tool("kill", &["-INT", &child.id().to_string()]);
    let ran = ended(child);
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert_eq!(results(&out).keys().collect::<Vec<_>>(), [Path::new("summary.json")], "no half results");
    assert_eq!(summary(&out)["totals"]["waiting"], 1);
    spotter(&batch(&[&film], &out, &[])).expect_success();
    assert_eq!(summary(&out)["totals"]["done"], 1);
    let said: Vec<String> = events(&out).into_iter().map(|(_, what)| what).collect();
    assert_eq!(said, ["listed", "begun", "stopped", "begun", "done"]);
}

#[test]
fn whatever_inputs_are_called_results_stay_in_their_folder() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "96x96", 5, &X264);
    let root = scratch.path();
    for folder in ["in", "in/a", "in/b", "elsewhere"] {
        std::fs::create_dir(root.join(folder)).expect("made");
    }
    let odd = std::ffi::OsString::from_vec(b"bad\xff\xfe.mp4".to_vec());
    let names: [&Path; 8] = [
        Path::new("a/same.mp4"),
        Path::new("b/same.mp4"),
        Path::new("b/SAME.mkv"),
        Path::new("two\nlines.mp4"),
        Path::new("...mp4"),
        Path::new("-o.mp4"),
        Path::new("summary.mp4"),
        Path::new(&odd),
    ];
    for (i, name) in names.iter().enumerate() {
        // Each is a film of its own: equal ones would not show that one took another's place.
        let own = clip(&scratch, &format!("own{i}.mp4"), "96x96", 3 + i as u32, &X264);
        std::fs::copy(own, root.join("in").join(name)).expect("copied");
    }
    // A link is done once, under the name that comes first; one that was planted is not followed.
    symlink(root.join("in/summary.mp4"), root.join("in/zz-link.mp4")).expect("linked");
    let victim = scratch.write("elsewhere/victim", b"precious");
    let out = scratch.file("out");
    std::fs::create_dir(&out).expect("made");
    symlink(&victim, Path::new(&out).join("summary.jsonl")).expect("linked");
    let (dotted, hidden) = (scratch.file("in/../in"), scratch.file("in/...mp4"));
    // What is hidden is not searched for, but may be named.
    let inputs = [&dotted, &film, &hidden].map(String::as_str);
    let ran = spotter(&batch(&inputs, &out, &["--overlay"])).expect_success();
    assert!(ran.stderr.lines().all(|line| line.contains(" of ")), "a name breaks no line: {}", ran.stderr);
    assert_eq!(scratch.read("elsewhere/victim"), "precious");
    assert_eq!(std::fs::read_dir(root.join("elsewhere")).expect("listed").count(), 1);
    let found = results(&out);
    // What was planted keeps its name.
    assert_eq!(found.len(), 9 * 2 + 1 + 1, "{:?}", found.keys());
    assert_eq!(found[Path::new("summary.jsonl")], b"precious");
    let inputs = summary(&out)["inputs"].as_array().expect("a list").clone();
    assert_eq!(inputs.len(), 9);
    for input in &inputs {
        let records = input["results"][0].as_str().expect("a name");
        assert!(
            Path::new(records).extension().is_some_and(|ending| ending == "jsonl")
                && !records.contains(['\n', '/'])
                && !records.starts_with(['.', '-']),
            "{records}"
        );
        let lines = json_lines(&String::from_utf8(found[Path::new(records)].clone()).expect("UTF-8"));
        let frames = of_schema(&lines, "spotter.frame/2").len();
        assert_eq!(input["counts"]["frames"]["decoded"].as_u64(), Some(frames as u64), "{input}");
    }
    let mut lengths: Vec<u64> =
        inputs.iter().map(|i| i["counts"]["frames"]["decoded"].as_u64().expect("a number")).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [3, 4, 5, 5, 6, 7, 8, 9, 10], "every film once");
    // Done is done: under any of its names.
    spotter(&batch(&[&scratch.file("in/zz-link.mp4"), &scratch.file("in")], &out, &["--overlay"])).expect_success();
    assert_eq!(results(&out).len(), 9 * 2 + 1 + 1);
    assert_eq!(count(&events(&out), "begun"), 9);
}

#[test]
fn bad_files_stop_nobody_and_are_tried_again_when_asked() {
    let scratch = Scratch::new();
    let good = clip(&scratch, "good.mp4", "96x96", 6, &X264);
    let bytes = std::fs::read(&good).expect("read");
    let cut = scratch.write("cut.mp4", &bytes[..bytes.len() / 2]);
    let text = scratch.write("text.mp4", b"no film at all");
    let empty = scratch.write("empty.mp4", b"");
    let (gone, out) = (scratch.file("gone.mp4"), scratch.file("out"));
    let inputs = [&cut, &text, &empty, &gone, &good].map(String::as_str);
    let ran = spotter(&batch(&inputs, &out, &["--jobs", "2"]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for (name, reason) in [
        ("cut.mp4", "SOURCE_TRUNCATED"),
        ("text.mp4", "SOURCE_"),
        ("empty.mp4", "SOURCE_EMPTY"),
        ("gone.mp4", "No such file"),
    ] {
        let line =
            ran.stdout.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {}", ran.stdout));
        assert!(line.contains(reason), "{line}");
    }
    assert!(ran.stdout.ends_with("1 done, 3 failed, 1 missing\n"), "{}", ran.stdout);
    assert!(ran.stderr.contains("4 of 5 files failed"), "{}", ran.stderr);
    let totals = summary(&out)["totals"].clone();
    assert_eq!(
        (totals["done"].as_u64(), totals["failed"].as_u64(), totals["missing"].as_u64()),
        (Some(1), Some(3), Some(1))
    );
    let names: Vec<PathBuf> = results(&out).into_keys().collect();
    assert_eq!(names, [Path::new("good.jsonl"), Path::new("summary.json")], "nothing of those that failed");

    // What failed is not tried again by itself, and is no success either.
    let inputs = [&cut, &text, &empty, &good].map(String::as_str);
    let begun = |out: &str| count(&events(out), "begun");
    assert_eq!(begun(&out), 4);
    let ran = spotter(&batch(&inputs, &out, &[]));
    assert_eq!((ran.code, begun(&out)), (Some(1), 4), "{}", ran.stderr);
    assert!(ran.stderr.contains("failed before (--retry-failed tries again)"), "{}", ran.stderr);
    assert_eq!(spotter(&batch(&inputs, &out, &["--retry-failed"])).code, Some(1));
    assert_eq!(begun(&out), 7);
    // A file that is another one now is new work.
    std::fs::write(&cut, &bytes).expect("written");
    assert_eq!(spotter(&batch(&[&cut], &out, &[])).code, Some(0));
    assert_eq!(begun(&out), 8);
    assert!(Path::new(&out).join("cut.jsonl").is_file());
    // One that was only touched is not, and one whose result is gone is.
    let old = std::fs::File::options().append(true).open(&good).expect("opened");
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("set");
    spotter(&batch(&[&good], &out, &[])).expect_success();
    assert_eq!(begun(&out), 8);
    std::fs::remove_file(Path::new(&out).join("good.jsonl")).expect("removed");
    spotter(&batch(&[&good], &out, &[])).expect_success();
    assert_eq!(begun(&out), 9);
    assert!(Path::new(&out).join("good.jsonl").is_file());
}

#[test]
fn another_question_is_other_work_and_replaces_nothing() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "96x96", 6, &X264);
    let out = scratch.file("out");
    spotter(&batch(&[&film], &out, &[])).expect_success();
    let first = results(&out)[Path::new("film.jsonl")].clone();
    spotter(&["batch", &film, "--query", "the red square", "--out", &out]).expect_success();
    spotter(&batch(&[&film], &out, &["--stride", "2"])).expect_success();
    let found = results(&out);
    assert_eq!(found[Path::new("film.jsonl")], first);
    let others: Vec<&PathBuf> = found.keys().filter(|name| name.to_string_lossy().starts_with("film-")).collect();
    assert_eq!(others.len(), 2, "{:?}", found.keys());
    let queries: Vec<String> = others
        .iter()
        .map(|name| json_lines(&String::from_utf8(found[*name].clone()).expect("UTF-8"))[1]["query"].to_string())
        .collect();
    assert!(queries.contains(&"\"the red square\"".to_owned()), "{queries:?}");
}

#[test]
fn a_second_run_says_what_it_did_not_do_again() {
    let scratch = Scratch::new();
    let [first, second] = ["a", "b"].map(|name| clip(&scratch, &format!("{name}.mp4"), "96x96", 4, &X264));
    let out = scratch.file("out");
    let said = |inputs: &[&str]| -> (Vec<String>, String) {
        let ran = spotter(&batch(inputs, &out, &[])).expect_success();
        let state = |line: &str| line.split("  ").next().unwrap_or_default().to_owned();
        let mut lines: Vec<String> = ran.stdout.lines().map(state).collect();
        let last = lines.pop().expect("a last line");
        assert!(ran.stdout.lines().take(lines.len()).all(|line| line.contains("4 frames")), "{}", ran.stdout);
        (lines, last)
    };
    assert_eq!(said(&[&first]), (vec!["done".into()], "1 done".into()));
    assert_eq!(said(&[&first]), (vec!["done before".into()], "1 done (1 before)".into()));
    assert_eq!(said(&[&first, &second]), (vec!["done before".into(), "done".into()], "2 done (1 before)".into()));
    // What has to be done again was not kept.
    std::fs::remove_file(Path::new(&out).join("a.jsonl")).expect("removed");
    assert_eq!(said(&[&first, &second]), (vec!["done".into(), "done before".into()], "2 done (1 before)".into()));
    assert_eq!(count(&events(&out), "done"), 3);
}

#[test]
fn what_lies_in_the_folder_already_is_nobody_elses() {
    let scratch = Scratch::new();
    let out = scratch.file("out");
    for folder in ["out", "out/b.jsonl", "out/.unfinished", "out/.unfinished/mine", "out/.unfinished/1a-2b"] {
        std::fs::create_dir(scratch.file(folder)).expect("made");
    }
    let own = [("out/a.mp4", "a film of my own"), ("out/a.csv", "a table"), ("out/.unfinished/mine/draft", "a draft")];
    for (name, text) in own {
        scratch.write(name, text.as_bytes());
    }
    // What a process left that is gone.
    scratch.write("out/.unfinished/1a-2b/lock", b"");
    let films = ["a", "b", "c"].map(|name| clip(&scratch, &format!("{name}.mp4"), "96x96", 4, &X264));
    let films = films.each_ref().map(String::as_str);
    let flags = ["--overlay", "--format", "native", "--format", "csv"];
    spotter(&batch(&films, &out, &flags)).expect_success();
    for (name, text) in own {
        assert_eq!(scratch.read(name), text, "{name}");
    }
    assert!(!Path::new(&scratch.file("out/.unfinished/1a-2b")).exists());
    assert_eq!(summary(&out)["totals"]["done"], 3);
    // Names that are taken by others alone get a suffix.
    assert!(Path::new(&scratch.file("out/c.mp4")).is_file());
    // Where a folder comes in the way later, it is in the way of one input alone.
    let later = scratch.file("later");
    spotter(&batch(&[films[0]], &later, &["--shard", "2/2"])).expect_success();
    std::fs::create_dir(scratch.file("later/a.jsonl")).expect("made");
    let ran = spotter(&batch(&films, &later, &[]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.ends_with("2 done, 1 failed\n"), "{}", ran.stdout);
    // A link that leads elsewhere is not followed.
    let (trap, victim) = (scratch.file("trap"), scratch.file("victim"));
    for folder in [&trap, &victim] {
        std::fs::create_dir(folder).expect("made");
    }
    symlink(&victim, Path::new(&trap).join(".unfinished")).expect("linked");
    let ran = spotter(&batch(&films, &trap, &[]));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains(".unfinished: is no folder"), "{}", ran.stderr);
}

#[test]
fn names_of_results_never_meet() {
    let scratch = Scratch::new();
    let films = ["a.mp4", "a.dls.mp4", "a.mot.mp4", "a.coco.mp4", "\u{c9}t\u{e9}.mp4", "\u{e9}t\u{e9}.mkv"];
    let films = films.map(|name| clip(&scratch, name, "96x96", 3, &X264));
    let films = films.each_ref().map(String::as_str);
    let out = scratch.file("out");
    let formats = ["native", "mot", "coco", "vtt", "dls", "csv"].map(|format| ["--format", format]).concat();
    spotter(&batch(&films, &out, &[&formats[..], &["--overlay"]].concat())).expect_success();
    assert_eq!(results(&out).len(), films.len() * 7 + 1, "{:?}", results(&out).keys());
    let lower: std::collections::BTreeSet<String> =
        results(&out).keys().map(|name| name.to_string_lossy().to_lowercase()).collect();
    assert_eq!(lower.len(), films.len() * 7 + 1, "also where capitals are small letters");
}

#[test]
fn odd_inputs_are_told_and_hold_up_nobody() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "96x96", 4, &X264);
    let (pipe, out) = (scratch.file("pipe.mp4"), scratch.file("out"));
    tool("mkfifo", &[&pipe]);
    let ran = spotter(&batch(&[&pipe, &film], &out, &[]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("is no file, expected a video file"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("1 done, 1 failed\n"), "{}", ran.stdout);
    // A film that is none any more leaves no result that looks as if it were of it.
    let records = Path::new(&out).join("film.jsonl");
    assert!(records.is_file());
    std::fs::write(&film, b"no film").expect("written");
    assert_eq!(spotter(&batch(&[&film], &out, &[])).code, Some(1));
    assert!(!records.exists());
    // Inputs beside the results are inputs all the same, and results are none.
    let home = scratch.file("home");
    std::fs::create_dir(&home).expect("made");
    clip(&scratch, "home/one.mp4", "96x96", 3, &X264);
    clip(&scratch, "home/two.mp4", "96x96", 4, &X264);
    for _ in 0..2 {
        spotter(&batch(&[&home], &home, &["--overlay"])).expect_success();
        assert_eq!(summary(&home)["inputs"].as_array().expect("a list").len(), 2);
    }
    // Another question in the same folder has a summary of its own.
    for done in ["2 done", "2 done (2 before)"] {
        let ran = spotter(&["batch", &home, "--query", "the star", "--out", &home]).expect_success();
        assert_eq!(ran.stdout.lines().last(), Some(done), "{}", ran.stdout);
    }
    assert_eq!(summary(&home)["query"], QUERY);
    let names = std::fs::read_dir(&home).expect("listed").map(|e| e.expect("an entry").file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().starts_with("summary")).count(), 2);
}

#[test]
fn a_terminal_shows_how_far_it_is() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "320x240", 400, &X264);
    let program = env!("CARGO_BIN_EXE_spotter");
    let line = format!(
        "SPOTTER_MODEL=models/spotter-tiny {program} batch {film} --query '{QUERY}' --out {}",
        scratch.file("out")
    );
    tool("script", &["-qec", &line, &scratch.file("tty.log")]);
    let shown = scratch.read("tty.log");
    for part in ["0/1 files", "frames/s", "s left", "film.mp4  ", "1 done"] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
}

#[test]
fn shards_and_lists_on_standard_input() {
    use std::io::Write;
    let scratch = Scratch::new();
    let folder = films(&scratch, 5, 5);
    let (whole, parts, listed) = (scratch.file("whole"), scratch.file("parts"), scratch.file("listed"));
    spotter(&batch(&[&folder], &whole, &[])).expect_success();
    for (shard, done) in [("1/3", 2), ("2/3", 4), ("3/3", 5)] {
        spotter(&batch(&[&folder], &parts, &["--shard", shard])).expect_success();
        assert_eq!(summary(&parts)["totals"]["done"].as_u64(), Some(done));
    }
    expect_same(&results(&parts), &results(&whole));
    let mut child =
        command(&batch(&["-"], &listed, &[])).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let names: Vec<String> = (0..5).map(|i| format!("{folder}/film{i}.mp4")).collect();
    child.stdin.take().expect("piped").write_all(names.join("\0").as_bytes()).expect("taken");
    assert_eq!(ended(child).code, Some(0));
    expect_same(&results(&listed), &results(&whole));
}

#[test]
fn what_cannot_be_begun_is_one_error() {
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "96x96", 3, &X264);
    let (file, out) = (scratch.write("file", b"x"), scratch.file("out"));
    let (deep, picture) = (scratch.file("no/such/out"), picture(&scratch, "p.png", (8, 8)));
    std::fs::create_dir(scratch.file("bare")).expect("made");
    for (inputs, out, flags, said) in [
        (&film, &file, &[][..], "is no folder"),
        (&film, &deep, &[], "its folder does not exist"),
        (&film, &out, &["--shard", "3/2"], "expected i/n"),
        (&film, &out, &["--format", "xml"], "native, mot, coco, vtt, dls, csv"),
        (&film, &out, &["--stride", "0"], "expected a number from 1 on"),
        (&film, &out, &["--threshold", "7"], "expected a probability"),
        (&scratch.file("bare"), &out, &[], "no video file is among the inputs"),
    ] {
        let ran = spotter(&batch(&[inputs], out, flags));
        assert_eq!(ran.code, Some(2), "{flags:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{said:?} is not in {}", ran.stderr);
    }
    let ran = spotter(&batch(&[&picture], &out, &[]));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("`spotter ground` takes pictures"), "{}", ran.stdout);
    std::fs::write(Path::new(&out).join("ledger.sqlite"), "no database").expect("written");
    let ran = spotter(&batch(&[&film], &out, &[]));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("ledger.sqlite: file is not a database"), "{}", ran.stderr);
}

/// Memory of a process that still runs, in KiB.
fn memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[test]
fn a_thousand_files_are_all_accounted_for_in_flat_memory() {
    const FILES: usize = 1000;
    /// Every so many is broken.
    const BROKEN: usize = 25;
    let scratch = Scratch::new();
    let film = clip(&scratch, "film.mp4", "64x64", 3, &X264);
    let bytes = std::fs::read(&film).expect("read");
    let (folder, out) = (scratch.file("in"), scratch.file("out"));
    std::fs::create_dir(&folder).expect("made");
    for i in 0..FILES {
        let bytes = if i % BROKEN == 3 { &bytes[..bytes.len() - 100 - i % 200] } else { &bytes[..] };
        std::fs::write(format!("{folder}/{i:04}.mp4"), bytes).expect("written");
    }
    let child = start(&batch(&[&folder], &out, &["--jobs", "2", "--quiet"]));
    let settled = || {
        let ledger = Connection::open(Path::new(&out).join("ledger.sqlite")).ok()?;
        let sql = "SELECT count(*) FROM work WHERE state IN ('done', 'failed')";
        ledger.query_row(sql, [], |row| row.get::<_, i64>(0)).ok().map(|count| count as usize)
    };
    // Two files open and close all the time: what is compared is the median of many looks.
    let median = |files: Range<usize>| {
        let mut looks = Vec::new();
        until("files", Duration::from_mins(5), || {
            let count = settled()?;
            looks.extend(files.contains(&count).then(|| memory(child.id())).flatten());
            (count >= files.end).then_some(())
        });
        looks.sort_unstable();
        *looks.get(looks.len() / 2).expect("looked at least once")
    };
    let (early, late) = (median(FILES / 10..FILES * 2 / 5), median(FILES * 2 / 3..FILES - FILES / 50));
    let ran = ended(child);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    aloud(&format!("memory {early} KiB over the first files, {late} KiB over the last ones"));
    // A quarter is what the load of other tests makes of it; 70 KB that stay of every file are more.
    assert!(late < early + early / 4, "memory grew from {early} to {late} KiB");
    let summary = summary(&out);
    let broken = FILES / BROKEN;
    assert_eq!(summary["totals"]["done"].as_u64(), Some((FILES - broken) as u64));
    assert_eq!(summary["totals"]["failed"].as_u64(), Some(broken as u64));
    assert_eq!(results(&out).len(), FILES - broken + 1);
    let inputs = summary["inputs"].as_array().expect("a list");
    for (i, input) in inputs.iter().enumerate() {
        let state = if i % BROKEN == 3 { "failed" } else { "done" };
        assert_eq!(input["state"], state, "{input}");
    }
}
