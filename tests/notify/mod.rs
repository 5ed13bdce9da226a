//! Telling others: real receivers on this machine that go away, are slow, refuse and come back.

mod faults;
mod file;
mod home_assistant;
pub(crate) mod mqtt;
mod nats;
mod receiver;
mod sightings;
mod soak;
mod webhook;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::json;
use spotter::notify::{Notice, NotifierCounts, Notifiers, NotifyEntry, Watched};

use crate::support::{Scratch, tool, until};

/// How long anything may take to happen.
const PATIENCE: Duration = Duration::from_mins(1);
const STREAM: &str = "gate";
const QUERY: &str = "a car";

/// A receiver's table, with a queue in `scratch` and short waits.
fn entry(scratch: &Scratch, to: &str) -> NotifyEntry {
    NotifyEntry {
        to: to.into(),
        queue: Some(scratch.path().join("queue.sqlite")),
        timeout: Some("5s".into()),
        retry_interval: Some("20ms".into()),
        retry_max_interval: Some("200ms".into()),
        ..NotifyEntry::default()
    }
}

fn watched() -> Watched {
    Watched { stream: STREAM.into(), queries: vec![(QUERY.into(), "a red car".into())] }
}

/// One receiver, told from now on.
fn start(entry: &NotifyEntry) -> Notifiers {
    let settings = NotifyEntry::resolve(std::slice::from_ref(entry), &[STREAM]).expect("valid");
    Notifiers::start(&settings, &[watched()], None).expect("starts")
}

/// The start of sighting `number`.
fn notice(number: usize) -> Notice {
    Notice {
        id: id(number),
        stream: STREAM.into(),
        query: QUERY.into(),
        kind: "sighting_start".into(),
        event: json!({
            "schema": "spotter.event/1", "event": "sighting_start", "source": STREAM,
            "sighting": { "id": format!("sighting {number}"), "query": QUERY },
        }),
        snapshot: None,
    }
}

fn with_picture(number: usize) -> Notice {
    Notice { snapshot: Some(picture()), ..notice(number) }
}

fn id(number: usize) -> String {
    format!("run/{STREAM} {number}")
}

fn ids(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(id).collect()
}

/// A JPEG.
fn picture() -> Arc<[u8]> {
    static PICTURE: OnceLock<Arc<[u8]>> = OnceLock::new();
    let made = PICTURE.get_or_init(|| {
        let rgb = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8 * 4, y as u8 * 5, 90]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        rgb.write_to(&mut bytes, image::ImageFormat::Jpeg).expect("encoded");
        bytes.into_inner().into()
    });
    Arc::clone(made)
}

fn counts(notifiers: &Notifiers) -> NotifierCounts {
    notifiers.counts().remove(0)
}

fn wait_for(notifiers: &Notifiers, what: &str, reached: impl Fn(&NotifierCounts) -> bool) {
    until(what, PATIENCE, || reached(&counts(notifiers)).then_some(()));
}

/// Ids without those that came again, in the order in which they came first.
fn first_time(ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut known = std::collections::HashSet::new();
    ids.into_iter().filter(|id| known.insert(id.clone())).collect()
}

/// An authority and a certificate of its for this machine: `ca.pem`, `cert.pem` and `key.pem`.
fn certificates(scratch: &Scratch) {
    let make = ["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    let [ca, ca_key, cert, key] = ["ca.pem", "ca.key", "cert.pem", "key.pem"].map(|name| scratch.file(name));
    tool("openssl", &[&make[..], &["-subj", "/CN=Authority", "-keyout", &ca_key, "-out", &ca]].concat());
    let names =
        ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    let of_authority = ["-subj", "/CN=localhost", "-CA", &ca, "-CAkey", &ca_key, "-keyout", &key, "-out", &cert];
    tool("openssl", &[&make[..], &names, &of_authority].concat());
}
