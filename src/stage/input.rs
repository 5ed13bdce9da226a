//! The input queue of a stream: what happens to a frame that comes before the last one is taken.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, select};
use records::track::Outcome;

use super::sampling::{Sampler, Sampling};
use super::{Frame, QUEUE, StreamEvent};

/// What happens to frames that come faster than they are grounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The decoder waits; no frame is lost.
    EveryFrame,
    /// The newest frame wins; delay never grows.
    Freshest,
}

/// What is to become of a frame.
#[derive(Debug)]
pub(super) enum Treatment {
    /// The model looks at it.
    Measure,
    /// It goes by.
    Pass(Outcome),
}

/// One step of a source.
#[derive(Debug)]
pub(super) enum Item {
    Frame(Frame, Treatment),
    Event(StreamEvent),
}

/// What waits in the queue: at most one frame to measure, and what came before and after it, in order.
pub(super) type Arrival = Vec<Item>;

/// Items that may wait behind each other: two minutes of a fast camera.
const MOST: usize = 4096;
/// Frames with pictures that may wait behind each other without being measured.
const HELD: usize = QUEUE;

/// Nobody takes frames any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// The input queue of a stream. One thread at a time pushes frames.
#[derive(Clone)]
pub struct StageInput {
    sender: Sender<Arrival>,
    /// To take back what waits, in `freshest` mode.
    waiting: Option<Receiver<Arrival>>,
    sampler: Arc<Mutex<Sampler>>,
    skips: bool,
    tap: Option<Arc<Tap>>,
    /// Pictures that somebody keeps whom the stage does not know.
    kept: usize,
}

/// Sees every frame that comes, before anything is known of it. Must not wait.
type Tap = dyn Fn(&Frame) + Send + Sync;

impl StageInput {
    pub(super) fn new(mode: Mode, sampling: Sampling) -> (Self, Receiver<Arrival>) {
        let (sender, receiver) = bounded(if mode == Mode::Freshest { 1 } else { QUEUE });
        let waiting = (mode == Mode::Freshest).then(|| receiver.clone());
        let sampler = Arc::new(Mutex::new(Sampler::new(sampling)));
        (Self { sender, waiting, sampler, skips: sampling.skips(), tap: None, kept: 0 }, receiver)
    }

    /// Lets `tap` see every frame that is handed over from now on. It must not wait.
    #[must_use]
    pub fn tapped(self, tap: impl Fn(&Frame) + Send + Sync + 'static) -> Self {
        Self { tap: Some(Arc::new(tap)), ..self }
    }

    /// So many pictures of the stream are kept beside the stage and the output.
    #[must_use]
    pub fn keeping(self, pictures: usize) -> Self {
        Self { kept: self.kept + pictures, ..self }
    }

    /// How many arrivals wait for the stage.
    pub fn waiting(&self) -> usize {
        self.sender.len()
    }

    /// Pushes a frame.
    ///
    /// # Blocking
    /// In `every-frame` mode while the queue is full, until `stopped` is disconnected. In `freshest` mode only where not
    /// one was taken while thousands came.
    ///
    /// # Errors
    /// The stage is gone or `stopped` is.
    pub fn push(&self, frame: Frame, stopped: &Receiver<()>) -> Result<(), Closed> {
        if let Some(tap) = &self.tap {
            tap(&frame);
        }
        let treatment = if frame.corrupt {
            let message = "the decoder could not restore the whole picture".into();
            Treatment::Pass(Outcome::Error { cause: "decode", message })
        } else {
            let skipped = self.sampler.lock().unwrap_or_else(PoisonError::into_inner).skips(&frame);
            skipped.map_or(Treatment::Measure, |cause| Treatment::Pass(Outcome::Skipped { cause }))
        };
        self.enter(Item::Frame(frame, treatment), stopped)
    }

    /// Sends an event along, behind the frames that were pushed before.
    ///
    /// # Blocking
    /// As [`StageInput::push`].
    ///
    /// # Errors
    /// As [`StageInput::push`].
    pub fn push_event(&self, event: StreamEvent, stopped: &Receiver<()>) -> Result<(), Closed> {
        self.enter(Item::Event(event), stopped)
    }

    /// How many frames with their pictures may be on their way at once: a fixed pool of them must not be smaller.
    pub fn max_buffers(&self) -> usize {
        // With the decoder, in front of the model, behind it, and with whom delivers.
        let at_once = if self.skips && self.waiting.is_some() { HELD + 1 } else { 1 };
        2 * QUEUE + 3 + (2 + OUTPUT) * (at_once - 1) + self.kept
    }

    fn enter(&self, item: Item, stopped: &Receiver<()>) -> Result<(), Closed> {
        if stopped.try_recv() == Err(TryRecvError::Disconnected) {
            return Err(Closed);
        }
        let arrival = vec![item];
        match &self.waiting {
            None => select! {
                send(self.sender, arrival) -> sent => sent.map_err(|_| Closed),
                recv(stopped) -> _ => Err(Closed),
            },
            Some(waiting) => self.replace(arrival, waiting, stopped),
        }
    }

    fn replace(&self, mut arrival: Arrival, waiting: &Receiver<Arrival>, stopped: &Receiver<()>) -> Result<(), Closed> {
        loop {
            match self.sender.try_send(arrival) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(Closed),
                Err(TrySendError::Full(newer)) => {
                    arrival = newer;
                    // The stage may have taken it meanwhile: then there is room.
                    let Ok(older) = waiting.try_recv() else { continue };
                    if older.len() >= MOST {
                        // Not slow but stuck: nobody takes records, and memory has an end.
                        self.sender.send(older).map_err(|_| Closed)?;
                        return select! {
                            send(self.sender, arrival) -> sent => sent.map_err(|_| Closed),
                            recv(stopped) -> _ => Err(Closed),
                        };
                    }
                    arrival = behind(older, arrival);
                }
            }
        }
    }
}

/// A handle to the input of a stream, until it is closed: whoever keeps it does not keep the stream from ending.
#[derive(Clone)]
pub struct InputHandle(Arc<Mutex<Option<StageInput>>>);

impl InputHandle {
    /// A handle that leads to `input`.
    pub fn new(input: StageInput) -> Self {
        Self(Arc::new(Mutex::new(Some(input))))
    }

    /// None once it is closed. Whoever keeps what it gives keeps the stream from ending.
    pub fn get(&self) -> Option<StageInput> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Arrivals that may wait behind the model in `freshest` mode.
pub(super) const OUTPUT: usize = 2;

/// `newer` behind `older`: where both have a frame to measure, the older one is overtaken.
fn behind(older: Arrival, newer: Arrival) -> Arrival {
    let measures = |item: &Item| matches!(item, Item::Frame(_, Treatment::Measure));
    let overtakes = newer.iter().any(measures);
    let mut all: Arrival = older
        .into_iter()
        .map(|item| if overtakes && measures(&item) { dropped(item) } else { item })
        .chain(newer)
        .collect();
    let held =
        |item: &Item| matches!(item, Item::Frame(_, Treatment::Pass(Outcome::Skipped { .. } | Outcome::Error { .. })));
    if all.iter().filter(|item| held(item)).count() > HELD
        && let Some(oldest) = all.iter().position(held)
    {
        let item = all.remove(oldest);
        all.insert(oldest, dropped(item));
    }
    all
}

/// The same frame, its picture given back.
fn dropped(item: Item) -> Item {
    match item {
        Item::Frame(frame, _) => {
            Item::Frame(frame.without_picture(), Treatment::Pass(Outcome::Dropped { cause: "overload" }))
        }
        event @ Item::Event(_) => event,
    }
}
