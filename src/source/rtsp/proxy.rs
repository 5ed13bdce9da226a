//! A proxy on this machine between `rtspsrc` and a camera. It does what `rtspsrc` of GStreamer 1.22 does not: it logs in
//! once an attempt, by every digest that RFC 7616 knows, and keeps sessions alive while frames come. Its port is open to this
//! machine alone, and takes those alone who know a random word.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use gio::prelude::*;
use gstreamer::glib;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::ServerInfo;
use super::addresses::Addresses;
use super::login::Signing;
use super::messages::{self, Piece};
use super::session::{KeepAlive, Reaction, Session};
use crate::secrets::{self, Login};
use crate::source::address::server;

/// What a proxy leads to.
pub(super) struct ProxySettings {
    /// The camera's address, without credentials.
    pub(super) uri: String,
    pub(super) login: Option<Login>,
    /// Certificates to trust beside the system's.
    pub(super) trusted: Option<PathBuf>,
    /// How long the camera may take to answer.
    pub(super) patience: Duration,
    pub(super) keep_alive: KeepAlive,
    pub(super) server_info: ServerInfo,
}

/// A proxy that runs until it is dropped.
pub(in crate::source) struct Proxy {
    address: String,
    /// Dropped, it ends.
    over: Option<oneshot::Sender<()>>,
    /// Disconnected when it has ended.
    finished: Receiver<()>,
}

/// What a proxy's thread does, on the main context that is its own.
type Work = Box<dyn FnOnce(&glib::MainContext) + Send>;

/// Threads that serve no proxy. They and their contexts are never ended, but used again: whoever lets go of a source of a
/// context locks the context, and `GLib` (2.74) may free it meanwhile on the thread that it belonged to. Here the source is what wakes a
/// proxy that is to end. There are as many as there ever were proxies at once.
static IDLE: Mutex<Vec<Sender<Work>>> = Mutex::new(Vec::new());

fn idle() -> MutexGuard<'static, Vec<Sender<Work>>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins `work`; nothing comes of what is given, which is disconnected when the work is done.
fn begin(work: impl FnOnce(&glib::MainContext) + Send + 'static) -> std::io::Result<Receiver<()>> {
    let free = idle().pop();
    let thread = if let Some(thread) = free {
        thread
    } else {
        let (give, works) = bounded::<Work>(1);
        let serve = move || {
            let context = glib::MainContext::new();
            works.into_iter().for_each(|work| work(&context));
        };
        std::thread::Builder::new().name("rtsp-proxy".into()).spawn(serve)?;
        give
    };
    let (over, finished) = bounded(0);
    let again = thread.clone();
    let whole = move |context: &glib::MainContext| {
        work(context);
        idle().push(again);
        drop::<Sender<()>>(over);
    };
    thread.send(Box::new(whole)).map_err(|_| std::io::Error::other("its thread is gone"))?;
    Ok(finished)
}

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// How often it is looked whether a session wants to be kept alive.
const TICK: Duration = Duration::from_millis(250);
/// Redirections that are followed.
const MOST_HOPS: usize = 5;

type Outcome<T = ()> = Result<T, glib::Error>;

impl Proxy {
    /// Starts one.
    ///
    /// # Errors
    /// There is no port or no thread to be had.
    pub(super) fn start(settings: ProxySettings) -> std::io::Result<Self> {
        let secret = format!("{:032x}", rand::random::<u128>());
        secrets::hide(&secret);
        let (over, ended) = oneshot::channel::<()>();
        let (told, hear) = bounded(1);
        let uri = settings.uri.clone();
        let serve = move |context: &glib::MainContext| {
            let served = context.with_thread_default(|| {
                let listener = gio::SocketListener::new();
                let local = gio::InetAddress::new_loopback(gio::SocketFamily::Ipv4);
                let address = gio::InetSocketAddress::new(&local, 0);
                let bound = listener.add_address(
                    &address,
                    gio::SocketType::Stream,
                    gio::SocketProtocol::Tcp,
                    None::<&glib::Object>,
                );
                let port = bound.ok().and_then(|bound| bound.downcast::<gio::InetSocketAddress>().ok());
                let Some(port) = port.map(|bound| bound.port()) else { return };
                let addresses = Addresses::of(port, &secret);
                if told.send(addresses.inward(&settings.uri)).is_err() {
                    return;
                }
                let clients = RefCell::default();
                context.block_on(async {
                    tokio::select! {
                        () = accept(&listener, Rc::new(settings), addresses, &clients) => {}
                        _ = ended => {}
                    }
                });
                listener.close();
                clients.take().iter().for_each(glib::JoinHandle::abort);
                // What was under way is told that it is cancelled, and lets go of its sockets.
                while context.iteration(false) {}
            });
            if served.is_err() {
                tracing::debug!("the RTSP proxy has no main context");
            }
        };
        let finished = begin(serve)?;
        let mut proxy = Self { address: String::new(), over: Some(over), finished };
        proxy.address = hear.recv().map_err(|_| std::io::Error::other("no port on 127.0.0.1"))?;
        tracing::debug!("{uri} is reached by {}", secrets::hidden(&proxy.address));
        Ok(proxy)
    }

    /// Where `rtspsrc` finds the camera.
    pub(in crate::source) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over = None;
        let _ = self.finished.recv();
    }
}

async fn accept(
    listener: &gio::SocketListener,
    settings: Rc<ProxySettings>,
    addresses: Addresses,
    clients: &RefCell<Vec<glib::JoinHandle<()>>>,
) {
    while let Ok((client, _)) = listener.accept_future().await {
        let served = serve(client, Rc::clone(&settings), addresses.clone());
        clients.borrow_mut().push(glib::MainContext::ref_thread_default().spawn_local(served));
    }
}

/// One client: as long as both it and the camera are there.
async fn serve(client: gio::SocketConnection, settings: Rc<ProxySettings>, addresses: Addresses) {
    let signing = Signing::new(settings.login.clone().or_else(|| settings.server_info.login()));
    let session = Rc::new(RefCell::new(Session::new(addresses.clone(), signing, settings.keep_alive)));
    let (ask, asked) = unbounded_channel();
    let gone = tokio::sync::Notify::new();
    let upward = async {
        if let Err(error) = read_client(&client, &session, &addresses, &ask).await {
            tracing::debug!("RTSP client: {error}");
        }
        gone.notify_one();
    };
    let downward = async {
        tokio::select! {
            served = read_server(&client, &session, &settings, &ask, asked) => {
                if let Err(error) = served {
                    tracing::debug!("RTSP server: {error}");
                }
            }
            () = gone.notified() => {}
        }
        if session.borrow().just_kept() {
            settings.server_info.refuses_get_parameter();
        }
        // Whoever is still there learns that the other one is gone.
        drop(client.socket().shutdown(true, true));
    };
    let keeping = async {
        loop {
            glib::timeout_future(TICK).await;
            let keep = session.borrow_mut().keep();
            if let Some(request) = keep
                && ask.send(request.bytes()).is_err()
            {
                break;
            }
        }
    };
    tokio::select! {
        () = async { tokio::join!(upward, downward); } => {}
        () = keeping => {}
    }
}

async fn read(stream: &gio::InputStream, into: &mut Vec<u8>) -> Outcome<bool> {
    let bytes = stream.read_bytes_future(CHUNK, glib::Priority::DEFAULT).await?;
    into.extend_from_slice(&bytes);
    Ok(!bytes.is_empty())
}

async fn write(stream: &gio::OutputStream, bytes: Vec<u8>) -> Outcome {
    if bytes.is_empty() {
        return Ok(());
    }
    let (_, _, failed) = stream.write_all_future(bytes, glib::Priority::DEFAULT).await.map_err(|(_, error)| error)?;
    failed.map_or(Ok(()), Err)
}

/// What the client says, to the server.
async fn read_client(
    client: &gio::SocketConnection,
    session: &RefCell<Session>,
    addresses: &Addresses,
    ask: &UnboundedSender<Vec<u8>>,
) -> Outcome {
    let input = client.input_stream();
    let (mut bytes, mut known) = (Vec::new(), false);
    while read(&input, &mut bytes).await? {
        let mut at = 0;
        loop {
            let length = match messages::next(&bytes[at..]) {
                Piece::Incomplete => break,
                Piece::Message(message, length) => {
                    known |= addresses.is_ours(&message.start);
                    if !known {
                        tracing::warn!("somebody on this machine tried the port of an RTSP proxy");
                        return Ok(());
                    }
                    // Who waits for it learns from the server's side that it is gone.
                    let _ = ask.send(session.borrow_mut().outgoing(message).bytes());
                    length
                }
                Piece::Data(length) | Piece::Stray(length) => {
                    if known {
                        let _ = ask.send(bytes[at..at + length].to_vec());
                    }
                    length
                }
            };
            at += length;
        }
        bytes.drain(..at);
    }
    Ok(())
}

/// What the server says, to the client; and what is asked, to the server.
async fn read_server(
    client: &gio::SocketConnection,
    session: &RefCell<Session>,
    settings: &ProxySettings,
    ask: &UnboundedSender<Vec<u8>>,
    mut asked: UnboundedReceiver<Vec<u8>>,
) -> Outcome {
    let Some(first) = asked.recv().await else { return Ok(()) };
    let mut next = Some((settings.uri.clone(), first));
    for _ in 0..MOST_HOPS {
        let Some((uri, request)) = next.take() else { break };
        let server = connect(&uri, settings).await.inspect_err(|_| settings.server_info.unreached())?;
        session.borrow_mut().host = host(&server);
        let (input, output) = (server.input_stream(), server.output_stream());
        write(&output, request).await?;
        let writing = async {
            while let Some(bytes) = asked.recv().await {
                write(&output, bytes).await?;
            }
            Outcome::Ok(())
        };
        next = tokio::select! {
            moved = forward(&input, client, session, (settings, ask)) => moved?,
            written = writing => { written?; None }
        };
    }
    Ok(())
}

/// Until the server ends the connection, or names another address where its answer is.
async fn forward(
    input: &gio::InputStream,
    client: &gio::SocketConnection,
    session: &RefCell<Session>,
    (settings, ask): (&ProxySettings, &UnboundedSender<Vec<u8>>),
) -> Outcome<Option<(String, Vec<u8>)>> {
    let output = client.output_stream();
    let mut bytes = Vec::new();
    while read(input, &mut bytes).await? {
        let (mut at, mut out) = (0, Vec::new());
        loop {
            match messages::next(&bytes[at..]) {
                Piece::Incomplete => break,
                Piece::Data(length) => {
                    out.extend_from_slice(&bytes[at..at + length]);
                    at += length;
                }
                Piece::Stray(length) => {
                    // Who does not speak RTSP at all is for the client to name.
                    if session.borrow().answers == 0 {
                        out.extend_from_slice(&bytes[at..at + length]);
                    }
                    at += length;
                }
                Piece::Message(message, length) => {
                    at += length;
                    let then = session.borrow_mut().incoming(message);
                    // Before the client hears of it, and somebody asks why.
                    if let Some(reason) = session.borrow_mut().unknown_login.take() {
                        settings.server_info.unknown_login(reason);
                    }
                    if session.borrow().transport_refused {
                        settings.server_info.refuses_transport();
                    }
                    match then {
                        Reaction::Forward(message) => out.extend(message.bytes()),
                        // It is taken as long as the server is there.
                        Reaction::Ask(request) => drop(ask.send(request.bytes())),
                        Reaction::Redirect(address, request) => {
                            write(&output, out).await?;
                            return Ok(Some((address, request.bytes())));
                        }
                        Reaction::Nothing => {}
                    }
                }
            }
        }
        bytes.drain(..at);
        write(&output, out).await?;
    }
    Ok(None)
}

async fn connect(uri: &str, settings: &ProxySettings) -> Outcome<gio::SocketConnection> {
    let bare = secrets::split_login(uri).map_or_else(|| uri.to_owned(), |(_, bare)| bare);
    let tls = bare.starts_with("rtsps:");
    let Some((name, port)) = server(&bare) else {
        return Err(glib::Error::new(gio::IOErrorEnum::InvalidArgument, "an address without a server"));
    };
    let usual = if tls { 322 } else { 554 };
    let port = port.and_then(|port| port.parse().ok()).unwrap_or(usual);
    let client = gio::SocketClient::new();
    client.set_enable_proxy(false);
    client.set_timeout(settings.patience.as_secs_f64().ceil() as u32);
    client.set_tls(tls);
    // It was looked at when the run began; if it cannot be read now, the certificate is refused, and tried again.
    let trusted =
        settings.trusted.as_deref().and_then(|path| super::trust(path).inspect_err(|e| tracing::warn!("{e}")).ok());
    let server_info = settings.server_info.clone();
    client.connect_event(move |_, event, _, stream| {
        let tls = stream.and_then(|stream| stream.downcast_ref::<gio::TlsConnection>());
        let (gio::SocketClientEvent::TlsHandshaking, Some(tls)) = (event, tls) else { return };
        if let Some(trusted) = &trusted {
            tls.set_database(Some(trusted));
        }
        let server_info = server_info.clone();
        tls.connect_accept_certificate(move |_, _, wrong| {
            server_info.certificate_is(wrong);
            false
        });
    });
    let address = gio::NetworkAddress::new(name, port);
    let connection = client.connect_future(&address).await?;
    // Cameras may be silent; who waits for frames watches that.
    connection.socket().set_timeout(0);
    Ok(connection)
}

/// The address of the machine at the other end.
fn host(connection: &gio::SocketConnection) -> Option<String> {
    let address = connection.remote_address().ok()?.downcast::<gio::InetSocketAddress>().ok()?;
    Some(address.address().to_str().to_string())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn start() -> Proxy {
        let settings = ProxySettings {
            uri: "rtsp://127.0.0.1:9/camera".into(),
            login: None,
            trusted: None,
            patience: Duration::from_secs(1),
            keep_alive: KeepAlive::default(),
            server_info: ServerInfo::default(),
        };
        Proxy::start(settings).expect("starts")
    }

    /// With a thread and a context of its own each, this is a race for the freed context of the proxy that ends.
    #[test]
    fn proxies_come_and_go_on_the_threads_of_those_before() {
        const AT_ONCE: usize = 4;
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    for round in 0..100 {
                        let proxy = start();
                        let port =
                            proxy.address().strip_prefix("rtsp://127.0.0.1:").and_then(|rest| rest.split('/').next());
                        let port: u16 = port.and_then(|port| port.parse().ok()).expect("a port");
                        let client =
                            (round % 2 == 0).then(|| TcpStream::connect(("127.0.0.1", port)).expect("connects"));
                        drop((proxy, client));
                    }
                });
            }
        });
        let free = idle().len();
        assert!((1..=AT_ONCE).contains(&free), "{free} threads");
    }
}
