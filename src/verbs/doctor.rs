//! `spotter doctor`: what this machine has, and what brings the rest.

use std::io::Write;
use std::path::Path;

use gstreamer as gst;

use crate::config::device;
use crate::error::{Error, Result};
use crate::pipeline::NEEDS;
use crate::source::{HEIF_LOADER, reads_heif};

/// # Errors
/// GStreamer does not start, or an element that every run needs is missing.
pub(super) fn run() -> Result<()> {
    crate::pipeline::init()?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cuda = device("cuda").map_or_else(|error| error.to_string(), |_| "there".to_owned());
    let model =
        std::env::var("SPOTTER_MODEL").map_or_else(|_| "built in".to_owned(), |path| format!("{path} (SPOTTER_MODEL)"));
    let mut lines = vec![
        format!("spotter    {}", env!("CARGO_PKG_VERSION")),
        format!("GStreamer  {}", gst::version_string()),
        format!("cores      {threads}"),
        format!("CUDA       {cuda}"),
        format!("model      {model}"),
        String::new(),
    ];
    let (mut rows, mut missing) = (Vec::new(), Vec::new());
    for need in &NEEDS {
        let there = gst::ElementFactory::find(need.element).is_some();
        let state = match (there, need.always) {
            (true, _) => "there".to_owned(),
            (false, true) => format!("MISSING: apt install {}", need.package),
            (false, false) => format!("missing: apt install {}", need.package),
        };
        if !there && need.always {
            missing.push(need.element);
        }
        rows.push((need.element, need.purpose, state));
    }
    let heif = if reads_heif() { "there".to_owned() } else { format!("missing: apt install {HEIF_LOADER}") };
    rows.push(("gdk-pixbuf", "HEIC and AVIF pictures in", heif));
    let first = rows.iter().map(|(element, ..)| element.len()).max().unwrap_or(0);
    let second = rows.iter().map(|(_, purpose, _)| purpose.len()).max().unwrap_or(0);
    lines.extend(rows.iter().map(|(element, purpose, state)| format!("{element:first$}  {purpose:second$}  {state}")));
    let text = lines.join("\n") + "\n";
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Error::io("write", Path::new("-")))?;
    if missing.is_empty() {
        return Ok(());
    }
    let reason = format!("GStreamer lacks elements that every run needs: {}", missing.join(", "));
    Err(Error::Pipeline { name: "doctor".into(), reason })
}
