//! `spotter train --film`: a generated video whose truth is known, frame by frame.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use gstreamer as gst;
use qrnet_train::scenes::motion::{Film, Truth};
use qrnet_train::trainer::Setup;
use serde_json::json;

use crate::error::{Error, Result};
use crate::sink::{Output, OutputSettings, Target};
use crate::source::{RgbFrames, rgb_frame};

/// Frames a second.
const RATE: u32 = 25;
/// Longer side of a film, in pixels.
const SIDE: usize = 512;
/// How long the file may take to be finished.
const FINISH_TIMEOUT: Duration = Duration::from_mins(1);

/// Which film, how long, and in front of what.
pub(super) struct Wanted<'a> {
    pub(super) seconds: f64,
    pub(super) number: usize,
    /// A clip whose frames stand behind the objects.
    pub(super) over: Option<&'a Path>,
}

/// Writes `film.mp4`, and `film.jsonl` with one line for every frame and sentence, the visitor's first: `box` in pixels,
/// null where the object is not there, `clear` false where it is hidden in part. Says the sentences on the log.
///
/// # Errors
/// The recipe draws no scenes, GStreamer lacks an element, the clip cannot be read or is shorter than the film, or a file
/// cannot be written.
pub(super) fn write(setup: &Setup, out: &Path, wanted: &Wanted) -> Result<()> {
    let Wanted { seconds, number, over } = *wanted;
    crate::pipeline::init()?;
    let scenes = setup.last_scenes(SIDE)?;
    let film = Film::new(&scenes, number)?;
    let mut behind = over.map(|clip| RgbFrames::open(clip, Some(film.size()))).transpose()?;
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let (video, labels) = (out.join("film.mp4"), out.join("film.jsonl"));
    let mut lines = Vec::new();
    let (sender, failures) = crossbeam_channel::bounded(1);
    let settings = OutputSettings { targets: vec![Target::Mp4(video.clone())], ..OutputSettings::default() };
    let fail = |reason: String| Error::Output { name: video.display().to_string(), reason };
    let mut output: Option<Output> = None;
    for frame in 0..(seconds * f64::from(RATE)) as u32 {
        let time = frame as f32 / RATE as f32;
        let (picture, truths) = match behind.as_mut() {
            Some(clip) => {
                let picture = clip.next().transpose()?.ok_or_else(|| {
                    Error::Usage(format!(
                        "--film {seconds}: the clip behind it ends after {frame} frames at {RATE} a second"
                    ))
                })?;
                film.frame_over(&picture, time)?
            }
            None => film.frame(time),
        };
        for (phrase, truth) in film.phrases().zip(truths) {
            let (target, clear) = match truth {
                Truth::Here(r) => (json!({"x": r.x0, "y": r.y0, "w": r.width(), "h": r.height()}), true),
                Truth::Absent => (json!(null), true),
                Truth::Unclear => (json!(null), false),
            };
            let line = json!({"frame": frame, "phrase": phrase, "box": target, "clear": clear});
            writeln!(lines, "{line}").map_err(Error::io("write", &labels))?;
        }
        let (info, buffer) = rgb_frame(picture, gst::Fraction::new(RATE as i32, 1)).map_err(fail)?;
        if output.is_none() {
            let sender = sender.clone();
            // The first failure says how it ended; nobody waits for another.
            let failed = move |reason| drop(sender.try_send(reason));
            output = Some(Output::start(&settings, &info, 1, None, failed)?);
        }
        let Some(output) = &mut output else { break };
        let time = Some(gst::ClockTime::from_nseconds(1_000_000_000 * u64::from(frame) / u64::from(RATE)));
        output.push(buffer, time, Duration::ZERO)?;
    }
    let Some(output) = output else {
        return Err(Error::Usage(format!("--film {seconds}: expected at least one frame, at {RATE} a second")));
    };
    output.finish(FINISH_TIMEOUT)?;
    if let Ok(reason) = failures.try_recv() {
        return Err(fail(reason));
    }
    std::fs::write(&labels, lines).map_err(Error::io("write", &labels))?;
    tracing::info!("{}: {seconds} s; ask for {:?}", video.display(), film.phrases().collect::<Vec<_>>());
    Ok(())
}
