//! What answers of a hub mean.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use url::Url;

use crate::error::Error;
use crate::layout::is_checksum;

const COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");

/// So many letters of a server's own words are told.
const TOLD: usize = 120;

/// Why something did not come.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It may come next time.
    Passing {
        /// What happened.
        reason: String,
        /// How long the server wants to be left alone.
        after: Option<Duration>,
        /// Nobody answered at all.
        away: bool,
    },
    /// It will not come.
    Final(String),
    /// This machine's own.
    Here(Error),
}

impl Trouble {
    pub(crate) fn passing(reason: String) -> Self {
        Self::Passing { reason, after: None, away: false }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Here(error)
    }
}

/// What a hub says of a file before it gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Remote {
    /// The commit that the revision is now.
    pub(crate) commit: Option<String>,
    /// Bytes.
    pub(crate) size: Option<u64>,
    /// The hub's SHA-256.
    pub(crate) sha256: Option<String>,
    /// The hub's mark of this version.
    pub(crate) etag: Option<String>,
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// A mark without quotes and without what says that it is a weak one.
fn mark(written: &str) -> &str {
    written.trim_start_matches("W/").trim_matches('"')
}

impl Remote {
    /// Takes what a redirect or an answer says of the file that is linked; `ours` where the hub itself says it. Another server is
    /// heard where the hub said nothing: a mirror may lead to another hub.
    pub(crate) fn learn(&mut self, headers: &HeaderMap, ours: bool) {
        if !ours && (self.commit.is_some() || self.etag.is_some()) {
            return;
        }
        let is_commit =
            |text: &&str| !text.is_empty() && text.len() <= 64 && text.bytes().all(|c| c.is_ascii_alphanumeric());
        self.commit = self.commit.take().or_else(|| text(headers, &COMMIT).filter(is_commit).map(String::from));
        self.size = self.size.or_else(|| number(headers, &LINKED_SIZE));
        self.etag = self.etag.take().or_else(|| text(headers, &LINKED_ETAG).map(|written| mark(written).to_owned()));
        if self.sha256.is_none() {
            self.sha256 = self.etag.clone().map(|mark| mark.to_ascii_lowercase()).filter(|mark| is_checksum(mark));
        }
    }

    /// Takes what the answer that holds the file says; `ours` where the hub itself gives it.
    pub(crate) fn learn_of_file(&mut self, headers: &HeaderMap, ours: bool) {
        self.learn(headers, ours);
        self.size = self.size.or_else(|| number(headers, &CONTENT_LENGTH));
        let own = text(headers, &ETAG).map(mark);
        // Another server's mark may be a sum of something else.
        if ours && self.commit.is_some() && self.sha256.is_none() {
            self.sha256 = own.map(str::to_ascii_lowercase).filter(|mark| is_checksum(mark));
        }
        self.etag = self.etag.take().or_else(|| own.map(String::from));
    }

    /// Whether a redirect said all that there is to know.
    pub(crate) fn is_known(&self) -> bool {
        self.size.is_some() && self.etag.is_some()
    }
}

/// Where a redirect leads.
pub(crate) fn target(from: &Url, status: StatusCode, headers: &HeaderMap) -> Result<Url, Trouble> {
    let host = host(from);
    let Some(location) = text(headers, &LOCATION) else {
        return Err(Trouble::Final(format!("{host} answers {status} without a place to go to")));
    };
    let to = from.join(location).ok().filter(|to| ["http", "https"].contains(&to.scheme()) && to.host_str().is_some());
    let Some(to) = to else {
        return Err(Trouble::Final(format!("{host} answers {status} with a place to go to that is no address")));
    };
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(Trouble::Final(format!("{host} leads from https to http, which nothing protects")));
    }
    Ok(to)
}

/// How a server is called in messages: addresses of files may hold signatures.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A web page where a file should be is somebody's who stands between.
pub(crate) fn refuse_page(url: &Url, headers: &HeaderMap, file: &str) -> Result<(), Trouble> {
    let kind = text(headers, &CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    if !kind.starts_with("text/html") {
        return Ok(());
    }
    let who = host(url);
    Err(Trouble::Final(format!(
        "{who} answers with a web page where {file} was expected: is that a hub (HF_ENDPOINT), or does a proxy want a login?"
    )))
}

/// Whether a "not found" is about this file alone.
pub(crate) fn is_of_file(status: StatusCode, headers: &HeaderMap) -> bool {
    let code = text(headers, &ERROR_CODE);
    status == StatusCode::NOT_FOUND && code.is_none_or(|code| code == "EntryNotFound")
}

/// What an answer means that is neither a file nor the way to one.
pub(crate) fn refusal(url: &Url, status: StatusCode, headers: &HeaderMap, has_token: bool) -> Trouble {
    let who = host(url);
    let said = text(headers, &ERROR_MESSAGE).unwrap_or_default();
    let said: String = said.lines().next().unwrap_or_default().chars().take(TOLD).collect();
    let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
    let answer = format!("{who} answers {status}{said}");
    let code = text(headers, &ERROR_CODE).unwrap_or_default();
    let token = if has_token {
        "the token that was given (HF_TOKEN) does not open it"
    } else {
        "HF_TOKEN, which would open a private one, is not set"
    };
    let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if busy.contains(&status) || status.is_server_error() {
        return Trouble::Passing { reason: answer, after: after(headers), away: false };
    }
    Trouble::Final(match (status, code) {
        (_, "GatedRepo") => {
            format!("{answer}: its owners want their conditions accepted on its page first; then HF_TOKEN opens it")
        }
        (_, "RevisionNotFound") => {
            format!("{answer}: there is no such revision, expected a branch, a tag or a commit behind @")
        }
        (_, "RepoNotFound") | (StatusCode::UNAUTHORIZED, _) => {
            format!("{answer}: there is no such repository, or it is private, and {token}")
        }
        (StatusCode::FORBIDDEN, _) => format!("{answer}: it may not be read, and {token}"),
        _ => answer,
    })
}

/// How long a server wants to be left alone, where it says so in seconds.
fn after(headers: &HeaderMap) -> Option<Duration> {
    number(headers, &RETRY_AFTER).map(Duration::from_secs)
}

/// Where a part begins, and how long the whole is, where that is told.
pub(crate) fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (part, whole) = text(headers, &CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    Some((part.split_once('-')?.0.trim().parse().ok()?, whole.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_redirect_tells_of_the_file_behind_it() {
        let mut remote = Remote::default();
        let said = headers(&[
            ("x-repo-commit", "0123456789abcdef0123456789abcdef01234567"),
            ("x-linked-size", "689"),
            ("x-linked-etag", "\"E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\""),
            ("content-length", "1024"),
            ("etag", "\"of the redirect\""),
        ]);
        remote.learn(&said, true);
        assert!(remote.is_known());
        assert_eq!((remote.size, remote.sha256.as_deref()), (Some(689), Some(SUM)));
        remote.learn_of_file(&headers(&[("content-length", "5"), ("etag", "\"x\"")]), false);
        assert_eq!((remote.size, remote.sha256.as_deref()), (Some(689), Some(SUM)), "the first that says it is right");
    }

    #[test]
    fn others_are_heard_where_the_hub_said_nothing() {
        let said = headers(&[("x-linked-etag", SUM)]);
        let mut remote = Remote::default();
        remote.learn(&HeaderMap::new(), true);
        remote.learn(&said, false);
        assert_eq!(remote.sha256.as_deref(), Some(SUM));
        let mut remote = Remote { commit: Some("0123".into()), ..Remote::default() };
        remote.learn(&said, false);
        assert_eq!(remote.sha256, None);
    }

    #[test]
    fn only_the_hub_says_what_a_checksum_is() {
        let commit = ("x-repo-commit", "0123456789abcdef0123456789abcdef01234567");
        let of = |all: &[(&'static str, &'static str)], ours| {
            let mut remote = Remote::default();
            remote.learn_of_file(&headers(all), ours);
            (remote.sha256, remote.etag)
        };
        assert_eq!(of(&[commit, ("etag", SUM)], true), (Some(SUM.into()), Some(SUM.into())));
        assert_eq!(of(&[commit, ("etag", SUM)], false).0, None);
        assert_eq!(of(&[("etag", SUM)], true).0, None);
        assert_eq!(of(&[commit, ("etag", "W/\"d6ceb92ce9e3c83ab146dc8e92a93517ac1cc66f\"")], true).0, None);
        assert_eq!(of(&[("x-repo-commit", "../..")], true), (None, None));
    }

    #[test]
    fn ways_lead_where_they_may() {
        let from = Url::parse("https://hub/a/b/resolve/main/x").expect("an address");
        let to = |location: &'static str| {
            target(&from, StatusCode::FOUND, &headers(&[("location", location)])).map(|to| to.to_string())
        };
        assert_eq!(to("/api/x?y=1").expect("a way"), "https://hub/api/x?y=1");
        assert_eq!(to("//cdn/x").expect("a way"), "https://cdn/x");
        assert_eq!(to("https://cdn:8443/x").expect("a way"), "https://cdn:8443/x");
        assert!(to("http://cdn/x").is_err() && to("file:///etc/passwd").is_err() && to("https://").is_err());
        assert!(target(&from, StatusCode::FOUND, &HeaderMap::new()).is_err());
    }

    #[test]
    fn parts_say_where_they_begin() {
        let of = |value: &'static str| range(&headers(&[("content-range", value)]));
        assert_eq!(of("bytes 10-19/20"), Some((10, Some(20))));
        assert_eq!(of("bytes 10-19/*"), Some((10, None)));
        assert_eq!((of("bytes */20"), of("lines 1-2/3")), (None, None));
    }
}
