//! `/api/v1/findings`: records as they are made, as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{sleep, timeout};

use crate::page::Context;
use crate::page::access::Admission;
use crate::page::live::{LiveLine, LiveStream};
use crate::page::reply::{Answer, parts};
use crate::page::socket::TO_TAKE;

/// Events that may wait for the connection, beside those that wait in the stream.
const WAITING: usize = 16;
/// How often something is said where there is nothing to say: what stands between us and who listens hangs up on silence.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// A comment, which readers pass over.
const SIGN: &[u8] = b": spotter\n\n";

/// The findings of one stream, or of all.
///
/// # Errors
/// There is no such stream, or too many watch.
pub(in crate::page) fn events(context: &Arc<Context>, name: Option<&str>, admission: &Admission) -> Answer {
    let streams: Vec<&Arc<LiveStream>> = match name {
        Some(name) => vec![context.stream(name)?],
        None => context.shown.streams.iter().collect(),
    };
    let place = Arc::new(context.viewer()?);
    let (send, receive) = mpsc::channel(WAITING);
    // Whoever listens knows that the request was met: there is room for it.
    let _ = send.try_send(Bytes::from_static(SIGN));
    for stream in streams {
        // From now on, and not from when the task begins.
        let (name, lines) = (stream.name.clone(), stream.lines());
        let (send, place, mut admission) = (send.clone(), Arc::clone(&place), admission.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = forward(&name, lines, &send) => {}
                () = admission.over() => {}
            }
            drop(place);
        });
    }
    tokio::spawn(live_on(send));
    Ok(parts("text/event-stream", receive))
}

async fn forward(stream: &str, mut lines: broadcast::Receiver<LiveLine>, send: &mpsc::Sender<Bytes>) {
    loop {
        let line = tokio::select! {
            () = send.closed() => return,
            line = lines.recv() => line,
        };
        let event = match line {
            Ok(LiveLine::Frame(text)) => format!("event: frame\ndata: {text}\n\n"),
            Ok(LiveLine::Event(text)) => format!("event: event\ndata: {text}\n\n"),
            Err(RecvError::Lagged(lost)) => {
                format!("event: lost\ndata: {}\n\n", json!({ "stream": stream, "lost": lost }))
            }
            Ok(LiveLine::End) | Err(RecvError::Closed) => {
                let event = format!("event: end\ndata: {}\n\n", json!({ "stream": stream }));
                // Nobody may listen any more.
                let _ = timeout(TO_TAKE, send.send(event.into())).await;
                return;
            }
        };
        if !matches!(timeout(TO_TAKE, send.send(event.into())).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Says something now and then, while streams go on.
async fn live_on(send: mpsc::Sender<Bytes>) {
    let send = {
        let weak = send.downgrade();
        drop(send);
        weak
    };
    loop {
        sleep(SIGN_OF_LIFE).await;
        let Some(send) = send.upgrade() else { return };
        if send.send(Bytes::from_static(SIGN)).await.is_err() {
            return;
        }
    }
}
