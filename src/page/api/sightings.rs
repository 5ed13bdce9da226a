//! `/api/v1/sightings`: what was seen, with its pictures and clips.

use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::page::Context;
use crate::page::file;
use crate::page::reply::{Answer, Refusal, json as reply};
use crate::page::request::Parameters;
use crate::sightings::{Filter, Kept};

/// What a list may be asked for.
const KNOWN: [&str; 7] = ["stream", "query", "zone", "since", "until", "open", "most"];
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
    Ok(reply(&json!({ "sightings": all })))
}

fn filter(parameters: &Parameters) -> Result<Filter, Refusal> {
    let text = |key: &str| parameters.get(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let time = |key: &str| -> Result<Option<i64>, Refusal> {
        let Some(text) = text(key) else { return Ok(None) };
        let time = humantime::parse_rfc3339_weak(&text).map_err(|error| {
            let expected = "expected a time in UTC, as in 2026-11-30T18:00:00Z";
            Refusal::bad(format!("{key}={text}: {error}, {expected}"))
        })?;
        Ok(Some(crate::clock::unix_ns(time)))
    };
    let most = match text("most") {
        None => USUAL,
        Some(text) => text
            .parse()
            .ok()
            .filter(|most| (1..=MOST).contains(most))
            .ok_or_else(|| Refusal::bad(format!("most={text}: expected a number from 1 to {MOST}")))?,
    };
    let open = match text("open").as_deref() {
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
    .map(|sighting| reply(&sighting))
    .map_err(|id| Refusal::not_found(&format!("sighting {id}")))
}

/// A file of a sighting, by its place among them.
///
/// # Errors
/// There is none, it was deleted, or the range is not within it.
pub(in crate::page) async fn file(
    context: &Arc<Context>,
    id: &str,
    number: &str,
    request: &Request<Incoming>,
) -> Answer {
    let lacking = || Refusal::not_found(&format!("file {number} of sighting {id}"));
    let place: usize = number.parse().map_err(|_| lacking())?;
    let id_asked = id.to_owned();
    let found = blocking(context, move |context| {
        let found = context.shown.archives.get(&id_asked)?;
        Ok(found.and_then(|(kept, folder)| {
            let path = kept.sighting.files.get(place)?.path.clone();
            // Whatever the index says: nothing outside of the folder is given away.
            let (path, folder) = (std::fs::canonicalize(path).ok()?, std::fs::canonicalize(folder).ok()?);
            path.starts_with(folder).then_some(path)
        }))
    })
    .await?;
    file::send(found.ok_or_else(lacking)?, request.headers()).await
}

/// A sighting without what is of this machine alone: its files by their addresses.
fn describe(Kept { sighting, cause }: &Kept) -> Value {
    let files: Vec<Value> = sighting
        .files
        .iter()
        .enumerate()
        .map(|(number, file)| {
            let id: String = percent_encoding::utf8_percent_encode(&sighting.id, percent_encoding::NON_ALPHANUMERIC).collect();
            json!({
                "kind": file.kind, "href": format!("/api/v1/sightings/{id}/files/{number}"),
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
