//! Directions in phrases: what a mirror exchanges, and what a crop may make wrong.

/// Words that name a place in the picture.
const DIRECTIONS: [&str; 5] = ["left", "right", "top", "bottom", "middle"];
/// What may follow such a word inside one word: leftmost, right-hand written as one, lefty.
const ENDINGS: [&str; 7] = ["", "most", "hand", "side", "ward", "wards", "y"];

/// Whether a lower-case phrase names a place in the picture: as a word ("left", "topmost"), or with `quirks` inside
/// any word, as the reference does ("stop" contains "top", Q8).
pub fn names_direction(phrase: &str, quirks: bool) -> bool {
    if quirks {
        return DIRECTIONS.iter().any(|word| phrase.contains(word));
    }
    phrase.split(|c: char| !c.is_alphanumeric()).any(|word| {
        DIRECTIONS.iter().any(|direction| word.strip_prefix(direction).is_some_and(|end| ENDINGS.contains(&end)))
    })
}

/// A lower-case phrase for the mirrored picture: left and right are exchanged as words ("leftmost" becomes
/// "rightmost"), or with `quirks` inside any word, as the reference does ("bright" becomes "bleft", Q8).
pub fn mirrored(phrase: &str, quirks: bool) -> String {
    let mut out = String::with_capacity(phrase.len() + 8);
    if quirks {
        let mut rest = phrase;
        while let Some(first) = rest.chars().next() {
            rest = if let Some(tail) = rest.strip_prefix("left") {
                out.push_str("right");
                tail
            } else if let Some(tail) = rest.strip_prefix("right") {
                out.push_str("left");
                tail
            } else {
                out.push(first);
                &rest[first.len_utf8()..]
            };
        }
        return out;
    }
    let mut rest = phrase;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        let ending = |side: &str| word.strip_prefix(side).filter(|end| ENDINGS.contains(end));
        match (ending("left"), ending("right")) {
            (Some(end), _) => out.extend(["right", end]),
            (_, Some(end)) => out.extend(["left", end]),
            _ => out.push_str(word),
        }
        let gap = tail.find(char::is_alphanumeric).unwrap_or(tail.len());
        out.push_str(&tail[..gap]);
        rest = &tail[gap..];
    }
    out
}

/// Words for colours, and for how light or colourful a thing is.
const COLOURS: [&str; 73] = [
    "amber",
    "aqua",
    "beige",
    "black",
    "blond",
    "blonde",
    "blondes",
    "blue",
    "bluish",
    "bright",
    "bronze",
    "brown",
    "brownish",
    "brunette",
    "burgundy",
    "color",
    "colored",
    "colorful",
    "colors",
    "colour",
    "coloured",
    "colourful",
    "colours",
    "copper",
    "cream",
    "crimson",
    "cyan",
    "dark",
    "fuchsia",
    "ginger",
    "gold",
    "golden",
    "gray",
    "grayish",
    "green",
    "greenish",
    "grey",
    "greyish",
    "hazel",
    "indigo",
    "ivory",
    "khaki",
    "lavender",
    "light",
    "lilac",
    "lime",
    "magenta",
    "maroon",
    "mauve",
    "multicolored",
    "multicoloured",
    "navy",
    "orange",
    "pale",
    "pink",
    "pinkish",
    "purple",
    "rainbow",
    "red",
    "reddish",
    "redhead",
    "rose",
    "scarlet",
    "silver",
    "tan",
    "tanned",
    "teal",
    "turquoise",
    "violet",
    "white",
    "whitish",
    "yellow",
    "yellowish",
];
/// What may follow a word for a colour: blues, darker, lightest, silvery.
const SHADE_ENDINGS: [&str; 6] = ["", "s", "er", "r", "est", "y"];

/// Whether a lower-case phrase names a colour, or how light or colourful a thing is: it would no longer be true of a
/// picture whose colours were turned or taken away. Rather too often than too seldom: fruit and metals count.
pub fn names_colour(phrase: &str) -> bool {
    phrase.split(|c: char| !c.is_alphanumeric()).any(|word| {
        COLOURS.iter().any(|colour| word.strip_prefix(colour).is_some_and(|end| SHADE_ENDINGS.contains(&end)))
    })
}
