//! The servers of a run: one for every place where it listens, with all mounts there.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gst::glib;
use gst_rtsp_server::prelude::*;
use gstreamer as gst;
use gstreamer_rtsp::RTSPUrl;
use gstreamer_rtsp_server as gst_rtsp_server;

use super::factory::MountFactory;
use super::mount::payloader;
use super::{Access, Mount, RtspOut};
use crate::error::{Error, Result};
use crate::pipeline::{self, Hole, PipelineFile, SinkPart};

/// How often mounts look whether a frame is due.
const TICK: Duration = Duration::from_millis(50);
/// How often sessions are looked for whose clients give no sign of life: for a minute, as clients expect where they are
/// told nothing else (RFC 2326, section 12.37).
const CLEANUP: Duration = Duration::from_secs(2);
/// Clients at once, at most, per server; each may have a session or two.
const MOST_CLIENTS: usize = 256;
const MOST_SESSIONS: u32 = 512;
/// Bytes behind the head of a request: players send none that matter.
const LONGEST_BODY: u32 = 64 * 1024;

/// All servers of a run. They end when it goes.
#[derive(Default)]
pub struct RtspServers(Vec<RtspServer>);

struct RtspServer {
    server: gst_rtsp_server::RTSPServer,
    main_loop: glib::MainLoop,
    thread: Option<JoinHandle<()>>,
    mounts: Vec<Mount>,
    clients: Arc<AtomicUsize>,
    /// For messages and metrics.
    place: SocketAddr,
}

impl RtspServers {
    /// Listens wherever `mounts` want to be seen.
    ///
    /// # Errors
    /// A place is taken, is not this machine's, or the certificate cannot be read.
    pub fn start(mounts: &[(RtspOut, Mount)], access: &Access) -> Result<Self> {
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
        self.0.iter().map(|server| (server.place, Arc::clone(&server.clients))).collect()
    }
}

impl RtspServer {
    fn start(place: SocketAddr, mounts: &[&(RtspOut, Mount)], access: &Access) -> Result<Self> {
        let outs: Vec<&RtspOut> = mounts.iter().map(|(out, _)| out).collect();
        let server = gst_rtsp_server::RTSPServer::new();
        server.set_address(&place.ip().to_string());
        server.set_service(&place.port().to_string());
        server.set_auth(access.auth(&outs)?.as_ref());
        server.set_content_length_limit(LONGEST_BODY);
        let fail = |reason: String| Error::Output { name: outs[0].to_string(), reason };
        let points = server.mount_points().ok_or_else(|| fail("the server has no mount points".into()))?;
        for (out, mount) in mounts {
            points.add_factory(&out.path, MountFactory::of(mount));
        }
        let clients = Arc::new(AtomicUsize::new(0));
        server.connect_client_connected({
            let clients = Arc::clone(&clients);
            let mounts: Vec<(String, Mount)> =
                mounts.iter().map(|(out, mount)| (out.path.clone(), mount.clone())).collect();
            move |_, client| watch(client, &clients, &mounts)
        });
        if let Some(sessions) = server.session_pool() {
            sessions.set_max_sessions(MOST_SESSIONS);
        }
        let context = glib::MainContext::new();
        if server.attach(Some(&context)).is_err() {
            // The server does not say why.
            let reason = TcpListener::bind(place).map_or_else(|e| e.to_string(), |_| "the server refuses".into());
            return Err(fail(format!("cannot listen there: {reason} (Spotter serves, at an address of this machine)")));
        }
        let place = SocketAddr::new(place.ip(), u16::try_from(server.bound_port()).unwrap_or(place.port()));
        for out in &outs {
            tracing::info!("serves {}", RtspOut { place, ..(*out).clone() });
        }
        let mounts: Vec<Mount> = mounts.iter().map(|(_, mount)| mount.clone()).collect();
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let thread = std::thread::Builder::new().name("rtsp".into()).spawn({
            let (main_loop, mounts, sessions) = (main_loop.clone(), mounts.clone(), server.session_pool());
            move || {
                let run = || {
                    let tick = glib::timeout_source_new(TICK, None, glib::Priority::DEFAULT, move || {
                        mounts.iter().for_each(Mount::tick);
                        glib::ControlFlow::Continue
                    });
                    let cleanup = glib::timeout_source_new(CLEANUP, None, glib::Priority::DEFAULT, move || {
                        if let Some(sessions) = &sessions {
                            sessions.cleanup();
                        }
                        glib::ControlFlow::Continue
                    });
                    tick.attach(Some(&main_loop.context()));
                    cleanup.attach(Some(&main_loop.context()));
                    main_loop.run();
                    // What they hold goes with this thread.
                    tick.destroy();
                    cleanup.destroy();
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

impl Drop for RtspServer {
    fn drop(&mut self) {
        // Mounts that have not ended by themselves, because the run failed.
        self.mounts.iter().for_each(Mount::end);
        self.server.client_filter(Some(&mut |_, _| gst_rtsp_server::RTSPFilterResult::Remove));
        self.main_loop.quit();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Counts a client while it is there, and lets it see something at once.
fn watch(client: &gst_rtsp_server::RTSPClient, clients: &Arc<AtomicUsize>, mounts: &[(String, Mount)]) {
    let before = clients.fetch_add(1, Ordering::AcqRel);
    let count = Arc::clone(clients);
    client.connect_closed(move |_| {
        count.fetch_sub(1, Ordering::AcqRel);
    });
    if before >= MOST_CLIENTS {
        tracing::warn!("a client is refused: {MOST_CLIENTS} are connected");
        client.close();
        return;
    }
    let mounts = mounts.to_vec();
    client.connect_play_request(move |_, context| {
        let Some(asked) = context.uri().map(RTSPUrl::request_uri) else { return };
        for (_, mount) in mounts.iter().filter(|(path, _)| asked.contains(path.as_str())) {
            mount.wants_key_frame();
        }
    });
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
        let there = ENCODERS.iter().find(|(element, _)| gst::ElementFactory::find(element).is_some());
        let (_, name) = there
            .ok_or_else(|| Error::Pipeline { name: "rtsp-out".into(), reason: pipeline::missing(&[ENCODERS[0].0]) })?;
        PipelineFile::built_in(name)?.only_sink(name)?
    };
    // Now, and not when the first client comes.
    let holes = [Hole::new("pad_right", "0"), Hole::new("pad_bottom", "0")];
    payloader(&pipeline::build("rtsp", &launch, &holes, gst::PadDirection::Sink)?)?;
    Ok(launch)
}
