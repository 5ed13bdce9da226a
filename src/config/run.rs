//! Settings of `spotter run`.

use std::path::{Path, PathBuf};

use crate::cli::{OutArg, RunArgs};
use crate::error::{Error, Result};
use crate::source::Address;

/// What `run` does, checked as far as possible before any work.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// The video.
    pub address: Address,
    /// The sentence.
    pub query: String,
    /// The model directory; none for the built-in model.
    pub model: Option<PathBuf>,
    /// Record files; `-` is stdout.
    pub json_lines: Vec<PathBuf>,
    /// Annotated videos.
    pub mp4: Vec<PathBuf>,
    /// As typed; what it means depends on the model.
    pub threshold: Option<f32>,
    /// As typed.
    pub device: String,
}

impl RunSettings {
    /// Checks the source and that outputs can be written where they are wanted.
    ///
    /// # Errors
    /// The source is unusable, an output's folder is missing, or two outputs are one file.
    pub fn resolve(args: RunArgs) -> Result<Self> {
        let address = Address::resolve(&args.source)?;
        let (mut json_lines, mut mp4) = (Vec::new(), Vec::new());
        for out in args.out {
            let (kind, list, path) = match out {
                OutArg::JsonLines(path) => ("jsonl", &mut json_lines, path),
                OutArg::Mp4(path) => ("mp4", &mut mp4, path),
            };
            if !(kind == "jsonl" && path.as_os_str() == "-") {
                check_output(kind, &path, &address.path)?;
            }
            list.push(path);
        }
        let all: Vec<&PathBuf> = json_lines.iter().chain(&mp4).collect();
        let places: Vec<PathBuf> = all.iter().map(|path| place(path)).collect();
        if let Some(twice) = (0..all.len()).find(|&i| places[..i].contains(&places[i])) {
            return Err(Error::Usage(format!("--out {}: is named twice", all[twice].display())));
        }
        let RunArgs { query, model, threshold, device, .. } = args;
        Ok(Self { address, query, model, json_lines, mp4, threshold, device })
    }
}

fn check_output(kind: &str, path: &Path, source: &Path) -> Result<()> {
    let fail = |reason: &str| Err(Error::Usage(format!("--out {kind}:{}: {reason}", path.display())));
    let parent = qrnet::files::parent(path);
    if !parent.is_dir() {
        return fail("its folder does not exist");
    }
    if path.is_dir() {
        return fail("is a folder, expected a file");
    }
    let same = place(path) == place(source);
    if same {
        return fail("is the source itself");
    }
    Ok(())
}

/// Where a path leads, links and `..` resolved, also if there is nothing yet: equal places are one file.
pub(crate) fn place(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| {
        let parent = std::fs::canonicalize(qrnet::files::parent(path)).unwrap_or_default();
        parent.join(path.file_name().unwrap_or_default())
    })
}
