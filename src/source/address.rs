//! What `--source` names: a video file, an HTTP or RTSP address, pictures, a test picture or a camera.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gstreamer as gst;

use super::container;
use super::pipe;
use super::playlist;
use super::test_pattern::TestPattern;
use super::web::{OpenResponse, Response};
use crate::error::{Error, Result};
use crate::secrets::{self, Login, secret_values, split_login, without_login};

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
    /// An RTSP stream.
    Rtsp {
        /// Its address without credentials.
        uri: String,
        /// The credentials that stood in it.
        login: Option<Login>,
    },
    /// Picture files, in the order in which they are shown.
    Pictures(Arc<[PathBuf]>),
    /// GStreamer's test picture.
    Test(TestPattern),
    /// A `Video4Linux2` device.
    Camera(PathBuf),
    /// MPEG-TS over UDP, an SRT or an RTMP stream.
    Stream {
        /// Its address.
        uri: String,
        /// The name of what plays it.
        protocol: &'static str,
    },
    /// An HLS playlist.
    Hls {
        /// Its address.
        uri: String,
        /// Whether it goes on while it is played.
        live: bool,
    },
    /// A camera that sends JPEG pictures over HTTP without end.
    Mjpeg {
        /// Its address.
        uri: String,
        /// Its answer to the first request.
        opened: OpenResponse,
    },
    /// A named pipe, or `-` for standard input.
    Pipe(PathBuf),
    /// What `--pipeline` names itself.
    Pipeline {
        /// Whether it is live, and opened again when it is lost.
        live: bool,
    },
}

/// Picture files that a folder is searched for.
const PICTURE_ENDINGS: [&str; 11] = ["png", "jpg", "jpeg", "bmp", "webp", "tif", "tiff", "gif", "heic", "heif", "avif"];
/// Protocols of streams that a pipeline of that name plays.
const STREAMS: [&str; 3] = ["udp", "srt", "rtmp"];
const EXPECTED: &str = "expected a video file, - for standard input, a file://, http://, https://, rtsp://, rtsps://, \
                        udp://, srt:// or rtmp:// address, a folder or pattern of pictures, a camera's number, \
                        /dev/videoN or test:";

impl Address {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// An unknown scheme, no such file, an empty one, one that may not be read, or no pictures where some were meant.
    pub fn resolve(source: &str) -> Result<Self> {
        let usage = |reason: String| Error::Usage(format!("--source {}: {reason}", without_login(source)));
        for (_, value) in secret_values(source) {
            secrets::hide(value);
        }
        if secrets::is_login_unencoded(source) {
            return Err(usage("its user name or password holds / ? or #: percent-encode them (%2F %3F %23)".into()));
        }
        // Schemes are the same in capital letters.
        let lower = source.split_once("://").map(|(scheme, rest)| format!("{}://{rest}", scheme.to_ascii_lowercase()));
        let source = lower.as_deref().unwrap_or(source);
        let kind = match source.split_once(':') {
            Some(("test", rest)) if !rest.starts_with("//") => Kind::Test(rest.parse().map_err(usage)?),
            None if source == pipe::STDIN => Kind::Pipe(PathBuf::from(source)),
            Some(("v4l2", device)) => camera(Path::new(device.trim_start_matches("//")))?,
            Some(("http" | "https", rest)) if rest.starts_with("//") => {
                split_login(source).map(|(login, _)| Login::of_address(login));
                if playlist::is_playlist(source) {
                    let name = without_login(source);
                    let refused = |reason| Error::Source { code: "SOURCE_FAILED", name, reason };
                    Kind::Hls { live: playlist::is_live(source).map_err(refused)?, uri: source.to_owned() }
                } else {
                    let opened = match Response::of(source) {
                        Ok(answer) => answer.is_multipart().then(|| OpenResponse::of(answer)),
                        // What cannot be had now is what it is called; its failure is told when it is played.
                        Err(_) => is_called_a_camera(source).then(OpenResponse::default),
                    };
                    let uri = source.to_owned();
                    opened.map_or(Kind::Http(uri.clone()), |opened| Kind::Mjpeg { uri, opened })
                }
            }
            Some((scheme @ ("udp" | "srt" | "rtmp" | "rtmps"), rest)) if rest.starts_with("//") => {
                split_login(source).map(|(login, _)| Login::of_address(login));
                let protocol = STREAMS.into_iter().find(|protocol| scheme.starts_with(protocol)).unwrap_or("udp");
                let port = rest.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default();
                let wants_port =
                    protocol != "rtmp" && port.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err());
                if wants_port {
                    return Err(usage(format!("names no port, expected {scheme}://HOST:PORT")));
                }
                match protocol {
                    "rtmp" if !has_stream(rest) => {
                        return Err(usage(format!("names no stream, expected {scheme}://HOST/APPLICATION/STREAM")));
                    }
                    "srt" => srt_mode(rest).map_err(usage)?,
                    _ => {}
                }
                Kind::Stream { uri: source.to_owned(), protocol }
            }
            Some(("rtsp" | "rtsps", rest)) if rest.starts_with("//") => {
                if source.contains(char::is_whitespace) {
                    return Err(usage("holds a space, expected an address alone".into()));
                }
                if !has_server(source) {
                    return Err(usage("names no server, expected rtsp://HOST:PORT/PATH".into()));
                }
                match split_login(source) {
                    Some((login, uri)) => Kind::Rtsp { uri, login: Some(Login::of_address(login)) },
                    None => Kind::Rtsp { uri: source.to_owned(), login: None },
                }
            }
            Some(("file", rest)) if rest.starts_with("//") => {
                let path = gst::glib::filename_from_uri(source);
                local(&path.map_err(|e| usage(format!("is no valid file address: {e}")))?.0)?
            }
            Some((scheme, rest)) if rest.starts_with("//") => {
                return Err(usage(format!("the scheme {scheme}:// is not supported, {EXPECTED}")));
            }
            // As OpenCV and others count cameras.
            None if source.bytes().all(|byte| byte.is_ascii_digit())
                && !source.is_empty()
                && !Path::new(source).exists() =>
            {
                camera(Path::new(&format!("/dev/video{source}")))?
            }
            _ if source.starts_with("/dev/video") => camera(Path::new(source))?,
            _ if numbered(source).is_some() && !Path::new(source).exists() => {
                pictures(numbered(source).into_iter().flatten(), source)?
            }
            _ if source.contains(['*', '?', '[']) && !Path::new(source).exists() => {
                let found = glob::glob(source).map_err(|e| usage(format!("is no valid pattern: {e}")))?;
                pictures(found.filter_map(std::result::Result::ok).filter(|path| path.is_file()), source)?
            }
            Some((scheme @ ("http" | "https" | "rtsp" | "rtsps" | "file"), _)) if !Path::new(source).exists() => {
                return Err(Error::Usage(format!("--source {scheme}:***: is no address, expected {scheme}://")));
            }
            _ => local(Path::new(source))?,
        };
        Ok(Self { name: without_login(source), kind })
    }

    /// A video file by its path, whatever it is called; `name` is what it is called in records.
    ///
    /// # Errors
    /// No such file, an empty one, one that may not be read, or a picture.
    pub fn file(path: &Path, name: String) -> Result<Self> {
        match local(path)? {
            kind @ Kind::File(_) => Ok(Self { name, kind }),
            _ => Err(Error::Usage(format!("{}: is no video file; `spotter ground` takes pictures", path.display()))),
        }
    }

    /// True where frames come when they come and nobody waits for us.
    pub fn is_live(&self) -> bool {
        match &self.kind {
            Kind::Camera(_) | Kind::Rtsp { .. } | Kind::Stream { .. } | Kind::Mjpeg { .. } => true,
            Kind::Test(pattern) => pattern.live,
            Kind::Hls { live, .. } | Kind::Pipeline { live } => *live,
            Kind::File(_) | Kind::Http(_) | Kind::Pictures(_) | Kind::Pipe(_) => false,
        }
    }

    /// True where a source that is lost may be there again later.
    pub fn comes_back(&self) -> bool {
        self.is_live() && !matches!(self.kind, Kind::Test(_))
    }

    /// What GStreamer says of a failure, with what it leaves out.
    pub fn explain(&self, reason: String) -> String {
        match &self.kind {
            // souphttpsrc keeps the reason of a failed connection or handshake to itself.
            Kind::Http(uri) | Kind::Mjpeg { uri, .. } if reason.contains("Internal data stream error") => {
                let why = unreachable(uri).map(|why| why.reason).or_else(|| {
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

/// The host and the port of an address without credentials; no port where it names none.
pub(super) fn server(address: &str) -> Option<(&str, Option<&str>)> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']')?;
        return Some((host, port.strip_prefix(':')));
    }
    Some(authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))))
}

/// True where an RTMP address (what follows its scheme) names a server, an application and a stream of it.
fn has_stream(rest: &str) -> bool {
    let mut parts = rest.trim_start_matches('/').splitn(3, '/');
    (0..3).all(|_| parts.next().is_some_and(|part| !part.is_empty()))
}

/// Sees that an SRT address (what follows its scheme) asks for a way to connect that there is.
fn srt_mode(rest: &str) -> std::result::Result<(), String> {
    const MODES: [&str; 3] = ["caller", "listener", "rendezvous"];
    let parameters = rest.split_once('?').map_or("", |(_, parameters)| parameters);
    let mode = parameters.split('&').find_map(|parameter| parameter.strip_prefix("mode="));
    match mode {
        Some(mode) if !MODES.contains(&mode) => Err(format!("mode={mode}: expected {}", MODES.join(", "))),
        _ => Ok(()),
    }
}

/// True where an address names a host, and a port that there can be, if any.
fn has_server(address: &str) -> bool {
    let bare = split_login(address).map_or_else(|| address.to_owned(), |(_, bare)| bare);
    server(&bare).is_some_and(|(host, port)| !host.is_empty() && port.is_none_or(|port| port.parse::<u16>().is_ok()))
}

/// Why a server cannot be reached.
pub(super) struct Unreachable {
    pub(super) reason: String,
    /// It neither answered nor refused.
    pub(super) silent: bool,
}

/// Why the server of an address cannot be reached; none where it can.
pub(super) fn unreachable(uri: &str) -> Option<Unreachable> {
    use std::net::{TcpStream, ToSocketAddrs};
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);
    let bare = split_login(uri).map_or_else(|| uri.to_owned(), |(_, bare)| bare);
    let usual = match bare.split_once("://")?.0 {
        "https" => 443,
        "rtsp" => 554,
        "rtsps" => 322,
        _ => 80,
    };
    let (host, port) = server(&bare)?;
    let server = (host, port.and_then(|port| port.parse().ok()).unwrap_or(usual));
    let addresses = match server.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Some(Unreachable { reason: format!("{host} is not known: {error}"), silent: false }),
    };
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return None,
            Err(error) => {
                let silent = error.kind() == std::io::ErrorKind::TimedOut;
                last = Some(Unreachable { reason: format!("{address} cannot be reached: {error}"), silent });
            }
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
    if std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type()) {
        return Ok(Kind::Pipe(path.to_owned()));
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
        return Err(Error::Source { code: "SOURCE_EMPTY", name: without_login(name), reason });
    }
    // As people count: frame2 comes before frame10.
    paths.sort_by(|a, b| natord::compare(&a.to_string_lossy(), &b.to_string_lossy()).then_with(|| a.cmp(b)));
    let absolute = paths.iter().map(|path| std::path::absolute(path).map_err(Error::io("read", path)));
    Ok(Kind::Pictures(absolute.collect::<Result<Vec<_>>>()?.into()))
}

/// The files of a pattern with a number in it, as ffmpeg and GStreamer write it: `frame%04d.png` is `frame0001.png` and so on.
/// None where it is no such pattern.
fn numbered(pattern: &str) -> Option<Vec<PathBuf>> {
    let (front, rest) = pattern.split_once('%')?;
    let (width, back) = rest.split_once('d')?;
    let padded = width.starts_with('0') && width.len() > 1;
    let width: usize = if width.is_empty() { 0 } else { width.parse().ok()? };
    if front.contains('/') && back.contains('/') || back.contains('%') {
        return None;
    }
    let (folder, front) = front.rsplit_once('/').map_or((".", front), |(folder, front)| (folder, front));
    let folder = if folder.is_empty() { "/" } else { folder };
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix(front).and_then(|name| name.strip_suffix(back)).unwrap_or_default();
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let padding = if padded { number.len() >= width } else { !number.starts_with('0') || number == "0" };
        digits && padding
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    Some(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_one).collect())
}

/// Whether a file is a picture, by the ending of its name.
pub(crate) fn is_picture(path: &Path) -> bool {
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

/// Cameras call their pictures `mjpg`, or nothing that a file is called.
fn is_called_a_camera(uri: &str) -> bool {
    let path = uri.split(['?', '#']).next().unwrap_or(uri);
    let name = path.split_once("://").and_then(|(_, rest)| Some(rest.split_once('/')?.1)).unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    name.rsplit_once('.').is_none_or(|(_, ending)| matches!(ending, "mjpg" | "mjpeg" | "cgi"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_are_told_by_their_names() {
        for camera in
            ["http://c/video.mjpg", "http://c", "http://c/?action=stream.mp4", "http://c/axis/mjpg/video.cgi?x=1"]
        {
            assert!(is_called_a_camera(camera), "{camera}");
        }
        assert!(!is_called_a_camera("http://c/a.mp4?x=y") && !is_called_a_camera("https://c.mjpg/b/a.ts"));
    }

    #[test]
    fn folders_and_patterns_of_pictures_are_sorted() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b10.PNG", "b9.png", "a.jpg", "c.txt"] {
            std::fs::write(folder.path().join(name), b"x").expect("written");
        }
        let text = folder.path().to_str().expect("UTF-8").to_owned();
        let names = |source: &str| -> Vec<String> {
            let files = Address::resolve(source).expect("resolves").files().to_vec();
            files.iter().map(|f| f.file_name().expect("a name").to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(&text), ["a.jpg", "b9.png", "b10.PNG"]);
        assert_eq!(names(&format!("{text}/b%d.png")), ["b9.png"]);
        assert_eq!(names(&format!("{text}/*.jpg")), ["a.jpg"]);
        let error = Address::resolve(&format!("{text}/*.txt")).expect_err("no pictures").to_string();
        assert!(error.ends_with("holds no pictures, expected files ending in png, jpg, jpeg, bmp, webp, tif, tiff, gif, heic, heif, avif"), "{error}");
    }
}
