//! One who watches a stream: what is found and the frames that it was found on, over one WebSocket.
//!
//! A text is a line as it stands in the records, or `{"lost": N}` where the viewer was too slow for N lines. A binary message is a
//! frame as JPEG behind its number, eight bytes, the highest first; its record came before it. Or, where the viewer wants the camera's
//! own pictures, or they encoded, a binary message is a part of fragmented MP4, and `{"film": …}` says what begins; `{"film": null}` that
//! there is none.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::access::Admission;
use super::film::FilmHead;
use super::live::{Drawn, LiveLine, LiveStream};
use super::reply::{Answer, Body, Refusal};
use super::request::Parameters;
use super::watching::{self, FilmPart};
use super::{Context, live};

/// What is read of a viewer's message: it has nothing to say.
const LONGEST: usize = 4096;
/// How long a viewer may take to take a message.
pub(in crate::page) const TO_TAKE: Duration = Duration::from_secs(10);

/// What is sent beside the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Video {
    None,
    Jpeg,
    Mp4,
}

/// Begins to talk over a WebSocket.
///
/// # Errors
/// There is no such stream, too many watch, or the request is for something else.
pub(super) fn open(context: &Arc<Context>, name: &str, mut request: Request<Incoming>, admission: Admission) -> Answer {
    let parameters = Parameters::of(&request, &["video"])?;
    let video = match parameters.get("video") {
        None | Some("none") => Video::None,
        Some("jpeg") => Video::Jpeg,
        Some("mp4") => Video::Mp4,
        Some(other) => return Err(Refusal::bad(format!("video={other}: expected mp4, jpeg or none"))),
    };
    let stream = Arc::clone(context.stream(name)?);
    let accept = handshake(request.headers())?;
    let place = context.viewer()?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        watch(socket, &stream, video, admission).await;
        drop(place);
    });
    let mut reply = Response::new(Body::Whole(None));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(HeaderName::from_static("sec-websocket-accept"), accept);
    Ok(reply)
}

/// The answer to a request for a WebSocket (RFC 6455, section 4.2).
fn handshake(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let says = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    let key = headers.get("sec-websocket-key");
    let asks = says(UPGRADE, "websocket") && says(CONNECTION, "upgrade");
    let key = key.filter(|_| asks && says(HeaderName::from_static("sec-websocket-version"), "13"));
    let key = key.ok_or_else(|| {
        Refusal::new(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket, expected a request for one, version 13")
    })?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| Refusal::bad("sec-websocket-key: is none"))
}

async fn watch(
    mut socket: WebSocketStream<TokioIo<Upgraded>>,
    stream: &LiveStream,
    video: Video,
    mut admission: Admission,
) {
    let mut lines = stream.lines();
    let mut pictures = if video == Video::Jpeg { stream.pictures(Drawn::Plain).ok() } else { None };
    let mut film = match video {
        Video::Mp4 => stream.film().map(watching::watch),
        Video::None | Video::Jpeg => None,
    };
    if video == Video::Mp4 && film.is_none() && send(&mut socket, no_film()).await.is_err() {
        return;
    }
    let mut close = None;
    loop {
        let next_picture = async {
            match &mut pictures {
                Some(pictures) => pictures.changed().await.ok().and_then(|()| pictures.borrow_and_update().clone()),
                None => std::future::pending().await,
            }
        };
        let next_part = async {
            match &mut film {
                Some(film) => film.recv().await,
                None => std::future::pending().await,
            }
        };
        let message = tokio::select! {
            biased;
            said = socket.next() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => continue,
            },
            () = admission.over() => {
                // Not the stream's end: the page asks for the password.
                close = Some(CloseFrame { code: CloseCode::Policy, reason: "no longer let in".into() });
                break;
            }
            line = lines.recv() => match line {
                Ok(LiveLine::Frame(text) | LiveLine::Event(text)) => Message::Text(text),
                Ok(LiveLine::End) | Err(RecvError::Closed) => break,
                Err(RecvError::Lagged(lost)) => Message::text(json!({ "lost": lost }).to_string()),
            },
            picture = next_picture => match picture {
                Some(picture) => Message::Binary(of_picture(&picture)),
                None => continue,
            },
            part = next_part => match part {
                Some(FilmPart::Picture(bytes)) => Message::Binary(bytes),
                Some(FilmPart::Head(FilmHead { codec, origin_ns, width, height, init })) => {
                    let head = json!({ "codec": codec, "origin_ns": origin_ns, "width": width, "height": height });
                    if send(&mut socket, Message::text(json!({ "film": head }).to_string())).await.is_err() {
                        return;
                    }
                    Message::Binary(init)
                }
                Some(FilmPart::None) => no_film(),
                // Its stream has ended; that is said as well.
                None => {
                    film = None;
                    continue;
                }
            },
        };
        if send(&mut socket, message).await.is_err() {
            return;
        }
    }
    // Whoever left does not hear it.
    let _ = timeout(TO_TAKE, socket.close(close)).await;
}

/// A viewer who takes nothing for too long is let go of.
async fn send(socket: &mut WebSocketStream<TokioIo<Upgraded>>, message: Message) -> Result<(), Gone> {
    match timeout(TO_TAKE, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

/// A viewer left, or is as good as gone.
struct Gone;

fn no_film() -> Message {
    Message::text(json!({ "film": null }).to_string())
}

fn of_picture(picture: &live::Picture) -> Bytes {
    [&picture.seq.to_be_bytes()[..], &picture.jpeg].concat().into()
}
