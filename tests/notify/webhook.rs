//! Webhooks: what a receiver gets, and what becomes of it while it cannot be had.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rand::RngExt;
use serde_json::json;
use spotter::notify::{Notifiers, NotifyEntry, SnapshotForm};

use super::receiver::{Answer, Receiver};
use super::{PATIENCE, STREAM, counts, entry, first_time, id, ids, notice, picture, start, wait_for, with_picture};
use crate::support::{Scratch, tool};

/// Publishes these, and waits until they are told.
fn tell(notifiers: &Notifiers, numbers: std::ops::Range<usize>) {
    let before = counts(notifiers).sent;
    let count = numbers.len() as u64;
    numbers.for_each(|number| notifiers.publish(&notice(number)));
    wait_for(notifiers, "all told", |counts| counts.sent == before + count);
}

#[test]
fn events_arrive_in_order_over_one_connection_with_their_ids() {
    let scratch = Scratch::new();
    let receiver = Receiver::start(0, |_| Answer::Status(204));
    let notifiers = start(&entry(&scratch, &receiver.address()));
    tell(&notifiers, 0..50);
    notifiers.finish(PATIENCE);
    let posts = receiver.posts();
    assert_eq!(posts.iter().map(super::receiver::Post::id).collect::<Vec<_>>(), ids(0..50));
    assert_eq!(receiver.connections(), 1);
    let first = &posts[0];
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("webhook-id"), Some("run%2Fgate%200"));
    assert_eq!(first.json()["sighting"]["id"], "sighting 0");
    assert_eq!((counts(&notifiers).waiting, counts(&notifiers).failures), (0, 0));
}

#[test]
fn headers_passwords_and_signatures_are_sent_and_hidden() {
    let scratch = Scratch::new();
    let receiver = Receiver::start(0, |_| Answer::Status(200));
    let settings = NotifyEntry {
        credentials: Some(scratch.write("login", b"house:open sesame\n").into()),
        headers: Some(scratch.write("headers", b"# ours\nX-Api-Key: k3y-of-ours\nX-Place: barn\n").into()),
        secret: Some(scratch.write("key", b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").into()),
        ..entry(&scratch, &receiver.address())
    };
    let notifiers = start(&settings);
    tell(&notifiers, 0..1);
    let post = receiver.posts().remove(0);
    assert_eq!(post.header("authorization"), Some("Basic aG91c2U6b3BlbiBzZXNhbWU="));
    assert_eq!((post.header("x-api-key"), post.header("x-place")), (Some("k3y-of-ours"), Some("barn")));
    let sent = |name: &str| post.header(name).expect("sent");
    // Somebody else's HMAC.
    let signed = [sent("webhook-id"), ".", sent("webhook-timestamp"), "."].concat();
    let file = scratch.write("signed", &[signed.as_bytes(), &post.body].concat());
    let script = "import base64, hashlib, hmac, sys; key = base64.b64decode('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'); \
                  print(base64.b64encode(hmac.new(key, open(sys.argv[1], 'rb').read(), hashlib.sha256).digest()).decode())";
    let expected = format!("v1,{}", tool("python3", &["-c", script, &file]).trim());
    assert_eq!(sent("webhook-signature"), expected);
    for secret in ["open sesame", "k3y-of-ours", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
        assert!(!spotter::secrets::hidden(&format!("x {secret} y")).contains(secret), "{secret}");
    }
    assert_eq!(spotter::secrets::hidden("the barn"), "the barn");
}

#[test]
fn pictures_come_as_base64_or_as_a_part_of_their_own() {
    for form in [SnapshotForm::Base64, SnapshotForm::Multipart] {
        let scratch = Scratch::new();
        let receiver = Receiver::start(0, |_| Answer::Status(200));
        let notifiers = start(&NotifyEntry { snapshot: Some(form), ..entry(&scratch, &receiver.address()) });
        notifiers.publish(&with_picture(0));
        wait_for(&notifiers, "one told", |counts| counts.sent == 1);
        let post = receiver.posts().remove(0);
        if form == SnapshotForm::Base64 {
            use base64::Engine;
            let coded = post.json()["snapshot"]["base64"].as_str().expect("a text").to_owned();
            let bytes = base64::engine::general_purpose::STANDARD.decode(coded).expect("base64");
            assert_eq!(bytes, &*picture());
        } else {
            // Somebody else's reader of such bodies.
            let kind = post.header("content-type").expect("sent").to_owned();
            let whole = [format!("Content-Type: {kind}\r\n\r\n").as_bytes(), &post.body].concat();
            let file = scratch.write("body", &whole);
            let script = "import email, email.policy, json, sys; \
                          message = email.message_from_bytes(open(sys.argv[1], 'rb').read(), policy=email.policy.HTTP); \
                          event, snapshot = message.iter_parts(); print(json.loads(event.get_content())['id']) \
                          if event.get_content_type() != 'application/json' else print(json.loads(event.get_payload(decode=True))['id']); \
                          open(sys.argv[2], 'wb').write(snapshot.get_payload(decode=True))";
            let said = tool("python3", &["-c", script, &file, &scratch.file("picture.jpg")]);
            assert_eq!(said.trim(), id(0));
            assert_eq!(std::fs::read(scratch.file("picture.jpg")).expect("read"), &*picture());
        }
    }
}

#[test]
fn a_receiver_that_is_away_gets_everything_later_also_after_a_restart_of_ours() {
    let scratch = Scratch::new();
    let port = Receiver::start(0, |_| Answer::Status(200)).port();
    let settings = entry(&scratch, &format!("http://127.0.0.1:{port}/hook"));
    let notifiers = start(&settings);
    (0..20).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "failures", |counts| counts.failures > 2 && counts.waiting == 20);
    notifiers.finish(PATIENCE);
    assert_eq!(counts(&notifiers).sent, 0);
    let notifiers = start(&settings);
    assert_eq!(counts(&notifiers).waiting, 20, "they were kept");
    (20..30).for_each(|number| notifiers.publish(&notice(number)));
    let receiver = Receiver::start(port, |_| Answer::Status(200));
    wait_for(&notifiers, "all told", |counts| counts.sent == 30);
    assert_eq!(receiver.posts().iter().map(super::receiver::Post::id).collect::<Vec<_>>(), ids(0..30));
}

/// The receiver goes and comes at random while events come.
#[test]
fn a_receiver_that_comes_and_goes_gets_everything_in_order() {
    const EVENTS: usize = 200;
    let scratch = Scratch::new();
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let listen = |port: u16| {
        let heard = Arc::clone(&heard);
        Receiver::start(port, move |post| {
            heard.lock().expect("whole").push(post.id());
            Answer::Status(200)
        })
    };
    let mut receiver = Some(listen(0));
    let (port, address) = receiver.as_ref().map(|receiver| (receiver.port(), receiver.address())).expect("listens");
    let notifiers = start(&entry(&scratch, &address));
    let mut random = rand::rng();
    for number in 0..EVENTS {
        notifiers.publish(&notice(number));
        if random.random_bool(0.05) || number == EVENTS / 2 {
            drop(receiver.take());
            let failures = counts(&notifiers).failures;
            wait_for(&notifiers, "a failure, or nothing to tell", |counts| {
                counts.failures > failures || counts.waiting == 0
            });
            receiver = Some(listen(port));
        }
    }
    wait_for(&notifiers, "all told", |counts| counts.sent == EVENTS as u64 && counts.waiting == 0);
    assert_eq!(first_time(heard.lock().expect("whole").iter().cloned()), ids(0..EVENTS));
    assert_eq!(counts(&notifiers).lost.map(|(_, count)| count), [0; 4]);
}

/// 500s, silence and connections that end keep nothing from arriving in order.
#[test]
fn a_receiver_that_fails_at_times_gets_everything_in_order() {
    let scratch = Scratch::new();
    let number = AtomicUsize::new(0);
    let receiver = Receiver::start(0, move |_| match number.fetch_add(1, Ordering::AcqRel) % 7 {
        1 => Answer::Status(500),
        2 => Answer::HangUp,
        3 => Answer::Status(401),
        4 => Answer::Nothing,
        _ => Answer::Status(200),
    });
    let notifiers = start(&NotifyEntry { timeout: Some("200ms".into()), ..entry(&scratch, &receiver.address()) });
    tell(&notifiers, 0..20);
    notifiers.finish(PATIENCE);
    let taken = receiver.taken().iter().map(super::receiver::Post::id).collect::<Vec<_>>();
    assert_eq!(first_time(taken), ids(0..20));
    assert!(counts(&notifiers).failures >= 16, "{:?}", counts(&notifiers));
}

#[test]
fn an_event_that_is_refused_does_not_hold_up_the_others() {
    let scratch = Scratch::new();
    let receiver = Receiver::start(0, |post| Answer::Status(if post.id() == id(1) { 422 } else { 200 }));
    let notifiers = start(&entry(&scratch, &receiver.address()));
    (0..3).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "two told", |counts| counts.sent == 2 && counts.waiting == 0);
    assert_eq!(counts(&notifiers).lost[3], ("refused", 1));
    let posts = receiver.posts().iter().map(super::receiver::Post::id).collect::<Vec<_>>();
    assert_eq!(posts, [id(0), id(1), id(1), id(1), id(2)]);
}

/// Certificates that nobody vouches for are refused; the file that vouches for them is read anew with every attempt.
#[test]
fn tls_with_an_authority_of_ones_own() {
    let scratch = Scratch::new();
    let receiver = Receiver::with_tls(&scratch, |_| Answer::Status(200));
    let notifiers = start(&entry(&scratch, &receiver.address()));
    notifiers.publish(&notice(0));
    wait_for(&notifiers, "a failure", |counts| counts.failures > 0);
    notifiers.finish(PATIENCE);
    assert_eq!((receiver.posts().len(), counts(&notifiers).sent), (0, 0));
    let of_others = Scratch::new();
    super::certificates(&of_others);
    let ca = scratch.write("trusted.pem", of_others.read("ca.pem").as_bytes());
    let notifiers = start(&NotifyEntry { ca: Some(ca.into()), ..entry(&scratch, &receiver.address()) });
    wait_for(&notifiers, "a failure", |counts| counts.failures > 0);
    assert_eq!(receiver.posts().len(), 0, "another authority");
    scratch.write("trusted.pem", scratch.read("ca.pem").as_bytes());
    wait_for(&notifiers, "one told", |counts| counts.sent == 1);
}

#[test]
fn a_password_that_is_put_right_is_taken_up() {
    let scratch = Scratch::new();
    let receiver = Receiver::start(0, |post| {
        Answer::Status(if post.header("authorization") == Some("Basic bWU6cmlnaHQ=") { 200 } else { 401 })
    });
    let login = scratch.write("login", b"me:wrong\n");
    let notifiers = start(&NotifyEntry { credentials: Some(login.into()), ..entry(&scratch, &receiver.address()) });
    notifiers.publish(&notice(0));
    wait_for(&notifiers, "a refusal", |counts| counts.failures > 0);
    scratch.write("login", b"me:right\n");
    wait_for(&notifiers, "one told", |counts| counts.sent == 1);
}

/// What is too much is counted: by the queue, by the minute, by the cooldown.
#[test]
fn what_is_too_much_falls_out_or_is_held_back_and_counted() {
    let scratch = Scratch::new();
    let port = Receiver::start(0, |_| Answer::Status(200)).port();
    let settings = NotifyEntry { queue_events: Some(5), ..entry(&scratch, &format!("http://127.0.0.1:{port}/hook")) };
    let notifiers = start(&settings);
    (0..8).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "three gone", |counts| counts.lost[1] == ("queue", 3));
    let receiver = Receiver::start(port, |_| Answer::Status(200));
    wait_for(&notifiers, "five told", |counts| counts.sent == 5);
    drop(notifiers);
    assert_eq!(receiver.posts().iter().map(super::receiver::Post::id).collect::<Vec<_>>(), ids(3..8));

    let scratch = Scratch::new();
    let receiver = Receiver::start(0, |_| Answer::Status(200));
    let notifiers = start(&NotifyEntry { per_minute: Some(2), ..entry(&scratch, &receiver.address()) });
    (0..5).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "two told", |counts| counts.sent == 2 && counts.held[2] == ("rate", 3));

    let scratch = Scratch::new();
    let notifiers = start(&NotifyEntry { cooldown: Some("1h".into()), ..entry(&scratch, &receiver.address()) });
    (0..5).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "one told", |counts| counts.sent == 1 && counts.held[0] == ("cooldown", 4));
}

/// The whole day is quiet: nothing is told, and all of it is counted.
#[test]
fn quiet_hours_hold_back() {
    let scratch = Scratch::new();
    let receiver = Receiver::start(0, |_| Answer::Status(200));
    let quiet = vec!["00:00-12:00".into(), "12:00-00:00".into()];
    let notifiers = start(&NotifyEntry { quiet, ..entry(&scratch, &receiver.address()) });
    (0..3).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "all held back", |counts| counts.held[1] == ("quiet", 3));
    notifiers.finish(PATIENCE);
    assert_eq!(receiver.posts().len(), 0);
}

/// Nobody who publishes waits for a receiver that takes its time.
#[test]
fn a_slow_receiver_holds_up_nobody() {
    let scratch = Scratch::new();
    let (hold, held) = crossbeam_channel::bounded::<()>(0);
    let held = Arc::new(Mutex::new(held));
    let receiver = Receiver::start(0, move |_| {
        // Until the test lets go of the other end.
        let _ = held.lock().expect("whole").recv();
        Answer::Status(200)
    });
    let notifiers = start(&entry(&scratch, &receiver.address()));
    (0..100).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "all queued", |counts| counts.waiting == 100);
    assert_eq!(counts(&notifiers).sent, 0);
    drop(hold);
    wait_for(&notifiers, "all told", |counts| counts.sent == 100);
}

#[test]
fn settings_that_cannot_be_meant_are_named() {
    let scratch = Scratch::new();
    let base = || entry(&scratch, "https://house.lan/hook");
    let told = |entry: NotifyEntry| {
        let error = NotifyEntry::resolve(&[entry], &[STREAM]).expect_err("refused");
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    let odd = |to: &str| NotifyEntry { to: to.into(), ..base() };
    for (entry, expected) in [
        (odd("house.lan"), "expected an address"),
        (odd("ftp://house.lan"), "expected an address"),
        (odd("mqtt://house.lan/topic"), "has a path"),
        (odd("jsonl:"), "expected a file"),
        (odd("jsonl:/nowhere/at/all.jsonl"), "folder does not exist"),
        (odd("jsonl:x.jsonl,rotate=much"), "expected a number of bytes"),
        (odd("https://me:s3/cret@house.lan/"), "not percent-encoded"),
        (NotifyEntry { topic: Some("a".into()), ..base() }, "topic: is for mqtt alone"),
        (NotifyEntry { jetstream: Some("a".into()), ..base() }, "jetstream: is for nats alone"),
        (NotifyEntry { events: vec!["sighting_begin".into()], ..base() }, "sighting_start"),
        (NotifyEntry { streams: vec!["door".into()], ..base() }, "is none of gate"),
        (NotifyEntry { per_minute: Some(0), ..base() }, "expected a number from 1"),
        (NotifyEntry { quiet: vec!["at night".into()], ..base() }, "22:00-06:30"),
        (NotifyEntry { cooldown: Some("some".into()), ..base() }, "cooldown some"),
        (NotifyEntry { queue_bytes: Some("much".into()), ..base() }, "queue_bytes much"),
        (NotifyEntry { name: Some("a b".into()), ..base() }, "no word"),
        (NotifyEntry { headers: Some(scratch.write("h", b"nothing\n").into()), ..base() }, "line 1 is no header"),
        (NotifyEntry { secret: Some(scratch.write("k", b"\n").into()), ..base() }, "first line is empty"),
        (NotifyEntry { ca: Some(scratch.write("c", b"none\n").into()), ..base() }, "no certificate"),
        (NotifyEntry { topic: Some("a/#".into()), ..odd("mqtt://house.lan") }, "words with /"),
        (NotifyEntry { subject: Some("a b".into()), ..odd("nats://house.lan") }, "words with points"),
    ] {
        let said = told(entry);
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("s3/cret"), "{said}");
    }
    let twice = NotifyEntry::resolve(&[base(), base()], &[STREAM]).expect_err("refused").to_string();
    assert!(twice.contains("two are called webhook"), "{twice}");
    let named = |name: &str| NotifyEntry { name: Some(name.into()), ..base() };
    let shared = NotifyEntry::resolve(&[named("a"), named("b")], &[STREAM]).expect_err("refused").to_string();
    assert!(shared.contains("has that queue too"), "{shared}");
    assert_eq!(json!(SnapshotForm::Base64), json!("base64"));
}
