//! Sightings: of what is claimed of frames, who came, when, where it went, and when it was gone.
//!
//! `stay` tells the stays of things apart, `zones` what they do in places, `limits` what of it is told, and `journal`
//! keeps what is open over the end of the process. [`Sightings`] puts them together for one stream, without a pipeline and
//! without a file but the journal. Everything that it says goes through [`Told`], and nobody is to hear of it before the journal
//! has it ([`Sightings::noted`]).

mod clip;
mod container;
mod cues;
mod decode_order;
pub mod index;
mod journal;
mod limits;
mod moment;
mod open;
mod part;
mod path;
mod playable;
mod recorder;
mod settings;
pub mod snapshot;
mod stay;
mod steps;
mod store;
mod told;
mod types;
mod writer;
mod zones;

use std::collections::BTreeMap;
use std::time::Duration;

use records::track::{FrameResult, TrackedQuery};
use records::{Crossings, FrameRef, FrameStatus, Resolution, SightingChange};

use crate::error::Result;
pub(crate) use decode_order::{DecodeOrder, Timed};
#[cfg(test)]
pub(crate) use journal::tests::sighting as sample;
use journal::{Journal, Left};
use limits::Limits;
use moment::Clock;
use open::{Open, Telling};
pub(crate) use playable::{encode_for_browsers, plays_in_browsers};
use stay::{Rules, Stays};

pub use crate::limits::QuietHours;
pub use clip::Clips;
pub use container::Container;
pub use index::{Filter, Kept};
pub use journal::Noted;
pub use moment::Moment;
pub use open::Ongoing;
pub use recorder::{ClipSettings, Finished};
pub use settings::{ArchiveSettings, Confirm, FORGET, QuerySighting, SightingSettings};
pub use store::{Keep, Removed, Store, day_folder};
pub use told::{Told, What, Who};
pub use types::{Best, Change, FileRef, PathPoint, RectJson, Sighting};
pub use zones::{Anchor, FRAMES, Line, Zone};

/// A query, and how its stays are told.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchedQuery {
    /// The query, and how its measurements become claims.
    pub tracked: TrackedQuery,
    /// What it wants otherwise than its stream.
    pub own: QuerySighting,
}

/// A frame, as it is needed here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameFacts {
    /// Counter of the source.
    pub seq: u64,
    /// Index in the file, from 0; none when live.
    pub frame_index: Option<u64>,
    /// Stream time.
    pub time: Duration,
    /// The same, ns; none where the source does not say.
    pub pts_ns: Option<u64>,
    /// Wall clock, ns since 1970.
    pub unix_ns: i64,
    /// Its picture.
    pub resolution: Resolution,
    /// Whether it shows another scene than the one before.
    pub cut: bool,
}

/// Whose sightings they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Of the run; ids begin with it.
    pub run_id: String,
    /// The stream's name.
    pub stream: String,
    /// The same, as far as a file can be called so.
    pub file_name: String,
}

/// Presence from which on things count as there, where the model has none.
const HALF: f32 = 0.5;

/// All sightings of one stream.
#[derive(Debug)]
pub struct Sightings {
    settings: SightingSettings,
    origin: Origin,
    queries: Vec<Watched>,
    clock: Clock,
    /// The last frame.
    now: Option<Moment>,
    limits: Limits,
    journal: Option<Journal>,
    left: Vec<Left>,
    /// Sightings so far.
    count: u64,
    /// By line and query.
    crossings: BTreeMap<(usize, String), Crossings>,
}

/// A query, with what is there of it.
#[derive(Debug)]
struct Watched {
    asked: WatchedQuery,
    stays: Stays,
    open: Vec<Open>,
}

impl Sightings {
    /// Of the stream `origin` that is asked `queries`. `live` where it has a time of day.
    ///
    /// # Errors
    /// The journal cannot be written, or another run keeps it.
    pub fn new(settings: &SightingSettings, origin: Origin, queries: Vec<WatchedQuery>, live: bool) -> Result<Self> {
        let opened =
            settings.dir.as_deref().map(|dir| Journal::open(dir, &origin.stream, &origin.file_name)).transpose()?;
        let (journal, left) = opened.map_or((None, Vec::new()), |(journal, left)| (Some(journal), left));
        let mut sightings = Self {
            settings: settings.clone(),
            origin,
            queries: Vec::new(),
            clock: Clock::default(),
            now: None,
            limits: Limits::new(settings, live),
            journal,
            left,
            count: 0,
            crossings: BTreeMap::new(),
        };
        sightings.queries = queries.into_iter().map(|asked| sightings.watched(asked)).collect();
        Ok(sightings)
    }

    fn watched(&self, asked: WatchedQuery) -> Watched {
        let tracking = &asked.tracked.tracking;
        let rules = Rules {
            confirm: asked.own.confirm.unwrap_or(self.settings.confirm),
            forget: asked.own.forget.unwrap_or(self.settings.forget),
            threshold: tracking.threshold.unwrap_or(HALF),
            all: tracking.all,
        };
        Watched { asked, stays: Stays::new(rules), open: Vec::new() }
    }

    /// How the sightings ended that an earlier run left open; once.
    pub fn restarted(&mut self) -> Vec<Told> {
        let left = std::mem::take(&mut self.left);
        left.into_iter()
            .map(|Left { sighting, silent, cause }| {
                let known = ["gone", "end", "cut", "query"].into_iter().find(|known| cause.as_deref() == Some(*known));
                Told::sighting(&sighting, SightingChange::End { cause: known.unwrap_or("restart") }, silent)
            })
            .collect()
    }

    /// Takes note of the next frame, and of what is claimed of it, by query.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn frame(&mut self, frame: &FrameFacts, result: &FrameResult) -> Result<Vec<Told>> {
        let moment = Moment {
            elapsed: self.clock.advance(frame.time),
            at: FrameRef { seq: frame.seq, pts_ns: frame.pts_ns, unix_ns: frame.unix_ns },
            frame_index: frame.frame_index,
            size: (frame.resolution.width as f64, frame.resolution.height as f64),
        };
        let mut told = Vec::new();
        if frame.cut {
            self.end_all("cut", &mut told)?;
        }
        self.now = Some(moment);
        let mut queries = std::mem::take(&mut self.queries);
        let outcome = queries.iter_mut().zip(&result.queries).try_for_each(|(query, claim)| {
            let steps = match result.status {
                FrameStatus::Measured => query.stays.measured(moment, claim),
                _ => query.stays.passed(moment.elapsed),
            };
            self.follow(query, steps, "gone", &mut told)?;
            query.open.iter_mut().try_for_each(|open| self.update(open, moment, &mut told))
        });
        self.queries = queries;
        told.extend(self.limits.summary(moment.elapsed, false).map(Told::from));
        outcome.map(|()| told)
    }

    /// So much time went by since the last frame.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn passed(&mut self, since: Duration) -> Result<Vec<Told>> {
        let (now, mut told) = (self.clock.elapsed() + since, Vec::new());
        let mut queries = std::mem::take(&mut self.queries);
        let outcome = queries.iter_mut().try_for_each(|query| {
            let steps = query.stays.passed(now);
            self.follow(query, steps, "gone", &mut told)
        });
        self.queries = queries;
        told.extend(self.limits.summary(now, false).map(Told::from));
        outcome.map(|()| told)
    }

    /// From the next frame on the stream is asked `queries`. What is known of those that stay as they are is kept.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn set_queries(&mut self, queries: Vec<WatchedQuery>) -> Result<Vec<Told>> {
        let (mut before, mut told) = (std::mem::take(&mut self.queries), Vec::new());
        for asked in queries {
            let known = before.iter().position(|known| known.asked == asked);
            let watched = match known {
                Some(place) => before.remove(place),
                None => self.watched(asked),
            };
            self.queries.push(watched);
        }
        before.iter_mut().try_for_each(|query| {
            let steps = query.stays.end();
            self.follow(query, steps, "query", &mut told)
        })?;
        Ok(told)
    }

    /// The stream is over.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn end(&mut self) -> Result<Vec<Told>> {
        let mut told = Vec::new();
        self.end_all("end", &mut told)?;
        let now = self.clock.elapsed();
        told.extend(self.limits.summary(now, true).map(Told::from));
        Ok(told)
    }

    /// Everybody was told of the ends of these.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn were_told(&mut self, ids: impl Iterator<Item = String>) -> Result<()> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.told(ids))
    }

    /// What is on the disk before anybody is told of what was said until now; none where nothing needs to be.
    pub fn noted(&self) -> Option<Noted> {
        self.journal.as_ref()?.noted().cloned()
    }

    /// Whether the journal could be written so far.
    ///
    /// # Errors
    /// It could not, which is said once.
    pub fn check(&self) -> Result<()> {
        self.journal.as_ref().map_or(Ok(()), Journal::check)
    }

    /// Those that are open and told of, or would be if limits did not hold them back.
    pub fn ongoing(&self) -> impl Iterator<Item = Ongoing<'_>> {
        self.queries.iter().enumerate().flat_map(|(place, query)| {
            let begun = query.open.iter().filter(|open| open.telling != Telling::Waits);
            begun.map(move |open| open.ongoing(place))
        })
    }

    /// A file belongs to an open sighting; false where it is not open any more.
    pub fn add_file(&mut self, id: &str, file: FileRef) -> bool {
        let mut open = self.queries.iter_mut().flat_map(|query| &mut query.open);
        let Some(open) = open.find(|open| open.sighting.id == id) else { return false };
        open.sighting.files.push(file);
        open.changed = true;
        true
    }
}

#[cfg(test)]
mod tests;
