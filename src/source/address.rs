//! What `--source` names: a video file, an HTTP address, pictures, a test picture or a camera.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gstreamer as gst;

use super::container;
use super::test_pattern::TestPattern;
use crate::error::{Error, Result};

/// A source as the user named it, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// How it is called in records and messages; no credentials.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What kind of source it is, with what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A video file, by absolute path.
    File(PathBuf),
    /// A file on a web server, by its whole address.
    Http(String),
    /// Picture files, in the order in which they are shown.
    Pictures(Arc<[PathBuf]>),
    /// GStreamer's test picture.
    Test(TestPattern),
    /// A `Video4Linux2` device.
    Camera(PathBuf),
}

/// Picture files that a folder is searched for.
const PICTURE_ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "bmp", "webp"];
const EXPECTED: &str = "expected a video file, file://, http:// or https:// address, a folder or pattern of pictures, \
                        /dev/videoN or test:";

impl Address {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// An unknown scheme, no such file, an empty one, one that may not be read, or no pictures where some were meant.
    pub fn resolve(source: &str) -> Result<Self> {
        let usage = |reason: String| Error::Usage(format!("--source {}: {reason}", redacted(source)));
        let kind = match source.split_once(':') {
            Some(("test", rest)) if !rest.starts_with("//") => Kind::Test(rest.parse().map_err(usage)?),
            Some(("v4l2", device)) => camera(Path::new(device.trim_start_matches("//")))?,
            Some(("http" | "https", rest)) if rest.starts_with("//") => Kind::Http(source.to_owned()),
            Some(("file", rest)) if rest.starts_with("//") => {
                let path = gst::glib::filename_from_uri(source);
                local(&path.map_err(|e| usage(format!("is no valid file address: {e}")))?.0)?
            }
            Some((scheme, rest)) if rest.starts_with("//") => {
                return Err(usage(format!("the scheme {scheme}:// is not supported, {EXPECTED}")));
            }
            _ if source.starts_with("/dev/video") => camera(Path::new(source))?,
            _ if source.contains(['*', '?', '[']) && !Path::new(source).exists() => {
                let found = glob::glob(source).map_err(|e| usage(format!("is no valid pattern: {e}")))?;
                pictures(found.filter_map(std::result::Result::ok).filter(|path| path.is_file()), source)?
            }
            _ => local(Path::new(source))?,
        };
        Ok(Self { name: redacted(source), kind })
    }

    /// True where frames come when they come and nobody waits for us.
    pub fn is_live(&self) -> bool {
        match &self.kind {
            Kind::Camera(_) => true,
            Kind::Test(pattern) => pattern.live,
            Kind::File(_) | Kind::Http(_) | Kind::Pictures(_) => false,
        }
    }

    /// What GStreamer says of a failure, with what it leaves out.
    pub fn explain(&self, reason: String) -> String {
        match &self.kind {
            // souphttpsrc keeps the reason of a failed connection or handshake to itself.
            Kind::Http(uri) if reason.contains("Internal data stream error") => {
                let why = unreachable(uri).or_else(|| {
                    uri.starts_with("https:").then(|| {
                        "the server's certificate may be one that nobody vouches for, or out of date".to_owned()
                    })
                });
                why.map_or(reason.clone(), |why| format!("{why} ({reason})"))
            }
            _ => reason,
        }
    }

    /// The files that it reads, which no output may overwrite.
    pub fn files(&self) -> &[PathBuf] {
        match &self.kind {
            Kind::File(path) => std::slice::from_ref(path),
            Kind::Pictures(paths) => paths,
            _ => &[],
        }
    }

    /// The name of frame `seq` of its own, for pictures.
    pub fn picture(&self, seq: u64) -> Option<&Path> {
        match &self.kind {
            Kind::Pictures(paths) => paths.get(usize::try_from(seq).ok()?).map(PathBuf::as_path),
            _ => None,
        }
    }

    /// What is missing from the end of the file, if its container tells: decoders read what is there and end cleanly.
    pub fn truncation(&self) -> Option<String> {
        let Kind::File(path) = &self.kind else { return None };
        container::truncation(path).unwrap_or_else(|error| {
            tracing::debug!("{}: {error}", self.name);
            None
        })
    }
}

/// Why the server of an address cannot be reached; none where it can.
fn unreachable(uri: &str) -> Option<String> {
    use std::net::{TcpStream, ToSocketAddrs};
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);
    let clean = redacted(uri);
    let (scheme, rest) = clean.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?.trim_start_matches("***@");
    let usual = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(port))) => (host, port),
        _ => (authority, usual),
    };
    let server = (host.trim_matches(['[', ']']), port);
    let addresses = match server.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Some(format!("{host} is not known: {error}")),
    };
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return None,
            Err(error) => last = Some(format!("{address} cannot be reached: {error}")),
        }
    }
    last
}

/// A file or a folder of pictures.
fn local(path: &Path) -> Result<Kind> {
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if metadata.is_dir() {
        let entries = std::fs::read_dir(path).map_err(Error::io("read", path))?;
        return pictures(entries.filter_map(|entry| Some(entry.ok()?.path())), &path.display().to_string());
    }
    if !metadata.is_file() {
        return Err(Error::Usage(format!("--source {}: is no file, {EXPECTED}", path.display())));
    }
    std::fs::File::open(path).map_err(Error::io("read", path))?;
    if metadata.len() == 0 {
        return Err(Error::Source {
            code: "SOURCE_EMPTY",
            name: path.display().to_string(),
            reason: "is empty (0 bytes), expected a video file".into(),
        });
    }
    let absolute = std::path::absolute(path).map_err(Error::io("read", path))?;
    Ok(if is_picture(path) { Kind::Pictures([absolute].into()) } else { Kind::File(absolute) })
}

fn pictures(paths: impl Iterator<Item = PathBuf>, name: &str) -> Result<Kind> {
    let mut paths: Vec<PathBuf> = paths.filter(|path| is_picture(path)).collect();
    if paths.is_empty() {
        let endings = PICTURE_ENDINGS.join(", ");
        let reason = format!("holds no pictures, expected files ending in {endings}");
        return Err(Error::Source { code: "SOURCE_EMPTY", name: redacted(name), reason });
    }
    paths.sort();
    let absolute = paths.iter().map(|path| std::path::absolute(path).map_err(Error::io("read", path)));
    Ok(Kind::Pictures(absolute.collect::<Result<Vec<_>>>()?.into()))
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| PICTURE_ENDINGS.contains(&ending.as_str()))
}

fn camera(path: &Path) -> Result<Kind> {
    use std::os::unix::fs::FileTypeExt;
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if !metadata.file_type().is_char_device() {
        let reason = "is no device, expected a Video4Linux2 camera";
        return Err(Error::Usage(format!("--source {}: {reason}", path.display())));
    }
    Ok(Kind::Camera(path.to_path_buf()))
}

/// An address without user name and password.
pub(crate) fn redacted(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
        None => address.to_owned(),
    }
}

/// A text in which no address has a user name and password any more.
pub(crate) fn redacted_within(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || ['"', '\'', '<', '>', ',', ')'].contains(&c);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        // From the scheme to the end of the address; a comma or quote within a password ends it too early, so what comes
        // before the last @ of the word goes as well.
        let word = rest[at..].find(char::is_whitespace).map_or(rest.len(), |end| at + end);
        let end = rest[at..].find(ends).map_or(rest.len(), |end| at + end);
        let end = if rest[end..word].contains('@') { word } else { end };
        let start = rest[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).map_or(0, |p| p + 1);
        clean.push_str(&rest[..start]);
        clean.push_str(&redacted(&rest[start..end]));
        rest = &rest[end..];
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_within_a_text_go_too() {
        let text =
            "Not Found (URL: http://user:s3cret@host/a.mp4, Redirect to: (NULL)), rtsp://me:a,b@cam and http://plain/x";
        let clean = "Not Found (URL: http://***@host/a.mp4, Redirect to: (NULL)), rtsp://***@cam and http://plain/x";
        assert_eq!(redacted_within(text), clean);
        assert_eq!(redacted_within("no address at all"), "no address at all");
    }

    #[test]
    fn credentials_are_not_part_of_the_name() {
        assert_eq!(redacted("http://user:p@ss@host:80/clip.mp4?a=b@c"), "http://***@host:80/clip.mp4?a=b@c");
        assert_eq!(redacted("https://host/user@place"), "https://host/user@place");
        assert_eq!(redacted("a:b@c.mp4"), "a:b@c.mp4");
    }

    #[test]
    fn folders_and_patterns_of_pictures_are_sorted() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.PNG", "a.jpg", "c.txt"] {
            std::fs::write(folder.path().join(name), b"x").expect("written");
        }
        let text = folder.path().to_str().expect("UTF-8").to_owned();
        let names = |source: &str| -> Vec<String> {
            let files = Address::resolve(source).expect("resolves").files().to_vec();
            files.iter().map(|f| f.file_name().expect("a name").to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(&text), ["a.jpg", "b.PNG"]);
        assert_eq!(names(&format!("{text}/*.jpg")), ["a.jpg"]);
        let error = Address::resolve(&format!("{text}/*.txt")).expect_err("no pictures").to_string();
        assert!(error.ends_with("holds no pictures, expected files ending in png, jpg, jpeg, bmp, webp"), "{error}");
    }
}
