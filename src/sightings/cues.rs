//! Boxes beside a clip: `WebVTT`, as a metadata track in the clip's own time. A cue's text is a JSON object.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::types::{FileRef, RectJson};
use crate::error::Result;

/// The longest that a box stands for, ns: then nobody knows any more where it is.
const LONGEST: i64 = 1_000_000_000;
/// How long the last one stands, ns.
const FRAME_TIME: i64 = 40_000_000;

/// Where the thing was on one frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cue {
    /// Stream time, ns.
    pub(super) stream_ns: i64,
    pub(super) rect: RectJson,
    pub(super) score: Option<f32>,
}

/// Writes those of a clip that lasts from one moment of stream time to another beside it; none where there are none.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(clip: &Path, query: &str, cues: &[Cue], (from, to): (i64, i64)) -> Result<Option<FileRef>> {
    let within: Vec<&Cue> = cues.iter().filter(|cue| (from..=to).contains(&cue.stream_ns)).collect();
    if within.is_empty() {
        return Ok(None);
    }
    let path: PathBuf = clip.with_extension("vtt");
    blocks::files::write(&path, text(&within, query, from))?;
    let time = |ns: i64| u64::try_from(ns.max(0)).ok();
    Ok(Some(FileRef { kind: "cues".into(), path, start_pts_ns: time(from), end_pts_ns: time(to) }))
}

fn text(cues: &[&Cue], query: &str, from: i64) -> String {
    let mut text = "WEBVTT\n\n".to_owned();
    for (number, cue) in cues.iter().enumerate() {
        let next = cues.get(number + 1).map_or(cue.stream_ns + FRAME_TIME, |next| next.stream_ns);
        let end = next.min(cue.stream_ns + LONGEST).max(cue.stream_ns + 1_000_000);
        let RectJson { x, y, w, h } = cue.rect;
        let [x, y, w, h] = [x, y, w, h].map(|pixels| (100.0 * pixels).round() / 100.0);
        let mut value = json!({ "query": query, "box": { "x": x, "y": y, "w": w, "h": h } });
        if let Some(score) = cue.score {
            value["score"] = ((1e4 * f64::from(score)).round() / 1e4).into();
        }
        // What means something in a cue's text, as JSON writes it otherwise.
        let value = value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        let (start, end) = (clock(cue.stream_ns - from), clock(end - from));
        // A string takes whatever is written.
        let _ = write!(text, "{start} --> {end}\n{value}\n\n");
    }
    text
}

fn clock(ns: i64) -> String {
    let (seconds, rest) = (ns / 1_000_000_000, ns / 1_000_000 % 1000);
    format!("{:02}:{:02}:{:02}.{rest:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_stand_in_the_time_of_the_clip() {
        let rect = RectJson { x: 1.0, y: 2.0, w: 3.0, h: 4.125 };
        let cue = |ms: i64, score| Cue { stream_ns: ms * 1_000_000, rect, score };
        let cues = [cue(9_000, None), cue(10_040, Some(0.5)), cue(10_080, None), cue(15_000, None), cue(99_000, None)];
        let folder = tempfile::tempdir().expect("a folder");
        let clip = folder.path().join("a.mp4");
        let file = write(&clip, "a <b>", &cues, (10_000_000_000, 20_000_000_000)).expect("written").expect("some");
        assert_eq!((file.path.as_path(), file.kind.as_str()), (folder.path().join("a.vtt").as_path(), "cues"));
        let text = std::fs::read_to_string(&file.path).expect("read");
        let times: Vec<&str> = text.lines().filter(|line| line.contains("-->")).collect();
        assert_eq!(
            times,
            [
                "00:00:00.040 --> 00:00:00.080",
                "00:00:00.080 --> 00:00:01.080", // Nobody knows where it was until the next one.
                "00:00:05.000 --> 00:00:05.040",
            ]
        );
        let first: serde_json::Value = serde_json::from_str(text.lines().nth(3).expect("a cue's text")).expect("JSON");
        assert_eq!(first, json!({"query": "a <b>", "box": {"x": 1.0, "y": 2.0, "w": 3.0, "h": 4.13}, "score": 0.5}));
        assert!(!text.contains("<b>"), "{text}");
        assert_eq!(write(&clip, "a", &cues, (0, 1)).expect("nothing to write"), None);
    }
}
