//! What is told of a stream whose claims are known, in order and once.

use blocks::preprocess::Rect;
use proptest::prelude::*;
use records::Query;
use records::track::{Object, QueryResult, Tracking};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const RATE: u64 = 10;
const RESOLUTION: Resolution = Resolution { width: 640, height: 360, rotation: 0, par: 1.0 };

fn asked(name: &str, own: QuerySighting) -> WatchedQuery {
    let query = Query { name: name.to_owned(), text: format!("a {name}"), rev: 1 };
    WatchedQuery { tracked: TrackedQuery { query, tracking: Tracking::plain(Some(0.5)) }, own }
}

fn settings() -> SightingSettings {
    let zone = |name: &str, from: f64, to: f64| {
        let corners = [[from, 0.0], [to, 0.0], [to, 1.0], [from, 1.0]];
        Zone::new(name, &corners, Anchor::Bottom, 2).expect("valid")
    };
    SightingSettings {
        confirm: Confirm::Frames(5),
        forget: SECOND,
        zones: vec![zone("left", 0.0, 0.3), zone("right", 0.7, 1.0)],
        lines: vec![Line::new("middle", &[[0.5, 0.0], [0.5, 1.0]], Anchor::Bottom, 2).expect("valid")],
        ..SightingSettings::default()
    }
}

fn start(settings: &SightingSettings, queries: Vec<WatchedQuery>) -> Sightings {
    let origin = Origin { run_id: "run".into(), stream: "a/film".into(), file_name: "a_film".into() };
    Sightings::new(settings, origin, queries, false).expect("started")
}

fn facts(frame: u64, cut: bool) -> FrameFacts {
    let time = Duration::from_millis(1000 / RATE * frame);
    let pts = time.as_nanos() as u64;
    FrameFacts {
        seq: frame,
        frame_index: Some(frame),
        time,
        pts_ns: Some(pts),
        unix_ns: pts as i64,
        resolution: RESOLUTION,
        cut,
    }
}

/// Of each query, where its thing is, as a share of the width: none where it is away.
fn claims(places: &[Option<f64>]) -> FrameResult {
    let claim = |(number, place): (usize, &Option<f64>)| {
        let object = |x: &f64| {
            let middle = x * 640.0;
            let rect = Rect { x0: middle - 20.0, y0: 100.0, x1: middle + 20.0, y1: 200.0 };
            Object { id: number as u64 + 1, rect, raw: Some(rect), score: Some(0.9), measured: true, cause: None }
        };
        let presence = Some(if place.is_some() { 0.9 } else { 0.1 });
        QueryResult { measured: true, presence, objects: place.iter().map(object).collect(), ..QueryResult::default() }
    };
    let queries = places.iter().enumerate().map(claim).collect();
    FrameResult { status: FrameStatus::Measured, cause: None, queries }
}

/// Runs to the end; gives all that is told.
fn run(sightings: &mut Sightings, frames: impl IntoIterator<Item = Vec<Option<f64>>>) -> Vec<Told> {
    let mut told = Vec::new();
    for (number, places) in (0..).zip(frames) {
        told.extend(sightings.frame(&facts(number, false), &claims(&places)).expect("no journal"));
    }
    told.extend(sightings.end().expect("no journal"));
    told
}

/// In a few words.
fn words(told: &[Told]) -> Vec<String> {
    let word = |told: &Told| {
        let text = match &told.what {
            What::Sighting { sighting, change: SightingChange::Start } => format!("start {}", sighting.id),
            What::Sighting { sighting, change: SightingChange::Update } => format!("update {}", sighting.id),
            What::Sighting { sighting, change: SightingChange::End { cause } } => format!("{cause} {}", sighting.id),
            What::Enter { zone, at, .. } => format!("into {zone} at {}", at.seq),
            What::Leave { zone, at, dwell, .. } => format!("out of {zone} at {} after {dwell:?}", at.seq),
            What::Cross { line, at, to, counts, .. } => {
                format!("over {line} to the {} at {}: {} {}", to.as_str(), at.seq, counts.left, counts.right)
            }
            What::File { sighting_id, .. } => format!("a file of {sighting_id}"),
            What::Held { held, .. } => format!("held back: {held:?}"),
        };
        if told.silent { format!("({text})") } else { text }
    };
    told.iter().map(word).collect()
}

/// From the left edge to the right one in so many frames, then away.
fn through(frames: u32) -> impl Iterator<Item = Vec<Option<f64>>> {
    let there = (0..frames).map(move |frame| vec![Some(0.05 + 0.9 * f64::from(frame) / f64::from(frames - 1))]);
    there.chain((0..20).map(|_| vec![None]))
}

#[test]
fn who_walks_through_is_told_once_with_all_that_it_did() {
    let mut sightings = start(&settings(), vec![asked("car", QuerySighting::default())]);
    // A hundredth of the picture a frame, from 0.05 on: over 0.3 with frame 26, over 0.5 with frame 46, over 0.7 with
    // frame 65 (0.7 itself is in).
    let told = run(&mut sightings, through(91));
    let words = words(&told);
    let wanted: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.starts_with("update")).collect();
    assert_eq!(wanted.len(), 7, "{words:?}");
    assert_eq!(wanted[..2], ["start run.a_film.1", "into left at 0"]);
    assert!(wanted[2].starts_with("out of left at 26") || wanted[2].starts_with("out of left at 25"), "{words:?}");
    assert!(wanted[3].starts_with("over middle to the left at 4") && wanted[3].ends_with(": 1 0"), "{words:?}");
    assert!(wanted[4].starts_with("into right at 6"), "{words:?}");
    assert!(wanted[5].starts_with("out of right at 90"), "{words:?}");
    assert_eq!(wanted[6], "gone run.a_film.1");
    let What::Sighting { sighting, .. } = &told[told.len() - 1].what else { panic!("{words:?}") };
    assert_eq!((sighting.start_pts_ns, sighting.last_pts_ns), (Some(0), Some(9_000_000_000)));
    assert_eq!(
        (sighting.zones.as_slice(), sighting.objects.as_slice()),
        (&["left".to_owned(), "right".into()][..], &[1][..])
    );
    let (first, last) = (sighting.path[0], sighting.path[sighting.path.len() - 1]);
    assert!((first.x - 0.05).abs() < 1e-9 && (last.x - 0.95).abs() < 1e-9, "{sighting:?}");
    assert!((first.y - 200.0 / 360.0).abs() < 1e-9, "where it stands");
    // As records have it, and back.
    let json = serde_json::to_string(&**sighting).expect("JSON");
    let read: Sighting = serde_json::from_str(&json).expect("the same");
    assert_eq!((&read.id, read.objects.len(), &read.zones), (&sighting.id, 1, &sighting.zones), "{json}");
    assert!(json.contains("\"box\":{\"x\":") && json.contains("\"start_unix_ns\":0"), "{json}");
}

#[test]
fn a_better_picture_is_told_and_not_too_often() {
    let mut sightings = start(&settings(), vec![asked("car", QuerySighting::default())]);
    let mut told = Vec::new();
    for frame in 0..100 {
        let mut result = claims(&[Some(0.5)]);
        let object = &mut result.queries[0].objects[0];
        // It comes nearer for five seconds.
        object.rect.y1 += frame.min(50) as f64 * 3.0;
        told.extend(sightings.frame(&facts(frame, false), &result).expect("no journal"));
    }
    let updates: Vec<&Told> = told.iter().skip(1).collect();
    assert!((3..=6).contains(&updates.len()), "{:?}", words(&told));
    let best = |told: &Told| match &told.what {
        What::Sighting { sighting, .. } => sighting.best.boxed.h,
        _ => panic!("{told:?}"),
    };
    assert!(updates.is_sorted_by(|a, b| best(a) < best(b)), "{:?}", words(&told));
    let id = match &told[0].what {
        What::Sighting { sighting, .. } => sighting.id.clone(),
        _ => panic!("{told:?}"),
    };
    let clip = FileRef { kind: "clip".into(), path: "a.mp4".into(), start_pts_ns: None, end_pts_ns: None };
    assert!(sightings.add_file(&id, clip.clone()) && !sightings.add_file("another", clip.clone()));
    let open: Vec<(&str, usize)> = sightings.ongoing().map(|ongoing| (ongoing.id, ongoing.place)).collect();
    assert_eq!(open, [(id.as_str(), 0)]);
    let ended = sightings.end().expect("no journal");
    let What::Sighting { sighting, .. } = &ended[0].what else { panic!("{ended:?}") };
    assert_eq!(sighting.files, [clip]);
    assert_eq!(sightings.ongoing().count(), 0);
}

#[test]
fn a_query_may_want_a_zone() {
    let own = QuerySighting { required_zones: vec!["right".into()], ..QuerySighting::default() };
    let mut sightings = start(&settings(), vec![asked("car", own.clone())]);
    let words_of = |told: Vec<Told>| words(&told);
    let told = words_of(run(&mut sightings, through(91)));
    assert_eq!(told[..2], ["start run.a_film.1", "into left at 0"], "all that it did, once it is wanted: {told:?}");
    let short = (0..40).map(|frame| vec![(frame < 20).then_some(0.1)]);
    let mut sightings = start(&settings(), vec![asked("car", own)]);
    assert_eq!(words_of(run(&mut sightings, short)), [""; 0], "it was never there");
}

#[test]
fn what_is_held_back_is_counted_and_summed_up() {
    let own = QuerySighting { cooldown: Some(60 * SECOND), ..QuerySighting::default() };
    let mut sightings = start(&settings(), vec![asked("car", own)]);
    // It comes for a second, and again, four seconds later each time.
    let visits = (0..200).map(|frame| vec![(frame % 40 < 10).then_some(0.5)]);
    let told = words(&run(&mut sightings, visits));
    assert_eq!(told[..3], ["start run.a_film.1", "gone run.a_film.1", "(start run.a_film.2)"]);
    assert_eq!(told.iter().filter(|word| word.starts_with('(')).count(), 8, "{told:?}");
    let last = told.last().expect("a summary");
    assert!(last.contains("\"cooldown\", sightings: 4, events: 0"), "{told:?}");
}

#[test]
fn a_cut_another_query_and_the_end_end_what_is_open() {
    let queries = || vec![asked("car", QuerySighting::default()), asked("dog", QuerySighting::default())];
    let mut sightings = start(&settings(), queries());
    let mut told = Vec::new();
    for frame in 0..30 {
        // From frame 21 on there is one query.
        let places = if frame > 20 { &[Some(0.6)][..] } else { &[Some(0.4), Some(0.6)] };
        told.extend(sightings.frame(&facts(frame, frame == 10), &claims(places)).expect("no journal"));
        if frame == 20 {
            told.extend(sightings.set_queries(queries().split_off(1)).expect("no journal"));
        }
    }
    assert_eq!(sightings.passed(SECOND).expect("no journal"), [], "not yet");
    told.extend(sightings.end().expect("no journal"));
    let expected = [
        "start run.a_film.1",
        "start run.a_film.2",
        "cut run.a_film.1",
        "cut run.a_film.2",
        "start run.a_film.3",
        "start run.a_film.4",
        "query run.a_film.3",
        "end run.a_film.4",
    ];
    let words = words(&told);
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.starts_with("update")).collect();
    assert_eq!(words, expected);
}

/// Ids of those whose end is told.
fn ends(told: &[Told]) -> impl Iterator<Item = String> {
    told.iter().filter_map(|told| match &told.what {
        What::Sighting { sighting, change: SightingChange::End { .. } } => Some(sighting.id.clone()),
        _ => None,
    })
}

#[test]
fn after_a_kill_the_next_run_tells_how_everything_ended_and_tells_it_once() {
    let scratch = tempfile::tempdir().expect("a folder");
    let settings = SightingSettings { dir: Some(scratch.path().into()), ..settings() };
    let begin = || start(&settings, vec![asked("car", QuerySighting::default())]);
    let mut first = begin();
    let frame = |number: u64, sightings: &mut Sightings| {
        sightings.frame(&facts(number, false), &claims(&[Some(0.5)])).expect("written")
    };
    let started: Vec<Told> = (0..10).flat_map(|number| frame(number, &mut first)).collect();
    assert_eq!(words(&started), ["start run.a_film.1"]);
    // Killed: nobody says a word.
    drop(first);
    let mut second = begin();
    let told = second.restarted();
    assert_eq!(words(&told), ["restart run.a_film.1"]);
    // Killed before that was told to everybody.
    drop(second);
    let mut third = begin();
    let told = third.restarted();
    assert_eq!(words(&told), ["restart run.a_film.1"]);
    third.were_told(ends(&told)).expect("written");
    assert_eq!(third.restarted(), []);
    let ended = {
        (0..10).for_each(|number| drop(frame(number, &mut third)));
        third.end().expect("written")
    };
    assert_eq!(words(&ended), ["end run.a_film.1"]);
    // Killed between the end and whoever was to hear of it.
    drop(third);
    let mut fourth = begin();
    let told = fourth.restarted();
    assert_eq!(words(&told), ["end run.a_film.1"], "as it was, and not otherwise");
    fourth.were_told(ends(&told)).expect("written");
    drop(fourth);
    assert_eq!(begin().restarted(), []);
}

/// Frames do not wait for a disk; what is told of them does.
#[test]
fn a_slow_disk_holds_up_what_is_told_and_no_frame() {
    let (open, gate) = crossbeam_channel::bounded(0);
    let mut sightings = start(&settings(), vec![asked("car", QuerySighting::default())]);
    sightings.journal = Some(Journal::slow(gate));
    assert!(sightings.noted().is_none(), "nothing is to be told");
    let told = run(&mut sightings, through(91));
    assert!(told.len() > 5, "{:?}", words(&told));
    let noted = sightings.noted().expect("more is");
    assert!(!noted.is_there());
    // All that was said of a sighting that lasts waits for the same disk.
    drop(open);
    assert!(noted.wait(None));
    sightings.were_told(ends(&told)).expect("written");
    sightings.check().expect("written");
}

proptest! {
    /// Whatever comes and goes: every id starts once and ends once, updates and moves stand between, limits or not.
    #[test]
    fn every_start_has_one_end(
        places in prop::collection::vec((0_u64..3, 0.0..1.0_f64, 1_usize..25), 1..40),
        cooldown in 0_u64..20,
        per_minute in 0_u32..12,
        cut in 0_u64..400,
    ) {
        let settings = SightingSettings {
            cooldown: Duration::from_secs(cooldown),
            per_minute: std::num::NonZeroU32::new(per_minute),
            ..settings()
        };
        let mut sightings = start(&settings, vec![asked("car", QuerySighting::default())]);
        let mut told = Vec::new();
        let frames = places.into_iter().flat_map(|(there, x, count)| std::iter::repeat_n((there > 0).then_some(x), count));
        for (number, place) in (0..).zip(frames) {
            told.extend(sightings.frame(&facts(number, number == cut), &claims(&[place])).expect("no journal"));
        }
        told.extend(sightings.end().expect("no journal"));
        let mut open: BTreeMap<String, bool> = BTreeMap::new();
        let mut over = std::collections::BTreeSet::new();
        for told in &told {
            match &told.what {
                What::Sighting { sighting, change: SightingChange::Start } => {
                    prop_assert!(!over.contains(&sighting.id));
                    prop_assert!(open.insert(sighting.id.clone(), told.silent).is_none());
                }
                What::Sighting { sighting, change: SightingChange::Update } => {
                    let silent = open.get(&sighting.id).expect("is open");
                    prop_assert!(told.silent || !silent, "what is not told has no news");
                }
                What::Sighting { sighting, change: SightingChange::End { .. } } => {
                    // Whoever heard of the start hears of the end.
                    prop_assert_eq!(open.remove(&sighting.id), Some(told.silent));
                    over.insert(sighting.id.clone());
                    prop_assert!(sighting.length_ns() <= sighting.last_pts_ns.expect("a time"));
                }
                What::Enter { who, .. } | What::Leave { who, .. } | What::Cross { who, .. } => {
                    let silent = open.get(&who.sighting_id).expect("is open");
                    prop_assert!(told.silent || !silent);
                }
                What::File { .. } | What::Held { .. } => {}
            }
        }
        prop_assert!(open.is_empty());
    }
}
