//! The last warnings, kept for whoever looks at a run that goes on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::secrets;

/// Warnings that are kept.
const KEPT: usize = 50;

/// A warning or an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    /// When it was said, ns since 1970.
    pub(crate) unix_ns: i64,
    /// `warn` or `error`.
    pub(crate) level: &'static str,
    /// The stream that it is about, where it is about one.
    pub(crate) stream: Option<String>,
    /// The message, with no secret in it.
    pub(crate) text: String,
}

static KEEPER: Mutex<VecDeque<Warning>> = Mutex::new(VecDeque::new());

fn keeper() -> MutexGuard<'static, VecDeque<Warning>> {
    KEEPER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last warnings, the oldest first.
pub(crate) fn warnings() -> Vec<Warning> {
    keeper().iter().cloned().collect()
}

thread_local! {
    /// What is warned of on this thread, while somebody wants to know.
    static HERE: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Does something, and says what was warned of meanwhile on this thread: the words of a sentence that the model does not know,
/// for one.
pub(crate) fn warned<T>(act: impl FnOnce() -> T) -> (T, Vec<String>) {
    HERE.set(Some(Vec::new()));
    let done = act();
    (done, HERE.take().unwrap_or_default())
}

/// Keeps them.
pub(crate) struct Recent;

/// Of a span: the stream that it is about.
struct StreamName(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recent {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some((span, stream)) = context.span(id).zip(fields.stream) {
            span.extensions_mut().insert(StreamName(stream));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => return,
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let spans = context.event_scope(event).into_iter().flatten();
        let stream = fields.stream.or_else(|| {
            spans.into_iter().find_map(|span| span.extensions().get::<StreamName>().map(|name| name.0.clone()))
        });
        let unix_ns = crate::clock::now_unix_ns();
        let text = secrets::hidden(&fields.message);
        let stream = stream.map(|name| secrets::hidden(&name));
        HERE.with_borrow_mut(|here| {
            if let Some(here) = here {
                here.push(text.clone());
            }
        });
        let mut kept = keeper();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Warning { unix_ns, level, stream, text });
    }
}

/// What an event or a span says.
#[derive(Default)]
struct Fields {
    message: String,
    stream: Option<String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "stream" => self.stream = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "stream" => write!(self.stream.get_or_insert_default(), "{value:?}"),
            _ => Ok(()),
        };
        // Writing to a text does not fail.
        debug_assert!(written.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_warning_is_kept_with_its_stream_and_without_its_secret() {
        let subscriber = tracing_subscriber::registry().with(Recent);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("deliver", stream = "a gate of its own");
            span.in_scope(|| tracing::warn!("cannot reach rtsp://me:s3cret@camera/x"));
            span.in_scope(|| tracing::info!("is no warning"));
        });
        let kept = warnings();
        let warning = kept.iter().rev().find(|warning| warning.stream.as_deref() == Some("a gate of its own"));
        let text = warning.map(|warning| warning.text.as_str()).unwrap_or_default();
        assert!(text.starts_with("cannot reach rtsp://") && !text.contains("s3cret"), "{kept:?}");
        assert!(kept.iter().all(|warning| warning.text != "is no warning"), "{kept:?}");
    }
    #[test]
    fn who_acts_is_told_what_was_warned_of() {
        let subscriber = tracing_subscriber::registry().with(Recent);
        let (done, told) = tracing::subscriber::with_default(subscriber, || {
            tracing::warn!("before");
            let told = warned(|| {
                tracing::warn!("meanwhile");
                7
            });
            tracing::warn!("after");
            told
        });
        assert_eq!((done, told), (7, vec!["meanwhile".to_owned()]));
    }
}
