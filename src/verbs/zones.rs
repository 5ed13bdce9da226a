//! `spotter zones`: zones and lines, drawn on the first frame of a source.

use std::path::{Path, PathBuf};

use crossbeam_channel::{Sender, bounded};
use frames::overlay::Part;
use grounding::{Canvas, Findings};

use crate::cli::{OutArg, RunArgs, ZonesArgs};
use crate::config::{RunFile, RunSettings};
use crate::error::{Error, Result};
use crate::sink::{place, same_file};
use crate::stage::{Answer, Ground, Job};

/// Looks once, and finds nothing.
struct Glance {
    /// Ends the run when it goes.
    stop: Option<Sender<()>>,
}

impl Ground for Glance {
    fn canvas(&self) -> Canvas {
        const SIDE: usize = 64;
        Canvas { width: SIDE, height: SIDE }
    }

    fn ground(&mut self, jobs: &[Job]) -> grounding::Result<Vec<Answer>> {
        self.stop = None;
        Ok(jobs.iter().map(|_| vec![Findings::default()]).collect())
    }
}

/// # Errors
/// The settings are wrong, there is no frame, or the drawing cannot be written.
pub(super) fn run(args: ZonesArgs) -> Result<()> {
    let ZonesArgs { source, config, stream, out } = args;
    let fail = |reason: &str| Err(Error::Usage(format!("--out {}: {reason}", out.display())));
    if out.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
        return fail("expected a name that ends in .png");
    }
    if !blocks::files::parent(&out).is_dir() {
        return fail("its folder does not exist");
    }
    crate::pipeline::init()?;
    let scratch = tempfile::tempdir_in(blocks::files::parent(&out)).map_err(Error::io("create", &out))?;
    let folder = scratch.path().join("{source}");
    let typed = RunArgs {
        source: source.into_iter().collect(),
        query: vec!["zones".into()],
        out: vec![OutArg::Frames(folder)],
        overlay: Some(vec![Part::Zones]),
        ..RunArgs::default()
    };
    let args = RunFile::read(&config)?.under(typed, &config.display().to_string())?;
    // Nothing is served, nobody commands, and nothing is kept.
    let args = RunArgs { out_tls: None, metrics: None, control: None, sightings_table: None, ..args };
    let args = RunArgs { page: None, page_password: None, page_token: None, page_host: Vec::new(), ..args };
    let args = RunArgs { reproducible: false, ..args };
    let mut settings = RunSettings::resolve(args)?;
    let names = || settings.streams.iter().map(|stream| stream.address.name.as_str()).collect::<Vec<_>>().join(", ");
    let place_of = |wanted: &str| settings.streams.iter().position(|stream| stream.address.name == wanted);
    let number = match (&stream, settings.streams.len()) {
        (Some(wanted), _) => place_of(wanted).ok_or_else(|| {
            Error::Usage(format!("--stream {wanted}: there is none of that name, expected one of {}", names()))
        })?,
        (None, 1) => 0,
        (None, _) => return Err(Error::Usage(format!("--stream NAME: is needed, one of {}", names()))),
    };
    let stream = settings.streams.swap_remove(number);
    if stream.output.drawing.shapes.is_empty() {
        let reason = format!("has no [[zone]] and no [[line]] for {}", stream.address.name);
        return Err(Error::Usage(format!("{}: {reason}", config.display())));
    }
    if stream.address.files().iter().any(|file| same_file(file, &out)) || place(&config) == place(&out) {
        return fail("is the source or the settings file itself");
    }
    settings.streams = vec![stream];
    let stream = &mut settings.streams[0];
    // Nothing of the run but the picture.
    stream.sightings = None;
    stream.output.sinks.clear();
    stream.queries.truncate(1);
    let written = stream.output.targets.clone();
    let (stop, stopped) = bounded(0);
    crate::run::look(&settings, Box::new(Glance { stop: Some(stop) }), stopped)?;
    let name = &settings.streams[0].address.name;
    let first = written.iter().find_map(|target| match target {
        crate::sink::Target::Frames(folder) => first_picture(folder),
        _ => None,
    });
    let first = first.ok_or_else(|| {
        let reason = "no frame came out of it".into();
        Error::Source { code: "SOURCE_EMPTY", name: name.clone(), reason }
    })?;
    std::fs::rename(first, &out).map_err(Error::io("write", &out))?;
    tracing::info!("{}: the zones of {name}", out.display());
    Ok(())
}

/// The picture with the lowest number.
fn first_picture(folder: &Path) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).min()
}
