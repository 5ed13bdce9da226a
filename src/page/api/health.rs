//! `/api/v1/health`: how things are.

use serde_json::json;

use crate::page::reply::{Reply, json as reply};
use crate::page::{Context, VIEWERS};
use crate::recent::warnings;

pub(in crate::page) fn answer(context: &Context) -> Reply {
    let status = &context.shown.run_status;
    let streams: Vec<_> = status.streams().iter().map(|stream| stream.to_json()).collect();
    let warnings: Vec<_> = warnings()
        .into_iter()
        .map(|warning| {
            json!({
                "time_unix_ns": warning.unix_ns, "level": warning.level, "stream": warning.stream,
                "text": warning.text,
            })
        })
        .collect();
    reply(json!({
        "about": context.shown.about, "started": status.has_started(), "ready": status.is_ready(),
        "live": status.is_live(), "viewers": VIEWERS - context.viewers.available_permits(), "streams": streams,
        "warnings": warnings,
    }))
}
