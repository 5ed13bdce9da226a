//! Metrics and probes over HTTP: `/metrics`, `/live`, `/ready`, `/startup`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::json;
use tiny_http::{Header, Method, Request, Response, Server};

use super::{Seen, metrics};
use crate::error::{Error, Result};

/// Serves until it goes.
pub(super) struct HttpServer {
    server: Arc<Server>,
    thread: Option<JoinHandle<()>>,
}

/// What a probe or a page says.
struct Page {
    status: u16,
    content_type: &'static str,
    text: String,
}

impl HttpServer {
    pub(super) fn start(place: SocketAddr, seen: Arc<Seen>) -> Result<Self> {
        let fail = |reason: String| Error::Usage(format!("--metrics {place}: cannot listen there: {reason}"));
        let server = Arc::new(Server::http(place).map_err(|e| fail(e.to_string()))?);
        tracing::info!("metrics at http://{}/metrics", server.server_addr());
        let heard = Arc::clone(&server);
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || {
            for request in heard.incoming_requests() {
                answer(request, &seen);
            }
        });
        Ok(Self { server, thread: Some(thread.map_err(|e| fail(e.to_string()))?) })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(request: Request, seen: &Seen) {
    let path = request.url().split('?').next().unwrap_or_default().to_owned();
    let Page { status, content_type, text } = match request.method() {
        Method::Get | Method::Head => page(&path, seen),
        _ => Page { status: 405, content_type: "text/plain", text: "only GET and HEAD\n".into() },
    };
    let mut response = Response::from_string(text).with_status_code(status);
    if let Ok(header) = Header::from_bytes("Content-Type", content_type) {
        response = response.with_header(header);
    }
    if let Err(error) = request.respond(response) {
        tracing::debug!("metrics: a client left: {error}");
    }
}

fn page(path: &str, seen: &Seen) -> Page {
    let probe = |name: &str, good: bool| {
        let streams: serde_json::Map<_, _> =
            seen.streams.iter().map(|stream| (stream.name.clone(), stream.is_up().into())).collect();
        let text = format!("{}\n", json!({ name: good, "up": streams }));
        Page { status: if good { 200 } else { 503 }, content_type: "application/json", text }
    };
    match path {
        "/metrics" => {
            seen.streams.iter().for_each(|stream| stream.refresh());
            Page { status: 200, content_type: metrics::CONTENT_TYPE, text: seen.metrics.text(seen.clients()) }
        }
        "/live" => probe("live", seen.is_live()),
        "/ready" => probe("ready", seen.is_ready()),
        "/startup" => probe("started", seen.has_started()),
        _ => Page {
            status: 404,
            content_type: "text/plain",
            text: "there are /metrics, /live, /ready and /startup\n".into(),
        },
    }
}
