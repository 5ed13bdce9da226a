//! Which streams a run looks at, and for what.

use std::path::{Path, PathBuf};

use grounding::CompiledQuery;
use serde::{Deserialize, Serialize};

use super::sightings::Places;
use super::{LineEntry, QueryEntries, QueryEntry, ZoneEntry, missing};
use crate::cli::RunArgs;
use crate::error::{Error, Result};
use crate::secrets::Login;
use crate::source::{Address, Credentials, Kind};
use crate::stage::QuerySettings;

/// One stream of a `.streams` file or of a run's settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamEntry {
    /// How it is called in records; without one, by its address.
    pub id: Option<String>,
    /// As `--source`.
    pub source: String,
    /// What to look for in this stream, a sentence or tables; without it, what `--query` says.
    pub query: Option<QueryEntries>,
    /// A file with `user:password` for this stream.
    pub credentials: Option<PathBuf>,
    /// Areas of its picture, beside those of all streams.
    #[serde(default)]
    pub zone: Vec<ZoneEntry>,
    /// Lines through it, beside those of all streams.
    #[serde(default)]
    pub line: Vec<LineEntry>,
}

/// A `.streams` file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct StreamsFile {
    #[serde(default)]
    stream: Vec<StreamEntry>,
}

impl StreamEntry {
    /// With every key set.
    pub(super) fn example() -> Self {
        let text = || Some(String::new());
        let query = Some(QueryEntries::Tables(vec![QueryEntry::example()]));
        Self {
            id: text(),
            source: String::new(),
            query,
            credentials: Some(PathBuf::new()),
            zone: vec![ZoneEntry::example()],
            line: vec![LineEntry::example()],
        }
    }
}

impl blocks::strict::Strict for StreamsFile {
    fn example() -> Self {
        Self { stream: vec![StreamEntry::example()] }
    }
}

/// How the name of a file with streams ends.
const ENDING: &str = "streams";

/// The streams that sources name: themselves, or what stands in `.streams` files.
///
/// # Errors
/// A file cannot be read, has unknown keys or names no stream.
pub(super) fn entries(sources: Vec<String>) -> Result<Vec<StreamEntry>> {
    let mut entries = Vec::new();
    for source in sources {
        let path = Path::new(&source);
        if is_streams_file(path) && !source.contains("://") {
            let streams = read(path, &source)?;
            if streams.is_empty() {
                let reason =
                    "names no stream, expected an address a line, or [[stream]] tables with source = \"rtsp://…\"";
                return Err(Error::Usage(format!("--source {source}: {reason}")));
            }
            entries.extend(streams);
        } else {
            entries.push(StreamEntry { source, ..StreamEntry::default() });
        }
    }
    Ok(entries)
}

/// True for the name of a file that names streams.
pub(crate) fn is_streams_file(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == ENDING)
}

/// Tables, or addresses line by line.
fn read(path: &Path, name: &str) -> Result<Vec<StreamEntry>> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    if text.lines().any(|line| line.trim_start().starts_with('[')) {
        return Ok(blocks::strict::toml::<StreamsFile>(&text, name)?.stream);
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|source| StreamEntry { source: source.to_owned(), ..StreamEntry::default() }).collect())
}

/// A stream, resolved.
pub(super) struct Resolved {
    pub(super) address: Address,
    pub(super) queries: Vec<QuerySettings>,
    pub(super) login: Option<Credentials>,
    pub(super) places: Places,
}

/// Resolves all of them. `queries` and `login` are for those that have none of their own, `places` for all.
///
/// # Errors
/// There is none, one is unusable, has no query, or two have one name.
pub(super) fn resolve(
    entries: Vec<StreamEntry>,
    queries: &[QueryEntry],
    login: Option<&Credentials>,
    places: &Places,
) -> Result<Vec<Resolved>> {
    if entries.is_empty() {
        return Err(missing("source", "clip.mp4"));
    }
    let mut streams: Vec<Resolved> = Vec::new();
    for entry in entries {
        let mut address = Address::resolve(&entry.source)?;
        if let Some(id) = entry.id {
            if id.trim().is_empty() {
                return Err(Error::Usage(format!("id {id:?} of {}: says nothing, expected a name", address.name)));
            }
            address.name = id;
        }
        let own = entry.credentials.as_deref().map(Credentials::read).transpose();
        let own = own.map_err(|error| Error::Usage(format!("credentials of {}: {error}", address.name)))?;
        let own_queries = entry.query.map(QueryEntries::list);
        let queries = super::queries::resolve(own_queries.as_deref().unwrap_or(queries))?;
        if let Some(other) = streams.iter().find(|other| other.address.name == address.name) {
            let reason = "is named twice; give each its own id in a .streams file";
            return Err(Error::Usage(format!("--source {}: {reason}", other.address.name)));
        }
        if own.is_some() && !matches!(address.kind, Kind::Rtsp { .. }) {
            return Err(Error::Usage(format!("credentials of {}: are for rtsp:// and rtsps:// alone", address.name)));
        }
        let places = places.with(&entry.zone, &entry.line, &format!(" of {}", address.name))?;
        places.check_queries(&queries)?;
        let login = own.or_else(|| login.cloned());
        streams.push(Resolved { address, queries, login, places });
    }
    Ok(streams)
}

/// The one stream of a pipeline that names its source itself.
///
/// # Errors
/// There is nothing to look for.
pub(super) fn of_pipeline(name: String, live: bool, queries: &[QueryEntry], places: &Places) -> Result<Resolved> {
    let queries = super::queries::resolve(queries)?;
    places.check_queries(&queries)?;
    let places = places.clone();
    Ok(Resolved { address: Address { name, kind: Kind::Pipeline { live } }, queries, login: None, places })
}

/// What streams are asked that have no queries of their own.
pub(super) fn common_queries(args: &RunArgs, compiled: Option<&(PathBuf, String)>) -> Vec<QueryEntry> {
    match compiled {
        Some((_, text)) if args.query.is_empty() => vec![text.as_str().into()],
        _ => args.query.clone(),
    }
}

/// The login that is meant for all streams: of the file that a flag names, else of the environment.
///
/// # Errors
/// The file cannot be read or holds none.
pub(super) fn common_login(file: Option<&Path>) -> Result<Option<Credentials>> {
    match file {
        Some(file) => Credentials::read(file).map(Some),
        None => Ok(environment_login("SPOTTER_RTSP")?.map(Credentials::from)),
    }
}

/// What `NAME_USER` and `NAME_PASSWORD` say.
///
/// # Errors
/// One is set and the other is not.
pub(super) fn environment_login(name: &str) -> Result<Option<Login>> {
    let (user_name, password_name) = (format!("{name}_USER"), format!("{name}_PASSWORD"));
    // Files of services often name what they leave empty.
    let said = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    match (said(&user_name), said(&password_name)) {
        (Some(user), Some(password)) => Ok(Some(Login::new(&user, &password))),
        (Some(_), None) => Err(Error::Usage(format!("{user_name} is set, but {password_name} is not"))),
        (None, Some(_)) => Err(Error::Usage(format!("{password_name} is set, but {user_name} is not"))),
        (None, None) => Ok(None),
    }
}

/// The file that `--compiled-query` names, and its sentence.
pub(super) fn compiled_query(args: &RunArgs) -> Result<Option<(PathBuf, String)>> {
    if args.compiled_query.is_some() && !args.query.is_empty() {
        return Err(Error::Usage("query and compiled_query: only one of them can be meant".into()));
    }
    args.compiled_query.clone().map(|path| Ok((path.clone(), CompiledQuery::text_of(&path)?))).transpose()
}
