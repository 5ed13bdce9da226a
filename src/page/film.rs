//! Packets of a stream as fragmented MP4, a fragment a picture (ISO/IEC 14496-12): what browsers play while it comes.

use hyper::body::Bytes;

use super::h264::Config;
use crate::sightings::{DecodeOrder, Timed};
use crate::source::Packet;

/// Ticks a second.
const TIMESCALE: u32 = 1_000_000;
/// Nanoseconds a tick.
const TICK: i64 = 1000;
/// The only track.
const TRACK: u32 = 1;
/// Time 0 lies so long before the first picture, ns: what is decoded before it is shown has a time, too.
const BEFORE: i64 = 4_000_000_000;
/// How long a picture is taken to last after which none came, ns.
const USUAL: i64 = 40_000_000;
/// The longest that one lasts, ns.
const LONGEST: i64 = 2_000_000_000;
/// So many pictures at the beginning tell whether they come in the order in which they are shown: the third of a group that is shuffled is
/// shown before the second.
const TELLING: usize = 4;
/// So many pictures wait where they are shuffled and nobody says when each is decoded: cameras hold back three at most.
const LOOKAHEAD: usize = 8;

/// What browsers have to know of a film.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilmHead {
    /// As in `avc1.64001F`.
    pub(super) codec: String,
    /// Stream time (`pts_ns` of records) at time 0 of the film, ns.
    pub(super) origin_ns: i64,
    pub(super) width: u32,
    pub(super) height: u32,
    /// The beginning of the file: `ftyp` and `moov`.
    pub(super) init: Bytes,
}

/// In which order pictures come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// As they are shown, or with times of decoding that rise; found out with the first ones.
    #[default]
    Told,
    /// In another one, and what is said of decoding is wrong, as RTSP says nothing of it: times of decoding are made.
    Shuffled,
}

/// A film while it comes.
pub(super) struct Film {
    config: Config,
    origin_ns: i64,
    stretch: u64,
    sequence: u32,
    times: DecodeTimes,
    /// The picture that waits for the next one, which says how long it lasts.
    waiting: Option<Timed<Sample>>,
    /// How long the one before it lasted, ns.
    lasted: i64,
}

/// When pictures are decoded.
enum DecodeTimes {
    /// The first ones, until that is known.
    Unsure(Vec<Timed<Sample>>),
    /// When it was said; that of the last one.
    Told(Option<i64>),
    Made(DecodeOrder<Sample>),
}

struct Sample {
    data: Vec<u8>,
    key: bool,
}

/// Why a packet cannot go on in a film.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    /// It belongs to another one.
    Cut,
    /// It is shown before what came before it, and what is said of its decoding is wrong.
    Unordered,
}

impl Film {
    /// Begins with a key frame; none where it is not all that decoders need.
    pub(super) fn start(first: &Packet, order: Order) -> Option<(Self, FilmHead)> {
        let shown = first.stream_ns.filter(|_| first.key)?;
        let config = Config::of(&first.caps, &first.buffer.map_readable().ok()?)?;
        let side = |key: &str| first.caps.structure(0).and_then(|caps| caps.get::<i32>(key).ok());
        let side = |key: &str| side(key).and_then(|side| u32::try_from(side).ok());
        let (width, height) = (side("width")?, side("height")?);
        let origin_ns = shown - BEFORE;
        let head = FilmHead { codec: config.codec(), origin_ns, width, height, init: init(&config, width, height) };
        let times = match order {
            Order::Told => DecodeTimes::Unsure(Vec::new()),
            Order::Shuffled => DecodeTimes::Made(DecodeOrder::within(LOOKAHEAD)),
        };
        let film = Self { config, origin_ns, stretch: first.stretch, sequence: 0, times, waiting: None, lasted: USUAL };
        Some((film, head))
    }

    /// Adds a picture; gives those before it of which all is known.
    ///
    /// # Errors
    /// It cannot go on in this film.
    pub(super) fn push(&mut self, packet: &Packet) -> Result<Vec<Bytes>, Break> {
        let shown = packet.stream_ns.ok_or(Break::Cut)?;
        let data = packet.buffer.map_readable().map_err(|_| Break::Cut)?;
        if packet.stretch != self.stretch
            || (packet.key && Config::of(&packet.caps, &data).is_some_and(|config| config != self.config))
        {
            return Err(Break::Cut);
        }
        let times = packet.buffer.pts().zip(packet.buffer.dts());
        let ahead = times.map_or(0, |(pts, dts)| pts.nseconds() as i64 - dts.nseconds() as i64);
        let sample = Sample { data: self.config.sample(&packet.caps, &data), key: packet.key };
        let decoded = shown - ahead.clamp(0, BEFORE);
        let timed = self.times.push(Timed { packet: sample, shown, decoded })?;
        Ok(timed.into_iter().filter_map(|timed| self.follow(timed)).collect())
    }

    /// What waits, at the end.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        let rest = std::mem::replace(&mut self.times, DecodeTimes::Told(None)).finish();
        let mut parts: Vec<Bytes> = rest.into_iter().filter_map(|timed| self.follow(timed)).collect();
        let last = self.waiting.take().map(|last| self.fragment(&last));
        parts.extend(last);
        parts
    }

    /// The picture before this one: it lasts until this one is decoded.
    fn follow(&mut self, next: Timed<Sample>) -> Option<Bytes> {
        if let Some(before) = &self.waiting {
            self.lasted = (next.decoded - before.decoded).clamp(TICK, LONGEST);
        }
        let done = self.waiting.replace(next)?;
        Some(self.fragment(&done))
    }

    /// `moof` and `mdat` of one picture.
    fn fragment(&mut self, Timed { packet: sample, shown, decoded }: &Timed<Sample>) -> Bytes {
        self.sequence += 1;
        let ticks = |ns: i64| (ns - self.origin_ns).max(0) / TICK;
        let start = ticks(*decoded);
        // From one to the next without a gap, however times are rounded.
        let duration = (ticks(decoded + self.lasted) - start).max(1);
        let offset = ticks(*shown) - start;
        // Depends on no other picture, or on others (section 8.8.3.1).
        let flags: u32 = if sample.key { 0x0200_0000 } else { 0x0101_0000 };
        let header = full("mfhd", 0, 0, &self.sequence.to_be_bytes());
        let track = full("tfhd", 0, 0x02_0000, &TRACK.to_be_bytes());
        let time = full("tfdt", 1, 0, &start.to_be_bytes());
        let run = |data_offset: u32| {
            let numbers = [1, data_offset, duration as u32, sample.data.len() as u32, flags, offset as i32 as u32];
            // Data offset; of the sample its duration, size, flags and composition offset.
            full("trun", 1, 0x0f01, &numbers.map(u32::to_be_bytes).concat())
        };
        let moof = |data_offset: u32| {
            let traf = container("traf", &[&track, &time, &run(data_offset)]);
            container("moof", &[&header, &traf])
        };
        let length = moof(0).len() as u32 + 8;
        [moof(length), container("mdat", &[&sample.data])].concat().into()
    }
}

impl DecodeTimes {
    fn push(&mut self, next: Timed<Sample>) -> Result<Vec<Timed<Sample>>, Break> {
        match self {
            Self::Unsure(first) => {
                first.push(next);
                if first.len() < TELLING {
                    return Ok(Vec::new());
                }
                let first = std::mem::take(first);
                *self = Self::known(&first);
                let mut known = Vec::new();
                for timed in first {
                    known.extend(self.push(timed)?);
                }
                Ok(known)
            }
            Self::Told(last) if last.is_some_and(|last| next.decoded <= last) => Err(Break::Unordered),
            Self::Told(last) => {
                *last = Some(next.decoded);
                Ok(vec![next])
            }
            Self::Made(order) => Ok(order.push(next.shown, next.packet).into_iter().collect()),
        }
    }

    /// What the first pictures tell.
    fn known(first: &[Timed<Sample>]) -> Self {
        let rises = first.windows(2).all(|pair| pair[0].decoded < pair[1].decoded);
        if rises { Self::Told(None) } else { Self::Made(DecodeOrder::within(LOOKAHEAD)) }
    }

    /// What waits, at the end.
    fn finish(self) -> Vec<Timed<Sample>> {
        match self {
            Self::Unsure(first) => {
                let mut known = Self::known(&first);
                let mut timed: Vec<_> = first.into_iter().filter_map(|one| known.push(one).ok()).flatten().collect();
                timed.extend(known.finish());
                timed
            }
            Self::Told(_) => Vec::new(),
            Self::Made(mut order) => std::iter::from_fn(|| order.pop()).collect(),
        }
    }
}

/// A box: its length, its name, and what is in it.
fn container(name: &str, parts: &[&[u8]]) -> Vec<u8> {
    let length = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut made = Vec::with_capacity(length);
    made.extend((length as u32).to_be_bytes());
    made.extend(name.as_bytes());
    for part in parts {
        made.extend(*part);
    }
    made
}

/// A box with a version and flags.
fn full(name: &str, version: u8, flags: u32, payload: &[u8]) -> Vec<u8> {
    let head = (u32::from(version) << 24) | flags;
    container(name, &[&head.to_be_bytes(), payload])
}

/// The unit matrix of headers, 16.16 and 2.30 bits.
const MATRIX: [u32; 9] = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30];

/// `ftyp` and `moov` of a film with one track of H.264 and no picture yet.
fn init(config: &Config, width: u32, height: u32) -> Bytes {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let matrix = words(&MATRIX);
    let ftyp = container("ftyp", &[b"iso5", &words(&[512]), b"iso5iso6mp41"]);
    // Times of making and changing, time scale, duration; rate, volume, room, matrix, room, the next track.
    let mvhd = [words(&[0, 0, TIMESCALE, 0, 1 << 16, 0x0100_0000, 0, 0]), matrix.clone(), words(&[0; 6]), words(&[2])];
    let mvhd = full("mvhd", 0, 0, &mvhd.concat());
    // Times, track, room, duration, room; layer, group, volume, room; matrix, size in 16.16 bits.
    let tkhd = [words(&[0, 0, TRACK, 0, 0, 0, 0, 0, 0]), matrix, words(&[width << 16, height << 16])];
    // Enabled, in the film.
    let tkhd = full("tkhd", 0, 3, &tkhd.concat());
    // The language is undetermined.
    let mdhd = full("mdhd", 0, 0, &words(&[0, 0, TIMESCALE, 0, 0x55c4_0000]));
    let hdlr = full("hdlr", 0, 0, &[&words(&[0])[..], b"vide", &words(&[0, 0, 0]), b"\0"].concat());
    let url = full("url ", 0, 1, &[]);
    let dref = full("dref", 0, 0, &[words(&[1]), url].concat());
    let dinf = container("dinf", &[&dref]);
    let avcc = container("avcC", &[config.bytes()]);
    let (w, h) = (u16::try_from(width).unwrap_or(u16::MAX), u16::try_from(height).unwrap_or(u16::MAX));
    // Room and data reference; room; size; 72 dots an inch; room, pictures a sample; name; depth, no colour table.
    let entry = [
        words(&[0, 1, 0, 0, 0, 0]),
        [w.to_be_bytes(), h.to_be_bytes()].concat(),
        words(&[72 << 16, 72 << 16, 0]),
        vec![0, 1],
        vec![0; 32],
        vec![0, 24, 0xff, 0xff],
    ];
    let avc1 = container("avc1", &[&entry.concat(), &avcc]);
    let stsd = full("stsd", 0, 0, &[words(&[1]), avc1].concat());
    let empty = |name: &str, count: usize| full(name, 0, 0, &words(&vec![0; count]));
    let stbl = container("stbl", &[&stsd, &empty("stts", 1), &empty("stsc", 1), &empty("stsz", 2), &empty("stco", 1)]);
    let vmhd = full("vmhd", 0, 1, &[0; 8]);
    let minf = container("minf", &[&vmhd, &dinf, &stbl]);
    let mdia = container("mdia", &[&mdhd, &hdlr, &minf]);
    let trak = container("trak", &[&tkhd, &mdia]);
    let trex = full("trex", 0, 0, &words(&[TRACK, 1, 0, 0, 0]));
    let mvex = container("mvex", &[&trex]);
    let moov = container("moov", &[&mvhd, &trak, &mvex]);
    [ftyp, moov].concat().into()
}

#[cfg(test)]
mod tests {
    use gstreamer as gst;

    use super::*;
    use crate::source::Medium;

    const MS: i64 = 1_000_000;
    const RECORD: [u8; 7] = [1, 0x42, 0xc0, 0x1e, 0xff, 0xe0, 0];

    /// A picture that is shown then, and decoded then where that is said, ms.
    fn packet(shown: i64, decoded: Option<i64>, key: bool) -> Packet {
        gst::init().expect("GStreamer starts");
        let mut buffer = gst::Buffer::from_slice([0, 0, 0, 1, 0x65]);
        let time = |ms: i64| gst::ClockTime::from_mseconds(ms as u64);
        let writable = buffer.make_mut();
        writable.set_pts(decoded.map(|_| time(shown + 1000)));
        writable.set_dts(decoded.map(|decoded| time(decoded + 1000)));
        let caps = gst::Caps::builder("video/x-h264").field("stream-format", "avc");
        let caps = caps.field("width", 320).field("height", 192);
        let caps = caps.field("codec_data", gst::Buffer::from_slice(RECORD)).build();
        let (running_ns, stream_ns) = (shown * MS, Some(shown * MS));
        Packet {
            medium: Medium::Video,
            buffer,
            caps,
            connection: 1,
            stretch: 1,
            running_ns,
            stream_ns,
            key,
            gap: false,
        }
    }

    /// When the pictures of fragments are decoded, how long they last, and when they are shown, ms from the first one on.
    fn times(parts: &[Bytes]) -> Vec<(i64, i64, i64)> {
        let behind = |part: &Bytes, name: &[u8]| part.windows(4).position(|four| four == name).expect("a box") + 4;
        let number =
            |part: &Bytes, at: usize| i64::from(i32::from_be_bytes(part[at..at + 4].try_into().expect("four")));
        let ms = |ticks: i64| ticks / (MS / TICK);
        let of = |part: &Bytes| {
            let (time, run) = (behind(part, b"tfdt"), behind(part, b"trun"));
            let decoded = i64::from_be_bytes(part[time + 4..time + 12].try_into().expect("eight"));
            let before = BEFORE / TICK;
            let shown = decoded + number(part, run + 24);
            (ms(decoded - before), ms(number(part, run + 12)), ms(shown - before))
        };
        parts.iter().map(of).collect()
    }

    /// A film of these pictures, up to where it breaks off.
    fn film(order: Order, pictures: &[(i64, Option<i64>)]) -> (Vec<(i64, i64, i64)>, Option<Break>) {
        let packets: Vec<Packet> = pictures
            .iter()
            .enumerate()
            .map(|(number, (shown, decoded))| packet(*shown, *decoded, number == 0))
            .collect();
        let (mut film, head) = Film::start(&packets[0], order).expect("it begins");
        assert_eq!(
            (head.codec.as_str(), head.origin_ns, head.width),
            ("avc1.42C01E", pictures[0].0 * MS - BEFORE, 320)
        );
        let (mut parts, mut broken) = (Vec::new(), None);
        for packet in &packets {
            match film.push(packet) {
                Ok(more) => parts.extend(more),
                Err(why) => {
                    broken = Some(why);
                    break;
                }
            }
        }
        parts.extend(film.finish());
        (times(&parts), broken)
    }

    #[test]
    fn pictures_in_order_go_at_once_and_are_decoded_when_they_are_shown() {
        let pictures: Vec<_> = (0..20).map(|number| (40 * number, None)).collect();
        let wanted: Vec<_> = (0..20).map(|number| (40 * number, 40, 40 * number)).collect();
        assert_eq!(film(Order::Told, &pictures), (wanted.clone(), None));
        let (mut waiting, _) = Film::start(&packet(0, None, true), Order::Told).expect("it begins");
        let mut given = 0;
        for number in 0..10 {
            given += waiting.push(&packet(40 * number, None, number == 0)).expect("goes on").len() as i64;
            assert_eq!(
                given,
                if number < 3 { 0 } else { number },
                "one waits, once it is known that they are in order"
            );
        }
        assert_eq!(film(Order::Told, &pictures[..2]), (wanted[..2].to_vec(), None), "none is lost where it ends early");
    }

    /// I P B b: with times of decoding they are kept, without them they are made.
    #[test]
    fn pictures_out_of_order_are_shown_when_they_are_to_be() {
        let shown: Vec<i64> = (0..8).flat_map(|group| [0, 4, 2, 1, 3].map(|place| 40 * (5 * group + place))).collect();
        let told: Vec<_> = shown.iter().enumerate().map(|(nth, shown)| (*shown, Some(40 * nth as i64 - 80))).collect();
        for (order, pictures) in [
            (Order::Told, told),
            (Order::Told, shown.iter().map(|shown| (*shown, None)).collect()),
            (Order::Shuffled, shown.iter().map(|shown| (*shown, None)).collect()),
            // What RTSP makes of it.
            (Order::Told, shown.iter().map(|shown| (*shown, Some(*shown))).collect()),
        ] {
            let (all, broken) = film(order, &pictures);
            assert_eq!(broken, None);
            assert_eq!(all.iter().map(|(_, _, shown)| *shown).collect::<Vec<_>>(), shown);
            let (first, _, _) = all[0];
            assert!((-120..=-80).contains(&first), "{order:?}: soon enough, and not much sooner: {all:?}");
            let evenly = |(nth, (decoded, lasts, _)): (usize, &(i64, i64, i64))| {
                (*decoded, *lasts) == (first + 40 * nth as i64, 40)
            };
            assert!(all.iter().enumerate().all(evenly), "{order:?}: {all:?}");
        }
    }

    #[test]
    fn pictures_that_are_shuffled_later_begin_another_film() {
        let plain = (0..6).map(|number| (40 * number, None));
        let pictures: Vec<_> = plain.chain([(320, None), (240, None)]).collect();
        let (all, broken) = film(Order::Told, &pictures);
        assert_eq!((all.len(), broken), (7, Some(Break::Unordered)), "{all:?}");
        let (mut film, _) = Film::start(&packet(0, None, true), Order::Told).expect("it begins");
        let other = Packet { stretch: 2, ..packet(40, None, true) };
        assert_eq!(film.push(&other).expect_err("another stretch"), Break::Cut);
    }
}
