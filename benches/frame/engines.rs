//! What can ground a frame: this crate's two paths in process, and other engines as processes of their own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blocks::pass::Pass;
use blocks::preprocess::{Letterboxed, Letterboxer, RgbView};
use candle_core::{Device, Tensor};
use qrnet::plan::CanvasPlan;
use qrnet::{CompiledQuery, Config, Grounder, ModelDir, Placement, Precision, QrNet};
use rayon::{ThreadPool, ThreadPoolBuilder};
use spotter::verbs::bench::{Inputs, Peer};

use super::quiet::spent;

/// Answers of one call, `(cx, cy, w, h)` of the canvas, and how long it took.
pub(crate) struct Call {
    pub(crate) took: Duration,
    pub(crate) boxes: Vec<[f64; 4]>,
}

/// Something that grounds the same frames again and again.
pub(crate) trait Engine {
    fn name(&self) -> &str;
    fn call(&mut self) -> Call;
    /// Its process, where it is not this one.
    fn process(&self) -> Option<u32> {
        None
    }
}

/// What all engines are given.
pub(crate) struct Given {
    pub(crate) dir: PathBuf,
    pub(crate) query: String,
    pub(crate) pictures: Vec<Letterboxed>,
}

impl Given {
    /// `batch` pictures of 1280x720 that differ, on the model's canvas.
    pub(crate) fn new(dir: &Path, query: &str, batch: usize) -> Self {
        let canvas = Grounder::load(dir, &Device::Cpu).expect("a model").canvas();
        let picture = |seed: usize| {
            let rgb: Vec<u8> = (0..3 * 1280 * 720).map(|i| ((i + 7919 * seed) * 7 % 253) as u8).collect();
            let view = RgbView::new(1280, 720, 3 * 1280, &rgb).expect("a picture");
            Letterboxer::default().letterbox(&view, canvas).expect("letterboxed")
        };
        Self { dir: dir.to_path_buf(), query: query.into(), pictures: (0..batch).map(picture).collect() }
    }

    fn pictures(&self) -> Vec<&Letterboxed> {
        self.pictures.iter().collect()
    }
}

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

/// Frames against a query that was compiled before.
pub(crate) struct Compiled {
    name: &'static str,
    grounder: Grounder,
    query: CompiledQuery,
    given: Given,
    pool: ThreadPool,
}

impl Compiled {
    pub(crate) fn new(given: Given, threads: usize) -> Self {
        Self::precisely("Spotter, query compiled", Precision::F32, given, threads)
    }

    /// With the backbone in `precision`.
    pub(crate) fn precisely(name: &'static str, precision: Precision, given: Given, threads: usize) -> Self {
        let place = Placement { device: Device::Cpu, precision };
        let mut grounder = Grounder::load(&given.dir, place).expect("a model");
        let query = grounder.compile(&given.query).expect("compiles");
        grounder.drop_text();
        Self { name, grounder, query, given, pool: pool(threads) }
    }

    pub(crate) fn config(&self) -> &Config {
        self.grounder.config()
    }

    /// Pieces of the query, and visual tokens that lie on the first picture.
    pub(crate) fn tokens(&self) -> (usize, usize) {
        let config = self.grounder.config();
        let transform = &self.given.pictures[0].transform;
        let of_level = |level: usize| {
            let (grid, stride) = (
                config.level_grid(config.canvas, level),
                config.canvas.width / config.level_grid(config.canvas, level).w,
            );
            (0..grid.len()).filter(|i| transform.shows(i % grid.w * stride, i / grid.w * stride)).count()
        };
        (self.query.ids().len(), of_level(config.stages() - 1) + of_level(config.stages()))
    }
}

impl Engine for Compiled {
    fn name(&self) -> &str {
        self.name
    }

    fn call(&mut self) -> Call {
        let Self { grounder, query, given, pool, .. } = self;
        let pictures = given.pictures();
        let start = Instant::now();
        let found = pool.install(|| grounder.ground(&pictures, query)).expect("grounds");
        let took = start.elapsed();
        Call { took, boxes: found.iter().map(|found| found.raw.map(f64::from)).collect() }
    }
}

/// A frame that is asked some queries at once. Its time is the processor's, of all threads together.
pub(crate) struct Asked {
    name: &'static str,
    grounder: Grounder,
    queries: Vec<CompiledQuery>,
    given: Given,
    pool: ThreadPool,
}

impl Asked {
    pub(crate) fn new(name: &'static str, given: Given, queries: &[&str], threads: usize) -> Self {
        let mut grounder = Grounder::load(&given.dir, &Device::Cpu).expect("a model");
        let queries = queries.iter().map(|query| grounder.compile(query).expect("compiles")).collect();
        grounder.drop_text();
        Self { name, grounder, queries, given, pool: pool(threads) }
    }
}

impl Engine for Asked {
    fn name(&self) -> &str {
        self.name
    }

    fn call(&mut self) -> Call {
        let Self { grounder, queries, given, pool, .. } = self;
        let (pictures, queries) = (given.pictures(), queries.iter().collect::<Vec<_>>());
        let before = spent();
        let found = pool.install(|| grounder.ground_all(&pictures, &queries)).expect("grounds");
        let took = spent().saturating_sub(before);
        Call { took, boxes: found.iter().flatten().map(|found| found.raw.map(f64::from)).collect() }
    }
}

/// The whole model on every frame, text tower and generators included.
pub(crate) struct Plain {
    model: QrNet,
    plan: CanvasPlan,
    ids: Tensor,
    ignore: Tensor,
    image: Tensor,
    mask: Tensor,
    pool: ThreadPool,
}

impl Plain {
    pub(crate) fn new(given: &Given, threads: usize) -> Self {
        let device = Device::Cpu;
        let dir = ModelDir::open(&given.dir).expect("a model");
        let config = dir.config();
        let (tensors, _) = qrnet::weights::load(&dir.weights(), config, &device).expect("weights");
        let model = QrNet::new(config, &qrnet::weights::builder(&tensors, &device)).expect("builds");
        let plan = CanvasPlan::new(config, config.canvas, &device).expect("a plan");
        let pictures = given.pictures();
        let (ids, ignore) = pieces(given, pictures.len());
        Self {
            model,
            plan,
            ids,
            ignore,
            image: Letterboxed::batch(&pictures, &device).expect("a batch"),
            mask: Letterboxed::ignore_batch(&pictures, &device).expect("masks"),
            pool: pool(threads),
        }
    }
}

/// The query's pieces for a batch, `[B, L]` u32, and their padding, `[B, L]` u8.
fn pieces(given: &Given, batch: usize) -> (Tensor, Tensor) {
    let tokenizer = ModelDir::open(&given.dir).and_then(|dir| dir.load_tokenizer()).expect("a tokenizer");
    let encoded = tokenizer.encode(&given.query).expect("pieces");
    let (ids, ignore) = tokenizer.pad_to_length(&encoded.ids);
    let length = ids.len();
    let wide = |t: Tensor| t.reshape((1, length)).and_then(|t| t.repeat((batch, 1))).expect("a batch");
    (wide(Tensor::new(ids, &Device::Cpu).expect("ids")), wide(Tensor::new(ignore, &Device::Cpu).expect("flags")))
}

impl Engine for Plain {
    fn name(&self) -> &'static str {
        "Spotter, whole call"
    }

    fn call(&mut self) -> Call {
        let Self { model, plan, ids, ignore, image, mask, pool } = self;
        let start = Instant::now();
        let output = pool.install(|| model.forward(image, mask, ids, ignore, plan, &mut Pass::eval())).expect("runs");
        let boxes: Vec<Vec<f32>> = output.boxes.to_vec2().expect("boxes");
        let took = start.elapsed();
        Call { took, boxes: boxes.iter().map(|b| [b[0], b[1], b[2], b[3]].map(f64::from)).collect() }
    }
}

/// `benches/peer/serve.py` with another engine.
pub(crate) struct Served {
    name: &'static str,
    peer: Peer,
}

impl Served {
    /// Starts `engine` on the same weights and pictures. `packages` is where its Python packages are, `cache` keeps graphs.
    pub(crate) fn start(
        name: &'static str,
        engine: &str,
        given: &Given,
        threads: usize,
        packages: &Path,
        cache: &Path,
    ) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peer/serve.py");
        let (path, script) = (format!("PYTHONPATH={}", packages.display()), script.display().to_string());
        let pictures = given.pictures();
        let inputs =
            Inputs { model: &given.dir, query: &given.query, pictures: &pictures, threads, device: "cpu", cache };
        let command = format!("env {path} python3 {script} {engine}");
        Self { name, peer: Peer::start(&command, &inputs).expect("starts; `make bench` fetches its packages") }
    }
}

impl Engine for Served {
    fn name(&self) -> &'static str {
        self.name
    }

    fn call(&mut self) -> Call {
        let (took, boxes) = self.peer.call().expect("answers");
        Call { took, boxes }
    }

    fn process(&self) -> Option<u32> {
        Some(self.peer.process())
    }
}
