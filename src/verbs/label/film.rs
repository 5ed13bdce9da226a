//! A film's labels: a table of boxes, and what was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use blocks::files;
use qrnet_train::data::clip::{Asked as Questions, Referent};
use records::Query;
use records::track::{LOST, Outcome, StreamTracker, TrackedQuery, Tracking};

use super::sheets::Sheets;
use super::{Found, Labeller, has_area, progress};
use crate::cli::LabelArgs;
use crate::error::{Error, Result};
use crate::source::RgbFrames;

/// Frames a second, as far as things are followed: how fast they may be.
const RATE: f64 = 25.0;
/// The table's first line.
const HEADER: &str = "frame,track,left,top,width,height,confidence";

/// A film, and where its labels go.
pub(super) struct Film {
    path: PathBuf,
    stride: usize,
    table: PathBuf,
    queries: PathBuf,
    sheet: PathBuf,
    unsure: PathBuf,
}

impl Film {
    pub(super) fn new(path: &Path, args: &LabelArgs) -> Result<Self> {
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::Usage(format!("{}: expected a name in UTF-8", path.display())))?;
        let file = |ending: &str| args.out.join(format!("{name}.{ending}"));
        Ok(Self {
            path: std::path::absolute(path).map_err(Error::io("read", path))?,
            stride: args.stride as usize,
            table: file("csv"),
            queries: file("queries.toml"),
            sheet: file("sheet.png"),
            unsure: file("unsure.png"),
        })
    }

    /// What it leaves.
    pub(super) fn targets(&self) -> [&Path; 4] {
        [&self.table, &self.queries, &self.sheet, &self.unsure]
    }

    /// Labels the film as far as it goes, or as far as it was let.
    pub(super) fn label(&self, labeller: &mut Labeller) -> Result<()> {
        crate::pipeline::init()?;
        let frames = RgbFrames::open(&self.path, None)?;
        let mut tracks = Tracks::new(labeller);
        let mut sheets = Sheets::new(labeller.threshold);
        let mut table = format!("{HEADER}\n");
        let (mut looked, mut boxes) = (0u64, 0u64);
        let bar = progress(&self.path.display().to_string(), None);
        for (index, picture) in frames.enumerate() {
            if labeller.is_interrupted() {
                break;
            }
            let picture = picture?;
            if !index.is_multiple_of(self.stride) {
                continue;
            }
            let findings = labeller.look(&picture)?;
            let presence: Vec<Option<f32>> = findings.iter().map(|findings| findings.presence).collect();
            let diagonal = (picture.width as f64).hypot(picture.height as f64);
            let found = tracks.found(&Outcome::Measured(findings), index, diagonal);
            for Found { rect, score, track, .. } in &found {
                let (left, top, width, height) = (rect.x0, rect.y0, rect.width(), rect.height());
                // A confidence of 0 would take the box away.
                let score = score.unwrap_or(1.0).max(1e-4);
                let (frame, track) = (index + 1, track.unwrap_or_default());
                let line = format!("{frame},{track},{left:.2},{top:.2},{width:.2},{height:.2},{score:.4}\n");
                table.push_str(&line);
                boxes += 1;
            }
            let title = format!("{}: ", index + 1);
            sheets.add(&picture, &title, &labeller.asked, &found, &presence, labeller.grounder.trained());
            looked += 1;
            bar.inc(1);
        }
        bar.finish_and_clear();
        if looked == 0 && labeller.is_interrupted() {
            return Err(Error::Interrupted);
        }
        if looked == 0 {
            let (name, reason) = (self.path.display().to_string(), "holds no frames".to_owned());
            return Err(Error::Source { code: "SOURCE_EMPTY", name, reason });
        }
        files::write(&self.table, &table)?;
        files::write(&self.queries, self.questions(labeller, &tracks)?)?;
        sheets.write(&self.sheet, &self.unsure)?;
        let shown = self.table.display();
        if boxes == 0 {
            tracing::warn!("{shown}: nothing was found on {looked} frames; a lower --threshold claims more");
        }
        tracing::info!("{shown}: {boxes} boxes on {looked} frames; look at {}", self.sheet.display());
        if labeller.is_interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// What was asked, with the lines of a recipe that read the labels.
    fn questions(&self, labeller: &Labeller, tracks: &Tracks) -> Result<String> {
        let referent = |(place, asked): (usize, &super::Asked)| Referent {
            name: asked.name.clone(),
            tracks: Some(tracks.of(place)),
            all: asked.all,
            still: None,
            phrases: vec![asked.text.clone()],
        };
        let questions = Questions { referent: labeller.asked.iter().enumerate().map(referent).collect() };
        let text = toml::to_string(&questions).map_err(|e| {
            let (name, reason) = (self.queries.display().to_string(), e.to_string());
            Error::Output { name, reason }
        })?;
        let name =
            |path: &Path| toml::Value::String(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        let clip = toml::Value::String(self.path.display().to_string());
        let mut lines = vec![
            "# What was asked, and of whom the tracks in the table are. Other words for the same go into `phrases`."
                .to_owned(),
            format!("# What is wrong goes into {}.", corrections(&self.table)),
            "# In a recipe in this folder:".to_owned(),
            "# [[phase.lists]]".to_owned(),
            "# format = \"clip\"".to_owned(),
            format!("# clip = {clip}"),
            format!("# labels = {}", name(&self.table)),
            format!("# queries = {}", name(&self.queries)),
            format!("# step = {}", self.stride),
        ];
        if labeller.asked.iter().any(|asked| asked.all) {
            // A question about one picture has one box: all of a kind are measured on, and not trained on.
            let one = labeller.asked.iter().filter(|asked| !asked.all);
            let one: Vec<toml::Value> = one.map(|asked| toml::Value::String(asked.name.clone())).collect();
            lines.push(format!("# referents = {}", toml::Value::Array(one)));
        }
        Ok(format!("{}\n\n{text}", lines.join("\n")))
    }
}

/// The name of the second file.
pub(super) fn corrections(labels: &Path) -> String {
    let beside = qrnet_train::data::corrections::beside(labels);
    beside.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Which track a box belongs to: one for each question about one thing, numbered as they are, and behind them one for each
/// thing of the others.
struct Tracks {
    tracker: StreamTracker,
    /// Whether all things are followed, by question.
    all: Vec<bool>,
    /// Numbers of what is followed, by question and the tracker's id.
    numbers: BTreeMap<(usize, u64), u64>,
    used: Vec<BTreeSet<u64>>,
}

impl Tracks {
    fn new(labeller: &Labeller) -> Self {
        let tracked = |asked: &super::Asked| {
            let lost = if asked.all { LOST } else { Duration::ZERO };
            let tracking = Tracking { all: asked.all, lost, ..Tracking::plain(labeller.threshold) };
            TrackedQuery { query: Query::of(&asked.text), tracking }
        };
        Self {
            tracker: StreamTracker::new(labeller.asked.iter().map(tracked).collect()),
            all: labeller.asked.iter().map(|asked| asked.all).collect(),
            numbers: BTreeMap::new(),
            used: vec![BTreeSet::new(); labeller.asked.len()],
        }
    }

    /// The boxes of frame `index`, from 0.
    fn found(&mut self, outcome: &Outcome, index: usize, diagonal: f64) -> Vec<Found> {
        let time = Duration::from_secs_f64(index as f64 / RATE);
        let result = self.tracker.update(outcome, time, diagonal);
        let mut found = Vec::new();
        for (place, claim) in result.queries.iter().enumerate() {
            for object in claim.objects.iter().filter(|object| has_area(&object.rect)) {
                let track = self.number(place, object.id);
                self.used[place].insert(track);
                found.push(Found { place, rect: object.rect, score: object.score, track: Some(track) });
            }
        }
        found
    }

    fn number(&mut self, place: usize, id: u64) -> u64 {
        if !self.all[place] {
            return place as u64 + 1;
        }
        let next = (self.all.len() + self.numbers.len()) as u64 + 1;
        *self.numbers.entry((place, id)).or_insert(next)
    }

    /// Those that have a box.
    fn of(&self, place: usize) -> Vec<u64> {
        self.used[place].iter().copied().collect()
    }
}
