//! Commands to a run: over its control socket, and by reading its settings anew.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};
use grounding::Grounder;
use records::track::Tracking;
use serde_json::{Value, json};

use super::Message;
use crate::config::{Hysteresis, Origin, ReloadedQueries, RunSettings, StreamSettings, chosen, load_compiler};
use crate::error::{Error, Result};
use crate::notify::{Notifiers, SetQuery, Watched};
use crate::page::{Archives, CommandHandler, LiveStream, PageServer, Shown};
use crate::service::{
    Command, Compile, Control, EditOutcome, EditResult, Queries, QueryEdit, QueryRequest, Service, TrackingOf,
};
use crate::stage::QuerySettings;

/// Compiles later sentences with the model that runs. Its text tower is loaded for the purpose, and let go again: most
/// runs never need it, and the full model's is larger than all the rest.
pub(super) fn compiler(settings: &RunSettings, running: &Grounder) -> Compile {
    let (model, device, digest) = (settings.model.clone(), settings.device.clone(), running.digest().to_owned());
    Box::new(move |text| {
        let compiler = load_compiler(model.as_deref(), &device)?;
        if compiler.digest() != digest {
            let name = chosen(model.as_deref())?
                .map_or_else(|| "the built-in model".into(), |path| path.display().to_string());
            return Err(Error::Usage(format!("{name}: is not the model that runs; it was replaced meanwhile")));
        }
        Ok(Some(Arc::new(compiler.compile(text)?)))
    })
}

/// How measurements of queries become claims: by what a query says itself, its stream's settings, and the `threshold` of
/// the model, which there is none of for models that cannot say "not here".
pub(super) fn tracking_of(settings: &RunSettings, threshold: Option<f32>, gives_all: bool) -> TrackingOf {
    let RunSettings { smoothing, hold, lost, .. } = *settings;
    let hysteresis: Vec<Hysteresis> = settings.streams.iter().map(|stream| stream.hysteresis).collect();
    Box::new(move |stream, query| {
        let fail = |reason: &str| Err(Error::Usage(format!("query {:?}: {reason}", query.name)));
        if query.threshold.is_some() && threshold.is_none() {
            return fail("has a threshold, but this model has no presence head, so it cannot say \"not here\"");
        }
        if query.all && !gives_all {
            return fail("all = true: this model gives one box for a sentence, expected all = false");
        }
        let threshold = query.threshold.or(threshold);
        let usual = || hysteresis.get(stream).copied().unwrap_or_default().of(threshold);
        Ok(Tracking {
            threshold,
            hysteresis: query.hysteresis.unwrap_or_else(usual),
            smoothing,
            hold: query.hold.unwrap_or(hold),
            lost,
            all: query.all,
        })
    })
}

/// Does what is asked for, over the control socket and by the page.
pub(super) fn handler(
    service: &Service,
    queries: &Arc<Queries>,
    messages: &Sender<Message>,
    run_id: &Arc<str>,
) -> CommandHandler {
    let (run_status, queries, messages, run_id) =
        (Arc::clone(&service.run_status), Arc::clone(queries), messages.clone(), Arc::clone(run_id));
    Arc::new(move |command| match command {
        Command::SetQuery { query, name, threshold, stream } => answer(queries.change(&[QueryRequest {
            stream: stream.as_deref(),
            edit: QueryEdit::Set { name, text: query, threshold },
        }])?),
        Command::AddQuery { query, name, threshold, all, stream } => {
            let own = QuerySettings::of(&query);
            let wanted = QuerySettings { name: name.unwrap_or(own.name), text: query, threshold, all, ..own };
            answer(queries.change(&[QueryRequest { stream: stream.as_deref(), edit: QueryEdit::Add(wanted) }])?)
        }
        Command::RemoveQuery { name, stream } => {
            answer(queries.change(&[QueryRequest { stream: stream.as_deref(), edit: QueryEdit::Remove(name) }])?)
        }
        Command::Status => {
            let mut status = run_status.to_json();
            status["run_id"] = Value::from(&*run_id);
            Ok(status)
        }
        Command::Stop => {
            tracing::info!("asked to stop");
            messages.send(Message::Stop).map_err(|_| Error::Usage("the run is ending already".into()))?;
            Ok(json!({}))
        }
    })
}

/// The control socket, where one is wanted.
///
/// # Errors
/// It cannot be made.
pub(super) fn control(settings: &RunSettings, handle: &CommandHandler) -> Result<Option<Control>> {
    let Some(path) = &settings.service.control else { return Ok(None) };
    let handle = Arc::clone(handle);
    Control::start(path, move |command| handle(command)).map(Some)
}

/// What the page shows, by stream; none where there is no page.
type LiveStreams = Vec<Option<Arc<LiveStream>>>;

/// The page, where one is wanted, with what is to be seen of each stream.
///
/// # Errors
/// It cannot be served.
pub(super) fn page(
    settings: &RunSettings,
    service: &Service,
    queries: &Arc<Queries>,
    handle: &CommandHandler,
    run_id: &Arc<str>,
) -> Result<(Option<PageServer>, LiveStreams)> {
    let Some(page) = &settings.service.page else { return Ok((None, vec![None; settings.streams.len()])) };
    let kept = |stream: &StreamSettings| Some(stream.sightings.as_ref()?.archive.as_ref()?.folder.clone());
    let streams: Vec<Arc<LiveStream>> = settings.streams.iter().map(LiveStream::of).collect();
    let model = chosen(settings.model.as_deref())?.map_or_else(|| "built in".into(), |path| path.display().to_string());
    let shown = Shown {
        streams: streams.clone(),
        run_status: Arc::clone(&service.run_status),
        queries: Arc::clone(queries),
        command: Arc::clone(handle),
        archives: Archives::of(settings.streams.iter().filter_map(kept)),
        about: json!({
            "version": env!("CARGO_PKG_VERSION"), "run_id": &**run_id, "model": model, "device": settings.device,
            "precision": format!("{:?}", settings.precision).to_lowercase(),
        }),
    };
    Ok((Some(PageServer::start(page, shown)?), streams.into_iter().map(Some).collect()))
}

/// Whom the run tells what was seen, and who may change what it looks for.
///
/// # Errors
/// A queue cannot be opened.
pub(super) fn notifiers(settings: &RunSettings, service: &Service, queries: &Arc<Queries>) -> Result<Notifiers> {
    let watched = settings.streams.iter().map(|stream| Watched {
        stream: stream.address.name.clone(),
        queries: stream.queries.iter().map(|query| (query.name.clone(), query.text.clone())).collect(),
    });
    let watched: Vec<Watched> = watched.collect();
    let queries = Arc::clone(queries);
    let set_query: SetQuery = Arc::new(move |stream, name, text| {
        let edit = QueryEdit::Set { name: Some(name.to_owned()), text: Some(text.to_owned()), threshold: None };
        queries.change(&[QueryRequest { stream: Some(stream), edit }]).and_then(answer).map(drop)
    });
    let notifiers = Notifiers::start(&settings.notify, &watched, Some(set_query))?;
    service.run_status.set_notifiers(notifiers.clone());
    Ok(notifiers)
}

/// Revisions of queries, by stream and name.
///
/// # Errors
/// No stream is left that could be asked.
fn answer(changed: Vec<EditResult>) -> Result<Value> {
    if changed.iter().all(|changed| changed.outcome == EditOutcome::Ended) {
        let names: Vec<String> = changed.into_iter().map(|changed| changed.stream).collect();
        return Err(Error::Usage(format!("stream {}: has ended", names.join(", "))));
    }
    let of_stream = |EditResult { stream, revisions, .. }| {
        let revisions: serde_json::Map<_, _> =
            revisions.into_iter().map(|(name, rev): (String, u32)| (name, rev.into())).collect();
        (stream, revisions.into())
    };
    let lasting = changed.into_iter().filter(|changed| changed.outcome != EditOutcome::Ended);
    Ok(json!({ "queries": lasting.map(of_stream).collect::<serde_json::Map<_, _>>() }))
}

/// Reads queries anew when it is told to, on a thread of its own that ends with it.
pub(super) struct Reload {
    wanted: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reload {
    /// None where queries came from no file.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(settings: &RunSettings, queries: &Arc<Queries>) -> Result<Option<Self>> {
        let Some(origin) = settings.origin.clone() else { return Ok(None) };
        let names: Vec<String> = settings.streams.iter().map(|stream| stream.address.name.clone()).collect();
        let queries = Arc::clone(queries);
        // Who asks again while it is being read is answered once.
        let (wanted, requests) = bounded(1);
        let thread = std::thread::Builder::new().name("reload".into()).spawn(move || {
            for () in requests {
                if let Err(error) = adopt(&origin, &queries, &names) {
                    tracing::error!("the settings are not taken: {error}");
                }
            }
        });
        Ok(Some(Self { wanted: Some(wanted), thread: Some(thread.map_err(|e| Error::Worker(e.to_string()))?) }))
    }

    pub(super) fn again(&self) {
        if let Some(wanted) = &self.wanted {
            // One that waits will do.
            let _ = wanted.try_send(());
        }
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn adopt(origin: &Origin, queries: &Queries, names: &[String]) -> Result<()> {
    let ReloadedQueries { queries: wanted, other } = origin.read()?;
    let (known, new): (Vec<_>, Vec<_>) = wanted.iter().partition(|(name, _)| names.contains(name));
    let requests: Vec<QueryRequest> = known
        .iter()
        .map(|(name, queries)| QueryRequest { stream: Some(name.as_str()), edit: QueryEdit::Replace(queries.clone()) })
        .collect();
    let changed = queries.change(&requests)?;
    if !other.is_empty() {
        tracing::warn!("changed, but taken at the next start only: {}", other.join(", "));
    }
    for (name, _) in new {
        tracing::warn!("{name} is new; it is taken at the next start only");
    }
    for name in names.iter().filter(|name| !known.iter().any(|(known, _)| known == *name)) {
        tracing::warn!("{name} is not there any more; it goes on until the next start");
    }
    let of_kind = |outcome: EditOutcome| changed.iter().filter(move |changed| changed.outcome == outcome);
    for EditResult { stream, .. } in of_kind(EditOutcome::Ended) {
        tracing::info!("{stream} has ended; its queries are not taken");
    }
    tracing::info!("settings read anew; queries changed: {}", of_kind(EditOutcome::New).count());
    Ok(())
}
