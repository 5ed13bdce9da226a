//! How RTSP sources are reached.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::address::unreachable;
use super::fault::{self, Fault};
use crate::error::{Error, Result};
use crate::pipeline::Hole;
use crate::secrets::Login;

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
    /// What the jitter buffer holds back to put packets in order; later ones are dropped.
    pub latency: Duration,
    /// How long the server may take to answer.
    pub timeout: Duration,
    /// For servers that ask, where the address holds none.
    pub login: Option<Login>,
    /// Certificates to trust beside those that the system does, as a PEM file: a camera's own, or that of who vouches for it.
    pub trusted: Option<PathBuf>,
}

impl Default for RtspSettings {
    fn default() -> Self {
        Self {
            transport: Transport::Auto,
            latency: Duration::from_millis(200),
            timeout: Duration::from_secs(10),
            login: None,
            trusted: None,
        }
    }
}

impl RtspSettings {
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

/// What an `rtspsrc` learns of its server and does not say on the bus.
#[derive(Debug, Clone, Default)]
pub(super) struct Learned(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    /// The server has a video stream.
    offers_video: AtomicBool,
    /// Packets that did not come in time.
    lost: AtomicU64,
    /// What is wrong with its certificate.
    certificate: Mutex<Option<String>>,
}

impl Learned {
    /// Sets up every `rtspsrc` of `bin`, also those that a decoder bin of a user's own description makes: video alone, with
    /// the credentials that stood in the address, or those of the settings where it held no password.
    pub(super) fn of(bin: &gst::Bin, settings: &RtspSettings, in_address: Option<&Login>) -> Self {
        let learned = Self::default();
        let whole = in_address.filter(|login| !login.password.is_empty());
        let login = whole.or(settings.login.as_ref()).or(in_address).cloned();
        let trusted = settings.trusted.clone();
        for element in bin.iterate_recurse().into_iter().flatten() {
            learned.set_up(&element, login.as_ref(), trusted.as_deref());
        }
        let later = learned.clone();
        bin.connect_deep_element_added(move |_, _, element| later.set_up(element, login.as_ref(), trusted.as_deref()));
        learned
    }

    fn set_up(&self, element: &gst::Element, login: Option<&Login>, trusted: Option<&Path>) {
        match element.factory().map(|factory| factory.name()).as_deref() {
            Some("rtspsrc") => self.set_up_source(element, login, trusted),
            Some("rtpjitterbuffer") => self.count_lost(element),
            _ => {}
        }
    }

    fn set_up_source(&self, source: &gst::Element, login: Option<&Login>, trusted: Option<&Path>) {
        // Capture times, also where a description of a user's own does not ask for them.
        source.set_property("add-reference-timestamp-meta", true);
        // Not by way of a launch line, which GStreamer logs.
        if let Some(login) = login {
            source.set_property("user-id", &login.user);
            source.set_property("user-pw", &login.password);
        }
        // It was looked at when the run began; if it cannot be read now, the certificate is refused, and tried again.
        if let Some(database) = trusted.and_then(|path| trust(path).inspect_err(|e| tracing::warn!("{e}")).ok()) {
            source.set_property("tls-database", &database);
        }
        let facts = Arc::clone(&self.0);
        source.connect("select-stream", false, move |arguments| {
            let caps = arguments.get(2).and_then(|value| value.get::<gst::Caps>().ok());
            let media = caps.as_ref().and_then(|caps| caps.structure(0)?.get::<String>("media").ok());
            let video = media.is_none_or(|media| media == "video");
            facts.offers_video.fetch_or(video, Ordering::AcqRel);
            Some(video.to_value())
        });
        let facts = Arc::clone(&self.0);
        source.connect("accept-certificate", false, move |arguments| {
            let flags = arguments.get(3).and_then(gst::glib::FlagsValue::from_value);
            // `validate-all` only says that everything was looked at.
            let names = |values: &[&gst::glib::FlagsValue]| {
                values
                    .iter()
                    .map(|value| value.nick())
                    .filter(|name| *name != "validate-all")
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let wrong = flags.map(|(_, values)| names(&values));
            *facts.certificate.lock().unwrap_or_else(PoisonError::into_inner) = wrong;
            Some(false.to_value())
        });
    }

    /// Counts what a jitter buffer waits for in vain. Decoders may guess the rest without a word.
    fn count_lost(&self, buffer: &gst::Element) {
        const LOST: &str = "GstRTPPacketLost";
        let Some(pad) = buffer.static_pad("src") else { return };
        let facts = Arc::clone(&self.0);
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            let lost = info.event().and_then(|event| event.structure()).is_some_and(|event| event.name() == LOST);
            facts.lost.fetch_add(u64::from(lost), Ordering::AcqRel);
            gst::PadProbeReturn::Ok
        });
    }

    /// Packets that did not come in time, so far.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Acquire)
    }

    /// True where the server has a video stream, but not by the transport that it was asked for.
    pub(super) fn transport_refused(&self, fault: &Fault) -> bool {
        fault::is_no_stream(fault) && self.0.offers_video.load(Ordering::Acquire)
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
            return Fault { reason: format!("{}; see --credentials", fault.reason), ..fault };
        }
        if !fault::is_unexplained(&fault) {
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
