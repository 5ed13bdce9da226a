//! How time and memory grow with the canvas and with the batch.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use blocks::preprocess::{Letterboxed, Letterboxer, RgbView};
use candle_core::Device;
use plotters::prelude::*;
use qrnet::weights::{self, Sources};
use qrnet::{Canvas, Config, Grounder, ModelDir};
use serde_json::{Value, json};

use super::font::{FONT, font};

/// Tells a process of this program that it is to measure one point: model, width, height and batch.
pub(crate) const CHILD: &str = "SPOTTER_BENCH_POINT";

/// Time and memory by size.
pub(crate) struct Curve {
    pub(crate) title: String,
    /// Of the sizes.
    pub(crate) unit: &'static str,
    /// Size, milliseconds, MiB.
    pub(crate) points: Vec<(f64, f64, f64)>,
    /// What sizes are called, where not by their number.
    pub(crate) labels: Option<Vec<String>>,
}

impl Curve {
    /// The exponent of time in size: the slope of a line through the points on logarithmic axes.
    fn exponent(&self) -> f64 {
        let logs: Vec<(f64, f64)> = self.points.iter().map(|(size, ms, _)| (size.ln(), ms.ln())).collect();
        let count = logs.len() as f64;
        let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), (a, b)| (x + a / count, y + b / count));
        let above: f64 = logs.iter().map(|(a, b)| (a - x) * (b - y)).sum();
        above / logs.iter().map(|(a, _)| (a - x).powi(2)).sum::<f64>()
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("### Growth: {}\n\n| {} | ms | memory, MiB |\n|---|---|---|\n", self.title, self.unit);
        for (i, (size, ms, memory)) in self.points.iter().enumerate() {
            let name = self.labels.as_ref().map_or_else(|| format!("{size}"), |labels| labels[i].clone());
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {name} | {ms:.1} | {memory:.0} |");
        }
        let _ = writeln!(text, "\nTime grows with the {:.2}th power of the {}.", self.exponent(), self.unit);
        text
    }

    pub(crate) fn json(&self) -> Value {
        json!({"title": self.title, "unit": self.unit, "points": self.points, "exponent": self.exponent()})
    }
}

/// Resident memory of a process, MiB.
pub(crate) fn resident(process: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}

/// Measures a point in a process of its own: milliseconds a batch, and the memory that buffers take.
fn point(model: &Path, canvas: Canvas, batch: usize) -> (f64, f64) {
    let program = std::env::current_exe().expect("a path");
    let asked = format!("{}|{}|{}|{batch}", model.display(), canvas.width, canvas.height);
    // What loading leaves behind is given back at once, so that what frames take can be seen.
    let output = Command::new(program)
        .arg("--bench")
        .env(CHILD, asked)
        .env("MIMALLOC_PURGE_DELAY", "0")
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(output.status.success() && numbers.len() == 2, "{text}{}", String::from_utf8_lossy(&output.stderr));
    (numbers[0], numbers[1])
}

/// The child's part.
pub(crate) fn measure_point(asked: &str) -> String {
    let parts: Vec<&str> = asked.split('|').collect();
    let [model, width, height, batch] = parts[..] else { panic!("{asked}") };
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let canvas = Canvas { width: number(width), height: number(height) };
    let grounder = grounder(Path::new(model), canvas);
    let query = grounder.compile("the red circle").expect("compiles");
    let rgb: Vec<u8> = (0..3 * 1024 * 1024).map(|i| (i * 7 % 253) as u8).collect();
    let view = RgbView::new(canvas.width, canvas.height, 3 * canvas.width, &rgb).expect("a picture");
    let picture = Letterboxer::default().letterbox(&view, canvas).expect("letterboxed");
    let pictures: Vec<&Letterboxed> = vec![&picture; number(batch)];
    let before = resident("self");
    grounder.ground(&pictures, &query).expect("grounds");
    let memory = resident("self") - before;
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            grounder.ground(&pictures, &query).expect("grounds");
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    format!("{} {memory}", times[times.len() / 2])
}

/// The model on another canvas, its positions stretched: time does not depend on what weights say.
fn grounder(model: &Path, canvas: Canvas) -> Grounder {
    let device = Device::Cpu;
    let dir = ModelDir::open(model).expect("a model");
    let own = dir.config();
    let config = Config { canvas, pos_canvas: None, ..own.clone() };
    let weights = dir.weights();
    let sources = Sources { model: Some(&weights), model_config: Some(own), ..Sources::default() };
    let (tensors, _) = weights::initialise(&config, 0, sources, &device).expect("weights");
    let tokenizer = dir.load_tokenizer().expect("a tokenizer");
    Grounder::from_tensors(&config, &tensors, tokenizer, "bench".into(), &device).expect("builds")
}

/// By pixels of a square canvas.
pub(crate) fn by_canvas(model: &Path, name: &str) -> Curve {
    let sides = [256, 384, 512, 640, 768, 1024];
    let points = sides.iter().map(|&side| {
        let (ms, memory) = point(model, Canvas { width: side, height: side }, 1);
        ((side * side) as f64, ms, memory)
    });
    Curve {
        title: format!("{name}, batch 1, by canvas"),
        unit: "pixels of the canvas",
        points: points.collect(),
        labels: Some(sides.iter().map(|side| format!("{side}x{side}")).collect()),
    }
}

/// By pictures at once.
pub(crate) fn by_batch(model: &Path, name: &str, canvas: Canvas) -> Curve {
    let points = [1, 2, 4, 8].into_iter().map(|batch| {
        let (ms, memory) = point(model, canvas, batch);
        (batch as f64, ms, memory)
    });
    Curve { title: format!("{name}, {canvas}, by batch"), unit: "pictures", points: points.collect(), labels: None }
}

/// A canvas of the shape of most videos beside the square one.
pub(crate) fn wide(model: &Path, name: &str) -> String {
    let (square, _) = point(model, Canvas { width: 640, height: 640 }, 1);
    let (wide, _) = point(model, Canvas { width: 640, height: 384 }, 1);
    format!(
        "### {name}, canvas for 16:9\n\n640x384 takes {wide:.0} ms, 640x640 {square:.0} ms: {:.3} of it.\n",
        wide / square
    )
}

/// Time and memory of all curves, relative to their first point, on logarithmic axes.
pub(crate) fn plot(path: &Path, curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>> {
    font()?;
    let size = (1000, 520);
    let mut pixels = vec![0; 3 * (size.0 * size.1) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        root.fill(&WHITE)?;
        for (area, (what, pick)) in root
            .split_evenly((1, 2))
            .iter()
            .zip([("time", (|p: &(f64, f64, f64)| p.1) as fn(&(f64, f64, f64)) -> f64), ("memory", |p| p.2)])
        {
            let of = |curve: &Curve| -> Vec<(f64, f64)> {
                let first = &curve.points[0];
                curve.points.iter().map(|p| (p.0 / first.0, (pick(p) / pick(first)).max(0.1))).collect()
            };
            let all: Vec<(f64, f64)> = curves.iter().flat_map(of).collect();
            let most = |pick: fn(&(f64, f64)) -> f64| all.iter().map(pick).fold(2.0, f64::max) * 1.2;
            let mut chart = ChartBuilder::on(area)
                .caption(format!("{what}, times the smallest"), (FONT, 18))
                .margin(12)
                .x_label_area_size(40)
                .y_label_area_size(50)
                .build_cartesian_2d((1.0..most(|p| p.0)).log_scale(), (0.9..most(|p| p.1)).log_scale())?;
            chart.configure_mesh().x_desc("size, times the smallest").label_style((FONT, 13)).draw()?;
            for (i, curve) in curves.iter().enumerate() {
                let colour = Palette99::pick(i).to_rgba();
                let points = of(curve);
                chart
                    .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
                    .label(curve.title.clone())
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
                chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE.mix(0.8))
                .label_font((FONT, 12))
                .draw()?;
        }
        root.present()?;
    }
    image::save_buffer(path, &pixels, size.0, size.1, image::ExtendedColorType::Rgb8)?;
    Ok(())
}
