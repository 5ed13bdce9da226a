//! The files of the page. They are in the program: no path leads to the disk.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use sha2::{Digest, Sha256};

use super::reply::{Answer, Refusal, nothing, whole, with_status};

struct Asset {
    content_type: &'static str,
    text: &'static str,
    etag: HeaderValue,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// By path.
static ASSETS: LazyLock<BTreeMap<&'static str, Asset>> = LazyLock::new(|| {
    let files = [
        ("", HTML, include_str!("assets/index.html")),
        ("icon.svg", SVG, include_str!("assets/icon.svg")),
        ("style.css", CSS, include_str!("assets/style.css")),
        ("main.js", JS, include_str!("assets/main.js")),
        ("api.js", JS, include_str!("assets/api.js")),
        ("ask.js", JS, include_str!("assets/ask.js")),
        ("clip.js", JS, include_str!("assets/clip.js")),
        ("draw.js", JS, include_str!("assets/draw.js")),
        ("film.js", JS, include_str!("assets/film.js")),
        ("health.js", JS, include_str!("assets/health.js")),
        ("live.js", JS, include_str!("assets/live.js")),
        ("login.js", JS, include_str!("assets/login.js")),
        ("places.js", JS, include_str!("assets/places.js")),
        ("presence.js", JS, include_str!("assets/presence.js")),
        ("record.js", JS, include_str!("assets/record.js")),
        ("seen.js", JS, include_str!("assets/seen.js")),
        ("stream.js", JS, include_str!("assets/stream.js")),
        ("trails.js", JS, include_str!("assets/trails.js")),
    ];
    let asset = |(path, content_type, text): (&'static str, &'static str, &'static str)| {
        let digest = Sha256::digest(text.as_bytes());
        let tag = digest.iter().take(8).fold(0u64, |tag, byte| (tag << 8) | u64::from(*byte));
        let etag = HeaderValue::from_str(&format!("\"{tag:016x}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        (path, Asset { content_type, text, etag })
    };
    files.into_iter().map(asset).collect()
});

/// The file at `path`.
///
/// # Errors
/// There is none.
pub(super) fn get(path: &str, headers: &HeaderMap) -> Answer {
    let asset = ASSETS.get(path).ok_or_else(|| Refusal::not_found(&format!("/{path}")))?;
    let known = headers.get(IF_NONE_MATCH).is_some_and(|tags| *tags == asset.etag);
    let mut reply = if known {
        with_status(StatusCode::NOT_MODIFIED, nothing())
    } else {
        whole(asset.content_type, Bytes::from_static(asset.text.as_bytes()))
    };
    // Another version of the program has another page: it is asked for every time.
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply.headers_mut().insert(ETAG, asset.etag.clone());
    Ok(reply)
}
