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
    /// The model directory.
    pub model: PathBuf,
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
                check_output(kind, &path, &args.source)?;
            }
            list.push(path);
        }
        let all: Vec<&PathBuf> = json_lines.iter().chain(&mp4).collect();
        if let Some(twice) = all.iter().enumerate().find(|(i, path)| all[..*i].contains(path)) {
            return Err(Error::Usage(format!("--out {}: is named twice", twice.1.display())));
        }
        let RunArgs { query, model, threshold, device, .. } = args;
        Ok(Self { address, query, model, json_lines, mp4, threshold, device })
    }
}

fn check_output(kind: &str, path: &Path, source: &str) -> Result<()> {
    let fail = |reason: &str| Err(Error::Usage(format!("--out {kind}:{}: {reason}", path.display())));
    let parent = qrnet::files::parent(path);
    if !parent.is_dir() {
        return fail("its folder does not exist");
    }
    if path.is_dir() {
        return fail("is a folder, expected a file");
    }
    let same =
        std::fs::canonicalize(path).is_ok_and(|out| std::fs::canonicalize(source).is_ok_and(|source| source == out));
    if same {
        return fail("is the source itself");
    }
    Ok(())
}
