//! What the readers of folders share: text files, lists of ids, XML with places.

use std::path::Path;

use blocks::preprocess::Rect;
use roxmltree::{Document, Node};

use super::super::read_bytes;
use crate::error::{Error, Result};

/// The content of a text file.
///
/// # Errors
/// It is missing, empty, or not UTF-8.
pub(super) fn read(file: &Path) -> Result<String> {
    utf8(file, read_bytes(file)?)
}

/// Bytes as text.
///
/// # Errors
/// They are not UTF-8.
pub(super) fn utf8(file: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| {
        let place = e.utf8_error().valid_up_to();
        Error::file(file, format_args!("byte {place} is no UTF-8, expected text"))
    })
}

/// A folder that has to be there.
///
/// # Errors
/// It is not.
pub(super) fn folder(path: &Path, holds: &str) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    Err(Error::file(path, format_args!("no such folder, expected {holds} there")))
}

/// The ids that a list names, one a line.
///
/// # Errors
/// The list is missing or empty, or a line holds more than an id.
pub(super) fn ids(file: &Path) -> Result<Vec<String>> {
    let text = read(file)?;
    let mut ids = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let id = line.trim();
        if id.contains(char::is_whitespace) {
            let reason = format!("is {id:?}, expected one id");
            return Err(Error::entry(file, format_args!("line {}", number + 1), reason));
        }
        if !id.is_empty() {
            ids.push(id.to_owned());
        }
    }
    if ids.is_empty() {
        return Err(Error::file(file, "holds no id, expected one a line"));
    }
    Ok(ids)
}

/// Parses XML whose outermost element is `annotation`.
///
/// # Errors
/// It is malformed, or another one.
pub(super) fn annotation<'t>(file: &Path, text: &'t str) -> Result<Document<'t>> {
    let document = Document::parse(text).map_err(|e| {
        let cut = if matches!(e, roxmltree::Error::UnclosedRootNode) { " (cut short?)" } else { "" };
        Error::file(file, format_args!("{e}{cut}"))
    })?;
    let found = document.root_element().tag_name().name();
    if found != "annotation" {
        return Err(Error::file(file, format_args!("holds <{found}>, expected <annotation>")));
    }
    Ok(document)
}

/// An error about an element, by its line.
pub(super) fn wrong(file: &Path, node: Node, reason: impl std::fmt::Display) -> Error {
    let line = node.document().text_pos_at(node.range().start).row;
    Error::entry(file, format_args!("line {line}"), reason)
}

/// The first child of that name, where there is one.
pub(super) fn child<'a, 't>(node: Node<'a, 't>, name: &str) -> Option<Node<'a, 't>> {
    node.children().find(|child| child.has_tag_name(name))
}

/// The first child of that name.
///
/// # Errors
/// There is none.
pub(super) fn needed<'a, 't>(file: &Path, node: Node<'a, 't>, name: &str) -> Result<Node<'a, 't>> {
    let lacks = || wrong(file, node, format_args!("<{}> lacks <{name}>", node.tag_name().name()));
    child(node, name).ok_or_else(lacks)
}

/// What an element says.
///
/// # Errors
/// Nothing.
pub(super) fn word<'a>(file: &Path, node: Node<'a, '_>) -> Result<&'a str> {
    let text = node.text().map_or("", str::trim);
    if text.is_empty() {
        return Err(wrong(file, node, format_args!("<{}> is empty, expected text", node.tag_name().name())));
    }
    Ok(text)
}

/// The number in a child of that name.
///
/// # Errors
/// It is lacking, or no number.
fn number(file: &Path, node: Node, name: &str) -> Result<f64> {
    let node = needed(file, node, name)?;
    let text = node.text().map_or("", str::trim);
    text.parse().map_err(|_| wrong(file, node, format_args!("<{name}> is {text:?}, expected a number")))
}

/// Width and height of the picture.
///
/// # Errors
/// They are lacking, or no numbers of pixels.
pub(super) fn size(file: &Path, root: Node) -> Result<(f64, f64)> {
    let node = needed(file, root, "size")?;
    let (width, height) = (number(file, node, "width")?, number(file, node, "height")?);
    super::fit::size(width, height).map_err(|reason| wrong(file, node, reason))
}

/// The box of `bndbox`, as edges. PASCAL VOC counts pixels from 1 and includes the last: the left edge of pixel 1 is 0,
/// and the right edge of pixel `xmax` is `xmax`.
///
/// # Errors
/// A number is lacking, or none.
pub(super) fn bndbox(file: &Path, node: Node) -> Result<Rect> {
    let edge = |name| number(file, node, name);
    Ok(Rect { x0: edge("xmin")? - 1.0, y0: edge("ymin")? - 1.0, x1: edge("xmax")?, y1: edge("ymax")? })
}
