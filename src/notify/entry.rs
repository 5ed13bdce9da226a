//! `[[notify]]` tables as they are written, and what is wrong with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use records::Rotation;
use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::queue::QueueSettings;
use super::settings::{Key, MqttSettings, NatsSettings, NotifySettings, Peer, Receiver, SnapshotForm, WebhookSettings};
use super::{HELD_BACK, KINDS};
use crate::config::parse_time;
use crate::error::{Error, Result};
use crate::limits::QuietHours;
use crate::secrets::{self, Login};
use crate::source::Credentials;

/// A `[[notify]]` table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyEntry {
    /// How messages and metrics call it; by its kind where it is not said.
    pub name: Option<String>,
    /// Whom to tell: `https://…`, `mqtt://HOST`, `mqtts://HOST`, `nats://HOST`, `tls://HOST` (NATS) or `jsonl:FILE`.
    pub to: String,
    /// Kinds of events; all without it.
    pub events: Vec<String>,
    /// Names of streams; all without it.
    pub streams: Vec<String>,
    /// Names of queries; all without it.
    pub queries: Vec<String>,
    /// A file with `user:password`.
    pub credentials: Option<PathBuf>,
    /// A file with certificates of authorities that are trusted besides the system's.
    pub ca: Option<PathBuf>,
    /// How long an attempt may take.
    pub timeout: Option<String>,
    /// How long to wait after the first attempt that fails; doubles with every further one.
    pub retry_interval: Option<String>,
    /// The longest wait.
    pub retry_max_interval: Option<String>,
    /// The file in which events wait.
    pub queue: Option<PathBuf>,
    /// Events that wait, at most; the oldest fall out.
    pub queue_events: Option<u64>,
    /// Their bytes, at most.
    pub queue_bytes: Option<String>,
    /// After one sighting of a query, others are not told of for so long.
    pub cooldown: Option<String>,
    /// Events a minute, at most.
    pub per_minute: Option<u32>,
    /// Times of the day in which nothing is told.
    pub quiet: Vec<String>,
    /// Webhooks: a file with headers, `Name: value`, one a line.
    pub headers: Option<PathBuf>,
    /// Webhooks: a file with the key by which bodies are signed.
    pub secret: Option<PathBuf>,
    /// Webhooks: how the picture is sent.
    pub snapshot: Option<SnapshotForm>,
    /// MQTT: how topics begin.
    pub topic: Option<String>,
    /// MQTT: as whom to connect.
    pub client_id: Option<String>,
    /// MQTT: where Home Assistant listens for new entities; empty for nowhere.
    pub discovery: Option<String>,
    /// MQTT: whether others may change queries.
    pub commands: Option<bool>,
    /// NATS: how subjects begin.
    pub subject: Option<String>,
    /// NATS: the stream of `JetStream`; it is made where it is not there.
    pub jetstream: Option<String>,
}

/// The longest time that means anything.
const LONGEST: Duration = Duration::from_hours(24);
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(1);
const EVENTS: u64 = 10_000;
const BYTES: u64 = 256 << 20;

/// Which keys are for which kind alone.
const OF_KIND: [(&str, &str); 9] = [
    ("headers", "webhook"),
    ("secret", "webhook"),
    ("snapshot", "webhook"),
    ("topic", "mqtt"),
    ("client_id", "mqtt"),
    ("discovery", "mqtt"),
    ("commands", "mqtt"),
    ("subject", "nats"),
    ("jetstream", "nats"),
];

impl NotifyEntry {
    /// With every key set.
    pub(crate) fn example() -> Self {
        let (text, path, list) = (|| Some(String::new()), || Some(PathBuf::new()), || vec![String::new()]);
        Self {
            name: text(),
            to: String::new(),
            events: list(),
            streams: list(),
            queries: list(),
            credentials: path(),
            ca: path(),
            timeout: text(),
            retry_interval: text(),
            retry_max_interval: text(),
            queue: path(),
            queue_events: Some(1),
            queue_bytes: text(),
            cooldown: text(),
            per_minute: Some(1),
            quiet: list(),
            headers: path(),
            secret: path(),
            snapshot: Some(SnapshotForm::None),
            topic: text(),
            client_id: text(),
            discovery: text(),
            commands: Some(true),
            subject: text(),
            jetstream: text(),
        }
    }

    /// Checks all of them. `streams` are those of the run.
    ///
    /// # Errors
    /// One is unusable, or two have one name or one queue.
    pub fn resolve(entries: &[Self], streams: &[&str]) -> Result<Vec<NotifySettings>> {
        let mut all: Vec<NotifySettings> = Vec::new();
        for entry in entries {
            let settings = entry.resolve_one(streams)?;
            if all.iter().any(|other| other.name == settings.name) {
                return Err(Error::Usage(format!("notify: two are called {}; give each its own name", settings.name)));
            }
            if let Some(other) = all.iter().find(|other| other.queue.path == settings.queue.path) {
                let reason = format!("{} has that queue too; give each its own", other.name);
                return Err(Error::Usage(format!("notify {}: {reason}", settings.name)));
            }
            all.push(settings);
        }
        Ok(all)
    }

    fn resolve_one(&self, streams: &[&str]) -> Result<NotifySettings> {
        let shown = secrets::without_login(&self.to);
        let expected = "expected an address as https://HOST/PATH, mqtt://HOST, mqtts://HOST, nats://HOST or tls://HOST, or jsonl:FILE";
        let scheme = self.to.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
        let kind = match scheme.as_str() {
            "http" | "https" => "webhook",
            "mqtt" | "mqtts" => "mqtt",
            "nats" | "tls" => "nats",
            "jsonl" => "file",
            _ => return Err(Error::Usage(format!("notify to {shown:?}: {expected}"))),
        };
        let name = self.name.clone().unwrap_or_else(|| kind.to_owned());
        let fail = |reason: &str| Error::Usage(format!("notify {name}: {reason}"));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err(fail("its name is no word of letters, digits, - and _"));
        }
        self.check_kind(kind).map_err(|reason| fail(&reason))?;
        let time = |key: &str, text: Option<&String>, usual: Duration, least: Duration| match text {
            Some(text) => parse_time(text, least..=LONGEST).map_err(|reason| fail(&format!("{key} {text}: {reason}"))),
            None => Ok(usual),
        };
        let millisecond = Duration::from_millis(1);
        let retry_interval = time("retry_interval", self.retry_interval.as_ref(), RETRY, millisecond)?;
        let retry_max_interval = time("retry_max_interval", self.retry_max_interval.as_ref(), RETRY_MAX, millisecond)?;
        let bytes = self.queue_bytes.as_deref().map(records::bytes).transpose();
        let receiver = match kind {
            "webhook" => Receiver::Webhook(self.webhook(&fail)?),
            "mqtt" => Receiver::Mqtt(self.mqtt(scheme == "mqtts", &fail)?),
            "nats" => Receiver::Nats(self.nats(&fail)?),
            _ => self.file(&fail)?,
        };
        Ok(NotifySettings {
            receiver,
            limits: self.limits(
                streams,
                time("cooldown", self.cooldown.as_ref(), Duration::ZERO, Duration::ZERO)?,
                &fail,
            )?,
            queue: QueueSettings {
                path: match &self.queue {
                    Some(path) => path.clone(),
                    None => state_folder()
                        .ok_or_else(|| fail("queue: is needed, there is no folder of this user's"))?
                        .join(format!("notify-{name}.sqlite")),
                },
                events: self.queue_events.unwrap_or(EVENTS).max(1),
                bytes: bytes.map_err(|reason| fail(&format!("queue_bytes {reason}")))?.unwrap_or(BYTES),
            },
            timeout: time("timeout", self.timeout.as_ref(), TIMEOUT, millisecond)?,
            retry_interval,
            retry_max_interval: retry_max_interval.max(retry_interval),
            name,
        })
    }

    /// Refuses keys that are for another kind.
    fn check_kind(&self, kind: &str) -> std::result::Result<(), String> {
        let set = |key: &str| match key {
            "headers" => self.headers.is_some(),
            "secret" => self.secret.is_some(),
            "snapshot" => self.snapshot.is_some(),
            "topic" => self.topic.is_some(),
            "client_id" => self.client_id.is_some(),
            "discovery" => self.discovery.is_some(),
            "commands" => self.commands.is_some(),
            "subject" => self.subject.is_some(),
            _ => self.jetstream.is_some(),
        };
        let wrong = OF_KIND.iter().find(|(key, of)| *of != kind && set(key));
        if let Some((key, of)) = wrong {
            return Err(format!("{key}: is for {of} alone, and {} is {kind}", secrets::without_login(&self.to)));
        }
        match kind {
            "file" if self.credentials.is_some() || self.ca.is_some() => {
                Err("credentials and ca: are for receivers over the network".into())
            }
            _ => Ok(()),
        }
    }

    fn limits(&self, streams: &[&str], cooldown: Duration, fail: &impl Fn(&str) -> Error) -> Result<Limits> {
        for event in &self.events {
            if !KINDS.contains(&event.as_str()) {
                let hint = blocks::strict::nearest(event, KINDS.into_iter());
                let hint = hint.map_or(String::new(), |near| format!("; did you mean {near}?"));
                return Err(fail(&format!("events {event:?}: is none of {}{hint}", KINDS.join(", "))));
            }
        }
        if let Some(stream) = self.streams.iter().find(|stream| !streams.contains(&stream.as_str())) {
            return Err(fail(&format!("streams {stream:?}: is none of {}", streams.join(", "))));
        }
        if self.per_minute == Some(0) {
            return Err(fail("per_minute 0: expected a number from 1 on"));
        }
        let mut events = self.events.clone();
        if !events.is_empty() {
            // What was held back is told to whoever is told anything.
            events.push(HELD_BACK.into());
        }
        let quiet = self
            .quiet
            .iter()
            .map(|text| text.parse::<QuietHours>().map_err(|reason| fail(&format!("quiet {text:?}: {reason}"))));
        let quiet = quiet.collect::<Result<_>>()?;
        Ok(Limits {
            events,
            streams: self.streams.clone(),
            queries: self.queries.clone(),
            cooldown,
            per_minute: self.per_minute,
            quiet,
        })
    }

    fn peer(&self, fail: &impl Fn(&str) -> Error) -> Result<(Peer, Uri)> {
        if secrets::is_login_unencoded(&self.to) {
            return Err(fail(
                "its address has a password that is not percent-encoded; put it into a file (credentials)",
            ));
        }
        let (own, address) = match secrets::split_login(&self.to) {
            Some((login, address)) => (Some(Credentials::from(Login::of_address(login))), address),
            None => (None, self.to.clone()),
        };
        for (_, value) in secrets::secret_values(&self.to) {
            secrets::hide(value);
        }
        let uri: Uri = address.parse().map_err(|error| fail(&format!("its address is none ({error})")))?;
        if uri.host().is_none_or(str::is_empty) {
            return Err(fail("its address names no host"));
        }
        let file = self.credentials.as_deref().map(Credentials::read).transpose();
        let file = file.map_err(|error| fail(&error.to_string()))?;
        if let Some(path) = &self.ca {
            super::tls::client(Some(path)).map_err(|error| fail(&format!("ca: {error}")))?;
        }
        Ok((Peer { address, login: file.or(own), ca: self.ca.clone() }, uri))
    }

    fn webhook(&self, fail: &impl Fn(&str) -> Error) -> Result<WebhookSettings> {
        let (peer, _) = self.peer(fail)?;
        let headers = match &self.headers {
            Some(path) => read_headers(path).map_err(|error| fail(&error.to_string()))?,
            None => Vec::new(),
        };
        let secret = self.secret.as_deref().map(read_key).transpose().map_err(|error| fail(&error.to_string()))?;
        Ok(WebhookSettings { peer, headers, secret, snapshot: self.snapshot.unwrap_or_default() })
    }

    fn mqtt(&self, tls: bool, fail: &impl Fn(&str) -> Error) -> Result<MqttSettings> {
        let (peer, uri) = self.peer(fail)?;
        if !matches!(uri.path(), "" | "/") {
            return Err(fail("its address has a path; topics begin as `topic` says"));
        }
        let topic = self.topic.clone().unwrap_or_else(|| "spotter".into());
        let discovery = self.discovery.clone().unwrap_or_else(|| "homeassistant".into());
        for (key, topic) in [("topic", &topic), ("discovery", &discovery)] {
            let odd = topic.contains(['+', '#', '\0']) || topic.starts_with(['/', '$']) || topic.ends_with('/');
            if odd || (key == "topic" && topic.is_empty()) {
                return Err(fail(&format!("{key} {topic:?}: expected words with / between them")));
            }
        }
        Ok(MqttSettings {
            host: uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 8883 } else { 1883 }),
            tls,
            topic,
            client_id: self.client_id.clone().filter(|id| !id.is_empty()),
            discovery: Some(discovery).filter(|prefix| !prefix.is_empty()),
            commands: self.commands.unwrap_or(true),
            peer,
        })
    }

    fn nats(&self, fail: &impl Fn(&str) -> Error) -> Result<NatsSettings> {
        let (peer, _) = self.peer(fail)?;
        let subject = self.subject.clone().unwrap_or_else(|| "spotter".into());
        let is_word =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !subject.split('.').all(is_word) {
            return Err(fail(&format!("subject {subject:?}: expected words with points between them")));
        }
        let jetstream = self.jetstream.clone().unwrap_or_else(|| "SPOTTER".into());
        if !is_word(&jetstream) {
            return Err(fail(&format!("jetstream {jetstream:?}: expected a word")));
        }
        Ok(NatsSettings { peer, subject, jetstream })
    }

    fn file(&self, fail: &impl Fn(&str) -> Error) -> Result<Receiver> {
        let place = self.to.split_once(':').map_or("", |(_, place)| place);
        let (file, rotation) = Rotation::split(place).map_err(|reason| fail(&reason))?;
        let path = Path::new(file);
        if file.is_empty() || file == "-" || path.is_dir() {
            return Err(fail("jsonl: expected a file behind it"));
        }
        if !blocks::files::parent(path).is_dir() {
            return Err(fail(&format!("jsonl:{file}: its folder does not exist")));
        }
        Ok(Receiver::File(path.to_path_buf(), rotation.unwrap_or_default()))
    }
}

/// Where programs keep what outlives them: as systemd says, or else where the user's own is.
fn state_folder() -> Option<PathBuf> {
    let said = |name: &str| std::env::var_os(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    // systemd may name several.
    let of_service = said("STATE_DIRECTORY").and_then(|all| Some(PathBuf::from(all.to_str()?.split(':').next()?)));
    let of_user = || said("XDG_STATE_HOME").or_else(|| Some(said("HOME")?.join(".local/state")));
    of_service.or_else(|| Some(of_user()?.join("spotter")))
}

/// Names of headers whose values are secret, or what is in them.
const SECRET_HEADERS: [&str; 6] = ["auth", "cookie", "token", "key", "secret", "pass"];

/// Headers of a file. Those that are secret are hidden from then on.
fn read_headers(path: &Path) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let parsed = lines.map(|(number, line)| {
        let parts = line.split_once(':').and_then(|(name, value)| {
            let (name, value) = (name.trim().parse::<HeaderName>().ok()?, value.trim());
            if SECRET_HEADERS.iter().any(|word| name.as_str().contains(word)) {
                // Behind the name of a scheme, as in `Bearer …`.
                value.split_whitespace().next_back().into_iter().chain([value]).for_each(secrets::hide);
            }
            let mut value: HeaderValue = value.parse().ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        parts.ok_or_else(|| {
            let reason = format!("line {} is no header, expected Name: value", number + 1);
            Error::Usage(format!("{}: {reason}", path.display()))
        })
    });
    parsed.collect()
}

/// The key in a file: its first line, or what `whsec_` there stands before in base64. It is hidden from then on.
fn read_key(path: &Path) -> Result<Key> {
    use base64::Engine;
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let line = text.lines().next().unwrap_or_default().trim();
    let coded = line.strip_prefix("whsec_");
    [Some(line), coded].into_iter().flatten().for_each(secrets::hide);
    let fail = |reason: &str| Error::Usage(format!("{}: {reason}", path.display()));
    let key = match coded {
        Some(coded) => base64::engine::general_purpose::STANDARD
            .decode(coded)
            .map_err(|_| fail("what follows whsec_ is no base64"))?,
        None => line.as_bytes().to_vec(),
    };
    if key.is_empty() { Err(fail("its first line is empty, expected a key")) } else { Ok(Key(key)) }
}
