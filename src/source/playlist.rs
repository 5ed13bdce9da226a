//! HLS playlists (RFC 8216): whether they are of something live, and what they must not name.

use super::web::Response;

/// What begins the lines that say something.
const END: &str = "#EXT-X-ENDLIST";
const VARIANT: &str = "#EXT-X-STREAM-INF";

/// Whether an address is that of a playlist.
pub(super) fn is_playlist(uri: &str) -> bool {
    let path = uri.split(['?', '#']).next().unwrap_or(uri);
    path.to_ascii_lowercase().ends_with(".m3u8")
}

/// Whether a playlist is of something live, which is what one counts as that cannot be had now.
///
/// # Errors
/// It names what is not on the web, in words.
pub(super) fn is_live(uri: &str) -> Result<bool, String> {
    let Ok(answer) = Response::of(uri) else { return Ok(true) };
    let text = answer.text();
    drop(answer);
    check(&text)?;
    let Some(variant) = variant(&text) else { return Ok(!text.contains(END)) };
    let Some(address) = resolved(uri, variant) else { return Ok(true) };
    let Ok(answer) = Response::of(&address) else { return Ok(true) };
    let text = answer.text();
    check(&text)?;
    Ok(!text.contains(END))
}

/// Whatever a playlist names is read as if the user had named it.
fn check(text: &str) -> Result<(), String> {
    let named = text.lines().filter(|line| !line.starts_with('#')).filter_map(scheme);
    let keys = text.lines().filter_map(|line| scheme(line.split_once("URI=\"")?.1));
    match named.chain(keys).find(|scheme| scheme != "http" && scheme != "https") {
        Some(scheme) => Err(format!("is a playlist that names {scheme}: addresses, expected http: and https: alone")),
        None => Ok(()),
    }
}

/// What kind of address a line names, in small letters (RFC 3986, 3.1); none where it is relative.
fn scheme(line: &str) -> Option<String> {
    let (scheme, _) = line.trim_start().split_once(':')?;
    let is_one = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
    is_one.then(|| scheme.to_ascii_lowercase())
}

/// The first of several streams that a playlist offers.
fn variant(text: &str) -> Option<&str> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(VARIANT)).skip(1);
    lines.find(|line| !line.trim().is_empty() && !line.starts_with('#')).map(str::trim)
}

/// What `name` means within the playlist at `uri`.
fn resolved(uri: &str, name: &str) -> Option<String> {
    if name.contains("://") {
        return Some(name.to_owned());
    }
    let page = uri.split(['?', '#']).next()?;
    let (scheme, rest) = page.split_once("://")?;
    let (server, path) = rest.split_once('/').unwrap_or((rest, ""));
    let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    Some(match name.strip_prefix('/') {
        Some(from_top) => format!("{scheme}://{server}/{from_top}"),
        None => format!("{scheme}://{server}/{folder}{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn playlists_are_told_by_their_address_and_may_not_name_files() {
        assert!(is_playlist("http://a/live.m3u8?token=b") && is_playlist("https://a/X.M3U8"));
        assert!(!is_playlist("http://a/b.mp4?x=.m3u8"));
        assert_eq!(check("#EXTM3U\na.ts\nhttps://b/c.ts\n#EXT-X-KEY:METHOD=AES-128,URI=\"https://k\""), Ok(()));
        assert_eq!(check("#EXTM3U\n2026-11-29T10:00:00.ts\n../a/b:c.ts\n?t=10:00"), Ok(()), "relative");
        for bad in ["file:///etc/passwd", "#EXT-X-MAP:URI=\"file:///x\"", "FILE:///x", " file:/x", "file:x"] {
            let said = check(&format!("#EXTM3U\n{bad}\n")).expect_err("refused");
            assert!(said.contains("file: addresses"), "{said}");
        }
        let offer = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n\nlow/a.m3u8\n";
        assert_eq!(variant(offer), Some("low/a.m3u8"));
        assert_eq!(resolved("http://h/x/all.m3u8", "/a.m3u8").as_deref(), Some("http://h/a.m3u8"));
        assert_eq!(resolved("http://h/x/all.m3u8?t=1", "low/a.m3u8").as_deref(), Some("http://h/x/low/a.m3u8"));
    }
}
