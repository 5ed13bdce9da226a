//! Is a file cut short? Demuxers read what is there and end cleanly; the container's own sizes tell.
//!
//! MP4 and MOV, AVI, and Matroska with known sizes are covered. MPEG-TS, raw streams and Matroska of unknown size (as
//! live recorders write it) say nothing of their length.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom};
use std::path::Path;

/// What is missing from the end of `path`, in words; `None` where nothing is or the container cannot say.
///
/// # Errors
/// The file cannot be read.
pub(super) fn truncation(path: &Path) -> Result<Option<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = [0; 12];
    if file.read_exact(&mut head).is_err() {
        return Ok(None);
    }
    let missing = match &head {
        [_, _, _, _, b'f', b't', b'y', b'p', ..]
        | [_, _, _, _, b'm', b'o', b'o', b'v', ..]
        | [_, _, _, _, b'm', b'd', b'a', b't', ..]
        | [_, _, _, _, b'w', b'i', b'd', b'e', ..] => boxes(&mut file, length)?,
        _ => by_head(&head, &mut file, length)?,
    };
    Ok(missing.map(|missing| told(missing, length)))
}

/// The same of what comes once, of which the beginning was kept; MP4 and MOV cannot say by that.
pub(super) fn truncation_of(head: &[u8], length: u64) -> Option<String> {
    // A beginning that is too short says nothing.
    let missing = by_head(head, &mut std::io::Cursor::new(head), length).ok().flatten();
    missing.map(|missing| told(missing, length))
}

fn told((part, end): (String, u64), length: u64) -> String {
    format!("is cut short: its {part} ends at byte {end}, the file at {length}")
}

fn by_head(head: &[u8], file: &mut (impl Read + Seek), length: u64) -> Result<Missing> {
    match head {
        [b'R', b'I', b'F', b'F', ..] => chunks(file, length),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => segment(file, length),
        _ => Ok(None),
    }
}

/// A part that ends behind the file, and where.
type Missing = Option<(String, u64)>;

/// Top-level boxes of MP4 and MOV.
fn boxes(file: &mut File, length: u64) -> Result<Missing> {
    let mut at = 0;
    while at + 8 <= length {
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 8];
        file.read_exact(&mut header)?;
        let [a, b, c, d, kind @ ..] = header;
        let size = match u32::from_be_bytes([a, b, c, d]) {
            // To the end of the file, whatever that is.
            0 => return Ok(None),
            1 => {
                let mut long = [0; 8];
                if file.read_exact(&mut long).is_err() {
                    return Ok(Some((name(&kind), at + 16)));
                }
                u64::from_be_bytes(long)
            }
            size => u64::from(size),
        };
        let Some(end) = at.checked_add(size).filter(|_| size >= 8) else { return Ok(None) };
        if end > length {
            return Ok(Some((name(&kind), end)));
        }
        at = end;
    }
    Ok(None)
}

fn name(kind: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(kind))
}

/// The RIFF chunks of an AVI file.
fn chunks(file: &mut (impl Read + Seek), length: u64) -> Result<Missing> {
    let mut at = 0;
    while at + 8 <= length {
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 8];
        file.read_exact(&mut header)?;
        let [kind @ .., a, b, c, d] = header;
        let size = u64::from(u32::from_le_bytes([a, b, c, d]));
        if kind != *b"RIFF" || size == 0 || size == u64::from(u32::MAX) {
            return Ok(None);
        }
        let end = at + 8 + size;
        if end > length {
            return Ok(Some((name(&kind), end)));
        }
        at = end + end % 2;
    }
    Ok(None)
}

/// Matroska's EBML header and the segment behind it.
fn segment(file: &mut (impl Read + Seek), length: u64) -> Result<Missing> {
    const SEGMENT: u32 = 0x1853_8067;
    file.seek(SeekFrom::Start(4))?;
    let Some((size, width)) = variable_size(file) else { return Ok(None) };
    let at = 4 + width + size;
    file.seek(SeekFrom::Start(at))?;
    let mut id = [0; 4];
    if file.read_exact(&mut id).is_err() || u32::from_be_bytes(id) != SEGMENT {
        return Ok(None);
    }
    let Some((size, width)) = variable_size(file) else { return Ok(None) };
    let end = at + 4 + width + size;
    Ok((end > length).then(|| ("segment".to_owned(), end)))
}

/// An EBML size and how many bytes it takes; `None` for "unknown".
fn variable_size(file: &mut impl Read) -> Option<(u64, u64)> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes[..1]).ok()?;
    let width = bytes[0].leading_zeros() as usize + 1;
    file.read_exact(bytes.get_mut(1..width)?).ok()?;
    let marker = 1u64 << (7 * width);
    let value = bytes[..width].iter().fold(0, |value, &byte| value << 8 | u64::from(byte)) & (marker - 1);
    (value != marker - 1).then_some((value, width as u64))
}
