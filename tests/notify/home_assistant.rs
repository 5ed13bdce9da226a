//! Home Assistant's own schemas, held against what it is told.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use spotter::notify::{Notifiers, NotifyEntry, Watched};

use super::mqtt::{Broker, Client};
use super::{PATIENCE, QUERY, STREAM, entry, watched};
use crate::support::{Scratch, aloud, repository};

#[test]
fn home_assistant_takes_what_it_is_told() {
    let packages = repository().join("target/home-assistant");
    if !packages.exists() {
        aloud(&format!("SKIPPED: {} is not there (make peers, with Python 3.12 at most)", packages.display()));
        return;
    }
    let scratch = Scratch::new();
    let broker = Broker::start(&scratch, "");
    let client = Client::start(broker.port, "client", &["homeassistant/#", "spotter/availability"]);
    let settings = NotifyEntry::resolve(&[entry(&scratch, &broker.address())], &[STREAM, "rtsp://cam/1"]);
    let odd = Watched {
        stream: "rtsp://cam/1".into(),
        queries: vec![("größter Hund".into(), "der große Hund".into()), ("b".into(), "a \"b\"".into())],
    };
    let watched = [watched(), odd];
    let notifiers = Notifiers::start(&settings.expect("valid"), &watched, Some(Arc::new(|_, _, _| Ok(()))));
    let notifiers = notifiers.expect("starts");
    // Availability comes last: topics are told in their order.
    let mut lines = String::new();
    let mut of_query = Vec::new();
    loop {
        let message = client.next("discovery or availability", |_| true);
        if message.topic == "spotter/availability" {
            break;
        }
        let config: Value = serde_json::from_slice(&message.payload).expect("JSON");
        if config["name"].as_str().is_some_and(|name| name.starts_with(QUERY)) {
            of_query.push(message.topic.clone());
        }
        lines.extend([json!({ "topic": message.topic, "config": config }).to_string(), "\n".into()]);
    }
    notifiers.finish(PATIENCE);
    assert_eq!(
        of_query,
        [
            "homeassistant/binary_sensor/spotter/gate_a_car_state/config",
            "homeassistant/image/spotter/gate_a_car_snapshot/config",
            "homeassistant/sensor/spotter/gate_a_car_count/config",
            "homeassistant/text/spotter/gate_a_car_text/config",
        ]
    );
    let mut python = Command::new("python3")
        .arg(repository().join("tests/support/discovery.py"))
        .env("PYTHONPATH", packages)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    python.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("taken");
    let output = python.wait_with_output().expect("ends");
    assert!(output.status.success(), "its schemas refuse it");
    let counts: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(counts, json!({ "binary_sensor": 3, "image": 3, "sensor": 3, "text": 3 }));
}
