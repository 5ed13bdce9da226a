//! Processes that are killed at any moment: nothing is lost, and what comes twice has the same id.

use std::process::{Command, Stdio};

use rand::RngExt;
use serde_json::{Value, json};
use spotter::notify::NotifyEntry;

use super::mqtt::{Broker, Client};
use super::nats::{Server, kept};
use super::receiver::{Answer, Post, Receiver};
use super::{PATIENCE, counts, entry, first_time, ids, notice, start};
use crate::support::servers::free_port;
use crate::support::{Scratch, clock_of, until};

/// Tells a child what to do.
const TASK: &str = "SPOTTER_TEST_NOTIFY";
const EVENTS: usize = 60;
const KILLS: usize = 10;
/// A child publishes no more than so many ahead of the receiver.
const AHEAD: u64 = 3;

/// This test program once more, to publish events 0.. to a receiver.
pub(super) struct Child(std::process::Child);

impl Child {
    pub(super) fn start(entry: &NotifyEntry, events: usize) -> Self {
        Self::start_with(entry, events, &[])
    }

    /// The same in another environment.
    fn start_with(entry: &NotifyEntry, events: usize, environment: &[(&str, String)]) -> Self {
        let task = json!({ "entry": entry, "events": events }).to_string();
        let mut command = Command::new(std::env::current_exe().expect("its path"));
        command.args(["--ignored", "--exact", "notify::faults::publishes_until_it_is_killed"]).env(TASK, task);
        command.envs(environment.iter().cloned());
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts"))
    }

    /// As by `kill -9`.
    pub(super) fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "other tests run it, in a process of its own"]
fn publishes_until_it_is_killed() {
    let Ok(task) = std::env::var(TASK) else { return };
    let task: Value = serde_json::from_str(&task).expect("JSON");
    let entry: NotifyEntry = serde_json::from_value(task["entry"].clone()).expect("a table");
    let notifiers = start(&entry);
    let events = task["events"].as_u64().expect("a number") as usize;
    // Also those that an earlier process published: it may not have come to write them down.
    for number in 0..events {
        notifiers.publish(&notice(number));
        until("the receiver", PATIENCE, || (counts(&notifiers).waiting <= AHEAD).then_some(()));
    }
    loop {
        std::thread::park();
    }
}

/// Kills children while `told` grows, then tells the rest. Returns all that was told.
fn killed(entry: &NotifyEntry, told: impl Fn() -> Vec<String>) -> Vec<String> {
    let mut random = rand::rng();
    for _ in 0..KILLS {
        let child = Child::start(entry, EVENTS);
        let more = first_time(told()).len() + random.random_range(0..EVENTS / KILLS);
        until("events", PATIENCE, || (first_time(told()).len() >= more.min(EVENTS)).then_some(()));
        child.kill();
    }
    let notifiers = start(entry);
    (0..EVENTS).for_each(|number| notifiers.publish(&notice(number)));
    notifiers.finish(PATIENCE);
    assert_eq!(counts(&notifiers).waiting, 0);
    told()
}

#[test]
fn a_webhook_gets_everything_in_order_from_processes_that_are_killed() {
    let scratch = Scratch::new();
    let receiver = Receiver::start(0, |_| Answer::Status(200));
    let told = || receiver.taken().iter().map(Post::id).collect();
    assert_eq!(first_time(killed(&entry(&scratch, &receiver.address()), told)), ids(0..EVENTS));
}

#[test]
fn a_broker_gets_everything_in_order_from_processes_that_are_killed() {
    let scratch = Scratch::new();
    let broker = Broker::start(&scratch, "");
    let client = Client::start(broker.port, "client", &["spotter/+/+/event"]);
    let seen = std::cell::RefCell::new(Vec::new());
    let told = || {
        seen.borrow_mut().extend(client.events_so_far());
        seen.borrow().clone()
    };
    killed(&entry(&scratch, &broker.address()), told);
    until("all events", PATIENCE, || (first_time(told()).len() == EVENTS).then_some(()));
    assert_eq!(first_time(told()), ids(0..EVENTS));
}

#[test]
fn a_nats_stream_has_everything_once_from_processes_that_are_killed() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch, free_port(), &[]);
    let address = server.address();
    // The stream is there before anybody looks.
    let notifiers = start(&entry(&scratch, &address));
    notifiers.publish(&notice(0));
    notifiers.finish(PATIENCE);
    let told = || kept(&address, "SPOTTER").into_iter().map(|(_, id)| id).collect();
    assert_eq!(killed(&entry(&scratch, &address), told), ids(0..EVENTS));
}

#[test]
fn a_file_has_everything_in_whole_lines_from_processes_that_are_killed() {
    let scratch = Scratch::new();
    let path = scratch.file("events.jsonl");
    let told = || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(first_time(killed(&entry(&scratch, &format!("jsonl:{path}")), told)), ids(0..EVENTS));
}

/// The machine's clock is set back an hour: the order stays, and nobody waits an hour.
#[test]
fn a_clock_that_is_set_back_changes_nothing() {
    let scratch = Scratch::new();
    let clock = scratch.write("clock", b"+0");
    let set_back = clock.clone();
    let receiver = Receiver::start(0, move |post| {
        if post.id() == ids(0..EVENTS)[EVENTS / 3] {
            std::fs::write(&set_back, "-1h").expect("written");
        }
        Answer::Status(200)
    });
    let settings =
        NotifyEntry { per_minute: Some(1000), cooldown: Some("0s".into()), ..entry(&scratch, &receiver.address()) };
    let child = Child::start_with(&settings, EVENTS, &clock_of(&clock));
    until("all events", PATIENCE, || (receiver.taken().len() >= EVENTS).then_some(()));
    child.kill();
    let taken = receiver.taken();
    assert_eq!(taken.iter().map(Post::id).collect::<Vec<_>>(), ids(0..EVENTS));
    let time = |post: &Post| -> u64 { post.header("webhook-timestamp").expect("sent").parse().expect("seconds") };
    assert!(time(&taken[EVENTS - 1]) + 3000 < time(&taken[0]), "it was set back");
}
