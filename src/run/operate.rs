//! Commands to a run: over its control socket, and by reading its settings anew.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};
use grounding::Grounder;
use serde_json::{Value, json};

use super::Message;
use crate::config::{Anew, Origin, RunSettings, chosen, load_compiler};
use crate::error::{Error, Result};
use crate::service::{Changed, Command, Compile, Control, How, Queries, Service, Wish};

/// Compiles later sentences with the model that runs. Its text tower is loaded for the purpose, and let go again: most
/// runs never need it, and the full model's is larger than all the rest.
pub(super) fn compiler(settings: &RunSettings, running: &Grounder) -> Compile {
    let (model, device, digest) = (settings.model.clone(), settings.device.clone(), running.digest().to_owned());
    Box::new(move |text| {
        let compiler = load_compiler(model.as_deref(), &device)?;
        if compiler.digest() != digest {
            let name =
                chosen(model.as_deref()).map_or_else(|| "the built-in model".into(), |path| path.display().to_string());
            return Err(Error::Usage(format!("{name}: is not the model that runs; it was replaced meanwhile")));
        }
        Ok(Some(Arc::new(compiler.compile(text)?)))
    })
}

/// The control socket, where one is wanted.
///
/// # Errors
/// It cannot be made.
pub(super) fn control(
    settings: &RunSettings,
    service: &Service,
    queries: &Arc<Queries>,
    messages: &Sender<Message>,
    run_id: &Arc<str>,
) -> Result<Option<Control>> {
    let Some(path) = &settings.service.control else { return Ok(None) };
    let (seen, queries, messages, run_id) =
        (Arc::clone(&service.seen), Arc::clone(queries), messages.clone(), Arc::clone(run_id));
    let obey = move |command| match command {
        Command::SetQuery { query, stream } => {
            let changed = queries.change(&[Wish { stream: stream.as_deref(), text: &query }])?;
            if changed.iter().all(|changed| changed.how == How::Ended) {
                let names: Vec<String> = changed.into_iter().map(|changed| changed.stream).collect();
                return Err(Error::Usage(format!("stream {}: has ended", names.join(", "))));
            }
            let lasting = changed.into_iter().filter(|changed| changed.how != How::Ended);
            let revisions: serde_json::Map<_, _> =
                lasting.map(|Changed { stream, rev, .. }| (stream, rev.into())).collect();
            Ok(json!({ "query_rev": revisions }))
        }
        Command::Status => {
            let mut status = seen.to_json();
            status["run_id"] = Value::from(&*run_id);
            Ok(status)
        }
        Command::Stop => {
            tracing::info!("asked to stop");
            messages.send(Message::Stop).map_err(|_| Error::Usage("the run is ending already".into()))?;
            Ok(json!({}))
        }
    };
    Control::start(path, obey).map(Some)
}

/// Reads queries anew when it is told to, on a thread of its own that ends with it.
pub(super) struct Reread {
    wanted: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reread {
    /// None where queries came from no file.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(settings: &RunSettings, queries: &Arc<Queries>) -> Result<Option<Self>> {
        let Some(origin) = settings.origin.clone() else { return Ok(None) };
        let names: Vec<String> = settings.streams.iter().map(|stream| stream.address.name.clone()).collect();
        let queries = Arc::clone(queries);
        // Who asks again while it is being read is answered once.
        let (wanted, wishes) = bounded(1);
        let thread = std::thread::Builder::new().name("reread".into()).spawn(move || {
            for () in wishes {
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

impl Drop for Reread {
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn adopt(origin: &Origin, queries: &Queries, names: &[String]) -> Result<()> {
    let Anew { queries: wanted, other } = origin.read()?;
    let (known, new): (Vec<_>, Vec<_>) = wanted.iter().partition(|(name, _)| names.contains(name));
    let wishes: Vec<Wish> = known.iter().map(|(name, text)| Wish { stream: Some(name), text }).collect();
    let changed = queries.change(&wishes)?;
    if !other.is_empty() {
        tracing::warn!("changed, but taken at the next start only: {}", other.join(", "));
    }
    for (name, _) in new {
        tracing::warn!("{name} is new; it is taken at the next start only");
    }
    for name in names.iter().filter(|name| !known.iter().any(|(known, _)| known == *name)) {
        tracing::warn!("{name} is not there any more; it goes on until the next start");
    }
    let of_kind = |how: How| changed.iter().filter(move |changed| changed.how == how);
    for Changed { stream, .. } in of_kind(How::Ended) {
        tracing::info!("{stream} has ended; its query is not taken");
    }
    tracing::info!("settings read anew; queries changed: {}", of_kind(How::New).count());
    Ok(())
}
