//! The way into the stage: what happens to a frame that comes before the last one is taken.

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, select};

use super::{Frame, QUEUE};

/// What happens to frames that come faster than they are grounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The decoder waits; no frame is lost.
    EveryFrame,
    /// The newest frame wins; delay never grows.
    Freshest,
}

/// A frame, and those that it overtook in the queue, oldest first and without their pictures.
pub(super) struct Arrival {
    pub(super) overtaken: Vec<Frame>,
    pub(super) frame: Frame,
}

/// Frames that may be overtaken by one: two minutes of a fast camera.
const MOST: usize = 4096;

/// Nobody takes frames any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// The sending side. One thread at a time hands frames over.
#[derive(Clone)]
pub struct Intake {
    sender: Sender<Arrival>,
    /// To take back what waits, in `freshest` mode.
    waiting: Option<Receiver<Arrival>>,
}

impl Intake {
    pub(super) fn new(mode: Mode) -> (Self, Receiver<Arrival>) {
        let (sender, receiver) = bounded(if mode == Mode::Freshest { 1 } else { QUEUE });
        let waiting = (mode == Mode::Freshest).then(|| receiver.clone());
        (Self { sender, waiting }, receiver)
    }

    /// Hands a frame over.
    ///
    /// # Blocking
    /// In `every-frame` mode while the queue is full, until `stopped` is disconnected. In `freshest` mode only where not one was taken while thousands came.
    ///
    /// # Errors
    /// The stage is gone or `stopped` is.
    pub fn offer(&self, frame: Frame, stopped: &Receiver<()>) -> Result<(), Closed> {
        let arrival = Arrival { overtaken: Vec::new(), frame };
        match &self.waiting {
            None => select! {
                send(self.sender, arrival) -> sent => sent.map_err(|_| Closed),
                recv(stopped) -> _ => Err(Closed),
            },
            Some(_) if stopped.try_recv() == Err(TryRecvError::Disconnected) => Err(Closed),
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
                    if let Ok(older) = waiting.try_recv() {
                        let mut overtaken = older.overtaken;
                        if overtaken.len() >= MOST {
                            // Not slow but stuck: nobody takes records, and memory has an end.
                            self.sender.send(Arrival { overtaken, frame: older.frame }).map_err(|_| Closed)?;
                            return select! {
                                send(self.sender, arrival) -> sent => sent.map_err(|_| Closed),
                                recv(stopped) -> _ => Err(Closed),
                            };
                        }
                        overtaken.push(older.frame.without_picture());
                        overtaken.append(&mut arrival.overtaken);
                        arrival.overtaken = overtaken;
                    }
                }
            }
        }
    }
}
