//! Requests to a hub: through redirects, with the token for the hub alone.

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, IF_RANGE, RANGE, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use url::Url;

use crate::answer::{Remote, Trouble, host, is_of_file, refusal, refuse_page, target};
use crate::error::{Error, Result};
use crate::settings::{Settings, address};
use crate::wanted::Repository;

/// More redirects lead nowhere.
const HOPS: usize = 8;

/// How long things may take, and how often they are tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a server is connected.
    pub connect: Duration,
    /// Until it answers, and then until more comes.
    pub silence: Duration,
    /// Before the second attempt; it doubles with every further one.
    pub first_wait: Duration,
    /// It is not doubled beyond this, and a server that wants to be left alone for longer is given up.
    pub longest_wait: Duration,
    /// Attempts in a row in which nothing new came.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(90),
            attempts: 6,
        }
    }
}

/// A file of a repository at a commit, or, where the hub names none, at a branch or tag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) commit: &'a str,
    pub(crate) file: &'a str,
}

pub(crate) struct Client {
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    hub: Url,
    token: Option<HeaderValue>,
    pub(crate) patience: Patience,
}

impl Client {
    pub(crate) fn new(settings: &Settings, trust: rustls::ClientConfig, patience: Patience) -> Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(patience.connect));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let mut builder = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        let http = builder.pool_timer(TokioTimer::new()).build(connector);
        let token = settings.token.as_ref().map(|token| {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let odd = |_| Error::Usage("HF_TOKEN holds letters that no token has, expected hf_…".into());
            value.map_err(odd).map(|mut value| {
                value.set_sensitive(true);
                value
            })
        });
        Ok(Self { http, hub: settings.endpoint.clone(), token: token.transpose()?, patience })
    }

    fn url(&self, place: Place<'_>) -> Result<Url, Trouble> {
        let Place { repository, commit, file } = place;
        let path = format!("{}/resolve/{}/{file}", repository.path(), commit.replace('/', "%2F"));
        let written = address(&self.hub, &path);
        Url::parse(&written).map_err(|e| Trouble::Final(format!("{written} is no address ({e})")))
    }

    fn is_ours(&self, url: &Url) -> bool {
        url.origin() == self.hub.origin()
    }

    async fn ask(&self, method: Method, url: &Url, mut headers: HeaderMap) -> Result<Response<Incoming>, Trouble> {
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("spotter/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(token) = self.token.as_ref().filter(|_| self.is_ours(url)) {
            headers.insert(AUTHORIZATION, token.clone());
        }
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|e: hyper::http::uri::InvalidUri| Trouble::Final(format!("{}: {e}", host(url))))?;
        *request.headers_mut() = headers;
        let silence = self.patience.silence;
        match timeout(silence, self.http.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let (who, cause) = (host(url), cause(&error));
                let away = error.is_connect();
                let reason = if away {
                    format!("{who} cannot be reached ({cause})")
                } else {
                    format!("{who} does not answer ({cause})")
                };
                Err(Trouble::Passing { reason, after: None, away })
            }
            Err(_) => {
                let reason = format!("{} does not answer within {} s", host(url), silence.as_secs_f64());
                Err(Trouble::Passing { reason, after: None, away: true })
            }
        }
    }

    /// What the hub says of a file; none where the repository has no such file.
    pub(crate) async fn look(&self, place: Place<'_>) -> Result<Option<Remote>, Trouble> {
        let mut url = self.url(place)?;
        let mut remote = Remote::default();
        for _ in 0..HOPS {
            let answer = self.ask(Method::HEAD, &url, HeaderMap::new()).await?;
            let (status, headers) = (answer.status(), answer.headers());
            if status.is_redirection() {
                remote.learn(headers, self.is_ours(&url));
                let next = target(&url, status, headers)?;
                // Elsewhere lies the file; the hub has said what it is.
                if remote.is_known() && !self.is_ours(&next) {
                    return Ok(Some(remote));
                }
                url = next;
            } else if status.is_success() {
                refuse_page(&url, headers, place.file)?;
                remote.learn_of_file(headers, self.is_ours(&url));
                return Ok(Some(remote));
            } else if is_of_file(status, headers) {
                return Ok(None);
            } else {
                return Err(refusal(&url, status, headers, self.token.is_some()));
            }
        }
        Err(Trouble::Final(format!("{} leads from one place to the next without end", host(&url))))
    }

    /// The file itself, from a byte on, as long as its mark is `etag`; with the address that gives it. Its status is 200, 206
    /// or 416.
    pub(crate) async fn open(
        &self,
        place: Place<'_>,
        from: u64,
        etag: Option<&HeaderValue>,
    ) -> Result<(Response<Incoming>, Url), Trouble> {
        let mut url = self.url(place)?;
        for _ in 0..HOPS {
            let mut headers = HeaderMap::new();
            if let Some(range) =
                (from > 0).then(|| HeaderValue::try_from(format!("bytes={from}-"))).and_then(Result::ok)
            {
                headers.insert(RANGE, range);
                headers.extend(etag.map(|etag| (IF_RANGE, etag.clone())));
            }
            let answer = self.ask(Method::GET, &url, headers).await?;
            let (status, headers) = (answer.status(), answer.headers());
            match status {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                    return Ok((answer, url));
                }
                _ if status.is_redirection() => url = target(&url, status, headers)?,
                _ => return Err(refusal(&url, status, headers, self.token.is_some())),
            }
        }
        Err(Trouble::Final(format!("{} leads from one place to the next without end", host(&url))))
    }
}

/// The last cause of an error, which says what happened; what is around it says where.
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}
