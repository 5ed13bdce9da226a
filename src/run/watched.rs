//! Sightings of the streams of a run: what is told of them, to whom, and what is kept.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use blocks::files::hex;
use records::track::FrameResult;
use records::{EVENT_SCHEMA, Event, SightingChange};
use sha2::{Digest, Sha256};

use super::archive::{Archive, News};
use super::keeper::Keeper;
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
) -> Result<Vec<Option<Box<Watch>>>> {
    let mut keepers: HashMap<PathBuf, Arc<Keeper>> = HashMap::new();
    let of_stream = |(stream, queries): (&StreamSettings, &ActiveQueries)| -> Result<Option<Box<Watch>>> {
        let Some(wanted) = &stream.sightings else { return Ok(None) };
        let name = &stream.address.name;
        let origin = Origin { run_id: run_id.to_string(), stream: name.clone(), file_name: told_apart(name) };
        let sightings = Sightings::new(wanted, origin, watched(queries), stream.address.is_live())?;
        let archive = wanted.archive.as_ref().map(|kept| {
            let kept = dated(stream, kept);
            Archive::new(stream, &kept, keeper(&mut keepers, &kept)?)
        });
        let archive = archive.transpose()?;
        Ok(Some(Box::new(Watch {
            sightings,
            archive,
            plain: Vec::new(),
            open: BTreeMap::new(),
            updates: HashMap::new(),
        })))
    };
    settings.streams.iter().zip(queries).map(of_stream).collect()
}

/// A stream's name as far as a file can be called so; names that differ only in what is left out get different endings.
fn told_apart(name: &str) -> String {
    const DIGITS: usize = 8;
    let file_name = file_name(name);
    if file_name == name {
        return file_name;
    }
    let digest = hex(&Sha256::digest(name.as_bytes()));
    format!("{file_name}-{}", &digest[..DIGITS])
}

/// What is kept of a stream. What is seen by the time of a film alone has no date that it could be too old by.
fn dated(stream: &StreamSettings, wanted: &ArchiveSettings) -> ArchiveSettings {
    let mut kept = wanted.clone();
    if stream.source.reproducible && kept.keep.days.take().is_some() {
        tracing::warn!("[sightings] keep.days is left out: --reproducible gives what is seen no date");
    }
    kept
}

/// The store in this folder; each is opened once.
fn keeper(keepers: &mut HashMap<PathBuf, Arc<Keeper>>, settings: &ArchiveSettings) -> Result<Arc<Keeper>> {
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
    /// What is to be told, where nothing is kept of it.
    plain: Vec<News>,
    /// How many are open, by query, where there are any; as it was told last.
    open: BTreeMap<String, usize>,
    /// Updates of those that are open that receivers were told of.
    updates: HashMap<String, u64>,
}

impl Watch {
    /// How the sightings ended that an earlier run left open; once.
    pub(super) fn restarted(&mut self) -> Vec<News> {
        let told = self.sightings.restarted();
        self.keep(told);
        // Before anything of this run is.
        match &mut self.archive {
            Some(archive) => archive.settle(),
            None => std::mem::take(&mut self.plain),
        }
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
    ) -> Result<Vec<News>> {
        let told = self.sightings.frame(facts, result)?;
        if let Some(archive) = &mut self.archive {
            archive.frame(grounded, result, self.sightings.ongoing());
        }
        self.keep(told);
        if let Some(archive) = &self.archive {
            archive.looked_at(grounded, result, self.sightings.ongoing());
        }
        Ok(self.news())
    }

    /// So much time went by since the last frame.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn passed(&mut self, since: Duration) -> Result<Vec<News>> {
        let told = self.sightings.passed(since)?;
        Ok(self.kept(told))
    }

    /// From the next frame on the stream is asked these.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn set_queries(&mut self, queries: Vec<WatchedQuery>) -> Result<Vec<News>> {
        let told = self.sightings.set_queries(queries)?;
        Ok(self.kept(told))
    }

    /// The stream is over.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn end(&mut self) -> Result<Vec<News>> {
        let told = self.sightings.end()?;
        Ok(self.kept(told))
    }

    /// Waits for files of a stream that is over, for so long at most.
    pub(super) fn finish(&mut self, limit: Duration) -> Vec<News> {
        self.archive.as_mut().map_or_else(Vec::new, |archive| archive.finish(limit))
    }

    /// Everybody was told of these.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn were_told(&mut self, news: Vec<News>) -> Result<()> {
        let told: Vec<Told> = news.into_iter().map(|news| news.told).collect();
        if let Some(archive) = &mut self.archive {
            for told in &told {
                if let What::Sighting { sighting, change: SightingChange::End { .. } } = &told.what {
                    archive.forget(&sighting.id);
                }
            }
        }
        self.sightings.were_told(&told)
    }

    /// Has it kept, and gives what can be told by now.
    fn kept(&mut self, told: Vec<Told>) -> Vec<News> {
        self.keep(told);
        self.news()
    }

    fn keep(&mut self, told: Vec<Told>) {
        match &mut self.archive {
            Some(archive) => told.into_iter().for_each(|told| archive.take(told)),
            None => self.plain.extend(told.into_iter().map(News::from)),
        }
    }

    fn news(&mut self) -> Vec<News> {
        match &mut self.archive {
            Some(archive) => archive.poll(&mut self.sightings),
            None => std::mem::take(&mut self.plain),
        }
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
    pub(super) fn notice(&mut self, News { told, picture }: &News, (run_id, source): (&str, &str)) -> Option<Notice> {
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
            snapshot: picture.clone(),
        })
    }
}
