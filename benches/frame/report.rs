//! Tables of what was measured: Markdown, JSON, and a bar chart.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use plotters::prelude::*;
use serde_json::{Value, json};

use super::font::{FONT, font};
use super::growth::{self, Curve};

/// Milliseconds of one way to do something.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) times: Vec<f64>,
    /// Samples that were thrown away because somebody else worked meanwhile.
    pub(crate) spoilt: usize,
}

/// Ways to do the same, measured in turns.
pub(crate) struct Table {
    pub(crate) title: String,
    /// The first row is what the others are compared with.
    pub(crate) rows: Vec<Row>,
}

impl Row {
    fn quantile(&self, share: f64) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times[((times.len() - 1) as f64 * share).round() as usize]
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

impl Table {
    /// Median over the rounds of the first row's time over this row's, in the same round.
    fn ratio(&self, row: &Row) -> f64 {
        let pairs = self.rows[0].times.iter().zip(&row.times).map(|(first, other)| first / other);
        Row { times: pairs.collect(), ..row.clone() }.median()
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "### {}\n\n| | ms (median) | quartiles | first row's time over it | spoilt |\n|---|---|---|---|---|\n",
            self.title
        );
        for row in &self.rows {
            let (low, high) = (row.quantile(0.25), row.quantile(0.75));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {:.2} | {low:.2} to {high:.2} | {:.3} | {} |",
                row.name,
                row.median(),
                self.ratio(row),
                row.spoilt
            );
        }
        text
    }

    /// What the other rows cost, as multiples of the first in the same round, beside what each may cost at most.
    pub(crate) fn costs(&self, most: &[f64]) -> String {
        let mut text = format!("### Multiples: {}\n\n", self.title);
        for (row, most) in self.rows[1..].iter().zip(most) {
            let times = 1.0 / self.ratio(row);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- {}: {times:.2} times {} (at most {most})", row.name, self.rows[0].name);
        }
        say(&text);
        text
    }

    fn json(&self) -> Value {
        let row = |row: &Row| json!({"name": row.name, "median_ms": row.median(), "times_ms": row.times, "ratio": self.ratio(row), "spoilt": row.spoilt});
        json!({"title": self.title, "rows": self.rows.iter().map(row).collect::<Vec<_>>()})
    }
}

/// Says a line at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("printed");
}

/// Writes `bench.md`, `bench.json` and `bench.png`, the latter with the bars of the first table.
pub(crate) fn write(folder: &Path, machine: &str, tables: &[Table], curves: &[Curve], more: &[String]) {
    std::fs::create_dir_all(folder).expect("a folder");
    let mut text = format!("# Benchmarks\n\n{machine}\n");
    for part in tables.iter().map(Table::markdown).chain(curves.iter().map(Curve::markdown)).chain(more.iter().cloned())
    {
        text += "\n";
        text += &part;
    }
    std::fs::write(folder.join("bench.md"), text).expect("written");
    let all = json!({"machine": machine, "tables": tables.iter().map(Table::json).collect::<Vec<_>>(), "growth": curves.iter().map(Curve::json).collect::<Vec<_>>()});
    std::fs::write(folder.join("bench.json"), serde_json::to_vec_pretty(&all).expect("JSON")).expect("written");
    if let Some(first) = tables.first() {
        chart(&folder.join("bench.png"), first).expect("drawn");
    }
    if !curves.is_empty() {
        growth::plot(&folder.join("growth.png"), curves).expect("drawn");
    }
    say(&format!("{}/bench.md, bench.json, bench.png, growth.png", folder.display()));
}

fn chart(path: &Path, table: &Table) -> Result<(), Box<dyn std::error::Error>> {
    font()?;
    let size = (900, 120 + 60 * table.rows.len() as u32);
    let mut pixels = vec![0; 3 * (size.0 * size.1) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        root.fill(&WHITE)?;
        let longest = table.rows.iter().map(Row::median).fold(0.0, f64::max);
        let text = |size: i32| (FONT, size).into_font().color(&BLACK);
        root.draw(&Text::new(table.title.clone(), (20, 20), text(22)))?;
        for (i, row) in table.rows.iter().enumerate() {
            let top = 70 + 60 * i as i32;
            let width = (row.median() / longest * 480.0) as i32;
            let colour = if i == 0 { RGBColor(31, 119, 180) } else { RGBColor(160, 160, 160) };
            root.draw(&Rectangle::new([(260, top), (260 + width, top + 36)], colour.filled()))?;
            root.draw(&Text::new(row.name.clone(), (20, top + 10), text(16)))?;
            root.draw(&Text::new(format!("{:.1} ms", row.median()), (268 + width, top + 10), text(16)))?;
        }
        root.present()?;
    }
    image::save_buffer(path, &pixels, size.0, size.1, image::ExtendedColorType::Rgb8)?;
    Ok(())
}
