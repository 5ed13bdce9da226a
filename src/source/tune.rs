//! Settings of elements that a decoder bin makes while it runs.

use gst::prelude::*;
use gstreamer as gst;

use super::Kind;

/// Lets decoders hand out damaged pictures, marked as such, instead of leaving them out without a word; with
/// `one_thread`, limits them to one thread.
pub(super) fn decoders(bin: &gst::Bin, one_thread: bool) {
    let tune = move |element: &gst::Element| {
        let is_decoder = element.factory().is_some_and(|f| f.has_type(gst::ElementFactoryType::DECODER));
        if !is_decoder {
            return;
        }
        if element.has_property_with_type("output-corrupt", bool::static_type()) {
            element.set_property("output-corrupt", true);
        }
        if one_thread {
            for name in ["max-threads", "threads"] {
                if let Some(property) = element.find_property(name) {
                    let value = gst::glib::Value::deserialize_with_pspec("1", &property);
                    if let Ok(value) = value {
                        element.set_property_from_value(name, &value);
                    }
                }
            }
        }
    };
    for element in bin.iterate_recurse().into_iter().flatten() {
        tune(&element);
    }
    bin.connect_deep_element_added(move |_, _, element| tune(element));
}

/// Decoder bins follow playlists to whatever address stands in them, also to files of this machine: not here.
pub(super) fn refuse_playlists(bin: &gst::Bin) {
    const PLAYLISTS: [&str; 4] =
        ["application/x-hls", "application/dash+xml", "application/vnd.ms-sstr+xml", "text/uri-list"];
    refuse(bin, |kind| {
        let reason = || format!("is a playlist ({kind}), expected a video; name the video itself");
        PLAYLISTS.contains(&kind).then(reason)
    });
}

/// What moves in a GIF is read from files (`pictures.rs`). Its demuxer cannot read what comes once.
pub(super) fn refuse_gifs(bin: &gst::Bin) {
    refuse(bin, |kind| {
        (kind == "image/gif").then(|| "is a GIF, which is read from a file alone: save it as one".into())
    });
}

/// Ends a source with the `reason` that there is against what its decoder bins find in it, called by the name of its format.
fn refuse(bin: &gst::Bin, reason: impl Fn(&str) -> Option<String> + Send + Sync + Copy + 'static) {
    for decoder in bin.iterate_recurse().into_iter().flatten() {
        let factory = decoder.factory().map(|f| f.name().to_string()).unwrap_or_default();
        if !matches!(factory.as_str(), "decodebin" | "uridecodebin") {
            continue;
        }
        decoder.connect("autoplug-continue", false, move |arguments| {
            let caps = arguments.get(2).and_then(|value| value.get::<gst::Caps>().ok());
            let kind = caps.as_ref().and_then(|caps| Some(caps.structure(0)?.name().to_string())).unwrap_or_default();
            let reason = reason(&kind);
            if let (Some(reason), Some(decoder)) =
                (&reason, arguments.first().and_then(|value| value.get::<gst::Element>().ok()))
            {
                gst::element_error!(decoder, gst::StreamError::WrongType, ("{reason}"));
            }
            Some(reason.is_none().to_value())
        });
    }
}

/// The demuxers of GStreamer's libav plugin (1.22) tell libav of the end of a file in a way that it does not know any more: some,
/// NUT's for one, read there for ever. So they are cut off from the file where it ends, which they take for what it is.
pub(super) fn end_with_the_file(bin: &gst::Bin) {
    bin.connect_deep_element_added(|_, _, element| {
        let is_libav = element.factory().is_some_and(|factory| factory.name().starts_with("avdemux_"));
        let Some(pad) = element.static_pad("sink").filter(|_| is_libav) else { return };
        // Asked before anything is read.
        pad.add_probe(gst::PadProbeType::PULL | gst::PadProbeType::BLOCK, |pad, info| {
            let whole = pad.peer_query_duration::<gst::format::Bytes>();
            let is_end = info.data.is_none() && whole.is_some_and(|whole| info.offset >= *whole);
            if let Some(file) = pad.peer().filter(|_| is_end) {
                drop(file.unlink(pad));
            }
            gst::PadProbeReturn::Pass
        });
    });
}

/// A playlist may change while it is played: what it names then must be on the web as well.
pub(super) fn stay_on_the_web(bin: &gst::Bin, kind: &Kind) {
    if !matches!(kind, Kind::Hls { .. }) {
        return;
    }
    bin.connect_deep_element_added(|_, _, element| {
        let factory = element.factory().filter(|factory| factory.has_type(gst::ElementFactoryType::SRC));
        let Some(name) = factory.map(|factory| factory.name()).filter(|name| name != "souphttpsrc") else { return };
        // It is set up already, and has not been started yet. The demuxer compares addresses, so there must be one.
        if element.has_property_with_type("location", String::static_type()) {
            element.set_property("location", "/dev/null/not-on-the-web");
        }
        gst::element_error!(element, gst::StreamError::WrongType, ("a playlist names what is not on the web ({name})"));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also those that a decoder bin makes later.
    #[test]
    fn decoders_get_one_thread_where_that_is_asked() {
        gst::init().expect("GStreamer starts");
        for one_thread in [false, true] {
            let bin = gst::Bin::new();
            let make = || gst::ElementFactory::make("avdec_h264").build().expect("gstreamer1.0-libav is installed");
            let (early, late) = (make(), make());
            bin.add(&early).expect("added");
            decoders(&bin, one_thread);
            bin.add(&late).expect("added");
            for decoder in [early, late] {
                assert_eq!(decoder.property::<i32>("max-threads") == 1, one_thread);
                assert!(decoder.property::<bool>("output-corrupt"));
            }
        }
    }
}
