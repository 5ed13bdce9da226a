use std::sync::Arc;
use std::time::Instant;

use blocks::text::tokenizer::QueryTokenizer;
use candle_core::Device;
use crossbeam_channel::{Sender, bounded};
use gstreamer as gst;
use gstreamer_video as gst_video;
use qrnet::{Config, init};
use records::track::{TrackedQuery, Tracking};
use records::{Change, Query};

use super::*;

const EVERY_FRAME: StageSettings = StageSettings {
    mode: Mode::EveryFrame,
    sampling: Sampling { stride: 1, max_fps: None },
    gate: None,
    watch_cuts: false,
};

fn grounder(digest: &str) -> Grounder {
    let config = Config::from_toml(include_str!("../../configs/model/tiny.toml"), "tiny").expect("valid");
    let tensors = init::parameters(&config, 1, &Device::Cpu).expect("drawn");
    let tokenizer = QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("a tokenizer");
    qrnet::Grounder::from_tensors(&config, &tensors, tokenizer, digest.into(), &Device::Cpu).expect("builds").into()
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
        clock: records::Clock::File,
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

fn qrnet(digest: &str, of_query: &str) -> Box<dyn Ground> {
    let query = grounder(of_query).compile("cat").expect("compiles");
    Box::new(Model { grounder: Arc::new(grounder(digest)), queries: vec![vec![Arc::new(query)]] })
}

/// The frames of what was delivered, in order.
fn frames(output: &Receiver<StreamItems>) -> Vec<GroundedFrame> {
    let frames = output.iter().flatten().map(|passing| match passing {
        StreamItem::Frame(frame) => *frame,
        StreamItem::Event(note) => panic!("nobody said {note:?}"),
    });
    frames.collect()
}

/// Feeds `count` frames and collects the results in order.
fn feed((stage, stream): (Stage, Stream), count: u64) -> Vec<GroundedFrame> {
    let Stream { input, output } = stream;
    let feeder = std::thread::spawn(move || {
        let (_running, stopped) = bounded(0);
        (0..count).for_each(|seq| input.push(frame(seq), &stopped).expect("taken"));
    });
    let results = frames(&output);
    feeder.join().expect("fed");
    for thread in stage.into_threads() {
        thread.join().expect("no panic gets out");
    }
    results
}

#[test]
fn every_frame_leaves_once_and_in_order() {
    let model = qrnet("a", "a");
    let stage = start(model, EVERY_FRAME, |reason| panic!("no failure: {reason}"));
    let results = feed(stage, 40);
    assert_eq!(results.iter().map(|v| v.frame.seq).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    assert!(results.iter().all(|v| matches!(v.outcome, Outcome::Measured { .. })));
    assert!(results.iter().all(|v| v.grounding > Duration::ZERO));
}

#[test]
fn a_failing_model_is_reported_once_and_loses_no_frame() {
    // A query of another model is what makes this one fail on every frame.
    let model = qrnet("b", "a");
    let (report, reports) = bounded(10);
    let stage = start(model, EVERY_FRAME, move |reason| report.send(reason).expect("taken"));
    let results = feed(stage, 20);
    assert_eq!(results.len(), 20);
    assert!(matches!(&results[0].outcome, Outcome::Error { cause: "model", .. }));
    assert!(
        results[1..].iter().all(|v| v.outcome == Outcome::Dropped { cause: "shutdown" }),
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
    let results = feed(stage, 30);
    assert_eq!(results.len(), 30);
    assert!(results.iter().all(|v| v.outcome == Outcome::Dropped { cause: "shutdown" }));
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
    input.push(short, &stopped).expect("taken");
    input.push(frame(1), &stopped).expect("taken");
    drop(input);
    let results = frames(&output);
    assert!(matches!(&results[0].outcome, Outcome::Error { cause: "picture", message } if message.contains("mapped")));
    assert!(matches!(&results[1].outcome, Outcome::Measured { .. }), "the next frame is grounded");
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
    fn canvas(&self) -> grounding::Canvas {
        grounding::Canvas { width: 64, height: 64 }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        self.begun.send(()).expect("heard");
        self.go.recv().expect("allowed");
        Ok(jobs.iter().map(|_| one_box(Rect { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 }, None)).collect())
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
    input.push(frame(0), &stopped).expect("taken");
    has_begun.recv().expect("frame 0 is with the model");
    // Nobody takes from here on but the preparing thread, which holds at most two frames; offering never blocks.
    (1..100).for_each(|seq| input.push(frame(seq), &stopped).expect("taken"));
    drop(input);
    let collected = std::thread::spawn(move || frames(&output));
    allow.send(()).expect("waits");
    while has_begun.recv().is_ok() {
        allow.send(()).expect("waits");
    }
    let results = collected.join().expect("collected");
    assert_eq!(
        results.iter().map(|v| v.frame.seq).collect::<Vec<_>>(),
        (0..100).collect::<Vec<_>>(),
        "the books close"
    );
    let measured: Vec<u64> =
        results.iter().filter(|v| matches!(v.outcome, Outcome::Measured { .. })).map(|v| v.frame.seq).collect();
    assert_eq!(measured, [0, 99], "the newest is looked at, and nothing that was older when the model was free");
    let dropped = results.iter().filter(|v| v.outcome == Outcome::Dropped { cause: "overload" });
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
    let results = feed(stage, 7);
    let skipped = |v: &GroundedFrame| v.outcome == Outcome::Skipped { cause: "stride" };
    assert_eq!(results.iter().map(skipped).collect::<Vec<_>>(), [false, true, true, false, true, true, false]);
    assert!(results.iter().all(|v| v.frame.buffer.size() > 0));
}

/// A flash that falls on a frame left out by the stride makes two cuts: what was seen before them stands for nothing.
/// From here on the stream is asked this alone.
fn asks(text: &str, rev: u32) -> StreamEvent {
    let query = Query { name: "it".into(), text: text.into(), rev };
    let tracked = TrackedQuery { query, tracking: Tracking::plain(None) };
    let active =
        Arc::new(ActiveQuery { tracked, compiled: None, sighting: crate::sightings::QuerySighting::default() });
    StreamEvent::Queries(Arc::new(QueryUpdate {
        queries: [Arc::clone(&active)].into(),
        changes: vec![(Change::Changed, active)],
    }))
}

/// The box that a frame was measured to have.
fn rect(outcome: &Outcome) -> Option<Rect> {
    match outcome {
        Outcome::Measured(findings) => findings[0].best().map(|best| best.rect),
        _ => None,
    }
}

#[test]
fn a_still_scene_is_measured_again_after_a_cut() {
    let settings = StageSettings {
        sampling: Sampling { stride: 3, max_fps: None },
        gate: Some(StaticGate { level: 4, recheck: 100 }),
        watch_cuts: true,
        ..EVERY_FRAME
    };
    let (stage, Stream { input, output }) = start(qrnet("a", "a"), settings, |e| panic!("no failure: {e}"));
    let feeder = std::thread::spawn(move || {
        let (_running, stopped) = bounded(0);
        for seq in 0..12 {
            let mut frame = frame(seq);
            if seq == 4 {
                frame.buffer = gst::Buffer::from_slice(vec![250; frame.info.size()]);
            }
            input.push(frame, &stopped).expect("taken");
        }
    });
    let results = frames(&output);
    feeder.join().expect("fed");
    let measured = results.iter().filter(|v| matches!(v.outcome, Outcome::Measured { .. })).map(|v| v.frame.seq);
    assert_eq!(measured.collect::<Vec<_>>(), [0, 6], "the first one after the flash, and it alone");
    assert_eq!(results.iter().filter(|v| v.cut).map(|v| v.frame.seq).collect::<Vec<_>>(), [4, 5]);
    for thread in stage.into_threads() {
        thread.join().expect("no panic");
    }
}

#[test]
fn a_still_scene_is_measured_again_where_something_else_is_asked_or_time_has_passed() {
    for mode in [Mode::EveryFrame, Mode::Freshest] {
        let gate = Some(StaticGate { level: 4, recheck: 8 });
        let (stage, Stream { input, output }) =
            start(qrnet("a", "a"), StageSettings { mode, gate, ..EVERY_FRAME }, |e| panic!("no failure: {e}"));
        let (_running, stopped) = bounded(0);
        let (mut results, mut notes) = (Vec::new(), 0);
        for seq in 0..20 {
            if seq == 3 {
                input.push_event(asks("a dog", 2), &stopped).expect("taken");
            }
            input.push(frame(seq), &stopped).expect("taken");
            // One by one, so that none is overtaken.
            while results.len() as u64 <= seq {
                for passing in output.recv().expect("delivered") {
                    match passing {
                        StreamItem::Frame(grounded) => results.push(*grounded),
                        StreamItem::Event(_) => notes += 1,
                    }
                }
            }
        }
        drop(input);
        let measured = results.iter().filter(|v| matches!(v.outcome, Outcome::Measured { .. })).map(|v| v.frame.seq);
        assert_eq!((measured.collect::<Vec<_>>(), notes), (vec![0, 3, 11, 19], 1), "{mode:?}");
        let skipped = results.iter().filter(|v| v.outcome == Outcome::Skipped { cause: "static" });
        assert!(skipped.clone().all(|v| v.frame.buffer.size() > 0), "they are forwarded");
        assert_eq!(skipped.count(), 16, "{mode:?}");
        for thread in stage.into_threads() {
            thread.join().expect("no panic");
        }
    }
}

/// A model that notes which streams it was asked for together, and takes its time.
struct Noting {
    takes: Duration,
    calls: Sender<Vec<usize>>,
}

impl Ground for Noting {
    fn canvas(&self) -> grounding::Canvas {
        grounding::Canvas { width: 64, height: 64 }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        std::thread::sleep(self.takes);
        self.calls.send(jobs.iter().map(|job| job.stream).collect()).expect("heard");
        // The answer says whose it is.
        let answer = |job: &Job| one_box(Rect { x0: job.stream as f64, y0: 0.0, x1: 60.0, y1: 1.0 }, None);
        Ok(jobs.iter().map(answer).collect())
    }
}

const ENOUGH: usize = 10_000;

fn many(count: usize, mode: Mode, batching: Batching, takes: Duration) -> (Stage, Vec<Stream>, Receiver<Vec<usize>>) {
    let (calls, heard) = bounded(ENOUGH);
    let settings = vec![StageSettings { mode, ..EVERY_FRAME }; count];
    let model = Box::new(Noting { takes, calls });
    let failed = |reason| panic!("no failure: {reason}");
    let (stage, streams) = Stage::start(model, &settings, batching, failed).expect("starts");
    (stage, streams, heard)
}

/// Feeds every stream its own number of frames, and takes what comes out.
fn feed_all(stage: Stage, streams: Vec<Stream>, counts: &[u64]) -> Vec<Vec<GroundedFrame>> {
    let all_ready = Arc::new(std::sync::Barrier::new(streams.len()));
    let feeders: Vec<_> = streams
        .into_iter()
        .zip(counts)
        .map(|(Stream { input, output }, count)| {
            let (count, ready) = (*count, Arc::clone(&all_ready));
            let feeder = std::thread::spawn(move || {
                let (_running, stopped) = bounded(0);
                ready.wait();
                (0..count).for_each(|seq| input.push(frame(seq), &stopped).expect("taken"));
            });
            (feeder, std::thread::spawn(move || frames(&output)))
        })
        .collect();
    let results = feeders.into_iter().map(|(feeder, taker)| {
        feeder.join().expect("fed");
        taker.join().expect("taken")
    });
    let results = results.collect();
    stage.into_threads().into_iter().for_each(|thread| thread.join().expect("no panic"));
    results
}

#[test]
fn every_stream_gets_its_own_answers_and_a_fair_share() {
    let (stage, streams, calls) =
        many(4, Mode::EveryFrame, Batching { max_size: 1, timeout: Duration::ZERO }, Duration::from_millis(2));
    let results = feed_all(stage, streams, &[400, 100, 100, 100]);
    for (stream, results) in results.iter().enumerate() {
        assert_eq!(results.len(), if stream == 0 { 400 } else { 100 });
        let own = |v: &GroundedFrame| rect(&v.outcome).is_some_and(|rect| rect.x0 as usize == stream);
        assert!(results.iter().all(own), "stream {stream} got another's answer");
    }
    // While all have frames waiting, the one with four times as many gets no more than the others.
    let calls: Vec<usize> = calls.iter().flatten().skip(40).take(240).collect();
    for stream in 0..4 {
        let share = calls.iter().filter(|call| **call == stream).count();
        assert!((54..=66).contains(&share), "stream {stream} got {share} of 240");
    }
}

#[test]
fn frames_that_wait_together_are_grounded_together() {
    let batching = Batching { max_size: 3, timeout: Duration::ZERO };
    let (stage, streams, calls) = many(4, Mode::EveryFrame, batching, Duration::from_millis(5));
    feed_all(stage, streams, &[40, 40, 40, 40]);
    let calls: Vec<Vec<usize>> = calls.iter().collect();
    assert!(calls.iter().all(|call| call.len() <= 3));
    for call in &calls {
        let distinct: std::collections::HashSet<_> = call.iter().collect();
        assert_eq!(distinct.len(), call.len(), "one frame of each stream: {call:?}");
    }
    let full = calls.iter().filter(|call| call.len() == 3).count();
    assert!(full > 30, "{full} of {} calls were full", calls.len());
}

#[test]
fn a_frame_waits_for_others_as_long_as_it_may() {
    let batching = Batching { max_size: 2, timeout: Duration::from_mins(1) };
    let (stage, mut streams, calls) = many(2, Mode::Freshest, batching, Duration::ZERO);
    let (_running, stopped) = bounded(0);
    let second = streams.pop().expect("two");
    let first = streams.pop().expect("two");
    first.input.push(frame(0), &stopped).expect("taken");
    assert!(calls.recv_timeout(Duration::from_millis(300)).is_err(), "the first waits");
    second.input.push(frame(0), &stopped).expect("taken");
    let mut call = calls.recv().expect("grounded");
    call.sort_unstable();
    assert_eq!(call, [0, 1]);
    // Nobody is left to wait for.
    drop(second);
    first.input.push(frame(1), &stopped).expect("taken");
    assert_eq!(calls.recv().expect("grounded"), [0]);
    drop(first);
    stage.into_threads().into_iter().for_each(|thread| thread.join().expect("no panic"));
}

#[test]
fn a_stream_that_nobody_takes_from_does_not_hold_up_the_others() {
    let batching = Batching { max_size: 4, timeout: Duration::ZERO };
    let (stage, mut streams, _calls) = many(2, Mode::EveryFrame, batching, Duration::ZERO);
    let Stream { input, output: nobodys } = streams.remove(0);
    let stuck = std::thread::spawn(move || {
        let (_running, stopped) = bounded(0);
        (0..50).for_each(|seq| _ = input.push(frame(seq), &stopped));
    });
    let Stream { input, output } = streams.remove(0);
    let taken = std::thread::spawn(move || frames(&output));
    let (_running, stopped) = bounded(0);
    (0..200).for_each(|seq| input.push(frame(seq), &stopped).expect("taken"));
    drop(input);
    assert_eq!(taken.join().expect("taken").len(), 200);
    drop(nobodys);
    stuck.join().expect("let go");
    stage.into_threads().into_iter().for_each(|thread| thread.join().expect("no panic"));
}

fn gap() -> StreamEvent {
    StreamEvent::GapRetry { attempt: 7, fault: crate::source::Fault::of_test() }
}

/// What is overtaken, left out or said in between keeps its place, also while the model is busy.
#[test]
fn notes_and_skipped_frames_keep_their_place() {
    let (begun, has_begun) = bounded(0);
    let (allow, go) = bounded(0);
    let sampling = Sampling { stride: 3, max_fps: None };
    let settings = StageSettings { mode: Mode::Freshest, sampling, ..EVERY_FRAME };
    let (stage, Stream { input, output }) =
        start(Box::new(Gated { begun, go }), settings, |e| panic!("no failure: {e}"));
    let (_running, stopped) = bounded(0);
    input.push(frame(0), &stopped).expect("taken");
    has_begun.recv().expect("frame 0 is with the model");
    // 1 and 2 are left out, 3 is overtaken by 6, with a note on either side of it.
    for seq in 1..=2 {
        input.push(frame(seq), &stopped).expect("taken");
    }
    input.push_event(gap(), &stopped).expect("taken");
    input.push(frame(3), &stopped).expect("taken");
    input.push_event(gap(), &stopped).expect("taken");
    for seq in 4..=8 {
        input.push(frame(seq), &stopped).expect("taken");
    }
    input.push_event(gap(), &stopped).expect("taken");
    drop(input);
    let taker = std::thread::spawn(move || output.iter().flatten().collect::<Vec<StreamItem>>());
    allow.send(()).expect("waits");
    while has_begun.recv().is_ok() {
        allow.send(()).expect("waits");
    }
    let came: Vec<String> = taker
        .join()
        .expect("taken")
        .iter()
        .map(|passing| match passing {
            StreamItem::Event(_) => "note".into(),
            StreamItem::Frame(grounded) => {
                let what = match &grounded.outcome {
                    Outcome::Measured { .. } => "measured",
                    Outcome::Skipped { .. } => "skipped",
                    Outcome::Dropped { .. } => "dropped",
                    Outcome::Error { .. } => "error",
                };
                assert_eq!(
                    grounded.frame.buffer.size() == 0,
                    what == "dropped",
                    "only the dropped give back their memory"
                );
                format!("{} {what}", grounded.frame.seq)
            }
        })
        .collect();
    // Of six that are left out, the oldest two make room: four pictures may wait.
    let expected = [
        "0 measured",
        "1 dropped",
        "2 dropped",
        "note",
        "3 dropped",
        "note",
        "4 skipped",
        "5 skipped",
        "6 measured",
        "7 skipped",
        "8 skipped",
        "note",
    ];
    assert_eq!(came, expected);
    stage.into_threads().into_iter().for_each(|thread| thread.join().expect("no panic"));
}

/// Answers with a box as wide as what it was asked is long.
struct Listening(usize);

impl Ground for Listening {
    fn canvas(&self) -> Canvas {
        Canvas { width: 64, height: 64 }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        Ok(jobs.iter().map(|_| one_box(Rect { x0: 0.0, y0: 0.0, x1: self.0 as f64, y1: 1.0 }, None)).collect())
    }

    fn set_queries(&mut self, _stream: usize, queries: &[Arc<ActiveQuery>]) {
        self.0 = queries[0].tracked.query.text.len();
    }
}

/// A new query counts from the frame behind it on, in both modes, and wherever the frames wait.
#[test]
fn a_question_is_asked_from_the_next_frame_on() {
    for mode in [Mode::EveryFrame, Mode::Freshest] {
        let settings = StageSettings { mode, ..EVERY_FRAME };
        let (stage, Stream { input, output }) = start(Box::new(Listening(0)), settings, |e| panic!("no failure: {e}"));
        let feeder = std::thread::spawn(move || {
            let (_running, stopped) = bounded(0);
            for seq in 0..300u32 {
                if seq % 7 == 3 {
                    let text = "x".repeat(seq as usize);
                    input.push_event(asks(&text, seq), &stopped).expect("taken");
                }
                input.push(frame(u64::from(seq)), &stopped).expect("taken");
            }
        });
        let (mut asked, mut next, mut measured) = (0, 0, 0);
        for passing in output.iter().flatten() {
            match passing {
                StreamItem::Event(StreamEvent::Queries(update)) => {
                    let query = &update.queries[0].tracked.query;
                    assert_eq!(u64::from(query.rev), next, "it keeps its place");
                    asked = query.text.len();
                }
                StreamItem::Event(note) => panic!("nobody said {note:?}"),
                StreamItem::Frame(grounded) => {
                    assert_eq!(grounded.frame.seq, next);
                    next += 1;
                    if let Some(rect) = rect(&grounded.outcome) {
                        assert!((rect.width() - asked as f64).abs() < 1e-9, "frame {} in {mode:?}", grounded.frame.seq);
                        measured += 1;
                    }
                }
            }
        }
        assert!(next == 300 && measured > 0, "{measured} of {next}");
        feeder.join().expect("fed");
        stage.into_threads().into_iter().for_each(|thread| thread.join().expect("no panic"));
    }
}
