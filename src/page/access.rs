//! Who may come in: by which name, from which page, with which password.
//!
//! A page of somebody else's that a browser of this machine has open can send requests here, and by a name of its own that
//! suddenly leads here (DNS rebinding) read the answers. So every request names a host that is meant for us, and one that changes
//! something comes from our own page, or from no page at all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordVerifier};
use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::{Method, StatusCode};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};

use super::PageSettings;
use super::reply::Refusal;
use crate::error::{Error, Result};

/// The cookie's name.
const SESSION: &str = "spotter_session";
/// How long somebody who does nothing stays in.
const LONGEST: Duration = Duration::from_hours(12);
/// How old a cookie is that is given anew, so that nobody who comes back in time has to say the password again.
const RENEW: Duration = Duration::from_hours(1);
/// Sessions at once, at most; the oldest goes.
const SESSIONS: usize = 256;
/// Wrong passwords before the next one has to wait, and how long it waits then; doubles with every further one.
const FREE: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// Wrong passwords are forgotten so long after the next one could have been said; where many places are known, sooner.
const FORGET: Duration = Duration::from_hours(1);
/// Places from which wrong passwords came, at most.
const PLACES: usize = 1024;
/// The shortest token of a program, in letters.
const SHORTEST_TOKEN: usize = 32;
/// The longest password, in bytes.
const LONGEST_PASSWORD: usize = 1024;

/// A secret as it is kept and compared: nobody learns anything from how long that takes.
type Digested = [u8; 32];

/// Decides who may come in.
pub(super) struct Access {
    /// Names beside `localhost` and addresses.
    hosts: Vec<String>,
    tls: bool,
    /// A PHC string.
    password: Option<String>,
    token: Option<Digested>,
    sessions: Mutex<HashMap<Digested, Session>>,
    tries: Mutex<HashMap<IpAddr, Tries>>,
    /// Passwords are looked at one after the other: each takes memory and time, on purpose.
    turn: Semaphore,
}

/// Somebody who is in.
struct Session {
    /// When something was asked for last.
    last: Instant,
    /// When the cookie was given.
    given: Instant,
    /// Whoever watches hears when it goes.
    alive: watch::Sender<()>,
}

/// What somebody has who was let in.
#[derive(Clone)]
pub(super) struct Admission {
    /// None where nobody is asked, or a program came.
    session: Option<watch::Receiver<()>>,
    /// A cookie that is given anew.
    pub(super) cookie: Option<HeaderValue>,
}

impl Admission {
    /// Waits until it holds no more: its session was ended.
    pub(super) async fn over(&mut self) {
        match &mut self.session {
            // Nothing is ever said; in the end nobody is there to say it.
            Some(session) => while session.changed().await.is_ok() {},
            None => std::future::pending().await,
        }
    }
}

/// Wrong passwords from one place.
struct Tries {
    wrong: u32,
    again: Instant,
}

impl Access {
    /// # Errors
    /// A file cannot be read, or holds something else.
    pub(super) fn new(settings: &PageSettings) -> Result<Self> {
        let token = settings.token.as_deref().map(read_token).transpose()?;
        Ok(Self {
            hosts: settings.hosts.iter().map(|name| name.to_ascii_lowercase()).collect(),
            tls: settings.tls.is_some(),
            password: settings.password.as_deref().map(read_password).transpose()?,
            token,
            sessions: Mutex::default(),
            tries: Mutex::default(),
            turn: Semaphore::new(1),
        })
    }

    /// Whether somebody has to say a password.
    pub(super) fn asks(&self) -> bool {
        self.password.is_some()
    }

    /// Refuses requests that were meant for somebody else, or sent by somebody else's page. `opens` where what is asked for
    /// cannot be read by those who merely send for it, and so may be followed to from elsewhere.
    ///
    /// # Errors
    /// It is one of those.
    pub(super) fn check_sender(&self, method: &Method, headers: &HeaderMap, opens: bool) -> Result<(), Refusal> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.is_ours(host) {
            let reason = format!(
                "the request names the host {host:?}, expected an address, localhost, or a name that --page-host gives"
            );
            return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, reason));
        }
        let foreign = |what: &str| Refusal::new(StatusCode::FORBIDDEN, format!("{what} another page is refused"));
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let (scheme, place) = origin.split_once("://").unwrap_or_default();
            // Somebody in front of us may speak TLS for us.
            let right = if self.tls { scheme == "https" } else { matches!(scheme, "http" | "https") };
            if !right || !place.eq_ignore_ascii_case(host) {
                return Err(foreign("a request from"));
            }
        }
        let site = headers.get(HeaderName::from_static("sec-fetch-site")).and_then(|site| site.to_str().ok());
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) && !(reads && opens) {
            return Err(foreign("what is sent for by"));
        }
        Ok(())
    }

    /// Names that lead here: addresses cannot be made to lead anywhere else.
    fn is_ours(&self, host: &str) -> bool {
        let bare = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !name.ends_with(':') => name,
            _ => host,
        };
        let address = bare.strip_prefix('[').and_then(|bare| bare.strip_suffix(']')).unwrap_or(bare);
        let bare = bare.to_ascii_lowercase();
        bare == "localhost" || address.parse::<IpAddr>().is_ok() || self.hosts.contains(&bare)
    }

    /// What whoever sent these headers has, who has been let in.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Option<Admission> {
        self.admit_at(headers, Instant::now())
    }

    fn admit_at(&self, headers: &HeaderMap, now: Instant) -> Option<Admission> {
        if !self.asks() || bearer(headers).is_some_and(|bearer| self.token == Some(digest(bearer))) {
            return Some(Admission { session: None, cookie: None });
        }
        let (text, in_cookie) = session(headers)?;
        let mut sessions = self.sessions();
        // Somebody who watches does something.
        sessions.retain(|_, one| one.alive.receiver_count() > 0 || now.saturating_duration_since(one.last) < LONGEST);
        let session = sessions.get_mut(&digest(text))?;
        session.last = now;
        let is_old = in_cookie && now.saturating_duration_since(session.given) >= RENEW;
        let cookie = if is_old { HeaderValue::from_str(&self.cookie(text)).ok() } else { None };
        if cookie.is_some() {
            session.given = now;
        }
        Some(Admission { session: Some(session.alive.subscribe()), cookie })
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<Digested, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody in who knows the password: what stands in the cookie from then on.
    ///
    /// # Errors
    /// The password is wrong, or others that were wrong came from the same place just now.
    pub(super) async fn enter(&self, from: IpAddr, password: String) -> Result<String, Refusal> {
        let Some(hash) = self.password.clone() else {
            return Err(Refusal::new(StatusCode::CONFLICT, "nobody is asked for a password here"));
        };
        let _turn = self.turn.acquire().await;
        let from = place(from);
        self.may_try(from, Instant::now())?;
        let verify = move || is_right(&hash, &password);
        let right = tokio::task::spawn_blocking(verify).await.unwrap_or(false);
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if !right {
            let entry = tries.entry(from).or_insert(Tries { wrong: 0, again: Instant::now() });
            entry.wrong += 1;
            let doubled = PAUSE.saturating_mul(1 << entry.wrong.saturating_sub(FREE).min(16));
            entry.again = Instant::now() + if entry.wrong < FREE { Duration::ZERO } else { doubled.min(LONGEST_PAUSE) };
            tracing::warn!("page: a wrong password from {from}");
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "the password is wrong"));
        }
        tries.remove(&from);
        drop(tries);
        Ok(self.begin(Instant::now()))
    }

    /// A new session.
    fn begin(&self, now: Instant) -> String {
        let session = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let mut sessions = self.sessions();
        if sessions.len() >= SESSIONS
            && let Some(oldest) = sessions
                .iter()
                .min_by_key(|(_, one)| (one.alive.receiver_count() > 0, one.last))
                .map(|(session, _)| *session)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(digest(&session), Session { last: now, given: now, alive: watch::Sender::new(()) });
        session
    }

    fn may_try(&self, from: IpAddr, now: Instant) -> Result<(), Refusal> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = if tries.len() >= PLACES { LONGEST_PAUSE } else { FORGET };
        tries.retain(|_, tries| now.saturating_duration_since(tries.again) < memory);
        let wait = match tries.get(&from) {
            Some(tries) => tries.again.saturating_duration_since(now),
            None if tries.len() >= PLACES => LONGEST_PAUSE,
            None => Duration::ZERO,
        };
        if wait.is_zero() {
            return Ok(());
        }
        let reason = format!("too many wrong passwords; try again in {} s", wait.as_secs() + 1);
        Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason))
    }

    /// Whoever has this session is out, and sees nothing more.
    pub(super) fn leave(&self, headers: &HeaderMap) {
        if let Some((session, _)) = session(headers) {
            self.sessions().remove(&digest(session));
        }
    }

    /// The cookie that keeps somebody in; one that is empty takes it away.
    pub(super) fn cookie(&self, session: &str) -> String {
        let secure = if self.tls { "; Secure" } else { "" };
        let age = if session.is_empty() { 0 } else { LONGEST.as_secs() };
        format!("{SESSION}={session}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
    }
}

fn is_right(hash: &str, password: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    password.len() <= LONGEST_PASSWORD && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

/// Whoever has one address of a network of IPv6 has all of them.
fn place(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ")).map(str::trim)
}

/// The session that headers name, and whether a cookie does. Programs may send it as they send a token.
fn session(headers: &HeaderMap) -> Option<(&str, bool)> {
    if let Some(bearer) = bearer(headers) {
        return Some((bearer, false));
    }
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix(SESSION)?.strip_prefix('='))
        .map(|session| (session, true))
}

fn digest(secret: &str) -> Digested {
    Sha256::digest(secret.as_bytes()).into()
}

fn first_line(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn read_password(path: &Path) -> Result<String> {
    let hash = first_line(path)?;
    match PasswordHash::new(&hash) {
        Ok(parsed) if parsed.algorithm.as_str().starts_with("argon2") && parsed.hash.is_some() => Ok(hash),
        _ => {
            let reason = "holds no hash by Argon2, expected $argon2id$… as `spotter password` writes it";
            Err(Error::Usage(format!("--page-password {}: {reason}", path.display())))
        }
    }
}

fn read_token(path: &Path) -> Result<Digested> {
    let token = first_line(path)?;
    if token.len() < SHORTEST_TOKEN {
        let reason = format!("its first line has {} letters, expected {SHORTEST_TOKEN} or more", token.len());
        return Err(Error::Usage(format!("--page-token {}: {reason}", path.display())));
    }
    crate::secrets::hide(&token);
    Ok(digest(&token))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn access(hosts: &[&str]) -> Access {
        let hosts = hosts.iter().map(|&name| name.to_owned()).collect();
        let place = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = PageSettings { place, tls: None, hosts, password: None, token: None };
        Access::new(&settings).expect("nothing to read")
    }

    /// One that asks for a password; nobody knows it here.
    fn guarded() -> Access {
        Access { password: Some(String::new()), ..access(&[]) }
    }

    fn with_cookie(session: &str) -> HeaderMap {
        [(COOKIE, format!("{SESSION}={session}").parse().expect("a value"))].into_iter().collect()
    }

    #[test]
    fn names_lead_here_or_elsewhere() {
        let access = access(&["Gate.example"]);
        for host in
            ["localhost", "localhost:80", "127.0.0.1:8080", "[::1]", "[::1]:443", "gate.example:1", "GATE.EXAMPLE"]
        {
            assert!(access.is_ours(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "gate.example.", "127.0.0.1.nip", "[::1", "a:b:c"] {
            assert!(!access.is_ours(host), "{host}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_place() {
        let place = |text: &str| place(text.parse().expect("an address"));
        assert_eq!(place("2001:db8:1:2:3::4"), place("2001:db8:1:2:ffff::1"));
        assert_ne!(place("2001:db8:1:2::1"), place("2001:db8:1:3::1"));
        assert_eq!(place("::ffff:192.0.2.1"), place("192.0.2.1"));
        assert_ne!(place("192.0.2.1"), place("192.0.2.2"));
    }

    #[test]
    fn places_are_forgotten_and_never_too_many() {
        let access = access(&[]);
        let from = |number: u32| IpAddr::from(number.to_be_bytes());
        let mut tries = access.tries.lock().expect("free");
        for number in 0..PLACES as u32 {
            tries.insert(from(number), Tries { wrong: FREE, again: Instant::now() + PAUSE });
        }
        drop(tries);
        let refused = access.may_try(from(u32::MAX), Instant::now()).expect_err("there is no room to remember it");
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let later = Instant::now() + PAUSE + LONGEST_PAUSE;
        access.may_try(from(u32::MAX), later).expect("there is room again");
        assert!(access.tries.lock().expect("free").is_empty());
    }

    #[test]
    fn few_wrong_passwords_are_forgotten_too() {
        let access = access(&[]);
        let from = IpAddr::from([192, 0, 2, 1]);
        let (now, wrong) = (Instant::now(), FREE + 4);
        access.tries.lock().expect("free").insert(from, Tries { wrong, again: now + PAUSE });
        access.may_try(from, now).expect_err("it has to wait");
        access.may_try(from, now + PAUSE).expect("it has waited");
        let known = || access.tries.lock().expect("free").get(&from).map(|tries| tries.wrong);
        assert_eq!(known(), Some(wrong), "the next wrong one waits longer");
        access.may_try(from, now + PAUSE + FORGET).expect("nobody knows of it");
        assert_eq!(known(), None);
    }

    #[test]
    fn a_cookie_is_given_anew_while_it_is_used() {
        let access = guarded();
        let began = Instant::now();
        let headers = with_cookie(&access.begin(began));
        let cookie = |after: Duration| access.admit_at(&headers, began + after).map(|admission| admission.cookie);
        assert_eq!(cookie(RENEW / 2), Some(None), "it is young");
        let given = cookie(RENEW).flatten().expect("another one");
        let given = given.to_str().expect("text").to_owned();
        assert!(
            given.starts_with(headers[COOKIE].to_str().expect("text")) && given.contains("Max-Age=43200"),
            "{given}"
        );
        assert_eq!(cookie(RENEW + RENEW / 2), Some(None), "once");
        // Beyond the age of the first one.
        assert!(cookie(LONGEST / 12 * 11).is_some() && cookie(LONGEST + RENEW).is_some());
        assert_eq!(cookie(3 * LONGEST), None, "nothing was asked for in between");
        assert!(access.admit_at(&with_cookie("0123"), began).is_none());
    }

    #[test]
    fn who_watches_stays_in_and_hears_when_the_session_is_ended() {
        let access = guarded();
        let began = Instant::now();
        let headers = with_cookie(&access.begin(began));
        let mut watching = access.admit_at(&headers, began).expect("in");
        assert!(access.admit_at(&headers, began + 2 * LONGEST).is_some(), "somebody watches");
        assert!(watching.over().now_or_never().is_none());
        access.leave(&headers);
        assert!(watching.over().now_or_never().is_some());
        assert!(access.admit_at(&headers, began + 2 * LONGEST).is_none());
    }
}
