//! What waits for a disk that is behind, and what becomes of it.

use super::super::keeper::tests::sighting;
use super::*;

fn archive(gate: Receiver<()>, waits: bool) -> Archive {
    Archive {
        keeper: Keeper::behind(gate),
        ring: None,
        clips: None,
        snapshots: None,
        pictures: HashMap::new(),
        waits,
        silent: HashSet::new(),
        finished: None,
        failed: false,
        line: NewsLine::default(),
        backlog: VecDeque::new(),
        done: bounded(2 * BACKLOG),
        accounts: Accounts::default(),
    }
}

fn start(number: usize) -> Told {
    let what = What::Sighting { sighting: sighting(&number.to_string()), change: SightingChange::Start };
    Told { what, silent: false }
}

/// Ids of what is told, and errors.
fn words(news: &[News]) -> Vec<String> {
    let word = |news: &News| match &news.told.what {
        What::File { sighting_id, file: Err(reason) } => format!("{sighting_id}: {reason}"),
        _ => news.told.sighting_id().unwrap_or("nobody").to_owned(),
    };
    news.iter().map(word).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[test]
fn news_of_a_live_stream_wait_in_line_and_the_stream_does_not() {
    const COUNT: usize = 100;
    let (open, gate) = bounded(COUNT);
    let mut archive = archive(gate, false);
    (0..COUNT).for_each(|number| archive.take(start(number), None));
    let held = Told { what: What::Held { from_unix_ns: 0, to_unix_ns: 0, held: Vec::new() }, silent: false };
    archive.take(held, None);
    archive.hear(Some(Duration::ZERO));
    assert_eq!(words(&archive.line.ready()), numbers(0), "nothing is written");
    (0..10).for_each(|_| open.send(()).expect("heard"));
    while archive.accounts.done < 10 {
        archive.hear(Some(Duration::ZERO));
    }
    assert_eq!(words(&archive.line.ready()), numbers(10));
    drop(open);
    archive.hear(None);
    let rest = words(&archive.line.ready());
    assert_eq!(rest, [&numbers(COUNT)[10..], &["nobody".to_owned()]].concat(), "in their order");
    assert_eq!(archive.accounts, Accounts { asked: COUNT as u64, done: COUNT as u64, left: 0 });
}

#[test]
fn what_a_disk_does_not_take_is_told_and_counted() {
    let (open, gate) = bounded::<()>(0);
    let mut archive = archive(gate, false);
    archive.take(start(0), None);
    archive.give_up(Duration::ZERO);
    assert_eq!(words(&archive.line.ready()), ["0", "0: the disk has not written it in time"]);
    // More than there is room for.
    let count = BACKLOG + 100;
    (0..count).for_each(|number| archive.take(start(number), None));
    assert!(archive.accounts.left > 1 && archive.backlog.len() == BACKLOG, "{:?}", archive.accounts);
    drop(open);
    archive.hear(None);
    let news = archive.line.ready();
    let told: Vec<String> = words(&news).into_iter().filter(|word| !word.contains(':')).collect();
    assert_eq!(told, numbers(count), "all of it, in order");
    let Accounts { asked, done, left } = archive.accounts;
    assert_eq!((asked, asked), (done + left, count as u64 + 1), "the accounts close");
    assert_eq!(news.len(), told.len() + left as usize - 1, "each failure once");
}

#[test]
fn a_file_waits_for_the_disk() {
    let (open, gate) = bounded(0);
    let mut archive = archive(gate, true);
    let opener = std::thread::spawn(move || (0..5).for_each(|_| open.send(()).expect("heard")));
    for number in 0..5 {
        archive.take(start(number), None);
        archive.hear(None);
        assert_eq!(words(&archive.line.ready()), [number.to_string()], "behind its frame");
    }
    opener.join().expect("done");
}

/// A picture is kept while its sighting lasts, and not a moment longer: also where nobody wrote that it ended.
#[test]
fn pictures_go_with_their_sightings_whatever_the_disk_does() {
    let (open, gate) = bounded::<()>(0);
    let mut archive = archive(gate, false);
    let end = || {
        let what = What::Sighting { sighting: sighting("0"), change: SightingChange::End { cause: "gone" } };
        Told { what, silent: false }
    };
    let written = |number: u64| {
        let snapshot = Snapshot { files: Vec::new(), whole: [7].into() };
        Done { number, of: Some("0".into()), snapshot: Some(snapshot), ..Done::default() }
    };
    archive.take(start(0), None);
    // Told without its picture, which comes too late for it.
    archive.give_up(Duration::ZERO);
    archive.note(written(1));
    archive.take(end(), None);
    archive.give_up(Duration::ZERO);
    let news = archive.line.ready();
    assert_eq!(news.iter().filter(|news| news.told.sighting_id() == Some("0")).count(), 4, "two, and a failure each");
    assert!(archive.pictures["0"].is_some(), "later news would have it");
    archive.forget("0");
    archive.note(written(2));
    assert!(archive.pictures.is_empty(), "nobody asks for it any more");
    // Whoever writes is waited for.
    drop(open);
}
