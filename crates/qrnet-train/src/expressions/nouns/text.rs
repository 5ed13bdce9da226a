//! Words of a text: their singular, and the noun that a phrase is about.

/// Plurals that no rule makes.
const IRREGULAR: [(&str, &str); 32] = [
    ("people", "people"),
    ("men", "man"),
    ("women", "woman"),
    ("children", "child"),
    ("feet", "foot"),
    ("teeth", "tooth"),
    ("geese", "goose"),
    ("mice", "mouse"),
    ("knives", "knife"),
    ("wolves", "wolf"),
    ("leaves", "leaf"),
    ("calves", "calf"),
    ("scarves", "scarf"),
    ("shelves", "shelf"),
    ("loaves", "loaf"),
    ("oxen", "ox"),
    ("buses", "bus"),
    ("busses", "bus"),
    ("policemen", "policeman"),
    ("firemen", "fireman"),
    ("fishermen", "fisherman"),
    ("policewomen", "policewoman"),
    ("gentlemen", "gentleman"),
    ("shoes", "shoe"),
    ("canoes", "canoe"),
    ("toes", "toe"),
    ("horseshoes", "horseshoe"),
    ("cookies", "cookie"),
    ("hoodies", "hoodie"),
    ("doggies", "doggie"),
    ("christmas", "christmas"),
    ("tennis", "tennis"),
];

/// The singular of a word in lower case; other words stay as they are.
pub fn lemma(word: &str) -> String {
    let word = word.strip_suffix("'s").unwrap_or(word);
    if let Some((_, singular)) = IRREGULAR.iter().find(|(plural, _)| *plural == word) {
        return (*singular).to_owned();
    }
    if let Some(stem) = word.strip_suffix("ies") {
        return if stem.len() > 2 { format!("{stem}y") } else { format!("{stem}ie") };
    }
    let hissing = ["sses", "shes", "ches", "xes", "zes", "oes"];
    if hissing.iter().any(|end| word.ends_with(end)) {
        return word[..word.len() - 2].to_owned();
    }
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 1 && !stem.ends_with(['s', 'u', 'i']) => stem.to_owned(),
        Some("ski") => "ski".to_owned(),
        _ => word.to_owned(),
    }
}

/// The parts of a text between blanks and marks, each with what it stands for in lower case.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let apart = |c: char| !(c.is_alphanumeric() || c == '-' || c == '\'');
    text.split(apart).map(|word| word.trim_matches(['-', '\''])).filter(|word| !word.is_empty())
}

/// The singulars of all words of a text.
pub(crate) fn lemmas(text: &str) -> Vec<String> {
    tokens(text).map(|word| lemma(&word.to_lowercase())).collect()
}

/// Words behind which a phrase says no more what the thing is.
const ENDS: [&str; 65] = [
    "in",
    "on",
    "at",
    "with",
    "without",
    "from",
    "of",
    "by",
    "for",
    "to",
    "into",
    "onto",
    "over",
    "under",
    "above",
    "below",
    "behind",
    "beside",
    "near",
    "next",
    "between",
    "among",
    "around",
    "through",
    "across",
    "along",
    "against",
    "inside",
    "outside",
    "up",
    "down",
    "off",
    "out",
    "about",
    "like",
    "as",
    "during",
    "after",
    "before",
    "that",
    "which",
    "who",
    "whose",
    "where",
    "while",
    "when",
    "is",
    "are",
    "was",
    "were",
    "has",
    "have",
    "and",
    "or",
    "but",
    "than",
    "toward",
    "towards",
    "upon",
    "beneath",
    "underneath",
    "atop",
    "via",
    "per",
    "wears",
];

/// Nouns that only say how much there is of what follows `of`.
const MEASURES: [&str; 34] = [
    "group",
    "pair",
    "couple",
    "crowd",
    "bunch",
    "set",
    "number",
    "line",
    "row",
    "lot",
    "herd",
    "flock",
    "pack",
    "piece",
    "body",
    "stretch",
    "patch",
    "pile",
    "stack",
    "slice",
    "kind",
    "type",
    "sort",
    "variety",
    "trio",
    "team",
    "half",
    "part",
    "array",
    "series",
    "collection",
    "cluster",
    "gang",
    "party",
];

/// Nouns that look like participles.
const NOUNS: [&str; 33] = [
    "building",
    "wing",
    "king",
    "ring",
    "string",
    "thing",
    "clothing",
    "painting",
    "ceiling",
    "railing",
    "swing",
    "spring",
    "evening",
    "morning",
    "wedding",
    "crossing",
    "landing",
    "opening",
    "awning",
    "sibling",
    "duckling",
    "being",
    "something",
    "bed",
    "sled",
    "shed",
    "weed",
    "seed",
    "speed",
    "moped",
    "steed",
    "breed",
    "drawing",
];

fn is_participle(word: &str) -> bool {
    (word.ends_with("ing") || word.ends_with("ed")) && word.len() > 4 && !NOUNS.contains(&word)
}

/// Words that stand before a noun.
const BEFORE: [&str; 44] = [
    "a", "an", "the", "his", "her", "its", "their", "my", "your", "our", "this", "these", "those", "some", "several",
    "many", "two", "three", "four", "five", "six", "one", "another", "other", "each", "young", "old", "little",
    "small", "big", "large", "long", "tall", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown",
    "black", "white", "grey",
];

/// The noun that a phrase is about, as it stands there: `man` in "a young man in a red shirt", `people` in "a group of
/// people". It is the last word before the first preposition, relative word or participle that follows a noun.
pub fn head_noun(phrase: &str) -> Option<&str> {
    let mut head: Option<&str> = None;
    for token in tokens(phrase) {
        let word = token.to_lowercase();
        let behind_noun = head.is_some_and(|head| {
            let head = head.to_lowercase();
            !BEFORE.contains(&head.as_str()) && !is_participle(&head)
        });
        if word == "of" && head.is_some_and(|head| MEASURES.contains(&lemma(&head.to_lowercase()).as_str())) {
            head = None;
        } else if ENDS.contains(&word.as_str()) {
            if behind_noun {
                break;
            }
            // "a red and white ball"
            head = None;
        } else if behind_noun && is_participle(&word) {
            break;
        } else {
            head = Some(token);
        }
    }
    head
}

/// Whether a word in lower case only says of what kind, or how many: no noun, where a phrase ends in it.
pub(crate) fn is_no_noun(word: &str) -> bool {
    BEFORE.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let cases = [
            ("a young man in a red shirt", Some("man")),
            ("A little girl", Some("girl")),
            ("a group of people", Some("people")),
            ("a man wearing a hat", Some("man")),
            ("a smiling boy", Some("boy")),
            ("a brown dog running", Some("dog")),
            ("the brick building", Some("building")),
            ("a small backyard pool", Some("pool")),
            ("a pool of water", Some("pool")),
            ("two Dogs playing with a ball", Some("Dogs")),
            ("the man who waits", Some("man")),
            ("a dog covered in mud", Some("dog")),
            ("blue swimming trunks", Some("trunks")),
            ("a red and white ball", Some("ball")),
            ("a hot dog", Some("dog")),
            ("", None),
            ("of", None),
        ];
        for (phrase, head) in cases {
            assert_eq!(head_noun(phrase), head, "{phrase}");
        }
    }

    #[test]
    fn singulars() {
        let cases = [
            ("dogs", "dog"),
            ("buses", "bus"),
            ("bus", "bus"),
            ("glasses", "glass"),
            ("puppies", "puppy"),
            ("ties", "tie"),
            ("women", "woman"),
            ("tomatoes", "tomato"),
            ("dress", "dress"),
            ("skis", "ski"),
            ("horses", "horse"),
            ("couches", "couch"),
            ("boxes", "box"),
            ("knives", "knife"),
            ("man's", "man"),
        ];
        for (plural, singular) in cases {
            assert_eq!(lemma(plural), singular);
        }
    }
}
