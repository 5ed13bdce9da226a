//! What a frame costs: Spotter's model beside everything else that runs the same weights, in turns in one run.
//!
//! `cargo bench --bench frame` (`make bench` fetches the peers' packages first) writes `out/bench.md`, `bench.json` and
//! `bench.png`; `-- peers`, `bytes`, `default`, `ways`, `several`, `start`, `pipeline`, `growth` or `parts` for a part of it,
//! `rounds=3` for fewer samples. `cargo test` runs it in short, with a small model and without the peers. Input: pictures of 1280x720, letterboxed before the clock starts. Absolute times belong to a
//! machine; ratios are between neighbours in one run.

mod engines;
mod font;
mod growth;
mod parts;
mod program;
mod quiet;
mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{DType, Device, Tensor};
use qrnet::{Canvas, ModelDir, NewModel, Precision, init};
use rand::RngExt;

use engines::{Asked, Compiled, Engine, Given, Plain, Served};
use report::{Row, Table, say};

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A sample holds as many calls as take this long, so that the machine's counters see it.
const SAMPLE: Duration = Duration::from_millis(300);
/// How far boxes of engines may lie apart, as a share of the canvas.
const SAME: f64 = 1e-5;
/// The same in bytes: everybody rounds otherwise, and drawn weights make much of it. Who computes something else is far off.
const ALIKE: f64 = 0.1;

struct Bench {
    short: bool,
    rounds: usize,
    work: PathBuf,
}

impl Bench {
    /// A model directory with random weights of the sizes in `configs/model/NAME.toml`, in which everything counts: as
    /// training begins, all gates would be open halfway and all biases zero, and engines could agree without them.
    fn model(&self, name: &str) -> PathBuf {
        let dir = self.work.join(format!("{name}-lively"));
        if !dir.join("config.json").exists() {
            let config = spotter::config::model_variant("--config", name, Path::new("")).expect("sizes");
            let mut tensors = init::parameters(&config, 7, &Device::Cpu).expect("drawn");
            for (name, tensor) in &mut tensors {
                let mut rng = blocks::seeded::stream(9, name);
                let range = if name.rsplit('.').next() == Some("V") { 0.1 } else { 0.02 };
                let noise: Vec<f32> =
                    (0..tensor.elem_count()).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * range).collect();
                let noise = Tensor::from_vec(noise, tensor.shape(), &Device::Cpu).expect("noise");
                *tensor = (&*tensor + noise).expect("the same shape");
            }
            let tokenizer =
                QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("a tokenizer");
            let new = NewModel {
                config: &config,
                tensors: &tensors,
                dtype: DType::F32,
                tokenizer: &tokenizer,
                card: "",
                trained: false,
            };
            ModelDir::write(&dir, &new, true).expect("written");
        }
        dir
    }

    /// Calls every engine once a round, in turns. Samples in which others worked are measured again.
    fn turns(&self, title: &str, engines: &mut [Box<dyn Engine>]) -> Table {
        self.turns_within(SAME, title, engines)
    }

    /// The same of engines whose boxes lie within `most` of the first one's.
    fn turns_within(&self, most: f64, title: &str, engines: &mut [Box<dyn Engine>]) -> Table {
        let processes: Vec<u32> = engines.iter().filter_map(|engine| engine.process()).collect();
        let first: Vec<Vec<[f64; 4]>> = engines.iter_mut().map(|engine| engine.call().boxes).collect();
        for (engine, boxes) in engines.iter().zip(&first) {
            let apart = boxes.iter().flatten().zip(first[0].iter().flatten()).map(|(a, b)| (a - b).abs());
            let apart = apart.fold(0.0, f64::max);
            assert!(apart < most, "{title}: {} answers {boxes:?}, {apart} from {:?}", engine.name(), first[0]);
        }
        let names = engines.iter().map(|engine| engine.name().to_owned());
        let mut rows: Vec<Row> = names.map(|name| Row { name, times: Vec::new(), spoilt: 0 }).collect();
        let calls: Vec<u32> = engines.iter_mut().map(|engine| self.calls(engine.as_mut())).collect();
        for _ in 0..self.rounds {
            for ((engine, row), calls) in engines.iter_mut().zip(&mut rows).zip(&calls) {
                let mut once = || {
                    let took: Duration = (0..*calls).map(|_| engine.call().took).sum();
                    took.as_secs_f64() * 1e3 / f64::from(*calls)
                };
                let time =
                    if self.short { once() } else { quiet::sample(&row.name, &processes, &mut row.spoilt, once) };
                row.times.push(time);
            }
        }
        let table = Table { title: title.to_owned(), rows };
        say(&table.markdown());
        table
    }

    fn calls(&self, engine: &mut dyn Engine) -> u32 {
        if self.short {
            return 1;
        }
        let start = Instant::now();
        engine.call();
        (SAMPLE.as_secs_f64() / start.elapsed().as_secs_f64()).ceil().clamp(1.0, 1000.0) as u32
    }

    /// The full model in every engine there is.
    fn peers(&self, tables: &mut Vec<Table>) {
        let (name, root) = if self.short { ("tiny", None) } else { ("qrnet-swin-s-l20", Some(packages())) };
        let dir = self.model(name);
        for threads in [2, 1] {
            let given = || Given::new(&dir, "the red car on the left", 1);
            let mut engines: Vec<Box<dyn Engine>> =
                vec![Box::new(Compiled::new(given(), threads)), Box::new(Plain::new(&given(), threads))];
            if let Some(root) = &root {
                for (name, engine) in
                    [("PyTorch, eager", "torch"), ("ONNX Runtime", "onnxruntime"), ("OpenVINO", "openvino")]
                {
                    engines.push(Box::new(Served::start(name, engine, &given(), threads, root, &self.work)));
                }
            }
            let title = format!("{name}, batch 1, {threads} thread{}, f32", if threads == 1 { "" } else { "s" });
            tables.push(self.turns(&title, &mut engines));
        }
    }

    /// The full model in bytes, ours first, beside its f32 and every engine that has bytes.
    fn bytes(&self, tables: &mut Vec<Table>) {
        let (name, root) = if self.short { ("tiny", None) } else { ("qrnet-swin-s-l20", Some(packages())) };
        let dir = self.model(name);
        for threads in [2, 1] {
            let given = || Given::new(&dir, "the red car on the left", 1);
            let ours = [("Spotter, int8", Precision::Int8), ("Spotter, f32", Precision::F32)];
            let mut engines: Vec<Box<dyn Engine>> = Vec::new();
            for (name, precision) in ours {
                engines.push(Box::new(Compiled::precisely(name, precision, given(), threads)));
            }
            if let Some(root) = &root {
                for (name, engine) in [
                    ("ONNX Runtime, int8", "onnxruntime-int8"),
                    ("ONNX Runtime, int8, scales by run", "onnxruntime-dynamic"),
                    ("OpenVINO, int8", "openvino-int8"),
                ] {
                    engines.push(Box::new(Served::start(name, engine, &given(), threads, root, &self.work)));
                }
            }
            let title = format!("{name}, batch 1, {threads} thread{}, int8", if threads == 1 { "" } else { "s" });
            tables.push(self.turns_within(ALIKE, &title, &mut engines));
        }
    }

    /// Three queries of a frame against one, by the processor's time: with gates at the end of every stage, as published.
    fn several(&self, tables: &mut Vec<Table>) -> String {
        let name = if self.short { "tiny" } else { "qrnet-swin-s-l20" };
        let dir = self.model(name);
        let engine = |name: &'static str, queries: &[&str]| -> Box<dyn Engine> {
            Box::new(Asked::new(name, Given::new(&dir, queries[0], 1), queries, 2))
        };
        let queries = program::QUERIES;
        let mut engines = [engine("one query", &queries[..1]), engine("three queries", &queries)];
        let table = self.turns(&format!("{name}, 2 threads, ms of processor time a frame"), &mut engines);
        let costs = table.costs(&[2.85]);
        tables.push(table);
        costs
    }

    /// Batches, plain and compiled.
    fn ways(&self, dir: &Path, name: &str, tables: &mut Vec<Table>) {
        for batch in [1, 2, 4] {
            let given = || Given::new(dir, "the red circle", batch);
            let mut engines: Vec<Box<dyn Engine>> =
                vec![Box::new(Compiled::new(given(), 2)), Box::new(Plain::new(&given(), 2))];
            tables.push(self.turns(&format!("{name}, batch {batch}, 2 threads, ms a batch"), &mut engines));
        }
    }
}

/// Where the peers' Python packages are.
fn packages() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-peers");
    assert!(folder.exists(), "{} is missing: `make bench` fetches it", folder.display());
    folder
}

/// Processor, cores and what others took of them before.
fn machine(foreign: f64) -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let date = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
    format!(
        "{}, {cores} cores; {date}; others took {:.1} % of it before the first sample",
        name.unwrap_or("unknown processor"),
        100.0 * foreign
    )
}

fn main() {
    if let Ok(asked) = std::env::var(growth::CHILD) {
        say(&growth::measure_point(&asked));
        return;
    }
    // `cargo test` passes --test, `cargo bench` --bench.
    let short = !std::env::args().any(|arg| arg == "--bench");
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let (counts, named): (Vec<String>, Vec<String>) = named.into_iter().partition(|arg| arg.starts_with("rounds="));
    let rounds = counts.first().and_then(|arg| arg["rounds=".len()..].parse().ok()).unwrap_or(11);
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::tempdir().expect("a folder");
    let (work, out) = if short {
        (scratch.path().to_path_buf(), scratch.path().join("out"))
    } else {
        (root.join("target/bench"), root.join("out"))
    };
    let bench = Bench { short, rounds: if short { 1 } else { rounds }, work };
    let foreign = if short { 0.0 } else { quiet::wait() };
    if quiet::spoilt(foreign) {
        say(&format!("this machine is not quiet: others take {:.0} % of it", 100.0 * foreign));
    }
    let machine = machine(foreign);
    say(&machine);
    let mut tables = Vec::new();
    if wanted("peers") {
        bench.peers(&mut tables);
    }
    if wanted("bytes") {
        bench.bytes(&mut tables);
    }
    if wanted("default") {
        bench.ways(&root.join("models/spotter-base"), "built-in model", &mut tables);
    }
    if wanted("ways") && !short {
        bench.ways(&bench.model("qrnet-swin-s-l20"), "qrnet-swin-s-l20", &mut tables);
    }
    let (mut curves, mut more) = (Vec::new(), Vec::new());
    if wanted("several") {
        more.push(bench.several(&mut tables));
    }
    if !short {
        let full = bench.model("qrnet-swin-s-l20");
        let folder = scratch.path();
        if wanted("several") {
            let table = program::several(5, folder);
            more.push(table.costs(&[2.0, 3.05]));
            tables.push(table);
        }
        if wanted("start") {
            tables.push(program::start(&full, 7, folder));
        }
        if wanted("pipeline") {
            tables.push(program::pipeline(5, folder));
        }
        if wanted("growth") {
            let built_in = root.join("models/spotter-base");
            let side = Canvas { width: 256, height: 256 };
            curves.push(growth::by_canvas(&full, "full model"));
            curves.push(growth::by_batch(&full, "full model", Canvas { width: 640, height: 640 }));
            curves.push(growth::by_batch(&built_in, "built-in model", side));
            curves.push(program::streams(folder));
            for curve in &curves {
                say(&curve.markdown());
            }
            more.push(growth::wide(&full, "full model"));
        }
    }
    // The recording slows the rest down by a little, and does not end.
    if wanted("parts") {
        let (name, frames) = if short { ("tiny", 1) } else { ("qrnet-swin-s-l20", 9) };
        let given = Given::new(&bench.model(name), "the red car on the left", 1);
        let table = parts::table(name, &mut Compiled::new(given, 2), frames, &bench.work.join("trace.json"));
        say(&table);
        more.push(table);
    }
    report::write(&out, &machine, &tables, &curves, &more);
}
