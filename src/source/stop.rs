//! How a source pipeline is stopped where its elements (GStreamer 1.22) do not bear it well.

use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

/// How long a pipeline may take to stop before it is helped, and after that.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a decoder may be busy with what it has been given.
const LAST_PICTURE: Duration = Duration::from_millis(500);

/// Lets nothing more into the decoders of video, and waits until they are idle: `avdec_*` ends the process when it empties
/// itself, at the end of a stream or at new caps, while what is behind it does not take pictures any more.
pub(super) fn starve_decoders(pipeline: &gst::Pipeline) {
    use gst::{ElementFactoryType as Type, PadProbeType as Probe};
    let elements = pipeline.iterate_recurse().into_iter().flatten();
    let decoders = elements.filter(|element| {
        element.factory().is_some_and(|factory| factory.has_type(Type::DECODER) && factory.has_type(Type::MEDIA_VIDEO))
    });
    let pads: Vec<gst::Pad> = decoders.filter_map(|decoder| decoder.static_pad("sink")).collect();
    if pads.is_empty() {
        return;
    }
    for pad in &pads {
        pad.add_probe(Probe::DATA_DOWNSTREAM, |_, _| gst::PadProbeReturn::Drop);
    }
    let (idle, wait) = crossbeam_channel::bounded::<()>(0);
    // A decoder that hangs holds its lock; nobody waits for that but this thread.
    let waiting = std::thread::Builder::new().name("stop".into()).spawn(move || {
        for pad in &pads {
            drop(pad.stream_lock());
        }
        drop(idle);
    });
    if waiting.is_ok() && wait.recv_timeout(LAST_PICTURE) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
        tracing::debug!("a decoder is busy while its pipeline is stopped");
    }
}

/// Stops a pipeline whose elements can get in each other's way. A server that goes at the wrong moment leaves
/// `rtpjitterbuffer` waiting with its lock held, and the state change waits for that; told to flush once more, it wakes. A
/// pipeline that does not stop even so is left behind: the next connection must not wait for it.
pub(super) fn patiently(pipeline: &gst::Pipeline, to_null: impl FnOnce() -> bool + Send + 'static) -> bool {
    let (done, finished) = crossbeam_channel::bounded(1);
    let thread = std::thread::Builder::new().name("stop".into()).spawn(move || _ = done.send(to_null()));
    let Ok(thread) = thread else { return pipeline.set_state(gst::State::Null).is_ok() };
    let mut outcome = finished.recv_timeout(PATIENCE);
    if outcome.is_err() {
        tracing::debug!("the source pipeline does not stop: waking its jitter buffers");
        let buffers: Vec<_> =
            pipeline.iterate_all_by_element_factory_name("rtpjitterbuffer").into_iter().flatten().collect();
        for buffer in buffers {
            let (Some(sink), Some(src)) = (buffer.static_pad("sink"), buffer.static_pad("src")) else { continue };
            // The buffer alone is to wake: what is behind it is being taken apart.
            src.add_probe(gst::PadProbeType::EVENT_FLUSH, |_, _| gst::PadProbeReturn::Drop);
            // Not on this thread, which would wait as well.
            std::thread::spawn(move || sink.send_event(gst::event::FlushStart::new()));
        }
        outcome = finished.recv_timeout(PATIENCE);
    }
    let Ok(stopped) = outcome else {
        tracing::error!("the source pipeline cannot be stopped, and is left behind");
        return true;
    };
    drop(thread.join());
    stopped
}
