//! Events into a stream of NATS `JetStream`, which leaves out by their ids what it has already.

use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Config;
use tokio::time::timeout;

use super::deliver::{Failure, Target, reason};
use super::queue::Waiting;
use super::settings::NatsSettings;
use super::tls;
use super::topics::word;

/// How long a stream that is made here remembers ids.
const REMEMBERS: Duration = Duration::from_hours(1);

/// A NATS server that is told.
pub(super) struct Nats {
    settings: NatsSettings,
    timeout: Duration,
    /// None after a failure: passwords and authorities are then read anew.
    context: Option<Context>,
}

impl Nats {
    pub(super) fn new(settings: &NatsSettings, timeout: Duration) -> Self {
        Self { settings: settings.clone(), timeout, context: None }
    }

    async fn context(&mut self) -> Result<Context, Failure> {
        if let Some(context) = &self.context {
            return Ok(context.clone());
        }
        let away = |error: &dyn std::error::Error| Failure::Away(reason(error));
        let NatsSettings { peer, subject, jetstream } = &self.settings;
        let trust = tls::client(peer.ca.as_deref()).map_err(|e| away(&e))?;
        // What it says of itself, it says as our failures.
        let mut options = ConnectOptions::new()
            .name("spotter")
            .connection_timeout(self.timeout)
            .request_timeout(Some(self.timeout))
            .event_callback(|event| async move { tracing::debug!("nats: {event}") })
            .tls_client_config(trust);
        if let Some(login) = &peer.login {
            let login = login.now();
            options = options.user_and_password(login.user, login.password);
        }
        let client = options.connect(&peer.address).await.map_err(|e| away(&e))?;
        let mut context = async_nats::jetstream::new(client);
        context.set_timeout(self.timeout);
        let wanted = Config {
            name: jetstream.clone(),
            subjects: vec![format!("{subject}.>")],
            duplicate_window: REMEMBERS,
            ..Config::default()
        };
        context.get_or_create_stream(wanted).await.map_err(|e| away(&e))?;
        self.context = Some(context.clone());
        Ok(context)
    }

    async fn publish(&mut self, waiting: &Waiting) -> Result<(), Failure> {
        let context = self.context().await?;
        let away = |error: &dyn std::error::Error| Failure::Away(reason(error));
        let subject = match (waiting.stream.as_str(), waiting.query.as_str()) {
            ("", _) => format!("{}.{}", self.settings.subject, waiting.kind),
            (stream, query) => {
                format!("{}.{}.{}.{}", self.settings.subject, word(stream), word(query), waiting.kind)
            }
        };
        let message = PublishMessage::build().payload(waiting.event.clone().into()).message_id(&waiting.id);
        let acknowledged = context.send_publish(subject, message).await.map_err(|e| away(&e))?;
        acknowledged.await.map(drop).map_err(|e| away(&e))
    }
}

impl Target for Nats {
    async fn send(&mut self, waiting: &Waiting) -> Result<(), Failure> {
        let late = format!("no answer within {}", humantime::format_duration(self.timeout));
        let sent = timeout(self.timeout, self.publish(waiting)).await.unwrap_or(Err(Failure::Away(late)));
        if sent.is_err() {
            // It would go on in the background, and say again later what is said anew.
            self.context = None;
        }
        sent
    }
}
