//! Metrics and probes over HTTP: `/metrics`, `/live`, `/ready`, `/startup`. Clients that say nothing, too much or too slowly
//! hold up nobody.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::{RunStatus, metrics};
use crate::error::{Error, Result};

/// Connections at once; others wait.
const CONNECTIONS: usize = 32;
/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 8 * 1024;
/// How long a client may take to ask, and until it has its answer.
const TO_ASK: Duration = Duration::from_secs(5);
const TO_TAKE: Duration = Duration::from_secs(10);
/// How long to wait where a client cannot be taken, out of descriptors for one.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until it goes.
pub(super) struct HttpServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a probe or a page says.
struct Page {
    status: StatusCode,
    content_type: &'static str,
    text: String,
}

impl HttpServer {
    pub(super) fn start(place: SocketAddr, run_status: Arc<RunStatus>) -> Result<Self> {
        let fail = |e: std::io::Error| Error::Usage(format!("--metrics {place}: cannot listen there: {e}"));
        let listener = TcpListener::bind(place).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let place = listener.local_addr().map_err(fail)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let served = runtime.block_on(async {
                tokio::select! {
                    served = serve(listener, run_status) => served,
                    _ = stopped => Ok(()),
                }
            });
            if let Err(error) = served {
                tracing::error!("metrics: {error}");
            }
        };
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(serve).map_err(fail)?;
        tracing::info!("metrics at http://{place}/metrics");
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn serve(listener: TcpListener, run_status: Arc<RunStatus>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let run_status = Arc::clone(&run_status);
        tokio::spawn(async move {
            let answer = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, &run_status))));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(TO_ASK).max_buf_size(LONGEST_HEAD).keep_alive(false);
            // A client that leaves, or is told to, is no failure of ours.
            let _ = timeout(TO_TAKE, builder.serve_connection(TokioIo::new(stream), answer)).await;
            drop(place);
        });
    }
    Ok(())
}

fn answer(request: &Request<Incoming>, run_status: &RunStatus) -> Response<Full<Bytes>> {
    let Page { status, content_type, text } = match *request.method() {
        Method::GET | Method::HEAD => page(request.uri().path(), run_status),
        _ => Page {
            status: StatusCode::METHOD_NOT_ALLOWED,
            content_type: "text/plain",
            text: "only GET and HEAD\n".into(),
        },
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn page(path: &str, run_status: &RunStatus) -> Page {
    let probe = |name: &str, good: bool| {
        let streams: serde_json::Map<_, _> =
            run_status.streams.iter().map(|stream| (stream.name.clone(), stream.is_up().into())).collect();
        let text = format!("{}\n", json!({ name: good, "up": streams }));
        let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Page { status, content_type: "application/json", text }
    };
    match path {
        "/metrics" => {
            run_status.streams.iter().for_each(|stream| stream.refresh());
            Page {
                status: StatusCode::OK,
                content_type: metrics::CONTENT_TYPE,
                text: run_status.metrics.text(run_status.clients(), run_status.kept(), &run_status.notified()),
            }
        }
        "/live" => probe("live", run_status.is_live()),
        "/ready" => probe("ready", run_status.is_ready()),
        "/startup" => probe("started", run_status.has_started()),
        _ => Page {
            status: StatusCode::NOT_FOUND,
            content_type: "text/plain",
            text: "there are /metrics, /live, /ready and /startup\n".into(),
        },
    }
}
