//! A run and a broker: what it is asked, by whom, and what an operator sees of it.

use super::{PATIENCE, Service, page, until};
use crate::notify::mqtt::{Broker, Client};
use crate::support::Scratch;

#[test]
fn a_run_takes_sentences_from_a_broker_and_says_how_it_is() {
    let scratch = Scratch::new();
    let broker = Broker::start(&scratch, "");
    let settings = format!(
        "out = [\"jsonl:-\"]\nmetrics = \"127.0.0.1:0\"\n\n[[stream]]\nid = \"yard\"\n\
         source = \"test:ball?live=true&size=160x120&fps=25\"\n\n[[stream.query]]\nname = \"ball\"\n\
         text = \"the white circle\"\n\n[[notify]]\nto = \"mqtt://127.0.0.1:{}\"\nqueue = {:?}\n",
        broker.port,
        scratch.file("queue.sqlite"),
    );
    let settings = scratch.write("run.toml", settings.as_bytes());
    let mut client = Client::start(broker.port, "client", &["spotter/#"]);
    let service = Service::start(&["--config", &settings]);
    let metrics = service.told("metrics at http://");
    let place = metrics.trim_end_matches("/metrics").to_owned();
    client.sees("spotter/yard/availability", "online");
    client.publish("spotter/yard/ball/text/set", "the red square", false);
    client.sees("spotter/yard/ball/text", "the red square");
    service.record("frame that is asked it", |line| line["query"] == "the red square");
    let failures = || {
        let (status, text) = page(&place, "/metrics");
        assert_eq!(status, 200);
        assert!(text.contains("spotter_notify_queue_length{notifier=\"mqtt\"} 0"), "{text}");
        let line = text.lines().find(|line| line.starts_with("spotter_notify_failures_total{notifier=\"mqtt\"}"));
        line.expect("there").rsplit(' ').next().expect("a number").parse::<u64>().expect("a number")
    };
    assert_eq!(failures(), 0);
    drop(broker);
    until("a failure", PATIENCE, || (failures() > 0).then_some(()));
    let (status, _) = service.stop();
    assert!(status.success());
}
