//! Files on web servers: whole and in parts, over TLS with certificates that are verified, and never a way to local files.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::support::{Ran, Scratch, clip, model, of_schema, spotter, tool};

/// What a server says to a path.
#[derive(Clone)]
enum Page {
    File(Vec<u8>, &'static str),
    Redirect(String),
}

/// A web server on loopback that answers until the test ends. It knows byte ranges, as MP4 needs them.
fn serve(pages: Vec<(&'static str, Page)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let pages = pages.clone();
            std::thread::spawn(move || drop(answer(&stream, &pages)));
        }
    });
    address
}

fn answer(mut stream: &TcpStream, pages: &[(&'static str, Page)]) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut range) = (String::new(), None);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                range = value.split('-').next().and_then(|from| from.trim().parse::<usize>().ok());
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        match pages.iter().find(|(known, _)| *known == path).map(|(_, page)| page) {
            Some(Page::Redirect(to)) => {
                write!(stream, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")?;
            }
            Some(Page::File(bytes, kind)) => {
                let from = range.unwrap_or(0).min(bytes.len());
                let (status, all) = (if range.is_some() { "206 Partial Content" } else { "200 OK" }, bytes.len());
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\n\
                     Content-Range: bytes {from}-{}/{all}\r\n\r\n",
                    all - from,
                    all - 1
                )?;
                stream.write_all(&bytes[from..])?;
            }
            None => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
        }
    }
}

fn run(source: &str) -> Ran {
    spotter(&["run", "--source", source, "--query", "a", "--model", &model(), "--out", "jsonl:-"])
}

fn mp4(scratch: &Scratch) -> String {
    clip(scratch, "clip.mp4", "160x120", 25, &["-c:v", "libx264", "-pix_fmt", "yuv420p"])
}

#[test]
fn a_file_on_a_server_is_a_file() {
    let scratch = Scratch::new();
    let bytes = std::fs::read(mp4(&scratch)).expect("read");
    let moved = Page::Redirect("/clip.mp4".into());
    let server = serve(vec![("/clip.mp4", Page::File(bytes, "video/mp4")), ("/moved.mp4", moved)]);
    for path in ["/clip.mp4", "/moved.mp4"] {
        let ran = run(&format!("{server}{path}")).expect_success();
        assert_eq!(of_schema(&ran.lines(), "spotter.frame/2").len(), 25, "{path}");
    }
    let named = server.replace("http://", "http://me:s3cret@");
    let ran = run(&format!("{named}/nothing.mp4"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("Not Found") && ran.stderr.contains("/nothing.mp4"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    for scheme in ["http", "https"] {
        let ran = run(&format!("{scheme}://127.0.0.1:{port}/clip.mp4"));
        assert_eq!(ran.code, Some(1));
        let reason = format!("127.0.0.1:{port} cannot be reached: Connection refused");
        assert!(ran.stderr.contains(&reason) && !ran.stderr.contains("certificate"), "{}", ran.stderr);
    }
}

#[test]
fn a_cut_file_on_a_server_is_truncated_and_not_over() {
    let scratch = Scratch::new();
    let options = ["-c:v", "libx264", "-g", "10", "-pix_fmt", "yuv420p", "-movflags", "+faststart"];
    let whole = std::fs::read(clip(&scratch, "clip.mp4", "160x120", 200, &options)).expect("read");
    let cut = whole[..whole.len() / 2].to_vec();
    let server = serve(vec![("/cut.mp4", Page::File(cut, "video/mp4"))]);
    let ran = run(&format!("{server}/cut.mp4"));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("SOURCE_TRUNCATED"), "{}", ran.stderr);
    assert!(of_schema(&ran.lines(), "spotter.frame/2").len() > 20, "what is there is grounded");
}

#[test]
fn no_server_reaches_a_local_file() {
    let scratch = Scratch::new();
    let local = mp4(&scratch);
    let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nfile://{local}\n#EXT-X-ENDLIST\n");
    let server = serve(vec![
        ("/redirect.mp4", Page::Redirect(format!("file://{local}"))),
        ("/list.m3u8", Page::File(playlist.into_bytes(), "application/vnd.apple.mpegurl")),
        ("/list.txt", Page::File(format!("file://{local}\n").into_bytes(), "text/uri-list")),
    ]);
    for (path, reason) in [("/redirect.mp4", ""), ("/list.m3u8", "playlist"), ("/list.txt", "")] {
        let ran = run(&format!("{server}{path}"));
        assert_eq!(ran.code, Some(1), "{path}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{path}");
        assert!(ran.stderr.contains(reason) && ran.stderr.contains("ERROR"), "{path}: {}", ran.stderr);
    }
}

/// `openssl s_server` over a folder; ends with the test.
struct Tls(Child, u16);

impl Tls {
    fn serve(scratch: &Scratch) -> Self {
        let (key, certificate) = (scratch.file("key.pem"), scratch.file("certificate.pem"));
        let subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
        let args =
            ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", &key, "-out", &certificate];
        tool("openssl", &[&args[..], &subject[..]].concat());
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let mut server = Command::new("openssl")
            .args(["s_server", "-accept", &port.to_string(), "-cert", &certificate, "-key", &key, "-WWW"])
            .current_dir(scratch.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is needed for this test (scripts/setup.sh installs it)");
        let mut stdout = BufReader::new(server.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("ACCEPT") {
            line.clear();
            assert!(stdout.read_line(&mut line).expect("a line") > 0, "openssl s_server ended");
        }
        // Somebody has to read what else it says.
        std::thread::spawn(move || drop(stdout.read_to_end(&mut Vec::new())));
        Self(server, port)
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let scratch = Scratch::new();
    // Readable from its start to its end: this server knows no ranges.
    clip(&scratch, "clip.mkv", "160x120", 25, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]);
    let tls = Tls::serve(&scratch);
    let ran = run(&format!("https://localhost:{}/clip.mkv", tls.1));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("certificate"), "{}", ran.stderr);
    // The same server and file play for who does not ask for a certificate: nothing else was wrong.
    let source = "[source]\nlaunch = \"souphttpsrc location={uri} ssl-strict=false ! decodebin ! videoconvert\"\n";
    let (pipeline, model) = (scratch.write("trusting.toml", source.as_bytes()), model());
    let address = format!("https://localhost:{}/clip.mkv", tls.1);
    let args =
        ["run", "--source", &address, "--query", "a", "--model", &model, "--pipeline", &pipeline, "--out", "jsonl:-"];
    let ran = spotter(&args).expect_success();
    assert_eq!(of_schema(&ran.lines(), "spotter.frame/2").len(), 25);
}
