//! Clips of sightings: what is asked for, and what is in them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spotter::sightings::{Best, ClipSettings, Clips, Container, FileRef, Finished, RectJson, Sighting};

use super::until;

/// Seconds that clips begin before, and end after.
pub(crate) const BEFORE: u64 = 2;
pub(crate) const AFTER: u64 = 1;
/// How long anything may take to happen.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn clip_settings(folder: &Path, container: Container) -> ClipSettings {
    ClipSettings {
        folder: folder.to_owned(),
        before: Duration::from_secs(BEFORE),
        after: Duration::from_secs(AFTER),
        max_length: Duration::from_mins(10),
        container,
        sound: true,
        cues: false,
    }
}

/// A sighting from one frame to another.
pub(crate) fn sighting(id: &str, first: &Value, last: &Value) -> Sighting {
    let time = |frame: &Value| frame["pts_ns"].as_u64();
    Sighting {
        id: id.to_owned(),
        stream: "camera".into(),
        query: "the counter".into(),
        text: "the counter".into(),
        objects: vec![1],
        start_pts_ns: time(first),
        start_unix_ns: 0,
        last_pts_ns: time(last),
        last_unix_ns: 0,
        best: Best {
            boxed: RectJson { x: 0.0, y: 0.0, w: 1.0, h: 1.0 },
            score: None,
            presence: None,
            frame_index: None,
            seq: 0,
            unix_ns: 0,
        },
        zones: Vec::new(),
        path: Vec::new(),
        files: Vec::new(),
    }
}

/// So many finished files.
pub(crate) fn wait_for(clips: &Clips, count: usize) -> Vec<Finished> {
    let mut all = Vec::new();
    until("clips", PATIENCE, || {
        all.extend(clips.poll());
        (all.len() >= count).then_some(())
    });
    all
}

/// The only file of a clip.
pub(crate) fn only(finished: Vec<Finished>) -> FileRef {
    let [one] = <[Finished; 1]>::try_from(finished).expect("one file");
    one.file.expect("written")
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The coded pictures of a video as they stand in it, without what containers add: slices of H.264 (`h264`) and H.265 (`hevc`).
pub(crate) fn slices(video: &str, codec: &str) -> Vec<Vec<u8>> {
    let filter = format!("{codec}_mp4toannexb");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i", video, "-map", "0:v", "-c", "copy", "-bsf:v", &filter, "-f", codec, "-"])
        .output()
        .expect("ffmpeg starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let starts = output.stdout.windows(3).enumerate().filter(|(_, window)| *window == [0, 0, 1]);
    let starts: Vec<usize> = starts.map(|(at, _)| at + 3).collect();
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([output.stdout.len()]);
    let units = starts.iter().zip(ends).map(|(start, end)| &output.stdout[*start..end]);
    let is_slice = |unit: &&[u8]| match codec {
        "h264" => matches!(unit[0] & 31, 1 | 5),
        _ => unit[0] >> 1 & 63 < 32,
    };
    // A start code may begin with one zero more, which is no part of what stands before it.
    let whole = |unit: &[u8]| unit[..unit.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)].to_vec();
    units.filter(is_slice).map(whole).collect()
}

/// Every one of `some` is among `all`, in the same order.
pub(crate) fn is_within(some: &[Vec<u8>], all: &[Vec<u8>]) -> bool {
    let mut all = all.iter();
    some.iter().all(|one| all.any(|other| other == one))
}
