//! `spotter bench`: how long a frame takes, beside other engines if they are there.

mod peer;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use blocks::preprocess::{Letterboxed, Letterboxer, RgbView};
use grounding::{Canvas, CompiledQuery, Grounder};

use crate::cli::BenchArgs;
use crate::config::{chosen_or_fetched, load_model};
use crate::error::{Error, Result};
use crate::threads::use_threads;
pub use peer::{Inputs, Peer};

/// Calls before the clock counts: buffers are filled, kernels are loaded.
const WARM: usize = 3;
/// How far another engine's box may lie from ours in f32, in shares of the canvas.
const SAME: f64 = 1e-4;

/// Something that is measured.
enum Engine<'a> {
    Own { grounder: &'a Grounder, queries: Vec<&'a CompiledQuery>, pictures: Vec<&'a Letterboxed> },
    Peer(Box<Peer>),
}

impl Engine<'_> {
    fn call(&mut self) -> Result<(Duration, Vec<[f64; 4]>)> {
        match self {
            Self::Own { grounder, queries, pictures } => {
                let start = Instant::now();
                let found = grounder.ground(pictures, queries)?;
                let took = start.elapsed();
                let best = found.iter().flatten().filter_map(|findings| findings.best());
                let boxes = best.map(|best| best.on_canvas.map(f64::from));
                Ok((took, boxes.collect()))
            }
            Self::Peer(peer) => peer.call(),
        }
    }
}

struct Row<'a> {
    name: String,
    batch: usize,
    queries: usize,
    engine: Engine<'a>,
    times: Vec<f64>,
}

/// # Errors
/// The model, the device or another engine is unusable.
pub(super) fn run(args: &BenchArgs) -> Result<()> {
    use_threads(args.threads)?;
    let batches = if args.batch.is_empty() { vec![1, 2, 4] } else { args.batch.clone() };
    if let Some(zero) = batches.iter().find(|batch| !(1..=64).contains(*batch)) {
        return Err(Error::Usage(format!("--batch {zero}: expected a number from 1 to 64")));
    }
    if let Some(wrong) = args.queries.iter().find(|queries| !(1..=64).contains(*queries)) {
        return Err(Error::Usage(format!("--queries {wrong}: expected a number from 1 to 64")));
    }
    if args.rounds == 0 {
        return Err(Error::Usage("--rounds 0: expected a number from 1 on".into()));
    }
    let model = chosen_or_fetched(args.model.as_deref())?;
    let mut grounder = load_model(model.as_deref(), &args.device, args.precision.into(), false)?;
    let query = grounder.compile(&args.query)?;
    let at_once = args.queries.iter().copied().max().unwrap_or(1);
    // Each a query of its own, as several would be.
    let queries = (0..at_once).map(|_| grounder.compile(&args.query)).collect::<grounding::Result<Vec<_>>>()?;
    grounder.drop_text();
    let most = batches.iter().copied().max().unwrap_or(1);
    // Other engines know the model's first canvas alone.
    let canvas = if args.peer.is_empty() { grounder.canvas_for(SIZE.0, SIZE.1) } else { grounder.canvas() };
    let pictures = pictures(canvas, most)?;
    let own = |batch: usize, count: usize| Engine::Own {
        grounder: &grounder,
        queries: queries[..count].iter().collect(),
        pictures: pictures[..batch].iter().collect(),
    };
    let row = |(batch, queries)| Row {
        name: "spotter".into(),
        batch,
        queries,
        engine: own(batch, queries),
        times: Vec::new(),
    };
    let calls = batches.iter().map(|&batch| (batch, 1)).chain(args.queries.iter().map(|&queries| (1, queries)));
    let mut rows: Vec<Row> = calls.map(row).collect();
    let cache = tempfile::tempdir().map_err(Error::io("create", std::path::Path::new("a temporary folder")))?;
    let exactly: Vec<[f64; 4]> = own(1, 1).call()?.1;
    for command in &args.peer {
        let one = [&pictures[0]];
        let inputs = Inputs {
            model: model.as_deref().unwrap_or(std::path::Path::new("")),
            query: &args.query,
            pictures: &one,
            threads: args.threads.unwrap_or_else(rayon::current_num_threads),
            device: if args.device.starts_with("cuda") { "cuda" } else { "cpu" },
            cache: cache.path(),
        };
        let mut peer = Peer::start(command, &inputs)?;
        let (_, boxes) = peer.call()?;
        let apart =
            boxes.iter().flatten().zip(exactly.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        tracing::info!("{command}: its box is {apart:.1e} of the canvas from ours");
        if apart > SAME && args.precision == crate::cli::ComputeArg::F32 {
            tracing::warn!("{command}: answers something else: {boxes:?}, ours is {exactly:?}");
        }
        rows.push(Row {
            name: command.clone(),
            batch: 1,
            queries: 1,
            engine: Engine::Peer(Box::new(peer)),
            times: Vec::new(),
        });
    }
    for round in 0..WARM + args.rounds {
        for row in &mut rows {
            let (took, _) = row.engine.call()?;
            if round >= WARM {
                row.times.push(took.as_secs_f64() * 1e3);
            }
        }
    }
    let name = model.as_deref().map_or_else(|| "the built-in model".into(), |model| model.display().to_string());
    let precision = format!("{:?}", args.precision).to_lowercase();
    let threads = match args.device.as_str() {
        "cpu" => format!(", threads {}", rayon::current_num_threads()),
        _ => String::new(),
    };
    let text = format!(
        "{name}, canvas {}, {} pieces, {}, {precision}{threads}; milliseconds of a call, median of {}\n",
        canvas,
        query.pieces(),
        args.device,
        args.rounds
    );
    let text = text + &table(&mut rows);
    let out = std::path::Path::new("-");
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Error::io("write", out))
}

/// Width and height of the pictures.
const SIZE: (usize, usize) = (1280, 720);

/// Pictures that differ, on `canvas`.
fn pictures(canvas: Canvas, count: usize) -> Result<Vec<Letterboxed>> {
    let (mut letterboxer, (width, height)) = (Letterboxer::default(), SIZE);
    (0..count)
        .map(|seed| {
            let rgb: Vec<u8> = (0..3 * width * height).map(|i| ((i + 7919 * seed) * 7 % 253) as u8).collect();
            Ok(letterboxer.letterbox(&RgbView::new(width, height, 3 * width, &rgb)?, canvas)?)
        })
        .collect()
}

/// Median, quartiles and pictures a second of every row; peers against our own row of one picture.
fn table(rows: &mut [Row]) -> String {
    let head = ["batch", "queries", "ms", "quartiles", "pictures/s"];
    let [batch, queries, ms, quartiles, rate] = head;
    let mut text = format!("{batch:>5} {queries:>7} {ms:>10} {quartiles:>21} {rate:>12}  engine\n");
    for row in rows {
        row.times.sort_by(f64::total_cmp);
        let at = |share: f64| row.times[((row.times.len() - 1) as f64 * share).round() as usize];
        let (low, median, high) = (at(0.25), at(0.5), at(0.75));
        let rate = row.batch as f64 * 1e3 / median;
        let quartiles = format!("{low:.2} to {high:.2}");
        // Writing to a string cannot fail.
        let Row { batch, queries, name, .. } = row;
        let _ = writeln!(text, "{batch:>5} {queries:>7} {median:>10.2} {quartiles:>21} {rate:>12.1}  {name}");
    }
    text
}
