//! GStreamer's own log, with no secret in it: its elements write passwords, addresses and headers into it as they are.

use std::fs::File;
use std::io::Write;
use std::sync::Once;

use gstreamer as gst;

use crate::secrets;

/// Writes the log in GStreamer's place, once, to where `GST_DEBUG_FILE` says or to standard error; not at all where
/// `GST_DEBUG` does not ask for it.
pub(super) fn take_over() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Its RTSP server prints requests and answers, on standard output, where data goes.
        gst::glib::set_print_handler(|text| drop(write!(std::io::stderr(), "{}", secrets::hidden(text))));
        gst::glib::log_set_default_handler(|domain, level, text| {
            let domain = domain.unwrap_or("glib");
            match level {
                gst::glib::LogLevel::Error | gst::glib::LogLevel::Critical | gst::glib::LogLevel::Warning => {
                    tracing::warn!("{domain}: {}", secrets::hidden(text));
                }
                _ => tracing::debug!("{domain}: {}", secrets::hidden(text)),
            }
        });
        gst::log::remove_default_log_function();
        if std::env::var_os("GST_DEBUG").is_none() {
            return;
        }
        // GStreamer has created the file itself, and keeps it open; what it wrote until now holds no secret.
        let named = std::env::var_os("GST_DEBUG_FILE").filter(|name| name != "-");
        // `%p` is the process, as GStreamer has it; what it makes of `%r` nobody knows.
        let pid = std::process::id().to_string();
        let named = named.map(|name| name.to_string_lossy().replace("%p", &pid));
        let file = named.and_then(|name| File::options().append(true).open(name).ok());
        gst::log::add_log_function(move |category, level, path, function, line, object, message| {
            let text = category.get_line(level, path, function, line, object, message);
            let text = secrets::hidden(text.as_deref().unwrap_or_default().trim_end());
            // A log that cannot be written is no reason to stop.
            let _ = match file.as_ref() {
                Some(mut file) => writeln!(file, "{text}"),
                None => writeln!(std::io::stderr(), "{text}"),
            };
        });
    });
}
