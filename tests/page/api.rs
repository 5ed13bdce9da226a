//! The API against its own description.

use serde_json::{Value, json};

use super::{Answer, CAMERA, PATIENCE, ask, encoded, get, served, tell};
use crate::support::{repository, until};

/// docs/openapi.json.
pub(super) fn description() -> Value {
    let text = std::fs::read_to_string(repository().join("docs/openapi.json")).expect("is there");
    serde_json::from_str(&text).expect("JSON")
}

/// What is wrong with an answer, by the description of its operation.
fn complaints(description: &Value, path: &str, method: &str, answer: &Answer) -> Vec<String> {
    let responses = &description["paths"][path][method]["responses"];
    let response = &responses[answer.status.to_string()];
    if response.is_null() {
        return vec![format!("{method} {path}: status {} is not described: {}", answer.status, answer.text())];
    }
    let kind = answer.headers.get("content-type").map(String::as_str);
    let Some(content) = response["content"].as_object() else {
        return if answer.body.is_empty() {
            Vec::new()
        } else {
            vec![format!("a body that is not described: {answer:?}")]
        };
    };
    let Some(media) = kind.and_then(|kind| content.get(kind)) else {
        return vec![format!("{method} {path}: {kind:?} is not described")];
    };
    if kind != Some("application/json") {
        return Vec::new();
    }
    let schema = json!({ "allOf": [media["schema"]], "components": description["components"] });
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    validator.iter_errors(&answer.json()).map(|error| format!("{method} {path}: {error}")).collect()
}

pub(super) fn check(description: &Value, path: &str, method: &str, answer: &Answer) {
    let complaints = complaints(description, path, method, answer);
    assert!(complaints.is_empty(), "{complaints:?} in {}", answer.text());
}

#[test]
fn answers_are_as_described() {
    let description = description();
    let (service, place) = served(&[]);
    service.record("measured frame", |line| line["measured"] == true);
    let name = get(&place, "/api/v1/streams").json()["streams"][0]["name"].as_str().expect("a name").to_owned();
    assert_eq!(name, CAMERA[1]);
    assert_eq!(get(&place, "/api/v1/openapi.json").json(), description);
    let mut seen = 0;
    for (path, operations) in description["paths"].as_object().expect("paths") {
        // Those that go on are in tests of their own.
        if !operations["get"].is_object()
            || ["/live", "findings", "mjpg"].iter().any(|ending| path.ends_with(ending))
            || path.contains("{id}")
            || path.ends_with("places")
        {
            continue;
        }
        let answer = get(&place, &path.replace("{name}", &encoded(&name)));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        check(&description, path, "get", &answer);
        seen += 1;
    }
    assert!(seen >= 7, "{seen} paths were asked for");
    let one = "/api/v1/streams/{name}";
    check(&description, one, "get", &get(&place, "/api/v1/streams/nobody"));
    check(&description, "/api/v1/queries", "get", &ask(&place, "GET", "/api/v1/queries", &[("Host", "evil")], ""));
    check(
        &description,
        "/api/v1/session",
        "post",
        &tell(&place, "POST", "/api/v1/session", &json!({ "password": "x" })),
    );
    // The health says what the records say.
    let health = get(&place, "/api/v1/health").json();
    let stream = &health["streams"][0];
    assert_eq!(stream["name"], name.as_str());
    assert!(stream["frames"]["measured"].as_u64().expect("a number") > 0, "{stream}");
    let fps = until("a rate", PATIENCE, || {
        get(&place, "/api/v1/health").json()["streams"][0]["fps"]["in"].as_f64().filter(|fps| *fps > 0.0)
    });
    assert!(fps <= 100.0, "{fps}");
}

#[test]
fn a_description_that_is_wrong_is_found_out() {
    let description = description();
    let answer = |status: u16, body: &Value| Answer {
        status,
        headers: [("content-type".to_owned(), "application/json".to_owned())].into(),
        body: body.to_string().into_bytes(),
    };
    let path = "/api/v1/session";
    let of = |status: u16, body: &Value| complaints(&description, path, "get", &answer(status, body));
    assert_eq!(of(200, &json!({ "asks": true, "in": false })), Vec::<String>::new());
    assert_eq!(of(200, &json!({ "asks": true })).len(), 1, "something is missing");
    assert_eq!(of(200, &json!({ "asks": true, "in": 7 })).len(), 1, "something is of another kind");
    assert_eq!(of(200, &json!({ "asks": true, "in": true, "more": 1 })).len(), 1, "something is too much");
    assert_eq!(of(418, &json!({})).len(), 1, "a status that nobody described");
}

#[test]
fn what_is_not_described_is_refused_in_words() {
    let description = description();
    let (_service, place) = served(&[]);
    for (method, path) in
        [("GET", "/api/v1"), ("GET", "/api/v2/streams"), ("GET", "/api/v1/sessions"), ("GET", "/stream/x")]
    {
        let answer = ask(&place, method, path, &[], "");
        assert_eq!(answer.status, 404, "{method} {path}");
        assert!(answer.json()["error"].is_string(), "{path}");
    }
    for (method, path) in
        [("POST", "/"), ("PUT", "/api/v1/queries"), ("DELETE", "/api/v1/health"), ("PATCH", "/stream/x.mjpg")]
    {
        let answer = ask(&place, method, path, &[], "");
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(answer.json()["error"].as_str().is_some_and(|error| error.contains("expected")), "{method} {path}");
    }
    let wrong = get(&place, "/api/v1/findings?streams=x");
    assert_eq!(
        (wrong.status, wrong.json()["error"].as_str()),
        (400, Some("parameter streams: is not known here, expected stream"))
    );
    for (body, status) in [("{", 400), ("[]", 400), ("{\"query\": 7}", 400), ("{\"query\": \"a\", \"loud\": 1}", 400)] {
        let answer = ask(&place, "POST", "/api/v1/queries", &[("Content-Type", "application/json")], body);
        assert_eq!(answer.status, status, "{body}");
        check(&description, "/api/v1/queries", "post", &answer);
    }
    let long = format!("{{\"query\": \"{}\"}}", "a".repeat(70_000));
    let answer = ask(&place, "POST", "/api/v1/queries", &[("Content-Type", "application/json")], &long);
    assert_eq!(answer.status, 413);
}
