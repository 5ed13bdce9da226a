//! NATS: a stream of `JetStream` gets every event once.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use async_nats::ConnectOptions;
use rand::RngExt;
use serde_json::Value;
use spotter::notify::NotifyEntry;

use super::{PATIENCE, certificates, counts, entry, ids, notice, start, wait_for};
use crate::support::servers::{Peer, free_port};
use crate::support::{Scratch, repository, until};

/// nats-server, until it goes.
pub(super) struct Server {
    _peer: Peer,
    pub(super) port: u16,
}

impl Server {
    /// With `JetStream` in `scratch`.
    pub(super) fn start(scratch: &Scratch, port: u16, more: &[&str]) -> Self {
        let program = repository().join("target/nats-server/bin/nats-server");
        assert!(program.exists(), "{} is not there (make peers)", program.display());
        let mut command = Command::new(program);
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", &scratch.file("nats")]).args(more);
        let child: Child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        let peer = Peer(child);
        until("a NATS server", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { _peer: peer, port }
    }

    pub(super) fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

/// Subjects and ids of all messages of a stream, in order.
pub(super) fn kept(address: &str, stream: &str) -> Vec<(String, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = ConnectOptions::new().connect(address).await.expect("connects");
        let mut stream = async_nats::jetstream::new(client).get_stream(stream).await.expect("is there");
        let count = stream.info().await.expect("told").state.messages;
        let mut all = Vec::new();
        for number in 1..=count {
            let message = stream.get_raw_message(number).await.expect("kept");
            let event: Value = serde_json::from_slice(&message.payload).expect("JSON");
            let id = event["id"].as_str().expect("an id").to_owned();
            assert_eq!(message.headers.get("Nats-Msg-Id").map(async_nats::HeaderValue::as_str), Some(id.as_str()));
            all.push((message.subject.to_string(), id));
        }
        all
    })
}

fn ids_of(kept: Vec<(String, String)>) -> Vec<String> {
    kept.into_iter().map(|(_, id)| id).collect()
}

/// The server is killed and started again, and so are we: every event is there once.
#[test]
fn a_stream_has_every_event_once() {
    let scratch = Scratch::new();
    let port = free_port();
    let server = Server::start(&scratch, port, &[]);
    let settings = NotifyEntry { subject: Some("house.eyes".into()), ..entry(&scratch, &server.address()) };
    let notifiers = start(&settings);
    (0..10).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "ten told", |counts| counts.sent == 10);
    drop(server);
    (10..20).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "failures", |counts| counts.failures > 1 && counts.waiting == 10);
    notifiers.finish(PATIENCE);
    let server = Server::start(&scratch, port, &[]);
    let notifiers = start(&settings);
    (15..30).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "twenty told", |counts| counts.sent == 20);
    notifiers.finish(PATIENCE);
    let kept = kept(&server.address(), "SPOTTER");
    assert_eq!(kept[0].0, "house.eyes.gate.a_car.sighting_start");
    assert_eq!(ids_of(kept), ids(0..30));
}

/// The server is killed and started at random while events come: every one is there, in order, once.
#[test]
fn a_server_that_comes_and_goes_gets_everything_in_order() {
    const EVENTS: usize = 200;
    let scratch = Scratch::new();
    let port = free_port();
    let mut server = Some(Server::start(&scratch, port, &[]));
    let address = format!("nats://127.0.0.1:{port}");
    let notifiers = start(&entry(&scratch, &address));
    let mut random = rand::rng();
    for number in 0..EVENTS {
        notifiers.publish(&notice(number));
        if random.random_bool(0.03) || number == EVENTS / 2 {
            drop(server.take());
            let failures = counts(&notifiers).failures;
            notifiers.publish(&notice(number));
            wait_for(&notifiers, "a failure, or nothing to tell", |counts| {
                counts.failures > failures || counts.waiting == 0
            });
            server = Some(Server::start(&scratch, port, &[]));
        }
    }
    wait_for(&notifiers, "all told", |counts| counts.sent == EVENTS as u64 && counts.waiting == 0);
    assert_eq!(counts(&notifiers).lost.map(|(_, count)| count), [0; 4]);
    notifiers.finish(PATIENCE);
    assert_eq!(ids_of(kept(&address, "SPOTTER")), ids(0..EVENTS));
}

#[test]
fn a_server_with_passwords_and_tls() {
    let scratch = Scratch::new();
    certificates(&scratch);
    let (cert, key) = (scratch.file("cert.pem"), scratch.file("key.pem"));
    let more = ["--tls", "--tlscert", &cert, "--tlskey", &key, "--user", "house", "--pass", "rightword"];
    let server = Server::start(&scratch, free_port(), &more);
    let login = scratch.write("login", b"house:wrongword\n");
    let to = format!("tls://localhost:{}", server.port);
    let settings = NotifyEntry { credentials: Some(login.into()), ..entry(&scratch, &to) };
    let notifiers = start(&settings);
    notifiers.publish(&notice(0));
    wait_for(&notifiers, "a failure: nobody vouches for it", |counts| counts.failures > 0);
    notifiers.finish(PATIENCE);
    let notifiers = start(&NotifyEntry { ca: Some(scratch.file("ca.pem").into()), ..settings });
    wait_for(&notifiers, "a failure: the password", |counts| counts.failures > 0);
    assert_eq!(counts(&notifiers).sent, 0);
    scratch.write("login", b"house:rightword\n");
    wait_for(&notifiers, "one told", |counts| counts.sent == 1);
}
