//! Answers: bodies that are there, bodies that come, and the headers that all of them carry.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::service::hide;

/// The body of an answer.
pub(super) enum Body {
    /// All of it.
    Whole(Option<Bytes>),
    /// Its parts as they come; it ends when nobody sends any more.
    Parts(mpsc::Receiver<Bytes>),
}

/// An answer.
pub(super) type Reply = Response<Body>;

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = match &mut *self {
            Self::Whole(bytes) => bytes.take(),
            Self::Parts(parts) => std::task::ready!(parts.poll_recv(context)),
        };
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Parts(_) => SizeHint::default(),
        }
    }
}

/// Why a request is not met.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: String,
    /// Methods that are expected, where another one came.
    pub(super) allow: Option<HeaderValue>,
}

/// What a handler gives.
pub(super) type Answer = Result<Reply, Refusal>;

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), allow: None }
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what}: there is none of that name"))
    }

    pub(super) fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    pub(super) fn reply(self) -> Reply {
        let mut reply = with_status(self.status, json(json!({ "error": self.reason })));
        if let Some(allow) = self.allow {
            reply.headers_mut().insert(ALLOW, allow);
        }
        reply
    }
}

/// What was asked for is wrong, or something failed here.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Absent(_) => StatusCode::NOT_FOUND,
            Error::Conflict(_) => StatusCode::CONFLICT,
            // It was understood, and the model knows no word of it.
            Error::Model(_) if error.exit_code() == 2 => StatusCode::UNPROCESSABLE_ENTITY,
            _ if error.exit_code() == 2 => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

/// JSON with no secret in it.
pub(super) fn json(mut value: Value) -> Reply {
    hide(&mut value);
    whole("application/json", format!("{value}\n").into())
}

/// Done, and nothing to say.
pub(super) fn nothing() -> Reply {
    with_status(StatusCode::NO_CONTENT, Response::new(Body::Whole(None)))
}

/// A body that is there.
pub(super) fn whole(content_type: &'static str, bytes: Bytes) -> Reply {
    let mut reply = Response::new(Body::Whole(Some(bytes)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A body that comes.
pub(super) fn parts(content_type: &'static str, parts: mpsc::Receiver<Bytes>) -> Reply {
    let mut reply = Response::new(Body::Parts(parts));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

pub(super) fn with_status(status: StatusCode, mut reply: Reply) -> Reply {
    *reply.status_mut() = status;
    reply
}

/// What browsers are told with every answer: the page runs its own files alone, nobody frames it, nobody else reads it.
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Adds them. What says nothing of its age is not kept.
pub(super) fn harden(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
