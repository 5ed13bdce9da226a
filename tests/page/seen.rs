//! What was seen, as the page and programs look it up.

use crossbeam_channel::bounded;
use serde_json::Value;
use spotter::run::stream_until;

use super::api::{check, description};
use super::{PATIENCE, ask, encoded, get};
use crate::sightings::{Finder, drawn_with};
use crate::support::servers::free_port;
use crate::support::{Scratch, run_settings, until};

/// Frames of the film, and those with the square.
const LENGTH: usize = 120;
const SEEN: std::ops::Range<usize> = 20..70;

/// Sightings with these parameters.
fn list(place: &str, parameters: &str) -> Vec<Value> {
    let answer = get(place, &format!("/api/v1/sightings{parameters}"));
    assert_eq!(answer.status, 200, "{parameters}: {}", answer.text());
    answer.json()["sightings"].as_array().expect("a list").clone()
}

#[test]
fn a_sighting_is_found_with_its_pictures_and_its_clip() {
    let scratch = Scratch::new();
    let dir = scratch.file("kept");
    let square = |frame: usize| SEEN.contains(&frame).then(|| (12 + 5 * (frame - SEEN.start), 100));
    let film = drawn_with(&scratch, (0..LENGTH).map(square), &["-g", "10"]);
    let table =
        format!("[sightings]\ndir = {dir:?}\nsnapshots = true\nclips = {{ before = \"400ms\", after = \"400ms\" }}\n");
    let table = scratch.write("zones.toml", table.as_bytes());
    let place = format!("127.0.0.1:{}", free_port());
    let out = format!("jsonl:{}", scratch.file("out.jsonl"));
    // The other stream goes on when the film is over, and the page with it.
    let sources = ["--source", &film, "--source", "test:black?live=true&size=64x48&fps=5", "--query", "the square"];
    let kept = ["--zones", &table, "--confirm", "10", "--forget", "400ms", "--out", &out, "--page", &place];
    let settings = run_settings(&[&sources[..], &kept].concat());
    let (stop, stopped) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let run = scope.spawn(move || stream_until(&settings, Box::new(Finder), Some(0.5), true, stopped));
        until("a page", PATIENCE, || std::net::TcpStream::connect(&place).ok());
        let of_film = format!("?stream={}", encoded(&film));
        let sighting = until("a clip", PATIENCE, || {
            let all = list(&place, &of_film);
            let with_clip =
                |one: &Value| one["files"].as_array().is_some_and(|files| files.iter().any(|f| f["kind"] == "clip"));
            all.into_iter().find(with_clip)
        });
        assert_eq!((&sighting["query"], &sighting["cause"]), (&"the square".into(), &"gone".into()), "{sighting}");
        let answer = get(&place, &format!("/api/v1/sightings{of_film}"));
        check(&description(), "/api/v1/sightings", "get", &answer);
        assert!(!answer.text().contains(&dir), "whoever looks learns nothing of the disk: {}", answer.text());
        let id = encoded(sighting["id"].as_str().expect("an id"));
        let one = get(&place, &format!("/api/v1/sightings/{id}"));
        check(&description(), "/api/v1/sightings/{id}", "get", &one);
        assert_eq!(one.json(), sighting);
        files(&place, &sighting);

        for nothing in [
            "?stream=nobody",
            "?query=a%20dog",
            "?zone=drive",
            "?since=2100-01-01T00:00:00Z",
            "?until=2000-01-01T00:00:00Z",
        ] {
            assert_eq!(list(&place, nothing), Vec::<Value>::new(), "{nothing}");
        }
        let meant = "?query=the+square&since=2000-01-01T00:00:00Z&until=2100-01-01T00:00:00Z&most=1";
        assert_eq!(list(&place, meant).len(), 1);
        for (wrong, reason) in [
            ("?most=0", "expected a number from 1"),
            ("?since=soon", "expected a time in UTC"),
            ("?open=maybe", "true or false"),
        ] {
            let answer = get(&place, &format!("/api/v1/sightings{wrong}"));
            assert_eq!(answer.status, 400, "{wrong}");
            assert!(answer.text().contains(reason), "{wrong}: {}", answer.text());
        }
        for path in [
            "/api/v1/sightings/nobody",
            &format!("/api/v1/sightings/{id}/files/99"),
            &format!("/api/v1/sightings/{id}/files/.."),
        ] {
            assert_eq!(get(&place, path).status, 404, "{path}");
        }
        drop(stop);
        run.join().expect("no panic").expect("runs");
    });
}

/// Pictures are pictures, and the clip is what lies on the disk, whole and in parts.
fn files(place: &str, sighting: &Value) {
    let href = |kind: &str| {
        let files = sighting["files"].as_array().expect("files");
        let file = files.iter().find(|file| file["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {files:?}"));
        file["href"].as_str().expect("an address").to_owned()
    };
    let picture = get(place, &href("snapshot"));
    assert_eq!((picture.status, picture.headers["content-type"].as_str()), (200, "image/jpeg"));
    assert_eq!(image::load_from_memory(&picture.body).expect("a JPEG").width(), 320);
    let clip = href("clip");
    let whole = get(place, &clip);
    assert_eq!((whole.status, whole.headers["content-type"].as_str()), (200, "video/mp4"));
    assert_eq!(&whole.body[4..8], b"ftyp");
    let length = whole.body.len();
    let part = |range: &str| ask(place, "GET", &clip, &[("Range", range)], "");
    let middle = part("bytes=100-199");
    assert_eq!((middle.status, middle.headers["content-range"].clone()), (206, format!("bytes 100-199/{length}")));
    assert_eq!(middle.body, whole.body[100..200]);
    assert_eq!(part("bytes=-50").body, whole.body[length - 50..]);
    assert_eq!(part(&format!("bytes={}-", length - 10)).body, whole.body[length - 10..]);
    assert_eq!(part(&format!("bytes={length}-")).status, 416);
}
