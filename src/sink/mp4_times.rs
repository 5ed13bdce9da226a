//! MP4 without the times at which it was written: equal frames give equal files.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

/// Boxes that hold others with times in them.
const CONTAINERS: [&[u8; 4]; 3] = [b"moov", b"trak", b"mdia"];
/// Boxes whose header goes on with version, flags, time of creation and time of change.
const HEADERS: [&[u8; 4]; 3] = [b"mvhd", b"tkhd", b"mdhd"];

/// Sets all times of creation and change in an MP4 to 0, which means that they are not known. Leaves other files alone.
///
/// # Errors
/// The file cannot be read or written.
pub(super) fn clear(path: &Path) -> Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut head = [0; 8];
    if length < 8 || file.read_exact(&mut head).is_err() || &head[4..] != b"ftyp" {
        return Ok(());
    }
    boxes(&mut file, 0..length)
}

fn boxes(file: &mut File, range: Range<u64>) -> Result<()> {
    let mut at = range.start;
    while at + 8 <= range.end {
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 8];
        file.read_exact(&mut header)?;
        let [a, b, c, d, kind @ ..] = header;
        let (size, inner) = match u32::from_be_bytes([a, b, c, d]) {
            0 => (range.end - at, 8),
            1 => {
                let mut long = [0; 8];
                file.read_exact(&mut long)?;
                (u64::from_be_bytes(long), 16)
            }
            size => (u64::from(size), 8),
        };
        let Some(end) = at.checked_add(size).filter(|end| size >= inner && *end <= range.end) else { return Ok(()) };
        if CONTAINERS.contains(&&kind) {
            boxes(file, at + inner..end)?;
        } else if HEADERS.contains(&&kind) && size >= inner + 20 {
            file.seek(SeekFrom::Start(at + inner))?;
            let mut version = [0; 4];
            file.read_exact(&mut version)?;
            let length = if version[0] == 1 { 16 } else { 8 };
            file.write_all(&[0; 16][..length])?;
        }
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: &str, content: &[u8]) -> Vec<u8> {
        [&(8 + content.len() as u32).to_be_bytes()[..], kind.as_bytes(), content].concat()
    }

    #[test]
    fn times_go_and_nothing_else() {
        let header = |kind, version: u8, times: &[u8]| part(kind, &[&[version, 0, 0, 7], times, &[9; 40]].concat());
        let film = |times: &[u8], long: &[u8]| {
            let track = part("trak", &[header("tkhd", 0, times), part("mdia", &header("mdhd", 1, long))].concat());
            let moov = part("moov", &[header("mvhd", 0, times), track].concat());
            [part("ftyp", b"isom"), part("mdat", b"mvhd and more"), moov].concat()
        };
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("film.mp4");
        let undated = |bytes: &[u8]| {
            std::fs::write(&file, bytes).expect("written");
            clear(&file).expect("done");
            std::fs::read(&file).expect("read")
        };
        assert_eq!(undated(&film(&[1; 8], &[2; 16])), film(&[0; 8], &[0; 16]));
        for other in [&b""[..], b"RIFF....", b"\0\0\0\x08ftyp\xff\xff\xff\xffmoov", &film(&[1; 8], &[2; 16])[..60]] {
            let after = undated(other);
            assert_eq!(after.len(), other.len());
        }
    }
}
