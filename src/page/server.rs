//! The server: connections, TLS, and an end.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::access::Access;
use super::playable::Playable;
use super::{Context, PageSettings, Shown, VIEWERS, routes};
use crate::error::{Error, Result};

/// Connections at once; others wait.
const CONNECTIONS: usize = 256;
/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;
/// How long a client may take to ask, or to shake hands.
const TO_ASK: Duration = Duration::from_secs(15);
/// How long to wait where a client cannot be taken, out of descriptors for one.
const PAUSE: Duration = Duration::from_millis(100);
/// How long what was begun may take at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves until it goes.
pub(crate) struct PageServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PageServer {
    /// # Errors
    /// The place is taken or not this machine's, or a file of the settings cannot be used.
    pub(crate) fn start(settings: &PageSettings, shown: Shown) -> Result<Self> {
        let place = settings.place;
        let fail = |e: std::io::Error| Error::Usage(format!("--page {place}: cannot listen there: {e}"));
        let access = Access::new(settings)?;
        let tls = settings.tls.as_deref().map(acceptor).transpose()?;
        let listener = TcpListener::bind(place).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let place = listener.local_addr().map_err(fail)?;
        let (viewers, playable) = (Arc::new(Semaphore::new(VIEWERS)), Playable::default());
        let context = Arc::new(Context { access, shown, viewers, playable });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let (stop, stopped) = oneshot::channel();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let serve = move || {
            let served = runtime.block_on(async {
                let (end, ending) = watch::channel(false);
                let places = Arc::new(Semaphore::new(CONNECTIONS));
                let served = tokio::select! {
                    served = serve(listener, tls, &context, &places, &ending) => served,
                    _ = stopped => Ok(()),
                };
                // Streams have ended: who watches is told so, and nobody begins anything new.
                let _ = end.send(true);
                let farewell = async {
                    context.playable.stop().await;
                    let _viewers = context.viewers.acquire_many(VIEWERS as u32).await;
                    let _connections = places.acquire_many(CONNECTIONS as u32).await;
                };
                let _ = timeout(FAREWELL, farewell).await;
                context.playable.clear();
                served
            });
            if let Err(error) = served {
                tracing::error!("page: {error}");
            }
            // A query that is being compiled is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("page".into()).spawn(serve).map_err(fail)?;
        tracing::info!("page at {scheme}://{place}/");
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// How TLS is spoken, with a certificate and its key in one PEM file.
fn acceptor(pem: &Path) -> Result<TlsAcceptor> {
    let fail = |reason: String| {
        let expected = "expected a certificate and its key in PEM form";
        Error::Usage(format!("--out-tls {}: {reason}, {expected}", pem.display()))
    };
    let text = std::fs::read(pem).map_err(Error::io("read", pem))?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<std::result::Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| fail(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| fail(format!("no private key ({error})")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|versions| versions.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| fail(error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    context: &Arc<Context>,
    places: &Arc<Semaphore>,
    ending: &watch::Receiver<bool>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    while let Ok(place) = Arc::clone(places).acquire_owned().await {
        let Ok((stream, from)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        // Findings are short, and each is wanted at once.
        let _ = stream.set_nodelay(true);
        let (context, tls, ending) = (Arc::clone(context), tls.clone(), ending.clone());
        tokio::spawn(async move {
            match tls {
                None => talk(stream, from, context, ending).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = timeout(TO_ASK, tls.accept(stream)).await {
                        talk(stream, from, context, ending).await;
                    }
                }
            }
            drop(place);
        });
    }
    Ok(())
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: SocketAddr,
    context: Arc<Context>,
    mut ending: watch::Receiver<bool>,
) {
    let answer = service_fn(move |request| {
        let context = Arc::clone(&context);
        async move { Ok::<_, Infallible>(routes::answer(&context, from.ip(), request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(TO_ASK).max_buf_size(LONGEST_HEAD);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer).with_upgrades());
    let over = tokio::select! {
        // A client that leaves, or is told to, is no failure of ours.
        _ = connection.as_mut() => true,
        _ = ending.changed() => false,
    };
    if !over {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}
