//! Clips that browsers do not play as they are kept, encoded anew when somebody asks for one: once for all, one after the other, into a
//! folder that goes with the run.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hyper::StatusCode;
use tempfile::TempDir;
use tokio::sync::{OnceCell, Semaphore};

use super::reply::Refusal;
use crate::error::{Error, Result};
use crate::sightings::{encode_for_browsers, plays_in_browsers};

/// Clips that are kept, at most; the one that was made first goes.
const MOST: usize = 16;

/// Clips as browsers play them.
#[derive(Clone)]
pub(super) struct Playable(Arc<Shared>);

struct Shared {
    made: Mutex<Made>,
    /// One is encoded at a time: the run goes on beside it.
    turn: Semaphore,
    stopped: AtomicBool,
}

/// What was made, the oldest first.
#[derive(Default)]
struct Made {
    folder: Option<TempDir>,
    clips: VecDeque<(Original, Clip)>,
    /// Clips so far.
    count: u64,
}

/// A clip as it was made: where, once it is.
type Clip = Arc<(PathBuf, OnceCell<()>)>;

/// A file as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Original {
    path: PathBuf,
    length: u64,
    changed: Option<SystemTime>,
}

impl Default for Playable {
    fn default() -> Self {
        let (made, stopped) = (Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(Shared { made, turn: Semaphore::new(1), stopped }))
    }
}

impl Playable {
    /// Where the clip at `path` is, as browsers play it: the file itself, or another one.
    ///
    /// # Errors
    /// It cannot be read or encoded.
    pub(super) async fn of(&self, path: PathBuf) -> Result<PathBuf, Refusal> {
        let shared = Arc::clone(&self.0);
        // It is made to its end also where whoever asked first leaves: the next one wants it too.
        let made = tokio::spawn(async move { shared.of(path).await }).await;
        made.map_err(|error| Refusal::from(Error::Worker(error.to_string())))?
    }

    /// What is being encoded ends, and nothing is begun.
    pub(super) async fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        if let Ok(turn) = self.0.turn.acquire().await {
            turn.forget();
            self.0.turn.close();
        }
    }

    /// What was made goes.
    pub(super) fn clear(&self) {
        *self.0.made() = Made::default();
    }
}

impl Shared {
    async fn of(self: &Arc<Self>, path: PathBuf) -> Result<PathBuf, Refusal> {
        let asked = path.clone();
        let original = blocking(move || {
            let read = || -> std::io::Result<Option<Original>> {
                if plays_in_browsers(&asked)? {
                    return Ok(None);
                }
                let metadata = std::fs::metadata(&asked)?;
                Ok(Some(Original { path: asked.clone(), length: metadata.len(), changed: metadata.modified().ok() }))
            };
            read().map_err(Error::io("read", &asked))
        });
        let Some(original) = original.await? else { return Ok(path) };
        let clip = self.clip(&original)?;
        let (shared, made) = (Arc::clone(self), Arc::clone(&clip));
        let encode = || async move {
            let turn = shared.turn.acquire().await;
            let _turn = turn.map_err(|_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the run ends"))?;
            let shared = Arc::clone(&shared);
            blocking(move || {
                tracing::info!("page: {} is encoded for browsers", path.display());
                encode_for_browsers(&path, &made.0, &shared.stopped)
            })
            .await
        };
        match clip.1.get_or_try_init(encode).await {
            Ok(()) => Ok(clip.0.clone()),
            Err(refusal) => {
                self.forget(&clip);
                Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.reason))
            }
        }
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a clip is, or will be.
    ///
    /// # Errors
    /// Too many are being made, or there is no folder for them.
    fn clip(&self, original: &Original) -> Result<Clip, Refusal> {
        let made = &mut *self.made();
        if let Some((_, clip)) = made.clips.iter().find(|(known, _)| known == original) {
            return Ok(Arc::clone(clip));
        }
        while made.clips.len() >= MOST {
            // What is being made stays.
            let Some(oldest) = made.clips.iter().position(|(_, clip)| clip.1.initialized()) else {
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many clips are being encoded"));
            };
            made.clips.remove(oldest).into_iter().for_each(|(_, clip)| remove(&clip.0));
        }
        let folder = match &mut made.folder {
            Some(folder) => folder,
            folder => folder.insert(tempfile::tempdir().map_err(Error::io("create", &std::env::temp_dir()))?),
        };
        made.count += 1;
        let clip: Clip = Arc::new((folder.path().join(format!("{}.mp4", made.count)), OnceCell::new()));
        made.clips.push_back((original.clone(), Arc::clone(&clip)));
        Ok(clip)
    }

    /// What could not be made may be made another time.
    fn forget(&self, clip: &Clip) {
        self.made().clips.retain(|(_, known)| {
            let goes = Arc::ptr_eq(known, clip) && !clip.1.initialized();
            if goes {
                remove(&clip.0);
            }
            !goes
        });
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!("{} was not made, or is not removed: {error}", path.display());
    }
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(act).await;
    Ok(done.map_err(|error| Refusal::from(Error::Worker(error.to_string())))??)
}
