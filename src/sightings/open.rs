//! A sighting that is open: what is known of it so far.

use std::time::Duration;

use records::{Best, PathPoint, Query, Sighting};

use super::moment::Moment;
use super::path::Path;
use super::settings::SightingSettings;
use super::stay::Seen;
use super::told::What;
use super::zones::{Anchor, Move, Visits};

/// A box is a better one where score times size is by so much larger.
const BETTER: f64 = 1.1;
/// Ids of a sighting that are told; older ones give way.
const MOST_OBJECTS: usize = 256;

/// How far an open sighting is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// It was in none of the zones that its query requires.
    Waits,
    /// Limits hold it back.
    Silent,
    /// Its start was.
    Told,
}

/// An open sighting, as whoever keeps something of it has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ongoing<'a> {
    /// Its id.
    pub id: &'a str,
    /// Name of its query.
    pub query: &'a str,
    /// Place of the query among those of the stream, from 0.
    pub place: usize,
    /// Id of the thing that it was on the last frame on which it was seen.
    pub object: u64,
}

/// An open sighting.
#[derive(Debug)]
pub(super) struct Open {
    /// What it is called among the stays.
    pub(super) key: u64,
    pub(super) sighting: Sighting,
    pub(super) path: Path,
    pub(super) visits: Visits,
    /// Of the best frame.
    quality: f64,
    pub(super) last: Moment,
    /// The thing that it was last.
    pub(super) object: u64,
    pub(super) telling: Telling,
    /// What it did while it waits.
    pub(super) waiting: Vec<What>,
    /// Whether there is something to tell.
    pub(super) changed: bool,
    pub(super) told_at: Duration,
}

impl Open {
    /// Of a thing that is called `key` among the stays, and was seen `first`; nobody was told of it yet.
    pub(super) fn new(
        (id, stream): (String, &str),
        query: &Query,
        settings: &SightingSettings,
        key: u64,
        first: &Seen,
    ) -> Self {
        let at = first.moment.at;
        let sighting = Sighting {
            id,
            stream: stream.to_owned(),
            query: query.name.clone(),
            text: query.text.clone(),
            objects: Vec::new(),
            start_pts_ns: at.pts_ns,
            start_unix_ns: at.unix_ns,
            last_pts_ns: at.pts_ns,
            last_unix_ns: at.unix_ns,
            best: best(first),
            zones: Vec::new(),
            path: Vec::new(),
            files: Vec::new(),
        };
        Self {
            key,
            sighting,
            path: Path::default(),
            visits: Visits::new(&settings.zones, &settings.lines),
            quality: quality(first),
            last: first.moment,
            object: first.object,
            telling: Telling::Waits,
            waiting: Vec::new(),
            changed: false,
            told_at: Duration::ZERO,
        }
    }

    /// As it is, of the query at this place.
    pub(super) fn ongoing(&self, place: usize) -> Ongoing<'_> {
        Ongoing { id: &self.sighting.id, query: &self.sighting.query, place, object: self.object }
    }

    /// It is seen on another frame; gives what it did in zones.
    pub(super) fn see(&mut self, settings: &SightingSettings, seen: &Seen) -> Vec<Move> {
        let Seen { moment, object, rect, .. } = *seen;
        let sighting = &mut self.sighting;
        (sighting.last_pts_ns, sighting.last_unix_ns) = (moment.at.pts_ns, moment.at.unix_ns);
        (self.last, self.object) = (moment, object);
        if !sighting.objects.contains(&object) {
            sighting.objects.push(object);
            if sighting.objects.len() > MOST_OBJECTS {
                sighting.objects.remove(0);
            }
            self.changed = true;
        }
        if quality(seen) > BETTER * self.quality {
            (self.quality, sighting.best) = (quality(seen), best(seen));
            self.changed = true;
        }
        let point = Anchor::default().of(&rect, moment.size);
        self.path.push(PathPoint { pts_ns: moment.at.pts_ns, x: point.x, y: point.y });
        self.visits.see((&settings.zones, &settings.lines), moment, &rect)
    }
}

/// How well a thing is seen: its score times its share of the picture.
fn quality(seen: &Seen) -> f64 {
    let score = f64::from(seen.score.or(seen.presence).unwrap_or(1.0));
    score * seen.rect.width() * seen.rect.height() / (seen.moment.size.0 * seen.moment.size.1)
}

fn best(seen: &Seen) -> Best {
    let Seen { moment, rect, score, presence, .. } = *seen;
    let (frame_index, at) = (moment.frame_index, moment.at);
    Best { boxed: rect.into(), score, presence, frame_index, seq: at.seq, unix_ns: at.unix_ns }
}
