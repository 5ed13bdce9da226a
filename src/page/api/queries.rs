//! `/api/v1/queries`: what streams are asked. Changes are the commands of the control socket.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use records::ten_thousandths;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::page::Context;
use crate::page::reply::{Answer, Refusal, Reply, json as reply, with_status};
use crate::page::request::{Parameters, body};
use crate::recent::warned;
use crate::service::{AskedStream, Command};

/// A query that is to be asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewQuery {
    query: String,
    name: Option<String>,
    threshold: Option<f32>,
    #[serde(default)]
    all: bool,
    stream: Option<String>,
}

/// What is to be different about one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    query: Option<String>,
    threshold: Option<f32>,
    stream: Option<String>,
}

pub(in crate::page) fn list(context: &Context) -> Reply {
    let of_stream = |AskedStream { name, queries }: AskedStream| {
        let queries = queries.into_iter().map(|(wanted, tracked)| {
            let threshold = tracked.tracking.threshold;
            json!({
                "name": tracked.query.name, "text": tracked.query.text, "rev": tracked.query.rev, "all": wanted.all,
                "threshold": threshold.map(ten_thousandths),
                "hysteresis": threshold.map(|_| ten_thousandths(tracked.tracking.hysteresis)),
            })
        });
        json!({ "stream": name, "queries": queries.collect::<Vec<Value>>() })
    };
    let streams: Vec<Value> = context.shown.queries.asked().into_iter().map(of_stream).collect();
    reply(json!({ "streams": streams }))
}

/// # Errors
/// The query cannot be asked.
pub(in crate::page) async fn add(context: &Arc<Context>, request: Request<Incoming>) -> Answer {
    Parameters::of(&request, &[])?;
    let NewQuery { query, name, threshold, all, stream } = body(request).await?;
    let changed = command(context, Command::AddQuery { query, name, threshold, all, stream }).await?;
    Ok(with_status(StatusCode::CREATED, changed))
}

/// Changes a query, or removes it.
///
/// # Errors
/// No stream asks one of that name, or it cannot be changed so.
pub(in crate::page) async fn edit(
    context: &Arc<Context>,
    name: &str,
    request: Request<Incoming>,
    method: &Method,
) -> Answer {
    let known = context.shown.queries.asked();
    if !known.iter().flat_map(|stream| &stream.queries).any(|(_, tracked)| tracked.query.name == name) {
        return Err(Refusal::not_found(&format!("query {name}")));
    }
    let name = name.to_owned();
    if *method == Method::DELETE {
        let stream = Parameters::of(&request, &["stream"])?.get("stream").map(str::to_owned);
        return command(context, Command::RemoveQuery { name, stream }).await;
    }
    Parameters::of(&request, &[])?;
    let Edit { query, threshold, stream } = body(request).await?;
    command(context, Command::SetQuery { query, name: Some(name), threshold, stream }).await
}

/// Compiling takes its time: others are answered meanwhile.
async fn command(context: &Arc<Context>, command: Command) -> Answer {
    let handle = Arc::clone(&context.shown.command);
    let done = tokio::task::spawn_blocking(move || warned(|| handle(command))).await;
    let (done, warnings) = done.map_err(|error| Refusal::from(crate::Error::Worker(error.to_string())))?;
    let mut changed = done?;
    changed["warnings"] = warnings.into();
    Ok(reply(changed))
}
