//! Labels of pictures: JSON Lines, a line for every picture and question.

use std::path::{Path, PathBuf};

use blocks::files;
use serde_json::json;

use super::film::corrections;
use super::sheets::Sheets;
use super::{Found, Labeller, has_area, progress};
use crate::cli::LabelArgs;
use crate::error::{Error, Result};
use crate::source::open_picture;

/// Pictures, and where their labels go.
pub(super) struct Pictures {
    paths: Vec<PathBuf>,
    out: PathBuf,
    labels: PathBuf,
    sheet: PathBuf,
    unsure: PathBuf,
}

impl Pictures {
    pub(super) fn new(pictures: Vec<&PathBuf>, args: &LabelArgs) -> Self {
        let file = |name: &str| args.out.join(name);
        Self {
            paths: pictures.into_iter().cloned().collect(),
            out: args.out.clone(),
            labels: file("labels.jsonl"),
            sheet: file("labels.sheet.png"),
            unsure: file("labels.unsure.png"),
        }
    }

    /// What they leave.
    pub(super) fn targets(&self) -> [&Path; 3] {
        [&self.labels, &self.sheet, &self.unsure]
    }

    /// Labels one after the other. A picture that cannot be read is reported and does not stop the others.
    pub(super) fn label(&self, labeller: &mut Labeller) -> Result<()> {
        let mut sheets = Sheets::new(labeller.threshold);
        let (mut lines, mut looked, mut failed) = (String::new(), 0, 0);
        let bar = progress("pictures", Some(self.paths.len() as u64));
        for path in &self.paths {
            if labeller.is_interrupted() {
                break;
            }
            let picture = match open_picture(path).map_err(Error::from) {
                Ok(picture) => picture,
                Err(error) => {
                    if error.of_a_picture().is_none() {
                        return Err(error);
                    }
                    tracing::error!("{error}");
                    failed += 1;
                    continue;
                }
            };
            let name = self.name(path)?;
            let findings = labeller.look(&picture)?;
            let presence: Vec<Option<f32>> = findings.iter().map(|findings| findings.presence).collect();
            let mut found = Vec::new();
            for (place, (asked, findings)) in labeller.asked.iter().zip(&findings).enumerate() {
                let is_there = labeller.threshold.zip(findings.presence).is_none_or(|(least, own)| own >= least);
                let best = findings.best().filter(|best| is_there && has_area(&best.rect));
                found.extend(best.map(|best| Found { place, rect: best.rect, score: best.score, track: None }));
                let target = best.map(|best| {
                    let rect = best.rect;
                    json!({"x": rect.x0, "y": rect.y0, "w": rect.width(), "h": rect.height()})
                });
                let score = best.and_then(|best| best.score).or(findings.presence);
                let score = score.map(|score| (1e4 * f64::from(score)).round() / 1e4);
                let line = json!({"image": name, "phrase": asked.text, "box": target, "score": score});
                lines.extend([line.to_string(), "\n".to_owned()]);
            }
            let title = format!("{}: ", path.file_name().unwrap_or_default().to_string_lossy());
            sheets.add(&picture, &title, &labeller.asked, &found, &presence, labeller.grounder.trained());
            looked += 1;
            bar.inc(1);
        }
        bar.finish_and_clear();
        if looked > 0 {
            files::write(&self.labels, &lines)?;
            sheets.write(&self.sheet, &self.unsure)?;
            tracing::info!(
                "{}: {looked} pictures; look at {}; what is wrong goes into {}",
                self.labels.display(),
                self.sheet.display(),
                corrections(&self.labels)
            );
        }
        if labeller.is_interrupted() {
            return Err(Error::Interrupted);
        }
        match failed {
            0 => Ok(()),
            failed => Err(Error::Partial { failed, total: self.paths.len(), what: "pictures" }),
        }
    }

    /// What the labels call a picture: its path within their folder, or else its whole path.
    fn name(&self, picture: &Path) -> Result<String> {
        let whole = |path: &Path| std::fs::canonicalize(path).map_err(Error::io("read", path));
        let (picture, out) = (whole(picture)?, whole(&self.out)?);
        let name = picture.strip_prefix(&out).unwrap_or(&picture);
        let name =
            name.to_str().ok_or_else(|| Error::Usage(format!("{}: expected a name in UTF-8", name.display())))?;
        Ok(name.to_owned())
    }
}
