//! Queries that are changed by the API.

use serde_json::{Value, json};

use super::{CAMERA, ask, encoded, get, served, tell};

/// Names of the queries of a line.
fn names(line: &Value) -> Vec<&str> {
    let queries = line["queries"].as_array().map_or(&[][..], Vec::as_slice);
    queries.iter().filter_map(|query| query["name"].as_str()).collect()
}

#[test]
fn what_is_asked_changes_between_two_frames() {
    let (service, place) = served(&[]);
    service.record("measured frame", |line| line["measured"] == true);
    let added = tell(&place, "POST", "/api/v1/queries", &json!({ "query": "a red square", "name": "square" }));
    assert_eq!(added.status, 201, "{}", added.text());
    let revisions = &added.json()["queries"][CAMERA[1]];
    assert_eq!(*revisions, json!({ "the white circle": 1, "square": 1 }), "{}", added.text());
    let event = service.record("change", |line| line["event"] == "query");
    assert_eq!((&event["change"], &event["name"]), (&json!("added"), &json!("square")));
    let next = service.record("frame", |line| line["seq"].is_number() && line["status"].is_string());
    assert_eq!(next["seq"], event["seq"], "the very next frame");
    assert_eq!(names(&next), ["the white circle", "square"]);
    // It may have come while the model had none free for it.
    let is_measured = |line: &Value| line["status"] == "measured";
    let measured = if is_measured(&next) { next } else { service.record("measured frame", is_measured) };
    assert!(measured["queries"][1]["presence"].is_number(), "{measured}");

    let changed = json!({ "query": "a green star", "threshold": 0.75 });
    let answer = tell(&place, "PATCH", "/api/v1/queries/square", &changed);
    assert_eq!((answer.status, &answer.json()["queries"][CAMERA[1]]["square"]), (200, &json!(2)));
    service.record("change", |line| line["event"] == "query" && line["text"] == "a green star");
    let streams = get(&place, "/api/v1/queries").json();
    let query = &streams["streams"][0]["queries"][1];
    assert_eq!((&query["text"], &query["threshold"], &query["rev"]), (&json!("a green star"), &json!(0.75), &json!(2)));

    let white = format!("/api/v1/queries/the%20white%20circle?stream={}", encoded(CAMERA[1]));
    assert_eq!(ask(&place, "DELETE", &white, &[], "").status, 200);
    service.record("frame with one query", |line| line["query"] == "a green star");
    assert_eq!(ask(&place, "DELETE", &white, &[], "").status, 404, "it is gone");
    let last = ask(&place, "DELETE", "/api/v1/queries/square", &[], "");
    assert_eq!(last.status, 409, "a stream needs a query");
    assert!(last.text().contains("a stream needs a query"), "{}", last.text());
}

/// What one of them said last is asked, and nobody's change is lost on the way.
#[test]
fn two_people_change_the_same_query() {
    const TURNS: usize = 12;
    let (service, place) = served(&[]);
    service.record("measured frame", |line| line["measured"] == true);
    let path = "/api/v1/queries/the%20white%20circle";
    let change = |whose: &str| -> Vec<(u64, String)> {
        let one = |turn: usize| {
            let text = format!("a {whose} circle {turn}");
            let answer = tell(&place, "PATCH", path, &json!({ "query": text }));
            assert_eq!(answer.status, 200, "{}", answer.text());
            (answer.json()["queries"][CAMERA[1]]["the white circle"].as_u64().expect("a revision"), text)
        };
        (0..TURNS).map(one).collect()
    };
    let [mut all, others] = std::thread::scope(|scope| {
        let both = ["red", "blue"].map(|whose| scope.spawn(move || change(whose)));
        both.map(|one| one.join().expect("no panic"))
    });
    all.extend(others);
    all.sort();
    let revisions: Vec<u64> = all.iter().map(|(revision, _)| *revision).collect();
    assert_eq!(revisions, (2..2 + 2 * TURNS as u64).collect::<Vec<_>>(), "each is a revision of its own");
    let now = get(&place, "/api/v1/queries").json()["streams"][0]["queries"][0].clone();
    assert_eq!(
        (now["rev"].as_u64(), now["text"].as_str()),
        all.last().map(|(rev, text)| (*rev, text.as_str())).unzip()
    );
    // Records say what was asked of each frame, in that order.
    for (revision, text) in &all {
        let event = service.record("change", |line| line["event"] == "query");
        assert_eq!((event["rev"].as_u64(), event["text"].as_str()), (Some(*revision), Some(text.as_str())));
    }
}

#[test]
fn words_that_the_model_does_not_know_are_told() {
    let (_service, place) = served(&[]);
    let known = tell(&place, "POST", "/api/v1/queries", &json!({ "query": "the red square" }));
    assert_eq!((known.status, &known.json()["warnings"]), (201, &json!([])), "{}", known.text());
    let unknown = tell(&place, "POST", "/api/v1/queries", &json!({ "query": "the red 猫" }));
    assert_eq!(unknown.status, 201, "{}", unknown.text());
    let warning = unknown.json()["warnings"][0].as_str().expect("a warning").to_owned();
    assert!(warning.contains("does not know [\"猫\"]"), "{warning}");
}

#[test]
fn a_request_that_cannot_be_met_changes_nothing() {
    let (service, place) = served(&[]);
    service.record("measured frame", |line| line["measured"] == true);
    let before = get(&place, "/api/v1/queries").text();
    for (method, path, body, status, reason) in [
        ("POST", "", json!({ "query": "  " }), 400, "expected words"),
        ("POST", "", json!({ "query": "a", "stream": "nobody" }), 404, "there is none of that name"),
        ("POST", "", json!({ "query": "the white circle" }), 409, "two queries are called"),
        ("POST", "", json!({ "query": "a", "threshold": 2 }), 400, "expected a probability from 0 to 1"),
        ("PATCH", "/nobody", json!({ "query": "a" }), 404, "there is none of that name"),
        ("PATCH", "/the%20white%20circle", json!({}), 400, "neither a sentence nor a threshold"),
    ] {
        let answer = tell(&place, method, &format!("/api/v1/queries{path}"), &body);
        assert_eq!(answer.status, status, "{method} {body}: {}", answer.text());
        assert!(answer.text().contains(reason), "{method} {body}: {}", answer.text());
    }
    assert_eq!(get(&place, "/api/v1/queries").text(), before);
}
