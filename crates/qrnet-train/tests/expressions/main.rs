//! Questions about labelled pictures: what they mean is read here from their words and the boxes alone, by other code than
//! that which made them.

mod painted;
mod photographs;
mod resolver;

use std::collections::{BTreeMap, HashSet};

use blocks::preprocess::Rect;
use painted::{index_of, painted, save, shown};
use qrnet_train::batch::UNLABELLED;
use qrnet_train::data::labelled::{LabelledObject, LabelledPicture, LabelledSet, Referent};
use qrnet_train::data::{DataSet, Example, jsonl};
use qrnet_train::expressions::{Ask, Asked, Questions, nouns, questions};
use qrnet_train::scenes;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use resolver::{Answer, NAMES};

/// Questions about boxes, all kinds alike.
fn boxes() -> Ask {
    let phrases = 0.0;
    Ask {
        phrases,
        names: 1.0,
        attributes: 1.0,
        places: 1.0,
        ordinals: 1.0,
        sizes: 1.0,
        relations: 1.0,
        ..Ask::default()
    }
}

#[test]
fn every_question_has_one_answer() {
    let painted = painted(2000, 1);
    let ask = Ask { absent: 0.3, ..boxes() };
    let asked = Asked::new(painted.set.clone(), ask.clone(), false).expect("questions");
    assert!(asked.len() > 1000, "{}", asked.len());
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut kinds: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for number in 0..asked.len() {
        let example = asked.varied(number, &mut rng).expect("an example");
        let index = index_of(&example);
        let things = shown(&painted, index, ask.least_area);
        let answer = resolver::answer(&example.phrase, &things, &NAMES);
        match (example.target, answer) {
            (Some(target), Answer::One(found)) => assert_eq!(target, things[found].rect, "{}", example.phrase),
            (None, Answer::None) => {}
            (target, answer) => panic!("{:?} of picture {index}: {target:?}, but {answer:?}", example.phrase),
        }
        let subject = resolver::subject(&example.phrase);
        let there = resolver::named(&subject, None, &things, &NAMES).is_none_or(|found| !found.is_empty());
        if !there && !painted.set.pictures[index].captions.is_empty() {
            let told = |word| nouns::related(&subject, word);
            assert!(!told("cat") && !told("truck"), "{} of picture {index}", example.phrase);
        }
        *kinds.entry((example.kind.to_string(), example.target.is_some())).or_default() += 1;
    }
    for kind in ["name", "attribute", "position", "ordinal", "size", "relation"] {
        for present in [true, false] {
            let count = kinds.get(&(kind.to_owned(), present)).copied().unwrap_or_default();
            assert!(count > 15, "{kind}, {present}: {count} of {kinds:?}");
        }
    }
    let absent: usize = kinds.iter().filter(|((_, present), _)| !present).map(|(_, count)| count).sum();
    let share = absent as f64 / asked.len() as f64;
    assert!((0.25..0.35).contains(&share), "{share}");
}

#[test]
fn the_seed_decides() {
    let painted = painted(60, 2);
    let ask = |seed| Ask { seed, ..boxes() };
    let of = |seed| -> Vec<(String, Option<Rect>)> {
        let asked = Asked::new(painted.set.clone(), ask(seed), false).expect("questions");
        let one = |i| asked.example(i).expect("an example");
        (0..asked.len()).rev().map(|i| (one(i).phrase, one(i).target)).collect()
    };
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
}

#[test]
fn held_out_words_are_never_said() {
    let mut painted = painted(400, 3);
    for picture in painted.set.pictures.iter_mut().step_by(2) {
        let said = |phrases: &[&str], x: f64| Referent {
            phrases: phrases.iter().map(|phrase| (*phrase).to_owned()).collect(),
            rect: Rect { x0: x, y0: 0.0, x1: x + 20.0, y1: 30.0 },
            boxes: 1,
            kind: "people".into(),
        };
        picture.referents = vec![said(&["a little kid", "a child in red"], 0.0), said(&["two ladies"], 30.0)];
    }
    let all = |hold_out: bool| {
        let ask = Ask { hold_out, absent: 0.4, ..Ask::default() };
        let asked = Asked::new(painted.set.clone(), ask, false).expect("questions");
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let examples: Vec<Example> =
            (0..3 * asked.len()).map(|i| asked.varied(i % asked.len(), &mut rng).expect("an example")).collect();
        let mut phrases: Vec<String> = examples.into_iter().map(|example| example.phrase).collect();
        phrases.extend(asked.phrases().into_iter().map(str::to_owned));
        phrases
    };
    assert!(all(true).iter().all(|phrase| !nouns::says_held_out(phrase)));
    let said: HashSet<&str> = HashSet::from(["kid", "ladies", "bike", "sofa"]);
    let free = all(false);
    for word in said {
        assert!(free.iter().any(|phrase| phrase.contains(word)), "{word}");
    }
}

fn people_set() -> (tempfile::TempDir, LabelledSet) {
    let folder = tempfile::tempdir().expect("a folder");
    let referent = |phrases: &[&str], kind: &str, x: f64| Referent {
        phrases: phrases.iter().map(|phrase| (*phrase).to_owned()).collect(),
        rect: Rect { x0: x, y0: 5.0, x1: x + 20.0, y1: 40.0 },
        boxes: 1,
        kind: kind.into(),
    };
    let stories: Vec<(Vec<Referent>, Vec<&str>)> = vec![
        (
            vec![
                referent(&["a man", "a man in a red shirt"], "people", 0.0),
                referent(&["another man", "a man"], "people", 30.0),
            ],
            vec!["Two men stand about ."],
        ),
        (
            vec![referent(&["a woman"], "people", 0.0), referent(&["her brown dog"], "animals", 40.0)],
            vec!["A woman walks ."],
        ),
        (vec![referent(&["a black cat"], "animals", 10.0)], vec!["A cat sleeps on a couch ."]),
        (vec![referent(&["a yellow car"], "vehicles", 10.0)], vec!["A car on a street ."]),
        (vec![referent(&["a boy"], "people", 10.0)], vec!["A boy with his puppies ."]),
    ];
    let mut set = LabelledSet { name: "told".into(), ..LabelledSet::default() };
    for (index, (referents, captions)) in stories.into_iter().enumerate() {
        let path = folder.path().join(format!("{index}.png"));
        save(&path, 64, 48, vec![index as u8; 3 * 64 * 48]);
        let captions = captions.into_iter().map(str::to_owned).collect();
        set.pictures.push(LabelledPicture {
            path,
            width: 64.0,
            height: 48.0,
            objects: Vec::new(),
            referents,
            captions,
            licence: None,
        });
    }
    (folder, set)
}

#[test]
fn people_are_taken_at_their_word() {
    let (_folder, set) = people_set();
    let asked = Asked::new(set, Ask { absent: 0.5, ..Ask::default() }, true).expect("questions");
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut said: BTreeMap<u8, BTreeMap<String, bool>> = BTreeMap::new();
    for draw in 0..1500 {
        let example = asked.varied(draw % asked.len(), &mut rng).expect("an example");
        assert!(example.labels.is_none(), "an incomplete set");
        let present = example.target.is_some();
        let before = said.entry(example.picture.rgb[0]).or_default().insert(example.phrase.clone(), present);
        assert!(before.is_none_or(|before| before == present), "{}", example.phrase);
    }
    let of = |picture: u8, present: bool| -> Vec<&str> {
        said[&picture].iter().filter(|(_, p)| **p == present).map(|(phrase, _)| phrase.as_str()).collect()
    };
    // One of two men who is called no more than that is either of them.
    assert_eq!(of(0, true), ["a man in a red shirt"]);
    assert_eq!(of(0, false), ["a black cat", "a woman", "a yellow car"]);
    // "A boy" may be the man of another picture; somebody's dog is asked for where it is.
    assert_eq!(of(1, true), ["a woman", "her brown dog"]);
    assert_eq!(of(1, false), ["a black cat", "a boy", "a man in a red shirt", "a yellow car"]);
    assert_eq!(of(4, false), ["a black cat", "a woman", "a yellow car"]);
}

/// What a data set measures is all that people said, also where it takes their story to know who is meant.
#[test]
fn unclear_phrases_are_asked_where_that_is_wanted() {
    let (_folder, set) = people_set();
    let asked = Asked::new(set, Ask { absent: 0.3, unclear: 0.5, ..Ask::default() }, true).expect("questions");
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut present: BTreeMap<String, usize> = BTreeMap::new();
    for draw in 0..1500 {
        let example = asked.varied(draw % asked.len(), &mut rng).expect("an example");
        let unclear = ["a man", "another man"].contains(&example.phrase.as_str());
        assert!(!unclear || example.target.is_some(), "{} is no proof of absence", example.phrase);
        *present.entry(example.phrase).or_default() += usize::from(example.target.is_some());
    }
    let of = |phrase: &str| present.get(phrase).copied().unwrap_or_default();
    assert!(of("a man") > 20 && of("another man") > 10, "{present:?}");
    assert!(of("a man in a red shirt") > of("a man"), "clear ones come more often: {present:?}");
}

#[test]
fn labels_are_painted_from_boxes() {
    let mut painted = painted(1, 7);
    let picture = &mut painted.set.pictures[0];
    let rect = |x0: f64, x1: f64| Rect { x0, y0: 0.0, x1, y1: 40.0 };
    let object = |class, rect, crowd| LabelledObject { class, rect, difficult: false, crowd };
    picture.objects =
        vec![object(1, rect(4.0, 14.0), false), object(0, rect(0.0, 30.0), false), object(3, rect(40.0, 50.0), true)];
    painted.colours[0] = vec!["red"; 3];
    let asked = Asked::new(painted.set, Ask::default(), true).expect("questions");
    let example = asked.example(0).expect("an example");
    let labels = example.labels.expect("labels");
    let class = |x: usize| match labels.instance[5 * example.picture.width + x] {
        0 => 0,
        instance => labels.objects[usize::from(instance) - 1].class,
    };
    // Behind the classes of drawn scenes.
    let number = |name| scenes::CLASSES as u16 + nouns::class_number(name).expect("a number");
    let [person, dog] = ["person", "dog"].map(number);
    assert_eq!([2, 6, 20, 35, 45, 55].map(class), [person, dog, person, 0, UNLABELLED, 0]);
}

#[test]
fn fixed_questions_come_back_from_their_file() {
    let painted = painted(300, 8);
    let mut counts = Vec::new();
    for which in [Questions::Names, Questions::Place, Questions::Absence, Questions::Synonyms] {
        let all = questions::questions(&painted.set, which);
        counts.push(all.len());
        let folder = painted.set.pictures[0].path.parent().expect("a folder");
        let file = folder.join("questions.jsonl");
        questions::write(&painted.set, &all, &file).expect("written");
        let entries = jsonl::read(&file).expect("entries");
        let asked = Asked::new(painted.set.clone(), Ask { questions: Some(which), ..Ask::default() }, false);
        let asked = asked.expect("questions");
        assert_eq!(asked.len(), entries.len());
        let examples = asked.examples(0..asked.len().min(50)).expect("examples");
        for ((entry, question), example) in entries.iter().zip(&all).zip(&examples) {
            assert_eq!(entry.phrase, question.phrase);
            assert_eq!((&*entry.kind, entry.target.is_some()), (&*question.kind, question.target.is_some()));
            assert_eq!(entry.picture, painted.set.pictures[question.picture].path);
            assert_eq!((&example.phrase, example.target), (&question.phrase, question.target));
        }
        for question in &all {
            let things = shown(&painted, question.picture, 0.0);
            let answer = resolver::answer(&question.phrase, &things, &NAMES);
            match (which, question.target) {
                (Questions::Names | Questions::Place | Questions::Synonyms, Some(target)) => {
                    let Answer::One(found) = answer else { panic!("{}: {answer:?}", question.phrase) };
                    assert_eq!(things[found].rect, target);
                    assert!(things[found].area > 0.01);
                }
                (Questions::Absence, None) => assert_eq!(answer, Answer::None, "{}", question.phrase),
                (Questions::Absence, Some(_)) => assert_ne!(answer, Answer::None, "{}", question.phrase),
                (_, target) => panic!("{}: {target:?}", question.phrase),
            }
        }
        if which == Questions::Synonyms {
            for pair in all.chunks(2) {
                assert_eq!((&*pair[0].kind, &*pair[1].kind), ("known", "synonym"));
                assert_eq!(pair[0].target, pair[1].target);
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

#[test]
fn what_cannot_be_asked_is_said() {
    let painted = painted(5, 9);
    let reason = |set: LabelledSet, ask: Ask| match Asked::new(set, ask, false) {
        Ok(_) => panic!("was taken"),
        Err(error) => error.to_string(),
    };
    let shares = reason(painted.set.clone(), Ask { absent: 1.5, ..Ask::default() });
    assert_eq!(shares, "painted: `absent` is 1.5, expected a share from 0 to 1");
    let weights = reason(painted.set.clone(), Ask { names: -1.0, ..Ask::default() });
    assert_eq!(weights, "painted: `names` is -1, expected a weight from 0");
    let incomplete = reason(LabelledSet { complete: false, ..painted.set.clone() }, Ask::default());
    assert!(incomplete.contains("nothing can be asked of its 5 pictures"), "{incomplete}");
    let text = "names = 1.0\nnaems = 2.0";
    assert!(toml::from_str::<Ask>(text).is_err(), "an unknown key");
    assert_eq!(toml::from_str::<Ask>("questions = \"place\"").expect("settings").questions, Some(Questions::Place));
    let written = toml::to_string(&Ask::example()).expect("written");
    assert_eq!(toml::from_str::<Ask>(&written).expect("read"), Ask::example());
}

/// Classes that only this set knows may be what another class's name says.
#[test]
fn a_van_is_no_proof_that_there_is_no_car() {
    let classes = ["car", "van", "person", "pedestrian", "dog", "scaffold"].map(String::from).to_vec();
    let object = |class: usize, x: f64| LabelledObject {
        class,
        rect: Rect { x0: x, y0: 10.0, x1: x + 40.0, y1: 60.0 },
        difficult: false,
        crowd: false,
    };
    let picture = LabelledPicture {
        path: "a.png".into(),
        width: 200.0,
        height: 100.0,
        objects: vec![object(1, 10.0), object(3, 100.0)],
        captions: vec!["A man on a scaffold .".into()],
        licence: None,
        ..LabelledPicture::default()
    };
    let set = LabelledSet { name: "street".into(), classes, complete: true, pictures: vec![picture] };
    let asked = questions::questions(&set, Questions::Absence);
    let absent: Vec<&str> = asked.iter().filter(|q| q.target.is_none()).map(|q| q.phrase.as_str()).collect();
    assert_eq!(absent, ["the dog"], "neither the car, the person nor the scaffold is proved away");
    let there: Vec<&str> = asked.iter().filter(|q| q.target.is_some()).map(|q| q.phrase.as_str()).collect();
    assert_eq!(there, ["the van", "the pedestrian"]);
}
