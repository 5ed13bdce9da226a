//! The servers of a run: one for every place where it listens, with all mounts there.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gst::glib;
use gst_rtsp_server::prelude::*;
use gstreamer as gst;
use gstreamer_rtsp::RTSPUrl;
use gstreamer_rtsp_server as gst_rtsp_server;

use super::access::AuthSetup;
use super::factory::MountFactory;
use super::mount_point::payloader;
use super::{Access, MountPoint, RtspOut};
use crate::error::{Error, Result};
use crate::pipeline::{self, Hole, PipelineFile, SinkPart};

/// How often mounts look whether a frame is due.
const TICK: Duration = Duration::from_millis(50);
/// How often sessions are looked for whose clients give no sign of life: for a minute, as clients expect where they are
/// told nothing else (RFC 2326, section 12.37).
const CLEANUP: Duration = Duration::from_secs(2);
/// How long a client may be connected without a session.
const IDLE: Duration = Duration::from_secs(15);
/// Clients at once, at most, per server; each may have a session or two.
const MOST_CLIENTS: usize = 256;
const MOST_SESSIONS: u32 = 512;
/// Connections that may wait to be taken.
const BACKLOG: i32 = 128;
/// Bytes behind the head of a request: players send none that matter.
const LONGEST_BODY: u32 = 64 * 1024;

/// All servers of a run. They end when it goes.
#[derive(Default)]
pub struct RtspServers(Vec<RtspServer>);

struct RtspServer {
    server: gst_rtsp_server::RTSPServer,
    main_loop: glib::MainLoop,
    thread: Option<JoinHandle<()>>,
    mounts: Vec<MountPoint>,
    clients: ConnectedClients,
    /// For messages and metrics.
    place: SocketAddr,
}

/// Who is connected.
#[derive(Clone, Default)]
struct ConnectedClients {
    count: Arc<AtomicUsize>,
    list: Arc<Mutex<Vec<ConnectedClient>>>,
}

struct ConnectedClient {
    client: glib::WeakRef<gst_rtsp_server::RTSPClient>,
    /// One too many: to be sent away as soon as possible.
    refused: bool,
    /// Since when it has been there without a session.
    idle: Instant,
}

impl RtspServers {
    /// Listens wherever `mounts` want to be seen.
    ///
    /// # Errors
    /// A place is taken, is not this machine's, or the certificate cannot be read.
    pub fn start(mounts: &[(RtspOut, MountPoint)], access: &Access) -> Result<Self> {
        let mut places: Vec<SocketAddr> = mounts.iter().map(|(out, _)| out.place).collect();
        places.sort_unstable();
        places.dedup();
        let of_place = |place: &SocketAddr| {
            let mounts: Vec<_> = mounts.iter().filter(|(out, _)| out.place == *place).collect();
            RtspServer::start(*place, &mounts, access)
        };
        places.iter().map(of_place).collect::<Result<_>>().map(Self)
    }

    /// Counters of the clients that are connected, by place.
    pub fn clients(&self) -> Vec<(SocketAddr, Arc<AtomicUsize>)> {
        self.0.iter().map(|server| (server.place, Arc::clone(&server.clients.count))).collect()
    }
}

impl RtspServer {
    fn start(place: SocketAddr, mounts: &[&(RtspOut, MountPoint)], access: &Access) -> Result<Self> {
        let outs: Vec<&RtspOut> = mounts.iter().map(|(out, _)| out).collect();
        let server = gst_rtsp_server::RTSPServer::new();
        server.set_address(&place.ip().to_string());
        server.set_service(&place.port().to_string());
        let AuthSetup { auth, roles, all_roles } = access.auth_setup(&outs)?;
        server.set_auth(auth.as_ref());
        server.set_content_length_limit(LONGEST_BODY);
        server.set_backlog(BACKLOG);
        let fail = |reason: String| Error::Output { name: outs[0].to_string(), reason };
        let points = server.mount_points().ok_or_else(|| fail("the server has no mount points".into()))?;
        for ((out, mount), roles) in mounts.iter().zip(&roles) {
            points.add_factory(&out.path, MountFactory::of(mount, out.tls, roles, &all_roles));
        }
        let clients = ConnectedClients::default();
        server.connect_client_connected({
            let clients = clients.clone();
            let mounts: Vec<(String, MountPoint)> =
                mounts.iter().map(|(out, mount)| (out.path.clone(), mount.clone())).collect();
            move |_, client| clients.add(client, &mounts)
        });
        if let Some(sessions) = server.session_pool() {
            sessions.set_max_sessions(MOST_SESSIONS);
        }
        let context = glib::MainContext::new();
        if server.attach(Some(&context)).is_err() {
            // The server does not say why.
            let error = TcpListener::bind(place).err();
            let foreign = error.as_ref().is_some_and(|error| error.kind() == ErrorKind::AddrNotAvailable);
            let hint = if foreign { " (Spotter serves, at an address of this machine)" } else { "" };
            let reason = error.map_or_else(|| "the server refuses".into(), |error| error.to_string());
            return Err(fail(format!("cannot listen there: {reason}{hint}")));
        }
        let place = SocketAddr::new(place.ip(), u16::try_from(server.bound_port()).unwrap_or(place.port()));
        for out in &outs {
            let everywhere = if place.ip().is_unspecified() { " (all addresses of this machine)" } else { "" };
            tracing::info!("serves {}{everywhere}", RtspOut { place, ..(*out).clone() });
        }
        let mounts: Vec<MountPoint> = mounts.iter().map(|(_, mount)| mount.clone()).collect();
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let thread = std::thread::Builder::new().name("rtsp".into()).spawn({
            let (main_loop, mounts, sessions) = (main_loop.clone(), mounts.clone(), server.session_pool());
            let clients = clients.clone();
            move || {
                let others = clients.clone();
                let tick = move || {
                    mounts.iter().for_each(MountPoint::tick);
                    clients.close_idle(false);
                };
                let clean = move || {
                    if let Some(sessions) = &sessions {
                        sessions.cleanup();
                    }
                    others.close_idle(true);
                };
                let run = || {
                    let timers = [timer(TICK, &main_loop, tick), timer(CLEANUP, &main_loop, clean)];
                    main_loop.run();
                    // What they hold goes with this thread.
                    timers.iter().for_each(glib::Source::destroy);
                };
                if main_loop.context().with_thread_default(run).is_err() {
                    tracing::error!("the RTSP server's main loop does not start");
                }
            }
        });
        let thread = Some(thread.map_err(|e| fail(e.to_string()))?);
        Ok(Self { server, main_loop, thread, mounts, clients, place })
    }
}

/// Calls `act` again and again while the loop runs.
fn timer(interval: Duration, main_loop: &glib::MainLoop, act: impl Fn() + Send + 'static) -> glib::Source {
    let timer = glib::timeout_source_new(interval, None, glib::Priority::DEFAULT, move || {
        act();
        glib::ControlFlow::Continue
    });
    timer.attach(Some(&main_loop.context()));
    timer
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        // Mounts that have not ended by themselves, because the run failed.
        MountPoint::end_all(&self.mounts);
        self.server.client_filter(Some(&mut |_, _| gst_rtsp_server::RTSPFilterResult::Remove));
        // From within the loop: one that has not begun yet would not hear it.
        let main_loop = self.main_loop.clone();
        let quit = glib::idle_source_new(None, glib::Priority::DEFAULT, move || {
            main_loop.quit();
            glib::ControlFlow::Break
        });
        quit.attach(Some(&self.main_loop.context()));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl ConnectedClients {
    /// Counts a client while it is there, and lets it see something at once.
    fn add(&self, client: &gst_rtsp_server::RTSPClient, mounts: &[(String, MountPoint)]) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that left and are not yet off the list count until the next tick.
        let refused = self.count.load(Ordering::Acquire) >= MOST_CLIENTS;
        list.push(ConnectedClient { client: client.downgrade(), refused, idle: Instant::now() });
        if refused {
            tracing::debug!("a client is refused: {MOST_CLIENTS} are connected");
            return;
        }
        self.count.fetch_add(1, Ordering::AcqRel);
        let count = Arc::clone(&self.count);
        client.connect_closed(move |_| {
            count.fetch_sub(1, Ordering::AcqRel);
        });
        let mounts = mounts.to_vec();
        client.connect_play_request(move |_, context| {
            let Some(asked) = context.uri().map(RTSPUrl::request_uri) else { return };
            for (_, mount) in mounts.iter().filter(|(path, _)| asked.contains(path.as_str())) {
                mount.wants_key_frame();
            }
        });
    }

    /// Closes connections that are one too many; where `thoroughly`, also those that ask for nothing.
    fn close_idle(&self, thoroughly: bool) {
        let mut gone = Vec::new();
        self.list.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|entry| {
            let Some(client) = entry.client.upgrade() else { return false };
            if thoroughly && !client.session_filter(None).is_empty() {
                entry.idle = Instant::now();
            }
            let leaves = entry.refused || (thoroughly && entry.idle.elapsed() > IDLE);
            if leaves {
                gone.push(client);
            }
            !leaves
        });
        // Not while the list is locked: `closed` may want it.
        gone.iter().for_each(gst_rtsp_server::prelude::RTSPClientExt::close);
    }
}

/// What encodes for RTSP: the user's own description, else the first encoder that is there.
///
/// # Errors
/// There is none, or the description cannot be built.
pub fn launch(sinks: &[SinkPart]) -> Result<String> {
    const ENCODERS: [(&str, &str); 2] = [("x264enc", "rtsp-out"), ("openh264enc", "rtsp-out-openh264")];
    let launch = if let Some(own) = sinks.iter().find(|sink| sink.target.as_deref() == Some("rtsp")) {
        own.launch.clone()
    } else {
        let name = pipeline::encoder(&ENCODERS)?;
        PipelineFile::built_in(name)?.only_sink(name)?
    };
    // Now, and not when the first client comes.
    let holes = [Hole::new("pad_right", "0"), Hole::new("pad_bottom", "0")];
    payloader(&pipeline::build("rtsp", &launch, &holes, gst::PadDirection::Sink)?, "rtsp")?;
    Ok(launch)
}
