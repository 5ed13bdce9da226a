//! Changing what streams look for while they run.
//!
//! The new sentence is compiled beside the run, while frames are asked the old one. Then it is sent into the stage among
//! the frames ([`Note::Query`]), so that the change falls between two of them.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;
use qrnet::CompiledQuery;

use crate::error::{Error, Result};
use crate::stage::{Door, Note, Question};

/// Makes of a sentence what the model takes; nothing for models that read sentences themselves.
pub(crate) type Compile = Box<dyn Fn(&str) -> Result<Option<Arc<CompiledQuery>>> + Send + Sync>;

/// What the streams of a run look for.
pub(crate) struct Queries {
    compile: Compile,
    stopped: Receiver<()>,
    /// Locked while something is changed: changes come one after the other.
    streams: Mutex<Vec<Stream>>,
}

struct Stream {
    name: String,
    question: Arc<Question>,
    door: Door,
}

/// What a stream is asked now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) stream: String,
    pub(crate) rev: u32,
    /// False where it was asked that before.
    pub(crate) new: bool,
}

impl Queries {
    pub(crate) fn new(compile: Compile, stopped: Receiver<()>) -> Self {
        Self { compile, stopped, streams: Mutex::new(Vec::new()) }
    }

    /// A stream that begins with `question`; changes go in through `door`.
    pub(crate) fn add(&self, name: &str, question: Arc<Question>, door: Door) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.push(Stream { name: name.to_owned(), question, door });
    }

    /// Asks the stream of this name, or all streams, for `text`. The next frame that comes is asked that.
    ///
    /// # Blocking
    /// While the sentence is compiled, and in `every-frame` mode while the stream's queue is full.
    ///
    /// # Errors
    /// The sentence says nothing or cannot be compiled, or there is no such stream, or it has ended.
    pub(crate) fn change(&self, stream: Option<&str>, text: &str) -> Result<Vec<Changed>> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if text.trim().is_empty() {
            return Err(Error::Usage(format!("query {text:?}: says nothing, expected words")));
        }
        let names: Vec<String> = streams.iter().map(|stream| stream.name.clone()).collect();
        if let Some(unknown) = stream.filter(|name| !names.iter().any(|known| known == name)) {
            let reason = format!("there is none of that name, expected one of {}", names.join(", "));
            return Err(Error::Usage(format!("stream {unknown}: {reason}")));
        }
        let is_meant = |other: &Stream| stream.is_none_or(|name| other.name == name);
        let differs = |stream: &&mut Stream| is_meant(stream) && stream.question.text != text;
        if !streams.iter_mut().any(|stream| differs(&stream)) {
            return Ok(streams.iter().filter(|stream| is_meant(stream)).map(|stream| stream.now(false)).collect());
        }
        // Frames of streams with one query go through the model together.
        let known = streams.iter().find(|stream| stream.question.text == text);
        let compiled = match known.and_then(|stream| stream.question.compiled.clone()) {
            Some(compiled) => Some(compiled),
            None => (self.compile)(text)?,
        };
        let (mut changed, mut ended) = (Vec::new(), Vec::new());
        for stream in streams.iter_mut().filter(|stream| is_meant(stream)) {
            if stream.question.text == text {
                changed.push(stream.now(false));
                continue;
            }
            let rev = stream.question.rev + 1;
            let question = Arc::new(Question { text: text.to_owned(), rev, compiled: compiled.clone() });
            let note = Note::Query(Arc::clone(&question));
            match stream.door.open().map(|intake| intake.note(note, &self.stopped)) {
                Some(Ok(())) => {
                    stream.question = question;
                    changed.push(stream.now(true));
                }
                _ => ended.push(stream.name.clone()),
            }
        }
        if changed.is_empty() {
            return Err(Error::Usage(format!("stream {}: has ended", ended.join(", "))));
        }
        Ok(changed)
    }
}

impl Stream {
    fn now(&self, new: bool) -> Changed {
        Changed { stream: self.name.clone(), rev: self.question.rev, new }
    }
}
