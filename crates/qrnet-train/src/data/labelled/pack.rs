//! Our own pack: JSON Lines, one picture a line.
//!
//! ```json
//! {"image": "00/00000.jpg", "width": 288, "height": 162, "captions": ["A man on a motorcycle ."],
//!  "boxes": [{"label": "motorcycle", "x": 161.6, "y": 65.8, "w": 50.6, "h": 96.1, "difficult": 1},
//!            {"phrases": ["a man", "the rider"], "entity": "18", "type": "people", "x": 153, "y": 10, "w": 69, "h": 135}]}
//! ```
//!
//! `image` is relative to the file's folder; boxes are in pixels. A box with `phrases` (or one `phrase`) belongs to what
//! these describe: boxes of one `entity` are one thing, and its `label` is a guess that is not read. A box without
//! phrases is an object of the class `label`. `captions`, `licence`, `difficult`, `entity` and `type` may be
//! left out, and other keys are not looked at (`origin`, `group`, `scene_phrases`: a scene has no box).

use std::path::Path;

use blocks::preprocess::Rect;
use serde::Deserialize;
use serde_json::Value;

use super::super::jsonl::one_line;
use super::super::listed::ANY_KIND;
use super::super::read_bytes;
use super::around;
use super::fit::{Boxes, Classes, add_phrase, size};
use super::{LabelledObject, LabelledPicture, LabelledSet, Referent};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Line {
    image: String,
    width: f64,
    height: f64,
    boxes: Vec<BoxOf>,
    #[serde(default)]
    captions: Vec<String>,
    #[serde(default)]
    licence: Option<String>,
}

#[derive(Deserialize)]
struct BoxOf {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
    label: Option<String>,
    #[serde(default)]
    difficult: Value,
    phrase: Option<String>,
    phrases: Option<Vec<String>>,
    #[serde(default)]
    entity: Value,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// The set in `file`; `complete` says whether every object of its classes has a box.
///
/// # Errors
/// The file is missing or empty; a line is no JSON, lacks a key that is needed or has one twice; an empty list of
/// phrases; a box that leaves its picture.
pub fn read(name: &str, file: &Path, complete: bool) -> Result<LabelledSet> {
    let bytes = read_bytes(file)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let (mut boxes, mut classes, mut pictures) = (Boxes::of(name), Classes::default(), Vec::new());
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|b| *b == b'\n');
    for (number, line) in lines.enumerate() {
        let fail = |reason: String| Error::entry(file, format_args!("line {}", number + 1), reason);
        let line = parse(line).map_err(fail)?;
        let path = folder.join(&line.image);
        let (width, height) = size(line.width, line.height).map_err(fail)?;
        let (captions, licence) = (line.captions, line.licence);
        let mut picture = LabelledPicture { path, width, height, captions, licence, ..Default::default() };
        let mut things = Things::default();
        for (position, one) in line.boxes.iter().enumerate() {
            add(one, &mut picture, &mut things, &mut boxes, &mut classes)
                .map_err(|reason| fail(format!("box {}: {reason}", position + 1)))?;
        }
        picture.referents = things.0.into_iter().map(|(_, referent)| referent).collect();
        pictures.push(picture);
    }
    boxes.finish();
    Ok(LabelledSet { name: name.to_owned(), classes: classes.names(), complete, pictures })
}

fn parse(line: &[u8]) -> Result<Line, String> {
    if line.trim_ascii().is_empty() {
        return Err("is empty, expected an object".into());
    }
    serde_json::from_slice(line).map_err(|e| one_line(&e))
}

/// The described things of a picture, by entity.
#[derive(Default)]
struct Things(Vec<(Option<String>, Referent)>);

impl Things {
    fn add(&mut self, entity: Option<String>, phrases: &[String], rect: Rect, kind: &str) {
        let known = self.0.iter_mut().find(|(known, _)| known.is_some() && *known == entity);
        let referent = if let Some((_, referent)) = known {
            referent.rect = around(&referent.rect, &rect);
            referent.boxes += 1;
            referent
        } else {
            let new = Referent { phrases: Vec::new(), rect, boxes: 1, kind: kind.to_owned() };
            &mut self.0.push_mut((entity, new)).1
        };
        for phrase in phrases {
            add_phrase(&mut referent.phrases, phrase.trim());
        }
    }
}

fn add(
    one: &BoxOf,
    picture: &mut LabelledPicture,
    things: &mut Things,
    boxes: &mut Boxes,
    classes: &mut Classes,
) -> Result<(), String> {
    let rect = Rect { x0: one.x, y0: one.y, x1: one.x + one.w, y1: one.y + one.h };
    let phrases = one.phrases.as_deref().or(one.phrase.as_ref().map(std::slice::from_ref));
    if let Some(phrases) = phrases {
        if phrases.is_empty() {
            return Err("`phrases` is empty, expected what people called it".into());
        }
        if let Some(blank) = phrases.iter().find(|phrase| phrase.trim().is_empty()) {
            return Err(format!("a phrase is {blank:?}, expected words"));
        }
        let entity = match &one.entity {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            other => return Err(format!("`entity` is {other}, expected a text or a number")),
        };
        if let Some(rect) = boxes.fit(rect, &picture.path, (picture.width, picture.height))? {
            things.add(entity, phrases, rect, one.kind.as_deref().unwrap_or(ANY_KIND));
        }
        return Ok(());
    }
    let label = one.label.as_deref().map(str::trim).filter(|label| !label.is_empty());
    let label = label.ok_or("has neither `label` nor `phrases`, expected one of them")?;
    let difficult = flag(&one.difficult, "difficult")?;
    // A class is one of the set's even where its only box has no area.
    let class = classes.number(label);
    if let Some(rect) = boxes.fit(rect, &picture.path, (picture.width, picture.height))? {
        picture.objects.push(LabelledObject { class, rect, difficult, crowd: false });
    }
    Ok(())
}

/// A yes or no, as people write it in JSON; no where it is left out.
///
/// # Errors
/// It is neither.
pub(super) fn flag(value: &Value, key: &str) -> Result<bool, String> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(said) => Ok(*said),
        Value::Number(number) if number.as_u64().is_some_and(|n| n < 2) => Ok(number.as_u64() == Some(1)),
        other => Err(format!("`{key}` is {other}, expected 0, 1, false or true")),
    }
}
