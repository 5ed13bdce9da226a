//! A frame of IDEA's tiny model in its full size, drawn weights, on 640x384 and 640x640: packed weights with one query and with
//! three, tensor operations, and other engines on the same directory, in turns; and the backbone of QRNet's full model on the
//! same kernels, for the price of a multiplication. Medians of some rounds; within one run the ratios count.
//!
//! `cargo bench -p spotter-grounding-dino`; `-- rounds=5` says how many rounds, `tensors` takes tensor operations too, and names
//! of engines (`transformers`, `onnxruntime`, `openvino`) those alone. Other engines run where `make bench` has fetched their
//! packages. `RAYON_NUM_THREADS` says how many threads all have.
#![expect(clippy::print_stdout, reason = "the table")]

mod cost;
mod given;
mod memory;
mod peers;
mod swin;

use std::path::{Path, PathBuf};
use std::time::Instant;

use blocks::canvas::Grid;
use blocks::pass::Pass;
use candle_core::{DType, Device, Tensor};
use grounding_dino::{CompiledQuery, FrameModel, Grounder, ModelDir, Weights};
use peers::{Best, Peer};
use swin::SwinS;

const SIZES: [Grid; 2] = [Grid { h: 384, w: 640 }, Grid { h: 640, w: 640 }];
/// Words of a query.
const WORDS: u32 = 4;
/// The bars that a frame is held to.
const BARS: [(&str, f64); 3] = [("transformers", 0.60), ("onnxruntime", 0.75), ("openvino", 0.75)];
/// How far the best box of an engine may lie from ours, in shares of the picture; and its score.
const SAME: f64 = 1e-4;

/// One of those that are measured in turns.
struct Way<'a> {
    name: String,
    /// Multiplications, where they are known.
    cost: Option<usize>,
    once: Box<dyn FnMut() -> f64 + 'a>,
    times: Vec<f64>,
}

impl<'a> Way<'a> {
    fn new(name: &str, cost: Option<usize>, once: impl FnMut() -> f64 + 'a) -> Self {
        Self { name: name.to_owned(), cost, once: Box::new(once), times: Vec::new() }
    }

    fn median(&self) -> f64 {
        median(self.times.clone())
    }

    /// The median of the rounds' ratios.
    fn over(&self, other: &Self) -> f64 {
        median(self.times.iter().zip(&other.times).map(|(own, other)| own / other).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn timed(once: impl FnOnce()) -> f64 {
    let start = Instant::now();
    once();
    start.elapsed().as_secs_f64()
}

struct Bench {
    work: PathBuf,
    model: PathBuf,
    grounder: Grounder,
    queries: [CompiledQuery; 3],
    plain: Option<FrameModel>,
    engines: Vec<&'static str>,
    rounds: usize,
    threads: usize,
}

impl Bench {
    fn at(&self, size: Grid) {
        let picture = given::picture(size);
        let (config, queries) = (self.grounder.config(), &self.queries);
        let (one, three) = ([&queries[0]], [&queries[0], &queries[1], &queries[2]]);
        let ground = |queries: &[&CompiledQuery]| {
            let found = self.grounder.ground_each(&[&picture], &[queries]).expect("grounds");
            assert_eq!(found[0].len(), queries.len());
            found.into_iter().flatten().next().expect("an answer")
        };
        let on_tensors = |plain: &FrameModel| {
            let image = Tensor::from_slice(&picture.pixels, (1, 3, size.h, size.w), &Device::Cpu).expect("a picture");
            let (plan, mut pass) = (plain.plan(size, size).expect("a plan"), Pass::eval());
            let seen = plain.look(&image, &plan, &mut pass).expect("looks");
            let text = self.grounder.text_of(&one).expect("a text");
            plain.find(&seen, &text, &plan, &mut pass).expect("finds");
        };
        let mut swin = SwinS::new(size);
        let cost = |queries: u32| cost::of_frame(config, size, (queries * (WORDS + 1) + 2) as usize);
        let mut ways = vec![
            Way::new("one query", Some(cost(1)), || timed(|| drop(ground(&one)))),
            Way::new("three queries", Some(cost(3)), || timed(|| drop(ground(&three)))),
            Way::new("QRNet's Swin-S alone", Some(swin.cost()), || timed(|| swin.run(&picture.pixels))),
        ];
        if let Some(plain) = &self.plain {
            ways.push(Way::new("one query, on tensors", Some(cost(1)), || timed(|| on_tensors(plain))));
        }
        let best = ground(&one).found.remove(0);
        let packages = packages();
        for &engine in &self.engines {
            let files = (self.model.as_path(), self.work.as_path());
            let Some(mut peer) = Peer::start(engine, &packages, files, (&picture, &queries[0]), self.threads) else {
                println!("{engine} cannot run it");
                continue;
            };
            let Best { score, own, .. } = peer.call();
            let apart = own.iter().zip(best.on_canvas).map(|(theirs, ours)| (theirs - f64::from(ours)).abs());
            let apart = apart.fold((score - f64::from(best.score.expect("a score"))).abs(), f64::max);
            println!("{engine}: its best box and score lie {apart:.0e} from ours");
            assert!(apart < SAME, "{engine} says {score} of {own:?}, expected {best:?}");
            ways.push(Way::new(engine, None, move || peer.call().seconds));
        }
        for way in &mut ways {
            (way.once)();
        }
        for _ in 0..self.rounds {
            for way in &mut ways {
                let time = (way.once)();
                way.times.push(time);
            }
        }
        self.tell(size, &ways);
    }

    fn tell(&self, size: Grid, ways: &[Way]) {
        println!("\n### {}x{}, {} threads, median of {} rounds\n", size.w, size.h, self.threads, self.rounds);
        println!("| | ms | GMAC | GMAC/s | one query's time over it |\n|---|---|---|---|---|");
        for way in ways {
            let giga = way.cost.map(|cost| cost as f64 / 1e9);
            let [of, rate] = [giga, giga.map(|giga| giga / way.median())];
            let cell = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.1}"));
            let (ms, over) = (1e3 * way.median(), ways[0].over(way));
            println!("| {} | {ms:.0} | {} | {} | {over:.2} |", way.name, cell(of), cell(rate));
        }
        let (one, three, swin) = (&ways[0], &ways[1], &ways[2]);
        let price = |way: &Way| way.cost.map_or(f64::NAN, |cost| cost as f64);
        println!("\n- a multiplication over Swin-S's: {:.2} (at most 1.15)", one.over(swin) * price(swin) / price(one));
        println!("- three queries over one: {:.2} (at most 1.15)", three.over(one));
        for (name, bar) in BARS {
            if let Some(way) = ways.iter().find(|way| way.name == name) {
                println!("- one query over {name}: {:.2} (at most {bar:.2})", one.over(way));
            }
        }
    }

    /// Of a process that grounds, with weights in f32 and in f16.
    fn memory(&self) {
        let query = self.work.join("query.safetensors");
        println!("\n| weights | MB with the model loaded | behind a frame of 640x384 |\n|---|---|---|");
        for (name, dtype, most) in [("f32", DType::F32, 400.0), ("f16", DType::F16, 220.0)] {
            let dir = self.work.join(format!("grounding-dino-tiny-{name}"));
            let dir = match ModelDir::open(&dir) {
                Ok(dir) => dir,
                Err(_) => ModelDir::open(&self.model).and_then(|own| own.write_as(&dir, dtype, true)).expect("written"),
            };
            let grounder = Grounder::load(dir.path(), &Device::Cpu).expect("loads");
            grounder.compile(&given::sentence(0, WORDS)).and_then(|own| own.save(&query)).expect("saved");
            drop(grounder);
            let [loaded, frame] = memory::measured(dir.path(), &query);
            println!("| {name} | {loaded:.0} | {frame:.0} |");
            assert!(loaded <= most, "{loaded} MB with weights in {name}, expected at most {most}");
        }
    }
}

/// Where the other engines' Python packages are.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-peers")
}

fn main() {
    if let Some(said) = memory::child() {
        println!("{said}");
        return;
    }
    // `cargo test` passes --test, `cargo bench` --bench.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| named.iter().any(|own| own == name);
    let rounds = named.iter().find_map(|arg| arg.strip_prefix("rounds=")?.parse().ok()).unwrap_or(5);
    let any = BARS.iter().any(|(name, _)| wanted(name));
    let engines = BARS.map(|(name, _)| name).into_iter().filter(|name| !any || wanted(name));
    let engines = if packages().join("transformers").is_dir() && !wanted("alone") {
        engines.collect()
    } else {
        println!("other engines are left out: `make bench` fetches their packages");
        Vec::new()
    };
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    let model = given::model(&work);
    let mut grounder = Grounder::load(&model, &Device::Cpu).expect("loads");
    let queries = given::queries(&grounder, WORDS);
    grounder.drop_text();
    let plain = wanted("tensors").then(|| {
        let vb = Weights::open(&model).expect("weights").into_builder(&Device::Cpu);
        FrameModel::from_builder(grounder.config(), &vb).expect("builds")
    });
    let threads = rayon::current_num_threads();
    let bench = Bench { work, model, grounder, queries, plain, engines, rounds, threads };
    for size in SIZES {
        bench.at(size);
    }
    if !wanted("alone") {
        bench.memory();
    }
}
