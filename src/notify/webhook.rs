//! Events to a web server, signed as Standard Webhooks are.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::time::timeout;

use super::deliver::{Failure, Target, reason};
use super::queue::Waiting;
use super::settings::{Key, SnapshotForm, WebhookSettings};
use super::tls;

/// More of an answer is not read.
const LONGEST_ANSWER: usize = 64 * 1024;
/// So many letters of an answer are told.
const TOLD: usize = 120;
/// Statuses of a server that will never take this event, and may take the next.
const REFUSALS: [StatusCode; 4] = [
    StatusCode::BAD_REQUEST,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::UNPROCESSABLE_ENTITY,
];
/// What ids have as they are, in a header.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

type Client = hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A web server that is told.
pub(super) struct Webhook {
    settings: WebhookSettings,
    timeout: Duration,
    /// With the headers of every request. Connections are kept; after a failure passwords and authorities are read anew.
    client: Option<(Client, HeaderMap)>,
}

impl Webhook {
    pub(super) fn new(settings: &WebhookSettings, timeout: Duration) -> Self {
        Self { settings: settings.clone(), timeout, client: None }
    }

    fn client(&mut self) -> Result<(Client, HeaderMap), Failure> {
        if let Some((client, headers)) = &self.client {
            return Ok((client.clone(), headers.clone()));
        }
        let trust = tls::client(self.settings.peer.ca.as_deref()).map_err(|e| Failure::Away(e.to_string()))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(trust).https_or_http().enable_http1().build();
        let mut builder = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        let client: Client = builder.pool_timer(TokioTimer::new()).build(connector);
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("spotter/", env!("CARGO_PKG_VERSION"))));
        if let Some(login) = &self.settings.peer.login {
            let login = login.now();
            let coded = STANDARD.encode(format!("{}:{}", login.user, login.password));
            if let Ok(value) = HeaderValue::try_from(format!("Basic {coded}")) {
                headers.insert(AUTHORIZATION, value);
            }
        }
        headers.extend(self.settings.headers.iter().cloned());
        self.client = Some((client.clone(), headers.clone()));
        Ok((client, headers))
    }

    async fn post(&mut self, waiting: &Waiting) -> Result<(), Failure> {
        let (client, mut headers) = self.client()?;
        let (content_type, body) = body(waiting, self.settings.snapshot);
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        let id = utf8_percent_encode(&waiting.id, PLAIN).to_string();
        let time = crate::clock::now_unix_ns() / 1_000_000_000;
        if let Some(key) = &self.settings.secret {
            set(HeaderName::from_static("webhook-signature"), signature(key, &id, time, &body));
        }
        set(HeaderName::from_static("webhook-id"), id);
        set(HeaderName::from_static("webhook-timestamp"), time.to_string());
        set(CONTENT_TYPE, content_type);
        let away = |error: &dyn std::error::Error| Failure::Away(reason(error));
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.settings.peer.address.parse().map_err(|e: hyper::http::uri::InvalidUri| away(&e))?;
        *request.headers_mut() = headers;
        let answer = client.request(request).await.map_err(|e| away(&e))?;
        let status = answer.status();
        // Read to its end, so that the connection can be used again.
        let text = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        if status.is_success() {
            return Ok(());
        }
        let text = text.map(|text| String::from_utf8_lossy(&text.to_bytes()).into_owned()).unwrap_or_default();
        let text: String = text.lines().next().unwrap_or_default().chars().take(TOLD).collect();
        let told = format!("the server answers {status} {text}").trim_end().to_owned();
        Err(if REFUSALS.contains(&status) { Failure::Refused(told) } else { Failure::Away(told) })
    }
}

impl Target for Webhook {
    async fn send(&mut self, waiting: &Waiting) -> Result<(), Failure> {
        let late = format!("no answer within {}", humantime::format_duration(self.timeout));
        let sent = timeout(self.timeout, self.post(waiting)).await.unwrap_or(Err(Failure::Away(late)));
        if matches!(sent, Err(Failure::Away(_))) {
            self.client = None;
        }
        sent
    }
}

/// The kind of a body, and the body.
fn body(waiting: &Waiting, form: SnapshotForm) -> (String, Vec<u8>) {
    const JSON: &str = "application/json";
    match (form, &waiting.snapshot) {
        (SnapshotForm::None, _) | (_, None) => (JSON.into(), waiting.event.clone().into_bytes()),
        (SnapshotForm::Base64, Some(picture)) => {
            let mut event: Value = serde_json::from_str(&waiting.event).unwrap_or_default();
            event["snapshot"] = json!({ "content_type": "image/jpeg", "base64": STANDARD.encode(picture) });
            (JSON.into(), event.to_string().into_bytes())
        }
        (SnapshotForm::Multipart, Some(picture)) => {
            let boundary = format!("spotter-{:032x}", rand::random::<u128>());
            let part = |name: &str, of_kind: &str| {
                format!(
                    "--{boundary}\r\nContent-Disposition: form-data; name={name}\r\nContent-Type: {of_kind}\r\n\r\n"
                )
            };
            let event = format!("{}{}\r\n", part("\"event\"", JSON), waiting.event);
            let head = part("\"snapshot\"; filename=\"snapshot.jpg\"", "image/jpeg");
            let end = format!("\r\n--{boundary}--\r\n");
            let parts = [event.as_bytes(), head.as_bytes(), picture, end.as_bytes()];
            (format!("multipart/form-data; boundary={boundary}"), parts.concat())
        }
    }
}

/// A signature by the rules of Standard Webhooks: of id, time in seconds since 1970, and body.
fn signature(key: &Key, id: &str, time: i64, body: &[u8]) -> String {
    // A key may have any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key.0) else { return String::new() };
    mac.update(format!("{id}.{time}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> Waiting {
        Waiting {
            number: 1,
            id: "a".into(),
            stream: "gate".into(),
            query: "a car".into(),
            kind: "sighting_start".into(),
            event: "{\"id\":\"a\"}".into(),
            snapshot: Some(vec![0xff, 0xd8, b'\r', b'\n', 0]),
        }
    }

    /// The example in the specification's reference implementations.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let key = Key(STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64"));
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn bodies_by_form() {
        assert_eq!(body(&waiting(), SnapshotForm::None), ("application/json".into(), b"{\"id\":\"a\"}".to_vec()));
        let (_, text) = body(&waiting(), SnapshotForm::Base64);
        let value: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!((&value["id"], &value["snapshot"]["base64"]), (&json!("a"), &json!("/9gNCgA=")));
        let (kind, bytes) = body(&waiting(), SnapshotForm::Multipart);
        let boundary = kind.split_once("boundary=").expect("a boundary").1;
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches(boundary).count(), 3);
        assert!(bytes.windows(5).any(|part| part == [0xff, 0xd8, b'\r', b'\n', 0]));
        let plain = Waiting { snapshot: None, ..waiting() };
        assert_eq!(body(&plain, SnapshotForm::Multipart).0, "application/json");
    }
}
