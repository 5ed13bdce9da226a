//! `curves.png`: the losses of a run over the samples it has seen, and its metrics below.

use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use blocks::files;
use image::{ImageFormat, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::jsonl::{FILE, Kind, Line, read};
use crate::error::{Error, Result};

/// Name of the picture in a run's folder.
const PICTURE: &str = "curves.png";
/// Pixels.
const SIZE: (u32, u32) = (1200, 900);
/// Width of the legend, in pixels.
const LEGEND: u32 = 210;
/// Under this name the embedded font is registered, `DejaVu` Sans: no font of the system is looked for.
const FONT: &str = "spotter-sans";
/// Tableau's ten colours, far apart on white.
const COLOURS: [RGBColor; 10] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
    RGBColor(188, 189, 34),
    RGBColor(23, 190, 207),
];

/// One line of a panel.
struct Series {
    kind: Kind,
    name: String,
    /// Samples and value, in the log's order; finite.
    points: Vec<(f64, f64)>,
}

/// Draws `curves.png` from `log.jsonl` of the same folder, 1200 x 900 pixels, in full or not at all; returns its path.
///
/// Above are scalars whose names begin with `loss`, below those that begin with `acc`, `auroc`, `ece` or `miou`, each
/// once for training and once for evaluation; others (rates, times) stay in the log. Values that are not finite are
/// left out.
///
/// # Errors
/// The log cannot be read or holds no line, or the picture cannot be written.
pub fn curves(folder: &Path) -> Result<PathBuf> {
    let (log, path) = (folder.join(FILE), folder.join(PICTURE));
    let lines = read(&log)?;
    if lines.is_empty() {
        return Err(Error::file(&log, "holds no line, expected at least one to draw"));
    }
    register()?;
    let (width, height) = SIZE;
    let mut pixels = vec![0; 3 * (width * height) as usize];
    draw(&mut pixels, &lines).map_err(|reason| Error::file(&path, reason))?;
    let picture = RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| Error::file(&path, "the drawing has another size than its picture"))?;
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).map_err(|error| Error::file(&path, error))?;
    files::write(&path, png.get_ref())?;
    Ok(path)
}

fn register() -> Result<()> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let register = || register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).is_ok();
    if *REGISTERED.get_or_init(register) {
        Ok(())
    } else {
        Err(Error::Unsupported("the embedded font cannot be read".into()))
    }
}

fn draw(pixels: &mut [u8], lines: &[Line]) -> Result<(), String> {
    let root = BitMapBackend::with_buffer(pixels, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|e| e.to_string())?;
    let (top, bottom) = root.split_vertically(SIZE.1 * 3 / 5);
    let last = lines.iter().map(|line| line.samples).max().unwrap_or(0).max(1) as f64;
    let samples = 0.0..last * 1.02;
    let losses = series(lines, &["loss"]);
    panel(&top, "Losses", &losses, samples.clone(), values(&losses))?;
    let metrics = series(lines, &["acc", "auroc", "ece", "miou"]);
    let found = values(&metrics);
    panel(&bottom, "Metrics", &metrics, samples, found.start.min(0.0)..found.end.max(1.0))?;
    root.present().map_err(|e| e.to_string())
}

/// The scalars whose names begin with one of `families`, in order of appearance.
fn series(lines: &[Line], families: &[&str]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for line in lines {
        for (name, value) in &line.scalars {
            if !families.iter().any(|family| name.starts_with(family)) || !value.is_finite() {
                continue;
            }
            let point = (line.samples as f64, *value);
            match all.iter_mut().find(|s| s.kind == line.kind && s.name == *name) {
                Some(series) => series.points.push(point),
                None => all.push(Series { kind: line.kind, name: name.clone(), points: vec![point] }),
            }
        }
    }
    all
}

/// A range of values that shows all points, from 0 where none is negative.
fn values(all: &[Series]) -> Range<f64> {
    let points = || all.iter().flat_map(|series| &series.points).map(|(_, value)| *value);
    let (low, high) = (points().fold(0.0, f64::min), points().fold(0.0, f64::max));
    let margin = 0.05 * (high - low);
    let low = if low < 0.0 { low - margin } else { low };
    // A flat or huge range would be none to the axis.
    if margin > 0.0 && margin.is_finite() { low..high + margin } else { -1.0..1.0 }
}

fn panel<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    all: &[Series],
    samples: Range<f64>,
    range: Range<f64>,
) -> Result<(), String> {
    let text = |e: DrawingAreaErrorKind<B::ErrorType>| e.to_string();
    let (plot, legend) = area.split_horizontally(SIZE.0 - LEGEND);
    let mut chart = ChartBuilder::on(&plot)
        .caption(title, (FONT, 22))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(samples, range)
        .map_err(text)?;
    chart
        .configure_mesh()
        .x_desc("samples")
        .x_label_formatter(&|value| short(*value))
        .y_label_formatter(&|value| short(*value))
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 16))
        .light_line_style(WHITE)
        .draw()
        .map_err(text)?;
    // Beside the plot, where it hides no curve.
    let mut at = 60;
    for (series, colour) in all.iter().zip(COLOURS.iter().cycle()) {
        let (style, points) = (colour.stroke_width(2), &series.points);
        chart.draw_series(LineSeries::new(points.iter().copied(), style)).map_err(text)?;
        let dotted = series.kind == Kind::Eval || points.len() == 1;
        if dotted {
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 4, colour.filled()))).map_err(text)?;
            legend.draw(&Circle::new((14, at + 6), 4, colour.filled())).map_err(text)?;
        }
        legend.draw(&PathElement::new([(2, at + 6), (26, at + 6)], style)).map_err(text)?;
        let label = format!("{} {}", series.kind.name(), series.name);
        legend.draw(&Text::new(label, (34, at), (FONT, 15))).map_err(text)?;
        at += 22;
    }
    Ok(())
}

/// `1500000` as `1.5M`, `0.25` as it is.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e15 => return format!("{value:.1e}"),
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        size if size > 0.0 && size < 1e-3 => return format!("{value:.1e}"),
        _ => (value, ""),
    };
    let digits = format!("{scaled:.3}");
    format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short() {
        for (value, label) in
            [(0.0, "0"), (0.25, "0.25"), (1.5e6, "1.5M"), (20_000.0, "20k"), (512.0, "512"), (1e-5, "1.0e-5")]
        {
            assert_eq!(short(value), label);
        }
    }
}
