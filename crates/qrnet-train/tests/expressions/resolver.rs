//! What a phrase means, from its words and from boxes: written for the tests alone.

use blocks::preprocess::Rect;

/// An object as its labels and pixels tell.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) class: String,
    /// Empty where none is clear.
    pub(crate) colour: &'static str,
    /// Centre, 0..1 of the picture.
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// Share of the picture.
    pub(crate) area: f64,
    pub(crate) doubtful: bool,
    pub(crate) rect: Rect,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    One(usize),
    None,
    /// Several, or nobody can tell.
    Many,
}

/// A name, the class that it is of, and one that might be called so; empty where there is none.
pub(crate) type Name<'a> = (&'a str, &'a str, &'a str);

/// Names of the classes of painted pictures.
pub(crate) const NAMES: [Name; 24] = [
    ("person", "person", ""),
    ("human", "person", ""),
    ("dog", "dog", ""),
    ("puppy", "dog", ""),
    ("hound", "dog", ""),
    ("cat", "cat", ""),
    ("kitty", "cat", ""),
    ("car", "car", ""),
    ("automobile", "car", ""),
    ("auto", "car", ""),
    ("truck", "truck", ""),
    ("lorry", "truck", ""),
    ("motorcycle", "motorbike", ""),
    ("motorbike", "motorbike", ""),
    ("bicycle", "bicycle", ""),
    ("bike", "bicycle", "motorbike"),
    ("chair", "chair", ""),
    ("couch", "sofa", ""),
    ("sofa", "sofa", ""),
    ("teddy bear", "teddy bear", ""),
    ("stuffed bear", "teddy bear", ""),
    ("bear", "bear", "teddy bear"),
    ("tv", "tvmonitor", ""),
    ("television", "tvmonitor", ""),
];
const COLOURS: [&str; 12] =
    ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey", "gray"];
const EPSILON: f64 = 1e-4;

struct Parsed {
    noun: String,
    colour: Option<String>,
    what: What,
}

enum What {
    Plain,
    Side(char),
    Middle,
    Ordinal(usize, char),
    Size(bool),
    Relation(char, String),
}

fn letter(side: &str) -> Option<char> {
    let letters = [
        ("left", 'l'),
        ("leftmost", 'l'),
        ("right", 'r'),
        ("rightmost", 'r'),
        ("top", 't'),
        ("upper", 't'),
        ("topmost", 't'),
        ("bottom", 'b'),
        ("lower", 'b'),
        ("bottommost", 'b'),
    ];
    letters.iter().find(|(word, _)| *word == side).map(|(_, letter)| *letter)
}

fn parse(phrase: &str) -> Parsed {
    let bare = phrase.replace(['.', ',', '!', '?'], " ").replace(" that is ", " ");
    let bare = bare.split_whitespace().collect::<Vec<_>>().join(" ");
    let article = ["the ", "a ", "an "].iter().find_map(|article| bare.strip_prefix(article));
    let text = article.unwrap_or(&bare).to_owned();
    let relations = [
        (" to the left of the ", 'l'),
        (" to the right of the ", 'r'),
        (" left of the ", 'l'),
        (" right of the ", 'r'),
        (" above the ", 't'),
        (" below the ", 'b'),
        (" under the ", 'b'),
    ];
    let coloured = |noun: &str, what: What| {
        let (first, rest) = noun.split_once(' ').unwrap_or((noun, ""));
        if COLOURS.contains(&first) {
            let colour = if first == "gray" { "grey" } else { first };
            Parsed { noun: rest.to_owned(), colour: Some(colour.to_owned()), what }
        } else {
            Parsed { noun: noun.to_owned(), colour: None, what }
        }
    };
    if let Some((noun, side, anchor)) =
        relations.iter().find_map(|(words, side)| text.split_once(words).map(|(a, b)| (a, *side, b)))
    {
        return coloured(noun, What::Relation(side, anchor.to_owned()));
    }
    if let Some((head, side)) = text.split_once(" from the ") {
        let (ordinal, noun) = head.split_once(' ').expect("an ordinal");
        let n = ["first", "second", "third", "fourth"].iter().position(|word| *word == ordinal).expect("an ordinal");
        return coloured(noun, What::Ordinal(n, letter(side).expect("a side")));
    }
    if let Some(noun) = text.strip_suffix(" in the middle").or(text.strip_prefix("middle ")) {
        return coloured(noun, What::Middle);
    }
    for (words, side) in [(" on the left", 'l'), (" on the right", 'r'), (" at the top", 't'), (" at the bottom", 'b')]
    {
        if let Some(noun) = text.strip_suffix(words) {
            return coloured(noun, What::Side(side));
        }
    }
    let (first, rest) = text.split_once(' ').unwrap_or((&text, ""));
    if let Some(side) = letter(first) {
        return coloured(rest, What::Side(side));
    }
    match first {
        "big" | "bigger" | "biggest" | "large" | "largest" => coloured(rest, What::Size(true)),
        "small" | "smaller" | "smallest" => coloured(rest, What::Size(false)),
        _ => coloured(&text, What::Plain),
    }
}

/// What a phrase asks for, without colour, place and size.
pub(crate) fn subject(phrase: &str) -> String {
    parse(phrase).noun
}

/// Things that a name is said of; none where it may be said of others, too.
pub(crate) fn named(name: &str, colour: Option<&str>, things: &[Shown], names: &[Name]) -> Option<Vec<usize>> {
    let (_, class, perhaps) = names.iter().find(|(known, ..)| *known == name).unwrap_or_else(|| panic!("{name:?}"));
    let mut found = Vec::new();
    for (i, thing) in things.iter().enumerate() {
        let may_be = |colour: &str| thing.colour.is_empty() || thing.colour == colour;
        if thing.class == *perhaps && colour.is_none_or(may_be) {
            return None;
        }
        if thing.class == *class {
            if thing.doubtful || (colour.is_some() && thing.colour.is_empty()) {
                return None;
            }
            if colour.is_none_or(|colour| colour == thing.colour) {
                found.push(i);
            }
        }
    }
    Some(found)
}

fn along(side: char, thing: &Shown) -> f64 {
    match side {
        'l' => thing.x,
        'r' => -thing.x,
        't' => thing.y,
        _ => -thing.y,
    }
}

/// Whether all nouns of a phrase are among `names`, and it says nothing of colours.
pub(crate) fn is_understood(phrase: &str, names: &[Name]) -> bool {
    let Parsed { noun, colour, what } = parse(phrase);
    let known = |noun: &str| names.iter().any(|(name, ..)| *name == noun);
    let anchor = if let What::Relation(_, anchor) = &what { anchor } else { &noun };
    colour.is_none() && known(&noun) && known(anchor)
}

/// Which of `things` a phrase means.
pub(crate) fn answer(phrase: &str, things: &[Shown], names: &[Name]) -> Answer {
    let Parsed { noun, colour, what } = parse(phrase);
    let Some(mut found) = named(&noun, colour.as_deref(), things, names) else { return Answer::Many };
    if let What::Relation(side, anchor) = what {
        let Some(anchors) = named(&anchor, None, things, names) else { return Answer::Many };
        if found.is_empty() || anchors.is_empty() {
            return Answer::None;
        }
        let [anchor] = anchors[..] else { return Answer::Many };
        let step = |i: &usize| along(side, &things[anchor]) - along(side, &things[*i]);
        if found.iter().any(|i| step(i).abs() < 0.12 - EPSILON) {
            return Answer::Many;
        }
        found.retain(|i| step(i) > 0.0);
        return match found[..] {
            [] => Answer::None,
            [one] => Answer::One(one),
            _ => Answer::Many,
        };
    }
    if found.is_empty() {
        return Answer::None;
    }
    let sorted = |side: char| {
        let mut sorted = found.clone();
        sorted.sort_by(|&a, &b| along(side, &things[a]).total_cmp(&along(side, &things[b])));
        let gaps: Vec<f64> =
            sorted.windows(2).map(|w| along(side, &things[w[1]]) - along(side, &things[w[0]])).collect();
        (sorted, gaps)
    };
    let clear = |gap: &f64| *gap >= 0.1 - EPSILON;
    match what {
        What::Side(side) => {
            let (sorted, gaps) = sorted(side);
            if gaps.first().is_some_and(clear) { Answer::One(sorted[0]) } else { Answer::Many }
        }
        What::Middle => {
            let (sorted, gaps) = sorted('l');
            if sorted.len() == 3 && gaps.iter().all(clear) { Answer::One(sorted[1]) } else { Answer::Many }
        }
        What::Ordinal(n, side) => {
            let (sorted, gaps) = sorted(side);
            match sorted.get(n) {
                _ if !gaps.iter().all(clear) => Answer::Many,
                Some(one) => Answer::One(*one),
                None => Answer::None,
            }
        }
        What::Size(big) => {
            let side = |i: usize| things[i].area.sqrt();
            let beats = |i: usize, j: usize| if big { side(i) / side(j) } else { side(j) / side(i) };
            let best = |i: &&usize| found.iter().all(|&j| j == **i || beats(**i, j) >= 1.35 - EPSILON);
            if found.len() > 1 {
                found.iter().find(best).map_or(Answer::Many, |i| Answer::One(*i))
            } else {
                Answer::Many
            }
        }
        _ => {
            if let [one] = found[..] {
                Answer::One(one)
            } else {
                Answer::Many
            }
        }
    }
}
