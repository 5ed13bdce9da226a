//! How sightings are made and told, checked.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::recorder::ClipSettings;
use super::store::Keep;
use super::zones::{Line, Zone};
use crate::limits::QuietHours;

/// How long presence must hold before a sighting starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// Measured frames, from 1.
    Frames(u32),
    /// From its first frame to now.
    Time(Duration),
}

impl Default for Confirm {
    fn default() -> Self {
        Self::Time(CONFIRM)
    }
}

/// How long presence must hold, where nothing else is said.
const CONFIRM: Duration = Duration::from_secs(1);
/// The longest gap in a sighting, where nothing else is said.
pub const FORGET: Duration = Duration::from_secs(5);

/// What one query wants otherwise than its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuerySighting {
    /// How long presence must hold.
    pub confirm: Option<Confirm>,
    /// The longest gap.
    pub forget: Option<Duration>,
    /// How long nothing is told after a sighting.
    pub cooldown: Option<Duration>,
    /// Only what was in one of these zones is told; all where there are none.
    pub required_zones: Vec<String>,
}

/// What is kept of sightings beside their records: files, and an index of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// Where. Files go into the folder of their day.
    pub folder: PathBuf,
    /// How clips are made; none where nobody wants them.
    pub clips: Option<ClipSettings>,
    /// Bytes of packets that a stream keeps for its clips, at most.
    pub memory: usize,
    /// Whether the best frame is kept.
    pub snapshots: bool,
    /// How much is kept.
    pub keep: Keep,
}

/// How the sightings of a stream are made and told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SightingSettings {
    /// How long presence must hold.
    pub confirm: Confirm,
    /// The longest gap.
    pub forget: Duration,
    /// How long nothing is told of a query after one of its sightings.
    pub cooldown: Duration,
    /// When nothing is told of live sources.
    pub quiet_hours: Vec<QuietHours>,
    /// Events of sightings that are told in a minute, at most; ends are told all the same.
    pub per_minute: Option<NonZeroU32>,
    /// Where open sightings are noted, so that the next run can tell how they ended.
    pub dir: Option<PathBuf>,
    /// What else is kept of them; none where nobody wants it.
    pub archive: Option<ArchiveSettings>,
    /// Areas.
    pub zones: Vec<Zone>,
    /// Lines.
    pub lines: Vec<Line>,
}

impl SightingSettings {
    /// All that decides which sightings a film has, which of them are told, and what is kept of them.
    pub fn to_json(&self) -> Value {
        let zone = |zone: &Zone| {
            json!({ "name": zone.name, "corners": zone.corners().collect::<Vec<_>>(), "anchor": zone.anchor,
                "confirm": zone.confirm })
        };
        let line = |line: &Line| json!({ "name": line.name, "ends": line.ends(), "anchor": line.anchor, "confirm": line.confirm });
        let mut all = json!({
            "confirm": self.confirm, "forget_ms": self.forget.as_millis() as u64,
            "cooldown_ms": self.cooldown.as_millis() as u64, "per_minute": self.per_minute,
            "zones": self.zones.iter().map(zone).collect::<Vec<_>>(),
            "lines": self.lines.iter().map(line).collect::<Vec<_>>(),
        });
        if let Some(ArchiveSettings { folder, clips, snapshots, .. }) = &self.archive {
            let clips = clips.as_ref().map(|clips| {
                json!({ "before_ms": clips.before.as_millis() as u64, "after_ms": clips.after.as_millis() as u64,
                    "max_length_ms": clips.max_length.as_millis() as u64, "container": clips.container,
                    "sound": clips.sound, "cues": clips.cues })
            });
            all["archive"] = json!({ "folder": folder, "snapshots": snapshots, "clips": clips });
        }
        all
    }
}
