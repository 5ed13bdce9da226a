//! What a run allocates once it is under way: nothing large, and no more from frame to frame.
//!
//! A program of its own, because it counts every allocation of the process. Those of the C libraries are not among them;
//! the benches watch the memory of the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use blocks::text::tokenizer::QueryTokenizer;
use candle_core::Device;
use clap::Parser;
use grounding::{Canvas, Grounder};
use qrnet::{Config, init};
use spotter::cli::{Cli, Verb};
use spotter::config::RunSettings;
use spotter::run::stream;
use spotter::stage::{ActiveQuery, Answer, Ground, Job, Model};

/// Counts what passes.
struct Counting;

/// Allocations of at least [`LARGE`] bytes.
static LARGE_ONES: AtomicU64 = AtomicU64::new(0);
/// Bytes that are allocated now.
static LIVE: AtomicI64 = AtomicI64::new(0);

const LARGE: usize = 1_000_000;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(size: usize) {
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

/// Calls of the model until the run is under way.
const WARM: usize = 40;

/// A model that looks at the counters before every call.
struct Watched {
    model: Model,
    seen: Arc<std::sync::Mutex<Vec<(u64, i64)>>>,
    /// Whether both streams' pictures came together, so that buffers are as large as they get.
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
        self.together |= jobs.len() > 1;
        self.model.ground(jobs)
    }

    fn set_queries(&mut self, stream: usize, questions: &[Arc<ActiveQuery>]) {
        self.model.set_queries(stream, questions);
    }
}

/// Few channels on a large canvas: weights are small then, and every map of the model has megabytes.
fn grounder() -> Grounder {
    let mut config = Config::from_toml(include_str!("../configs/model/tiny.toml"), "tiny").expect("valid");
    config.canvas = Canvas { width: 640, height: 640 };
    config.presence = true;
    config.validate("test").expect("fits");
    let tensors = init::parameters(&config, 1, &Device::Cpu).expect("drawn");
    let tokenizer = QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("a tokenizer");
    qrnet::Grounder::from_tensors(&config, &tensors, tokenizer, "test".into(), &Device::Cpu).expect("builds").into()
}

#[test]
fn a_run_under_way_allocates_nothing_large_and_does_not_grow() {
    gstreamer::init().expect("GStreamer starts");
    let scratch = tempfile::tempdir().expect("a folder");
    let out = |name: &str| scratch.path().join(name).display().to_string();
    let (records, video) = (format!("jsonl:{}", out("{source}.jsonl")), format!("mkv:{}", out("{source}.mkv")));
    let source = |pattern| format!("test:{pattern}?frames=150&size=1280x720&fps=30");
    let flags = ["spotter", "run", "--source", &source("ball"), "--source", &source("smpte"), "--query", "a"];
    let Verb::Run(args) = Cli::parse_from(flags.into_iter().chain(["--out", &records, "--out", &video])).verb else {
        unreachable!("run was typed")
    };
    let settings = RunSettings::resolve(*args).expect("valid");
    let grounder = grounder();
    let query = Arc::new(grounder.compile("a").expect("compiles"));
    let model = Model { grounder: Arc::new(grounder), queries: vec![vec![Arc::clone(&query)], vec![query]] };
    let seen = Arc::default();
    let watched = Watched { model, seen: Arc::clone(&seen), together: false };
    let books = stream(&settings, Box::new(watched), Some(0.5), true).expect("runs");
    assert_eq!(books.boxed() + books.absent(), 300, "{books:?}");

    let seen = seen.lock().expect("not poisoned");
    assert!(seen.len() >= 120, "{} calls", seen.len());
    let (warm, last) = (seen[WARM], seen[seen.len() - 1]);
    assert!(warm.0 > 10, "the counter counts: {} large allocations before", warm.0);
    assert_eq!(last.0, warm.0, "large allocations after call {WARM}");
    // What frames hold comes and goes; what stays shows in the lowest points.
    let lowest = |part: &[(u64, i64)]| part.iter().map(|(_, live)| *live).min().unwrap_or_default();
    // Near the end, streams that are done let go of what they have.
    let rest = &seen[WARM..seen.len() - 30];
    let (first, second) = rest.split_at(rest.len() / 2);
    let growth = lowest(second) - lowest(first);
    assert!(growth < 16 << 10, "{growth} bytes more in the second half");
}
