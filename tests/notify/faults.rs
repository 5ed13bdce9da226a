//! Processes that are killed at any moment: nothing is lost, and what comes twice has the same id.

use std::fs::File;
use std::io::Write;
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

/// This test program once more, to publish events 0.. to a receiver.
pub(super) struct Child(std::process::Child);

impl Child {
    pub(super) fn start(entry: &NotifyEntry, events: usize) -> Self {
        Self::start_with(entry, 0..events, "", &[])
    }

    /// The same with other events and in another environment; a line for each that was published goes into the file `published`.
    fn start_with(
        entry: &NotifyEntry,
        events: std::ops::Range<usize>,
        published: &str,
        environment: &[(&str, String)],
    ) -> Self {
        let task = json!({ "entry": entry, "from": events.start, "to": events.end, "published": published });
        let mut command = Command::new(std::env::current_exe().expect("its path"));
        command.args(["--ignored", "--exact", "notify::faults::publishes_until_it_is_killed"]);
        command.env(TASK, task.to_string()).envs(environment.iter().cloned());
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
    let number = |key: &str| task[key].as_u64().expect("a number") as usize;
    let path = task["published"].as_str().expect("a path");
    let mut published = (!path.is_empty()).then(|| File::create(path).expect("created"));
    let in_queue = || counts(&notifiers).waiting + counts(&notifiers).sent;
    let before = in_queue();
    for event in number("from")..number("to") {
        notifiers.publish(&notice(event));
        let earlier = (event - number("from")) as u64;
        until("the queue", PATIENCE, || (in_queue() >= before + earlier).then_some(()));
        if let Some(file) = &mut published {
            writeln!(file, "{event}").expect("written");
        }
    }
    loop {
        std::thread::park();
    }
}

/// Events that a queue of a process that is gone has on the disk: those that wait, and all that it ever took.
fn on_disk(entry: &NotifyEntry) -> (usize, usize) {
    let path = entry.queue.as_ref().expect("is set");
    if !path.exists() {
        return (0, 0);
    }
    let queue = rusqlite::Connection::open(path).expect("opened");
    let count = |sql: &str| queue.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("counted") as usize;
    (
        count("SELECT count(*) FROM notice"),
        count("SELECT count(*) FROM (SELECT id FROM notice UNION SELECT id FROM past)"),
    )
}

/// Kills children while they publish, every other one while nobody listens to it; then tells the rest. What is on the disk when a process
/// is killed, nobody publishes again. Returns all that was told.
fn killed(scratch: &Scratch, entry: &NotifyEntry, told: impl Fn() -> Vec<String>) -> Vec<String> {
    let mut random = rand::rng();
    let path = scratch.file("published");
    let nobody = NotifyEntry { to: format!("http://127.0.0.1:{}/hook", free_port()), ..entry.clone() };
    let (mut known, mut waited) = (on_disk(entry).1, 0);
    for turn in 0..KILLS {
        let from = known;
        let _ = std::fs::remove_file(&path);
        let child = Child::start_with(if turn % 2 == 0 { &nobody } else { entry }, from..EVENTS, &path, &[]);
        let count = random.random_range(2..=EVENTS / KILLS).min(EVENTS - from);
        let lines = || std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
        until("events", PATIENCE, || (lines() >= count).then_some(()));
        child.kill();
        let (waiting, all) = on_disk(entry);
        assert!(all + 2 >= from + count, "{all} of {} that were published are on the disk", from + count);
        waited += usize::from(turn % 2 == 0 && waiting > 0);
        known = all;
    }
    assert!(waited > 0, "nothing waited when a process was killed");
    let notifiers = start(entry);
    (known..EVENTS).for_each(|number| notifiers.publish(&notice(number)));
    notifiers.finish(PATIENCE);
    assert_eq!(counts(&notifiers).waiting, 0);
    told()
}

#[test]
fn a_webhook_gets_everything_in_order_from_processes_that_are_killed() {
    let scratch = Scratch::new();
    let receiver = Receiver::start(0, |_| Answer::Status(200));
    let told = || receiver.taken().iter().map(Post::id).collect();
    assert_eq!(first_time(killed(&scratch, &entry(&scratch, &receiver.address()), told)), ids(0..EVENTS));
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
    killed(&scratch, &entry(&scratch, &broker.address()), told);
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
    assert_eq!(killed(&scratch, &entry(&scratch, &address), told), ids(0..EVENTS));
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
    assert_eq!(first_time(killed(&scratch, &entry(&scratch, &format!("jsonl:{path}")), told)), ids(0..EVENTS));
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
    let child = Child::start_with(&settings, 0..EVENTS, "", &clock_of(&clock));
    until("all events", PATIENCE, || (receiver.taken().len() >= EVENTS).then_some(()));
    child.kill();
    let taken = receiver.taken();
    assert_eq!(taken.iter().map(Post::id).collect::<Vec<_>>(), ids(0..EVENTS));
    let time = |post: &Post| -> u64 { post.header("webhook-timestamp").expect("sent").parse().expect("seconds") };
    assert!(time(&taken[EVENTS - 1]) + 3000 < time(&taken[0]), "it was set back");
}
