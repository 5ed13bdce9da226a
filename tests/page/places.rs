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
    assert_eq!(before.json(), json!({ "file": "run.toml", "places": [drive] }));
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
        (json!([{ "kind": "zone", "name": "drive", "points": [[0.1, 0.1], [0.2, 0.2]] }]), 400, "drive"),
        (json!([{ "kind": "zone", "name": "far", "points": [[0.1, 0.1], [5.0, 0.2], [0.3, 0.3]] }]), 400, "far"),
        (json!([{ "kind": "area", "name": "drive", "points": [] }]), 400, "unknown variant"),
    ] {
        let refused = tell(&place, "PUT", PATH, &json!({ "places": places }));
        assert_eq!(refused.status, status, "{}", refused.text());
        assert!(refused.text().contains(reason), "{}", refused.text());
    }
    assert_eq!(scratch.read("run.toml"), text, "what cannot be is not written");
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
