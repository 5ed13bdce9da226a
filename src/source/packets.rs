//! What a source sent, as it came: the newest packets of its picture and sound, kept before the decoder, so that a clip can begin
//! before anybody knew that it is wanted, and need not be encoded anew.
//!
//! Packets are references; no byte is copied. They go in whole groups of pictures, the oldest first. All readers read the same
//! packets: what one has yet to read is in the ring or lost, never in a queue of its own, so the ring's limit is the limit of all.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gstreamer as gst;

use super::packet_queue::{Arrived, PacketQueue, size};
pub use super::packet_queue::{Medium, Packet, PacketLimits};

/// How long is waited before it is looked again whether somebody let go.
const LOOK: Duration = Duration::from_millis(100);

/// How much a ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Bytes, with what packets take beside them.
    pub bytes: usize,
    /// Pictures.
    pub pictures: usize,
    /// Of them, those with which decoding can begin.
    pub keys: usize,
    /// Packets of sound.
    pub sounds: usize,
}

/// The newest packets of one source, over all its connections. Made for a source ([`super::SourceSettings::packets`]); shared by
/// all who make clips of it.
#[derive(Debug)]
pub struct PacketRing {
    limits: PacketLimits,
    queue: Mutex<PacketQueue>,
    changed: Condvar,
}

impl PacketRing {
    /// An empty one.
    pub fn new(limits: PacketLimits) -> Arc<Self> {
        Arc::new(Self { limits, queue: Mutex::default(), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, PacketQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        let state = self.lock();
        let (pictures, sounds) = (state.video.packets.len(), state.sound.packets.len());
        Held { bytes: state.bytes, pictures, keys: state.keys.len(), sounds }
    }

    /// Keeps a packet.
    ///
    /// # Blocking
    /// Where the source waits for readers, until there is room, or nobody wants the source any more.
    pub(super) fn push(&self, arrived: Arrived) {
        let mut state = self.lock();
        if arrived.connection < state.connection || state.closed {
            return;
        }
        let more = size(&arrived.buffer);
        // A new connection: its source is not away any more.
        state.away &= arrived.connection == state.connection;
        while state.must_wait(&self.limits, more) {
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.add(arrived);
        state.make_room(&self.limits);
        self.changed.notify_all();
    }

    /// Says that what `connection` presents at `running_ns` is the frame of `stream_ns`.
    pub(super) fn place(&self, connection: u64, running_ns: i64, stream_ns: i64) {
        let mut state = self.lock();
        let shift = Some(stream_ns - running_ns);
        if connection != state.connection || state.shift == shift {
            return;
        }
        let queue = &mut *state;
        queue.shift = shift;
        let packets = [&mut queue.video.packets, &mut queue.sound.packets];
        for packet in packets.into_iter().flat_map(|packets| packets.iter_mut().rev()) {
            if packet.connection == connection && (packet.stream_ns.is_none() || packet.running_ns >= running_ns) {
                packet.stream_ns = Some(packet.running_ns + stream_ns - running_ns);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The source is away, or about to stop: it does not wait for readers any more.
    pub(super) fn leave(&self) {
        self.lock().away = true;
        self.changed.notify_all();
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Reads from the last key frame on that is presented at `stream_ns` or before; from the first one where that is gone.
    pub fn read_from(self: &Arc<Self>, stream_ns: i64) -> PacketReader {
        let mut state = self.lock();
        let number = state.next_reader;
        state.next_reader += 1;
        let place = (state.start(stream_ns), state.sound.first);
        state.readers.insert(number, place);
        PacketReader { ring: Arc::clone(self), number }
    }
}

/// What a reader gets.
#[derive(Debug)]
pub enum Next {
    /// The next packet. Sound comes before the picture that is presented after it.
    Packet(Box<Packet>),
    /// Packets went before they were read.
    Lost,
    /// Nothing came for as long as was to be waited.
    Waiting,
    /// The same, and the source is away.
    Away,
    /// Nothing comes any more.
    End,
}

/// Somebody who reads the packets of a ring.
#[derive(Debug)]
pub struct PacketReader {
    ring: Arc<PacketRing>,
    number: u64,
}

impl PacketReader {
    /// The next packet, waiting for it for so long at most.
    pub fn take(&mut self, patience: Duration) -> Next {
        let mut state = self.ring.lock();
        let mut waited = false;
        loop {
            let (video, sound) = state.readers.get(&self.number).copied().unwrap_or_default();
            if video < state.video.first {
                let place = (state.video.first, sound);
                state.readers.insert(self.number, place);
                return Next::Lost;
            }
            // Nobody will ever know when what came of a connection is shown that gave no frame.
            let lost = |number: &u64| {
                let picture = state.video.get(*number);
                picture.is_some_and(|picture| picture.stream_ns.is_none() && picture.connection < state.connection)
            };
            let video = video + (video..).take_while(lost).count() as u64;
            let sound = sound.max(state.sound.first);
            if let Some(picture) = state.video.get(video).filter(|picture| picture.stream_ns.is_some()) {
                let until = (picture.connection, picture.running_ns);
                let sooner = state.sound.get(sound).filter(|sound| (sound.connection, sound.running_ns) <= until);
                let place = if sooner.is_some() { (video, sound + 1) } else { (video + 1, sound) };
                let packet = Box::new(sooner.unwrap_or(picture).clone());
                state.readers.insert(self.number, place);
                drop(state);
                self.ring.changed.notify_all();
                return Next::Packet(packet);
            }
            if state.closed {
                return Next::End;
            }
            if waited {
                return if state.away { Next::Away } else { Next::Waiting };
            }
            let wait = self.ring.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            (state, waited) = (wait.0, wait.1.timed_out());
        }
    }

    /// Whether a connection has sound, as far as is known.
    pub fn has_sound(&self, connection: u64) -> bool {
        self.ring.lock().sound.packets.iter().rev().any(|sound| sound.connection == connection)
    }
}

impl Drop for PacketReader {
    fn drop(&mut self) {
        self.ring.lock().readers.remove(&self.number);
        self.ring.changed.notify_all();
    }
}
