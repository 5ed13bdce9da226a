//! How RTSP sources are reached.

mod addresses;
mod backlog;
mod login;
mod messages;
mod proxy;
mod session;
mod times;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::address::unreachable;
use super::fault::{self, Fault};
use super::tracks::Tracks;
use crate::error::{Error, Result};
use crate::pipeline::Hole;
use crate::secrets::Login;
pub use login::Credentials;
pub(super) use proxy::Proxy;
pub use session::KeepAlive;
pub(super) use times::shown;

/// `--rtsp-transport`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP; UDP where the server answers that it has no TCP (461).
    #[default]
    Auto,
    /// Frames within the RTSP connection: nothing is lost on the way.
    Tcp,
    /// Frames beside it: a lost packet damages pictures until the next key frame.
    Udp,
}

/// Settings of RTSP sources.
#[derive(Debug, Clone)]
pub struct RtspSettings {
    /// How frames travel.
    pub transport: Transport,
    /// How long the jitter buffer holds packets back, to put them in order.
    pub latency: Duration,
    /// How long the server may take to answer.
    pub timeout: Duration,
    /// For servers that ask, where the address holds none.
    pub login: Option<Credentials>,
    /// Certificates to trust beside those that the system does, as a PEM file: a camera's own, or that of who vouches for it.
    pub trusted: Option<PathBuf>,
    /// How its server is told that somebody still watches.
    pub keep_alive: KeepAlive,
}

impl Default for RtspSettings {
    fn default() -> Self {
        Self {
            transport: Transport::Auto,
            latency: Duration::from_millis(200),
            timeout: Duration::from_secs(10),
            login: None,
            trusted: None,
            keep_alive: KeepAlive::default(),
        }
    }
}

impl RtspSettings {
    /// The login for a server: the one in its address, or that of the settings where the address holds no password.
    fn login(&self, in_address: Option<&Login>) -> Option<Login> {
        let whole = in_address.filter(|login| !login.password.is_empty()).cloned();
        whole.or_else(|| self.login.as_ref().map(Credentials::now)).or_else(|| in_address.cloned())
    }

    /// Values for the holes of `pipelines/rtsp-in.toml`.
    pub(super) fn holes(&self, uri: &str) -> Vec<Hole> {
        let protocols = if self.transport == Transport::Udp { "udp" } else { "tcp" };
        vec![
            Hole::new("uri", uri),
            Hole::new("protocols", protocols),
            Hole::new("latency_ms", self.latency.as_millis().to_string()),
            Hole::new("timeout_us", self.timeout.as_micros().to_string()),
        ]
    }
}

/// Certificates of a PEM file.
///
/// # Errors
/// It is none.
pub(crate) fn trust(path: &Path) -> Result<gio::TlsFileDatabase> {
    gio::TlsFileDatabase::new(path)
        .map_err(|e| Error::Usage(format!("--tls-ca {}: is no PEM file of certificates: {e}", path.display())))
}

/// The element that takes the sound out of RTP packets of a kind; none where it is no sound, or none that goes into clips.
pub(super) fn sound_depayloader(rtp: &gst::StructureRef) -> Option<&'static str> {
    if rtp.get::<&str>("media") != Ok("audio") {
        return None;
    }
    match rtp.get::<&str>("encoding-name").ok()?.to_ascii_uppercase().as_str() {
        "MPEG4-GENERIC" => Some("rtpmp4gdepay"),
        "MP4A-LATM" => Some("rtpmp4adepay"),
        "PCMU" => Some("rtppcmudepay"),
        "PCMA" => Some("rtppcmadepay"),
        _ => None,
    }
}

/// What an `rtspsrc` learns of its server and does not say on the bus.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerInfo(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    /// The server has a video stream.
    offers_video: AtomicBool,
    /// Packets that are missing, whatever the reason.
    lost: Arc<AtomicU64>,
    /// Whether frames come.
    shows: Arc<AtomicBool>,
    /// What is wrong with its certificate.
    certificate: Mutex<Option<String>>,
    /// What is not known of the kind of login that it wants.
    unknown_login: Mutex<Option<String>>,
    /// Where it is reached.
    proxy: Mutex<String>,
    /// The login that a description of a user's own holds.
    login: Mutex<Option<Login>>,
    /// There was no connection to it.
    unreached: AtomicBool,
    /// It has no such way for frames to travel.
    refuses_transport: AtomicBool,
    /// It ended the connection when it was asked for a parameter.
    refuses_get_parameter: AtomicBool,
}

impl ServerInfo {
    /// Begins to listen to every `rtspsrc` of `bin`, also to those that a decoder bin of a user's own description makes: video
    /// alone, or with its `sound`.
    pub(super) fn listen(&self, bin: &gst::Bin, tracks: &Tracks, sound: bool) {
        for element in bin.iterate_recurse().into_iter().flatten() {
            self.set_up(&element, tracks, sound);
        }
        let (later, tracks) = (self.clone(), tracks.clone());
        bin.connect_deep_element_added(move |_, _, element| later.set_up(element, &tracks, sound));
    }

    /// A way to the server at `uri`, on which it is logged in to.
    ///
    /// # Errors
    /// This machine has no port or no thread left.
    pub(super) fn proxy(&self, uri: &str, settings: &RtspSettings, in_address: Option<&Login>) -> Result<Proxy> {
        let camera = proxy::ProxySettings {
            uri: uri.to_owned(),
            login: settings.login(in_address),
            trusted: settings.trusted.clone(),
            patience: settings.timeout,
            keep_alive: settings.keep_alive,
            server_info: self.clone(),
        };
        let proxy =
            Proxy::start(camera).map_err(|error| Error::Worker(format!("no way to an RTSP server: {error}")))?;
        proxy.address().clone_into(&mut self.0.proxy.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(proxy)
    }

    fn set_up(&self, element: &gst::Element, tracks: &Tracks, sound: bool) {
        match element.factory().map(|factory| factory.name()).as_deref() {
            Some("rtspsrc") => self.set_up_source(element, tracks.clone(), sound),
            Some("rtpjitterbuffer") => self.set_up_jitter_buffer(element),
            _ => {}
        }
    }

    fn set_up_source(&self, source: &gst::Element, tracks: Tracks, sound: bool) {
        // Capture times, also where a description of a user's own does not ask for them.
        source.set_property("add-reference-timestamp-meta", true);
        self.take_login(source);
        let (facts, videos) = (Arc::clone(&self.0), Mutex::new(Vec::<u32>::new()));
        source.connect("select-stream", false, move |arguments| {
            let caps = arguments.get(2).and_then(|value| value.get::<gst::Caps>().ok());
            let offered = caps.as_ref().and_then(|caps| caps.structure(0));
            if sound && offered.and_then(sound_depayloader).is_some() {
                return Some(true.to_value());
            }
            let media = offered.and_then(|offered| offered.get::<String>("media").ok());
            let video = media.is_none_or(|media| media == "video");
            facts.offers_video.fetch_or(video, Ordering::AcqRel);
            let medium = arguments.get(1).and_then(|value| value.get::<u32>().ok()).unwrap_or_default();
            let mut videos = videos.lock().unwrap_or_else(PoisonError::into_inner);
            // Of each medium, in the order in which the server lists them, and perhaps again.
            if video && !videos.contains(&medium) {
                videos.push(medium);
            }
            let number = videos.iter().position(|video| *video == medium).map(|place| place as u32 + 1);
            Some(number.is_some_and(|number| tracks.takes_number(number)).to_value())
        });
    }

    /// The proxy logs in, also with what stands in a description of a user's own.
    fn take_login(&self, source: &gst::Element) {
        let text = |name: &str| source.property::<Option<String>>(name).unwrap_or_default();
        let (user, place) = (text("user-id"), text("location"));
        if user.is_empty() || place != *self.0.proxy.lock().unwrap_or_else(PoisonError::into_inner) {
            return;
        }
        let login = Login::new(&user, &text("user-pw"));
        *self.0.login.lock().unwrap_or_else(PoisonError::into_inner) = Some(login);
        source.set_property("user-id", None::<String>);
        source.set_property("user-pw", None::<String>);
    }

    /// The login that a description of a user's own holds.
    fn login(&self) -> Option<Login> {
        self.0.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// There was no connection to the server.
    fn unreached(&self) {
        self.0.unreached.store(true, Ordering::Release);
    }

    fn unknown_login(&self, reason: String) {
        *self.0.unknown_login.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    fn refuses_transport(&self) {
        self.0.refuses_transport.store(true, Ordering::Release);
    }

    fn refuses_get_parameter(&self) {
        self.0.refuses_get_parameter.store(true, Ordering::Release);
    }

    /// How the server of the next connection is told that somebody still watches.
    pub(super) fn keep_alive(&self) -> Option<KeepAlive> {
        self.0.refuses_get_parameter.load(Ordering::Acquire).then_some(KeepAlive::Options)
    }

    fn certificate_is(&self, wrong: gio::TlsCertificateFlags) {
        // `validate-all` only says that everything was looked at.
        let names = wrong.iter_names().map(|(name, _)| name.to_lowercase().replace('_', "-"));
        let names: Vec<String> = names.filter(|name| name != "validate-all").collect();
        *self.0.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(names.join(", "));
    }

    /// While the decoder is being built nobody takes packets, and none of them, the first key frame's, may get lost for it.
    fn set_up_jitter_buffer(&self, buffer: &gst::Element) {
        backlog::watch(buffer, Arc::clone(&self.0.shows));
        times::mark(buffer, Arc::clone(&self.0.lost));
    }

    /// Frames come.
    pub(super) fn joined(&self) {
        self.0.shows.store(true, Ordering::Release);
    }

    /// Packets that are missing so far.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Acquire)
    }

    /// True where the server has a video stream, but not by the transport that it was asked for.
    pub(super) fn transport_refused(&self, fault: &Fault) -> bool {
        // Who goes another way than the proxy's is not heard.
        let heard = !self.0.proxy.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        fault::is_no_stream(fault)
            && self.0.offers_video.load(Ordering::Acquire)
            && (!heard || self.0.refuses_transport.load(Ordering::Acquire))
    }

    /// A failure with what is known of it beyond the element's own words.
    pub(super) fn explain(&self, uri: &str, fault: Fault) -> Fault {
        if self.transport_refused(&fault) {
            return Fault::new(
                fault::CONNECTION_FAILED,
                "the server refuses this transport (461); see --rtsp-transport",
            );
        }
        if fault::is_no_stream(&fault) {
            return Fault::new(fault::CODEC_UNSUPPORTED, "the server offers no video");
        }
        if fault.code == fault::AUTH_FAILED {
            let unknown = self.0.unknown_login.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let reason = match unknown {
                Some(unknown) => {
                    format!("the server asks for a login of a kind that is not supported: {unknown} ({})", fault.reason)
                }
                None => format!("{}; see --credentials", fault.reason),
            };
            return Fault::new(fault.code, &reason);
        }
        if !self.0.unreached.load(Ordering::Acquire) {
            return fault;
        }
        if let Some(wrong) = &*self.0.certificate.lock().unwrap_or_else(PoisonError::into_inner) {
            let reason = format!("the server's certificate is not trusted ({wrong}); see --tls-ca");
            return Fault::new(fault::TLS_CERTIFICATE, &reason);
        }
        match unreachable(uri) {
            Some(why) => Fault::new(if why.silent { fault::TIMEOUT } else { fault::CONNECTION_FAILED }, &why.reason),
            None if uri.starts_with("rtsps:") => {
                Fault::new(fault::TLS_HANDSHAKE, "the server does not speak TLS, or no version of it that we speak")
            }
            None => fault,
        }
    }
}
