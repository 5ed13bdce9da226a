//! A file of the disk, or the part of it that a player wants (RFC 9110, section 14).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use tokio::sync::mpsc;

use super::reply::{Answer, Refusal, parts, with_status};

/// Bytes that are read at once.
const PART: u64 = 64 * 1024;
/// Such parts that may wait for the connection.
const WAITING: usize = 4;

/// What a file is, by its name.
pub(super) fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("jpg") => "image/jpeg",
        Some("mp4") => "video/mp4",
        Some("mkv") => "video/x-matroska",
        Some("vtt") => "text/vtt",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

/// Sends it.
///
/// # Errors
/// It is not there, or the range is not within it.
pub(super) async fn send(path: PathBuf, headers: &HeaderMap) -> Answer {
    let kind = content_type(&path);
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok()).map(str::to_owned);
    let opened = tokio::task::spawn_blocking(move || -> std::io::Result<(File, u64)> {
        let file = File::open(&path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    });
    let Ok(Ok((file, length))) = opened.await else {
        return Err(deleted());
    };
    let wanted = match range.as_deref().map(|range| part_of(range, length)) {
        None | Some(Wanted::All) => None,
        Some(Wanted::Part(from, to)) => Some((from, to)),
        Some(Wanted::Nothing) => {
            let reason = format!("the range is not within {length} bytes");
            return Err(Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, reason));
        }
    };
    let (from, to) = wanted.unwrap_or((0, length));
    let (say, receive) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || read(file, from, to, &say));
    let mut reply = parts(kind, receive);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(to - from));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if wanted.is_none() {
        return Ok(reply);
    }
    let text = format!("bytes {from}-{}/{length}", to - 1);
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(CONTENT_RANGE, value);
    }
    Ok(with_status(StatusCode::PARTIAL_CONTENT, reply))
}

/// There was one.
pub(super) fn deleted() -> Refusal {
    Refusal::new(StatusCode::GONE, "the file was deleted")
}

/// Hands over bytes until all are read or nobody takes them. A file that got shorter breaks the connection off.
fn read(mut file: File, from: u64, to: u64, say: &mpsc::Sender<Bytes>) {
    if file.seek(SeekFrom::Start(from)).is_err() {
        return;
    }
    let mut left = to - from;
    while left > 0 {
        // It is handed over as it is; nothing grows while it is read.
        let mut part = Vec::with_capacity(left.min(PART) as usize);
        match file.by_ref().take(left.min(PART)).read_to_end(&mut part) {
            Ok(length @ 1..) => left -= length as u64,
            Ok(0) | Err(_) => return,
        }
        if say.blocking_send(part.into()).is_err() {
            return;
        }
    }
}

/// What a range asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// No range that is understood: several of them for one.
    All,
    /// From the first byte to behind the last.
    Part(u64, u64),
    Nothing,
}

fn part_of(range: &str, length: u64) -> Wanted {
    let Some((from, to)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Wanted::All;
    };
    let (from, to) = match (from.trim().parse::<u64>(), to.trim()) {
        (Ok(from), "") => (from, length),
        (Ok(from), to) => match to.parse::<u64>() {
            Ok(to) if to >= from => (from, to.saturating_add(1).min(length)),
            _ => return Wanted::All,
        },
        // The last bytes.
        (Err(_), to) if from.is_empty() => match to.parse::<u64>() {
            Ok(last) => (length.saturating_sub(last), length),
            Err(_) => return Wanted::All,
        },
        _ => return Wanted::All,
    };
    if from < to { Wanted::Part(from, to) } else { Wanted::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (range, wanted) in [
            ("bytes=0-", Wanted::Part(0, 100)),
            ("bytes=10-19", Wanted::Part(10, 20)),
            ("bytes=90-900", Wanted::Part(90, 100)),
            ("bytes=-5", Wanted::Part(95, 100)),
            ("bytes=-500", Wanted::Part(0, 100)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=20-10", Wanted::All),
            ("bytes=0-1,5-6", Wanted::All),
            ("lines=0-1", Wanted::All),
            ("bytes=a-b", Wanted::All),
        ] {
            assert_eq!(part_of(range, 100), wanted, "{range}");
        }
        assert_eq!(part_of("bytes=0-", 0), Wanted::Nothing);
    }
}
