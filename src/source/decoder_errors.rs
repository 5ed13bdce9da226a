//! What decoders and demuxers say of damaged data.
//!
//! libav's decoders guess what is missing, hand out the picture like any other, and say so nowhere but in their log;
//! Matroska's demuxer skips to where it finds its way again. So those logs are counted. Their lines do not name their
//! stream: with several in one process, all of them hear of it.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;

static COUNT: AtomicU64 = AtomicU64::new(0);
/// The log categories of GStreamer's libav plugin and of its Matroska reader. Errors alone are damage.
const CATEGORIES: [&str; 2] = ["libav", "ebmlread"];

/// Begins to count, once.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::log::add_log_function(|category, level, _, _, _, _, _| {
            if level == gst::DebugLevel::Error && CATEGORIES.contains(&category.name()) {
                COUNT.fetch_add(1, Ordering::AcqRel);
            }
        });
        // Who sets GST_DEBUG wants to read the log, and has chosen what it holds.
        if std::env::var_os("GST_DEBUG").is_none() {
            for name in CATEGORIES {
                gst::log::set_threshold_for_name(name, gst::DebugLevel::Error);
            }
        }
    });
}

/// One more: of a camera whose pictures we take apart ourselves.
pub(super) fn add() {
    COUNT.fetch_add(1, Ordering::AcqRel);
}

/// Complaints so far.
pub(super) fn count() -> u64 {
    COUNT.load(Ordering::Acquire)
}
