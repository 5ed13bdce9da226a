//! Launch text to a bin: finds holes, parses the rest, sets the values.

use gst::prelude::*;
use gstreamer as gst;

use crate::error::{Error, Result};
use crate::secrets;

/// How names begin that elements with holes get.
pub(crate) const HOLE_NAME: &str = "spotter-hole-";

/// A value for a hole.
#[derive(Debug, Clone)]
pub struct Hole {
    name: &'static str,
    value: String,
}

impl Hole {
    /// `{name}` becomes `value`.
    pub fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into() }
    }
}

/// A property to set once the element exists.
struct Assignment {
    element: String,
    property: String,
    value: String,
}

/// Parses `launch` and fills its holes. The unlinked pad at its `end`, the source of a source part, the sink of a sink
/// part, becomes the bin's own.
///
/// # Errors
/// A hole that is unknown or not a whole property value, a missing element, or whatever GStreamer's parser says.
pub fn build(name: &str, launch: &str, holes: &[Hole], end: gst::PadDirection) -> Result<gst::Bin> {
    let fail = |reason: String| Error::Pipeline { name: name.to_owned(), reason };
    hide_passwords(launch);
    let (text, assignments) = extract(launch, holes).map_err(fail)?;
    let mut context = gst::ParseContext::new();
    let flags = gst::ParseFlags::FATAL_ERRORS;
    let bin = gst::parse::bin_from_description_full(&text, false, Some(&mut context), flags).map_err(|e| {
        let missing = context.missing_elements();
        if missing.is_empty() {
            fail(format!("{e} in: {launch}"))
        } else {
            let names: Vec<&str> = missing.iter().map(AsRef::as_ref).collect();
            fail(super::missing(&names))
        }
    })?;
    // A single element is not wrapped by the parser.
    let bin = bin.downcast::<gst::Bin>().or_else(|element| {
        let bin = gst::Bin::new();
        bin.add(&element).map(|()| bin).map_err(|e| fail(e.to_string()))
    })?;
    // The parser's own ghost pads would take the pads of links that wait for a decoder.
    let pad = bin.find_unlinked_pad(end).ok_or_else(|| {
        let way = if end == gst::PadDirection::Src {
            "out of it: it must not end in a sink"
        } else {
            "into it: it must not begin with a source"
        };
        fail(format!("has no way {way}: {launch}"))
    })?;
    let ghost = gst::GhostPad::with_target(&pad).map_err(|e| fail(e.to_string()))?;
    bin.add_pad(&ghost).map_err(|e| fail(e.to_string()))?;
    for assignment in assignments {
        set(&bin, &assignment).map_err(fail)?;
    }
    Ok(bin)
}

/// Refuses a sink that leads on to nothing: GStreamer says so with its first frame only, and in riddles.
///
/// # Errors
/// Its last element has a pad that nothing is linked to.
pub(crate) fn ends(bin: &gst::Bin, name: &str) -> Result<()> {
    let Some(pad) = bin.find_unlinked_pad(gst::PadDirection::Src) else { return Ok(()) };
    let last = pad.parent_element().and_then(|element| element.factory()).map(|factory| factory.name().to_string());
    let last = last.unwrap_or_default();
    let reason = format!("nothing comes after {last}, expected a sink; what is to be served needs target = \"rtsp\"");
    Err(Error::Pipeline { name: name.to_owned(), reason })
}

/// A description may hold credentials; GStreamer logs it word for word.
fn hide_passwords(launch: &str) {
    for token in tokenize(launch) {
        let Some((property, value)) = token.split_once('=') else { continue };
        let value = value.trim_matches(['"', '\'']);
        if property.ends_with("-pw") || property.contains("passw") {
            secrets::hide(value);
        } else if let Some((login, _)) = secrets::split_login(value) {
            secrets::Login::of_address(login);
        }
    }
}

fn set(bin: &gst::Bin, assignment: &Assignment) -> std::result::Result<(), String> {
    let Assignment { element, property, value } = assignment;
    let target = bin.by_name(element).ok_or_else(|| format!("has no element {element}"))?;
    let factory = target.factory().map(|f| f.name().to_string()).unwrap_or_default();
    let spec = target.find_property(property).ok_or_else(|| format!("element {factory} has no property {property}"))?;
    if spec.value_type() == gst::glib::Type::STRING {
        // Not through the text form, which would read quotes and backslashes in the value.
        target.set_property(property, value);
        return Ok(());
    }
    let parsed = gst::glib::Value::deserialize_with_pspec(value, &spec)
        .map_err(|_| format!("{factory}.{property}: {value:?} is no {}", spec.value_type()))?;
    target.set_property_from_value(property, &parsed);
    Ok(())
}

/// Splits the holes off the launch text and gives their elements names to be found by.
fn extract(launch: &str, holes: &[Hole]) -> std::result::Result<(String, Vec<Assignment>), String> {
    let mut tokens = tokenize(launch);
    let mut assignments = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some(hole) = hole_in(&tokens[at])? else {
            at += 1;
            continue;
        };
        let (property, placeholder) = hole;
        let known: Vec<&str> = holes.iter().map(|h| h.name).collect();
        let value = holes.iter().find(|h| h.name == placeholder).map(|h| h.value.clone());
        let value =
            value.ok_or_else(|| format!("has the hole {{{placeholder}}}, expected one of {}", known.join(", ")))?;
        tokens.remove(at);
        let start = tokens[..at].iter().rposition(|t| t == "!").map_or(0, |bang| bang + 1);
        let end = tokens[at..].iter().position(|t| t == "!").map_or(tokens.len(), |bang| at + bang);
        let given = tokens[start..end].iter().find_map(|t| t.strip_prefix("name=")).map(String::from);
        let element = given.unwrap_or_else(|| {
            let element = format!("{HOLE_NAME}{}", assignments.len());
            tokens.insert(start + 1, format!("name={element}"));
            element
        });
        assignments.push(Assignment { element, property, value });
        at = 0;
    }
    Ok((tokens.join(" "), assignments))
}

/// The names of all holes.
pub(super) fn holes(launch: &str) -> impl Iterator<Item = String> {
    tokenize(launch).into_iter().filter_map(|token| Some(hole_in(&token).ok()??.1))
}

/// `property={hole}` as its two names.
fn hole_in(token: &str) -> std::result::Result<Option<(String, String)>, String> {
    let name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let Some((property, value)) = token.split_once('=') else { return Ok(None) };
    if let Some(hole) = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
        && name(hole)
    {
        return Ok(Some((property.to_owned(), hole.to_owned())));
    }
    let open = token.find('{').and_then(|open| Some(&token[open + 1..][..token[open + 1..].find('}')?]));
    match open {
        Some(inner) if name(inner) => {
            Err(format!("has a hole inside a value: {token}; a hole is a whole property value"))
        }
        _ => Ok(None),
    }
}

/// Words of a launch line; quoted parts stay whole.
fn tokenize(launch: &str) -> Vec<String> {
    let (mut tokens, mut current, mut quote) = (Vec::new(), String::new(), None);
    for c in launch.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => {
                if !current.is_empty() {
                    tokens.push(std::mem::take(&mut current));
                }
                continue;
            }
            _ => {}
        }
        current.push(c);
    }
    if !current.is_empty() {
        tokens.push(current);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAUNCH: &str = "filesrc location={location} ! identity silent={sync}";

    #[test]
    fn hostile_values_stay_values() {
        gst::init().expect("GStreamer starts");
        for value in [
            "x.mp4\" ! fakesink name=evil ! videotestsrc",
            "' ! videotestsrc name=evil ! fakesink '",
            "a b\\c\"d{uri}",
            "{location}",
        ] {
            let bin = build(
                "test",
                LAUNCH,
                &[Hole::new("location", value), Hole::new("sync", "true")],
                gst::PadDirection::Src,
            )
            .expect("builds");
            assert_eq!(bin.children().len(), 2, "no element came out of {value:?}");
            let source = bin.by_name("spotter-hole-0").expect("named");
            assert_eq!(source.property::<String>("location"), value);
            assert!(bin.by_name("spotter-hole-1").expect("named").property::<bool>("silent"));
        }
    }

    #[test]
    fn wrong_descriptions_say_what_is_wrong() {
        gst::init().expect("GStreamer starts");
        let message = |launch: &str, value: &str| {
            build("test", launch, &[Hole::new("location", value), Hole::new("sync", "maybe")], gst::PadDirection::Src)
                .expect_err("wrong")
                .to_string()
        };
        assert!(message(LAUNCH, "x").contains("identity.silent: \"maybe\" is no gboolean"));
        assert!(message("filesrc location=a{location} ! fakesink", "x").contains("a hole is a whole property value"));
        assert!(
            message("filesrc location={path} ! fakesink", "x")
                .contains("has the hole {path}, expected one of location, sync")
        );
        assert!(
            message("nosuchelement location={location} ! fakesink", "x")
                .contains("needs the GStreamer element nosuchelement")
        );
        assert!(message("fakesrc ! fakesink", "x").contains("has no way out of it"));
        assert!(
            message("fakesrc nothing={location} ! identity", "x").contains("element fakesrc has no property nothing")
        );
    }

    #[test]
    fn a_given_name_is_used() {
        gst::init().expect("GStreamer starts");
        let bin = build(
            "test",
            "filesrc location={location} name=mine ! identity",
            &[Hole::new("location", "x")],
            gst::PadDirection::Src,
        )
        .expect("builds");
        assert_eq!(bin.by_name("mine").expect("named").property::<String>("location"), "x");
    }
}
