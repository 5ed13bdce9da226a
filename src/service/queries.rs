//! Changing what streams look for while they run.
//!
//! A new sentence is compiled beside the run, while frames are asked the old one. Then it is sent into the stage among
//! the frames ([`StreamEvent::Queries`]), so that the change falls between two of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blocks::error::quoted;
use crossbeam_channel::Receiver;
use grounding::CompiledQuery;
use records::track::{TrackedQuery, Tracking};
use records::{Change, MOST_QUERIES, Query};

use crate::error::{Error, Result};
use crate::stage::{ActiveQueries, ActiveQuery, InputHandle, QuerySettings, QueryUpdate, StreamEvent};

/// Makes of a sentence what the model takes; nothing for models that read sentences themselves.
pub(crate) type Compile = Box<dyn Fn(&str) -> Result<Option<Arc<CompiledQuery>>> + Send + Sync>;
/// How the measurements of a query of a stream, counted from 0, become claims.
///
/// # Errors
/// The model cannot do what the query wants.
pub(crate) type TrackingOf = Box<dyn Fn(usize, &QuerySettings) -> Result<Tracking> + Send + Sync>;

/// The longest sentence, in letters: models read a few dozen words, and records repeat it with every frame.
const LONGEST: usize = 1000;

/// What the streams of a run look for.
pub(crate) struct Queries {
    compile: Compile,
    tracking_of: TrackingOf,
    stopped: Receiver<()>,
    streams: Mutex<Vec<Arc<Stream>>>,
    /// Locked while something is changed: changes come one after the other.
    turn: Mutex<()>,
}

struct Stream {
    number: usize,
    name: String,
    now: Mutex<CurrentQueries>,
    input: InputHandle,
}

/// What a stream is asked.
#[derive(Clone)]
struct CurrentQueries {
    queries: ActiveQueries,
    /// As they were wanted, in the same order.
    settings: Vec<QuerySettings>,
    /// Revisions that were given to names, also of queries that are gone.
    revisions: HashMap<String, u32>,
}

/// What is wanted of a stream, or of all of them.
#[derive(Debug, Clone)]
pub(crate) struct QueryRequest<'a> {
    pub(crate) stream: Option<&'a str>,
    pub(crate) edit: QueryEdit,
}

#[derive(Debug, Clone)]
pub(crate) enum QueryEdit {
    /// Ask this, under the name of a query that is asked; without a name, in place of the only one.
    Set { name: Option<String>, text: Option<String>, threshold: Option<f32> },
    /// Ask this too.
    Add(QuerySettings),
    /// Ask this no more.
    Remove(String),
    /// Ask these, and nothing else.
    Replace(Vec<QuerySettings>),
}

/// What became of a request, for one stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EditResult {
    pub(crate) stream: String,
    /// Revisions of its queries, by name.
    pub(crate) revisions: Vec<(String, u32)>,
    pub(crate) outcome: EditOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EditOutcome {
    /// The next frame that comes is asked that.
    New,
    /// It was asked that before.
    Same,
    /// No more frames come.
    Ended,
}

/// What a stream is asked, as it was wanted and as it is in force.
pub(crate) struct AskedStream {
    pub(crate) name: String,
    pub(crate) queries: Vec<(QuerySettings, TrackedQuery)>,
}

impl Queries {
    pub(crate) fn new(compile: Compile, tracking_of: TrackingOf, stopped: Receiver<()>) -> Self {
        Self { compile, tracking_of, stopped, streams: Mutex::default(), turn: Mutex::default() }
    }

    /// A stream that begins with `queries`, wanted as `settings` say; changes go in through `input`.
    pub(crate) fn add(&self, name: &str, queries: ActiveQueries, settings: Vec<QuerySettings>, input: InputHandle) {
        let mut streams = lock(&self.streams);
        let revisions = queries.iter().map(|q| (q.tracked.query.name.clone(), q.tracked.query.rev)).collect();
        let now = Mutex::new(CurrentQueries { queries, settings, revisions });
        let number = streams.len();
        streams.push(Arc::new(Stream { number, name: name.to_owned(), now, input }));
    }

    /// What all streams are asked.
    pub(crate) fn asked(&self) -> Vec<AskedStream> {
        let of_stream = |stream: &Arc<Stream>| {
            let CurrentQueries { queries, settings, .. } = stream.now();
            let tracked = queries.iter().map(|active| active.tracked.clone());
            AskedStream { name: stream.name.clone(), queries: settings.into_iter().zip(tracked).collect() }
        };
        lock(&self.streams).iter().map(of_stream).collect()
    }

    /// Asks streams something else: all that is requested, or nothing.
    ///
    /// # Blocking
    /// While sentences are compiled, and in `every-frame` mode while a stream's queue is full.
    ///
    /// # Errors
    /// A request cannot be met: a sentence says nothing or cannot be compiled, a name is taken or is nobody's, there is no such
    /// stream.
    pub(crate) fn change(&self, requests: &[QueryRequest]) -> Result<Vec<EditResult>> {
        let streams = lock(&self.streams).clone();
        let _turn = lock(&self.turn);
        let mut wanted: Vec<(&Arc<Stream>, Vec<QuerySettings>)> = Vec::new();
        for QueryRequest { stream, edit } in requests {
            let meant: Vec<_> = streams.iter().filter(|other| stream.is_none_or(|name| other.name == name)).collect();
            if meant.is_empty() {
                let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
                let reason = format!("there is none of that name, expected one of {}", names.join(", "));
                return Err(Error::Absent(format!("stream {}: {reason}", stream.unwrap_or_default())));
            }
            for stream in meant {
                let place = wanted.iter().position(|(other, _)| Arc::ptr_eq(other, stream)).unwrap_or_else(|| {
                    wanted.push((stream, stream.now().settings));
                    wanted.len() - 1
                });
                apply(&mut wanted[place].1, edit).map_err(|unmet| unmet.of(stream))?;
            }
        }
        let mut compiled: HashMap<String, Option<Arc<CompiledQuery>>> = HashMap::new();
        let mut updates = Vec::new();
        for (stream, settings) in wanted {
            let next = stream.is_open().then(|| self.next(stream, &streams, &settings, &mut compiled)).transpose()?;
            updates.push((stream, settings, next));
        }
        Ok(updates.into_iter().map(|(stream, settings, next)| stream.update(settings, next, &self.stopped)).collect())
    }

    /// What `stream` is asked with these `settings`, and what is new about it.
    fn next(
        &self,
        stream: &Stream,
        all: &[Arc<Stream>],
        settings: &[QuerySettings],
        compiled: &mut HashMap<String, Option<Arc<CompiledQuery>>>,
    ) -> Result<(QueryUpdate, HashMap<String, u32>)> {
        let CurrentQueries { queries, settings: before, mut revisions } = stream.now();
        let (mut next, mut changes) = (Vec::new(), Vec::new());
        let mut kept = HashSet::new();
        for (place, wanted) in settings.iter().enumerate() {
            let known = known(&before, settings, place);
            kept.extend(known);
            if let Some(known) = known.filter(|known| before[*known] == *wanted) {
                next.push(Arc::clone(&queries[known]));
                continue;
            }
            // Whatever it says: another model could do that.
            let tracking = (self.tracking_of)(stream.number, wanted);
            let tracking = tracking.map_err(|error| Unmet::Conflict(error.to_string()).of(stream))?;
            let query = match compiled.get(&wanted.text) {
                Some(query) => query.clone(),
                // What is asked already, was compiled.
                None => match with_text(all, &wanted.text) {
                    Some(active) => active.compiled.clone(),
                    None => (self.compile)(&wanted.text)?,
                },
            };
            compiled.insert(wanted.text.clone(), query.clone());
            let names = [Some(&wanted.name), known.map(|known| &before[known].name)];
            let rev =
                names.into_iter().flatten().filter_map(|name| revisions.get(name)).max().copied().unwrap_or(0) + 1;
            revisions.insert(wanted.name.clone(), rev);
            let tracked =
                TrackedQuery { query: Query { name: wanted.name.clone(), text: wanted.text.clone(), rev }, tracking };
            let active = Arc::new(ActiveQuery { tracked, compiled: query, sighting: wanted.sighting.clone() });
            let change = if known.is_some() { Change::Changed } else { Change::Added };
            changes.push((change, Arc::clone(&active)));
            next.push(active);
        }
        let gone = queries.iter().enumerate().filter(|(place, _)| !kept.contains(place));
        changes.splice(0..0, gone.map(|(_, active)| (Change::Removed, Arc::clone(active))));
        Ok((QueryUpdate { queries: next.into(), changes }, revisions))
    }
}

/// Which query before is the one at `place` now: that of its name; else the one that stood there, if its name is gone. So
/// one that is called by its sentence stays the same query when it asks something else.
fn known(before: &[QuerySettings], now: &[QuerySettings], place: usize) -> Option<usize> {
    let named = |queries: &[QuerySettings], name: &str| queries.iter().position(|query| query.name == name);
    let renamed = || before.get(place).filter(|query| named(now, &query.name).is_none()).map(|_| place);
    named(before, &now[place].name).or_else(renamed)
}

/// An active query of any stream with the same sentence.
fn with_text(streams: &[Arc<Stream>], text: &str) -> Option<Arc<ActiveQuery>> {
    let queries = |stream: &Arc<Stream>| stream.now().queries;
    let mut all = streams.iter().map(queries).flat_map(|queries| queries.to_vec());
    all.find(|active| active.tracked.query.text == text)
}

/// Why something cannot be done to a list of queries, in words.
enum Unmet {
    /// It is nothing that could be asked.
    Wrong(String),
    /// It is about a query that is not there.
    Absent(String),
    /// It does not go together with what is asked.
    Conflict(String),
}

impl From<String> for Unmet {
    fn from(reason: String) -> Self {
        Self::Wrong(reason)
    }
}

impl Unmet {
    fn of(self, stream: &Stream) -> Error {
        match self {
            Self::Wrong(reason) => stream.refuse(&reason),
            Self::Absent(reason) => Error::Absent(format!("stream {}: {reason}", stream.name)),
            Self::Conflict(reason) => Error::Conflict(format!("stream {}: {reason}", stream.name)),
        }
    }
}

/// Does to a list of queries what is wanted.
///
/// # Errors
/// It cannot be done.
fn apply(queries: &mut Vec<QuerySettings>, edit: &QueryEdit) -> std::result::Result<(), Unmet> {
    let names = |queries: &[QuerySettings]| {
        queries.iter().map(|query| format!("{:?}", query.name)).collect::<Vec<_>>().join(", ")
    };
    match edit {
        QueryEdit::Set { text: None, threshold: None, .. } => {
            Err(Unmet::Wrong("set-query: says neither a sentence nor a threshold".into()))
        }
        QueryEdit::Set { name, text, threshold } => {
            let place = match name {
                Some(name) => queries.iter().position(|query| query.name == *name),
                None if queries.len() == 1 => Some(0),
                None => return Err(Unmet::Wrong(format!("asks several queries; name one of {}", names(queries)))),
            };
            let place = place.ok_or_else(|| {
                let name = name.as_deref().unwrap_or_default();
                Unmet::Absent(format!("asks no query {name:?}, expected one of {}", names(queries)))
            })?;
            if let Some(text) = text {
                check(text)?;
                let query = &mut queries[place];
                // One that is called by its sentence goes on being called so.
                if name.is_none() && query.name == Query::name_of(&query.text) {
                    query.name = Query::name_of(text);
                }
                query.text.clone_from(text);
            }
            if let Some(threshold) = threshold {
                queries[place].threshold = Some(*threshold);
            }
            check_all(queries).map_err(Unmet::Wrong)
        }
        QueryEdit::Add(query) => {
            // By itself it could be asked, or could not.
            check_all(std::slice::from_ref(query))?;
            queries.push(query.clone());
            check_all(queries).map_err(Unmet::Conflict)
        }
        QueryEdit::Remove(name) => {
            let place = queries.iter().position(|query| query.name == *name);
            let place = place
                .ok_or_else(|| Unmet::Absent(format!("asks no query {name:?}, expected one of {}", names(queries))))?;
            if queries.len() == 1 {
                return Err(Unmet::Conflict(format!("asks {name:?} alone; a stream needs a query")));
            }
            queries.remove(place);
            Ok(())
        }
        QueryEdit::Replace(all) => {
            queries.clone_from(all);
            check_all(queries).map_err(Unmet::Wrong)
        }
    }
}

/// Sees that queries can be asked side by side.
///
/// # Errors
/// In words: a sentence or a name is unusable, two have one name, there are too many, or a number is out of range.
pub(crate) fn check_all(queries: &[QuerySettings]) -> std::result::Result<(), String> {
    if queries.len() > MOST_QUERIES {
        return Err(format!("asks {} queries, expected at most {MOST_QUERIES}", queries.len()));
    }
    for (place, query) in queries.iter().enumerate() {
        check(&query.text)?;
        Query::check_name(&query.name).map_err(|reason| format!("the name {:?} of a query {reason}", query.name))?;
        if queries[..place].iter().any(|other| other.name == query.name) {
            return Err(format!("two queries are called {:?}; give each its own name", query.name));
        }
        for (what, value) in [("threshold", query.threshold), ("hysteresis", query.hysteresis)] {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return Err(format!("{what} {value} of query {:?}: expected a probability from 0 to 1", query.name));
            }
        }
    }
    Ok(())
}

fn check(text: &str) -> std::result::Result<(), String> {
    if text.trim().is_empty() {
        return Err(format!("query {}: says nothing, expected words", quoted(text)));
    }
    match text.chars().count() {
        length if length > LONGEST => Err(format!("query: has {length} letters, expected at most {LONGEST}")),
        _ => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream {
    fn now(&self) -> CurrentQueries {
        lock(&self.now).clone()
    }

    fn is_open(&self) -> bool {
        self.input.get().is_some()
    }

    fn refuse(&self, reason: &str) -> Error {
        Error::Usage(format!("stream {}: {reason}", self.name))
    }

    /// `next` is there where the stream is open.
    fn update(
        &self,
        settings: Vec<QuerySettings>,
        next: Option<(QueryUpdate, HashMap<String, u32>)>,
        stopped: &Receiver<()>,
    ) -> EditResult {
        let told = |queries: &ActiveQueries, outcome| EditResult {
            stream: self.name.clone(),
            revisions: queries.iter().map(|q| (q.tracked.query.name.clone(), q.tracked.query.rev)).collect(),
            outcome,
        };
        let before = self.now().queries;
        let Some((update, revisions)) = next else { return told(&before, EditOutcome::Ended) };
        let Some(input) = self.input.get() else { return told(&before, EditOutcome::Ended) };
        if update.queries == before {
            return told(&before, EditOutcome::Same);
        }
        let update = Arc::new(update);
        if input.push_event(StreamEvent::Queries(Arc::clone(&update)), stopped).is_err() {
            return told(&before, EditOutcome::Ended);
        }
        let changed = told(&update.queries, EditOutcome::New);
        *lock(&self.now) = CurrentQueries { queries: Arc::clone(&update.queries), settings, revisions };
        changed
    }
}
