//! Events in files that are put aside and begun anew.

use spotter::notify::NotifyEntry;

use super::{PATIENCE, entry, first_time, ids, notice, start, wait_for};
use crate::support::{Scratch, raw_lines};

/// Ids in all files of a folder that begin with `events`, in the order in which they were written.
fn told(scratch: &Scratch) -> Vec<String> {
    let mut names: Vec<String> = scratch.names().into_iter().filter(|name| name.starts_with("events")).collect();
    // The one without a number is the newest.
    names.sort_by_key(|name| (name == "events.jsonl", name.clone()));
    let lines = names.iter().flat_map(|name| raw_lines(&scratch.read(name)));
    lines.map(|line| line["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn files_rotate_and_lose_nothing() {
    let scratch = Scratch::new();
    let to = format!("jsonl:{},rotate=1kB", scratch.file("events.jsonl"));
    let notifiers = start(&entry(&scratch, &to));
    (0..40).for_each(|number| notifiers.publish(&notice(number)));
    notifiers.finish(PATIENCE);
    assert_eq!(told(&scratch), ids(0..40));
    let files = scratch.names().iter().filter(|name| name.starts_with("events")).count();
    assert!(files > 5, "{:?}", scratch.names());
    let notifiers = start(&entry(&scratch, &to));
    (30..50).for_each(|number| notifiers.publish(&notice(number)));
    notifiers.finish(PATIENCE);
    assert_eq!(told(&scratch), ids(0..50), "what was told is known, and numbers go on");
}

/// The folder goes away and comes back.
#[test]
fn a_file_that_cannot_be_written_is_written_later() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("mounted");
    std::fs::create_dir(&folder).expect("made");
    let to = format!("jsonl:{}", folder.join("events.jsonl").display());
    let settings = NotifyEntry { ..entry(&scratch, &to) };
    let notifiers = start(&settings);
    std::fs::remove_dir(&folder).expect("removed");
    (0..3).for_each(|number| notifiers.publish(&notice(number)));
    wait_for(&notifiers, "failures", |counts| counts.failures > 1 && counts.waiting == 3);
    std::fs::create_dir(&folder).expect("made");
    wait_for(&notifiers, "all told", |counts| counts.sent == 3);
    drop(notifiers);
    let lines = raw_lines(&std::fs::read_to_string(folder.join("events.jsonl")).expect("read"));
    let told = lines.iter().map(|line| line["id"].as_str().expect("an id").to_owned());
    assert_eq!(first_time(told), ids(0..3));
}

/// After a long outage an earlier run may owe more ends than the channel holds.
#[test]
fn however_much_is_owed_nothing_of_it_falls_out() {
    let scratch = Scratch::new();
    let to = format!("jsonl:{}", scratch.file("events.jsonl"));
    let notifiers = start(&entry(&scratch, &to));
    (0..2000).for_each(|number| notifiers.publish_owed(&notice(number)));
    notifiers.finish(PATIENCE);
    assert_eq!(notifiers.counts()[0].lost.map(|(_, lost)| lost), [0; 4]);
    assert_eq!(told(&scratch), ids(0..2000));
}
