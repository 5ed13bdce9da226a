//! Flickr30k Entities as published (`bryanplummer/flickr30k_entities`): a folder with `Sentences/ID.txt`,
//! `Annotations/ID.xml` and `SPLIT.txt`, and the pictures, `ID.jpg`, in a folder of their own.
//!
//! A sentence is `[/EN#18/people A child] in [/EN#19/clothing a pink dress] climbs .`: id and types of what the bracketed
//! words name. An `object` of an annotation has one or several ids as `name`, and a box, or none because it is the
//! `scene` or not to be seen (`nobndbox`).

use std::collections::HashMap;
use std::path::Path;

use blocks::preprocess::Rect;

use super::around;
use super::fit::{Boxes, add_phrase};
use super::text::{annotation, bndbox, child, folder, ids, read as read_text, size, word, wrong};
use super::{LabelledPicture, LabelledSet, Referent};
use crate::error::{Error, Result};

/// The pictures of one split. Everything that has boxes is one referent with all of its phrases, in the order of the
/// sentences; its box is around all of its boxes, which is what the paper's evaluation compares with. What is said to
/// be the scene or not to be seen has none. There are no objects with a class, and boxes are not complete.
///
/// # Errors
/// A file or folder is missing or empty; malformed XML; a bracket without its end; an id without words; an object that
/// says nothing of a box; a box that leaves its picture.
pub fn read(name: &str, root: &Path, pictures: &Path, split: &str) -> Result<LabelledSet> {
    let (annotations, sentences) = (root.join("Annotations"), root.join("Sentences"));
    folder(&annotations, "Flickr30k Entities' boxes")?;
    folder(&sentences, "Flickr30k Entities' sentences")?;
    folder(pictures, "Flickr30k's pictures")?;
    let mut boxes = Boxes::of(name);
    let mut set = LabelledSet { name: name.to_owned(), ..Default::default() };
    for id in ids(&root.join(format!("{split}.txt")))? {
        let mut picture = LabelledPicture { path: pictures.join(format!("{id}.jpg")), ..Default::default() };
        let found = regions(&annotations.join(format!("{id}.xml")), &mut picture, &mut boxes)?;
        let mut places = HashMap::new();
        let file = sentences.join(format!("{id}.txt"));
        for (number, line) in read_text(&file)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let Sentence { plain, mentions } = Sentence::parse(line)
                .map_err(|reason| Error::entry(&file, format_args!("line {}", number + 1), reason))?;
            picture.captions.push(plain);
            for Mention { entity, kind, phrase } in mentions {
                let Some((rect, boxes)) = found.get(entity) else { continue };
                let place = *places.entry(entity.to_owned()).or_insert_with(|| {
                    let new = Referent { phrases: Vec::new(), rect: *rect, boxes: *boxes, kind: kind.to_owned() };
                    picture.referents.push(new);
                    picture.referents.len() - 1
                });
                add_phrase(&mut picture.referents[place].phrases, &phrase);
            }
        }
        set.pictures.push(picture);
    }
    boxes.finish();
    Ok(set)
}

/// Box and number of boxes of every entity that has some; also tells the picture its size.
///
/// Coordinates are 1-based and include the last pixel, as in VOC: the published reader (`get_annotations` of
/// `flickr30k_entities_utils.py`) takes 1 from all four, which gives the first and the last pixel from 0.
fn regions(file: &Path, picture: &mut LabelledPicture, boxes: &mut Boxes) -> Result<HashMap<String, (Rect, usize)>> {
    let text = read_text(file)?;
    let document = annotation(file, &text)?;
    let root = document.root_element();
    (picture.width, picture.height) = size(file, root)?;
    let mut found: HashMap<String, (Rect, usize)> = HashMap::new();
    for object in root.children().filter(|node| node.has_tag_name("object")) {
        let names: Vec<&str> = object
            .children()
            .filter(|node| node.has_tag_name("name"))
            .map(|node| word(file, node))
            .collect::<Result<_>>()?;
        if names.is_empty() {
            return Err(wrong(file, object, "<object> lacks <name>"));
        }
        let Some(node) = child(object, "bndbox") else {
            if child(object, "scene").is_none() && child(object, "nobndbox").is_none() {
                return Err(wrong(file, object, "<object> lacks <bndbox>, <scene> or <nobndbox>"));
            }
            continue;
        };
        let fitted = boxes.fit(bndbox(file, node)?, &picture.path, (picture.width, picture.height));
        let Some(rect) = fitted.map_err(|reason| wrong(file, node, reason))? else { continue };
        for name in names {
            let all = found.entry(name.to_owned()).or_insert((rect, 0));
            *all = (around(&all.0, &rect), all.1 + 1);
        }
    }
    Ok(found)
}

/// A sentence without its brackets, and what they held.
struct Sentence<'a> {
    plain: String,
    mentions: Vec<Mention<'a>>,
}

struct Mention<'a> {
    entity: &'a str,
    /// The first of its types.
    kind: &'a str,
    phrase: String,
}

impl<'a> Sentence<'a> {
    fn parse(line: &'a str) -> Result<Self, String> {
        const START: &str = "[/EN#";
        let wrong = |what: &str, rest: &str| {
            let shown: String = rest.chars().take(40).collect();
            format!("{what} in {shown:?}, expected [/EN#ID/TYPE WORDS]")
        };
        let (mut plain, mut mentions, mut rest) = (String::new(), Vec::new(), line);
        while let Some(start) = rest.find(START) {
            let (before, mention) = rest.split_at(start);
            let (inner, left) = mention[START.len()..]
                .split_once(']')
                .filter(|(inner, _)| !inner.contains(START))
                .ok_or_else(|| wrong("a bracket does not end", mention))?;
            let (head, words) = inner.split_once(' ').unwrap_or((inner, ""));
            let (entity, types) = head.split_once('/').ok_or_else(|| wrong("there is no type", mention))?;
            let phrase = words.split_whitespace().collect::<Vec<_>>().join(" ");
            if phrase.is_empty() {
                return Err(wrong("there are no words", mention));
            }
            plain.push_str(before);
            plain.push_str(words);
            mentions.push(Mention { entity, kind: types.split('/').next().unwrap_or(types), phrase });
            rest = left;
        }
        plain.push_str(rest);
        let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
        if plain.contains(&START[1..]) {
            return Err(wrong("a bracket does not begin", &plain));
        }
        Ok(Self { plain, mentions })
    }
}
