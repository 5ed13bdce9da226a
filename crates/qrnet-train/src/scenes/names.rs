//! What scenes show and how it is called: shapes, colours, emoji classes, and the words of the grammar.

/// A plain shape, drawn in one of [`COLOURS`].
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// SVG inside a 100x100 box, filled white.
    pub(super) svg: &'static str,
}

pub(super) const SHAPES: [Shape; 8] = [
    Shape { name: "circle", svg: r#"<circle cx="50" cy="50" r="48"/>"# },
    Shape { name: "square", svg: r#"<rect x="6" y="6" width="88" height="88"/>"# },
    Shape { name: "triangle", svg: r#"<path d="M50 6 96 92H4Z"/>"# },
    Shape { name: "star", svg: r#"<path d="m50 2 12 35h37L69 59l11 36-30-22-30 22 11-36L1 37h37Z"/>"# },
    Shape {
        name: "heart",
        svg: r#"<path d="M50 92C6 60 2 42 4 30 7 12 22 6 34 9c8 2 13 8 16 15 3-7 8-13 16-15 12-3 27 3 30 21 2 12-2 30-46 62Z"/>"#,
    },
    Shape { name: "cross", svg: r#"<path d="M34 4h32v30h30v32H66v30H34V66H4V34h30Z"/>"# },
    Shape {
        name: "ring",
        svg: r#"<path fill-rule="evenodd" d="M50 2a48 48 0 1 1 0 96 48 48 0 0 1 0-96Zm0 24a24 24 0 1 0 0 48 24 24 0 0 0 0-48Z"/>"#,
    },
    Shape { name: "diamond", svg: r#"<path d="M50 2 92 50 50 98 8 50Z"/>"# },
];

/// Names and typical values (RGB).
pub(super) const COLOURS: [(&str, [u8; 3]); 11] = [
    ("red", [214, 40, 40]),
    ("orange", [244, 140, 20]),
    ("yellow", [246, 222, 40]),
    ("green", [46, 160, 60]),
    ("blue", [40, 90, 220]),
    ("purple", [136, 58, 184]),
    ("pink", [248, 140, 190]),
    ("brown", [122, 72, 36]),
    ("black", [22, 22, 24]),
    ("white", [248, 248, 248]),
    ("grey", [132, 132, 134]),
];

/// Emoji classes by the name that the art sets give them: the first word is the one, others are synonyms.
pub(super) const EMOJI: [&[&str]; 70] = [
    &["ant"],
    &["bat"],
    &["bear"],
    &["bird"],
    &["butterfly"],
    &["cat"],
    &["cow"],
    &["crab"],
    &["crocodile"],
    &["dog"],
    &["dolphin"],
    &["duck"],
    &["elephant"],
    &["fox"],
    &["frog"],
    &["giraffe"],
    &["horse"],
    &["koala"],
    &["lion"],
    &["monkey"],
    &["owl"],
    &["panda"],
    &["penguin"],
    &["pig"],
    &["rabbit", "bunny"],
    &["snail"],
    &["snake"],
    &["spider"],
    &["turtle"],
    &["whale"],
    &["banana"],
    &["carrot"],
    &["cherries"],
    &["grapes"],
    &["lemon"],
    &["pineapple"],
    &["strawberry"],
    &["watermelon"],
    &["tomato"],
    &["pear"],
    &["mushroom"],
    &["cactus"],
    &["sunflower"],
    &["pizza"],
    &["hamburger", "burger"],
    &["doughnut", "donut"],
    &["lollipop"],
    &["tulip"],
    &["airplane", "plane"],
    &["bicycle", "bike"],
    &["bus"],
    &["helicopter"],
    &["rocket"],
    &["sailboat", "boat"],
    &["tractor"],
    &["anchor"],
    &["balloon"],
    &["bell"],
    &["camera"],
    &["crown"],
    &["drum"],
    &["guitar"],
    &["hammer"],
    &["key"],
    &["ladder"],
    &["scissors"],
    &["trumpet"],
    &["umbrella"],
    &["violin"],
    &["house"],
];

/// Words of the grammar beside names and colours.
pub(super) const GRAMMAR: [&str; 38] = [
    "the",
    "a",
    "an",
    "one",
    "thing",
    "on",
    "at",
    "in",
    "from",
    "of",
    "to",
    "is",
    "that",
    "left",
    "right",
    "top",
    "bottom",
    "upper",
    "lower",
    "leftmost",
    "rightmost",
    "topmost",
    "bottommost",
    "first",
    "second",
    "third",
    "fourth",
    "big",
    "bigger",
    "biggest",
    "large",
    "largest",
    "small",
    "smaller",
    "smallest",
    "above",
    "below",
    "under",
];

/// Punctuation that users type and the model should not stumble over.
pub(super) const PUNCTUATION: [&str; 4] = [".", ",", "!", "?"];

/// Words outside every vocabulary; what they name is never in the picture.
pub(super) const NONSENSE: [&str; 6] = ["zorp", "quib", "flurn", "vask", "plim", "drexel"];

/// Shapes and emoji classes together, numbered from 1.
pub const CLASSES: usize = SHAPES.len() + EMOJI.len();
/// Colours, numbered from 1.
pub const COLOUR_COUNT: usize = COLOURS.len();

/// The name of class `class` (from 1).
pub fn class_name(class: u16) -> &'static str {
    let index = usize::from(class) - 1;
    SHAPES.get(index).map_or_else(|| EMOJI[index - SHAPES.len()][0], |shape| shape.name)
}

/// The name of colour `colour` (from 1).
pub fn colour_name(colour: u16) -> &'static str {
    COLOURS[usize::from(colour) - 1].0
}

/// The words of the grammar beside names: those of places, sizes, counts, relations and colours, in
/// photographs, too.
pub(crate) fn grammar_words() -> Vec<&'static str> {
    let colours = COLOURS.iter().map(|(name, _)| *name).chain(["gray", "middle"]);
    GRAMMAR.into_iter().chain(PUNCTUATION).chain(colours).collect()
}

/// Every word that scenes use, for a vocabulary: each becomes one piece.
pub fn words() -> impl Iterator<Item = &'static str> {
    let emoji = EMOJI.iter().flat_map(|names| names.iter().copied());
    let shapes = SHAPES.iter().map(|shape| shape.name);
    let colours = COLOURS.iter().map(|(name, _)| *name).chain(["gray"]);
    GRAMMAR.into_iter().chain(PUNCTUATION).chain(shapes).chain(colours).chain(emoji)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_twice() {
        let mut all: Vec<&str> = words().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(NONSENSE.iter().all(|word| !all.contains(word)));
        assert_eq!((class_name(1), class_name(9), class_name(78)), ("circle", "ant", "house"));
    }
}
