//! Zones and lines that are drawn on the page and written into the settings file.

use serde_json::json;

use super::api::{check, description};
use super::{encoded, get, place, served, tell};
use crate::served::Service;
use crate::support::{Scratch, spotter};

const FILE: &str = "# Our gate.\n[[stream]]\nid = \"gate\"\nsource = \"test:ball?live=true&size=160x120\"  # soon a camera\n\
                    query = \"a\"\n\n[[stream.zone]]  # where cars stand\nname = \"drive\"\nanchor = \"centre\"\n\
                    points = [[0.1, 0.5], [0.5, 0.5], [0.4, 0.9]]\n";

#[test]
fn zones_are_written_and_comments_stay() {
    const PATH: &str = "/api/v1/streams/gate/places";
    let scratch = Scratch::new();
    let file = scratch.write("run.toml", FILE.as_bytes());
    let service = Service::start(&["--config", &file, "--page", "127.0.0.1:0"]);
    let place = place(&service);
    let drive = json!({ "kind": "zone", "name": "drive", "points": [[0.1, 0.5], [0.5, 0.5], [0.4, 0.9]] });
    let described = "/api/v1/streams/{name}/places";
    let before = get(&place, PATH);
    check(&description(), described, "get", &before);
    assert_eq!((&before.json()["file"], &before.json()["places"]), (&json!("run.toml"), &json!([drive])));
    assert_eq!(get(&place, "/api/v1/streams/gate").json()["places"], json!([drive]), "those in force");

    let moved = json!({ "kind": "zone", "name": "drive", "points": [[0.2, 0.5], [0.5, 0.5], [0.4, 0.9]] });
    let door = json!({ "kind": "line", "name": "door", "points": [[0.5, 0.0], [0.5, 1.0]] });
    let written = tell(&place, "PUT", PATH, &json!({ "places": [moved, door] }));
    assert_eq!(written.status, 200, "{}", written.text());
    check(&description(), described, "put", &written);
    assert_eq!(written.json()["places"], json!([moved, door]));
    let text = scratch.read("run.toml");
    let line = "\n[[stream.line]]\nname = \"door\"\npoints = [[0.5, 0.0], [0.5, 1.0]]\n";
    assert_eq!(text, FILE.replace("[[0.1, 0.5]", "[[0.2, 0.5]") + line);
    let copies: Vec<String> = scratch.names().into_iter().filter(|name| name.starts_with("run.toml.")).collect();
    assert_eq!((copies.len(), scratch.read(&copies[0])), (1, FILE.to_owned()), "the file as it was");
    spotter(&["check", &file]).expect_success();

    for (places, status, reason) in [
        (json!([{ "kind": "zone", "name": "drive", "points": [[0.1, 0.1], [0.2, 0.2]] }]), 422, "drive"),
        (json!([{ "kind": "zone", "name": "far", "points": [[0.1, 0.1], [5.0, 0.2], [0.3, 0.3]] }]), 422, "far"),
        (json!([{ "kind": "area", "name": "drive", "points": [] }]), 400, "unknown variant"),
    ] {
        let refused = tell(&place, "PUT", PATH, &json!({ "places": places }));
        assert_eq!(refused.status, status, "{}", refused.text());
        assert!(refused.text().contains(reason), "{}", refused.text());
    }
    assert_eq!(scratch.read("run.toml"), text, "what cannot be is not written");
}

/// Somebody has the zones open on the page while somebody else edits the file.
#[test]
fn a_zone_that_was_edited_by_hand_meanwhile_is_not_written_over() {
    const PATH: &str = "/api/v1/streams/gate/places";
    let scratch = Scratch::new();
    let file = scratch.write("run.toml", FILE.as_bytes());
    let service = Service::start(&["--config", &file, "--page", "127.0.0.1:0"]);
    let place = place(&service);
    let seen = get(&place, PATH).json();
    let moved = json!({ "kind": "zone", "name": "drive", "points": [[0.2, 0.5], [0.5, 0.5], [0.4, 0.9]] });
    let save = |version: &serde_json::Value| {
        tell(&place, "PUT", PATH, &json!({ "places": [moved.clone()], "version": version }))
    };
    // Of another part of the file: both stay.
    scratch.write("run.toml", FILE.replace("soon a camera", "a camera, one day").as_bytes());
    assert_eq!(save(&seen["version"]).status, 200);
    let text = scratch.read("run.toml");
    assert!(text.contains("a camera, one day") && text.contains("[[0.2, 0.5]"), "{text}");
    // Of the very zone.
    let by_hand = text.replace("[0.4, 0.9]", "[0.4, 0.8]");
    scratch.write("run.toml", by_hand.as_bytes());
    let refused = save(&seen["version"]);
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("changed meanwhile"), "{}", refused.text());
    check(&description(), "/api/v1/streams/{name}/places", "put", &refused);
    assert_eq!(scratch.read("run.toml"), by_hand);
    // Looked at, and saved all the same.
    assert_eq!(save(&get(&place, PATH).json()["version"]).status, 200);
    assert!(scratch.read("run.toml").contains("[0.4, 0.9]"));
    // What cannot be read is written over by nobody.
    scratch.write("run.toml", b"[[stream]\n");
    let broken = save(&serde_json::Value::Null);
    assert!((400..500).contains(&broken.status), "{}", broken.text());
    assert_eq!(scratch.read("run.toml"), "[[stream]\n");
}

#[test]
fn what_stands_in_no_file_cannot_be_written() {
    let (_service, place) = served(&[]);
    let path = super::camera("/places");
    assert_eq!(get(&place, &path).status, 404);
    let refused = tell(&place, "PUT", &path, &json!({ "places": [] }));
    assert_eq!(refused.status, 404);
    assert!(refused.text().contains("settings file with the zones of"), "{}", refused.text());
    let path = format!("/api/v1/streams/{}", encoded(super::CAMERA[1]));
    assert_eq!(get(&place, &path).json()["draws"], false);
}
