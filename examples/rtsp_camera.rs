//! A small RTSP camera made from a file, to try things without one: all clients see the same moment of the clip, which
//! begins anew when it was played and somebody connects.
//!
//! `cargo run --release --example rtsp_camera -- clip.mp4 --port 8554`, then
//! `spotter run --source rtsp://127.0.0.1:8554/camera --query "the red car" --out jsonl:-`

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use gst_rtsp_server::prelude::*;
use gstreamer as gst;
use gstreamer::glib::{self, translate::IntoGlib};
use gstreamer_rtsp::RTSPAuthMethod;
use gstreamer_rtsp_server as gst_rtsp_server;

/// Serves a video file as rtsp://127.0.0.1:PORT/camera.
#[derive(Parser)]
#[expect(clippy::struct_excessive_bools)] // A switch each, as they are typed.
struct Args {
    /// The clip.
    file: PathBuf,
    /// Where to listen; 0 takes any free port.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Ask for this user name and password, as `user:password`, with digest authentication.
    #[arg(long, value_name = "USER:PASSWORD")]
    login: Option<String>,
    /// Ask for them in the basic way.
    #[arg(long, requires = "login")]
    basic: bool,
    /// Serve rtsps:// with this certificate and key, both in one PEM file.
    #[arg(long, value_name = "FILE.pem")]
    tls: Option<PathBuf>,
    /// Decode the clip and encode it anew as H.264, for one whose codec RTSP does not carry.
    #[arg(long)]
    encode: bool,
    /// Send the clip's H.265 as it is; without this it is decoded, and sent raw.
    #[arg(long, conflicts_with = "encode")]
    h265: bool,
    /// Every client sees the clip from its beginning.
    #[arg(long)]
    private: bool,
}

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Who may watch.
const ROLE: &str = "viewer";

fn auth(args: &Args) -> Result<gst_rtsp_server::RTSPAuth> {
    let auth = gst_rtsp_server::RTSPAuth::new();
    if let Some(pem) = &args.tls {
        auth.set_tls_certificate(Some(&gio::TlsCertificate::from_file(pem)?));
    }
    let viewer = gst_rtsp_server::RTSPToken::builder().field("media.factory.role", ROLE).build();
    match args.login.as_deref().map(|login| login.split_once(':').ok_or("--login: expected USER:PASSWORD")) {
        None => auth.set_default_token(Some(&mut viewer.clone())),
        Some(login) if args.basic => {
            let (user, password) = login?;
            auth.set_supported_methods(RTSPAuthMethod::Basic);
            auth.add_basic(&gst_rtsp_server::RTSPAuth::make_basic(user, password), &viewer);
        }
        Some(login) => {
            let (user, password) = login?;
            auth.set_supported_methods(RTSPAuthMethod::Digest);
            auth.add_digest(user, password, &viewer);
        }
    }
    Ok(auth)
}

/// Says when the clip began by this machine's clock: what capture times count from.
fn say_when(media: &gst_rtsp_server::RTSPMedia) {
    media.connect_new_state(|media, state| {
        if state != gst::State::Playing.into_glib() {
            return;
        }
        let element = media.element();
        // It plays as soon as it has a clock.
        glib::timeout_add(Duration::from_millis(10), move || {
            let (Some(clock), Some(base)) = (element.clock(), element.base_time()) else {
                return glib::ControlFlow::Continue;
            };
            let played = clock.time().saturating_sub(base);
            if let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) {
                let _ = writeln!(std::io::stdout(), "began at {}", now.as_nanos() - u128::from(played.nseconds()));
            }
            glib::ControlFlow::Break
        });
    });
}

fn factory(args: &Args) -> Result<gst_rtsp_server::RTSPMediaFactory> {
    // An address has no quotes in it: they are escaped.
    let address = glib::filename_to_uri(std::path::absolute(&args.file)?, None)?;
    if args.encode {
        let factory = gst_rtsp_server::RTSPMediaFactory::new();
        factory.set_launch(&format!(
            "( uridecodebin uri=\"{address}\" caps=video/x-raw(ANY) expose-all-streams=false ! videoconvert \
             ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96 )"
        ));
        return Ok(factory);
    }
    if args.h265 {
        let factory = gst_rtsp_server::RTSPMediaFactory::new();
        factory.set_launch(&format!(
            "( urisourcebin uri=\"{address}\" ! parsebin ! h265parse ! rtph265pay name=pay0 pt=96 )"
        ));
        return Ok(factory);
    }
    let factory = gst_rtsp_server::RTSPMediaFactoryURI::new();
    factory.set_uri(&address);
    Ok(factory.upcast())
}

fn main() -> Result<()> {
    let args = Args::parse();
    gst::init()?;
    let server = gst_rtsp_server::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service(&args.port.to_string());
    let factory = factory(&args)?;
    factory.set_shared(!args.private);
    factory.connect_media_configure(|_, media| say_when(media));
    if args.login.is_some() || args.tls.is_some() {
        server.set_auth(Some(&auth(&args)?));
        factory.add_role_from_structure(
            &gst::Structure::builder(ROLE)
                .field("media.factory.access", true)
                .field("media.factory.construct", true)
                .build(),
        );
    }
    let mounts = server.mount_points().ok_or("the server has no mount points")?;
    mounts.add_factory("/camera", factory);
    let _attached = server.attach(None)?;
    let scheme = if args.tls.is_some() { "rtsps" } else { "rtsp" };
    writeln!(std::io::stdout(), "{scheme}://127.0.0.1:{}/camera", server.bound_port())?;
    glib::MainLoop::new(None, false).run();
    Ok(())
}
