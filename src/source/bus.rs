//! What a pipeline reports to whoever runs it.

use gst::prelude::*;
use gstreamer as gst;

use super::fault::{self, Fault};
use crate::{pipeline, secrets};

/// What happened.
#[derive(Debug)]
pub enum Report {
    /// The stream ended by itself.
    End,
    /// It failed. Arrives before any [`Report::End`] that follows from it.
    Failed(Fault),
}

/// What `rtspsrc` says where its server ends the connection.
const SERVER_CLOSED: &str = "The server closed the connection";
/// Where it says so, if frames come within that connection. Beside it, they may go on.
const TCP: &str = "loop_interleaved";

/// An element's name, or its kind where the name is one that was only made to find it by.
fn called(source: &gst::Object) -> String {
    let factory = source.downcast_ref::<gst::Element>().and_then(ElementExt::factory);
    match factory.filter(|_| source.name().starts_with(pipeline::HOLE_NAME)) {
        Some(factory) => factory.name().to_string(),
        None => source.name().to_string(),
    }
}

/// What went wrong, as far as it can be said without the names of GStreamer's parts.
fn in_words(error: &gst::message::Error) -> String {
    let (element, cause) = (error.src().map(called).unwrap_or_default(), error.error());
    let debug = error.debug().unwrap_or_default();
    // The first line says where in GStreamer's own sources it was noticed.
    let detail = debug.lines().skip(1).last().map(|line| format!(" ({line})")).unwrap_or_default();
    if cause.matches(gst::CoreError::MissingPlugin) {
        // All that was missing is listed.
        return if debug.contains("audio/") && !debug.contains("video/") && !debug.contains("image/") {
            "holds sound and no picture".into()
        } else {
            format!("has no video that an installed plugin decodes{detail}")
        };
    }
    let is_nothing = detail.contains("Can't typefind");
    match element.as_str() {
        "typefind" if is_nothing => "gave nothing, or too little to tell what it is; expected a video".into(),
        "typefind" => "is in no format that is known here, expected a video".into(),
        _ => format!("{element}: {cause}{detail}"),
    }
}

/// Forwards what matters from a pipeline's bus, in the order in which it was posted, and nothing else: an error that
/// was posted before an end of stream arrives before it.
pub(crate) fn forward(pipeline: &gst::Pipeline, reports: impl Fn(Report) + Send + Sync + 'static) {
    let Some(bus) = pipeline.bus() else { return };
    let weak = pipeline.downgrade();
    let span = tracing::Span::current();
    bus.set_sync_handler(move |_, message| {
        let _whose = span.enter();
        match message.view() {
            gst::MessageView::Eos(_) => reports(Report::End),
            gst::MessageView::Error(error) => {
                reports(Report::Failed(Fault::new(fault::code(error), &in_words(error))));
            }
            // Said before the end of the stream, which gets stuck in a jitter buffer now and then.
            gst::MessageView::Warning(warning)
                if warning.debug().is_some_and(|debug| debug.contains(SERVER_CLOSED) && debug.contains(TCP)) =>
            {
                reports(Report::End);
            }
            gst::MessageView::Warning(warning) => {
                let element = warning.src().map(|s| s.name().to_string()).unwrap_or_default();
                tracing::warn!("{element}: {}", secrets::hidden(&warning.error().to_string()));
            }
            gst::MessageView::Latency(_) => {
                // Not on this thread: it may hold what the query needs.
                if let Some(pipeline) = weak.upgrade() {
                    pipeline.call_async(|pipeline| drop(pipeline.recalculate_latency()));
                }
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}
