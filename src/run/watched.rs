//! Sightings of the streams of a run: what is told of them, to whom, and what is kept.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use records::track::FrameResult;
use records::{EVENT_SCHEMA, Event, SightingChange};

use super::archive::{Archive, Keeper, SharedKeeper};
use crate::config::{RunSettings, StreamSettings};
use crate::error::Result;
use crate::notify::{self, Notice};
use crate::sightings::{ArchiveSettings, FrameFacts, Origin, Sightings, Told, WatchedQuery, What};
use crate::sink::file_name;
use crate::source::SourceSettings;
use crate::stage::{ActiveQueries, ActiveQuery, GroundedFrame};

/// What streams are asked, as sightings take it.
pub(super) fn watched(queries: &ActiveQueries) -> Vec<WatchedQuery> {
    let watched =
        |active: &Arc<ActiveQuery>| WatchedQuery { tracked: active.tracked.clone(), own: active.sighting.clone() };
    queries.iter().map(watched).collect()
}

/// The sightings of each stream, where somebody wants them.
///
/// # Errors
/// A journal or a store cannot be written, or another run keeps the journal.
pub(super) fn sightings(
    settings: &RunSettings,
    queries: &[ActiveQueries],
    run_id: &Arc<str>,
) -> Result<Vec<Option<Watch>>> {
    let mut keepers: HashMap<PathBuf, SharedKeeper> = HashMap::new();
    let of_stream = |(stream, queries): (&StreamSettings, &ActiveQueries)| -> Result<Option<Watch>> {
        let Some(wanted) = &stream.sightings else { return Ok(None) };
        let name = &stream.address.name;
        let origin = Origin { run_id: run_id.to_string(), stream: name.clone(), file_name: file_name(name) };
        let sightings = Sightings::new(wanted, origin, watched(queries), stream.address.is_live())?;
        let archive = wanted.archive.as_ref().map(|kept| Archive::new(stream, kept, keeper(&mut keepers, kept)?));
        Ok(Some(Watch { sightings, archive: archive.transpose()?, open: BTreeMap::new(), updates: HashMap::new() }))
    };
    settings.streams.iter().zip(queries).map(of_stream).collect()
}

/// The store in this folder; each is opened once.
fn keeper(keepers: &mut HashMap<PathBuf, SharedKeeper>, settings: &ArchiveSettings) -> Result<SharedKeeper> {
    if let Some(keeper) = keepers.get(&settings.folder) {
        return Ok(Arc::clone(keeper));
    }
    let keeper = Keeper::open(settings)?;
    keepers.insert(settings.folder.clone(), Arc::clone(&keeper));
    Ok(keeper)
}

/// How a stream is played: its packets are kept where clips are made of it.
pub(super) fn source(settings: &StreamSettings, watch: Option<&Watch>) -> SourceSettings {
    let ring = watch.and_then(|watch| watch.archive.as_ref()?.ring());
    SourceSettings { packets: ring.or_else(|| settings.source.packets.clone()), ..settings.source.clone() }
}

/// The sightings of a stream, and what is kept of them.
pub(super) struct Watch {
    sightings: Sightings,
    archive: Option<Archive>,
    /// How many are open, by query, where there are any; as it was told last.
    open: BTreeMap<String, usize>,
    /// Updates of those that are open that receivers were told of.
    updates: HashMap<String, u64>,
}

impl Watch {
    /// How the sightings ended that an earlier run left open; once.
    pub(super) fn restarted(&mut self) -> Vec<Told> {
        let told = self.sightings.restarted();
        self.kept(told)
    }

    /// Takes note of the next frame, and of what is claimed of it, by query.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn frame(
        &mut self,
        facts: &FrameFacts,
        grounded: &GroundedFrame,
        result: &FrameResult,
    ) -> Result<Vec<Told>> {
        let told = self.sightings.frame(facts, result)?;
        if let Some(archive) = &mut self.archive {
            archive.frame(grounded, result, self.sightings.ongoing());
        }
        let told = self.kept(told);
        if let Some(archive) = &self.archive {
            archive.looked_at(grounded, result, self.sightings.ongoing());
        }
        Ok(told)
    }

    /// So much time went by since the last frame.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn passed(&mut self, since: Duration) -> Result<Vec<Told>> {
        let told = self.sightings.passed(since)?;
        Ok(self.kept(told))
    }

    /// From the next frame on the stream is asked these.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn set_queries(&mut self, queries: Vec<WatchedQuery>) -> Result<Vec<Told>> {
        let told = self.sightings.set_queries(queries)?;
        Ok(self.kept(told))
    }

    /// The stream is over.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn end(&mut self) -> Result<Vec<Told>> {
        let told = self.sightings.end()?;
        Ok(self.kept(told))
    }

    /// Waits for files of a stream that is over, for so long at most.
    pub(super) fn finish(&mut self, limit: Duration) -> Vec<Told> {
        self.archive.as_mut().map_or_else(Vec::new, |archive| archive.finish(limit))
    }

    /// Everybody was told of these.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn were_told(&mut self, told: &[Told]) -> Result<()> {
        if let Some(archive) = &mut self.archive {
            for told in told {
                if let What::Sighting { sighting, change: SightingChange::End { .. } } = &told.what {
                    archive.forget(&sighting.id);
                }
            }
        }
        self.sightings.were_told(told)
    }

    /// Has it kept, and adds what there is to say of files.
    fn kept(&mut self, mut told: Vec<Told>) -> Vec<Told> {
        let Some(archive) = &mut self.archive else { return told };
        for told in &mut told {
            archive.told(told);
        }
        told.extend(archive.poll(&mut self.sightings));
        told
    }

    /// Queries of which another number of sightings is open than before, and that number.
    pub(super) fn changes(&mut self) -> Vec<(String, usize)> {
        let mut now: BTreeMap<String, usize> = BTreeMap::new();
        for ongoing in self.sightings.ongoing() {
            *now.entry(ongoing.query.to_owned()).or_default() += 1;
        }
        let gone = self.open.keys().filter(|query| !now.contains_key(*query)).map(|query| (query.clone(), 0));
        let other = now.iter().filter(|(query, count)| self.open.get(*query) != Some(*count));
        let changes = gone.chain(other.map(|(query, count)| (query.clone(), *count))).collect();
        self.open = now;
        changes
    }

    /// What receivers are told; none where it is no step of a sighting. The names are those of run and source. The id is
    /// the same whichever run tells it: an end that was told, and could not be noted any more, comes again under it.
    pub(super) fn notice(&mut self, told: &Told, (run_id, source): (&str, &str)) -> Option<Notice> {
        let What::Sighting { sighting, change } = &told.what else { return None };
        let id = &sighting.id;
        let (name, id) = match change {
            SightingChange::Start => (notify::START, format!("{id}.start")),
            SightingChange::Update => {
                let number = self.updates.entry(id.clone()).or_default();
                *number += 1;
                (notify::UPDATE, format!("{id}.update.{number}"))
            }
            SightingChange::End { .. } => {
                self.updates.remove(id);
                (notify::END, format!("{id}.end"))
            }
        };
        let kind = told.kind();
        let event = Event { schema: EVENT_SCHEMA, run_id, source, kind: &kind };
        Some(Notice {
            id,
            stream: sighting.stream.clone(),
            query: sighting.query.clone(),
            kind: name.to_owned(),
            event: serde_json::to_value(event).ok()?,
            snapshot: self.archive.as_ref().and_then(|archive| archive.picture(&sighting.id)),
        })
    }
}
