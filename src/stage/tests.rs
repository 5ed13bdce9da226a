use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use crossbeam_channel::bounded;
use gstreamer as gst;
use gstreamer_video as gst_video;
use qrnet::text::tokenizer::QueryTokenizer;
use qrnet::{Config, Grounder, init};

use super::*;

const EVERY_FRAME: StageSettings =
    StageSettings { mode: Mode::EveryFrame, sampling: Sampling { stride: 1, max_fps: None }, watch_cuts: false };

fn grounder(digest: &str) -> Grounder {
    let config = Config::from_toml(include_str!("../../configs/model/tiny.toml"), "tiny").expect("valid");
    let tensors = init::parameters(&config, 1, &Device::Cpu).expect("drawn");
    let tokenizer = QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("a tokenizer");
    Grounder::from_tensors(&config, &tensors, tokenizer, digest.into(), &Device::Cpu).expect("builds")
}

pub(super) fn frame(seq: u64) -> Frame {
    gst::init().expect("GStreamer starts");
    let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 64, 48).build().expect("a format");
    Frame {
        seq,
        buffer: gst::Buffer::from_slice(vec![100; info.size()]),
        info: Arc::new(info),
        rotation: 0,
        captured: None,
        clock: crate::record::Clock::File,
        connection: 1,
        corrupt: false,
        damaged: false,
        stream_time: None,
        running_time: None,
        arrived: Instant::now(),
    }
}

/// A stage with one stream.
fn start(
    model: Box<dyn Ground>,
    settings: StageSettings,
    failed: impl FnOnce(String) + Send + 'static,
) -> (Stage, Stream) {
    let (stage, mut streams) = Stage::start(model, &[settings], Batching::default(), failed).expect("starts");
    (stage, streams.remove(0))
}

fn qrnet(digest: &str, of_query: &str) -> Box<Model> {
    let query = grounder(of_query).compile("cat").expect("compiles");
    Box::new(Model { grounder: grounder(digest), queries: vec![Arc::new(query)] })
}

/// The frames of what was delivered, in order.
fn frames(output: &Receiver<Delivered>) -> Vec<Grounded> {
    let frames = output.iter().flatten().map(|passing| match passing {
        Passing::Frame(frame) => *frame,
        Passing::Note(note) => panic!("nobody said {note:?}"),
    });
    frames.collect()
}

/// Feeds `count` frames and collects the verdicts in order.
fn feed((stage, stream): (Stage, Stream), count: u64) -> Vec<Grounded> {
    let Stream { input, output } = stream;
    let feeder = std::thread::spawn(move || {
        let (_running, stopped) = bounded(0);
        (0..count).for_each(|seq| input.offer(frame(seq), &stopped).expect("taken"));
    });
    let verdicts = frames(&output);
    feeder.join().expect("fed");
    for thread in stage.into_threads() {
        thread.join().expect("no panic gets out");
    }
    verdicts
}

#[test]
fn every_frame_leaves_once_and_in_order() {
    let model = qrnet("a", "a");
    let stage = start(model, EVERY_FRAME, |reason| panic!("no failure: {reason}"));
    let verdicts = feed(stage, 40);
    assert_eq!(verdicts.iter().map(|v| v.frame.seq).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    assert!(verdicts.iter().all(|v| matches!(v.outcome, Outcome::Measured { .. })));
    assert!(verdicts.iter().all(|v| v.grounding > Duration::ZERO));
}

#[test]
fn a_failing_model_is_reported_once_and_loses_no_frame() {
    // A query of another model is what makes this one fail on every frame.
    let model = qrnet("b", "a");
    let (report, reports) = bounded(10);
    let stage = start(model, EVERY_FRAME, move |reason| report.send(reason).expect("taken"));
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
    let model = qrnet("a", "a");
    let stage = start(model, EVERY_FRAME, |reason| panic!("no failure: {reason}"));
    stage.0.stopper()();
    let verdicts = feed(stage, 30);
    assert_eq!(verdicts.len(), 30);
    assert!(verdicts.iter().all(|v| v.outcome == Outcome::Dropped { cause: "shutdown" }));
}

#[test]
fn a_frame_that_cannot_be_read_is_an_error_of_its_own() {
    let model = qrnet("a", "a");
    let stage = start(model, EVERY_FRAME, |reason| panic!("no failure of the model: {reason}"));
    let (stage, Stream { input, output }) = stage;
    let threads = stage.into_threads();
    let (_running, stopped) = bounded(0);
    let mut short = frame(0);
    short.buffer = gst::Buffer::from_slice(vec![0; 10]);
    input.offer(short, &stopped).expect("taken");
    input.offer(frame(1), &stopped).expect("taken");
    drop(input);
    let verdicts = frames(&output);
    assert!(matches!(&verdicts[0].outcome, Outcome::Error { cause: "picture", message } if message.contains("mapped")));
    assert!(matches!(&verdicts[1].outcome, Outcome::Measured { .. }), "the next frame is grounded");
    for thread in threads {
        thread.join().expect("no panic");
    }
}

/// A model that says when it has begun and waits until it is allowed to go on.
struct Gated {
    begun: crossbeam_channel::Sender<()>,
    go: Receiver<()>,
}

impl Ground for Gated {
    fn canvas(&self) -> qrnet::Canvas {
        qrnet::Canvas { width: 64, height: 64 }
    }

    fn ground(&mut self, jobs: &[Job]) -> qrnet::Result<Vec<Answer>> {
        self.begun.send(()).expect("heard");
        self.go.recv().expect("allowed");
        Ok(jobs.iter().map(|_| (Rect { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 }, None)).collect())
    }
}

#[test]
fn the_freshest_frame_wins_and_the_overtaken_are_told_in_order() {
    let (begun, has_begun) = bounded(0);
    let (allow, go) = bounded(0);
    let settings = StageSettings { mode: Mode::Freshest, ..EVERY_FRAME };
    let stage = start(Box::new(Gated { begun, go }), settings, |e| panic!("no failure: {e}"));
    let (stage, Stream { input, output }) = stage;
    let threads = stage.into_threads();
    let (_running, stopped) = bounded(0);
    input.offer(frame(0), &stopped).expect("taken");
    has_begun.recv().expect("frame 0 is with the model");
    // Nobody takes from here on but the preparing thread, which holds at most two frames; offering never blocks.
    (1..100).for_each(|seq| input.offer(frame(seq), &stopped).expect("taken"));
    drop(input);
    let collected = std::thread::spawn(move || frames(&output));
    allow.send(()).expect("waits");
    while has_begun.recv().is_ok() {
        allow.send(()).expect("waits");
    }
    let verdicts = collected.join().expect("collected");
    assert_eq!(
        verdicts.iter().map(|v| v.frame.seq).collect::<Vec<_>>(),
        (0..100).collect::<Vec<_>>(),
        "the books close"
    );
    let measured: Vec<u64> =
        verdicts.iter().filter(|v| matches!(v.outcome, Outcome::Measured { .. })).map(|v| v.frame.seq).collect();
    assert!((2..=5).contains(&measured.len()), "{measured:?}");
    assert_eq!((measured[0], measured.last()), (0, Some(&99)), "the newest is looked at");
    let dropped = verdicts.iter().filter(|v| v.outcome == Outcome::Dropped { cause: "overload" });
    assert!(dropped.clone().all(|v| v.frame.buffer.size() == 0), "their memory is free");
    assert_eq!(dropped.count() + measured.len(), 100);
    for thread in threads {
        thread.join().expect("no panic");
    }
}

#[test]
fn a_stride_forwards_what_it_does_not_measure() {
    let settings = StageSettings { sampling: Sampling { stride: 3, max_fps: None }, ..EVERY_FRAME };
    let model = qrnet("a", "a");
    let stage = start(model, settings, |reason| panic!("no failure: {reason}"));
    let verdicts = feed(stage, 7);
    let skipped = |v: &Grounded| v.outcome == Outcome::Skipped { cause: "stride" };
    assert_eq!(verdicts.iter().map(skipped).collect::<Vec<_>>(), [false, true, true, false, true, true, false]);
    assert!(verdicts.iter().all(|v| v.frame.buffer.size() > 0));
}
