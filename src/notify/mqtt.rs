//! Events and states to an MQTT broker, and sentences from it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::tokio_rustls::rustls::ClientConfig;
use rumqttc::{
    AsyncClient, ConnectionError, Event, LastWill, MqttOptions, Outgoing, Packet, Publish, QoS, TlsConfiguration,
    Transport,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::board::Board;
use super::deliver::{Failure, Target, reason};
use super::home_assistant;
use super::lane::Lane;
use super::queue::Waiting;
use super::settings::MqttSettings;
use super::topics::Topics;
use super::{SetQuery, tls};
use crate::secrets::hidden;

/// How often the broker hears of us, at least; after one and a half times as long it speaks our last will.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The largest message that is taken, and given; a picture is a few hundred kilobytes. In bytes.
const LARGEST_IN: usize = 64 * 1024;
const LARGEST_OUT: usize = 32 << 20;
/// What may wait between us and the connection: requests, and what came.
const REQUESTS: usize = 8;
const EVENTS: usize = 64;

const ONLINE: &str = "online";
const OFFLINE: &str = "offline";

/// A broker that is told.
pub(super) struct Mqtt {
    settings: MqttSettings,
    timeout: Duration,
    topics: Topics,
    lane: Rc<Lane>,
    board: Arc<Board>,
    changes: watch::Receiver<u64>,
    set_query: Option<SetQuery>,
    connection: Option<Connection>,
}

/// A connection. It goes on reading in a task of its own, which can be waited for and left at any time.
struct Connection {
    client: AsyncClient,
    events: mpsc::Receiver<Result<Event, ConnectionError>>,
    task: JoinHandle<()>,
    /// What the broker was told to keep, by topic.
    kept: BTreeMap<String, Vec<u8>>,
    /// Publications that were asked for, and those that have gone.
    asked: u64,
    gone: u64,
    /// Those that have gone, by the broker's number.
    on_their_way: BTreeMap<u16, u64>,
    /// Sentences that came.
    wishes: Vec<Publish>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mqtt {
    pub(super) fn new(
        settings: &MqttSettings,
        timeout: Duration,
        lane: Rc<Lane>,
        board: Arc<Board>,
        set_query: Option<SetQuery>,
    ) -> Self {
        let changes = board.watch();
        let (settings, topics) = (settings.clone(), Topics::new(&settings.topic));
        Self { settings, timeout, topics, lane, board, changes, set_query, connection: None }
    }

    fn takes_wishes(&self) -> bool {
        self.settings.commands && self.set_query.is_some()
    }

    fn options(&self) -> Result<MqttOptions, Failure> {
        let MqttSettings { peer, host, port, client_id, .. } = &self.settings;
        let id = client_id.clone().unwrap_or_else(|| format!("spotter-{:08x}", rand::random::<u32>()));
        let mut options = MqttOptions::new(id, host, *port);
        options.set_keep_alive(KEEP_ALIVE).set_max_packet_size(LARGEST_IN, LARGEST_OUT).set_clean_session(true);
        options.set_last_will(LastWill::new(self.topics.availability(), OFFLINE, QoS::AtLeastOnce, true));
        if let Some(login) = &peer.login {
            let login = login.now();
            options.set_credentials(login.user, login.password);
        }
        if self.settings.tls {
            let trust: ClientConfig =
                tls::client(peer.ca.as_deref()).map_err(|error| Failure::Away(error.to_string()))?;
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(trust))));
        }
        Ok(options)
    }

    /// Connects where there is no connection, and makes what the broker keeps what it should be. True where it was connected
    /// now.
    async fn keep_up(&mut self) -> Result<bool, Failure> {
        let connects = self.connection.is_none();
        if connects {
            let connection = Connection::open(self.options()?, self.timeout).await?;
            if self.takes_wishes() {
                let asked = connection.client.try_subscribe(self.topics.all_wishes(), QoS::AtLeastOnce);
                asked.map_err(|error| Failure::Away(reason(&error)))?;
            }
            self.connection = Some(connection);
        }
        self.changes.mark_unchanged();
        let wanted = self.wanted();
        let fail = |reason: String| Failure::Away(format!("its queue: {reason}"));
        let known = self.lane.queue.borrow().topics().map_err(fail)?;
        let stale = known.into_iter().filter(|topic| !wanted.contains_key(topic)).map(|topic| (topic, None));
        let wanted_now = wanted.iter().filter_map(|(topic, payload)| Some((topic.clone(), Some(payload.clone()?))));
        // What is gone goes first: an entity may have got another name.
        let changes: Vec<(String, Option<Vec<u8>>)> = stale.chain(wanted_now).collect();
        for (topic, payload) in changes {
            if let Some(payload) = payload {
                self.keep(&topic, payload).await?;
                continue;
            }
            self.publish(&topic, true, Vec::new()).await?;
            self.lane.queue.borrow_mut().note_topic(&topic, false).map_err(fail)?;
            if let Some(connection) = &mut self.connection {
                connection.kept.remove(&topic);
            }
        }
        Ok(connects)
    }

    /// What the broker should keep, by topic; pictures are kept as they are.
    fn wanted(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut wanted = BTreeMap::new();
        let mut add = |topic: String, payload: String| wanted.insert(topic, Some(payload.into_bytes()));
        let mut pictures = Vec::new();
        for (stream, state) in self.board.read() {
            for (name, query) in &state.queries {
                let topic = |what: &str| self.topics.query(&stream, name, what);
                add(topic("state"), if query.present { "ON" } else { "OFF" }.into());
                add(topic("count"), query.count.to_string());
                add(topic("text"), query.text.clone());
                pictures.push(topic("snapshot"));
            }
            if let Some(prefix) = &self.settings.discovery {
                for (topic, config) in
                    home_assistant::entities(prefix, &self.topics, (&stream, &state), self.takes_wishes())
                {
                    add(topic, config.to_string());
                }
            }
            add(self.topics.stream_availability(&stream), if state.up { ONLINE } else { OFFLINE }.into());
        }
        add(self.topics.availability(), ONLINE.into());
        wanted.extend(pictures.into_iter().map(|topic| (topic, None)));
        wanted
    }

    /// Has the broker keep something, unless it does.
    async fn keep(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), Failure> {
        if self.connection.as_ref().is_some_and(|connection| connection.kept.get(topic) == Some(&payload)) {
            return Ok(());
        }
        let noted = self.lane.queue.borrow_mut().note_topic(topic, true);
        noted.map_err(|reason| Failure::Away(format!("its queue: {reason}")))?;
        self.publish(topic, true, payload.clone()).await?;
        if let Some(connection) = &mut self.connection {
            connection.kept.insert(topic.to_owned(), payload);
        }
        Ok(())
    }

    async fn publish(&mut self, topic: &str, retain: bool, payload: Vec<u8>) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else { return Err(Failure::Away("not connected".into())) };
        connection.publish(topic, retain, payload, self.timeout).await
    }

    async fn tell(&mut self, waiting: &Waiting) -> Result<(), Failure> {
        self.keep_up().await?;
        let Waiting { stream, query, event, snapshot, .. } = waiting;
        if stream.is_empty() {
            return self.publish(&self.topics.event(), false, event.clone().into_bytes()).await;
        }
        // Before the event: who hears of that looks at the picture.
        let place = self.topics.query(stream, query, "snapshot");
        let is_asked = self.board.read().get(stream).is_some_and(|state| state.queries.contains_key(query));
        if let Some(picture) = snapshot
            && is_asked
        {
            self.keep(&place, picture.clone()).await?;
        }
        self.publish(&self.topics.query(stream, query, "event"), false, event.clone().into_bytes()).await
    }

    /// Keeps in touch until there is something to do.
    async fn wait(&mut self, news: &Notify) -> Result<bool, Failure> {
        if self.keep_up().await? {
            return Ok(true);
        }
        self.heed();
        let Some(connection) = &mut self.connection else { return Ok(false) };
        tokio::select! {
            heard = connection.hear() => heard.map(|_| ())?,
            _ = self.changes.changed() => {}
            () = news.notified() => {}
        }
        self.heed();
        Ok(false)
    }

    /// Does what others asked for. A sentence takes its time, and nobody waits for it.
    fn heed(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let Some(set_query) = &self.set_query else { return };
        for wish in std::mem::take(&mut connection.wishes) {
            // What a broker has kept was wished for before.
            if wish.retain {
                continue;
            }
            let mut found = None;
            for (stream, state) in self.board.read() {
                let is_meant = |name: &&String| self.topics.query(&stream, name, "text/set") == wish.topic;
                if let Some(query) = state.queries.keys().find(is_meant) {
                    found = Some((stream.clone(), query.clone()));
                }
            }
            let name = self.lane.name.clone();
            let (Some((stream, query)), Ok(text)) = (found, String::from_utf8(wish.payload.to_vec())) else {
                tracing::warn!("notify {name}: {} wishes for something that is not understood", wish.topic);
                continue;
            };
            // Said again, whatever comes of it: who wished sees what is asked.
            connection.kept.remove(&self.topics.query(&stream, &query, "text"));
            let (set_query, board) = (Arc::clone(set_query), Arc::clone(&self.board));
            tokio::task::spawn_blocking(move || {
                if let Err(error) = set_query(&stream, &query, text.trim()) {
                    tracing::warn!("notify {name}: {}", hidden(&error.to_string()));
                }
                board.remind();
            });
        }
    }
}

impl Target for Mqtt {
    async fn send(&mut self, waiting: &Waiting) -> Result<(), Failure> {
        let told = self.tell(waiting).await;
        if told.is_err() {
            self.connection = None;
        }
        self.heed();
        told
    }

    async fn idle(&mut self, news: &Notify) -> Result<bool, Failure> {
        let waited = self.wait(news).await;
        if waited.is_err() {
            self.connection = None;
        }
        waited
    }

    async fn close(&mut self) {
        let availability = self.topics.availability();
        let Some(mut connection) = self.connection.take() else { return };
        if connection.publish(&availability, true, OFFLINE.into(), self.timeout).await.is_ok()
            && connection.client.try_disconnect().is_ok()
        {
            // The broker ends the connection then.
            while connection.hear().await.is_ok() {}
        }
    }
}

impl Connection {
    async fn open(options: MqttOptions, limit: Duration) -> Result<Self, Failure> {
        let (client, mut reader) = AsyncClient::new(options, REQUESTS);
        let mut network = reader.network_options();
        network.set_connection_timeout(limit.as_secs().max(1));
        reader.set_network_options(network);
        let (sender, events) = mpsc::channel(EVENTS);
        let task = tokio::spawn(async move {
            loop {
                let event = reader.poll().await;
                let failed = event.is_err();
                if sender.send(event).await.is_err() || failed {
                    return;
                }
            }
        });
        let mut connection = Self {
            client,
            events,
            task,
            kept: BTreeMap::new(),
            asked: 0,
            gone: 0,
            on_their_way: BTreeMap::new(),
            wishes: Vec::new(),
        };
        connection.within(limit, |event| matches!(event, Event::Incoming(Packet::ConnAck(_)))).await?;
        Ok(connection)
    }

    /// The next event, and the publication that the broker has with it.
    async fn hear(&mut self) -> Result<(Event, Option<u64>), Failure> {
        let event = match self.events.recv().await {
            Some(Ok(event)) => event,
            Some(Err(error)) => return Err(Failure::Away(reason(&error))),
            None => return Err(Failure::Away("the connection has ended".into())),
        };
        let mut arrived = None;
        match &event {
            Event::Outgoing(Outgoing::Publish(number)) => {
                self.gone += 1;
                self.on_their_way.insert(*number, self.gone);
            }
            Event::Incoming(Packet::PubAck(acknowledged)) => arrived = self.on_their_way.remove(&acknowledged.pkid),
            Event::Incoming(Packet::Publish(wish)) if self.wishes.len() < EVENTS => self.wishes.push(wish.clone()),
            _ => {}
        }
        Ok((event, arrived))
    }

    /// Waits for an event.
    async fn within(&mut self, limit: Duration, wanted: impl Fn(&Event) -> bool) -> Result<(), Failure> {
        let waited = timeout(limit, async {
            loop {
                let (event, _) = self.hear().await?;
                if wanted(&event) {
                    return Ok(());
                }
            }
        });
        waited.await.unwrap_or_else(|_| Err(late(limit)))
    }

    /// Tells something, and waits until the broker has it.
    async fn publish(&mut self, topic: &str, retain: bool, payload: Vec<u8>, limit: Duration) -> Result<(), Failure> {
        if topic.len() + payload.len() + 16 > LARGEST_OUT {
            return Err(Failure::Refused(format!("{} bytes are more than a message may have", payload.len())));
        }
        let asked = self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload);
        asked.map_err(|error| Failure::Away(reason(&error)))?;
        self.asked += 1;
        let mine = self.asked;
        let waited = timeout(limit, async {
            loop {
                if let (_, Some(arrived)) = self.hear().await?
                    && arrived == mine
                {
                    return Ok(());
                }
            }
        });
        waited.await.unwrap_or_else(|_| Err(late(limit)))
    }
}

fn late(limit: Duration) -> Failure {
    Failure::Away(format!("no answer within {}", humantime::format_duration(limit)))
}
