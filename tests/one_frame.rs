//! A box never sits on another frame: clips with a frame counter burnt in, grounded by a stub that reads it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use records::Counts;
use serde_json::Value;
use spotter::run::stream;
use spotter::sink::Branch;

use crate::support::counter::{Counter, Several, counter_clip, counters};
use crate::support::{Scratch, json_lines, of_schema, raw_lines, run_settings};

const FRAMES: usize = 75;
/// Reordered frames: what is decoded first is not what is shown first.
const REORDERED: [&str; 2] = ["-bf", "3"];

/// What [`Several`] is asked.
const THREE: [&str; 3] = ["the counter", "every second number", "every third number"];

/// One record a frame, in order; and every picture that left with one shows the frame that it is of.
fn assert_own_pictures(records: &[&Value], mp4: &str, flags: &[&str]) {
    let order: Vec<_> = records.iter().map(|record| record["seq"].as_u64().expect("a number")).collect();
    assert_eq!(order, (0..FRAMES as u64).collect::<Vec<_>>(), "one record a frame, in order");
    let forwarded: Vec<_> = records.iter().filter(|record| record["status"] != "dropped").collect();
    let shown = counters(mp4);
    assert_eq!(shown.len(), forwarded.len(), "{flags:?}");
    for (record, counter) in forwarded.iter().zip(shown) {
        assert_eq!(
            record["frame_index"].as_u64(),
            Some(counter as u64),
            "{flags:?}: the picture that left with {record}"
        );
    }
}

/// Runs the clip through stage and encoder, and compares every record with the picture it came out with.
fn follow(takes: Duration, flags: &[&str]) -> Counts {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, 50, FRAMES, &REORDERED);
    let (jsonl, mp4) = (scratch.file("out.jsonl"), scratch.file("out.mp4"));
    let outs = [format!("jsonl:{jsonl}"), format!("mp4:{mp4}")];
    let common = ["--query", "the counter", "--source", &clip, "--out", &outs[0], "--out", &outs[1]];
    let settings = run_settings(&[&common, flags].concat());
    let books = stream(&settings, Box::new(Counter { takes }), None, true).expect("runs");
    assert!(books.frames.closed(), "{books}");
    assert_eq!(books.frames.decoded, FRAMES as u64);

    let lines = json_lines(&scratch.read("out.jsonl"));
    let records = of_schema(&lines, "spotter.frame/2");
    assert_own_pictures(&records, &mp4, flags);
    for record in records.iter().filter(|record| record["measured"] == true) {
        let number = record["frame_index"].as_u64().expect("a number");
        assert_eq!(record["box"]["x"].as_f64(), Some(number as f64), "{flags:?}: measured elsewhere: {record}");
    }
    books
}

/// The same with three queries, each of which must have been answered on the record's own frame.
fn follow_three(takes: Duration, flags: &[&str]) -> Counts {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, 50, FRAMES, &REORDERED);
    let (jsonl, mp4) = (scratch.file("out.jsonl"), scratch.file("out.mp4"));
    let outs = [format!("jsonl:{jsonl}"), format!("mp4:{mp4}")];
    // What is not there is said in the corner where the counter stands.
    let mut args = vec!["--source", &clip, "--overlay", "boxes", "--out", &outs[0], "--out", &outs[1]];
    args.extend(THREE.iter().flat_map(|query| ["--query", query]));
    let settings = run_settings(&[&args[..], flags].concat());
    let model = Several { takes, queries: THREE.len() };
    let books = stream(&settings, Box::new(model), Some(0.5), true).expect("runs");
    assert!(books.frames.closed(), "{books}");
    assert_eq!(books.frames.decoded, FRAMES as u64);

    let lines = raw_lines(&scratch.read("out.jsonl"));
    let records = of_schema(&lines, "spotter.frame/2");
    assert_own_pictures(&records, &mp4, flags);
    let names = |list: &Value, key: &str| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        list.map(|entry| entry[key].as_str().expect("a name").to_owned()).collect()
    };
    let mut boxed = [0u64; THREE.len()];
    for record in &records {
        assert_eq!(names(&record["queries"], "name"), THREE, "{flags:?}: {record}");
        if record["status"] != "measured" {
            continue;
        }
        let number = record["frame_index"].as_u64().expect("a number");
        let there: [bool; THREE.len()] = std::array::from_fn(|place| Several::is_there(place, number as usize));
        for (place, there) in there.into_iter().enumerate() {
            let (status, claim) = (if there { "box" } else { "absent" }, &record["queries"][place]);
            assert!(claim["status"] == status && claim["measured"] == true, "{flags:?}: {place} of {record}");
            boxed[place] += u64::from(there);
        }
        let wanted: Vec<&str> =
            THREE.into_iter().zip(there).filter_map(|(name, there)| there.then_some(name)).collect();
        assert_eq!(names(&record["objects"], "query"), wanted, "{flags:?}: {record}");
        for object in record["objects"].as_array().expect("a list") {
            assert_eq!(object["box"]["x"].as_f64(), Some(number as f64), "{flags:?}: measured elsewhere: {record}");
        }
    }
    let end = lines.last().expect("lines");
    assert_eq!(names(&end["queries"], "name"), THREE);
    for (counts, boxed) in end["queries"].as_array().expect("a list").iter().zip(boxed) {
        let count = |key: &str| counts[key].as_u64().expect("a count");
        assert_eq!((count("box"), count("box") + count("absent")), (boxed, books.frames.measured), "{flags:?}: {end}");
    }
    books
}

const FAST: Duration = Duration::ZERO;
/// Longer than a frame of the clip lasts.
const SLOW: Duration = Duration::from_millis(45);

#[test]
fn a_fast_model_measures_every_frame_it_is_given() {
    for pace in ["fast", "realtime"] {
        let books = follow(FAST, &["--pace", pace, "--mode", "every-frame"]);
        assert_eq!(books.boxed(), FRAMES as u64);
        follow(FAST, &["--pace", pace, "--mode", "freshest"]);
    }
}

#[test]
fn a_slow_model_keeps_every_frame_waiting_or_lets_some_go() {
    for pace in ["fast", "realtime"] {
        let books = follow(SLOW, &["--pace", pace, "--mode", "every-frame"]);
        assert_eq!(books.boxed(), FRAMES as u64);
        let books = follow(SLOW, &["--pace", pace, "--mode", "freshest"]);
        assert!(books.frames.dropped > 0 && books.boxed() > 0, "{books}");
    }
}

#[test]
fn frames_between_measured_ones_keep_their_own_pictures() {
    let books = follow(FAST, &["--stride", "3"]);
    assert_eq!(books.boxed(), FRAMES.div_ceil(3) as u64);
    follow(FAST, &["--max-fps", "10"]);
    follow(SLOW, &["--stride", "2", "--pace", "realtime", "--mode", "freshest"]);
}

#[test]
fn three_queries_are_answered_on_the_frame_that_the_record_is_of() {
    let books = follow_three(FAST, &["--pace", "fast", "--mode", "every-frame"]);
    assert_eq!((books.frames.measured, books.boxed()), (75, 75 + 38 + 25));
    let books = follow_three(SLOW, &["--pace", "realtime", "--mode", "freshest"]);
    assert!(books.frames.dropped > 0 && books.boxed() > 0, "{books}");
    let books = follow_three(FAST, &["--stride", "4"]);
    assert_eq!((books.frames.measured, books.frames.skipped), (19, 56));
}

/// A sink that keeps time throws late frames away, unless it was told how late they come.
#[test]
fn a_live_sink_waits_for_the_model() {
    const LATENESS: Duration = Duration::from_millis(5);
    // More than a sink forgives: the 40 ms that a frame lasts, 5 ms, and 20 that sinks allow for their own work.
    const TAKES: Duration = Duration::from_millis(90);
    let rendered = Arc::new(Mutex::new(None));
    let mut settings = run_settings(&[
        "--source",
        "test:ball?live=true&frames=100&size=320x192&fps=25",
        "--query",
        "the ball",
        "--mode",
        "freshest",
    ]);
    let told = Arc::clone(&rendered);
    settings.streams[0].output.branches.push(Branch::new(move || {
        let sink = gst::ElementFactory::make("fakesink").property("sync", true).build().expect("a core element");
        sink.set_property("max-lateness", LATENESS.as_nanos() as i64);
        let (told, weak) = (Arc::clone(&told), sink.downgrade());
        sink.static_pad("sink").expect("a pad").add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if info.event().is_some_and(|event| event.type_() == gst::EventType::Eos) {
                let stats = weak.upgrade().expect("alive").property::<gst::Structure>("stats");
                let count = |field: &str| stats.get::<u64>(field).expect("a count");
                *told.lock().expect("whole") = Some((count("rendered"), count("dropped")));
            }
            gst::PadProbeReturn::Ok
        });
        Ok(sink)
    }));
    let books = stream(&settings, Box::new(Counter { takes: TAKES }), None, true).expect("runs");
    assert!(books.boxed() > 20, "{books}");
    let (rendered, dropped) = rendered.lock().expect("whole").expect("the stream ended");
    // A frame may be on its way while the promise grows.
    assert!(dropped <= 3 && rendered > 20, "{rendered} shown, {dropped} thrown away");
}
