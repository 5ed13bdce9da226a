//! Receivers that are away for as long as it takes to change a router.

use std::time::{Duration, Instant};

use spotter::notify::{Notifiers, NotifyEntry};

use super::mqtt::{Broker, Client};
use super::nats::{Server, kept};
use super::receiver::{Answer, Post, Receiver};
use super::{STREAM, first_time, ids, notice, watched};
use crate::support::servers::free_port;
use crate::support::{Scratch, until};

const AWAY: Duration = Duration::from_mins(10);
/// The longest wait between two attempts is a minute, with some chance in it.
const PATIENCE: Duration = Duration::from_mins(3);

/// With the waits that nobody sets, an event a second.
#[test]
#[ignore = "takes ten minutes: make test-slow"]
fn all_that_came_in_ten_minutes_arrives() {
    let scratch = Scratch::new();
    let (web, nats) = (free_port(), free_port());
    let mut broker = Broker::start(&scratch, "");
    let client = Client::start(broker.port, "client", &["spotter/+/+/event"]);
    broker.stop();
    let table = |name: &str, to: String| NotifyEntry {
        name: Some(name.into()),
        to,
        queue: Some(scratch.path().join(format!("{name}.sqlite"))),
        ..NotifyEntry::default()
    };
    let tables = [
        table("web", format!("http://127.0.0.1:{web}/hook")),
        table("house", broker.address()),
        table("nats", format!("nats://127.0.0.1:{nats}")),
    ];
    let settings = NotifyEntry::resolve(&tables, &[STREAM]).expect("valid");
    let notifiers = Notifiers::start(&settings, &[watched()], None).expect("starts");
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < AWAY {
        notifiers.publish(&notice(count));
        count += 1;
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(notifiers.counts().iter().all(|counts| counts.waiting == count as u64), "{:?}", notifiers.counts());
    let receiver = Receiver::start(web, |_| Answer::Status(200));
    broker.go_on();
    let server = Server::start(&scratch, nats, &[]);
    until("all told", PATIENCE, || notifiers.counts().iter().all(|counts| counts.sent == count as u64).then_some(()));
    assert!(notifiers.counts().iter().all(|counts| counts.lost.iter().all(|(_, lost)| *lost == 0)));
    assert_eq!(first_time(receiver.taken().iter().map(Post::id)), ids(0..count));
    assert_eq!(first_time(client.event_ids(count)), ids(0..count));
    assert_eq!(kept(&server.address(), "SPOTTER").into_iter().map(|(_, id)| id).collect::<Vec<_>>(), ids(0..count));
}
