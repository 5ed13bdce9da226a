//! `/api/v1/sightings`: what was seen, with its pictures and clips.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::page::Context;
use crate::page::file;
use crate::page::reply::{Answer, Refusal, json as reply};
use crate::page::request::Parameters;
use crate::sightings::{FileRef, Filter, Kept};

/// What a list may be asked for.
const KNOWN: [&str; 7] = ["stream", "query", "zone", "since", "until", "open", "most"];
/// The kind of files that are clips.
const CLIP: &str = "clip";
/// Sightings of a list, where nothing is said of it, and at most.
const USUAL: u32 = 50;
const MOST: u32 = 500;

/// Those that are meant, the newest first.
///
/// # Errors
/// A parameter cannot be read, or the index cannot.
pub(in crate::page) async fn list(context: &Arc<Context>, request: &Request<Incoming>) -> Answer {
    let filter = filter(&Parameters::of(request, &KNOWN)?)?;
    let all = blocking(context, move |context| context.shown.archives.list(&filter)).await?;
    let all: Vec<Value> = all.iter().map(describe).collect();
    Ok(reply(json!({ "sightings": all })))
}

fn filter(parameters: &Parameters) -> Result<Filter, Refusal> {
    let text = |key: &str| parameters.get(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let time = |key: &str| -> Result<Option<i64>, Refusal> {
        let Some(text) = parameters.get(key) else { return Ok(None) };
        let time = humantime::parse_rfc3339_weak(text).map_err(|error| {
            let expected = "expected a time in UTC, as in 2026-11-30T18:00:00Z";
            Refusal::bad(format!("{key}={text}: {error}, {expected}"))
        })?;
        Ok(Some(crate::clock::unix_ns(time)))
    };
    let most = match parameters.get("most") {
        None => USUAL,
        Some(text) => text
            .parse()
            .ok()
            .filter(|most| (1..=MOST).contains(most))
            .ok_or_else(|| Refusal::bad(format!("most={text}: expected a number from 1 to {MOST}")))?,
    };
    let open = match parameters.get("open") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(Refusal::bad(format!("open={other}: expected true or false"))),
    };
    Ok(Filter {
        query: text("query"),
        stream: text("stream"),
        zone: text("zone"),
        since_unix_ns: time("since")?,
        until_unix_ns: time("until")?,
        open,
        most: Some(most),
    })
}

/// One of them.
///
/// # Errors
/// There is none of that id, or the index cannot be read.
pub(in crate::page) async fn one(context: &Arc<Context>, id: &str) -> Answer {
    let id = id.to_owned();
    blocking(context, move |context| {
        let found = context.shown.archives.get(&id)?;
        Ok(found.map(|(kept, _)| describe(&kept)).ok_or(id))
    })
    .await?
    .map(reply)
    .map_err(|id| Refusal::not_found(&format!("sighting {id}")))
}

/// A file of a sighting, by its place among them; with `video=h264` a clip as any browser plays it.
///
/// # Errors
/// There is none, it was deleted, the range is not within it, or it cannot be encoded.
pub(in crate::page) async fn file(
    context: &Arc<Context>,
    id: &str,
    number: &str,
    request: &Request<Incoming>,
) -> Answer {
    let lacking = || Refusal::not_found(&format!("file {number} of sighting {id}"));
    let parameters = Parameters::of(request, &["video"])?;
    let encoded = match parameters.get("video") {
        None => false,
        Some("h264") => true,
        Some(other) => return Err(Refusal::bad(format!("video={other}: expected h264"))),
    };
    let place: usize = number.parse().map_err(|_| lacking())?;
    let id_asked = id.to_owned();
    let found = blocking(context, move |context| {
        let found = context.shown.archives.get(&id_asked)?;
        Ok(found.and_then(|(kept, folder)| Some(Found::of(kept.sighting.files.get(place)?, folder))))
    })
    .await?;
    match found.ok_or_else(lacking)? {
        Found::Foreign => Err(lacking()),
        Found::Deleted => Err(file::deleted()),
        Found::There { path, is_clip } => {
            let path = if encoded && is_clip { context.playable.of(path).await? } else { path };
            file::send(path, request.headers()).await
        }
    }
}

/// A file that the index names.
enum Found {
    There {
        path: PathBuf,
        is_clip: bool,
    },
    Deleted,
    /// Outside of the folder: whatever the index says, it is not given away.
    Foreign,
}

impl Found {
    fn of(file: &FileRef, folder: &Path) -> Self {
        let Ok(path) = std::fs::canonicalize(&file.path) else { return Self::Deleted };
        match std::fs::canonicalize(folder) {
            Ok(folder) if path.starts_with(&folder) => Self::There { path, is_clip: file.kind == CLIP },
            _ => Self::Foreign,
        }
    }
}

/// A sighting without what is of this machine alone: its files by their addresses.
fn describe(Kept { sighting, cause }: &Kept) -> Value {
    let files: Vec<Value> = sighting
        .files
        .iter()
        .enumerate()
        .map(|(number, file)| {
            let id: String = percent_encoding::utf8_percent_encode(&sighting.id, percent_encoding::NON_ALPHANUMERIC).collect();
            let href = format!("/api/v1/sightings/{id}/files/{number}");
            let play = (file.kind == CLIP).then(|| format!("{href}?video=h264"));
            json!({
                "kind": file.kind, "href": href, "play": play,
                "type": file::content_type(&file.path), "start_pts_ns": file.start_pts_ns, "end_pts_ns": file.end_pts_ns,
            })
        })
        .collect();
    let mut value = json!(sighting);
    value["files"] = files.into();
    value["cause"] = json!(cause);
    value
}

/// Looks something up: disks take their time, and others are answered meanwhile.
async fn blocking<T: Send + 'static>(
    context: &Arc<Context>,
    ask: impl FnOnce(&Context) -> crate::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let context = Arc::clone(context);
    let asked = tokio::task::spawn_blocking(move || ask(&context)).await;
    Ok(asked.map_err(|error| Refusal::from(crate::Error::Worker(error.to_string())))??)
}
