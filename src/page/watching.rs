//! One who watches a stream as it comes: from a ring of packets into a film, on a thread that may wait.

use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::film::{Break, Film, FilmHead, Order};
use super::h264::is_h264;
use super::live::FilmPackets;
use crate::source::{Medium, Next, Packet};

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
    /// There is no film of this stream.
    None,
}

/// The film of a stream from its newest key frame on. Who is slow misses pictures up to a key frame, alone.
pub(super) fn watch(packets: &FilmPackets) -> mpsc::Receiver<FilmPart> {
    // From now on, and not from when the thread begins.
    let (mut reader, packets) = (packets.ring().watch(), packets.clone());
    let (send, receive) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut viewer = Viewer { film: None, order: Order::default(), send };
        while !viewer.send.is_closed() {
            let taken = match reader.take(LOOK) {
                Next::Packet(packet) if packet.medium == Medium::Sound => Ok(()),
                // What goes into clips changed its codec: the other ring has what browsers play.
                Next::Packet(packet) if !is_h264(&packet.caps) => {
                    reader = packets.ring().watch();
                    viewer.cut()
                }
                Next::Packet(packet) => viewer.add(&packet),
                Next::Lost => viewer.cut(),
                Next::Waiting | Next::Away if reader.is_futile() => {
                    // Whoever left does not hear it.
                    let _ = viewer.say(FilmPart::None);
                    return;
                }
                Next::Waiting | Next::Away => Ok(()),
                Next::End => {
                    let _ = viewer.cut();
                    return;
                }
            };
            if taken.is_err() {
                return;
            }
        }
    });
    receive
}

/// The viewer left.
struct Gone;

struct Viewer {
    film: Option<Film>,
    order: Order,
    send: mpsc::Sender<FilmPart>,
}

impl Viewer {
    fn say(&self, part: FilmPart) -> Result<(), Gone> {
        self.send.blocking_send(part).map_err(|_| Gone)
    }

    fn say_all(&self, pictures: Vec<Bytes>) -> Result<(), Gone> {
        pictures.into_iter().try_for_each(|picture| self.say(FilmPart::Picture(picture)))
    }

    /// With the next key frame another film begins.
    fn cut(&mut self) -> Result<(), Gone> {
        let last = self.film.take().map(Film::finish);
        self.say_all(last.unwrap_or_default())
    }

    fn add(&mut self, packet: &Packet) -> Result<(), Gone> {
        if packet.gap {
            self.cut()?;
        }
        // The second time with a film of its own.
        for _ in 0..2 {
            if self.film.is_none() {
                let Some((film, head)) = Film::start(packet, self.order) else { return Ok(()) };
                self.film = Some(film);
                self.say(FilmPart::Head(head))?;
            }
            match self.film.as_mut().map(|film| film.push(packet)) {
                Some(Ok(pictures)) => return self.say_all(pictures),
                Some(Err(why)) => {
                    if why == Break::Unordered {
                        self.order = Order::Shuffled;
                    }
                    self.cut()?;
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }
}
