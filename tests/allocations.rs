//! What a run allocates once it is under way: nothing large, and no more from frame to frame, however many queries its
//! streams have.
//!
//! A program of its own, because it counts every allocation of the process. Those of the C libraries are not among them;
//! the benches watch the memory of the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blocks::preprocess::{Letterboxer, RgbView};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::Device;
use clap::Parser;
use grounding::{Canvas, CompiledQuery, Grounder};
use qrnet::{Config, init};
use spotter::cli::{Cli, Verb};
use spotter::config::RunSettings;
use spotter::run::stream;
use spotter::stage::{ActiveQuery, Answer, Ground, Job, Model};

/// Counts what passes.
struct Counting;

/// Allocations of at least [`LARGE`] bytes.
static LARGE_ONES: AtomicU64 = AtomicU64::new(0);
/// Bytes that were ever allocated.
static ALL: AtomicU64 = AtomicU64::new(0);
/// Bytes that are allocated now.
static LIVE: AtomicI64 = AtomicI64::new(0);

const LARGE: usize = 1_000_000;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(size: usize) {
    ALL.fetch_add(size as u64, Ordering::Relaxed);
    LIVE.fetch_add(size as i64, Ordering::Relaxed);
    if size >= LARGE {
        LARGE_ONES.fetch_add(1, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator's methods are")]
// SAFETY: what the system's allocator promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        count(size);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Tests run one after the other: what another one allocates would be counted too.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls of the model until the run is under way.
const WARM: usize = 40;
/// Frames of a stream.
const FRAMES: usize = 150;

/// A model that looks at the counters before every call.
struct Watched {
    model: Model,
    seen: Arc<Mutex<Vec<(u64, i64)>>>,
    /// Whether all streams' pictures came together, so that buffers are as large as they get.
    together: bool,
}

impl Ground for Watched {
    fn canvas(&self) -> Canvas {
        self.model.canvas()
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        if self.together {
            let now = (LARGE_ONES.load(Ordering::Relaxed), LIVE.load(Ordering::Relaxed));
            self.seen.lock().expect("not poisoned").push(now);
        }
        self.together |= jobs.len() == self.model.queries.len();
        self.model.ground(jobs)
    }

    fn set_queries(&mut self, stream: usize, questions: &[Arc<ActiveQuery>]) {
        self.model.set_queries(stream, questions);
    }
}

/// Few channels on a large canvas: weights are small then, and every map of the model has megabytes. Gates are as wide as
/// the channels over `reduction`.
fn grounder(reduction: usize) -> Grounder {
    let mut config = Config::from_toml(include_str!("../configs/model/tiny.toml"), "tiny").expect("valid");
    config.canvas = Canvas { width: 640, height: 640 };
    config.presence = true;
    config.qdatt.reduction_ratio = reduction;
    config.validate("test").expect("fits");
    let tensors = init::parameters(&config, 1, &Device::Cpu).expect("drawn");
    let tokenizer = QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("a tokenizer");
    qrnet::Grounder::from_tensors(&config, &tensors, tokenizer, "test".into(), &Device::Cpu).expect("builds").into()
}

/// Equal sentences are compiled once, as a run does it.
fn model(grounder: Grounder, queries: &[&[&str]]) -> Model {
    let compile = |text: &'static str| (text, Arc::new(grounder.compile(text).expect("compiles")));
    let compiled: HashMap<&str, Arc<CompiledQuery>> = ["a", "b", "c", "d"].map(compile).into();
    let of_stream = |texts: &&[&str]| texts.iter().map(|text| Arc::clone(&compiled[text])).collect::<Vec<_>>();
    let queries = queries.iter().map(of_stream).collect();
    Model { grounder: Arc::new(grounder), queries }
}

/// Runs streams that are asked these queries, and watches what they allocate.
fn watch(queries: &[&[&str]]) {
    const PATTERNS: [&str; 2] = ["ball", "smpte"];
    gstreamer::init().expect("GStreamer starts");
    let scratch = tempfile::tempdir().expect("a folder");
    let out = |name: &str| scratch.path().join(name).display().to_string();
    let mut text = String::new();
    for (pattern, queries) in PATTERNS.iter().zip(queries) {
        let source = format!("test:{pattern}?frames={FRAMES}&size=1280x720&fps=30");
        let _ = writeln!(text, "[[stream]]\nid = \"{pattern}\"\nsource = \"{source}\"");
        for query in *queries {
            let _ = writeln!(text, "[[stream.query]]\ntext = \"{query}\"");
        }
    }
    let streams = out("test.streams");
    std::fs::write(&streams, text).expect("written");
    let (records, video) = (format!("jsonl:{}", out("{source}.jsonl")), format!("mkv:{}", out("{source}.mkv")));
    let flags = ["spotter", "run", "--source", &streams, "--out", &records, "--out", &video];
    let Verb::Run(args) = Cli::parse_from(flags).verb else { unreachable!("run was typed") };
    let settings = RunSettings::resolve(*args).expect("valid");
    let (model, seen) = (model(grounder(16), queries), Arc::default());
    let watched = Watched { model, seen: Arc::clone(&seen), together: queries.len() == 1 };
    let books = stream(&settings, Box::new(watched), Some(0.5), true).expect("runs");
    let questions: usize = queries.iter().map(|queries| FRAMES * queries.len()).sum();
    assert_eq!(books.boxed() + books.absent(), questions as u64, "{books:?}");

    let seen = seen.lock().expect("not poisoned");
    assert!(seen.len() >= 120, "{queries:?}: {} calls", seen.len());
    let (warm, last) = (seen[WARM], seen[seen.len() - 1]);
    assert!(warm.0 > 10, "the counter counts: {} large allocations before", warm.0);
    assert_eq!(last.0, warm.0, "{queries:?}: large allocations after call {WARM}");
    // What frames hold comes and goes; what stays shows in the lowest points.
    let lowest = |part: &[(u64, i64)]| part.iter().map(|(_, live)| *live).min().unwrap_or_default();
    // Near the end, streams that are done let go of what they have.
    let rest = &seen[WARM..seen.len() - 30];
    let (first, second) = rest.split_at(rest.len() / 2);
    let growth = lowest(second) - lowest(first);
    assert!(growth < 16 << 10, "{queries:?}: {growth} bytes more in the second half");
}

#[test]
fn a_run_under_way_allocates_nothing_large_and_does_not_grow() {
    let _alone = alone();
    watch(&[&["a"], &["a"]]);
}

#[test]
fn nor_does_one_of_several_queries() {
    let _alone = alone();
    watch(&[&["a", "b", "c"]]);
}

#[test]
fn nor_do_streams_with_queries_of_their_own() {
    let _alone = alone();
    watch(&[&["a", "b"], &["c"]]);
}

/// Of the other family: what a frame needs stays from call to call, the picture without its padding too.
#[test]
fn a_call_of_grounding_dino_allocates_next_to_nothing() {
    const CALLS: u64 = 10;
    /// A call's answers, and what is said of tasks to other threads.
    const LEAST: u64 = 100_000;
    let _alone = alone();
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/grounding-dino/tests/fixtures/idea-7");
    let grounder = Grounder::load(&dir, &Device::Cpu).expect("a model");
    let queries = ["a red car", "the left dog", "cats"].map(|text| grounder.compile(text).expect("compiles"));
    let queries: Vec<&CompiledQuery> = queries.iter().collect();
    let rgb = vec![90; 3 * 128 * 72];
    let view = RgbView::new(128, 72, 3 * 128, &rgb).expect("a picture");
    // With bars above and below.
    let picture = Letterboxer::default().letterbox(&view, Canvas { width: 640, height: 640 }).expect("letterboxed");
    assert!(picture.transform.top > 0, "{:?}", picture.transform);
    let calls = |count: u64| {
        let before = (ALL.load(Ordering::Relaxed), LARGE_ONES.load(Ordering::Relaxed));
        (0..count).for_each(|_| drop(grounder.ground(&[&picture], &queries).expect("grounds")));
        (ALL.load(Ordering::Relaxed) - before.0, LARGE_ONES.load(Ordering::Relaxed) - before.1)
    };
    assert!(calls(3).1 > 1, "the counter counts: maps of megabytes are made once");
    let (bytes, large) = calls(CALLS);
    assert!(large == 0 && bytes / CALLS < LEAST, "a call allocates {} bytes, {large} large ones in all", bytes / CALLS);
}

/// What the model takes of several queries lies side by side; that is made once, and not for every frame.
#[test]
fn a_call_copies_no_query() {
    const CALLS: u64 = 10;
    const CASES: [&[&[&str]]; 2] = [&[&["a", "b", "c", "d"]], &[&["a", "b"], &["c", "d"]]];
    let _alone = alone();
    let scratch = tempfile::tempdir().expect("a folder");
    let rgb = vec![90; 3 * 64 * 64];
    let view = RgbView::new(64, 64, 3 * 64, &rgb).expect("a picture");
    let picture = Letterboxer::default().letterbox(&view, Canvas { width: 640, height: 640 }).expect("letterboxed");
    for queries in CASES {
        // Wide gates, so that a copy of them shows.
        let mut model = model(grounder(1), queries);
        let size = |(place, query): (usize, &Arc<CompiledQuery>)| {
            let file = scratch.path().join(place.to_string());
            query.save(&file).expect("saved");
            std::fs::metadata(file).expect("is there").len()
        };
        let whole: u64 = model.queries.iter().flatten().enumerate().map(size).sum();
        let jobs: Vec<Job> = (0..queries.len()).map(|stream| Job { stream, picture: &picture }).collect();
        let mut calls = |count: u64| {
            let before = ALL.load(Ordering::Relaxed);
            (0..count).for_each(|_| drop(model.ground(&jobs).expect("grounds")));
            ALL.load(Ordering::Relaxed) - before
        };
        calls(3);
        let of_each = calls(CALLS) / CALLS;
        assert!(of_each < whole / 4, "{queries:?}: a call allocates {of_each} bytes for queries of {whole}");
    }
}
