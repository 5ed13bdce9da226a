//! Boxes where frames go: a pad probe downstream reads the metadata of every buffer, as any GStreamer program could.
//!
//! `cargo run --release --example boxes_downstream -- clip.mp4 "a person"`

use std::io::Write;

use frames::meta::ROI_TYPE;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use spotter::cli::RunArgs;
use spotter::config::RunSettings;
use spotter::sink::Branch;

/// A sink that swallows frames, with a probe on its pad.
fn sink() -> spotter::Result<gst::Element> {
    let fail = |reason: String| spotter::Error::Pipeline { name: "boxes_downstream".into(), reason };
    let sink = gst::ElementFactory::make("fakesink").build().map_err(|e| fail(e.to_string()))?;
    let pad = sink.static_pad("sink").ok_or_else(|| fail("fakesink has no pad".into()))?;
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        if let Some(buffer) = info.buffer() {
            let _ = writeln!(std::io::stdout(), "{}", line(buffer));
        }
        gst::PadProbeReturn::Ok
    });
    Ok(sink)
}

/// What stands on one buffer. Regions are in pixels; their `detection` structures have the rest.
fn line(buffer: &gst::BufferRef) -> String {
    let time = buffer.pts().unwrap_or_default();
    let regions = buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>();
    let described = regions.filter(|region| region.roi_type() == ROI_TYPE).map(|region| {
        let (x, y, w, h) = region.rect();
        let detection = region.param("detection");
        let label: String = detection.and_then(|detection| detection.get("label").ok()).unwrap_or_default();
        let score = detection.and_then(|detection| detection.get::<f64>("confidence").ok());
        let score = score.map_or("unknown".into(), |score| format!("{score:.2}"));
        format!("{label} #{} x {x} y {y} w {w} h {h} confidence {score}", region.id())
    });
    let described: Vec<String> = described.collect();
    format!("{time}  {}", if described.is_empty() { "not here".into() } else { described.join("; ") })
}

fn main() -> spotter::Result<()> {
    let usage = || spotter::Error::Usage("expected a video and a query".into());
    let mut args = std::env::args().skip(1);
    let (source, query) = (args.next().ok_or_else(usage)?, args.next().ok_or_else(usage)?);
    spotter::pipeline::init()?;
    let typed = RunArgs { source: vec![source], query: vec![query.as_str().into()], ..RunArgs::default() };
    let mut settings = RunSettings::resolve(typed)?;
    settings.streams[0].output.branches.push(Branch::new(sink));
    spotter::run::run(&settings)
}
