//! One who watches the camera's own packets: from the ring in front of the decoder into a film, on a thread that may wait.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::film::{Break, Film, FilmHead};
use super::h264::is_h264;
use crate::source::{Medium, Next, Packet, PacketReader, PacketRing};

/// Parts of a film that may wait for one viewer; what is more waits in the ring, and goes with it.
const WAITING: usize = 8;
/// How often is looked whether the viewer is still there while nothing comes.
const LOOK: Duration = Duration::from_millis(250);

/// What a viewer gets.
#[derive(Debug)]
pub(super) enum FilmPart {
    /// A film begins.
    Head(FilmHead),
    /// A picture of it.
    Picture(Bytes),
    /// There is no film of this camera.
    None,
}

/// The film of a camera from its newest key frame on. Who is slow misses pictures up to a key frame, alone.
pub(super) fn watch(ring: &Arc<PacketRing>) -> mpsc::Receiver<FilmPart> {
    let reader = ring.watch();
    let (send, receive) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || film(reader, &send));
    receive
}

fn film(mut reader: PacketReader, send: &mpsc::Sender<FilmPart>) {
    let mut film = None;
    while !send.is_closed() {
        let sent = match reader.take(LOOK) {
            Next::Packet(packet) if packet.medium == Medium::Video => add(&mut film, &packet, send),
            Next::Packet(_) | Next::Waiting | Next::Away => Ok(()),
            Next::Lost => {
                film = None;
                Ok(())
            }
            Next::End => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The film is over for this viewer.
struct Over;

fn add(film: &mut Option<Film>, packet: &Packet, send: &mpsc::Sender<FilmPart>) -> Result<(), Over> {
    let say = |part: FilmPart| send.blocking_send(part).map_err(|_| Over);
    if !is_h264(&packet.caps) {
        say(FilmPart::None)?;
        return Err(Over);
    }
    if packet.gap {
        *film = None;
    }
    // The second time with a film of its own.
    for _ in 0..2 {
        if film.is_none() {
            let Some((new, head)) = Film::start(packet) else { return Ok(()) };
            *film = Some(new);
            say(FilmPart::Head(head))?;
        }
        match film.as_mut().map(|film| film.push(packet)) {
            Some(Ok(Some(picture))) => return say(FilmPart::Picture(picture)),
            Some(Err(Break::Unordered)) => {
                say(FilmPart::None)?;
                return Err(Over);
            }
            Some(Err(Break::Cut)) => *film = None,
            Some(Ok(None)) | None => return Ok(()),
        }
    }
    Ok(())
}
