//! What fixed questions are worth without a model.

use blocks::preprocess::Rect;

use super::questions::Question;
use crate::data::Guesses;
use crate::data::labelled::{LabelledPicture, LabelledSet};
use crate::metrics::IOU_THRESHOLDS;

/// From this overlap on a box is right.
const RIGHT: f64 = IOU_THRESHOLDS[0] as f64;
/// The class of people in COCO and PASCAL VOC, and their kind among people's phrases.
const PERSON: &str = "person";
const PEOPLE: &str = "people";

/// Of `questions` about `set`.
pub(super) fn guesses(set: &LabelledSet, questions: &[Question]) -> Guesses {
    let present: Vec<(&LabelledPicture, Rect)> =
        questions.iter().filter_map(|question| Some((&set.pictures[question.picture], question.target?))).collect();
    let count = present.len().max(1) as f64;
    let shares = |(picture, r): &(&LabelledPicture, Rect)| {
        let (w, h) = (picture.width, picture.height);
        [(r.x0 + r.x1) / (2.0 * w), (r.y0 + r.y1) / (2.0 * h), r.width() / w, r.height() / h]
    };
    let mut mean = [0.0; 4];
    for own in present.iter().map(shares) {
        mean.iter_mut().zip(own).for_each(|(sum, value)| *sum += value / count);
    }
    let [cx, cy, w, h] = mean;
    let usual = Rect { x0: cx - w / 2.0, y0: cy - h / 2.0, x1: cx + w / 2.0, y1: cy + h / 2.0 };
    let whole = Rect { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 };
    let right = |rect: &Rect, truth: &Rect| f64::from(u8::from(truth.overlap(rect) >= RIGHT));
    let share = |of: &dyn Fn(&LabelledPicture, &Rect) -> f64| {
        present.iter().map(|(picture, truth)| of(picture, truth)).sum::<f64>() / count
    };
    let stretched = |rect: Rect, picture: &LabelledPicture| Rect {
        x0: rect.x0 * picture.width,
        y0: rect.y0 * picture.height,
        x1: rect.x1 * picture.width,
        y1: rect.y1 * picture.height,
    };
    Guesses {
        present: present.len(),
        mean_box: share(&|picture, truth| right(&stretched(usual, picture), truth)),
        whole_picture: share(&|picture, truth| right(&stretched(whole, picture), truth)),
        largest_person: share(&|picture, truth| largest(set, picture).map_or(0.0, |rect| right(&rect, truth))),
        random_thing: share(&|picture, truth| {
            let things = things(picture);
            things.iter().map(|rect| right(rect, truth)).sum::<f64>() / things.len().max(1) as f64
        }),
    }
}

/// All that is labelled in a picture: objects, or what people described.
fn things(picture: &LabelledPicture) -> Vec<Rect> {
    if picture.objects.is_empty() {
        return picture.referents.iter().map(|referent| referent.rect).collect();
    }
    picture.objects.iter().map(|object| object.rect).collect()
}

fn largest(set: &LabelledSet, picture: &LabelledPicture) -> Option<Rect> {
    let labelled = picture.objects.iter().filter(|object| set.classes[object.class] == PERSON).map(|o| o.rect);
    let described = picture.referents.iter().filter(|referent| referent.kind == PEOPLE).map(|r| r.rect);
    let area = |rect: &Rect| rect.width() * rect.height();
    labelled.chain(described).max_by(|a, b| area(a).total_cmp(&area(b)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::labelled::LabelledObject;

    fn rect([x0, y0, x1, y1]: [f64; 4]) -> Rect {
        Rect { x0, y0, x1, y1 }
    }

    fn picture(objects: &[(usize, [f64; 4])]) -> LabelledPicture {
        let object = |(class, corners): &(usize, [f64; 4])| LabelledObject {
            class: *class,
            rect: rect(*corners),
            difficult: false,
            crowd: false,
        };
        LabelledPicture {
            path: PathBuf::from("a.png"),
            width: 100.0,
            height: 50.0,
            objects: objects.iter().map(object).collect(),
            ..LabelledPicture::default()
        }
    }

    #[test]
    fn shares_are_counted_by_hand() {
        let set = LabelledSet {
            name: "two".into(),
            classes: vec!["person".into(), "dog".into()],
            pictures: vec![
                picture(&[(0, [0.0, 0.0, 100.0, 40.0]), (0, [0.0, 0.0, 10.0, 10.0]), (1, [60.0, 0.0, 80.0, 50.0])]),
                picture(&[(1, [20.0, 0.0, 40.0, 50.0])]),
            ],
            complete: true,
        };
        let ask = |picture: usize, target: Option<[f64; 4]>| Question {
            picture,
            phrase: "it".into(),
            target: target.map(rect),
            kind: "name".into(),
            thing: None,
        };
        let asked = [
            ask(0, Some([0.0, 0.0, 100.0, 40.0])),
            ask(0, Some([60.0, 0.0, 80.0, 50.0])),
            ask(1, Some([20.0, 0.0, 40.0, 50.0])),
            ask(1, None),
        ];
        let found = guesses(&set, &asked);
        assert_eq!(found.present, 3);
        // The mean box is 47 wide about 50: right for none of them. 4/5 of the first picture is its person.
        assert!(found.mean_box.abs() < 1e-12, "{found:?}");
        assert!((found.whole_picture - 1.0 / 3.0).abs() < 1e-12, "{found:?}");
        assert!((found.largest_person - 1.0 / 3.0).abs() < 1e-12, "{found:?}");
        // A third, a third, and the only one.
        assert!((found.random_thing - (1.0 / 3.0 + 1.0 / 3.0 + 1.0) / 3.0).abs() < 1e-12, "{found:?}");
        // Of one question alone, the mean is its own box.
        let one = guesses(&set, &asked[..1]);
        assert!((one.mean_box - 1.0).abs() < 1e-12 && (one.random_thing - 1.0 / 3.0).abs() < 1e-12, "{one:?}");
        let nothing = guesses(&set, &asked[3..]);
        assert_eq!((nothing.present, nothing.random_thing), (0, 0.0));
        assert_eq!(found.and(nothing), found);
    }
}
