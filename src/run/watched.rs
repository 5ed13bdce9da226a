//! Sightings of the streams of a run: what is told of them, to whom, and what is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use blocks::files::hex;
use records::track::FrameResult;
use records::{EVENT_SCHEMA, Event, SightingChange};
use sha2::{Digest, Sha256};

use super::archive::Archive;
use super::keeper::Keeper;
use super::news::{News, NewsLine};
use crate::config::{RunSettings, StreamSettings};
use crate::error::{Error, Result};
use crate::notify::{self, Notice};
use crate::sightings::{ArchiveSettings, FrameFacts, Origin, Sightings, Told, WatchedQuery, What};
use crate::sink::file_name;
use crate::source::SourceSettings;
use crate::stage::{ActiveQueries, ActiveQuery, GroundedFrame, Mode};

/// So long the end of a stream waits for the journal.
const LAST: Duration = Duration::from_secs(10);

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
        let waits = !stream.address.is_live() && stream.mode == Mode::EveryFrame;
        let archive = wanted.archive.as_ref().map(|kept| {
            let kept = dated(stream, kept);
            Archive::new(stream, &kept, keeper(&mut keepers, &kept)?, waits)
        });
        let archive = archive.transpose()?;
        Ok(Some(Box::new(Watch {
            sightings,
            archive,
            plain: NewsLine::default(),
            waits,
            open: BTreeMap::new(),
            ended: VecDeque::new(),
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

/// Folders in which something is kept of sightings, and how many bytes that is by now.
pub(super) fn kept(sightings: &[Option<Box<Watch>>]) -> Vec<(PathBuf, Arc<AtomicU64>)> {
    let archives = sightings.iter().flatten().filter_map(|watch| watch.archive.as_ref());
    let kept: BTreeMap<PathBuf, Arc<AtomicU64>> = archives.map(Archive::kept).collect();
    kept.into_iter().collect()
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
    plain: NewsLine,
    /// Whether the stream can wait for the disk: then what is told stands behind its frame, every time.
    waits: bool,
    /// Those whose start was told and whose end was not, by query.
    open: BTreeMap<String, BTreeSet<String>>,
    /// Ids of those whose ends were told, and how much was handed over to receivers by then.
    ended: VecDeque<(u64, String)>,
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
            None => self.plain.ready(),
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
        self.news()
    }

    /// So much time went by since the last frame.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn passed(&mut self, since: Duration) -> Result<Vec<News>> {
        let told = self.sightings.passed(since)?;
        self.kept(told)
    }

    /// From the next frame on the stream is asked these.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn set_queries(&mut self, queries: Vec<WatchedQuery>) -> Result<Vec<News>> {
        let told = self.sightings.set_queries(queries)?;
        self.kept(told)
    }

    /// The stream is over.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn end(&mut self) -> Result<Vec<News>> {
        let told = self.sightings.end()?;
        self.keep(told);
        if self.archive.is_none() {
            // No frame waits any more.
            self.plain.settle(Some(LAST));
        }
        self.news()
    }

    /// Waits for files of a stream that is over, and for the journal, for so long at most.
    pub(super) fn finish(&mut self, limit: Duration) -> Vec<News> {
        if let Some(archive) = &mut self.archive {
            return archive.finish(limit);
        }
        self.plain.settle(Some(limit));
        self.plain.ready()
    }

    /// Whether all that happened could be told.
    ///
    /// # Errors
    /// The journal cannot be written, or was not in time: then the next run tells of the rest.
    pub(super) fn noted(&self) -> Result<()> {
        self.sightings.check()?;
        if self.sightings.noted().is_none_or(|noted| noted.is_there()) {
            return Ok(());
        }
        let reason = "the disk has not noted all of them in time; the next run tells of the rest".to_owned();
        Err(Error::Output { name: "sightings".into(), reason })
    }

    /// Everybody was told of these, or will be once so much of what was handed over is in the receivers' queues.
    pub(super) fn were_told(&mut self, news: Vec<News>, handed_over: u64) {
        for News { told, .. } in news {
            if let What::Sighting { sighting, change: SightingChange::End { .. } } = &told.what {
                if let Some(archive) = &mut self.archive {
                    archive.forget(&sighting.id);
                }
                self.ended.push_back((handed_over, sighting.id.clone()));
            }
        }
    }

    /// Notes of those that were told, and of which so much is in the queues, that nobody has to be told of them again.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn note_told(&mut self, queued: u64) -> Result<()> {
        let count = self.ended.iter().take_while(|(handed_over, _)| *handed_over <= queued).count();
        if count == 0 {
            return Ok(());
        }
        self.sightings.were_told(self.ended.drain(..count).map(|(_, id)| id))
    }

    /// How much was handed over to receivers with the last end that was told.
    pub(super) fn handed_over(&self) -> u64 {
        self.ended.back().map_or(0, |(handed_over, _)| *handed_over)
    }

    /// Has it kept, and gives what can be told by now.
    fn kept(&mut self, told: Vec<Told>) -> Result<Vec<News>> {
        self.keep(told);
        self.news()
    }

    fn keep(&mut self, told: Vec<Told>) {
        let noted = self.sightings.noted();
        for told in told {
            match &mut self.archive {
                Some(archive) => archive.take(told, noted.clone()),
                None => self.plain.stand(None, noted.clone(), Some(told.into())),
            }
        }
    }

    fn news(&mut self) -> Result<Vec<News>> {
        if self.waits
            && let Some(noted) = self.sightings.noted()
        {
            noted.wait(None);
        }
        let news = match &mut self.archive {
            Some(archive) => archive.poll(&mut self.sightings),
            None => self.plain.ready(),
        };
        // What can be told is told first: a failure is said the next time.
        if news.is_empty() {
            self.sightings.check()?;
        }
        Ok(news)
    }

    /// Queries of which another number of sightings is open than before these were told, and that number.
    pub(super) fn changes(&mut self, news: &[News]) -> Vec<(String, usize)> {
        let mut before: BTreeMap<&str, usize> = BTreeMap::new();
        for News { told, .. } in news {
            let What::Sighting { sighting, change } = &told.what else { continue };
            let known = self.open.get(&sighting.query).map_or(0, BTreeSet::len);
            before.entry(&sighting.query).or_insert(known);
            match change {
                SightingChange::Start => {
                    self.open.entry(sighting.query.clone()).or_default().insert(sighting.id.clone());
                }
                SightingChange::Update => {}
                SightingChange::End { .. } => {
                    if let Some(open) = self.open.get_mut(&sighting.query) {
                        open.remove(&sighting.id);
                    }
                }
            }
        }
        self.open.retain(|_, open| !open.is_empty());
        let now = |query: &str| self.open.get(query).map_or(0, BTreeSet::len);
        let other = before.into_iter().filter(|(query, count)| now(query) != *count);
        other.map(|(query, _)| (query.to_owned(), now(query))).collect()
    }

    /// That a sighting of an earlier run, whose end these are the news of, began: as much as is known of it.
    pub(super) fn start_of(&mut self, News { told, .. }: &News, names: (&str, &str)) -> Option<Notice> {
        let What::Sighting { sighting, .. } = &told.what else { return None };
        let what = What::Sighting { sighting: sighting.clone(), change: SightingChange::Start };
        self.notice(&Told { what, silent: told.silent }.into(), names)
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
