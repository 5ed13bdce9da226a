//! `spotter train --film`: a generated video whose truth is known, frame by frame.

use std::io::Write;
use std::path::Path;

use gstreamer as gst;
use gstreamer_video as gst_video;
use qrnet::preprocess::Picture;
use qrnet_train::scenes::motion::{Film, Truth};
use qrnet_train::trainer::Setup;
use serde_json::json;

use crate::error::{Error, Result};
use crate::sink::Output;
use crate::source::Report;

/// Frames a second.
const RATE: u32 = 25;
/// Longer side of a film, in pixels.
const SIDE: usize = 512;

/// Writes `film.mp4`, and `film.jsonl` with one line a frame: `box` in pixels, null where the object is not there,
/// `clear` false where it is half in the picture. Says the sentence on the log.
///
/// # Errors
/// The recipe draws no scenes, GStreamer lacks an element, or a file cannot be written.
pub(super) fn write(setup: &Setup, out: &Path, seconds: f64, number: usize) -> Result<()> {
    gst::init().map_err(|e| Error::Pipeline { name: "GStreamer".into(), reason: e.to_string() })?;
    let scenes = setup.last_scenes(SIDE)?;
    let film = Film::new(&scenes, number)?;
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let (video, labels) = (out.join("film.mp4"), out.join("film.jsonl"));
    let mut lines = Vec::new();
    let (sender, reports) = crossbeam_channel::bounded(1);
    let mut output: Option<(Output, gst_video::VideoInfo)> = None;
    for frame in 0..(seconds * f64::from(RATE)) as u32 {
        let (picture, truth) = film.frame(frame as f32 / RATE as f32);
        let (target, clear) = match truth {
            Truth::Here(r) => (json!({"x": r.x0, "y": r.y0, "w": r.width(), "h": r.height()}), true),
            Truth::Absent => (json!(null), true),
            Truth::Unclear => (json!(null), false),
        };
        let line = json!({"frame": frame, "phrase": film.phrase(), "box": target, "clear": clear});
        writeln!(lines, "{line}").map_err(Error::io("write", &labels))?;
        if output.is_none() {
            let info = info(&picture, &video)?;
            let sender = sender.clone();
            let started = Output::start(std::slice::from_ref(&video), &info, move |report| {
                // The first report says how it ended; nobody waits for another.
                drop(sender.try_send(report));
            })?;
            output = Some((started, info));
        }
        let Some((output, info)) = &output else { continue };
        let time = Some(gst::ClockTime::from_nseconds(1_000_000_000 * u64::from(frame) / u64::from(RATE)));
        output.push(buffer(&picture, info), info, time)?;
    }
    let Some((output, _)) = output else {
        return Err(Error::Usage(format!("--film {seconds}: expected at least one frame, at {RATE} a second")));
    };
    output.finish();
    match reports.recv() {
        Ok(Report::End) => output.publish()?,
        Ok(Report::Failed(reason)) => return Err(Error::Output { name: video.display().to_string(), reason }),
        Err(_) => return Err(Error::Worker("the output pipeline went away".into())),
    }
    std::fs::write(&labels, lines).map_err(Error::io("write", &labels))?;
    tracing::info!("{}: {seconds} s; the sentence is {:?}", video.display(), film.phrase());
    Ok(())
}

fn info(picture: &Picture, file: &Path) -> Result<gst_video::VideoInfo> {
    gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, picture.width as u32, picture.height as u32)
        .fps(gst::Fraction::new(RATE as i32, 1))
        .build()
        .map_err(|e| Error::Output { name: file.display().to_string(), reason: e.to_string() })
}

/// A picture's rows at the stride that GStreamer wants.
fn buffer(picture: &Picture, info: &gst_video::VideoInfo) -> gst::Buffer {
    let mut bytes = vec![0; info.size()];
    for (row, pixels) in bytes.chunks_mut(info.stride()[0] as usize).zip(picture.rgb.chunks(3 * picture.width)) {
        row[..pixels.len()].copy_from_slice(pixels);
    }
    gst::Buffer::from_slice(bytes)
}
