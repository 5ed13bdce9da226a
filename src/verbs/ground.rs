//! `spotter ground`: pictures in, records and drawings out.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blocks::preprocess::{Letterboxer, Picture, Rect};
use frames::overlay::{Annotation, Parts, blend_rgb, tiles};
use grounding::{CompiledQuery, Grounder};
use records::track::{FrameResult, Outcome, QueryResult, StreamTracker, TrackedQuery, Tracking};
use records::{Counts, FrameRecord, JsonLines, Latency, Query, QueryStatus, Resolution, run_id};

use crate::cli::GroundArgs;
use crate::config::{load_model, threshold};
use crate::error::{Error, Result};
use crate::service::check_all;
use crate::sink::place;
use crate::source::open_picture;
use crate::stage::QuerySettings;

/// Grounds pictures, one after the other. A picture that cannot be read is reported and does not stop the others.
///
/// # Errors
/// The model or the query is unusable, or a picture failed.
pub(super) fn run(args: &GroundArgs) -> Result<()> {
    let target = args.out.as_deref().map(|out| DrawTarget::resolve(out, &args.pictures)).transpose()?;
    let grounder =
        load_model(args.model.as_deref(), &args.device, args.precision.into(), args.compiled_query.is_some())?;
    let threshold = threshold(args.threshold, &grounder)?;
    let compiled = match &args.compiled_query {
        Some(file) => vec![grounder.load_query(file)?],
        None => args.query.iter().map(|text| grounder.compile(text)).collect::<grounding::Result<_>>()?,
    };
    let queries: Vec<QuerySettings> = compiled.iter().map(|query| QuerySettings::of(query.text())).collect();
    check_all(&queries).map_err(|reason| Error::Usage(format!("--query: {reason}")))?;
    if let Some(file) = &args.save_query {
        let [query] = compiled.as_slice() else {
            return Err(Error::Usage(format!("--save-query {}: is for one --query", file.display())));
        };
        query.save(file)?;
        tracing::info!("query saved to {}", file.display());
    }
    let queries: Vec<Query> = compiled.iter().map(|query| Query::of(query.text())).collect();
    let job =
        Job { grounder: &grounder, compiled: compiled.iter().collect(), queries, threshold, target, run_id: run_id() };
    let mut records = JsonLines::create(Path::new("-"), true)?;
    let mut letterboxer = Letterboxer::default();
    let (began, mut counts, mut failed) = (Instant::now(), Counts::default(), 0);
    for (seq, path) in args.pictures.iter().enumerate() {
        let start = Instant::now();
        match job.ground(path, &mut letterboxer) {
            Ok((result, resolution)) => {
                counts.add(&result, &job.queries);
                records.write(&job.record(seq, path, &result, Some(resolution), start))?;
            }
            Err(error) => {
                let Some(cause) = error.of_a_picture() else { return Err(error) };
                failed += 1;
                tracing::error!("{error}");
                let result = job.result_of(&Outcome::Error { cause, message: error.to_string() });
                records.write(&job.record(seq, path, &result, None, start))?;
            }
        }
    }
    // Where nothing was grounded the errors say it all.
    if failed < args.pictures.len() {
        tracing::info!("{}", summary(&counts, failed, began.elapsed()));
    }
    match failed {
        0 => Ok(()),
        failed => Err(Error::Partial { failed, total: args.pictures.len(), what: "pictures" }),
    }
}

/// What a run came to, on a line.
fn summary(counts: &Counts, failed: usize, took: Duration) -> String {
    let pictures = counts.frames.measured;
    let found: Vec<String> = match counts.queries.as_slice() {
        [query] => vec![format!("{} box, {} absent", query.boxed, query.absent)],
        queries => queries.iter().map(|q| format!("{}: {} box, {} absent", q.name, q.boxed, q.absent)).collect(),
    };
    let many = if pictures == 1 { "" } else { "s" };
    let failed = if failed > 0 { format!("; {failed} failed") } else { String::new() };
    format!("{pictures} picture{many}: {}{failed}; {:.2} s", found.join("; "), took.as_secs_f64())
}

struct Job<'a> {
    grounder: &'a Grounder,
    compiled: Vec<&'a CompiledQuery>,
    queries: Vec<Query>,
    threshold: Option<f32>,
    target: Option<DrawTarget>,
    run_id: String,
}

impl Job<'_> {
    fn ground(&self, path: &Path, letterboxer: &mut Letterboxer) -> Result<(FrameResult, Resolution)> {
        let mut picture = open_picture(path)?;
        let letterboxed =
            letterboxer.letterbox(&picture.view()?, self.grounder.canvas_for(picture.width, picture.height))?;
        let mut answers = self.grounder.ground(&[&letterboxed], &self.compiled)?;
        let result = self.result_of(&Outcome::Measured(answers.pop().unwrap_or_default()));
        if let Some(target) = &self.target {
            let tiles = tiles(&self.annotations(&result), Parts::default(), picture.width, picture.height)?;
            blend_rgb(&mut picture.rgb, picture.width, &tiles);
            write_png(&target.file(path), &picture)?;
        }
        let resolution = Resolution { width: picture.width, height: picture.height, rotation: 0, par: 1.0 };
        Ok((result, resolution))
    }

    /// Pictures have no history.
    fn result_of(&self, outcome: &Outcome) -> FrameResult {
        let asked = |query: &Query| TrackedQuery { query: query.clone(), tracking: Tracking::plain(self.threshold) };
        StreamTracker::new(self.queries.iter().map(asked).collect()).update(outcome, Duration::ZERO, 1.0)
    }

    /// What is drawn.
    fn annotations(&self, result: &FrameResult) -> Vec<Annotation> {
        let trained = self.grounder.trained();
        let claims = self.queries.iter().zip(&result.queries).enumerate();
        let of_claim = |(place, (query, claim)): (usize, (&Query, &QueryResult))| {
            let annotation = |rect: Option<Rect>, score| {
                let query = query.name.clone();
                Annotation { rect, carried: false, place, query, id: None, score, trained }
            };
            let missing = claim.status == QueryStatus::Absent;
            let objects = claim.objects.iter().map(|object| annotation(Some(object.rect), object.score));
            objects.chain(missing.then(|| annotation(None, claim.presence))).collect::<Vec<_>>()
        };
        claims.flat_map(of_claim).collect()
    }

    fn record<'b>(
        &'b self,
        seq: usize,
        path: &'b Path,
        result: &FrameResult,
        resolution: Option<Resolution>,
        start: Instant,
    ) -> FrameRecord<'b> {
        let source = path.to_str().unwrap_or("(no UTF-8 path)");
        let spent = 1e3 * start.elapsed().as_secs_f64();
        let latency_ms = Some(Latency { queue: 0.0, ground: spent, total: spent });
        FrameRecord {
            latency_ms,
            ..FrameRecord::new((&self.run_id, source), seq as u64, &self.queries, result, resolution)
        }
    }
}

/// Where drawings go.
enum DrawTarget {
    File(PathBuf),
    Folder(PathBuf),
}

impl DrawTarget {
    fn resolve(out: &Path, pictures: &[PathBuf]) -> Result<Self> {
        let fail = |reason: &str| Err(Error::Usage(format!("--out {}: {reason}", out.display())));
        if out.is_dir() {
            let target = Self::Folder(out.to_path_buf());
            let files: Vec<PathBuf> = pictures.iter().map(|picture| place(&target.file(picture))).collect();
            for (i, file) in files.iter().enumerate() {
                let shown = file.display();
                if files[..i].contains(file) {
                    return fail(&format!("two pictures would be drawn to {shown}"));
                }
                if pictures.iter().any(|picture| place(picture) == *file) {
                    return fail(&format!("the drawing would replace the picture {shown}"));
                }
            }
            return Ok(target);
        }
        if pictures.iter().any(|picture| place(picture) == place(out)) {
            return fail("is the picture itself");
        }
        let parent = blocks::files::parent(out);
        if pictures.len() > 1 {
            if out.exists() || out.extension().is_some() || !parent.is_dir() {
                return fail("for several pictures, expected a folder, or a name for one in a folder that exists");
            }
            std::fs::create_dir(out).map_err(Error::io("create", out))?;
            return Self::resolve(out, pictures);
        }
        if out.extension().is_none_or(|e| !e.eq_ignore_ascii_case("png")) {
            return fail("expected a name that ends in .png");
        }
        if !parent.is_dir() {
            return fail("its folder does not exist");
        }
        Ok(Self::File(out.to_path_buf()))
    }

    fn file(&self, picture: &Path) -> PathBuf {
        match self {
            Self::File(file) => file.clone(),
            Self::Folder(folder) => {
                let mut name = picture.file_name().unwrap_or_default().to_os_string();
                if picture.extension().is_none_or(|e| !e.eq_ignore_ascii_case("png")) {
                    name.push(".png");
                }
                folder.join(name)
            }
        }
    }
}

/// Written in full or not at all.
fn write_png(path: &Path, picture: &Picture) -> Result<()> {
    let (width, height, mut png) = (picture.width as u32, picture.height as u32, std::io::Cursor::new(Vec::new()));
    let (colour, format) = (image::ExtendedColorType::Rgb8, image::ImageFormat::Png);
    image::write_buffer_with_format(&mut png, &picture.rgb, width, height, colour, format)
        .map_err(|e| Error::io("write", path)(std::io::Error::other(e)))?;
    Ok(blocks::files::write(path, png.get_ref())?)
}
