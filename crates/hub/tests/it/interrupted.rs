//! Models that come in pieces.

use std::sync::atomic::{AtomicUsize, Ordering};

use hub::{Event, Found};

use crate::server::{Asked, Reply, Side};
use crate::support::{Machine, Right, WEIGHTS, pinned, repository, server, wanted, weights};

const LENGTH: usize = 300_000;

#[test]
fn cut_ten_times_and_whole_in_the_end() {
    let server = server();
    let left = AtomicUsize::new(10);
    server.misbehave(move |asked, usual| {
        let cuts = asked.side == Side::Cdn && asked.method == "GET" && left.load(Ordering::SeqCst) > 0;
        cuts.then(|| {
            left.fetch_sub(1, Ordering::SeqCst);
            usual.clone().cut(LENGTH / 11)
        })
    });
    let mut machine = Machine::new(server.address());
    // Fewer than there are cuts: what brings something new is no failure.
    machine.patience.attempts = 2;
    let mut retries = Vec::new();
    let fetched = machine.hub().fetch(&wanted(), false, &Right::default(), &mut |event| {
        if let Event::Retry { reason, .. } = event {
            retries.push(reason.to_owned());
        }
    });
    let path = fetched.expect("fetched").path;
    assert_eq!(std::fs::read(path.join(WEIGHTS)).expect("read"), weights(LENGTH, 1));
    let from: Vec<usize> = server.downloads().iter().map(Asked::from).collect();
    let expected: Vec<usize> = (0..=10).map(|cut| cut * (LENGTH / 11)).collect();
    assert_eq!(from, expected, "no byte comes twice");
    assert_eq!(retries.len(), 10);
    assert!(retries[0].contains("breaks off model.safetensors after 27 kB of 300 kB"), "{retries:?}");
}

#[test]
fn a_later_process_goes_on_where_an_earlier_one_ended() {
    let server = server();
    server.misbehave(|asked, usual| (asked.side == Side::Cdn && asked.from() == 0).then(|| usual.clone().cut(100_000)));
    let mut machine = Machine::new(server.address());
    machine.patience.attempts = 1;
    let said = machine.refused(&wanted());
    assert!(said.contains("breaks off") && said.ends_with("tried once"), "{said}");
    let Found::Partial { bytes } = machine.cache().find(&repository()) else { panic!("the beginning is kept") };
    assert!(bytes >= 100_000);
    assert_eq!(machine.cache().list().expect("listed").len(), 1);
    machine.fetch().expect("fetched");
    assert_eq!(server.downloads().iter().map(Asked::from).collect::<Vec<_>>(), [0, 100_000]);
}

#[test]
fn a_beginning_that_was_damaged_meanwhile_is_fetched_anew() {
    let server = server();
    server.misbehave(|asked, usual| (asked.side == Side::Cdn && asked.from() == 0).then(|| usual.clone().cut(100_000)));
    let mut machine = Machine::new(server.address());
    machine.patience.attempts = 1;
    machine.refused(&wanted());
    let mut part = std::fs::read(machine.part()).expect("kept");
    assert_eq!(part.len(), 100_000);
    part[500] ^= 1;
    std::fs::write(machine.part(), &part).expect("written");
    server.misbehave(|_, _| None);
    let path = machine.fetch().expect("fetched").path;
    assert_eq!(std::fs::read(path.join(WEIGHTS)).expect("read"), weights(LENGTH, 1));
    assert_eq!(server.downloads().iter().map(Asked::from).collect::<Vec<_>>(), [0, 100_000, 0]);
}

#[test]
fn a_beginning_that_is_too_long_is_dropped() {
    let server = server();
    let machine = Machine::new(server.address());
    std::fs::create_dir_all(machine.part().parent().expect("a folder")).expect("made");
    std::fs::write(machine.part(), weights(LENGTH + 5, 1)).expect("written");
    machine.fetch().expect("fetched");
    assert_eq!(server.downloads().iter().map(Asked::from).collect::<Vec<_>>(), [0]);
}

type Fault = Box<dyn Fn(&Asked, &Reply) -> Option<Reply> + Send + Sync>;

#[test]
fn servers_that_know_no_parts_or_the_wrong_ones_are_borne() {
    let whole = |asked: &Asked, usual: &Reply| match usual {
        Reply::Answer { status: 206, headers, .. } if asked.side == Side::Cdn => {
            let headers = headers.iter().filter(|(name, _)| name != "Content-Range").cloned().collect();
            Some(Reply::Answer { status: 200, headers, body: weights(LENGTH, 1) })
        }
        _ => None,
    };
    let elsewhere = |_: &Asked, usual: &Reply| match usual.clone() {
        Reply::Answer { status: 206, headers, body } => {
            let shifted = |(name, value): (String, String)| {
                if name == "Content-Range" { (name, value.replacen("bytes ", "bytes 1", 1)) } else { (name, value) }
            };
            Some(Reply::Answer { status: 206, headers: headers.into_iter().map(shifted).collect(), body })
        }
        _ => None,
    };
    let refuses =
        |_: &Asked, usual: &Reply| matches!(usual, Reply::Answer { status: 206, .. }).then(|| Reply::status(416, &[]));
    let faults: [Fault; 3] = [Box::new(whole), Box::new(elsewhere), Box::new(refuses)];
    for fault in faults {
        let server = server();
        let first = AtomicUsize::new(1);
        server.misbehave(move |asked, usual| {
            if asked.side == Side::Cdn && first.swap(0, Ordering::SeqCst) == 1 {
                return Some(usual.clone().cut(100_000));
            }
            fault(asked, usual)
        });
        let machine = Machine::new(server.address());
        let path = machine.fetch().expect("fetched").path;
        assert_eq!(std::fs::read(path.join(WEIGHTS)).expect("read"), weights(LENGTH, 1));
        let from: Vec<usize> = server.downloads().iter().map(Asked::from).collect();
        assert_eq!(from[..2], [0, 100_000]);
    }
}

/// What has no checksum goes on only where the server says that it is still the same.
#[test]
fn small_files_are_never_of_two_versions() {
    let server = server();
    let (old, new) = ("{\"model_type\": \"right\", \"a\": 1}", "{\"model_type\": \"right\", \"b\": 2}");
    server.put("config.json", old.as_bytes(), false);
    let (replaced, first) = (server.clone(), AtomicUsize::new(1));
    server.misbehave(move |asked, usual| {
        let is_file =
            asked.method == "GET" && asked.path.contains("resolve-cache") && asked.path.contains("/config.json");
        (is_file && first.swap(0, Ordering::SeqCst) == 1).then(|| usual.clone().cut(26))
    });
    let machine = Machine::new(server.address());
    let mut changed = false;
    let fetched = machine.hub().fetch(&wanted(), false, &Right::default(), &mut |event| {
        if matches!(event, Event::Retry { .. }) && !changed {
            replaced.put("config.json", new.as_bytes(), false);
            changed = true;
        }
    });
    let path = fetched.expect("fetched").path;
    assert!(changed);
    assert_eq!(std::fs::read_to_string(path.join("config.json")).expect("read"), new);
    let second = server.asked().into_iter().filter(|asked| asked.header("range").is_some()).collect::<Vec<_>>();
    assert!(!second.is_empty() && second.iter().all(|asked| asked.header("if-range").is_some()), "{second:?}");
}

#[test]
fn another_checksum_is_refused() {
    let server = server();
    server.misbehave(|asked, usual| match usual.clone() {
        Reply::Answer { status: 200, headers, body } if asked.side == Side::Cdn => {
            Some(Reply::Answer { status: 200, headers, body: weights(body.len(), 2) })
        }
        _ => None,
    });
    let machine = Machine::new(server.address());
    let said = machine.refused(&wanted());
    let sum = |seed| blocks::files::hex(&<sha2::Sha256 as sha2::Digest>::digest(weights(LENGTH, seed)));
    let expected = format!(
        "lab/model: model.safetensors came with SHA-256 {}, but the hub says {}; it was dropped",
        sum(2),
        sum(1)
    );
    assert_eq!(said, expected);
    assert!(!machine.part().exists());
    assert_eq!(server.downloads().len(), 1, "the same would come again");
    // A hub that says nothing of checksums is held to the table.
    server.misbehave(|_, usual| match usual.clone() {
        Reply::Answer { status: 302, headers, body } => {
            let headers = headers.into_iter().filter(|(name, _)| name != "X-Linked-ETag");
            let headers = headers.chain([("X-Linked-ETag".to_owned(), "\"v1\"".to_owned())]).collect();
            Some(Reply::Answer { status: 302, headers, body })
        }
        _ => None,
    });
    let said = machine.refused(&pinned(&sum(2)));
    assert!(said.contains("but the table of known models says"), "{said}");
    machine.fetch_as(&pinned(&sum(1)), &Right::default()).expect("fetched");
}

#[test]
fn half_a_file_is_no_file() {
    let server = server();
    server.misbehave(|asked, usual| {
        (asked.side == Side::Cdn).then(|| usual.clone().cut(if asked.from() == 0 { LENGTH / 2 } else { 0 }))
    });
    let machine = Machine::new(server.address());
    let said = machine.refused(&wanted());
    assert!(
        said.contains("breaks off model.safetensors after 150 kB of 300 kB") && said.ends_with("tried 3 times"),
        "{said}"
    );
    // A server that calls the half the whole is not believed.
    server.misbehave(|asked, usual| match usual.clone() {
        Reply::Answer { status: 200, headers, body } if asked.side == Side::Cdn => {
            Some(Reply::Answer { status: 200, headers, body: body[..LENGTH / 2].to_vec() })
        }
        _ => None,
    });
    let machine = Machine::new(server.address());
    let said = machine.refused(&wanted());
    assert!(said.contains("has 150 kB of model.safetensors, but the hub says that it has 300 kB"), "{said}");
}
