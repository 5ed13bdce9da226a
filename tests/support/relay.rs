//! Relays between a client and a server that do harm when a test asks for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

/// What a relay does to what it carries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Harm {
    /// Nothing.
    None,
    /// Every connection ends, and new ones end at once.
    Cut,
    /// Nothing more arrives; connections stay open.
    Stall,
    /// What the server sends arrives later.
    Delay(Duration),
    /// Every so many bytes of the server's are another.
    Garble(usize),
    /// Every so many datagrams are lost.
    Lose(usize),
    /// These bytes of the server's are replaced by others, as many.
    Replace(&'static str, &'static str),
}

/// A relay's harm, to be changed while it runs.
#[derive(Clone)]
pub(crate) struct Lever(Arc<Mutex<Harm>>);

impl Lever {
    fn new(harm: Harm) -> Self {
        Self(Arc::new(Mutex::new(harm)))
    }

    pub(crate) fn set(&self, harm: Harm) {
        *self.0.lock().expect("whole") = harm;
    }

    fn get(&self) -> Harm {
        self.0.lock().expect("whole").clone()
    }
}

/// The server and path of an RTSP address.
fn parts(address: &str) -> (&str, &str) {
    let rest = address.strip_prefix("rtsp://").or(address.strip_prefix("rtsps://")).expect("an RTSP address");
    rest.split_once('/').expect("a path")
}

/// Carries TCP to the server of `address`; returns the address to use in its place.
pub(crate) fn tcp(address: &str, harm: Harm) -> (String, Lever) {
    let lever = Lever::new(harm);
    let (server, path) = parts(address);
    let (server, listener) = (server.to_owned(), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = listener.local_addr().expect("an address").port();
    let scheme = address.split(':').next().expect("a scheme");
    let harm = lever.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if harm.get() == Harm::Cut {
                continue;
            }
            let Ok(server) = TcpStream::connect(&server) else { continue };
            let (back, forth) = (client.try_clone().expect("cloned"), server.try_clone().expect("cloned"));
            let (there, here) = (harm.clone(), harm.clone());
            std::thread::spawn(move || carry(client, &forth, &there, false));
            std::thread::spawn(move || carry(server, &back, &here, true));
        }
    });
    (format!("{scheme}://127.0.0.1:{port}/{path}"), lever)
}

/// How often a relay looks at what it is asked to do.
const TICK: Duration = Duration::from_millis(20);

fn carry(mut from: TcpStream, to: &TcpStream, harm: &Lever, of_server: bool) {
    from.set_read_timeout(Some(TICK)).expect("set");
    let mut bytes = [0; 16 * 1024];
    let mut carried = 0;
    // What is on its way arrives in its time, and does not hold up what is behind it.
    let (line, arriving) = bounded::<(Instant, Vec<u8>)>(10_000);
    let mut far = to.try_clone().expect("cloned");
    let writer = std::thread::spawn(move || {
        for (due, bytes) in arriving {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if far.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    loop {
        let harm = harm.get();
        if harm == Harm::Cut {
            break;
        }
        if harm == Harm::Stall {
            std::thread::sleep(TICK);
            continue;
        }
        let count = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        let bytes = &mut bytes[..count];
        if of_server {
            spoil(bytes, &harm, &mut carried);
        }
        let late = if let Harm::Delay(late) = harm { late } else { Duration::ZERO };
        if line.send((Instant::now() + late, bytes.to_vec())).is_err() {
            break;
        }
    }
    drop(line);
    let _ = writer.join();
    // Both ends hear of it.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn spoil(bytes: &mut [u8], harm: &Harm, carried: &mut usize) {
    match harm {
        Harm::Garble(every) => {
            for byte in bytes.iter_mut() {
                *carried += 1;
                if carried.is_multiple_of(*every) {
                    *byte ^= 0x55;
                }
            }
        }
        Harm::Replace(old, new) => {
            let places: Vec<_> = bytes.windows(old.len()).enumerate().filter(|(_, w)| *w == old.as_bytes()).collect();
            let places: Vec<usize> = places.into_iter().map(|(at, _)| at).collect();
            for at in places {
                bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
            }
        }
        Harm::None | Harm::Cut | Harm::Stall | Harm::Delay(_) | Harm::Lose(_) => {}
    }
}

/// Carries RTSP with its datagrams to the server of `address`; returns the address to use in its place. The server is
/// told the relay's ports in place of the client's.
pub(crate) fn udp(address: &str, harm: Harm) -> (String, Lever) {
    let lever = Lever::new(harm);
    let (server, path) = parts(address);
    let (server, listener) = (server.to_owned(), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = listener.local_addr().expect("an address").port();
    let harm = lever.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&server) else { continue };
            let (back, forth) = (client.try_clone().expect("cloned"), server.try_clone().expect("cloned"));
            let harm = harm.clone();
            std::thread::spawn(move || translate(client, forth, &harm));
            std::thread::spawn(move || carry(server, &back, &Lever::new(Harm::None), true));
        }
    });
    (format!("rtsp://127.0.0.1:{port}/{path}"), lever)
}

/// Carries a client's requests, with other ports in them.
fn translate(client: TcpStream, mut server: TcpStream, harm: &Lever) {
    const PORTS: &str = "client_port=";
    let mut lines = BufReader::new(client);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&line).into_owned();
        let asked = text.find(PORTS).and_then(|at| {
            let rest = &text[at + PORTS.len()..];
            let ports = rest.split([';', '\r']).next()?;
            Some((ports.to_owned(), ports.split('-').next()?.parse::<u16>().ok()?))
        });
        if let Some((ports, first)) = asked {
            let ours = [first, first + 1].map(|port| datagrams(port, harm));
            let ours = format!("{PORTS}{}-{}", ours[0], ours[1]);
            line = text.replace(&format!("{PORTS}{ports}"), &ours).into_bytes();
        }
        if server.write_all(&line).is_err() {
            break;
        }
        line.clear();
    }
    let _ = server.shutdown(Shutdown::Both);
}

/// Carries datagrams to a port; returns the port that they are to be sent to.
fn datagrams(to: u16, harm: &Lever) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("an address").port();
    let harm = harm.clone();
    std::thread::spawn(move || {
        let client = SocketAddr::from((Ipv4Addr::LOCALHOST, to));
        let (mut bytes, mut carried) = ([0; 2048], 0usize);
        while let Ok(count) = socket.recv(&mut bytes) {
            carried += 1;
            match harm.get() {
                Harm::Cut | Harm::Stall => continue,
                Harm::Lose(every) if carried.is_multiple_of(every) => continue,
                Harm::Garble(every) if carried.is_multiple_of(every) => {
                    // Behind the headers, so that it is the picture's bytes that are wrong.
                    bytes[15.min(count - 1)..count].iter_mut().step_by(3).for_each(|byte| *byte ^= 0x55);
                }
                _ => {}
            }
            let _ = socket.send_to(&bytes[..count], client);
        }
    });
    port
}
