//! What a web server sends: opened here, so that what it is can be known before it is played, without asking twice. Many
//! small cameras serve one client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

/// An answer of which the head is here.
pub(super) struct Response {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    /// As the server calls it, in small letters.
    pub(super) kind: String,
    /// What was read of it already.
    first: Mutex<Vec<u8>>,
}

/// An answer that nobody has read yet; cloned with the address that it is of.
#[derive(Clone, Default)]
pub struct OpenResponse(Arc<Mutex<Option<Response>>>);

impl std::fmt::Debug for OpenResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenResponse")
    }
}

impl PartialEq for OpenResponse {
    /// Whether it was read or not, it is of the same address.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for OpenResponse {}

impl OpenResponse {
    pub(super) fn of(answer: Response) -> Self {
        Self(Arc::new(Mutex::new(Some(answer))))
    }

    /// The answer, once.
    pub(super) fn take(&self) -> Option<Response> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How long a server may take to answer, and then to its first bytes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the next bytes may take.
const PAUSE: gst::ClockTime = gst::ClockTime::from_mseconds(250);
/// The first part's head lies within so many bytes.
const HEAD: usize = 128;
/// How a kind of answer is called that goes on for ever.
const MULTIPART: &str = "multipart/x-mixed-replace";
/// No playlist is longer.
const LONGEST: usize = 1 << 20;

impl Response {
    /// Asks for an address.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal: the message that says so, where there is one.
    pub(super) fn of(uri: &str) -> Result<Self, Option<gst::Message>> {
        crate::pipeline::init().map_err(|_| None)?;
        let make = |name: &str| gst::ElementFactory::make(name).build().map_err(|_| None);
        let source = make("souphttpsrc")?;
        source.set_property("location", uri);
        source.set_property("ssl-strict", true);
        source.set_property("is-live", true);
        let sink = gst_app::AppSink::builder().sync(false).max_buffers(64).build();
        let pipeline = gst::Pipeline::new();
        let linked = pipeline.add_many([&source, sink.upcast_ref()]).and_then(|()| source.link(&sink));
        linked.map_err(|_| None)?;
        let mut answer = Self { pipeline, sink, kind: String::new(), first: Mutex::default() };
        // What is wrong stands on the bus.
        let _ = answer.pipeline.set_state(gst::State::Playing);
        let began = Instant::now();
        while let Some(left) = PATIENCE.checked_sub(began.elapsed()) {
            let Some(message) = answer.message(gst::ClockTime::try_from(left).unwrap_or(PAUSE)) else { break };
            if let gst::MessageView::Error(_) = message.view() {
                return Err(Some(message));
            }
            let headers = message.structure().filter(|structure| structure.name() == "http-headers");
            // A refusal is told by the error that follows.
            let is_whole = |all: &&gst::StructureRef| {
                all.get::<u32>("http-status-code").is_ok_and(|code| (200..400).contains(&code))
            };
            let headers = headers.filter(is_whole);
            let headers = headers.and_then(|all| all.get::<gst::Structure>("response-headers").ok());
            if let Some(headers) = headers {
                let kind = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
                let kind = kind.and_then(|(_, value)| value.get::<String>().ok()).unwrap_or_default();
                answer.kind = kind.to_ascii_lowercase();
                return Ok(answer);
            }
        }
        Err(None)
    }

    /// Whether it is pictures without end: as the server says, or as it begins. ffmpeg calls everything that it serves a
    /// stream of bytes.
    pub(super) fn is_multipart(&self) -> bool {
        if self.kind.starts_with(MULTIPART) {
            return true;
        }
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        while first.len() < HEAD && began.elapsed() < PATIENCE && !self.sink.is_eos() {
            let Some(sample) = self.sink.try_pull_sample(PAUSE) else { continue };
            let map = sample.buffer().and_then(|buffer| buffer.map_readable().ok());
            first.extend_from_slice(map.as_deref().unwrap_or_default());
        }
        let head = String::from_utf8_lossy(&first[..first.len().min(HEAD)]).to_ascii_lowercase();
        head.trim_start().starts_with("--") && head.contains("content-type: image/jpeg")
    }

    /// Whether nothing was read of it yet.
    pub(super) fn is_empty(&self) -> bool {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn message(&self, patience: gst::ClockTime) -> Option<gst::Message> {
        let wanted = [gst::MessageType::Error, gst::MessageType::Element];
        self.pipeline.bus()?.timed_pop_filtered(patience, &wanted)
    }

    /// What came next; none where nothing came for a moment, an error at the end, with the message that says why.
    pub(super) fn read(&self) -> Result<Option<gst::Buffer>, Option<gst::Message>> {
        let first = std::mem::take(&mut *self.first.lock().unwrap_or_else(PoisonError::into_inner));
        if !first.is_empty() {
            return Ok(Some(gst::Buffer::from_slice(first)));
        }
        if let Some(sample) = self.sink.try_pull_sample(PAUSE) {
            return Ok(sample.buffer_owned());
        }
        if self.sink.is_eos() { Err(self.message(gst::ClockTime::ZERO)) } else { Ok(None) }
    }

    /// All of it, as text.
    pub(super) fn text(&self) -> String {
        let (mut bytes, began) = (Vec::new(), Instant::now());
        while bytes.len() < LONGEST && began.elapsed() < PATIENCE {
            match self.read() {
                Ok(Some(buffer)) => bytes.extend(buffer.map_readable().map(|map| map.to_vec()).unwrap_or_default()),
                Ok(None) => {}
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
