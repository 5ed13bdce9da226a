//! Sightings, zones and lines as they are written.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use frames::overlay::Shape;
use records::{Format, Query};
use serde::{Deserialize, Serialize};

use super::archive::{ClipsEntry, KeepEntry, archive};
use super::time::{LONGEST, duration};
use crate::cli::{OutArg, RunArgs};
use crate::error::{Error, Result};
use crate::sightings::{Anchor, Confirm, FORGET, FRAMES, Line, QuerySighting, QuietHours, SightingSettings, Zone};
use crate::stage::QuerySettings;

/// `[sightings]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SightingsEntry {
    /// As `--confirm`.
    pub confirm: Option<FramesOrTime>,
    /// As `--forget`.
    pub forget: Option<String>,
    /// How long nothing is told of a query after one of its sightings; 0 if not given.
    pub cooldown: Option<String>,
    /// Parts of the day, as in `22:00-07:00`, in which nothing is told of live sources.
    pub quiet_hours: Vec<String>,
    /// Events of sightings that are told in a minute, at most.
    pub per_minute: Option<u32>,
    /// A folder that knows over the end of a run what is open.
    pub dir: Option<PathBuf>,
    /// Clips of sightings, made of what their source sent, in that folder.
    pub clips: Option<ClipsEntry>,
    /// Whether the best frame of each is kept there.
    pub snapshots: Option<bool>,
    /// How much is kept there.
    pub keep: Option<KeepEntry>,
}

/// Measured frames, or a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FramesOrTime {
    /// `25`
    Frames(u32),
    /// `"1s"`
    Time(String),
}

impl FromStr for FramesOrTime {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Time(text.to_owned()), Self::Frames))
    }
}

/// `[[zone]]`, or `[[stream.zone]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneEntry {
    /// How events and queries call it.
    pub name: String,
    /// Its corners, in shares of the picture's width and height.
    pub points: Vec<[f64; 2]>,
    /// Which point of a box counts; the middle of its lower edge if not given.
    #[serde(default)]
    pub anchor: Option<Anchor>,
    /// How many frames confirm that something is in it, or not; 3 if not given.
    #[serde(default)]
    pub confirm: Option<u32>,
}

/// `[[line]]`, or `[[stream.line]]`: as a zone, with two points.
pub type LineEntry = ZoneEntry;

impl SightingsEntry {
    /// With every key set.
    pub(super) fn example() -> Self {
        let text = || Some(String::new());
        Self {
            confirm: Some(FramesOrTime::Frames(1)),
            forget: text(),
            cooldown: text(),
            quiet_hours: vec![String::new()],
            per_minute: Some(1),
            dir: Some(PathBuf::new()),
            clips: Some(ClipsEntry::example()),
            snapshots: Some(true),
            keep: Some(KeepEntry::example()),
        }
    }
}

impl ZoneEntry {
    /// With every key set.
    pub(super) fn example() -> Self {
        Self { name: String::new(), points: vec![[0.0; 2]], anchor: Some(Anchor::Bottom), confirm: Some(1) }
    }
}

/// A file of sightings alone: `--zones`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct ZonesFile {
    sightings: Option<SightingsEntry>,
    zone: Vec<ZoneEntry>,
    line: Vec<LineEntry>,
}

impl blocks::strict::Strict for ZonesFile {
    fn example() -> Self {
        Self {
            sightings: Some(SightingsEntry::example()),
            zone: vec![ZoneEntry::example()],
            line: vec![LineEntry::example()],
        }
    }
}

/// Zones and lines.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    pub(super) zones: Vec<Zone>,
    pub(super) lines: Vec<Line>,
}

/// The most frames that a zone may want.
const MOST_FRAMES: u32 = 10_000;
/// The longest time that presence may have to hold.
const LONGEST_CONFIRM: Duration = Duration::from_mins(10);
/// Zones, or lines, that a stream may have.
const MOST: usize = 100;

impl Places {
    /// Those of all streams.
    ///
    /// # Errors
    /// One of them cannot be, or two have one name.
    pub(super) fn of(zones: &[ZoneEntry], lines: &[LineEntry]) -> Result<Self> {
        Self::default().with(zones, lines, "")
    }

    /// The same with those of one stream; `whose` stands in errors.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(super) fn with(&self, zones: &[ZoneEntry], lines: &[LineEntry], whose: &str) -> Result<Self> {
        let mut all = self.clone();
        for entry in zones {
            let fail = |reason: String| Error::Usage(format!("zone {:?}{whose}: {reason}", entry.name));
            all.check(entry).map_err(fail)?;
            let made = Zone::new(&entry.name, &entry.points, entry.anchor.unwrap_or_default(), entry.frames());
            all.zones.push(made.map_err(fail)?);
        }
        for entry in lines {
            let fail = |reason: String| Error::Usage(format!("line {:?}{whose}: {reason}", entry.name));
            all.check(entry).map_err(fail)?;
            let made = Line::new(&entry.name, &entry.points, entry.anchor.unwrap_or_default(), entry.frames());
            all.lines.push(made.map_err(fail)?);
        }
        Ok(all)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.zones.iter().map(|zone| zone.name.as_str()).chain(self.lines.iter().map(|line| line.name.as_str()))
    }

    fn check(&self, entry: &ZoneEntry) -> std::result::Result<(), String> {
        Query::check_name(&entry.name).map_err(|reason| format!("its name {reason}"))?;
        if self.names().any(|name| name == entry.name) {
            return Err("another zone or line of this stream has the same name; give each its own".into());
        }
        if self.names().count() >= MOST {
            return Err(format!("is one more than the {MOST} zones and lines that a stream may have"));
        }
        match entry.frames() {
            1..=MOST_FRAMES => Ok(()),
            frames => Err(format!("confirm = {frames}: expected a number of frames from 1 to {MOST_FRAMES}")),
        }
    }

    /// As they are drawn.
    pub(super) fn shapes(&self) -> Vec<Shape> {
        let zones =
            self.zones.iter().map(|zone| Shape::Area { name: zone.name.clone(), corners: zone.corners().collect() });
        let lines = self.lines.iter().map(|line| Shape::Line { name: line.name.clone(), ends: line.ends() });
        zones.chain(lines).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.zones.is_empty() && self.lines.is_empty()
    }

    /// Sees that there are the zones that queries require.
    ///
    /// # Errors
    /// There is none of that name; the message says which there are.
    pub(super) fn check_queries(&self, queries: &[QuerySettings]) -> Result<()> {
        for query in queries {
            let is_there = |name: &String| self.zones.iter().any(|zone| zone.name == *name);
            let Some(lacking) = query.sighting.required_zones.iter().find(|name| !is_there(name)) else { continue };
            let known = || self.zones.iter().map(|zone| zone.name.as_str());
            let expected = match blocks::strict::nearest(lacking, known()) {
                Some(nearest) => format!("did you mean {nearest:?}?"),
                None if self.zones.is_empty() => "the stream has none".into(),
                None => format!("expected one of {}", known().collect::<Vec<_>>().join(", ")),
            };
            let reason = format!("required_zones: no zone is called {lacking:?}; {expected}");
            return Err(Error::Usage(format!("query {:?}: {reason}", query.name)));
        }
        Ok(())
    }
}

impl ZoneEntry {
    fn frames(&self) -> u32 {
        self.confirm.unwrap_or(FRAMES)
    }
}

/// How long presence must hold.
///
/// # Errors
/// No frame, no time, or too long.
pub(super) fn confirm(entry: &FramesOrTime) -> Result<Confirm> {
    match entry {
        FramesOrTime::Frames(frames @ 1..=MOST_FRAMES) => Ok(Confirm::Frames(*frames)),
        FramesOrTime::Frames(frames) => {
            let reason = format!("expected frames from 1 to {MOST_FRAMES}, or a time such as 1s");
            Err(Error::Usage(format!("--confirm {frames}: {reason}")))
        }
        FramesOrTime::Time(text) => {
            let range = Duration::ZERO..=LONGEST_CONFIRM;
            duration("confirm", Some(text.as_str()), Duration::ZERO, range).map(Confirm::Time)
        }
    }
}

/// What is written of sightings, for all streams.
pub(super) struct Common {
    /// None where nobody wants them.
    settings: Option<SightingSettings>,
    pub(super) places: Places,
}

impl Common {
    /// By the settings file, `--zones`, and flags, which win.
    ///
    /// # Errors
    /// A file cannot be read, or a value is out of range.
    pub(super) fn of(args: &RunArgs) -> Result<Self> {
        let typed = &args.sighting;
        let file = typed.zones.as_deref().map(read).transpose()?;
        let (entry, zones, lines) = match file {
            Some(file) => (file.sightings.or_else(|| args.sightings_table.clone()), file.zone, file.line),
            None => (args.sightings_table.clone(), args.zone.clone(), args.line.clone()),
        };
        let places = Places::of(&zones, &lines)?;
        let table =
            args.out.iter().any(|out| matches!(out, OutArg::Records(place) if place.format == Format::Sightings));
        let dir = args.sightings_dir.clone();
        let asked = typed.sightings || typed.confirm.is_some() || typed.forget.is_some() || dir.is_some() || table;
        let is_wanted = asked || entry.is_some();
        let entry = entry.unwrap_or_default();
        let per_minute = match entry.per_minute {
            Some(0) => return Err(Error::Usage("per_minute = 0: expected a number of events from 1 on".into())),
            other => other.and_then(NonZeroU32::new),
        };
        let quiet = |text: &String| {
            text.parse::<QuietHours>().map_err(|reason| Error::Usage(format!("quiet_hours {text:?}: {reason}")))
        };
        let range = || Duration::ZERO..=LONGEST;
        let dir = dir.or_else(|| entry.dir.clone());
        let settings = SightingSettings {
            confirm: typed.confirm.as_ref().or(entry.confirm.as_ref()).map(confirm).transpose()?.unwrap_or_default(),
            forget: duration("forget", typed.forget.as_deref().or(entry.forget.as_deref()), FORGET, range())?,
            cooldown: duration("cooldown", entry.cooldown.as_deref(), Duration::ZERO, range())?,
            quiet_hours: entry.quiet_hours.iter().map(quiet).collect::<Result<_>>()?,
            per_minute,
            archive: archive(&entry, dir.as_deref())?,
            dir,
            zones: Vec::new(),
            lines: Vec::new(),
        };
        if let Some(dir) = &settings.dir
            && !dir.is_dir()
            && !blocks::files::parent(dir).is_dir()
        {
            return Err(Error::Usage(format!("sightings dir {}: its folder does not exist", dir.display())));
        }
        Ok(Self { settings: Some(settings).filter(|_| is_wanted || !places.is_empty()), places })
    }

    /// For one stream with these places; none where nobody wants sightings of it.
    pub(super) fn stream(&self, places: &Places, queries: &[QuerySettings]) -> Option<SightingSettings> {
        let asks = queries.iter().any(|query| query.sighting != QuerySighting::default());
        let wanted = self.settings.clone().or_else(|| {
            let usual = SightingSettings { forget: FORGET, ..SightingSettings::default() };
            Some(usual).filter(|_| asks || !places.is_empty())
        });
        wanted.map(|settings| SightingSettings { zones: places.zones.clone(), lines: places.lines.clone(), ..settings })
    }
}

fn read(path: &Path) -> Result<ZonesFile> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(blocks::strict::toml(&text, &path.display().to_string())?)
}
