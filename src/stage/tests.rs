use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use crossbeam_channel::bounded;
use gstreamer as gst;
use gstreamer_video as gst_video;
use qrnet::text::tokenizer::QueryTokenizer;
use qrnet::{Config, Grounder, init};

use super::*;

fn grounder(digest: &str) -> Grounder {
    let config = Config::from_toml(include_str!("../../configs/model/tiny.toml"), "tiny").expect("valid");
    let tensors = init::parameters(&config, 1, &Device::Cpu).expect("drawn");
    let tokenizer = QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("a tokenizer");
    Grounder::from_tensors(&config, &tensors, tokenizer, digest.into(), &Device::Cpu).expect("builds")
}

fn frame(seq: u64) -> Frame {
    gst::init().expect("GStreamer starts");
    let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 64, 48).build().expect("a format");
    Frame {
        seq,
        buffer: gst::Buffer::from_slice(vec![100; info.size()]),
        info: Arc::new(info),
        rotation: 0,
        stream_time: None,
        running_time: None,
        arrived: Instant::now(),
    }
}

/// Feeds `count` frames and collects the verdicts in order.
fn feed(stage: Stage, count: u64) -> Vec<Grounded> {
    let (input, output) = (stage.input.clone(), stage.output.clone());
    let feeder = std::thread::spawn(move || (0..count).for_each(|seq| input.send(frame(seq)).expect("taken")));
    let threads = stage.into_threads();
    let verdicts: Vec<Grounded> = output.iter().collect();
    feeder.join().expect("fed");
    for thread in threads {
        thread.join().expect("no panic gets out");
    }
    verdicts
}

#[test]
fn every_frame_leaves_once_and_in_order() {
    let model = grounder("a");
    let query = model.compile("cat").expect("compiles");
    let grounding = Grounding { grounder: Arc::new(model), query, threshold: None };
    let stage = Stage::start(grounding, |reason| panic!("no failure: {reason}")).expect("starts");
    let verdicts = feed(stage, 40);
    assert_eq!(verdicts.iter().map(|v| v.frame.seq).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    assert!(verdicts.iter().all(|v| matches!(v.outcome, Outcome::Box { .. })));
    assert!(verdicts.iter().all(|v| v.grounding > Duration::ZERO));
}

#[test]
fn a_failing_model_is_reported_once_and_loses_no_frame() {
    let query = grounder("a").compile("cat").expect("compiles");
    // A query of another model is what makes this one fail on every frame.
    let grounding = Grounding { grounder: Arc::new(grounder("b")), query, threshold: None };
    let (report, reports) = bounded(10);
    let stage = Stage::start(grounding, move |reason| report.send(reason).expect("taken")).expect("starts");
    let verdicts = feed(stage, 20);
    assert_eq!(verdicts.len(), 20);
    assert!(matches!(&verdicts[0].outcome, Outcome::Error { cause: "model", .. }));
    assert!(
        verdicts[1..].iter().all(|v| v.outcome == Outcome::Dropped { cause: "shutdown" }),
        "nothing is tried after that"
    );
    let reasons: Vec<String> = reports.iter().collect();
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].contains("compiled for model a, but this model is b"), "{}", reasons[0]);
}

#[test]
fn a_stopped_stage_lets_the_rest_through_unmeasured() {
    let model = grounder("a");
    let query = model.compile("cat").expect("compiles");
    let grounding = Grounding { grounder: Arc::new(model), query, threshold: None };
    let stage = Stage::start(grounding, |reason| panic!("no failure: {reason}")).expect("starts");
    stage.stopper()();
    let verdicts = feed(stage, 30);
    assert_eq!(verdicts.len(), 30);
    assert!(verdicts.iter().all(|v| v.outcome == Outcome::Dropped { cause: "shutdown" }));
}

#[test]
fn a_frame_that_cannot_be_read_is_an_error_of_its_own() {
    let model = grounder("a");
    let query = model.compile("cat").expect("compiles");
    let grounding = Grounding { grounder: Arc::new(model), query, threshold: None };
    let stage = Stage::start(grounding, |reason| panic!("no failure of the model: {reason}")).expect("starts");
    let (input, output) = (stage.input.clone(), stage.output.clone());
    let threads = stage.into_threads();
    let mut short = frame(0);
    short.buffer = gst::Buffer::from_slice(vec![0; 10]);
    input.send(short).expect("taken");
    input.send(frame(1)).expect("taken");
    drop(input);
    let verdicts: Vec<Grounded> = output.iter().collect();
    assert!(matches!(&verdicts[0].outcome, Outcome::Error { cause: "picture", message } if message.contains("mapped")));
    assert!(matches!(&verdicts[1].outcome, Outcome::Box { .. }), "the next frame is grounded");
    for thread in threads {
        thread.join().expect("no panic");
    }
}
