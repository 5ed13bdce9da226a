//! A summary as a table for terminals.

use std::fmt;

use super::{Estimate, Figures, IOU_THRESHOLDS, Summary};

/// Where there is nothing to tell.
const NONE: &str = "-";

impl fmt::Display for Summary {
    /// A table with a line for everything, each source, kind and class of thing; shares are 0..1, `±` is one standard error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![header(), row("all", &self.all)];
        let groups = [
            ("source", &self.by_source),
            ("kind", &self.by_kind),
            ("thing", &self.by_thing),
            ("phrase", &self.by_phrase),
        ];
        for (title, groups) in groups {
            rows.extend(groups.iter().map(|(name, figures)| row(&format!("{title} {name}"), figures)));
        }
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let length = |cell: &String| cell.chars().count();
        let widths: Vec<usize> =
            (0..columns).map(|i| rows.iter().filter_map(|row| row.get(i)).map(length).max().unwrap_or(0)).collect();
        for row in rows {
            for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if i == 0 {
                    write!(f, "{cell:<width$}")?;
                } else {
                    write!(f, "  {cell:>width$}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn header() -> Vec<String> {
    let thresholds = IOU_THRESHOLDS.iter().map(|iou| format!("acc@{iou}"));
    let first = ["group", "examples", "present"].map(String::from).into_iter();
    first.chain(thresholds).chain(["mean IoU", "right", "AUROC", "ECE", "vIoU", "jitter"].map(String::from)).collect()
}

fn row(name: &str, figures: &Figures) -> Vec<String> {
    let shown = |estimate: Option<Estimate>| match estimate {
        None => NONE.to_owned(),
        Some(Estimate { value, error: None }) => format!("{value:.3}        "),
        Some(Estimate { value, error: Some(error) }) => format!("{value:.3} ± {error:.3}"),
    };
    let mut cells = vec![name.to_owned(), figures.examples.to_string(), figures.present.to_string()];
    cells.extend(IOU_THRESHOLDS.iter().map(|iou| shown(figures.accuracy_at(*iou))));
    cells.extend([shown(figures.mean_iou), shown(figures.right), shown(figures.auroc)]);
    let plain = |value: Option<f64>| value.map_or(NONE.into(), |value| format!("{value:.3}"));
    cells.push(plain(figures.calibration_error));
    let film = figures.film.as_ref();
    cells.push(shown(film.and_then(|film| film.viou)));
    cells.push(plain(film.and_then(|film| film.jitter)));
    cells
}
