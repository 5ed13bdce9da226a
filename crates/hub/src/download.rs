//! One file: in as many answers as it takes, held to its length and its checksum.

use std::path::Path;

use blocks::files::{digest_into, hex};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::answer::{Remote, Trouble, host, range, refuse_page};
use crate::bytes;
use crate::client::{Client, Place, cause};
use crate::error::{Error, Result};
use crate::fetch::Event;
use crate::manifest::{Checked, FileEntry};
use crate::part::Part;
use crate::retries::Retries;

/// A file to be had.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) place: Place<'a>,
    pub(crate) remote: &'a Remote,
    /// What its checksum has to be, where that is known, and who says so.
    pub(crate) expected: Option<(&'a str, Checked)>,
    /// Where it goes.
    pub(crate) folder: &'a Path,
}

impl Download<'_> {
    /// Brings the file.
    pub(crate) async fn run(&self, watch: &mut dyn FnMut(Event<'_>)) -> Result<FileEntry, Trouble> {
        let name = self.place.file;
        let path = self.folder.join(name);
        if let Some(there) = self.is_there(&path)? {
            watch(Event::Position { name, bytes: there.bytes });
            return Ok(there);
        }
        // Without a checksum nobody would see that two halves are of two versions.
        let mut part = Part::open(self.folder, name, self.expected.is_some())?;
        let mut retries = Retries::new(self.client.patience);
        let (mut most, mut etag, mut again) = (part.length(), None, false);
        loop {
            watch(Event::Position { name, bytes: part.length() });
            if let Err(trouble) = self.receive(&mut part, &mut etag, watch).await {
                if part.length() > most {
                    most = part.length();
                    retries.succeed();
                }
                retries.wait(trouble, watch).await?;
                continue;
            }
            let (found, Some((expected, by))) = (part.sum(), self.expected) else { break };
            if found == expected {
                break;
            }
            // Of several answers one may have been of something else.
            if !part.is_in_one() && !again {
                again = true;
                watch(Event::Retry { reason: "the checksum of its pieces is wrong", wait: std::time::Duration::ZERO });
                part.restart()?;
                continue;
            }
            part.discard()?;
            let whose = if by == Checked::Table { "the table of known models says" } else { "the hub says" };
            return Err(Trouble::Final(format!(
                "{name} came with SHA-256 {found}, but {whose} {expected}; it was dropped"
            )));
        }
        let entry = self.entry(part.length(), part.sum());
        part.finish(&path)?;
        Ok(entry)
    }

    fn entry(&self, bytes: u64, sha256: String) -> FileEntry {
        let checked = self.expected.map_or(Checked::Length, |(_, by)| by);
        FileEntry { name: self.place.file.to_owned(), bytes, sha256, checked, etag: self.remote.etag.clone() }
    }

    /// What an earlier process finished, where that is certain.
    fn is_there(&self, path: &Path) -> Result<Option<FileEntry>> {
        let (Ok(found), Some((expected, _))) = (std::fs::metadata(path), self.expected) else { return Ok(None) };
        let mut hasher = Sha256::new();
        digest_into(&mut hasher, path).map_err(Error::io("read", path))?;
        let sum = hex(&hasher.finalize());
        Ok((sum == expected).then(|| self.entry(found.len(), sum)))
    }

    /// Takes one answer. The mark of what gave it stays in `etag`.
    async fn receive(
        &self,
        part: &mut Part,
        etag: &mut Option<HeaderValue>,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Trouble> {
        let name = self.place.file;
        if self.remote.size.is_some_and(|size| part.length() > size) || (self.expected.is_none() && etag.is_none()) {
            part.restart()?;
        }
        if part.length() > 0 && self.remote.size == Some(part.length()) {
            return Ok(());
        }
        let (answer, url) = self.client.open(self.place, part.length(), etag.as_ref()).await?;
        let (status, headers) = (answer.status(), answer.headers());
        let who = host(&url);
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            part.restart()?;
            return Err(Trouble::passing(format!("{who} does not have the rest of {name}")));
        }
        refuse_page(&url, headers, name)?;
        if let Some(coding) = headers.get(CONTENT_ENCODING).filter(|coding| *coding != "identity") {
            let coding = String::from_utf8_lossy(coding.as_bytes()).into_owned();
            return Err(Trouble::Final(format!("{who} sends {name} as {coding}, expected it as it is")));
        }
        if status == StatusCode::PARTIAL_CONTENT {
            if range(headers).is_none_or(|(from, _)| from != part.length()) {
                part.restart()?;
                return Err(Trouble::passing(format!("{who} sends another part of {name} than was asked for")));
            }
            part.resume();
        } else if part.length() > 0 {
            part.restart()?;
        }
        let whole = length(headers).map(|rest| part.length().saturating_add(rest));
        if let (Some(whole), Some(size)) = (whole, self.remote.size)
            && whole != size
        {
            let (whole, size) = (bytes(whole), bytes(size));
            return Err(Trouble::Final(format!("{who} has {whole} of {name}, but the hub says that it has {size}")));
        }
        *etag = headers.get(ETAG).filter(|mark| !mark.as_bytes().starts_with(b"W/")).cloned();
        let whole = whole.or(self.remote.size);
        let mut body = answer.into_body();
        loop {
            let silence = self.client.patience.silence;
            let so_far = || {
                whole.map_or_else(|| bytes(part.length()), |all| format!("{} of {}", bytes(part.length()), bytes(all)))
            };
            let frame = match timeout(silence, body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    let (so_far, cause) = (so_far(), cause(&error));
                    return Err(Trouble::passing(format!("{who} breaks off {name} after {so_far} ({cause})")));
                }
                Err(_) => {
                    let (so_far, silence) = (so_far(), silence.as_secs_f64());
                    return Err(Trouble::passing(format!(
                        "{who} sends no more of {name} after {so_far} within {silence} s"
                    )));
                }
            };
            let Some(data) = frame.data_ref() else { continue };
            if whole.is_some_and(|whole| part.length() + data.len() as u64 > whole) {
                part.restart()?;
                return Err(Trouble::Final(format!("{who} sends more of {name} than there is")));
            }
            part.write(data)?;
            watch(Event::Position { name, bytes: part.length() });
        }
        if whole.is_some_and(|whole| part.length() < whole) {
            let (so_far, all) = (bytes(part.length()), bytes(whole.unwrap_or_default()));
            return Err(Trouble::passing(format!("{who} ends {name} after {so_far} of {all}")));
        }
        Ok(())
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
