//! What the index of an MP4 or MOV says of its video (ISO/IEC 14496-12): when every frame is to be shown, and which of them at
//! all. An edit list hides what stands before the place where somebody cut.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom};
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::Path;

use crate::mp4_boxes::{LONGEST_HEADER, TopBox, header, top_boxes};

/// A video track of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VideoTrack {
    /// Frames that are to be shown.
    pub(super) shown: u64,
    /// Frames that its edit list hides.
    pub(super) hidden: u64,
    /// What is to be shown when.
    pub(super) parts: Vec<Part>,
    /// What stands in the file, from an offset on, for a demuxer that knows no edit lists: their boxes, of whatever track, are
    /// free space, and the movie is as long as its media.
    pub(super) changes: Vec<(u64, Vec<u8>)>,
    /// Whether frames are shown later than the media's length allows, which demuxers cut off.
    is_short: bool,
    /// Units of media time in a second.
    timescale: i64,
    /// What demuxers add to media times, so that none is negative.
    shift: i64,
}

/// A stretch of the media that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// In units of media time.
    media: Range<i64>,
    /// When its beginning is shown, nanoseconds.
    at: i64,
}

const SECOND: i128 = 1_000_000_000;
/// No index is longer.
const LONGEST_INDEX: u64 = 1 << 28;
/// What such a file may begin with.
const FIRST: [&[u8; 4]; 6] = [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"];

impl VideoTrack {
    /// Number `number` of a file, from 1; none where it is no MP4, holds no such track, or keeps its index in fragments.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(path: &Path, number: NonZeroU32) -> Result<Option<Self>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut index = None;
        for found in top_boxes(&mut file) {
            let TopBox { kind, at, size } = found?;
            if at == 0 && !FIRST.contains(&&kind) {
                return Ok(None);
            }
            if &kind == b"moov" && size <= LONGEST_INDEX {
                index = Some((at, size.min(length - at)));
                break;
            }
        }
        let Some((at, size)) = index else { return Ok(None) };
        let mut index = vec![0; size as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut index)?;
        Ok(Self::of(&index, at, number))
    }

    /// Of an index that stands at byte `offset` of its file.
    fn of(index: &[u8], offset: u64, number: NonZeroU32) -> Option<Self> {
        let movie = Atoms::inside(index, 8..index.len());
        let tracks: Vec<Range<usize>> = movie.all(*b"trak").collect();
        let edit_lists = tracks.iter().flat_map(|track| Atoms::inside(index, track.clone()).all(*b"edts"));
        let mut changes: Vec<_> = edit_lists.map(|list| (offset + list.start as u64 - 4, b"free".to_vec())).collect();
        let header = movie.all(*b"mvhd").next()?;
        let movie_scale = timescale(&index[header.clone()])?;
        let is_video = |track: &&Range<usize>| {
            let handler = Atoms::inside(index, (*track).clone()).path(&[*b"mdia", *b"hdlr"]);
            handler.is_some_and(|handler| index[handler].get(8..12) == Some(b"vide"))
        };
        let track = Atoms::inside(index, tracks.iter().filter(is_video).nth(number.get() as usize - 1)?.clone());
        let media = track.path(&[*b"mdia", *b"mdhd"])?;
        let timescale = timescale(&index[media.clone()])?;
        let table = |name: [u8; 4]| track.path(&[*b"mdia", *b"minf", *b"stbl", name]).map(|range| &index[range]);
        let times = times(table(*b"stts")?, table(*b"ctts"));
        let (first, end): (i64, i64) = (*times.iter().min()?, times.iter().max()? + 1);
        let edits = track.path(&[*b"edts", *b"elst"]).map(|list| edits(&index[list]));
        let parts =
            parts(edits.as_deref().unwrap_or_default(), first.min(0)..end, i128::from(timescale), movie_scale.into());
        let parts = from_first_frame(parts, &times);
        let is_shown = |time: &&i64| parts.iter().any(|part: &Part| part.media.contains(*time));
        let shown = times.iter().filter(is_shown).count() as u64;
        let lowest = table(*b"ctts").map_or(0, lowest_offset);
        let hidden = times.len() as u64 - shown;
        let shift = (-lowest).max(0);
        let is_short = edits.is_none() && media_length(&index[media.clone()]).is_some_and(|said| said < end + shift);
        // A little longer than the last frame, which has a length.
        let length = end + shift + timescale;
        changes.push(duration(index, offset, &header, length * movie_scale / timescale));
        changes.push(duration(index, offset, &media, length));
        Some(Self { shown, hidden, parts, changes, is_short, timescale, shift })
    }

    /// When a frame is shown that a demuxer gives at `time`, if it is shown; nanoseconds.
    pub(super) fn shown_at(&self, time: u64) -> Option<u64> {
        let scale = i128::from(self.timescale);
        let media = ((i128::from(time) * scale + SECOND / 2) / SECOND) as i64 - self.shift;
        let part = self.parts.iter().find(|part| part.media.contains(&media))?;
        let since = i128::from(media - part.media.start) * SECOND / scale;
        u64::try_from(i128::from(part.at) + since).ok()
    }

    /// How long it is shown, nanoseconds.
    pub(super) fn length(&self) -> u64 {
        let end = |part: &Part| {
            let media = part.media.end.saturating_sub(part.media.start);
            i128::from(part.at) + i128::from(media) * SECOND / i128::from(self.timescale)
        };
        self.parts.iter().map(end).max().and_then(|end| u64::try_from(end).ok()).unwrap_or(0)
    }

    /// Whether there is more to it than when the first frame is shown: frames that are hidden, or that demuxers lose.
    pub(super) fn is_cut(&self) -> bool {
        self.hidden > 0 || self.parts.len() > 1 || self.is_short
    }
}

/// Finds the index among the bytes of a file that come one after the other.
#[derive(Debug, Default)]
pub(super) struct IndexScan {
    /// How much came, counted from the beginning of the file.
    place: u64,
    /// Where the next box begins; none where that is not known, or where there is no such file.
    next: Option<u64>,
    started: bool,
    /// A box's header, or the whole index, as far as it came.
    held: Vec<u8>,
    /// How long the index is, header included.
    index: Option<u64>,
}

impl IndexScan {
    /// From byte `place` on, where a box begins if there are any.
    pub(super) fn at(place: u64) -> Self {
        Self { place, ..Self::default() }
    }

    /// The byte that comes next.
    pub(super) const fn place(&self) -> u64 {
        self.place
    }

    /// Whether the index, or what may be its header, has begun and not ended.
    pub(super) fn wants_more(&self) -> bool {
        !self.held.is_empty()
    }

    /// What comes next; true where the index is whole with it.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> bool {
        if !std::mem::replace(&mut self.started, true) {
            self.next = Some(self.place);
        }
        let (begin, end) = (self.place, self.place + bytes.len() as u64);
        self.place = end;
        while let Some(next) = self.next.filter(|next| *next < end) {
            let wanted = self.index.unwrap_or(LONGEST_HEADER);
            // What is held begins at `next`.
            let from = (next + self.held.len() as u64).max(begin);
            let until = (next + wanted).min(end).max(from);
            self.held.extend_from_slice(&bytes[(from - begin) as usize..(until - begin) as usize]);
            if let Some(length) = self.index {
                self.held.truncate(length as usize);
                return self.held.len() as u64 == length;
            }
            let Some((size, kind)) = header(&self.held) else { return false };
            if &kind == b"moov" && (8..=LONGEST_INDEX).contains(&size) {
                self.index = Some(size);
                continue;
            }
            self.held.clear();
            let is_ours = size >= 8 && (next > 0 || FIRST.contains(&&kind));
            self.next = next.checked_add(size).filter(|_| is_ours);
        }
        false
    }

    /// Track `number` of the index, which is whole.
    pub(super) fn take(&mut self, number: NonZeroU32) -> Option<VideoTrack> {
        let (index, start) = (std::mem::take(&mut self.held), self.next.take()?);
        VideoTrack::of(&index, start, number)
    }
}

/// The boxes within a box.
struct Atoms<'a> {
    bytes: &'a [u8],
    range: Range<usize>,
}

impl<'a> Atoms<'a> {
    fn inside(bytes: &'a [u8], range: Range<usize>) -> Self {
        Self { bytes, range }
    }

    /// What the boxes of one kind hold.
    fn all(&self, kind: [u8; 4]) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let (bytes, mut at, end) = (self.bytes, self.range.start, self.range.end);
        std::iter::from_fn(move || {
            while at + 8 <= end {
                let size = u32::from_be_bytes(bytes[at..at + 4].try_into().ok()?) as usize;
                let size = if size == 0 { end - at } else { size };
                if size < 8 || at + size > end {
                    return None;
                }
                let inner = at + 8..at + size;
                let found = bytes[at + 4..at + 8] == kind;
                at += size;
                if found {
                    return Some(inner);
                }
            }
            None
        })
    }

    /// What the first box of each kind, within the one before, holds.
    fn path(&self, kinds: &[[u8; 4]]) -> Option<Range<usize>> {
        let range =
            kinds.iter().try_fold(self.range.clone(), |range, kind| Atoms::inside(self.bytes, range).all(*kind).next());
        range.filter(|_| !kinds.is_empty())
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Of a header of a movie or of a medium, in either version.
fn timescale(header: &[u8]) -> Option<i64> {
    let at = if header.first() == Some(&1) { 20 } else { 12 };
    number(header, at).map(i64::from).filter(|scale| *scale > 0)
}

/// Of a medium's header, in either version.
fn media_length(header: &[u8]) -> Option<i64> {
    match header.first()? {
        1 => Some(i64::from_be_bytes(header.get(24..32)?.try_into().ok()?)),
        _ => number(header, 16).map(i64::from),
    }
}

/// The change that gives a movie or a medium another length, by its header.
fn duration(index: &[u8], offset: u64, header: &Range<usize>, length: i64) -> (u64, Vec<u8>) {
    let at = offset + header.start as u64;
    match index.get(header.start) {
        Some(1) => (at + 24, length.to_be_bytes().to_vec()),
        _ => (at + 16, u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes().to_vec()),
    }
}

/// Numbers in pairs behind version, flags and their count.
fn pairs(table: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    let count = number(table, 4).unwrap_or(0) as usize;
    table
        .get(8..)
        .unwrap_or_default()
        .chunks_exact(8)
        .take(count)
        .filter_map(|pair| Some((number(pair, 0)?, number(pair, 4)?)))
}

/// When every sample is to be shown, in units of media time, in the order in which they are stored.
fn times(lengths: &[u8], offsets: Option<&[u8]>) -> Vec<i64> {
    // A count that is a lie would not fit the memory.
    const MOST: usize = 1 << 26;
    let mut decoded = Vec::new();
    let mut time = 0i64;
    for (count, length) in pairs(lengths) {
        for _ in 0..count.min((MOST - decoded.len()) as u32) {
            decoded.push(time);
            time += i64::from(length);
        }
    }
    let mut at = 0usize;
    for (count, offset) in offsets.into_iter().flat_map(pairs) {
        let end = at.saturating_add(count as usize).min(decoded.len());
        decoded[at..end].iter_mut().for_each(|time| *time += i64::from(offset.cast_signed()));
        at = end;
    }
    decoded
}

fn lowest_offset(offsets: &[u8]) -> i64 {
    pairs(offsets).map(|(_, offset)| i64::from(offset.cast_signed())).min().unwrap_or(0)
}

/// Entries of an edit list: how long in units of the movie, and from which media time on; -1 where nothing is shown.
fn edits(list: &[u8]) -> Vec<(u64, i64)> {
    let long = list.first() == Some(&1);
    let count = number(list, 4).unwrap_or(0) as usize;
    let entries = list.get(8..).unwrap_or_default().chunks_exact(if long { 20 } else { 12 }).take(count);
    let entry = |entry: &[u8]| {
        let wide = |at: usize| Some(u64::from_be_bytes(entry.get(at..at + 8)?.try_into().ok()?));
        if long {
            Some((wide(0)?, wide(8)?.cast_signed()))
        } else {
            Some((u64::from(number(entry, 0)?), i64::from(number(entry, 4)?.cast_signed())))
        }
    };
    entries.filter_map(entry).collect()
}

/// What is shown when, of media that take up `whole`.
fn parts(edits: &[(u64, i64)], whole: Range<i64>, scale: i128, movie_scale: i128) -> Vec<Part> {
    if edits.iter().all(|(_, media)| *media < 0) {
        return vec![Part { media: whole, at: 0 }];
    }
    let mut at = 0i128;
    let mut parts = Vec::new();
    for (length, media) in edits {
        let length = i128::from(*length);
        if *media >= 0 {
            // No length means all that there is.
            let end = if length == 0 { whole.end } else { media.saturating_add((length * scale / movie_scale) as i64) };
            parts.push(Part { media: *media..end, at: (at * SECOND / movie_scale) as i64 });
        }
        at += length;
    }
    parts
}

/// As ffmpeg has it: a part that begins within a frame begins with the next one, and the first of all is when the list says.
fn from_first_frame(mut parts: Vec<Part>, times: &[i64]) -> Vec<Part> {
    if let Some(part) = parts.first_mut()
        && let Some(first) = times.iter().copied().filter(|time| part.media.contains(time)).min()
    {
        part.media.start = first;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(kind: [u8; 4], inner: &[u8]) -> Vec<u8> {
        [&(inner.len() as u32 + 8).to_be_bytes()[..], &kind, inner].concat()
    }

    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Ten frames, 100 units each of 1000 a second, in the order I P B B P B B …, with these edits.
    fn index(edits: &[[i32; 2]]) -> Vec<u8> {
        let list: Vec<i32> = edits.iter().flat_map(|[length, media]| [*length, *media, 0x10000]).collect();
        let edts = atom(*b"edts", &atom(*b"elst", &words(&[&[0, edits.len() as i32][..], &list].concat())));
        let offsets = [[1, 100], [1, 300], [2, 0], [1, 300], [2, 0], [1, 300], [2, 0]];
        let table = [
            atom(*b"stts", &words(&[0, 1, 10, 100])),
            atom(*b"ctts", &words(&[&[0, 7][..], &offsets.concat()].concat())),
        ];
        let minf = atom(*b"minf", &atom(*b"stbl", &table.concat()));
        let head = atom(*b"mdhd", &words(&[0, 0, 0, 1000, 1000]));
        let handler = |kind: &[u8; 4]| atom(*b"hdlr", &[&[0; 8][..], kind].concat());
        let sound = atom(*b"trak", &[edts.clone(), atom(*b"mdia", &handler(b"soun"))].concat());
        let video = atom(*b"trak", &[edts, atom(*b"mdia", &[head, handler(b"vide"), minf].concat())].concat());
        atom(*b"moov", &[atom(*b"mvhd", &words(&[0, 0, 0, 500, 500])), sound, video].concat())
    }

    /// That of a file with this index.
    fn movie(edits: &[[i32; 2]]) -> VideoTrack {
        let moov = index(edits);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.mp4");
        let bytes = [atom(*b"ftyp", b"isom"), atom(*b"mdat", &[7; 99]), moov].concat();
        std::fs::write(&path, &bytes).expect("written");
        let track = VideoTrack::read(&path, NonZeroU32::MIN).expect("read").expect("has video");
        let before = |(at, to): &(u64, Vec<u8>)| (bytes[*at as usize..][..to.len()].to_vec(), to.clone());
        let changes: Vec<_> = track.changes.iter().map(before).collect();
        let free = (b"edts".to_vec(), b"free".to_vec());
        // 1,000 units of a thousand a second, the last frame's 100 and some, in units of 500 a second.
        let lengths = [(words(&[500]), words(&[1000])), (words(&[1000]), words(&[2001]))];
        assert_eq!(changes, [&[free.clone(), free][..], &lengths].concat(), "those of sound as well");
        track
    }

    #[test]
    fn what_an_edit_list_hides_is_known_frame_by_frame() {
        // Media times are 100, 400, 200, 300, 700, 500, 600, 1000, 800, 900.
        let whole = movie(&[[500, 100]]);
        assert_eq!((whole.shown, whole.hidden, whole.is_cut()), (10, 0, false));
        assert_eq!(whole.shown_at(100_000_000), Some(0));
        let cut = movie(&[[150, 400]]);
        assert_eq!((cut.shown, cut.hidden, cut.is_cut()), (3, 7, true));
        let at = |ms: u64| cut.shown_at(ms * 1_000_000).map(|ns| ns / 1_000_000);
        assert_eq!([300, 400, 500, 600, 700].map(at), [None, Some(0), Some(100), Some(200), None]);
        // Nothing for half a second, then two parts; times are rounded by whoever reckons in nanoseconds.
        let parts = movie(&[[250, -1], [50, 100], [100, 700]]);
        assert_eq!((parts.shown, parts.is_cut()), (3, true));
        assert_eq!(parts.shown_at(99_999_999), Some(500_000_000));
        assert_eq!(parts.shown_at(700_000_001), Some(600_000_000));
        assert_eq!(parts.shown_at(800_000_000), Some(700_000_000));
        assert_eq!((cut.length(), parts.length()), (300_000_000, 800_000_000));
    }

    #[test]
    fn an_index_is_found_in_passing_however_it_is_cut_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.mp4");
        let expected = movie(&[[150, 400]]);
        let moov = index(&[[150, 400]]);
        let media = atom(*b"mdat", &[7; 99]);
        let large = [&[0, 0, 0, 1][..], b"mdat", &43u64.to_be_bytes(), &[9; 27]].concat();
        for parts in [[&media[..], &moov], [&moov, &media], [&large, &moov]] {
            let bytes = [&atom(*b"ftyp", b"isom")[..], parts[0], parts[1], &media].concat();
            std::fs::write(&path, &bytes).expect("written");
            let whole = VideoTrack::read(&path, NonZeroU32::MIN).expect("read").expect("has video");
            assert_eq!((whole.shown, &whole.parts), (expected.shown, &expected.parts));
            for size in [1, 3, 7, 8, 50, 1000] {
                let mut scan = IndexScan::default();
                assert!(bytes.chunks(size).any(|chunk| scan.pass(chunk)), "{size}");
                assert_eq!(scan.take(NonZeroU32::MIN).as_ref(), Some(&whole), "{size}");
            }
        }
        let mut scan = IndexScan::default();
        assert!(![&b"RIFF....AVI LIST"[..], &moov].concat().chunks(5).any(|chunk| scan.pass(chunk)));
        assert!(!scan.wants_more());
        let mut scan = IndexScan::at(107);
        assert!(scan.pass(&moov), "by somebody who went there");
    }

    #[test]
    fn other_files_have_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        for bytes in [
            &b""[..],
            b"RIFF....AVI LIST",
            &[0; 64],
            b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moov",
            &[0, 0, 0, 1, b'm', b'o', b'o', b'v'],
        ] {
            std::fs::write(&path, bytes).expect("written");
            assert_eq!(VideoTrack::read(&path, NonZeroU32::MIN).ok().flatten(), None, "{bytes:?}");
        }
    }
}
