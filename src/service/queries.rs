//! Changing what streams look for while they run.
//!
//! A new sentence is compiled beside the run, while frames are asked the old one. Then it is sent into the stage among
//! the frames ([`Note::Query`]), so that the change falls between two of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Receiver;
use grounding::CompiledQuery;

use crate::error::{Error, Result};
use crate::stage::{Door, Note, Question};

/// Makes of a sentence what the model takes; nothing for models that read sentences themselves.
pub(crate) type Compile = Box<dyn Fn(&str) -> Result<Option<Arc<CompiledQuery>>> + Send + Sync>;

/// The longest sentence, in letters: models read a few dozen words, and records repeat it with every frame.
const LONGEST: usize = 1000;

/// What the streams of a run look for.
pub(crate) struct Queries {
    compile: Compile,
    stopped: Receiver<()>,
    streams: Mutex<Vec<Arc<Stream>>>,
    /// Locked while something is changed: changes come one after the other.
    turn: Mutex<()>,
}

struct Stream {
    name: String,
    question: Mutex<Arc<Question>>,
    door: Door,
}

/// A stream, or all of them, and what to ask it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) stream: Option<&'a str>,
    pub(crate) text: &'a str,
}

/// What became of a wish, for one stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) stream: String,
    pub(crate) rev: u32,
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The next frame that comes is asked that.
    New,
    /// It was asked that before.
    Same,
    /// No more frames come.
    Ended,
}

impl Queries {
    pub(crate) fn new(compile: Compile, stopped: Receiver<()>) -> Self {
        Self { compile, stopped, streams: Mutex::default(), turn: Mutex::default() }
    }

    /// A stream that begins with `question`; changes go in through `door`.
    pub(crate) fn add(&self, name: &str, question: Arc<Question>, door: Door) {
        let stream = Stream { name: name.to_owned(), question: Mutex::new(question), door };
        lock(&self.streams).push(Arc::new(stream));
    }

    /// Asks streams for something else: all that is wished, or nothing.
    ///
    /// # Blocking
    /// While sentences are compiled, and in `every-frame` mode while a stream's queue is full.
    ///
    /// # Errors
    /// A sentence says nothing, is too long or cannot be compiled, or there is no such stream.
    pub(crate) fn change(&self, wishes: &[Wish]) -> Result<Vec<Changed>> {
        let streams = lock(&self.streams).clone();
        let _turn = lock(&self.turn);
        let mut asked = Vec::new();
        for Wish { stream, text } in wishes {
            check(text)?;
            let meant: Vec<_> = streams.iter().filter(|other| stream.is_none_or(|name| other.name == name)).collect();
            if meant.is_empty() {
                let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
                let reason = format!("there is none of that name, expected one of {}", names.join(", "));
                return Err(Error::Usage(format!("stream {}: {reason}", stream.unwrap_or_default())));
            }
            asked.extend(meant.into_iter().map(|stream| (stream, *text)));
        }
        let mut compiled = HashMap::new();
        for (stream, text) in &asked {
            if stream.is_open() && stream.now().text != **text && !compiled.contains_key(text) {
                // Frames of streams with one query go through the model together.
                let known = streams.iter().map(|other| other.now()).find(|question| question.text == **text);
                let query = match known.and_then(|question| question.compiled.clone()) {
                    Some(query) => Some(query),
                    None => (self.compile)(text)?,
                };
                compiled.insert(*text, query);
            }
        }
        Ok(asked.iter().map(|(stream, text)| stream.ask(text, compiled.get(text), &self.stopped)).collect())
    }
}

fn check(text: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::Usage(format!("query {text:?}: says nothing, expected words")));
    }
    match text.chars().count() {
        length if length > LONGEST => {
            Err(Error::Usage(format!("query: has {length} letters, expected at most {LONGEST}")))
        }
        _ => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream {
    fn now(&self) -> Arc<Question> {
        Arc::clone(&lock(&self.question))
    }

    fn is_open(&self) -> bool {
        self.door.open().is_some()
    }

    /// `compiled` is there where the sentence is a new one.
    fn ask(&self, text: &str, compiled: Option<&Option<Arc<CompiledQuery>>>, stopped: &Receiver<()>) -> Changed {
        let now = self.now();
        let told = |rev, how| Changed { stream: self.name.clone(), rev, how };
        let Some(intake) = self.door.open() else { return told(now.rev, How::Ended) };
        let Some(compiled) = compiled.filter(|_| now.text != text) else { return told(now.rev, How::Same) };
        let question = Arc::new(Question { text: text.to_owned(), rev: now.rev + 1, compiled: compiled.clone() });
        if intake.note(Note::Query(Arc::clone(&question)), stopped).is_err() {
            return told(now.rev, How::Ended);
        }
        *lock(&self.question) = question;
        told(now.rev + 1, How::New)
    }
}
