//! `/api/v1/streams`: what there is to see.

use std::sync::Arc;
use std::time::Duration;

use frames::overlay::Shape;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::page::Context;
use crate::page::live::{Drawn, LiveStream};
use crate::page::reply::{Answer, Refusal, Reply, json as reply, whole};

/// How long a picture may be waited for.
const PATIENCE: Duration = Duration::from_secs(10);

pub(in crate::page) fn list(context: &Context) -> Reply {
    let streams: Vec<Value> = context.shown.streams.iter().map(|stream| describe(context, stream)).collect();
    reply(json!({ "streams": streams }))
}

/// # Errors
/// There is no such stream.
pub(in crate::page) fn one(context: &Context, name: &str) -> Answer {
    Ok(reply(describe(context, context.stream(name)?)))
}

fn describe(context: &Context, stream: &LiveStream) -> Value {
    let mut statuses = context.shown.run_status.streams().iter();
    let status = statuses.find(|status| status.name == stream.name);
    let (up, ended, gap) = status.map_or((false, false, None), |status| status.comes());
    let video = if stream.film().is_some() { &["mp4", "jpeg"][..] } else { &["jpeg"] };
    let places: Vec<Value> = stream.places.iter().map(place).collect();
    json!({
        "name": stream.name, "live": stream.live, "up": up, "ended": ended, "gap": gap,
        "video": video, "places": places, "keeps": stream.keeps, "draws": stream.places_file.is_some(),
    })
}

fn place(shape: &Shape) -> Value {
    match shape {
        Shape::Area { name, corners } => json!({ "kind": "zone", "name": name, "points": corners }),
        Shape::Line { name, ends } => json!({ "kind": "line", "name": name, "points": ends }),
    }
}

/// The next frame that comes, as JPEG with what was found on it.
///
/// # Errors
/// There is no such stream, too many watch, or no frame comes.
pub(in crate::page) async fn picture(context: &Arc<Context>, name: &str) -> Answer {
    let stream = Arc::clone(context.stream(name)?);
    let _place = context.viewer()?;
    let pictures = stream.pictures(Drawn::Boxes);
    let mut pictures = pictures.map_err(|error| Refusal::from(crate::Error::Worker(error.to_string())))?;
    let next = async {
        loop {
            tokio::select! {
                () = stream.over() => return None,
                changed = pictures.changed() => {
                    let picture = pictures.borrow_and_update().clone();
                    if picture.is_some() || changed.is_err() {
                        return picture;
                    }
                }
            }
        }
    };
    if let Ok(Some(picture)) = timeout(PATIENCE, next).await {
        return Ok(whole("image/jpeg", picture.jpeg.clone()));
    }
    let reason = format!("stream {name}: no frame came");
    Err(Refusal::new(hyper::StatusCode::SERVICE_UNAVAILABLE, reason))
}
