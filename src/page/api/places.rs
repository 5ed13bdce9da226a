//! `/api/v1/streams/NAME/places`: zones and lines as they are written in the settings file. They count from the next start on.

use std::sync::{Arc, PoisonError};

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::{Place, PlacesFile, version_of};
use crate::error::Error;
use crate::page::Context;
use crate::page::reply::{Answer, Refusal, json as reply};
use crate::page::request::{Parameters, body};

/// All places of a stream.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Places {
    places: Vec<Place>,
    /// That of what was read before.
    version: Option<String>,
}

/// What stands in the file.
///
/// # Errors
/// There is no such stream, or no file that says what its places are.
pub(in crate::page) async fn read(context: &Arc<Context>, name: &str) -> Answer {
    at(context, name, |file| Ok(told(file, &file.read()?))).await
}

/// Writes other places into it.
///
/// # Errors
/// As of reading, or one of them cannot be.
pub(in crate::page) async fn write(context: &Arc<Context>, name: &str, request: Request<Incoming>) -> Answer {
    Parameters::of(&request, &[])?;
    // Before the body is read: whoever cannot write need not say what.
    file_of(context, name)?;
    let Places { places, version } = body(request).await?;
    at(context, name, move |file| {
        let copy = file.write(&places, version.as_deref()).map_err(|error| match error {
            // It was understood, and cannot be.
            Error::Usage(reason) => Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, reason),
            error => error.into(),
        })?;
        tracing::info!("zones and lines are written into {}; as it was: {}", file.name(), copy.display());
        Ok(told(file, &file.read()?))
    })
    .await
}

fn file_of<'a>(context: &'a Context, name: &str) -> Result<&'a std::sync::Mutex<PlacesFile>, Refusal> {
    let file = context.stream(name)?.places_file.as_ref();
    file.ok_or_else(|| Refusal::not_found(&format!("settings file with the zones of {name}")))
}

async fn at(
    context: &Arc<Context>,
    name: &str,
    act: impl FnOnce(&PlacesFile) -> Result<Value, Refusal> + Send + 'static,
) -> Answer {
    file_of(context, name)?;
    let (context, name) = (Arc::clone(context), name.to_owned());
    let done = tokio::task::spawn_blocking(move || -> Result<Value, Refusal> {
        // One change after the other.
        let file = file_of(&context, &name)?.lock().unwrap_or_else(PoisonError::into_inner);
        act(&file)
    });
    let done = done.await.map_err(|error| Refusal::from(crate::Error::Worker(error.to_string())))?;
    Ok(reply(done?))
}

fn told(file: &PlacesFile, places: &[Place]) -> Value {
    json!({ "file": file.name(), "places": places, "version": version_of(places) })
}
