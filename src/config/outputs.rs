//! Where results of a run go: each place checked, none twice and none over a file of the source.

use records::RecordPlace;
use std::path::{Path, PathBuf};

use crate::cli::OutArg;
use crate::error::{Error, Result};
use crate::secrets::without_login;
use crate::sink::holes::{self, StartTime};
use crate::sink::{Access, RtspOut, Target, numbered, place, same_file};

/// The outputs of one stream.
pub(super) struct Outputs {
    pub(super) records: Vec<RecordPlace>,
    pub(super) targets: Vec<Target>,
    pub(super) rtsp: Vec<RtspOut>,
}

impl Outputs {
    /// Files that later parts of a video must not replace.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let videos = self.targets.iter().filter_map(|target| match target {
            Target::Mp4(path) | Target::Mkv(path) => Some(path),
            Target::Frames(_) | Target::Display => None,
        });
        self.records.iter().map(|place| &place.path).chain(videos).cloned()
    }
}

/// The outputs of every stream. `names` are those of the streams, `files` what they read.
///
/// # Errors
/// A place cannot be written or is taken, several streams would write one video, or `access` forbids that one is served.
pub(super) fn resolve(outs: &[OutArg], names: &[&str], files: &[PathBuf], access: &Access) -> Result<Vec<Outputs>> {
    let (mut places, mut served) = (Vec::new(), Vec::<RtspOut>::new());
    let began = StartTime::now();
    let mut all = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let mut outputs = Outputs { records: Vec::new(), targets: Vec::new(), rtsp: Vec::new() };
        for out in outs {
            let (of_each, of_a_time) = (holes::of_each(out.place()), holes::of_a_time(out.place()));
            // What a file may be called, an address may not.
            let ascii = matches!(out, OutArg::Rtsp(_)).then(|| name.replace(|c: char| !c.is_ascii(), "_"));
            let out = out.clone().map_place(|place| holes::fill(place, ascii.as_deref().unwrap_or(name), &began));
            let out = if of_a_time { beside_others(out) } else { out };
            let shared = match &out {
                OutArg::Records(place) => place.format.is_shareable(),
                other => *other == OutArg::Display,
            };
            if names.len() > 1 && !of_each && !shared {
                let reason = "several streams cannot share it; put {source} into the path for the stream's name";
                return Err(Error::Usage(format!("--out {out}: {reason}")));
            }
            check(&out, files)?;
            if let Some(path) = out.path()
                && (of_each || index == 0)
            {
                let place = if path.as_os_str() == "-" { path.to_path_buf() } else { place(path) };
                if places.contains(&place) {
                    return Err(Error::Usage(format!("--out {}: is named twice", path.display())));
                }
                places.push(place);
            }
            match out {
                OutArg::Records(place) => outputs.records.push(place),
                OutArg::Mp4(path) => outputs.targets.push(Target::Mp4(path)),
                OutArg::Mkv(path) => outputs.targets.push(Target::Mkv(path)),
                OutArg::Frames(folder) => outputs.targets.push(Target::Frames(folder)),
                OutArg::Display => outputs.targets.push(Target::Display),
                OutArg::Rtsp(address) => {
                    let out = address.parse::<RtspOut>();
                    let out =
                        out.map_err(|reason| Error::Usage(format!("--out {}: {reason}", without_login(&address))))?;
                    serve(&out, &served, access)?;
                    served.push(out.clone());
                    outputs.rtsp.push(out);
                }
            }
        }
        all.push(outputs);
    }
    Ok(all)
}

/// A clock that is set back, as by local time in autumn, gives a time twice: what an earlier run wrote then is not replaced.
fn beside_others(out: OutArg) -> OutArg {
    let free = out.path().and_then(|path| (1..usize::MAX).map(|part| numbered(path, part)).find(|path| !path.exists()));
    match free.as_deref().and_then(Path::to_str) {
        Some(free) => out.map_place(|_| free.to_owned()),
        None => out,
    }
}

/// Refuses an address that is taken, or must not be there.
fn serve(out: &RtspOut, served: &[RtspOut], access: &Access) -> Result<()> {
    match served.iter().find(|other| other.place == out.place) {
        Some(other) if other.tls != out.tls => {
            Err(Error::Usage(format!("--out {out}: {other} is at the same port; either both have TLS or none")))
        }
        _ if served.iter().any(|other| (other.place, &other.path) == (out.place, &out.path)) => {
            Err(Error::Usage(format!("--out {out}: is named twice")))
        }
        _ => access.check(out),
    }
}

fn check(out: &OutArg, sources: &[PathBuf]) -> Result<()> {
    let fail = |reason: &str| Err(Error::Usage(format!("--out {out}: {reason}")));
    match out {
        OutArg::Records(place) if place.is_stdout() => Ok(()),
        OutArg::Records(RecordPlace { path, .. }) | OutArg::Mp4(path) | OutArg::Mkv(path) => {
            if !blocks::files::parent(path).is_dir() {
                return fail("its folder does not exist");
            }
            if path.is_dir() {
                return fail("is a folder, expected a file");
            }
            if sources.iter().any(|source| same_file(source, path)) {
                return fail("is the source itself");
            }
            Ok(())
        }
        // The folder is made where its parent is there; frames of an earlier run are not mixed with those of this one.
        OutArg::Frames(folder) => match std::fs::read_dir(folder).map(Iterator::count) {
            Ok(0) => Ok(()),
            Ok(_) => fail("is not empty"),
            Err(_) if folder.exists() => fail("is no folder"),
            Err(_) if !blocks::files::parent(folder).is_dir() => fail("its folder does not exist"),
            Err(_) => Ok(()),
        },
        OutArg::Display | OutArg::Rtsp(_) => Ok(()),
    }
}
