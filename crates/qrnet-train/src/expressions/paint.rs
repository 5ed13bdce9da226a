//! Labels for every pixel out of boxes: roughly, smaller boxes over larger ones.

use blocks::preprocess::Rect;

use super::grammar::Thing;
use super::vocabulary::Vocabulary;
use crate::batch::UNLABELLED;
use crate::data::labelled::LabelledObject;
use crate::data::{Labels, ObjectLabel};
use crate::scenes;

/// The most objects that labels can tell apart.
const MOST: usize = u8::MAX as usize;

/// What covers every pixel of a picture of `width` x `height`, where the objects lie in `boxes`. What is hard to make
/// out, one box around many, and classes without a number have no class that a loss should count.
pub(super) fn labels(
    (objects, things): (&[LabelledObject], &[Thing]),
    boxes: &[Rect],
    words: &Vocabulary,
    (width, height): (usize, usize),
) -> Labels {
    let mut order: Vec<usize> = (0..objects.len()).collect();
    let area = |i: usize| boxes[i].width() * boxes[i].height();
    order.sort_by(|&a, &b| area(b).total_cmp(&area(a)));
    order.truncate(MOST);
    let mut labels = Labels { instance: vec![0; width * height], objects: Vec::with_capacity(order.len()) };
    for i in order {
        let object = &objects[i];
        let unclear = object.difficult || object.crowd;
        let number = words.number(object.class as u16).filter(|_| !unclear);
        let class = number.map_or(UNLABELLED, |number| scenes::CLASSES as u16 + number);
        labels.objects.push(ObjectLabel { class, colour: things[i].colour });
        let number = labels.objects.len() as u8;
        let along = |from: f64, to: f64, length: usize| {
            let from = (from.round().max(0.0) as usize).min(length);
            from..(to.round().max(0.0) as usize).clamp(from, length)
        };
        let columns = along(boxes[i].x0, boxes[i].x1, width);
        for row in along(boxes[i].y0, boxes[i].y1, height) {
            labels.instance[row * width + columns.start..row * width + columns.end].fill(number);
        }
    }
    labels
}
