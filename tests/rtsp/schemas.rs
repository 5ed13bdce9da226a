//! Lines of a camera that goes and comes back, with more frames than the model has time for, and queries that change.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::{AS_CAMERAS, Live, RATE, events, frames};
use crate::queries::validate;
use crate::support::counter::{Several, counter_clip};
use crate::support::relay::{self, Harm};
use crate::support::servers::Server;
use crate::support::{Scratch, spotter};

/// Two frames and a half of the camera.
const SLOW: Duration = Duration::from_millis(100);

#[test]
fn lines_keep_their_schema_over_drops_gaps_and_changes_of_queries() {
    let scratch = Scratch::new();
    let clip = counter_clip(&scratch, RATE, 60 * RATE as usize, &AS_CAMERAS);
    let camera = Server::camera(&clip, &[]);
    let (address, lever) = relay::tcp(&camera.address, Harm::None);
    let socket = format!("unix:{}", scratch.file("control"));
    let source = ["--source", &address, "--reconnect-interval", "200ms", "--reconnect-max-interval", "200ms"];
    let asked = ["--query", "one", "--query", "two", "--query", "three", "--smooth", "one-euro", "--control", &socket];
    let mut live = Live::start(&[&source[..], &asked].concat(), Several { takes: SLOW, queries: 3 });
    let tell = |command: &[&str]| {
        spotter(&[&["control", &socket][..], command].concat()).expect_success();
    };
    let asks = |count: usize| {
        move |line: &Value| line["status"] == "measured" && line["queries"].as_array().map(Vec::len) == Some(count)
    };
    live.wait_for("measured frame", asks(3));
    live.wait_for("dropped frame", |line| line["status"] == "dropped");
    tell(&["add-query", "four"]);
    live.wait_for("frame with four queries", asks(4));
    tell(&["set-query", "another", "--name", "two"]);
    live.wait_for("change", |line| line["event"] == "query" && line["change"] == "changed");
    lever.set(Harm::Cut);
    live.wait_for_event("gap_start");
    live.wait_for_event("gap_retry");
    // Also while nothing comes.
    tell(&["remove-query", "three"]);
    lever.set(Harm::None);
    live.wait_for("frame with three queries", asks(3));
    live.wait_for("dropped frame", |line| line["status"] == "dropped");
    let (outcome, lines) = live.end();
    let books = outcome.expect("being away is no failure");
    assert!(books.frames.closed(), "{books}");

    validate(&lines);
    let said = |key: &str| -> BTreeSet<&str> { lines.iter().filter_map(|line| line[key].as_str()).collect() };
    assert!(said("status").is_superset(&BTreeSet::from(["measured", "dropped"])), "{:?}", said("status"));
    let told = ["source_up", "gap_start", "gap_retry", "gap_end", "query", "end"];
    assert!(said("event").is_superset(&BTreeSet::from(told)), "{:?}", said("event"));
    assert_eq!(said("change"), BTreeSet::from(["added", "changed", "removed"]));
    let end = events(&lines, "end")[0];
    assert_eq!(end["frames"]["decoded"].as_u64(), Some(frames(&lines).len() as u64), "{end}");
    let names = |line: &Value| -> Vec<String> {
        let queries = line["queries"].as_array().expect("a list").iter();
        queries.map(|query| query["name"].as_str().expect("a name").to_owned()).collect()
    };
    let last = frames(&lines)[frames(&lines).len() - 1];
    assert_eq!((names(last).len(), names(end).len()), (3, 4), "the books know also who is gone: {end}");
}
