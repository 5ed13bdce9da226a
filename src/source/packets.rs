//! What a source sent, as it came: the newest packets of its picture and sound, kept before the decoder, so that a clip can begin
//! before anybody knew that it is wanted, and need not be encoded anew.
//!
//! Packets are references; no byte is copied. They go in whole groups of pictures, the oldest first. All readers read the same
//! packets: what one has yet to read is in the ring or lost, never in a queue of its own, so the ring's limit is the limit of all.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;

use super::packet_queue::{Arrived, PacketQueue, size};
pub use super::packet_queue::{Medium, Packet, PacketLimits};

/// How long is waited before it is looked again whether somebody let go.
const LOOK: Duration = Duration::from_millis(100);
/// The longest that one packet waits for a reader. A reader may wait for a frame that is made of packets behind it; so the ring
/// grows beyond its limit then, a little, instead of both waiting for ever.
const LONGEST: Duration = Duration::from_secs(1);

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

/// What packets are kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Whatever goes into clips, with its sound; what does not is encoded.
    Clips,
    /// H.264 for whoever watches, while somebody does: as the source sends it, and encoded where it sends something else.
    Watching,
}

/// The newest packets of one source, over all its connections. Made for a source ([`super::SourceSettings::packets`]); shared by
/// all who make clips of it.
#[derive(Debug)]
pub struct PacketRing {
    limits: PacketLimits,
    purpose: Purpose,
    queue: Mutex<PacketQueue>,
    changed: Condvar,
}

impl PacketRing {
    /// An empty one.
    pub fn new(limits: PacketLimits) -> Arc<Self> {
        Self::of(limits, Purpose::Clips)
    }

    /// An empty one for whoever watches: it holds a few seconds while somebody does, and nothing while nobody does.
    pub(crate) fn for_viewers() -> Arc<Self> {
        let limits = PacketLimits { bytes: 32 << 20, time: Duration::from_secs(4), waits: false };
        Self::of(limits, Purpose::Watching)
    }

    fn of(limits: PacketLimits, purpose: Purpose) -> Arc<Self> {
        Arc::new(Self { limits, purpose, queue: Mutex::default(), changed: Condvar::new() })
    }

    /// Whether it wants whatever goes into clips, and sound with it.
    pub(super) fn is_for_clips(&self) -> bool {
        self.purpose == Purpose::Clips
    }

    fn lock(&self) -> MutexGuard<'_, PacketQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody wants packets now.
    pub(super) fn is_wanted(&self) -> bool {
        self.purpose == Purpose::Clips || !self.lock().viewers.is_empty()
    }

    /// Whether somebody came for whom no key frame is there; told once.
    pub(super) fn wants_key(&self) -> bool {
        std::mem::take(&mut self.lock().wants_key)
    }

    /// Says whether the source has nothing that could be watched, and never will.
    pub(super) fn set_futile(&self, futile: bool) {
        self.lock().futile = futile;
        self.changed.notify_all();
    }

    /// How much it may hold.
    pub fn limits(&self) -> PacketLimits {
        self.limits
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
        let unwanted = self.purpose == Purpose::Watching && state.viewers.is_empty();
        if arrived.connection < state.connection || state.closed || unwanted {
            return;
        }
        let more = size(&arrived.buffer);
        // A new connection: its source is not away any more.
        state.away &= arrived.connection == state.connection;
        let began = Instant::now();
        while began.elapsed() < LONGEST && state.must_wait(&self.limits, more) {
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.add(arrived);
        state.make_room(&self.limits);
        self.changed.notify_all();
    }

    /// Says that what `connection` presents at `running_ns` is the frame of `stream_ns`.
    pub(super) fn place(&self, connection: u64, running_ns: i64, stream_ns: i64) {
        if self.lock().place(connection, running_ns, stream_ns) {
            self.changed.notify_all();
        }
    }

    /// Lets go of pictures of the newest connection that are no frames that anybody knows: it is encoded instead.
    pub(super) fn forget_unplaced(&self) {
        self.lock().forget_unplaced();
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

    /// The format of the newest picture.
    pub(crate) fn format(&self) -> Option<gst::Caps> {
        self.lock().video.packets.back().map(|picture| picture.caps.clone())
    }

    /// Reads from the newest key frame on. The source does not wait for who watches.
    pub(crate) fn watch(self: &Arc<Self>) -> PacketReader {
        let reader = self.read_from(i64::MAX);
        let mut state = self.lock();
        state.viewers.insert(reader.number);
        state.wants_key |= state.keys.is_empty();
        drop(state);
        self.changed.notify_all();
        reader
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
        let began = Instant::now();
        let mut state = self.ring.lock();
        loop {
            // Whatever wakes it in between, such as a camera that is tried again and again: it is told in time.
            let left = patience.saturating_sub(began.elapsed());
            let (video, sound) = state.readers.get(&self.number).copied().unwrap_or_default();
            if video < state.video.first {
                let place = (state.video.first, sound);
                state.readers.insert(self.number, place);
                return Next::Lost;
            }
            // Nobody will ever know when what came of a stretch is shown that gave no frame.
            let lost = |number: &u64| {
                let picture = state.video.get(*number);
                picture.is_some_and(|picture| picture.stream_ns.is_none() && picture.stretch < state.stretch)
            };
            let video = video + (video..state.video.end()).take_while(lost).count() as u64;
            let sound = sound.max(state.sound.first);
            if let Some(picture) = state.video.get(video).filter(|picture| picture.stream_ns.is_some()) {
                let until = (picture.stretch, picture.running_ns);
                let sooner = state.sound.get(sound).filter(|sound| (sound.stretch, sound.running_ns) <= until);
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
            if left.is_zero() {
                return if state.away { Next::Away } else { Next::Waiting };
            }
            state = self.ring.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether the source is away, and may come back.
    pub fn is_away(&self) -> bool {
        let state = self.ring.lock();
        state.away && !state.closed
    }

    /// Whether there is nothing that could be watched, and never will be.
    pub(crate) fn is_futile(&self) -> bool {
        self.ring.lock().futile
    }

    /// Whether a stretch has sound, as far as is known.
    pub fn has_sound(&self, stretch: u64) -> bool {
        self.ring.lock().sound.packets.iter().rev().any(|sound| sound.stretch == stretch)
    }
}

impl Drop for PacketReader {
    fn drop(&mut self) {
        let mut state = self.ring.lock();
        state.readers.remove(&self.number);
        state.viewers.remove(&self.number);
        if self.ring.purpose == Purpose::Watching && state.viewers.is_empty() {
            state.clear();
        }
        drop(state);
        self.ring.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = 40_000_000;
    const BYTES: usize = 1000;
    const WAIT: Duration = Duration::from_millis(10);

    fn arrived(medium: Medium, connection: u64, number: i64, key: bool) -> Arrived {
        gst::init().expect("GStreamer starts");
        let buffer = gst::Buffer::from_slice(vec![0u8; BYTES]);
        let caps = gst::Caps::new_empty_simple("video/x-h264");
        Arrived { medium, buffer, caps, connection, running_ns: number * FRAME, stream_ns: None, key, live: true }
    }

    /// Pictures with a key frame every five, all of them known to be frames ten seconds later in the stream.
    fn fill(ring: &PacketRing, connection: u64, numbers: impl IntoIterator<Item = i64>) {
        for number in numbers {
            ring.push(arrived(Medium::Video, connection, number, number % 5 == 0));
            ring.place(connection, 0, 10_000_000_000);
        }
    }

    fn ring(packets: usize, waits: bool) -> Arc<PacketRing> {
        let bytes = packets * size(&arrived(Medium::Video, 1, 0, true).buffer);
        PacketRing::new(PacketLimits { bytes, time: Duration::from_hours(1), waits })
    }

    fn stream(number: i64) -> i64 {
        10_000_000_000 + number * FRAME
    }

    /// Numbers of all packets that a reader gets now, with what it is told between them.
    fn read(reader: &mut PacketReader) -> Vec<Result<i64, &'static str>> {
        let mut all = Vec::new();
        loop {
            let one = match reader.take(WAIT) {
                Next::Packet(packet) => Ok(packet.running_ns / FRAME),
                Next::Lost => Err("lost"),
                Next::Waiting | Next::Away | Next::End => return all,
            };
            all.push(one);
        }
    }

    fn all(numbers: std::ops::Range<i64>) -> Vec<Result<i64, &'static str>> {
        numbers.map(Ok).collect()
    }

    #[test]
    fn whole_groups_go_and_no_byte_too_many_stays() {
        let ring = ring(13, false);
        for number in 0..100 {
            fill(&ring, 1, [number]);
            let held = ring.held();
            assert!(held.bytes <= ring.limits().bytes, "{held:?}");
            let first = ring.read_from(i64::MIN).take(WAIT);
            assert!(matches!(first, Next::Packet(packet) if packet.key), "after {number}");
        }
        assert_eq!(read(&mut ring.read_from(i64::MIN)), all(90..100));
        assert_eq!(read(&mut ring.read_from(stream(96))), all(95..100), "from the key frame before");
        assert_eq!(read(&mut ring.read_from(stream(95))), all(95..100), "or at that time");
    }

    #[test]
    fn what_is_older_than_asked_for_goes() {
        let limits = PacketLimits { time: Duration::from_nanos(12 * FRAME as u64), ..PacketLimits::default() };
        let ring = PacketRing::new(limits);
        fill(&ring, 1, 0..100);
        // Twelve before the newest are there, and what they need.
        assert_eq!(read(&mut ring.read_from(i64::MIN)), all(85..100));
    }

    #[test]
    fn a_group_without_an_end_does_not_grow_and_who_reads_it_goes_on() {
        let ring = ring(10, false);
        ring.push(arrived(Medium::Video, 1, 0, true));
        ring.place(1, 0, 10_000_000_000);
        let mut reader = ring.read_from(i64::MIN);
        for number in 1..50 {
            ring.push(arrived(Medium::Video, 1, number, false));
            assert_eq!(read(&mut reader).last(), Some(&Ok(number)));
            assert!(ring.held().bytes <= ring.limits().bytes);
        }
        assert_eq!(ring.held().keys, 0);
        assert_eq!(read(&mut ring.read_from(i64::MIN)), [], "nothing to begin with");
    }

    #[test]
    fn who_is_too_slow_is_told_and_a_file_waits_for_him() {
        let lossy = ring(10, false);
        let mut reader = lossy.read_from(i64::MIN);
        fill(&lossy, 1, 0..40);
        assert_eq!(read(&mut reader), [vec![Err("lost")], all(30..40)].concat());

        let patient = ring(10, true);
        let mut reader = patient.read_from(i64::MIN);
        let filled = {
            let ring = Arc::clone(&patient);
            std::thread::spawn(move || fill(&ring, 1, 0..40))
        };
        let mut got = Vec::new();
        while got.len() < 40 {
            assert!(patient.held().bytes <= patient.limits().bytes);
            got.extend(read(&mut reader));
        }
        filled.join().expect("filled");
        assert_eq!(got, all(0..40));
    }

    #[test]
    fn nobody_waits_for_who_watches() {
        let patient = ring(10, true);
        fill(&patient, 1, 0..8);
        let mut viewer = patient.watch();
        assert_eq!(read(&mut viewer), all(5..8), "from the newest key frame on");
        let mut slow = patient.watch();
        fill(&patient, 1, 8..40);
        assert_eq!(read(&mut slow), [vec![Err("lost")], all(30..40)].concat());
        assert_eq!(patient.format(), Some(gst::Caps::new_empty_simple("video/x-h264")));
    }

    #[test]
    fn what_nobody_watches_is_not_kept() {
        let ring = PacketRing::for_viewers();
        fill(&ring, 1, 0..8);
        assert!(!ring.is_wanted() && ring.held() == Held { bytes: 0, pictures: 0, keys: 0, sounds: 0 });
        let mut viewer = ring.watch();
        assert!(
            ring.is_wanted() && ring.wants_key() && !ring.wants_key(),
            "it is told once that a key frame is wanted"
        );
        fill(&ring, 1, 8..13);
        assert_eq!(read(&mut viewer), all(8..13));
        let mut second = ring.watch();
        assert!(!ring.wants_key(), "one is there");
        assert_eq!(read(&mut second), all(10..13), "from the newest key frame on");
        drop(viewer);
        fill(&ring, 1, 13..15);
        assert_eq!(read(&mut second), all(13..15));
        drop(second);
        fill(&ring, 1, 15..25);
        assert_eq!(ring.held().bytes, 0, "they went with the last one");
        let mut later = ring.watch();
        assert_eq!(read(&mut later), [], "nothing of before");
        fill(&ring, 1, 25..27);
        assert_eq!(read(&mut later), all(25..27));
    }

    #[test]
    fn a_source_that_stops_waits_for_nobody_and_nothing_is_lost() {
        let ring = ring(10, true);
        let mut reader = ring.read_from(i64::MIN);
        fill(&ring, 1, 0..10);
        ring.leave();
        fill(&ring, 1, 10..25);
        ring.close();
        assert_eq!(read(&mut reader), all(0..25));
        assert!(matches!(reader.take(WAIT), Next::End));
    }

    /// A camera that is away is tried more often than a reader is patient.
    #[test]
    fn who_waits_is_told_however_often_it_is_woken() {
        let ring = ring(10, false);
        fill(&ring, 1, 0..5);
        let mut reader = ring.read_from(i64::MIN);
        assert_eq!(read(&mut reader), all(0..5));
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let tries = {
            let (ring, over) = (Arc::clone(&ring), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(std::sync::atomic::Ordering::Acquire) {
                    ring.leave();
                    std::thread::yield_now();
                }
            })
        };
        let next = reader.take(10 * WAIT);
        over.store(true, std::sync::atomic::Ordering::Release);
        tries.join().expect("ends");
        assert!(matches!(next, Next::Away), "{next:?}");
    }

    #[test]
    fn another_connection_is_a_gap_and_what_gave_no_frame_is_passed_over() {
        let ring = ring(100, false);
        fill(&ring, 1, 0..10);
        ring.leave();
        let mut reader = ring.read_from(i64::MIN);
        assert_eq!(read(&mut reader), all(0..10));
        assert!(matches!(reader.take(WAIT), Next::Away));
        ring.push(arrived(Medium::Video, 2, 20, true));
        assert_eq!(read(&mut reader), [], "nobody knows yet when it is shown");
        ring.leave();
        ring.push(arrived(Medium::Video, 3, 30, true));
        ring.push(arrived(Medium::Video, 2, 21, false));
        ring.place(3, 30 * FRAME, 60_000_000_000);
        let Next::Packet(packet) = reader.take(WAIT) else { panic!("nothing came") };
        assert_eq!((packet.connection, packet.gap, packet.stream_ns), (3, true, Some(60_000_000_000)));
        assert_eq!(read(&mut reader), []);
        // A clip that is to begin while it was away begins where it is back.
        let Next::Packet(packet) = ring.read_from(50_000_000_000).take(WAIT) else { panic!("nothing came") };
        assert_eq!(packet.connection, 3);
        ring.push(arrived(Medium::Video, 3, 31, false));
        ring.push(arrived(Medium::Video, 3, 131, false));
        let mut gap = || matches!(reader.take(WAIT), Next::Packet(packet) if packet.gap);
        assert_eq!([gap(), gap()], [false, true], "four seconds without a picture");
    }

    #[test]
    fn time_that_begins_anew_is_a_stretch_of_its_own() {
        let ring = ring(100, false);
        fill(&ring, 1, 0..20);
        let mut reader = ring.read_from(stream(15));
        for number in 0..10 {
            ring.push(arrived(Medium::Video, 1, number, number % 5 == 0));
        }
        assert_eq!(read(&mut reader), all(15..20), "when the others are shown is not known yet");
        ring.place(1, 19 * FRAME, stream(19));
        assert_eq!(read(&mut reader), [], "a frame from before says nothing of them");
        ring.place(1, 0, stream(20));
        let Next::Packet(packet) = reader.take(WAIT) else { panic!("nothing came") };
        assert_eq!((packet.running_ns, packet.stream_ns, packet.gap), (0, Some(stream(20)), true));
        assert_eq!(read(&mut reader), all(1..10));
        assert_eq!(
            read(&mut ring.read_from(stream(15))),
            [all(15..20), all(0..10)].concat(),
            "nor do they move others"
        );
    }

    #[test]
    fn sound_comes_before_the_picture_behind_it_however_far_it_was_ahead() {
        let ring = ring(100, false);
        for number in 0..20 {
            ring.push(arrived(Medium::Sound, 1, number, true));
        }
        fill(&ring, 1, 0..10);
        let mut reader = ring.read_from(i64::MIN);
        let mut order = Vec::new();
        while let Next::Packet(packet) = reader.take(WAIT) {
            order.push((packet.medium, packet.running_ns / FRAME));
        }
        let wanted: Vec<_> = (0..10).flat_map(|number| [(Medium::Sound, number), (Medium::Video, number)]).collect();
        assert_eq!(order, wanted);
        assert!(reader.has_sound(1) && !reader.has_sound(2));
        assert_eq!(ring.held().keys, 2, "sound is no key frame");
    }

    #[test]
    fn sound_that_lasts_into_the_oldest_picture_stays() {
        let limits = PacketLimits { time: Duration::from_nanos(12 * FRAME as u64), ..PacketLimits::default() };
        let ring = PacketRing::new(limits);
        for number in 0..40 {
            if number % 4 == 3 {
                ring.push(arrived(Medium::Sound, 1, number, true));
            }
            fill(&ring, 1, [number]);
        }
        let mut reader = ring.read_from(i64::MIN);
        let mut order = Vec::new();
        while let Next::Packet(packet) = reader.take(WAIT) {
            order.push((packet.medium, packet.running_ns / FRAME));
        }
        // A packet of sound is as long as four pictures: the one of 23 lasts to 27.
        assert_eq!(order[..3], [(Medium::Sound, 23), (Medium::Video, 25), (Medium::Video, 26)]);
    }

    #[test]
    fn no_byte_is_copied() {
        let ring = ring(10, false);
        let packet = arrived(Medium::Video, 1, 0, true);
        let at = packet.buffer.peek_memory(0).as_ptr();
        ring.push(packet);
        ring.place(1, 0, 0);
        let Next::Packet(packet) = ring.read_from(0).take(WAIT) else { panic!("nothing came") };
        assert_eq!(packet.buffer.peek_memory(0).as_ptr(), at);
    }
}
