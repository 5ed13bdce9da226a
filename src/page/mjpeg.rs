//! A stream as JPEG pictures one after the other, with boxes drawn in: for whatever shows `<img>`.

use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Context;
use super::access::Admission;
use super::live::Drawn;
use super::reply::{Answer, Refusal, parts};
use super::socket::TO_TAKE;

/// What stands between two pictures.
const CONTENT_TYPE: &str = "multipart/x-mixed-replace; boundary=frame";

/// The pictures of a stream from now on, the newest whenever the viewer is ready for one.
///
/// # Errors
/// There is no such stream, or too many watch.
pub(super) fn stream(context: &Arc<Context>, name: &str, mut admission: Admission) -> Answer {
    let stream = Arc::clone(context.stream(name)?);
    let place = context.viewer()?;
    let pictures = stream.pictures(Drawn::Boxes);
    let mut pictures = pictures.map_err(|error| Refusal::from(crate::Error::Worker(error.to_string())))?;
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        loop {
            tokio::select! {
                // Whoever leaves is not drawn for until the next frame.
                () = send.closed() => return,
                () = stream.over() => return,
                () = admission.over() => return,
                changed = pictures.changed() => {
                    let picture = pictures.borrow_and_update().clone();
                    let Some(picture) = picture.filter(|_| changed.is_ok()) else { continue };
                    let head = format!(
                        "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", picture.jpeg.len()
                    );
                    let part = [head.as_bytes(), &picture.jpeg, b"\r\n"].concat();
                    // A viewer who takes nothing for too long is let go of.
                    if !matches!(timeout(TO_TAKE, send.send(Bytes::from(part))).await, Ok(Ok(()))) {
                        return;
                    }
                }
            }
        }
    });
    Ok(parts(CONTENT_TYPE, receive))
}
