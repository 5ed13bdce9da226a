//! MQTT: a stock client beside a stock broker.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine;
use crossbeam_channel::{Receiver, bounded};
use rand::RngExt;
use serde_json::{Value, json};
use spotter::notify::{Notifiers, NotifyEntry, SetQuery, Watched};

use super::faults::Child as Ours;
use super::{PATIENCE, QUERY, STREAM, certificates, counts, entry, first_time, ids, notice, picture, start, wait_for};
use super::{watched, with_picture};
use crate::support::servers::free_port;
use crate::support::{Scratch, repository, tool, until};

/// Mosquitto, until it goes.
pub(crate) struct Broker {
    child: Option<Child>,
    pub(crate) port: u16,
    settings: String,
}

impl Broker {
    /// On a port of its own, with these settings more.
    pub(crate) fn start(scratch: &Scratch, more: &str) -> Self {
        let port = free_port();
        let folder = scratch.file("mosquitto");
        std::fs::create_dir_all(&folder).expect("made");
        let access = if more.contains("allow_anonymous") { "" } else { "allow_anonymous true\n" };
        let text = format!(
            "user root\nlistener {port} 127.0.0.1\n{access}persistence true\npersistence_location {folder}/\n\
             max_queued_messages 100000\n{more}\n"
        );
        let settings = scratch.write("mosquitto.conf", text.as_bytes());
        let mut broker = Self { child: None, port, settings };
        broker.go_on();
        broker
    }

    pub(crate) fn address(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Starts it again.
    pub(crate) fn go_on(&mut self) {
        let folder = repository().join("target/mosquitto");
        assert!(folder.join("mosquitto").exists(), "{} is not there (make peers)", folder.display());
        let mut command = Command::new(folder.join("mosquitto"));
        command.args(["-c", &self.settings]).env("LD_LIBRARY_PATH", &folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("starts"));
        until("a broker", PATIENCE, || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    /// Stops it as an operator does: it writes down what it keeps.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            tool("kill", &["-TERM", &child.id().to_string()]);
            child.wait().expect("ends");
        }
    }
}

impl Broker {
    fn signal(&self, name: &str) {
        tool("kill", &[name, &self.child.as_ref().expect("runs").id().to_string()]);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.child.is_some() {
            // Where a test failed while it stood still.
            self.signal("-CONT");
        }
        self.stop();
    }
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) retain: bool,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    fn id(&self) -> String {
        let event: Value = serde_json::from_slice(&self.payload).expect("JSON");
        event["id"].as_str().expect("an id").to_owned()
    }
}

/// Paho's client, in a process of its own.
pub(crate) struct Client {
    child: Child,
    stdin: ChildStdin,
    messages: Receiver<Message>,
}

impl Client {
    /// Subscribes, and returns once it is.
    pub(crate) fn start(port: u16, name: &str, topics: &[&str]) -> Self {
        Self::start_as(None, port, name, topics)
    }

    /// The same as somebody, `user:password`.
    pub(crate) fn start_as(login: Option<&str>, port: u16, name: &str, topics: &[&str]) -> Self {
        let packages = repository().join("target/paho");
        assert!(packages.exists(), "{} is not there (make peers)", packages.display());
        let mut command = Command::new("python3");
        command.arg(repository().join("tests/support/mqtt_client.py")).env("PYTHONPATH", packages);
        command.arg(port.to_string()).arg(name).args(topics).envs(login.map(|login| ("MQTT_LOGIN", login)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
        let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (say, messages) = bounded(100_000);
        let (ready, is_ready) = bounded(1000);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).expect("JSON");
                let Some(topic) = line["topic"].as_str() else {
                    let _ = ready.try_send(());
                    continue;
                };
                let payload = line["payload"].as_str().expect("a text");
                let payload = base64::engine::general_purpose::STANDARD.decode(payload).expect("base64");
                let retain = line["retain"].as_bool().expect("a truth");
                if say.send(Message { topic: topic.to_owned(), retain, payload }).is_err() {
                    return;
                }
            }
        });
        is_ready.recv_timeout(PATIENCE).expect("subscribes");
        Self { child, stdin, messages }
    }

    pub(crate) fn next(&self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        let mut others = Vec::new();
        loop {
            match self.messages.recv_timeout(PATIENCE) {
                Ok(message) if wanted(&message) => return message,
                Ok(message) => {
                    let text: String = message.text().chars().take(40).collect();
                    others.push((message.topic, text));
                }
                Err(error) => panic!("no {what} ({error}), but {others:?}"),
            }
        }
    }

    /// Waits for a text at a topic.
    pub(crate) fn sees(&self, topic: &str, text: &str) -> Message {
        self.next(&format!("{topic} = {text}"), |message| message.topic == topic && message.text() == text)
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &str, retain: bool) {
        let line = json!({ "topic": topic, "payload": payload, "retain": retain });
        writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush()).expect("taken");
    }

    /// Ids of events that have come since it was asked last.
    pub(crate) fn events_so_far(&self) -> Vec<String> {
        self.messages.try_iter().filter(|message| message.topic.ends_with("/event")).map(|event| event.id()).collect()
    }

    /// Ids of `count` different events, and all that came until then.
    pub(crate) fn event_ids(&self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        while first_time(all.iter().cloned()).len() < count {
            let event = self.next("event", |message| message.topic.ends_with("/event"));
            all.push(event.id());
        }
        all
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_stock_client_sees_states_pictures_events_and_that_we_are_there() {
    let scratch = Scratch::new();
    let broker = Broker::start(&scratch, "");
    let client = Client::start(broker.port, "early", &["spotter/#"]);
    let notifiers = start(&entry(&scratch, &broker.address()));
    client.sees("spotter/availability", "online");
    client.sees("spotter/gate/a_car/count", "0");
    client.sees("spotter/gate/a_car/state", "OFF");
    notifiers.available(STREAM, true);
    client.sees("spotter/gate/availability", "online");
    notifiers.state(STREAM, QUERY, true, 2);
    client.sees("spotter/gate/a_car/count", "2");
    client.sees("spotter/gate/a_car/state", "ON");
    notifiers.publish(&with_picture(0));
    let seen = client.next("picture", |message| message.topic == "spotter/gate/a_car/snapshot");
    assert_eq!(seen.payload, &*picture());
    assert_eq!(client.event_ids(1), ids(0..1));
    // Who comes later sees how things are.
    let late = Client::start(broker.port, "late", &["spotter/#"]);
    for (topic, text) in [
        ("spotter/availability", "online"),
        ("spotter/gate/a_car/count", "2"),
        ("spotter/gate/a_car/state", "ON"),
        ("spotter/gate/a_car/text", "a red car"),
    ] {
        let kept = Client::start(broker.port, &topic.replace('/', "-"), &[topic]).sees(topic, text);
        assert!(kept.retain, "{topic}");
    }
    let kept = late.next("picture", |message| message.topic == "spotter/gate/a_car/snapshot");
    assert!(kept.retain && kept.payload == *picture());
    notifiers.finish(PATIENCE);
    client.sees("spotter/availability", "offline");
}

#[test]
fn the_last_will_of_a_process_that_is_killed() {
    let scratch = Scratch::new();
    let broker = Broker::start(&scratch, "");
    let client = Client::start(broker.port, "client", &["spotter/availability"]);
    let child = Ours::start(&entry(&scratch, &broker.address()), 1);
    client.sees("spotter/availability", "online");
    child.kill();
    client.sees("spotter/availability", "offline");
}

/// Events told to a broker that comes and goes.
const EVENTS: usize = 200;

/// The broker is stopped and started at random: nothing is lost, and the order stays.
#[test]
fn a_broker_that_comes_and_goes_gets_everything_in_order() {
    let scratch = Scratch::new();
    let mut broker = Broker::start(&scratch, "");
    let client = Client::start(broker.port, "client", &["spotter/+/+/event"]);
    let notifiers = start(&entry(&scratch, &broker.address()));
    let mut random = rand::rng();
    for number in 0..EVENTS {
        notifiers.publish(&with_picture(number));
        if random.random_bool(0.05) || number == EVENTS / 2 {
            broker.stop();
            notifiers.publish(&notice(number));
            let failures = counts(&notifiers).failures;
            wait_for(&notifiers, "a failure", |counts| counts.failures > failures);
            broker.go_on();
        }
    }
    wait_for(&notifiers, "all told", |counts| counts.sent == EVENTS as u64 && counts.waiting == 0);
    assert_eq!(first_time(client.event_ids(EVENTS)), ids(0..EVENTS));
    assert_eq!(counts(&notifiers).lost.map(|(_, count)| count), [0; 4]);
}

/// A broker that stands still: its connections stay open, and nothing comes of them.
#[test]
fn a_broker_that_stands_still_gets_everything_later() {
    let scratch = Scratch::new();
    let broker = Broker::start(&scratch, "");
    let client = Client::start(broker.port, "client", &["spotter/+/+/event"]);
    let notifiers = start(&NotifyEntry { timeout: Some("500ms".into()), ..entry(&scratch, &broker.address()) });
    notifiers.publish(&notice(0));
    wait_for(&notifiers, "one told", |counts| counts.sent == 1);
    broker.signal("-STOP");
    (1..20).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "failures", |counts| counts.failures > 1 && counts.waiting == 19);
    broker.signal("-CONT");
    wait_for(&notifiers, "all told", |counts| counts.sent == 20);
    assert_eq!(first_time(client.event_ids(20)), ids(0..20));
}

#[test]
fn a_broker_with_passwords_and_tls() {
    let scratch = Scratch::new();
    certificates(&scratch);
    let passwords = scratch.write("passwords", b"");
    let folder = repository().join("target/mosquitto");
    let made = Command::new(folder.join("mosquitto_passwd"))
        .args(["-b", &passwords, "house", "right word"])
        .env("LD_LIBRARY_PATH", &folder)
        .status();
    assert!(made.expect("starts").success());
    let more = format!(
        "allow_anonymous false\npassword_file {passwords}\ncertfile {}\nkeyfile {}",
        scratch.file("cert.pem"),
        scratch.file("key.pem")
    );
    let broker = Broker::start(&scratch, &more);
    let to = format!("mqtts://localhost:{}", broker.port);
    let login = scratch.write("login", b"house:wrong word\n");
    let settings = NotifyEntry { credentials: Some(login.into()), ..entry(&scratch, &to) };
    let notifiers = start(&settings);
    notifiers.publish(&notice(0));
    wait_for(&notifiers, "a failure: nobody vouches for it", |counts| counts.failures > 0);
    notifiers.finish(PATIENCE);
    let notifiers = start(&NotifyEntry { ca: Some(scratch.file("ca.pem").into()), ..settings });
    wait_for(&notifiers, "a failure: the password", |counts| counts.failures > 0);
    assert_eq!(counts(&notifiers).sent, 0);
    scratch.write("login", b"house:right word\n");
    wait_for(&notifiers, "one told", |counts| counts.sent == 1);
}

/// What was wished for, and what came of it.
fn recorder(refuses: &'static str) -> (SetQuery, Arc<Mutex<Vec<String>>>) {
    let wishes = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&wishes);
    let set_query: SetQuery = Arc::new(move |stream, query, text| {
        heard.lock().expect("whole").push(format!("{stream}, {query}: {text}"));
        if text == refuses { Err(spotter::Error::Usage("says nothing".into())) } else { Ok(()) }
    });
    (set_query, wishes)
}

#[test]
fn others_change_queries() {
    let scratch = Scratch::new();
    let broker = Broker::start(&scratch, "");
    let mut client = Client::start(broker.port, "client", &["spotter/#"]);
    // Wished for long ago, and kept by the broker: nothing to do.
    client.publish("spotter/gate/a_car/text/set", "an old wish", true);
    client.next("the old wish", |message| message.topic.ends_with("text/set"));
    let (set_query, wishes) = recorder("???");
    let settings = NotifyEntry::resolve(&[entry(&scratch, &broker.address())], &[STREAM]).expect("valid");
    let notifiers = Notifiers::start(&settings, &[watched()], Some(set_query)).expect("starts");
    client.sees("spotter/gate/a_car/text", "a red car");
    client.publish("spotter/gate/a_car/text/set", " a blue van ", false);
    until("a wish", PATIENCE, || (!wishes.lock().expect("whole").is_empty()).then_some(()));
    notifiers.queries(STREAM, &[(QUERY.into(), "a blue van".into())]);
    client.sees("spotter/gate/a_car/text", "a blue van");
    client.publish("spotter/gate/a_car/text/set", "???", false);
    // Refused: what is asked is said again.
    client.sees("spotter/gate/a_car/text", "a blue van");
    client.publish("spotter/gate/no_such/text/set", "a cat", false);
    client.publish("spotter/gate/a_car/text/set", "a dog", false);
    until("the last wish", PATIENCE, || {
        let wishes = wishes.lock().expect("whole");
        (wishes.len() == 3)
            .then(|| assert_eq!(*wishes, ["a blue van", "???", "a dog"].map(|text| format!("gate, a car: {text}"))))
    });
    // Where nobody may change queries, nobody is heard.
    drop(notifiers);
    let (set_query, wishes) = recorder("");
    let entry = NotifyEntry { commands: Some(false), ..entry(&scratch, &broker.address()) };
    let settings = NotifyEntry::resolve(&[entry], &[STREAM]).expect("valid");
    let notifiers = Notifiers::start(&settings, &[watched()], Some(set_query)).expect("starts");
    client.sees("spotter/gate/a_car/text", "a red car");
    client.publish("spotter/gate/a_car/text/set", "a cat", false);
    client.next("the wish itself", |message| message.topic.ends_with("text/set"));
    notifiers.finish(PATIENCE);
    assert_eq!(wishes.lock().expect("whole").len(), 0);
}

/// A query that is asked no more leaves nothing behind on the broker, also where it went while nobody was there.
#[test]
fn what_is_asked_no_more_goes_from_the_broker() {
    let scratch = Scratch::new();
    let broker = Broker::start(&scratch, "");
    let settings = NotifyEntry::resolve(&[entry(&scratch, &broker.address())], &[STREAM]).expect("valid");
    let both = Watched { queries: vec![(QUERY.into(), "a car".into()), ("dog".into(), "a dog".into())], ..watched() };
    let client = Client::start(broker.port, "client", &["spotter/+/dog/#", "homeassistant/#"]);
    let notifiers = Notifiers::start(&settings, &[both], None).expect("starts");
    client.sees("spotter/gate/dog/text", "a dog");
    notifiers.publish(&spotter::notify::Notice { query: "dog".into(), ..with_picture(0) });
    wait_for(&notifiers, "one told", |counts| counts.sent == 1);
    notifiers.finish(PATIENCE);
    let notifiers = Notifiers::start(&settings, &[watched()], None).expect("starts");
    for what in ["count", "snapshot", "state", "text"] {
        client.sees(&format!("spotter/gate/dog/{what}"), "");
    }
    notifiers.queries(STREAM, &[("cat".into(), "a cat".into())]);
    let place = "homeassistant/binary_sensor/spotter/gate_a_car_state/config";
    client.next("the car's entity", |message| message.topic == place && !message.payload.is_empty());
    client.sees(place, "");
}
