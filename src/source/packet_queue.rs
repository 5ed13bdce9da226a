//! The packets of a ring: how they are numbered, which ones go first, and from which one a clip can begin.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gstreamer as gst;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketLimits {
    /// Bytes at most.
    pub bytes: usize,
    /// What is older than this goes with its group of pictures. It should be the time that a clip begins before its
    /// sighting, and the time that passes until the sighting is known.
    pub time: Duration,
    /// Whether the source waits for readers that are behind, as a file can. Else they lose what they did not read in time.
    pub waits: bool,
}

impl Default for PacketLimits {
    /// 64 MiB, 30 s.
    fn default() -> Self {
        Self { bytes: 64 << 20, time: Duration::from_secs(30), waits: false }
    }
}

/// What a packet is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Coded pictures, in the order in which they are decoded.
    Video,
    /// Coded sound.
    Sound,
}

/// A packet, as it is kept.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Picture or sound.
    pub medium: Medium,
    /// The bytes, shared with whoever sent them, with the times that they came with.
    pub buffer: gst::Buffer,
    /// Their format.
    pub caps: gst::Caps,
    /// Counts the connections of its source, from 1.
    pub connection: u64,
    /// Counts stretches in which time goes on: connections, and within them what begins anew, as parts of a playlist do.
    pub stretch: u64,
    /// When it is presented, by the running time of its stretch, ns: what lies between two packets.
    pub running_ns: i64,
    /// When it is presented by the stream time of records (`pts_ns`), ns. Below 0 for what is decoded and not shown. Of packets of a
    /// stretch that has given no frame yet nobody knows.
    pub stream_ns: Option<i64>,
    /// Whether decoding can begin with it.
    pub key: bool,
    /// Whether something may be missing before it: its stretch is a new one, or time was lost.
    pub gap: bool,
}

/// What a connection is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct PacketOrigin {
    /// Counts the connections, from 1.
    pub(super) connection: u64,
    /// Whether packets come when they come: then time without packets is a gap.
    pub(super) live: bool,
    /// Whether packets lie in memory that their source must get back soon, as those of V4L2 devices.
    pub(super) lent: bool,
    /// Whether the pipeline is the user's own.
    pub(super) custom: bool,
}

/// A packet, as it comes.
pub(super) struct Arrived {
    pub(super) medium: Medium,
    pub(super) buffer: gst::Buffer,
    pub(super) caps: gst::Caps,
    pub(super) connection: u64,
    pub(super) running_ns: i64,
    /// Where it is known already.
    pub(super) stream_ns: Option<i64>,
    pub(super) key: bool,
    /// Of its origin.
    pub(super) live: bool,
}

/// So much between two pictures of a camera is a gap, nanoseconds.
const GAP: i64 = 2_000_000_000;
/// A key frame that is shown so long before what came before it, ns, begins a stretch.
const BACK: i64 = 500_000_000;
/// The same of any picture: no order of pictures is that long.
const FAR_BACK: i64 = 10_000_000_000;
/// A frame may be shown so much later, ns, than the latest packet: what makes frames of fields moves them.
const AHEAD: i64 = 100_000_000;
/// What a packet takes beside its bytes.
const OVERHEAD: usize = 512;

/// Packets of one medium.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) packets: VecDeque<Packet>,
    /// Number of the oldest.
    pub(super) first: u64,
}

impl Lane {
    /// Number of the next one that comes.
    pub(super) fn end(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    pub(super) fn get(&self, number: u64) -> Option<&Packet> {
        self.packets.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Lets go of the oldest; returns what that frees.
    fn pop(&mut self) -> usize {
        let Some(packet) = self.packets.pop_front() else { return 0 };
        self.first += 1;
        size(&packet.buffer)
    }
}

/// What a packet counts as, bytes.
pub(super) fn size(buffer: &gst::BufferRef) -> usize {
    buffer.size() + OVERHEAD
}

/// The packets that are there, and who reads which.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub(super) struct PacketQueue {
    pub(super) video: Lane,
    pub(super) sound: Lane,
    /// Numbers of the key frames that are there.
    pub(super) keys: VecDeque<u64>,
    pub(super) bytes: usize,
    /// The newest connection, and the newest stretch.
    pub(super) connection: u64,
    pub(super) stretch: u64,
    /// By how much stream time is ahead of its running time.
    shift: Option<i64>,
    /// Running time of its newest picture, and the latest of all of its pictures.
    newest: Option<(i64, i64)>,
    /// The stretch of the newest picture of all; 0 before the first.
    pictured: u64,
    /// What each reader reads next: picture, sound.
    pub(super) readers: BTreeMap<u64, (u64, u64)>,
    pub(super) next_reader: u64,
    /// Readers for whom nobody waits.
    pub(super) viewers: BTreeSet<u64>,
    /// One of them has no key frame to begin with.
    pub(super) wants_key: bool,
    /// There is nothing for them, and never will be.
    pub(super) futile: bool,
    /// Whether the source is away: nobody waits for readers, and what they have not read stays.
    pub(super) away: bool,
    pub(super) closed: bool,
    /// Whether it was said that key frames are too far apart.
    said: bool,
}

impl PacketQueue {
    /// The first picture behind the oldest group.
    fn next_group(&self) -> Option<u64> {
        self.keys.iter().copied().find(|key| *key > self.video.first)
    }

    /// Up to which picture the oldest ones have to go.
    fn surplus(&self, limits: &PacketLimits) -> Option<u64> {
        let next = self.next_group();
        let full = self.bytes > limits.bytes;
        let newest = self.video.packets.back().and_then(|packet| packet.stream_ns);
        let span = |key: u64| Some(newest? - self.video.get(key)?.stream_ns?);
        let old = next.and_then(span).is_some_and(|span| span >= limits.time.as_nanos() as i64);
        match next {
            Some(next) if full || old => Some(next),
            None if full && !self.video.packets.is_empty() => Some(self.video.first + 1),
            _ => None,
        }
    }

    fn is_unread(&self, until: u64) -> bool {
        self.readers.iter().any(|(reader, (video, _))| *video < until && !self.viewers.contains(reader))
    }

    /// Whether a packet of so many bytes has no room, because somebody has not read yet what would go for it.
    pub(super) fn must_wait(&self, limits: &PacketLimits, more: usize) -> bool {
        let next = self.next_group().unwrap_or(self.video.first + 1);
        let is_wanted = limits.waits && !self.away && !self.closed && !self.video.packets.is_empty();
        is_wanted && self.bytes + more > limits.bytes && self.is_unread(next)
    }

    /// Lets go of the oldest groups, as far as the limits ask for it and nobody is waited for.
    pub(super) fn make_room(&mut self, limits: &PacketLimits) {
        while let Some(until) = self.surplus(limits) {
            if limits.waits && self.is_unread(until) {
                break;
            }
            if self.next_group().is_none() && !std::mem::replace(&mut self.said, true) {
                let bytes = limits.bytes;
                tracing::warn!("no key frame within {bytes} bytes: clips begin late, with the first one that comes");
            }
            while self.video.first < until {
                if self.keys.front() == Some(&self.video.first) {
                    self.keys.pop_front();
                }
                self.bytes -= self.video.pop();
            }
            self.drop_old_sound();
        }
        while self.bytes > limits.bytes && self.video.packets.is_empty() && !self.sound.packets.is_empty() {
            self.bytes -= self.sound.pop();
        }
    }

    /// Sound from before the oldest picture, but for the packet that may last into it.
    fn drop_old_sound(&mut self) {
        let Some(oldest) = self.video.packets.front() else { return };
        let oldest = (oldest.stretch, oldest.running_ns);
        while self.sound.packets.get(1).is_some_and(|next| (next.stretch, next.running_ns) <= oldest) {
            self.bytes -= self.sound.pop();
        }
    }

    pub(super) fn add(&mut self, arrived: Arrived) {
        let Arrived { medium, buffer, caps, connection, running_ns, stream_ns, key, live } = arrived;
        let is_picture = medium == Medium::Video;
        let back = self.newest.filter(|_| is_picture).map_or(0, |(_, latest)| latest - running_ns);
        if connection != self.connection || back > FAR_BACK || (key && back > BACK) {
            (self.connection, self.stretch) = (connection, self.stretch + 1);
            (self.shift, self.newest) = (None, None);
        }
        let is_new = self.pictured > 0 && self.pictured != self.stretch;
        let gap = is_new || (live && self.newest.is_some_and(|(newest, _)| (running_ns - newest).abs() > GAP));
        let lane = if is_picture { &mut self.video } else { &mut self.sound };
        let packet = Packet {
            medium,
            buffer,
            caps,
            connection,
            stretch: self.stretch,
            running_ns,
            stream_ns: stream_ns.or(self.shift.map(|shift| running_ns + shift)),
            key: key && is_picture,
            gap: gap && is_picture,
        };
        if packet.key {
            self.keys.push_back(lane.end());
        }
        if is_picture {
            let latest = self.newest.map_or(running_ns, |(_, latest)| latest.max(running_ns));
            self.newest = Some((running_ns, latest));
            self.pictured = self.stretch;
        }
        self.bytes += size(&packet.buffer);
        lane.packets.push_back(packet);
    }

    /// Says that what `connection` presents at `running_ns` is the frame of `stream_ns`; whether that is news.
    pub(super) fn place(&mut self, connection: u64, running_ns: i64, stream_ns: i64) -> bool {
        let shift = stream_ns - running_ns;
        // A frame that is late, of the stretch before.
        let is_late = self.shift.is_none() && self.newest.is_some_and(|(_, latest)| running_ns > latest + AHEAD);
        if connection != self.connection || self.shift == Some(shift) || is_late {
            return false;
        }
        self.shift = Some(shift);
        let stretch = self.stretch;
        for lane in [&mut self.video, &mut self.sound] {
            for packet in lane.packets.iter_mut().rev().take_while(|packet| packet.stretch == stretch) {
                if packet.stream_ns.is_none() || packet.running_ns >= running_ns {
                    packet.stream_ns = Some(packet.running_ns + shift);
                }
            }
        }
        true
    }

    /// Lets go of pictures of the newest stretch of which nobody knows when they are shown, and of which nobody will.
    pub(super) fn forget_unplaced(&mut self) {
        let is_unplaced = |packet: &Packet| packet.stream_ns.is_none() && packet.stretch == self.stretch;
        while self.video.packets.back().is_some_and(is_unplaced) {
            self.bytes -= self.video.packets.pop_back().map_or(0, |packet| size(&packet.buffer));
        }
        let end = self.video.end();
        self.keys.retain(|key| *key < end);
        self.newest = None;
    }

    /// Lets go of all.
    pub(super) fn clear(&mut self) {
        for lane in [&mut self.video, &mut self.sound] {
            lane.first = lane.end();
            // Their room, too.
            lane.packets = VecDeque::new();
        }
        self.keys.clear();
        (self.bytes, self.newest, self.wants_key) = (0, None, false);
    }

    /// The picture with which a clip begins that is to begin at `stream_ns`.
    pub(super) fn start(&self, stream_ns: i64) -> u64 {
        let time = |number: u64| self.video.get(number).and_then(|packet| packet.stream_ns);
        let stretch = |number: u64| self.video.get(number).map(|packet| packet.stretch);
        let before = self.keys.iter().rposition(|key| time(*key).is_some_and(|time| time <= stream_ns));
        let Some(place) = before else { return self.keys.front().copied().unwrap_or(self.video.end()) };
        let (key, next) = (self.keys[place], self.keys.get(place + 1).copied());
        // Where the camera was away at that time, with what came first after it.
        let away = next.filter(|next| {
            let ended = time(next - 1).is_some_and(|time| time < stream_ns);
            stretch(*next) != stretch(key) && ended
        });
        away.unwrap_or(key)
    }
}
