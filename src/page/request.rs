//! What a request says.

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::reply::Refusal;

/// The longest body, in bytes.
const LONGEST: usize = 64 * 1024;

/// The parts of a path, decoded: a name may hold a slash.
///
/// # Errors
/// One of them is no text.
pub(super) fn path(path: &str) -> Result<Vec<String>, Refusal> {
    let decode = |part: &str| percent_decode_str(part).decode_utf8().map(String::from);
    let parts: Result<Vec<String>, _> = path.trim_start_matches('/').split('/').map(decode).collect();
    parts.map_err(|_| Refusal::bad("the path is no UTF-8"))
}

/// How long a client may take to send a body: without a limit, a few who send none would keep everybody else out.
const TO_SEND: std::time::Duration = std::time::Duration::from_secs(15);

/// What stands behind the question mark.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// # Errors
    /// One of them is no text, or none that `known` holds.
    pub(super) fn of(request: &Request<Incoming>, known: &[&str]) -> Result<Self, Refusal> {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8().map(String::from).map_err(|_| Refusal::bad("no UTF-8"))
        };
        let text = request.uri().query().unwrap_or_default();
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        });
        let pairs = pairs.collect::<Result<Vec<_>, Refusal>>()?;
        if let Some((odd, _)) = pairs.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            let expected = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Refusal::bad(format!("parameter {odd}: is not known here, expected {expected}")));
        }
        Ok(Self(pairs))
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// The body, as JSON. Forms of foreign pages cannot send such a thing unasked.
///
/// # Errors
/// It is something else, too long, or has fields that are not known.
pub(super) async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim() != "application/json" {
        let reason = format!("the body is {kind:?}, expected application/json");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
    }
    let coming = tokio::time::timeout(TO_SEND, Limited::new(request.into_body(), LONGEST).collect()).await;
    let coming = coming.map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body does not come"))?;
    let bytes = coming.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let reason = format!("the body is longer than {LONGEST} bytes");
            return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason);
        }
        Refusal::bad(format!("the body broke off: {error}"))
    })?;
    serde_json::from_slice(&bytes.to_bytes()).map_err(|error| Refusal::bad(format!("the body: {error}")))
}
