//! RTSP servers in processes of their own, which a test starts, freezes and kills.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::{Scratch, aloud, repository, tool, until};

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    /// What it serves.
    pub(crate) address: String,
    /// What it says on standard output, after its address.
    pub(crate) lines: Receiver<String>,
}

/// How long a server may take to be there.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A process of somebody else's that ends with the test.
pub(crate) struct Peer(pub(crate) Child);

impl Peer {
    pub(crate) fn start(program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        let child = command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|e| panic!("{program} is needed for this test: {e}")))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("gone");
    }
}

/// Python's web server over a folder, and its address.
pub(crate) fn web_server(folder: &str) -> (Peer, String) {
    let port = free_port().to_string();
    let server = Peer::start("python3", &["-m", "http.server", "--bind", "127.0.0.1", "--directory", folder, &port]);
    until("a web server", PATIENCE, || TcpStream::connect(format!("127.0.0.1:{port}")).ok());
    (server, format!("http://127.0.0.1:{port}"))
}

/// What nginx is told to be an RTMP server on a port of this machine: program and arguments. Who sends to
/// `rtmp://127.0.0.1:PORT/live/NAME` is seen there.
pub(crate) fn rtmp_server(scratch: &Scratch, port: u16) -> (String, [String; 4]) {
    let folder = repository().join("target/nginx");
    let folder = folder.to_str().expect("UTF-8");
    assert!(Path::new(folder).exists(), "{folder} is not there (make peers)");
    let settings = format!(
        "daemon off; master_process off; pid {}; error_log stderr; load_module {folder}/ngx_rtmp_module.so; events {{}} \
         rtmp {{ access_log off; server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}",
        scratch.file("nginx.pid"),
    );
    let settings = scratch.write("nginx.conf", settings.as_bytes());
    (format!("{folder}/nginx"), ["-e".into(), "stderr".into(), "-c".into(), settings])
}

impl Server {
    /// Our own example; `options` are its flags.
    pub(crate) fn camera(clip: &str, options: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_spotter")).with_file_name("examples").join("rtsp_camera");
        let mut command = Command::new(program);
        command.arg(clip).args(options);
        let mut server = Self::start(command, String::new());
        server.address = server.lines.recv_timeout(PATIENCE).expect("says its address");
        server
    }

    /// The `rtsp-server` of the Python package aio-rtsp-toolkit, with every clip of a folder.
    pub(crate) fn aio(folder: &Path, clip: &str) -> Option<Self> {
        let packages = repository().join("target/rtsp-server");
        if !packages.join("bin/rtsp-server").exists() {
            aloud(&format!("SKIPPED: {} is not there (make peers)", packages.display()));
            return None;
        }
        let (port, control) = (free_port().to_string(), free_port().to_string());
        let mut command = Command::new("python3");
        command.arg(packages.join("bin/rtsp-server")).env("PYTHONPATH", &packages);
        command.args(["-H", "127.0.0.1", "-p", &port, "-cp", &control, "-d"]).arg(folder);
        let server = Self::start(command, format!("rtsp://127.0.0.1:{port}/{clip}"));
        server.wait_until_it_describes();
        Some(server)
    }

    /// VLC, which refuses to run as root, with one clip over UDP.
    pub(crate) fn vlc(scratch: &Scratch, clip: &str) -> Self {
        const NOBODY: &str = "65534";
        let port = free_port();
        let home = scratch.file("vlc");
        std::fs::create_dir(&home).expect("made");
        let open = |path: &str| std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).expect("opened");
        [scratch.path().to_str().expect("UTF-8"), &home].into_iter().for_each(open);
        let is_root = tool("id", &["-u"]).trim() == "0";
        let mut command = Command::new(if is_root { "setpriv" } else { "cvlc" });
        if is_root {
            command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "cvlc"]);
        }
        let address = format!("rtsp://127.0.0.1:{port}/stream");
        // Without `gather` the session ends with the file.
        let out = format!("#gather:rtp{{sdp={address}}}");
        command.args(["-I", "dummy", "--no-audio", "--loop", clip, "--sout", &out, "--sout-keep"]);
        command.env("HOME", &home).env("XDG_RUNTIME_DIR", &home);
        let server = Self::start(command, address);
        server.wait_until_it_describes();
        server
    }

    fn start(mut command: Command, address: String) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap_or_else(|e| {
            panic!("{command:?} is needed for this test (scripts/setup.sh installs it): {e}");
        });
        let stdout = child.stdout.take().expect("piped");
        let (say, lines) = bounded(1000);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody has to listen.
                let _ = say.try_send(line);
            }
        });
        Self { child, address, lines }
    }

    /// Servers say nothing when they are ready; they are asked until they answer.
    fn wait_until_it_describes(&self) {
        let began = Instant::now();
        while describe(&self.address).is_none_or(|answer| !answer.starts_with("RTSP/1.0 200")) {
            assert!(began.elapsed() < PATIENCE, "{} does not answer", self.address);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, name: &str) {
        tool("kill", &[name, &self.child.id().to_string()]);
    }

    /// Stops the process in its tracks; connections stay open.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }
}

impl Drop for Server {
    /// As by `kill -9`.
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

/// What an RTSP server says when it is asked for a stream; none where it is not there.
fn describe(address: &str) -> Option<String> {
    let server = address.strip_prefix("rtsp://")?.split('/').next()?;
    let mut stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "DESCRIBE {address} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n").ok()?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}
