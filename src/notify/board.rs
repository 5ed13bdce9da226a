//! How things are now: which queries of which streams are there. Receivers that keep a state read it whenever they can;
//! what changed in between is of no use to them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// A stream and what it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// How the stream is called.
    pub stream: String,
    /// Names and sentences of its queries.
    pub queries: Vec<(String, String)>,
}

/// What is known of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StreamState {
    /// Frames come.
    pub(super) up: bool,
    /// By name.
    pub(super) queries: BTreeMap<String, QueryState>,
}

/// What is known of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct QueryState {
    pub(super) text: String,
    pub(super) present: bool,
    /// Things that are there.
    pub(super) count: usize,
}

/// Streams by name.
pub(super) type Streams = BTreeMap<String, StreamState>;

/// What is known of all streams, and who hears of changes.
pub(super) struct Board {
    streams: Mutex<Streams>,
    changes: watch::Sender<u64>,
}

impl Board {
    pub(super) fn new(watched: &[Watched]) -> Self {
        let streams = watched.iter().map(|Watched { stream, queries }| {
            let state = StreamState { up: false, queries: queries.iter().cloned().map(asked).collect() };
            (stream.clone(), state)
        });
        Self { streams: Mutex::new(streams.collect()), changes: watch::Sender::new(0) }
    }

    /// Changes something; those who watch hear of it if it is another thing than before. Streams that are not known stay so.
    pub(super) fn change(&self, stream: &str, change: impl FnOnce(&mut StreamState)) {
        let mut streams = self.lock();
        let Some(state) = streams.get_mut(stream) else { return };
        let before = state.clone();
        change(state);
        if *state != before {
            drop(streams);
            self.remind();
        }
    }

    /// A stream is asked these from now on.
    pub(super) fn ask(&self, stream: &str, queries: &[(String, String)]) {
        self.change(stream, |state| {
            let before = std::mem::take(&mut state.queries);
            state.queries = queries.iter().cloned().map(asked).collect();
            for (name, query) in &mut state.queries {
                if let Some(before) = before.get(name).filter(|before| before.text == query.text) {
                    query.clone_from(before);
                }
            }
        });
    }

    /// Has those who watch look again.
    pub(super) fn remind(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    pub(super) fn read(&self) -> Streams {
        self.lock().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn asked((name, text): (String, String)) -> (String, QueryState) {
    (name, QueryState { text, ..QueryState::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_watches_hears_of_changes_alone() {
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let watched = Watched { stream: "gate".into(), queries: vec![pair("car", "a car"), pair("dog", "a dog")] };
        let board = Board::new(&[watched]);
        let seen = board.watch();
        let set = |present, count| {
            board.change("gate", |state| {
                let query = state.queries.get_mut("car").expect("asked");
                (query.present, query.count) = (present, count);
            });
        };
        set(false, 0);
        board.change("door", |state| state.up = true);
        assert!(!seen.has_changed().expect("open"));
        set(true, 2);
        assert!(seen.has_changed().expect("open"));
        board.ask("gate", &[pair("car", "a car"), pair("cat", "a cat")]);
        let queries = &board.read()["gate"].queries;
        assert_eq!((queries["car"].count, queries.contains_key("dog"), queries["cat"].present), (2, false, false));
        board.ask("gate", &[pair("car", "a red car")]);
        assert!(!board.read()["gate"].queries["car"].present, "another sentence is another thing");
    }
}
