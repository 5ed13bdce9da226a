//! Reading a run's queries anew while it goes on.

use std::path::Path;

use super::RunFile;
use super::sightings::Common as SightingsCommon;
use super::streams::{common_queries, compiled_query, entries, is_streams_file, resolve};
use crate::cli::RunArgs;
use crate::error::{Error, Result};
use crate::stage::QuerySettings;

/// The files that a run's settings came from.
#[derive(Debug, Clone)]
pub struct Origin {
    args: RunArgs,
    /// Of the settings file, as it was when the run began.
    before: toml::Table,
}

/// What was read anew.
#[derive(Debug)]
pub struct ReloadedQueries {
    /// What streams look for, by their names.
    pub queries: Vec<(String, Vec<QuerySettings>)>,
    /// Other settings that changed.
    pub other: Vec<String>,
}

/// Settings that are read anew; all others count from the next start on.
const LIVE: [&str; 3] = ["query", "compiled_query", "stream"];

impl Origin {
    /// None where nothing comes from a file.
    ///
    /// # Errors
    /// The settings file cannot be read.
    pub(super) fn of(args: &RunArgs) -> Result<Option<Self>> {
        let has_streams = |sources: &[String]| sources.iter().any(|source| is_streams_file(Path::new(source)));
        if args.config.is_none() && !has_streams(&args.source) {
            return Ok(None);
        }
        Ok(Some(Self { args: args.clone(), before: settings(args)? }))
    }

    /// What the files say now.
    ///
    /// # Errors
    /// A file cannot be read, or what it says cannot be used: then nothing of it is.
    pub fn read(&self) -> Result<ReloadedQueries> {
        let now = settings(&self.args)?;
        let keys = self.before.keys().chain(now.keys().filter(|key| !self.before.contains_key(*key)));
        let other = keys.filter(|key| !LIVE.contains(&key.as_str()) && self.before.get(*key) != now.get(*key));
        let other = other.cloned().collect();
        let mut args = self.args.clone();
        if let Some(path) = &args.config {
            let name = path.display().to_string();
            args = RunFile::read(path)?.under(args, &name)?;
        }
        let compiled = compiled_query(&args)?;
        let common = common_queries(&args, compiled.as_ref());
        let mut all = std::mem::take(&mut args.stream);
        all.extend(entries(std::mem::take(&mut args.source))?);
        let places = SightingsCommon::of(&args)?.places;
        let streams = resolve(all, &common, None, &places)?;
        let queries = streams.into_iter().map(|stream| (stream.address.name, stream.queries)).collect();
        Ok(ReloadedQueries { queries, other })
    }
}

fn settings(args: &RunArgs) -> Result<toml::Table> {
    let Some(path) = &args.config else { return Ok(toml::Table::new()) };
    let fail = |e: toml::ser::Error| Error::Usage(format!("{}: {e}", path.display()));
    toml::Table::try_from(RunFile::read(path)?).map_err(fail)
}
