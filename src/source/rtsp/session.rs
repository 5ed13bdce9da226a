//! What a client and a server of RTSP say to each other, with what the proxy between them adds: logins, and requests that
//! keep a session alive. No sockets here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::addresses::Addresses;
use super::login::{Challenged, Signing};
use super::messages::Message;
use crate::source::address::server;

/// What is to be done with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// To the client.
    Forward(Message),
    /// To the server, signed.
    Ask(Message),
    /// To the server at another address (RFC 2326, section 3.3): the same request.
    Redirect(String, Message),
    /// It was for the proxy.
    Nothing,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Requester {
    /// The client, by this number of its own.
    Client(Option<u64>),
    Proxy,
}

/// A request that was not answered yet.
struct PendingRequest {
    /// Its number on the way to the server.
    number: u64,
    requester: Requester,
    /// As the client sent it, to the server's address.
    request: Message,
}

/// How a session is kept alive: what the server does not take is not sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepAlive {
    /// As ffmpeg and `OpenCV` do.
    #[default]
    GetParameter,
    /// Every server takes it.
    Options,
}

/// The session of a client with a server.
pub(super) struct Session {
    addresses: Addresses,
    signing: Signing,
    /// Of the request that was sent last.
    number: u64,
    pending: VecDeque<PendingRequest>,
    /// Its name, its address and how long it lives without a request.
    alive: Option<(String, String, Duration)>,
    playing: bool,
    last: Instant,
    keep_alive: KeepAlive,
    /// The server knows `GET_PARAMETER`.
    knows: bool,
    /// The address of the server's machine, for frames that come beside the connection.
    pub(super) host: Option<String>,
    /// What is wrong with the login that the server wants.
    pub(super) unknown_login: Option<String>,
    /// It has no such way for frames to travel (461).
    pub(super) transport_refused: bool,
    /// Answers that came.
    pub(super) answers: usize,
    /// Where the server sent us.
    moved: Option<String>,
}

/// How long a session lives where the server does not say (RFC 2326, section 12.37).
const USUAL_LIFE: Duration = Duration::from_mins(1);
/// Nobody is asked more often.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// Requests of ours that may be without an answer: a server that does not know them may be silent.
const MOST_PENDING: usize = 64;

impl Session {
    pub(super) fn new(addresses: Addresses, signing: Signing, keep_alive: KeepAlive) -> Self {
        Self {
            addresses,
            signing,
            number: 0,
            pending: VecDeque::new(),
            alive: None,
            playing: false,
            last: Instant::now(),
            keep_alive,
            knows: true,
            host: None,
            unknown_login: None,
            transport_refused: false,
            answers: 0,
            moved: None,
        }
    }

    /// A message of the client's as it goes to the server.
    pub(super) fn outgoing(&mut self, mut message: Message) -> Message {
        let addresses = self.addresses.clone();
        message.map(|text| addresses.outward(text));
        if message.asks().is_none() {
            // It answers the server.
            return message;
        }
        let requester = Requester::Client(message.number());
        self.ask(message, requester)
    }

    /// Numbers, signs and remembers a request.
    fn ask(&mut self, request: Message, requester: Requester) -> Message {
        self.number += 1;
        self.last = Instant::now();
        let mut signed = request.clone();
        signed.set("CSeq", self.number.to_string());
        self.signing.sign(&mut signed);
        if self.pending.len() >= MOST_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(PendingRequest { number: self.number, requester, request });
        signed
    }

    /// What keeps the session alive, when it is time for it: at half of its life.
    pub(super) fn keep(&mut self) -> Option<Message> {
        let (name, address, life) = self.alive.clone().filter(|_| self.playing)?;
        if self.last.elapsed() < (life / 2).max(LEAST_PAUSE) {
            return None;
        }
        if self.pending.iter().any(|pending| pending.requester == Requester::Proxy) {
            // The one before was not answered.
            self.knows = false;
        }
        let method = if self.knows && self.keep_alive == KeepAlive::GetParameter { "GET_PARAMETER" } else { "OPTIONS" };
        let mut request = Message::request(method, &address);
        request.set("Session", name);
        Some(self.ask(request, Requester::Proxy))
    }

    /// True where the last thing that was said is that the session shall live on.
    pub(super) fn just_kept(&self) -> bool {
        let last = self.pending.back().filter(|pending| pending.requester == Requester::Proxy);
        last.is_some_and(|pending| pending.request.start.starts_with("GET_PARAMETER"))
    }

    /// What a message of the server's leads to.
    pub(super) fn incoming(&mut self, mut message: Message) -> Reaction {
        let Some(status) = message.status() else { return Reaction::Forward(self.inward(message)) };
        self.answers += 1;
        let number = message.number();
        let at = match number.and_then(|number| self.pending.iter().position(|pending| pending.number == number)) {
            Some(at) => at,
            // Not every server says which request it answers.
            None if number.is_none() && !self.pending.is_empty() => 0,
            None => return Reaction::Forward(self.inward(message)),
        };
        let Some(PendingRequest { requester, request, .. }) = self.pending.remove(at) else { return Reaction::Nothing };
        if status == 401 {
            match self.signing.challenged(&message) {
                Challenged::Again => return Reaction::Ask(self.ask(request, requester)),
                Challenged::Refused => {}
                Challenged::Unknown(reason) => self.unknown_login = Some(reason),
            }
        } else if status < 400 {
            self.signing.agreed();
        }
        self.transport_refused |= status == 461;
        let Requester::Client(client) = requester else {
            // 451, 501 and whatever else: it is asked another way.
            self.knows &= status < 400;
            return Reaction::Nothing;
        };
        let method = request.asks().map(|(method, _)| method.to_owned()).unwrap_or_default();
        if (300..400).contains(&status)
            && method == "DESCRIBE"
            && let Some(location) = message.header("Location").map(str::to_owned)
        {
            let of = |address: &str| server(address).map(|(host, _)| host.to_owned());
            if request.asks().and_then(|(_, address)| of(address)) != of(&location) {
                // What one server may know is not for another.
                self.signing = Signing::new(None);
            }
            let mut request = request;
            request.start = format!("{method} {location} RTSP/1.0");
            self.moved = Some(location.clone());
            let request = self.ask(request, requester);
            return Reaction::Redirect(location, request);
        }
        if status < 300 {
            self.learn(&method, &request, &mut message);
        }
        if let Some(number) = client {
            message.set("CSeq", number.to_string());
        }
        Reaction::Forward(self.inward(message))
    }

    fn learn(&mut self, method: &str, request: &Message, answer: &mut Message) {
        let address = || request.asks().map(|(_, address)| address.to_owned()).unwrap_or_default();
        match method {
            "OPTIONS" => {
                let public: Vec<&str> = answer.all("Public").flat_map(|methods| methods.split(',')).collect();
                self.knows &= public.is_empty() || public.iter().any(|known| known.trim() == "GET_PARAMETER");
            }
            "DESCRIBE" => {
                // Else further requests would be for the address that led here.
                if let Some(moved) = self.moved.take().filter(|_| answer.header("Content-Base").is_none()) {
                    answer.set("Content-Base", format!("{}/", moved.trim_end_matches('/')));
                }
                if let Ok(description) = std::str::from_utf8(&answer.body) {
                    answer.body = with_controls(description, &address()).into_bytes();
                }
            }
            "SETUP" => {
                if let Some((name, life)) = answer.header("Session").map(session) {
                    self.alive = Some((name, address(), life.unwrap_or(USUAL_LIFE)));
                }
                // Else frames would be expected from where the answer came from, which is here.
                let transport = answer.header("Transport").map(str::to_owned).unwrap_or_default();
                let beside = !transport.contains("interleaved") && !transport.contains("multicast");
                if let Some(host) = self.host.clone().filter(|_| beside && !transport.contains("source=")) {
                    answer.set("Transport", format!("{transport};source={host}"));
                }
            }
            "PLAY" => {
                self.playing = true;
                if let Some((_, known, _)) = &mut self.alive {
                    *known = address();
                }
            }
            "PAUSE" | "TEARDOWN" => self.playing = false,
            _ => {}
        }
    }

    fn inward(&self, mut message: Message) -> Message {
        message.map(|text| self.addresses.inward(text));
        message
    }
}

/// A description in which every medium has an address of its own: one that has none is at that of the whole, and `rtspsrc`
/// passes over it.
fn with_controls(description: &str, address: &str) -> String {
    let media = description.match_indices("m=").map(|(at, _)| at);
    let mut starts: Vec<usize> = media.filter(|at| *at == 0 || description[..*at].ends_with('\n')).collect();
    let mut out = description[..starts.first().copied().unwrap_or(description.len())].to_owned();
    starts.push(description.len());
    for pair in starts.windows(2) {
        let medium = &description[pair[0]..pair[1]];
        out.push_str(medium);
        if !medium.contains("a=control:") {
            let end = if medium.ends_with('\n') { "" } else { "\r\n" };
            out.extend([end, "a=control:", address, "\r\n"]);
        }
    }
    out
}

/// The name of a session, and how long it lives without a request.
fn session(header: &str) -> (String, Option<Duration>) {
    let mut parts = header.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_owned();
    let seconds = parts.find_map(|part| part.strip_prefix("timeout=")?.trim().parse().ok());
    (name, seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Login;

    const BASE: &str = "rtsp://127.0.0.1:7/s/rtsp/";

    fn with(login: Option<Login>) -> Session {
        Session::new(Addresses::of(7, "s"), Signing::new(login), KeepAlive::default())
    }

    fn asks(session: &mut Session, method: &str, number: u64) -> Message {
        let mut request = Message::request(method, &format!("{BASE}cam/live"));
        request.set("CSeq", number.to_string());
        session.outgoing(request)
    }

    fn answer(start: &str, headers: &[(&str, &str)]) -> Message {
        let mut answer = Message::request("", "");
        answer.start = format!("RTSP/1.0 {start}");
        for (name, value) in headers {
            answer.set(name, *value);
        }
        answer
    }

    #[test]
    fn a_wrong_password_is_sent_once_and_a_right_one_goes_on() {
        let mut session = with(Some(Login::new("me", "right word")));
        let asked = asks(&mut session, "DESCRIBE", 5);
        assert_eq!(asked.asks(), Some(("DESCRIBE", "rtsp://cam/live")));
        assert_eq!((asked.header("Authorization"), asked.number()), (None, Some(1)));
        let refusal =
            |number: &str| answer("401 Unauthorized", &[("CSeq", number), ("WWW-Authenticate", "Basic realm=\"x\"")]);
        let Reaction::Ask(signed) = session.incoming(refusal("1")) else { panic!("not asked again") };
        assert_eq!((signed.number(), signed.header("Authorization").is_some()), (Some(2), true));
        let Reaction::Forward(refused) = session.incoming(refusal("2")) else { panic!("asked once more") };
        assert_eq!((refused.status(), refused.number()), (Some(401), Some(5)));
        // The next attempt is another connection; within one, what was agreed to once is signed from the start.
        let mut session = with(Some(Login::new("me", "right word")));
        asks(&mut session, "DESCRIBE", 1);
        session.incoming(refusal("1"));
        session.incoming(answer("200 OK", &[("CSeq", "2")]));
        assert!(asks(&mut session, "SETUP", 2).header("Authorization").is_some());
    }

    #[test]
    fn sessions_are_kept_alive_in_a_way_that_the_server_takes() {
        let mut session = with(None);
        asks(&mut session, "SETUP", 1);
        session.incoming(answer("200 OK", &[("CSeq", "1"), ("Session", "ab;timeout=2")]));
        assert_eq!(session.keep(), None, "nothing plays");
        asks(&mut session, "PLAY", 2);
        session.incoming(answer("200 OK", &[("CSeq", "2"), ("Session", "ab")]));
        assert_eq!(session.keep(), None, "too early");
        let later = |session: &mut Session| session.last -= Duration::from_millis(1100);
        later(&mut session);
        let kept = session.keep().expect("time for it");
        assert_eq!(kept.asks(), Some(("GET_PARAMETER", "rtsp://cam/live")));
        assert_eq!(kept.header("Session"), Some("ab"));
        assert!(session.just_kept());
        assert_eq!(session.incoming(answer("451 Not Understood", &[("CSeq", "3")])), Reaction::Nothing);
        later(&mut session);
        assert_eq!(session.keep().expect("again").asks(), Some(("OPTIONS", "rtsp://cam/live")));
        // Silence is an answer, too: no request of the client's gets lost in it.
        asks(&mut session, "PAUSE", 9);
        let Reaction::Forward(paused) = session.incoming(answer("200 OK", &[("CSeq", "5")])) else { panic!("lost") };
        assert_eq!(paused.number(), Some(9));
    }

    #[test]
    fn a_medium_without_an_address_is_at_that_of_the_whole() {
        let head = "v=0\r\ns=cam\r\n";
        let bare = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
        let whole = "m=audio 0 RTP/AVP 8\r\na=control:track2\r\n";
        assert_eq!(
            with_controls(&[head, bare, whole].concat(), "rtsp://cam/live"),
            [head, bare, "a=control:rtsp://cam/live\r\n", whole].concat()
        );
        for kept in [head, whole, ""] {
            assert_eq!(with_controls(kept, "rtsp://cam/live"), kept);
        }
    }

    #[test]
    fn answers_lead_back_to_the_proxy_and_redirections_are_followed() {
        let mut session = with(None);
        session.host = Some("10.0.0.7".into());
        asks(&mut session, "DESCRIBE", 1);
        let moved = answer("302 Moved", &[("CSeq", "1"), ("Location", "rtsp://other/live")]);
        let Reaction::Redirect(there, request) = session.incoming(moved) else { panic!("not followed") };
        assert_eq!((there.as_str(), request.asks()), ("rtsp://other/live", Some(("DESCRIBE", "rtsp://other/live"))));
        let mut described = answer("200 OK", &[("CSeq", "2"), ("Content-Base", "rtsp://other/live/")]);
        described.body = b"a=control:rtsp://other/live/track\r\n".to_vec();
        let Reaction::Forward(described) = session.incoming(described) else { panic!("kept") };
        assert_eq!(described.header("Content-Base"), Some(format!("{BASE}other/live/").as_str()));
        assert_eq!(described.body, format!("a=control:{BASE}other/live/track\r\n").into_bytes());
        asks(&mut session, "SETUP", 2);
        let transport = "RTP/AVP;unicast;client_port=1-2;server_port=3-4";
        let set_up = answer("200 OK", &[("CSeq", "3"), ("Transport", transport), ("Session", "x")]);
        let Reaction::Forward(set_up) = session.incoming(set_up) else { panic!("kept") };
        assert_eq!(set_up.header("Transport"), Some(format!("{transport};source=10.0.0.7").as_str()));
    }
}
