//! Whom to tell what, as it is meant.

use std::path::PathBuf;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use records::Rotation;
use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::queue::QueueSettings;
use crate::source::Credentials;

/// How a webhook gets the picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotForm {
    /// Not at all.
    #[default]
    None,
    /// As a text within the JSON.
    Base64,
    /// As a part of its own.
    Multipart,
}

/// Whom to tell what, checked.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// Of this receiver alone.
    pub name: String,
    /// Who it is.
    pub receiver: Receiver,
    /// What it is told, and how often.
    pub limits: Limits,
    /// Where events wait.
    pub queue: QueueSettings,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// How long to wait after the first attempt that fails.
    pub retry_interval: Duration,
    /// The longest wait.
    pub retry_max_interval: Duration,
}

/// A receiver.
#[derive(Debug, Clone)]
pub enum Receiver {
    /// HTTP.
    Webhook(WebhookSettings),
    /// An MQTT broker.
    Mqtt(MqttSettings),
    /// A NATS server with `JetStream`.
    Nats(NatsSettings),
    /// A file of JSON Lines.
    File(PathBuf, Rotation),
}

/// A receiver over the network.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Without credentials.
    pub address: String,
    /// As whom to come.
    pub login: Option<Credentials>,
    /// Certificates that are trusted besides the system's.
    pub ca: Option<PathBuf>,
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Where.
    pub peer: Peer,
    /// Sent with every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Signs bodies.
    pub secret: Option<Key>,
    /// How the picture is sent.
    pub snapshot: SnapshotForm,
}

/// A key that nobody sees.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(
    /// Its bytes.
    pub Vec<u8>,
);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}

/// An MQTT broker.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// Who it is, in whole.
    pub peer: Peer,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// How topics begin.
    pub topic: String,
    /// As whom to connect; another one every time without it.
    pub client_id: Option<String>,
    /// Where Home Assistant listens.
    pub discovery: Option<String>,
    /// Whether others may change queries.
    pub commands: bool,
}

/// A NATS server.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// Where.
    pub peer: Peer,
    /// How subjects begin.
    pub subject: String,
    /// The stream of `JetStream`.
    pub jetstream: String,
}
