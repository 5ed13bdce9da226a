//! The boxes that an MP4 or MOV file is made of, at its top level (ISO/IEC 14496-12, section 4.2).

use std::io::{ErrorKind, Read, Result, Seek, SeekFrom};

/// Of a box: its size, its kind, and its size once more where it is large.
pub(crate) const LONGEST_HEADER: u64 = 16;

/// A box as its header says, which may not be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopBox {
    /// Its four letters.
    pub(crate) kind: [u8; 4],
    /// The byte of the file that it begins at.
    pub(crate) at: u64,
    /// Bytes, header included; more than the file has where it was cut, or where the box goes to the end of the file.
    pub(crate) size: u64,
}

/// Size and kind of the box that begins so; none where more is needed.
pub(crate) fn header(bytes: &[u8]) -> Option<(u64, [u8; 4])> {
    let kind = bytes.get(4..8)?.try_into().ok()?;
    match u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) {
        1 => Some((u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?), kind)),
        // To the end of the file.
        0 => Some((u64::MAX, kind)),
        size => Some((size.into(), kind)),
    }
}

/// The boxes of a file one after the other, until the file ends or nothing that is a box follows.
pub(crate) fn top_boxes(file: &mut (impl Read + Seek)) -> impl Iterator<Item = Result<TopBox>> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let at = next.take()?;
        match read(file, at).transpose()? {
            Ok(found) => {
                next = at.checked_add(found.size);
                Some(Ok(found))
            }
            Err(error) => Some(Err(error)),
        }
    })
}

/// The box that begins at a byte of a file; none where none does.
fn read(file: &mut (impl Read + Seek), at: u64) -> Result<Option<TopBox>> {
    match file.seek(SeekFrom::Start(at)) {
        Ok(_) => {}
        // Offsets that no file system knows.
        Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::with_capacity(LONGEST_HEADER as usize);
    file.take(LONGEST_HEADER).read_to_end(&mut bytes)?;
    let found = header(&bytes).filter(|(size, _)| *size >= 8);
    Ok(found.map(|(size, kind)| TopBox { kind, at, size }))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn boxes(bytes: &[u8]) -> Vec<([u8; 4], u64, u64)> {
        let found = top_boxes(&mut Cursor::new(bytes)).collect::<Result<Vec<_>>>().expect("read");
        found.into_iter().map(|found| (found.kind, found.at, found.size)).collect()
    }

    #[test]
    fn boxes_follow_each_other_until_something_else_comes() {
        let large = [&1u32.to_be_bytes()[..], b"mdat", &24u64.to_be_bytes(), &[7; 8]].concat();
        let small = |kind: &[u8; 4]| [&8u32.to_be_bytes()[..], kind].concat();
        let open = [&0u32.to_be_bytes()[..], b"mdat", &[1; 30]].concat();
        let all = [small(b"ftyp"), large, small(b"moov"), open].concat();
        assert_eq!(boxes(&all), [(*b"ftyp", 0, 8), (*b"mdat", 8, 24), (*b"moov", 32, 8), (*b"mdat", 40, u64::MAX)]);
        assert_eq!(boxes(&all[..39]).len(), 2, "half a header is none");
        let cut = [&100u32.to_be_bytes()[..], b"moov"].concat();
        assert_eq!(boxes(&cut), [(*b"moov", 0, 100)]);
        for none in [&b""[..], &[0, 0, 0, 7, b'm', b'o', b'o', b'v'], &[0, 0, 0, 1, b'm', b'd', b'a', b't', 9]] {
            assert_eq!(boxes(none), []);
        }
        // Beyond what a file can be.
        let far = [&1u32.to_be_bytes()[..], b"mdat", &u64::MAX.to_be_bytes()].concat();
        assert_eq!(boxes(&[small(b"ftyp"), far].concat()).len(), 2);
    }
}
