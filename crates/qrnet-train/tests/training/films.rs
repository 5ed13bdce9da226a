//! Labelled films: how they are read, what is measured on them, against numbers worked out by hand, and that they train.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use blocks::canvas::Canvas;
use blocks::preprocess::{Letterboxed, Picture, Rect};
use candle_core::Device;
use qrnet_train::Result;
use qrnet_train::augment::Augment;
use qrnet_train::data::clip::{Baselines, ClipLabels, Recorded, score};
use qrnet_train::data::video::{FrameIterator, FrameSource};
use qrnet_train::data::{DataSet, Moment, Origin, Source};
use qrnet_train::evaluate::{Answer, Answers, evaluate};
use qrnet_train::feed::Feed;
use qrnet_train::metrics::Summary;
use qrnet_train::recipe::{Phase, Recipe};
use qrnet_train::trainer::{Setup, Trainer};

use crate::support::{config, recipe};

/// Side of the pictures; twice the canvas.
const SIDE: usize = 128;
/// Frames that the decoder gives.
const FRAMES: u64 = 12;

/// Frame `n` is of grey `20 n`.
struct Greys;

impl FrameSource for Greys {
    fn open(&self, _: &Path) -> Result<FrameIterator> {
        let picture = |n: u64| Picture { width: SIDE, height: SIDE, rgb: vec![20 * n as u8; 3 * SIDE * SIDE] };
        Ok(Box::new((1..=FRAMES).map(move |n| Ok(picture(n)))))
    }
}

/// Where the first track is, on frames 1 to 6.
fn walker(frame: u64) -> Rect {
    let left = 10.0 + 4.0 * (frame - 1) as f64;
    Rect { x0: left, y0: 20.0, x1: left + 20.0, y1: 60.0 }
}

/// The second one stands, on frames 4 to 10.
const STANDER: Rect = Rect { x0: 60.0, y0: 10.0, x1: 80.0, y1: 30.0 };

/// Two tracks and a thing, in a folder; the source with these keys beside the files.
fn film(folder: &Path, keys: &str) -> Source {
    let header = ["frame,track,left,top,width,height".to_owned()];
    let walks = (1..=6).map(|frame| format!("{frame},1,{},20,20,40", walker(frame).x0));
    let stands = (4..=10).map(|frame| format!("{frame},2,60,10,20,20"));
    let table = header.into_iter().chain(walks).chain(stands).collect::<Vec<_>>().join("\n");
    let queries = r#"
        [[referent]]
        name = "walker"
        tracks = [1, 9]
        phrases = ["the circle"]
        [[referent]]
        name = "stander"
        tracks = [2]
        phrases = ["the red square"]
        [[referent]]
        name = "thing"
        box = [100, 100, 20, 20]
        phrases = ["the star", "the ring"]
    "#;
    std::fs::write(folder.join("gt.csv"), table).expect("written");
    std::fs::write(folder.join("queries.toml"), queries).expect("written");
    std::fs::write(folder.join("film.avi"), "decoded elsewhere").expect("written");
    let files = "format = 'clip'\nclip = 'film.avi'\nlabels = 'gt.csv'\nqueries = 'queries.toml'\n";
    toml::from_str(&format!("{files}{keys}")).expect("a source")
}

fn labels(folder: &Path, keys: &str) -> Result<ClipLabels> {
    film(folder, keys).clip_labels(folder).map(|labels| labels.expect("a film"))
}

fn open(folder: &Path, keys: &str, dense: bool) -> Result<Box<dyn DataSet>> {
    film(folder, keys).open(Origin { base: folder, video: &Greys, dense })
}

fn message<T>(result: Result<T>) -> String {
    result.err().expect("refused").to_string()
}

#[test]
fn every_phrase_is_asked_of_every_frame() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = open(folder.path(), "frames = [[2, 4], [9, 10]]\nname = 'garden'", true).expect("opens");
    assert_eq!(set.len(), 4 * 5);
    assert_eq!(set.phrases(), ["the circle", "the red square", "the star", "the ring"]);
    let examples = set.examples(0..20).expect("examples");
    let frames: Vec<u64> = examples.iter().map(|e| e.moment.expect("a moment").frame).collect();
    assert_eq!(frames[..10], [2, 3, 4, 9, 10, 2, 3, 4, 9, 10]);
    for example in &examples {
        let Moment { frame, question, stretch } = example.moment.expect("a moment");
        assert_eq!(stretch, u32::from(frame > 4));
        assert_eq!(example.picture.rgb[0], 20 * frame as u8, "the picture of its own frame");
        assert_eq!(&*example.source, "garden");
        let (name, target) = match question {
            0 => ("walker", (frame <= 6).then(|| walker(frame))),
            1 => ("stander", (4..=10).contains(&frame).then_some(STANDER)),
            _ => ("thing", Some(Rect { x0: 100.0, y0: 100.0, x1: 120.0, y1: 120.0 })),
        };
        assert_eq!((&*example.kind, example.target), (name, target), "frame {frame}");
        let labels = example.labels.as_ref().expect("dense labels");
        let class = |x: usize, y: usize| match labels.instance[y * SIDE + x] {
            0 => 0,
            number => labels.objects[usize::from(number) - 1].class,
        };
        assert_eq!(class(walker(frame.min(6)).x0 as usize + 10, 40), u16::from(frame <= 6), "frame {frame}");
        assert_eq!((class(70, 20), class(110, 110), class(5, 5)), (2 * u16::from(frame >= 4), 3, 0), "frame {frame}");
    }
    // Classes are those of the files, whoever is asked for: data sets of one film do not contradict each other.
    let classes = |keys: &str| -> Vec<u16> {
        let set = open(folder.path(), &format!("frames = [[5, 5]]\n{keys}"), true).expect("opens");
        let labels = set.example(0).expect("an example").labels.expect("dense labels");
        labels.objects.iter().map(|object| object.class).collect()
    };
    assert_eq!(classes("referents = ['thing']"), classes("referents = ['stander']"));
    let some = open(folder.path(), "referents = ['thing']\nstep = 4", false).expect("opens");
    assert_eq!(some.len(), 2 * 3, "frames 1, 5 and 9 of ten");
    assert!(some.example(0).expect("an example").labels.is_none());
}

#[test]
fn gaps_between_labels_are_filled_where_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(film(folder.path(), ""));
    std::fs::write(folder.path().join("gt.csv"), "1,1,10,20,20,40\n5,1,26,20,20,40\n9,1,0,0,8,8\n").expect("written");
    let source = |fill: u64| -> Source {
        let files = "format = 'clip'\nclip = 'film.avi'\nlabels = 'gt.csv'\nqueries = 'queries.toml'\n";
        toml::from_str(&format!("{files}referents = ['walker']\nfill = {fill}")).expect("a source")
    };
    let seen = |fill: u64| {
        let labels = source(fill).clip_labels(folder.path()).expect("reads").expect("a film");
        let walker = labels.referents()[0].clone();
        (1..=9).map(|frame| labels.target(&walker, frame).map(|rect| rect.x0)).collect::<Vec<_>>()
    };
    let some = Some;
    assert_eq!(seen(3), [some(10.0), None, None, None, some(26.0), None, None, None, some(0.0)]);
    assert_eq!(seen(4)[..5], [10.0, 14.0, 18.0, 22.0, 26.0].map(Some));
    assert_eq!(seen(4)[6], Some(13.0));
}

#[test]
fn tables_of_the_challenge_itself_count_pixels_from_one() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(film(folder.path(), ""));
    let rows = "1,1,11,21,20,40,1,-1,-1,-1\n1,2,61,11,20,20,0,-1,-1,-1\n2,2,61,11,20,20,1,-1,-1,-1\n";
    std::fs::write(folder.path().join("gt.txt"), rows).expect("written");
    let files = "format = 'clip'\nclip = 'film.avi'\nlabels = 'gt.txt'\nqueries = 'queries.toml'\n";
    let source: Source = toml::from_str(files).expect("a source");
    let labels = source.clip_labels(folder.path()).expect("reads").expect("a film");
    assert_eq!(labels.target(&labels.referents()[0], 1), Some(walker(1)));
    assert_eq!(labels.target(&labels.referents()[1], 1), None, "of no confidence");
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let says = |found: String, parts: &[&str]| {
        for part in parts {
            assert!(found.contains(part), "`{found}` lacks `{part}`");
        }
    };
    says(message(labels(path, "referents = ['nobody']")), &["queries.toml", "\"nobody\"", "walker, stander, thing"]);
    says(message(labels(path, "frames = [[4, 11]]")), &["gt.csv", "[4, 11]", "within [1, 10]"]);
    says(message(labels(path, "frames = [[0, 1]]")), &["[0, 1]"]);
    let table = |text: &str| {
        let source = film(path, "");
        std::fs::write(path.join("gt.csv"), text).expect("written");
        message(source.clip_labels(path))
    };
    says(table("1,1,2\n"), &["gt.csv", "line 1", "has 3 columns, expected frame,track,left,top,width,height"]);
    says(table("frame,who,left,top,width,height\n"), &["line 1", "frame,who", "expected frame,track"]);
    says(table("1,1,2,3,4,5\n1,1,2,3,x,5\n"), &["line 2", "`width` is \"x\""]);
    says(table("0,1,2,3,4,5\n"), &["`frame` is 0, expected a whole number from 1"]);
    says(table("1,1,2,3,0,5\n"), &["the box is 0 wide"]);
    says(table("1,1,2,3,4,5\n1,1,2,3,4,5\n"), &["line 2", "frame 1 has a box of track 1 already"]);
    says(table("frame,track,left,top,width,height\n"), &["holds no boxes"]);
    let queries = |text: &str| {
        let source = film(path, "");
        std::fs::write(path.join("queries.toml"), text).expect("written");
        message(source.clip_labels(path))
    };
    says(
        queries("[[referent]]\nname = 'a'\nphrases = ['b']\n"),
        &["referent \"a\"", "both or neither of `tracks` and `box`"],
    );
    says(
        queries("[[referent]]\nname = 'a'\ntrack = [1]\nphrases = ['b']\n"),
        &["line 3", "unknown key", "`referent.tracks`"],
    );
    says(queries("[[referent]]\nname = 'a'\ntracks = [1]\nphrases = []\n"), &["has no phrase"]);
    std::fs::write(path.join("gt.csv"), "1,1,2,3,4,5\n").expect("written");
    let typo = queries("[[referent]]\nname = 'a'\ntracks = [77]\nphrases = ['b']\n");
    says(typo, &["referent \"a\"", "none of the tracks [77]"]);
    let twice = "[[referent]]\nname = 'a'\ntracks = [1]\nphrases = ['b']\n\
                 [[referent]]\nname = 'c'\ntracks = []\nphrases = ['B']\n";
    says(queries(twice), &["referent \"c\"", "asks \"B\" as \"a\" does"]);
    let source = film(path, "referents = ['walker']");
    std::fs::write(path.join("gt.csv"), "13,1,2,3,4,5\n").expect("written");
    let opened = source.open(Origin { base: path, video: &Greys, dense: false }).map(drop);
    says(message(opened), &["film.avi", "ends after 12 frames, expected frame 13"]);
    std::fs::write(path.join("gt.csv"), "1,1,200,3,4,5\n").expect("written");
    let opened = source.open(Origin { base: path, video: &Greys, dense: false }).map(drop);
    says(message(opened), &["gt.csv", "frame 1: the box of \"walker\"", "lies outside the picture, 128x128"]);
    let source = film(path, "");
    let beyond = "[[referent]]\nname = 'a'\nbox = [100, 0, 40, 20]\nphrases = ['b']\n";
    std::fs::write(path.join("queries.toml"), beyond).expect("written");
    let opened = source.open(Origin { base: path, video: &Greys, dense: false }).map(drop);
    says(message(opened), &["film.avi", "`box` of referent \"a\" reaches beyond the picture, 128x128"]);
}

/// What is said of the walker on frames 1 to 10: presence, and how far beside it the box is.
const SAID: [(f32, f64); 10] = [
    (0.2, 90.0), // not claimed
    (0.9, 0.0),
    (0.8, 0.0),
    (0.9, 0.0),
    (0.7, 10.0), // overlap 1/3
    (0.4, 0.0),  // not claimed, though the box is right
    (0.6, 0.0),  // claimed, but it is gone
    (0.1, 0.0),
    (0.1, 0.0),
    (0.1, 0.0),
];

fn said(frame: u64) -> (f32, Rect) {
    let (presence, aside) = SAID[frame as usize - 1];
    let rect = walker(frame);
    (presence, Rect { x0: rect.x0 + aside, x1: rect.x1 + aside, ..rect })
}

/// Says that of the walker, and that nothing else is there, to examples in the order of the data set.
struct Scripted {
    frames: Vec<u64>,
    next: Cell<usize>,
}

impl Answers for Scripted {
    fn claims_from(&self) -> Option<f32> {
        Some(0.5)
    }

    fn canvases(&self) -> Vec<Canvas> {
        vec![config().canvas]
    }

    fn answers(&self, pictures: &[Letterboxed], phrases: &[&str]) -> Result<Vec<Answer>> {
        let answer = |(i, phrase): (usize, &&str)| {
            let place = self.next.get();
            self.next.set(place + 1);
            let (presence, rect) = match *phrase {
                "the circle" => said(self.frames[place % self.frames.len()]),
                _ => (0.0, STANDER),
            };
            (pictures[i].transform.to_target(&rect).map(|v| v as f32), Some(presence))
        };
        Ok(phrases.iter().enumerate().map(answer).collect())
    }
}

fn measured(folder: &Path, keys: &str, frames: Vec<u64>) -> Summary {
    let data = open(folder, &format!("referents = ['walker', 'stander']\n{keys}"), false).expect("opens");
    let model = Scripted { frames, next: Cell::new(0) };
    evaluate(&model, data.as_ref(), usize::MAX, |_| ()).expect("measured").summary()
}

fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-6, "{found} is not {wanted}");
}

#[test]
fn two_tracks_by_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let summary = measured(folder.path(), "", (1..=10).collect());
    let walker = &summary.by_kind["walker"];
    near(walker.accuracy_at(0.5).expect("present").value, 4.0 / 6.0);
    near(walker.right.expect("a share").value, 6.0 / 10.0);
    near(walker.auroc.expect("both").value, 22.0 / 24.0);
    let film = walker.film.as_ref().expect("a film");
    // There on 1 to 6, claimed on 2 to 7: seven frames in all; in both are 2 to 6, with 1, 1, 1, 1/3 and nothing.
    near(film.viou.expect("a tube").value, (3.0 + 1.0 / 3.0) / 7.0);
    // From 2 to 3 and from 3 to 4 they move alike, from 4 to 5 ten pixels apart.
    near(film.jitter.expect("steps"), 10.0 / 800f64.sqrt() / 3.0);
    let stander = &summary.by_kind["stander"];
    near(stander.accuracy_at(0.5).expect("present").value, 1.0);
    near(stander.right.expect("a share").value, 3.0 / 10.0);
    near(stander.film.as_ref().expect("a film").viou.expect("a tube").value, 0.0);
    assert_eq!(stander.film.as_ref().expect("a film").jitter, None, "never claimed");
    assert_eq!(film.identity, None, "answers to single pictures have no ids");
    let all = summary.all.film.as_ref().expect("a film");
    assert_eq!((all.tubes, all.viou_above.as_slice()), (2, &[(0.3, 0.5), (0.5, 0.0)][..]));
    near(all.viou.expect("tubes").value, 5.0 / 21.0);
    near(summary.all.right.expect("a share").value, 9.0 / 20.0);
    assert_eq!(summary.by_phrase.keys().collect::<Vec<_>>(), ["the circle", "the red square"]);
}

#[test]
fn stretches_are_tubes_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let summary = measured(folder.path(), "frames = [[1, 3], [5, 6]]", vec![1, 2, 3, 5, 6]);
    let film = summary.by_kind["walker"].film.as_ref().expect("a film");
    assert_eq!(film.tubes, 2);
    // 1 to 3: claimed on 2 and 3, of three frames. 5 and 6: claimed on 5, with 1/3, of two frames.
    near(film.viou.expect("tubes").value, f64::midpoint(2.0 / 3.0, 1.0 / 6.0));
    near(film.jitter.expect("a step"), 0.0);
    assert_eq!(summary.by_kind["stander"].film.as_ref().expect("a film").tubes, 1, "it is not in the first stretch");
    // Whatever the step is, and however close they are.
    let tubes = |keys: &str, frames: Vec<u64>| {
        measured(folder.path(), keys, frames).by_kind["walker"].film.as_ref().expect("a film").tubes
    };
    assert_eq!(tubes("frames = [[1, 3], [4, 6]]", (1..=6).collect()), 2);
    assert_eq!(tubes("frames = [[1, 5], [6, 10]]\nstep = 2", vec![1, 3, 5, 6, 8, 10]), 2);
    assert_eq!(tubes("step = 3", vec![1, 4, 7, 10]), 1);
}

#[test]
fn recorded_answers_by_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let labels = labels(folder.path(), "").expect("labels");
    let answer = |phrase: &str, frame: u64| {
        let (presence, rect) = said(frame);
        let claimed = (presence >= 0.5).then_some((1, rect)).into_iter().collect();
        (phrase == "the circle").then_some(Recorded {
            claimed,
            answered: true,
            presence: Some(presence),
            size: (128.0, 128.0),
        })
    };
    let summary = score("film", &labels, answer).expect("whole").summary();
    assert_eq!(summary.all.examples, 10, "nothing was recorded of the others");
    // What is not claimed was not found, whatever the model thought.
    near(summary.all.accuracy_at(0.5).expect("present").value, 3.0 / 6.0);
    near(summary.all.right.expect("a share").value, 6.0 / 10.0);
    near(summary.all.film.as_ref().expect("a film").viou.expect("a tube").value, 10.0 / 21.0);
    // Six true boxes, five claimed: four of them are pairs at the six overlaps up to 0.3, and three above.
    let identity = summary.all.film.as_ref().expect("a film").identity.expect("ids");
    let hota = (6.0 * 4.0 / 7.0 + 13.0 * 3.0 / 8.0) / 19.0;
    for found in [identity.hota, identity.det_a, identity.ass_a] {
        near(found, hota);
    }
    near(identity.idf1, 6.0 / 11.0);
    near(identity.mota, (3.0 - 2.0) / 6.0);
    assert_eq!(identity.id_switches, 0);
    let holes = |phrase: &str, frame: u64| answer(phrase, frame).filter(|_| frame != 7);
    assert_eq!(score("film", &labels, holes).map(drop), Err(("the circle".to_owned(), 7)));
    // Frames of which nothing is said are right in no case.
    let silent = |phrase: &str, frame: u64| {
        answer(phrase, frame).map(|said| Recorded { answered: !(8..=9).contains(&frame), ..said })
    };
    let summary = score("film", &labels, silent).expect("whole").summary();
    near(summary.all.right.expect("a share").value, 4.0 / 10.0);
}

#[test]
fn all_that_a_phrase_asks_for_by_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let read = |referent: &str| {
        let source = film(path, "");
        let queries = format!("[[referent]]\nname = 'people'\nphrases = ['everyone']\n{referent}\n");
        std::fs::write(path.join("queries.toml"), queries).expect("written");
        source
    };
    let labelled = |referent: &str| read(referent).clip_labels(path).map(|labels| labels.expect("a film"));
    let ids = |labels: &ClipLabels| {
        [1, 5, 9].map(|frame| {
            let there = labels.things(&labels.referents()[0], frame);
            there.into_iter().map(|(id, _)| id).collect::<Vec<u64>>()
        })
    };
    let labels = labelled("all = true").expect("labels");
    assert_eq!(ids(&labels), [vec![1], vec![1, 2], vec![2]]);
    assert_eq!(ids(&labelled("all = true\ntracks = [2, 7]").expect("labels")), [vec![], vec![2], vec![2]]);
    assert_eq!(ids(&labelled("tracks = [2, 1]").expect("labels")), [vec![0], vec![0], vec![0]], "one thing");

    // Both are found wherever they are; the second one has another id from frame 8 on.
    let answer = |_: &str, frame: u64| {
        let walks = (frame <= 6).then(|| (5, walker(frame)));
        let stands = (frame >= 4).then_some((if frame < 8 { 6 } else { 8 }, STANDER));
        let claimed = stands.into_iter().chain(walks).collect();
        Some(Recorded { claimed, answered: true, presence: Some(0.9), size: (128.0, 128.0) })
    };
    let summary = score("film", &labels, answer).expect("whole").summary();
    let identity = summary.all.film.as_ref().expect("a film").identity.expect("ids");
    near(identity.det_a, 1.0);
    // Thirteen pairs: six of the first, and of seven frames of the second four with one id and three with the other.
    near(identity.ass_a, (6.0 + 4.0 * 4.0 / 7.0 + 3.0 * 3.0 / 7.0) / 13.0);
    near(identity.hota, identity.ass_a.sqrt());
    near(identity.idf1, 10.0 / 13.0);
    near(identity.mota, 12.0 / 13.0);
    assert_eq!(identity.id_switches, 1);
    near(summary.all.accuracy_at(0.5).expect("present").value, 1.0);
    assert_eq!(Baselines::of(&labels, &[]).random_person, Some(1.0), "anybody is right");

    let opened = read("all = true").open(Origin { base: path, video: &Greys, dense: false }).map(drop);
    let refused = message(opened);
    assert!(refused.contains("\"people\" asks for `all`"), "{refused}");
    let refused = message(labelled("all = true\nbox = [1, 1, 5, 5]"));
    assert!(refused.contains("both `all` and `box`"), "{refused}");
}

#[test]
fn baselines_by_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |keys: &str| labels(folder.path(), &format!("referents = ['walker', 'stander']\n{keys}")).expect("labels");
    let found = Baselines::of(&of("frames = [[3, 8]]"), &[of("frames = [[1, 2]]"), of("frames = [[9, 10]]")]);
    // The walker is there on 3 to 6, its mean box of 1 and 2 starts at 12, and it at 18, 22, 26 and 30: overlaps of 14/26
    // and less. The stander is there on 4 to 8, where it always was.
    near(found.mean_box.expect("known"), (1.0 + 5.0) / 9.0);
    // One of two people on 4 to 6, the only one on 3, 7 and 8.
    near(found.random_person.expect("people"), (1.0 + 3.0 * 0.5 + 3.0 * 0.5 + 2.0) / 9.0);
    near(found.always_absent, 3.0 / 12.0);
    assert_eq!(Baselines::of(&of("frames = [[3, 8]]"), &[]).mean_box, None);
}

#[test]
fn a_film_trains_a_model_that_learns_its_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let lists = vec![film(folder.path(), "frames = [[1, 6]]")];
    let mut queries = std::fs::read_to_string(folder.path().join("queries.toml")).expect("read");
    queries = queries.replace("the circle", "the postwoman, running");
    std::fs::write(folder.path().join("queries.toml"), queries).expect("written");
    let mut recipe = recipe();
    recipe.phase[0].scenes = None;
    recipe.phase[0].lists = lists;
    recipe.phrases.learn = true;
    recipe.phrases.alike = vec![vec!["running".into(), "sprinting".into()]];
    let out = tempfile::tempdir().expect("a folder");
    let setup = Setup::new(recipe, config(), folder.path()).expect("a setup").with_video(Arc::new(Greys));
    let (mut trainer, _) = Trainer::new(setup, &Device::Cpu).expect("a trainer");
    let tokenizer = &trainer.setup().tokenizer;
    for phrase in ["the postwoman, running", "a sprinting circle"] {
        assert_eq!(tokenizer.encode(phrase).expect("known").unknown, Vec::<String>::new(), "{phrase}");
    }
    assert_eq!(tokenizer.encode("the postman").expect("a known word").unknown, ["postman"]);
    let mut losses = Vec::new();
    let end = trainer.run(qrnet_train::trainer::Control {
        out: out.path(),
        interrupt: &std::sync::atomic::AtomicBool::new(false),
        stop_after: None,
        threads: 1,
        progress: &mut |progress| losses.push(progress.loss),
    });
    assert_eq!(end.expect("trains"), qrnet_train::trainer::End::Finished);
    assert!(losses.iter().all(|loss| loss.is_finite()) && !losses.is_empty(), "{losses:?}");
}

/// A lawn with a red square on frames 1 to 6 and a blue one on 4 to 10, where the labels say.
struct Squares;

const RED: [u8; 3] = [220, 30, 30];
const BLUE: [u8; 3] = [30, 30, 220];

impl FrameSource for Squares {
    fn open(&self, _: &Path) -> Result<FrameIterator> {
        let picture = |frame: u64| {
            let inside = |rect: &Rect, x: f64, y: f64| x >= rect.x0 && x < rect.x1 && y >= rect.y0 && y < rect.y1;
            let rgb = (0..SIDE * SIDE).flat_map(|at| {
                let (x, y) = ((at % SIDE) as f64, (at / SIDE) as f64);
                if frame <= 6 && inside(&walker(frame), x, y) {
                    RED
                } else if (4..=10).contains(&frame) && inside(&STANDER, x, y) {
                    BLUE
                } else {
                    [90, 100 + (x / 4.0) as u8, 60 + (y / 4.0) as u8]
                }
            });
            Picture { width: SIDE, height: SIDE, rgb: rgb.collect() }
        };
        Ok(Box::new((1..=FRAMES).map(move |frame| Ok(picture(frame)))))
    }
}

#[test]
fn another_cast_is_where_the_example_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = film(folder.path(), "recast = 1.0\nreferents = ['walker']");
    let set = source.open(Origin { base: folder.path(), video: &Squares, dense: true }).expect("opens");
    let red = |example: &qrnet_train::data::Example, x: usize, y: usize| {
        let at = 3 * (y * SIDE + x);
        let [r, g, b] = [0, 1, 2].map(|channel| example.picture.rgb[at + channel]);
        r > 150 && g < 90 && b < 90
    };
    // By frame: how often it is there, and how often elsewhere than it was.
    let (mut there, mut moved, mut others) = ([0u32; 11], [0u32; 11], 0);
    for seed in 0..60 {
        for index in 0..10 {
            let rng = || blocks::seeded::stream(seed, &format!("{index}"));
            let example = set.varied(index, &mut rng()).expect("an example");
            let again = set.varied(index, &mut rng()).expect("the same");
            assert!(
                example.picture.rgb == again.picture.rgb && example.target == again.target,
                "it follows from the seed"
            );
            let frame = example.moment.expect("a moment").frame;
            let everywhere = (0..SIDE * SIDE).filter(|at| red(&example, at % SIDE, at / SIDE)).count() as f64;
            let labels = example.labels.as_ref().expect("labels");
            others += u32::from(labels.objects.len() > 1);
            let Some(target) = example.target else {
                assert!(everywhere < 1.0, "frame {frame}, seed {seed}: {everywhere} red pixels of what is not there");
                assert!(labels.objects.iter().all(|object| object.class != 1));
                continue;
            };
            there[frame as usize] += 1;
            moved[frame as usize] += u32::from(frame > 6 || target != walker(frame));
            let inside = |at: &usize| {
                let (x, y) = ((at % SIDE) as f64, (at / SIDE) as f64);
                x >= target.x0 && x < target.x1 && y >= target.y0 && y < target.y1
            };
            let found = (0..SIDE * SIDE).filter(inside).filter(|at| red(&example, at % SIDE, at / SIDE)).count() as f64;
            let share = found / (target.width() * target.height());
            assert!(share > 0.7, "frame {frame}, seed {seed}: {share} of {target:?} is red");
            assert!((everywhere - found).abs() < 0.1 * found, "frame {frame}, seed {seed}: red elsewhere");
        }
    }
    for frame in 1..=10 {
        let usual = if frame <= 6 { 30..60 } else { 10..45 };
        assert!(usual.contains(&there[frame]), "frame {frame}: there {} of 60 times", there[frame]);
        assert!(moved[frame] > 0, "frame {frame}");
    }
    assert!(others > 100, "somebody else comes in, too: {others}");
    // What is measured is never varied.
    let plain = set.example(0).expect("an example");
    assert_eq!((plain.target, plain.moment.expect("a moment").frame), (Some(walker(1)), 1));
    let wrong = film(folder.path(), "recast = 2.0").clip_labels(folder.path());
    assert!(message(wrong).contains("`recast` is 2, expected a share from 0 to 1"));
}

/// Counts how often films are opened.
#[derive(Default)]
struct Counted(std::sync::atomic::AtomicUsize);

impl FrameSource for Counted {
    fn open(&self, clip: &Path) -> Result<FrameIterator> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Greys.open(clip)
    }
}

#[test]
fn a_phase_without_data_goes_on_with_that_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut recipe = recipe();
    recipe.phase[0].scenes = None;
    recipe.phase[0].lists = vec![film(folder.path(), "frames = [[1, 6]]")];
    recipe.phase[0].until = 0.5;
    recipe.phase.push(Phase { until: 1.0, augment: Some(Augment::default()), ..Phase::default() });
    let recipe = Recipe::from_toml(&toml::to_string(&recipe).expect("text"), "recipe").expect("valid");
    let video = Counted::default();
    let origin = Origin { base: folder.path(), video: &video, dense: true };
    let feed = Feed::new(&recipe, origin, &crate::support::art()).expect("opens");
    assert_eq!(video.0.into_inner(), 1, "decoded once");
    // Both phases go through the film.
    let asked = |positions: std::ops::Range<u64>| -> std::collections::BTreeSet<String> {
        positions.map(|position| feed.example(position).expect("an example").phrase).collect()
    };
    assert_eq!(asked(0..16), asked(16..32));
    let mut first = recipe;
    first.phase[0].lists.clear();
    let refused = Recipe::from_toml(&toml::to_string(&first).expect("text"), "recipe");
    assert!(message(refused).contains("either `scenes` or `lists`"));
}
