//! Commands to a run: over its control socket, and by reading its settings anew.

use std::sync::Arc;

use crossbeam_channel::Sender;
use qrnet::Grounder;
use serde_json::{Value, json};

use super::Message;
use crate::config::{Origin, Reread, RunSettings, load_model};
use crate::error::{Error, Result};
use crate::service::{Changed, Command, Compile, Control, Queries, Service};

/// Compiles later sentences with the model that runs. Its text tower is loaded for the purpose, and let go again: most
/// runs never need it, and the full model's is larger than all the rest.
pub(super) fn compiler(settings: &RunSettings, running: &Grounder) -> Compile {
    let (model, device, digest) = (settings.model.clone(), settings.device.clone(), running.digest().to_owned());
    Box::new(move |text| {
        let grounder = load_model(model.as_deref(), &device, false)?;
        if grounder.digest() != digest {
            let name = model.as_ref().map_or_else(String::new, |path| path.display().to_string());
            return Err(Error::Usage(format!("{name}: is not the model that runs; it was replaced meanwhile")));
        }
        Ok(Some(Arc::new(grounder.compile(text)?)))
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
            let changed = queries.change(stream.as_deref(), &query)?;
            let revisions: serde_json::Map<_, _> =
                changed.into_iter().map(|Changed { stream, rev, .. }| (stream, rev.into())).collect();
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

/// Reads queries anew, on a thread of its own; none where they came from no file.
pub(super) fn reread(settings: &RunSettings, queries: &Arc<Queries>) -> Option<Box<dyn Fn() + Send>> {
    let (origin, queries) = (settings.origin.clone()?, Arc::clone(queries));
    let names: Vec<String> = settings.streams.iter().map(|stream| stream.address.name.clone()).collect();
    Some(Box::new(move || {
        let (origin, queries, names) = (origin.clone(), Arc::clone(&queries), names.clone());
        let read = move || {
            if let Err(error) = adopt(&origin, &queries, &names) {
                tracing::error!("the settings are not taken: {error}");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("reread".into()).spawn(read) {
            tracing::error!("the settings are not read: {error}");
        }
    }))
}

fn adopt(origin: &Origin, queries: &Queries, names: &[String]) -> Result<()> {
    let Reread { queries: wanted, other } = origin.read()?;
    if !other.is_empty() {
        tracing::warn!("changed, but taken at the next start only: {}", other.join(", "));
    }
    for (name, _) in wanted.iter().filter(|(name, _)| !names.contains(name)) {
        tracing::warn!("{name} is new; it is taken at the next start only");
    }
    for name in names.iter().filter(|name| !wanted.iter().any(|(wanted, _)| wanted == *name)) {
        tracing::warn!("{name} is not there any more; it goes on until the next start");
    }
    let mut news = 0;
    for (name, query) in wanted.iter().filter(|(name, _)| names.contains(name)) {
        let changed = queries.change(Some(name), query)?;
        news += changed.iter().filter(|changed| changed.new).count();
    }
    tracing::info!("settings read anew: {news} queries changed");
    Ok(())
}
