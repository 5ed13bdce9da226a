//! Other words for the same: people will not ask as the labels do.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How training phrases are varied, and whether their words are learnt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phrases {
    /// Words of the phrases and of `alike` that the tokenizer lacks are added to its vocabulary. For vocabularies of
    /// whole words.
    pub learn: bool,
    /// Words, or groups of words, that stand for each other: `["woman", "lady"]`. Half of those that a phrase holds are
    /// exchanged for another of their group.
    pub alike: Vec<Vec<String>>,
    /// Share of words that are forgotten: left out, or taken for a word that nobody knows. At most half of a phrase.
    pub forget: f64,
}

/// How many of the words that have others beside them are exchanged.
const EXCHANGED: f64 = 0.5;
/// In no vocabulary.
const UNHEARD: &str = "qzx";

impl Phrases {
    /// Whether phrases come out otherwise than they went in.
    pub fn varies(&self) -> bool {
        !self.alike.is_empty() || self.forget > 0.0
    }

    /// Whatever may be said in training: `phrases`, and all members of the groups.
    pub fn texts<'a>(&'a self, phrases: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
        phrases.chain(self.alike.iter().flatten().map(String::as_str))
    }

    /// `phrase` in other words, in lower case, with spaces between words and marks.
    pub fn reworded(&self, phrase: &str, rng: &mut ChaCha8Rng) -> String {
        let lower = phrase.to_lowercase();
        let said: Vec<&str> = words(&lower).collect();
        let groups: Vec<Vec<String>> =
            self.alike.iter().map(|group| group.iter().map(|member| member.to_lowercase()).collect()).collect();
        let mut out: Vec<&str> = Vec::with_capacity(said.len());
        let mut at = 0;
        while at < said.len() {
            let (taken, others) = group_at(&groups, &said[at..]);
            match others {
                Some(group) if rng.random_bool(EXCHANGED) => {
                    out.extend(words(&group[rng.random_range(0..group.len())]));
                }
                _ => out.extend(&said[at..at + taken]),
            }
            at += taken;
        }
        let mut may_go = out.len() / 2;
        let mut kept = Vec::with_capacity(out.len());
        for word in out {
            if may_go > 0 && is_word(word) && rng.random_bool(self.forget) {
                may_go -= 1;
                if rng.random_bool(0.5) {
                    kept.push(UNHEARD);
                }
            } else {
                kept.push(word);
            }
        }
        kept.join(" ")
    }
}

/// The longest member of a group that `said` begins with: how many words it has, and its group.
fn group_at<'a>(groups: &'a [Vec<String>], said: &[&str]) -> (usize, Option<&'a [String]>) {
    let begins = |member: &str| {
        let count = words(member).count();
        let fits = (1..=said.len()).contains(&count) && words(member).eq(said[..count].iter().copied());
        fits.then_some(count)
    };
    let found = groups.iter().flat_map(|group| group.iter().filter_map(move |m| Some((begins(m)?, group.as_slice()))));
    let longest = found.max_by_key(|(count, _)| *count);
    longest.map_or((1, None), |(count, group)| (count, Some(group)))
}

/// Whether a text holds anything to say.
pub(super) fn has_words(text: &str) -> bool {
    words(text).any(is_word)
}

fn is_word(text: &str) -> bool {
    text.starts_with(char::is_alphanumeric)
}

/// Runs of letters and digits, and every mark between them by itself, as tokenizers of BERT's family take them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().flat_map(|part| {
        part.char_indices().filter_map(move |(at, c)| {
            let before = part[..at].chars().next_back();
            if !c.is_alphanumeric() {
                return Some(&part[at..at + c.len_utf8()]);
            }
            if before.is_some_and(char::is_alphanumeric) {
                return None;
            }
            let end = part[at..].find(|c: char| !c.is_alphanumeric()).map_or(part.len(), |length| at + length);
            Some(&part[at..end])
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn phrases() -> Phrases {
        let group = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let alike = vec![group(&["woman", "lady"]), group(&["dark blue", "navy"]), group(&["dark", "black"])];
        Phrases { learn: true, alike, forget: 0.0 }
    }

    #[test]
    fn exchanges_whole_groups_and_nothing_else() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let mut rng = blocks::seeded::stream(seed, "test");
            seen.insert(phrases().reworded("The woman in dark blue", &mut rng));
        }
        let wanted = ["the lady in dark blue", "the lady in navy", "the woman in dark blue", "the woman in navy"];
        assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn at_most_half_is_forgotten() {
        let forgetful = Phrases { forget: 0.49, ..Phrases::default() };
        for seed in 0..200 {
            let mut rng = blocks::seeded::stream(seed, "test");
            let phrase = forgetful.reworded("a b c d e", &mut rng);
            let known = phrase.split(' ').filter(|word| *word != UNHEARD).count();
            assert!((3..=5).contains(&known), "{phrase}");
        }
    }

    #[test]
    fn marks_stay_where_they_were() {
        let mut rng = blocks::seeded::stream(1, "test");
        let same = Phrases::default().reworded("The man's T-shirt, (red)", &mut rng);
        assert_eq!(same, "the man ' s t - shirt , ( red )");
        assert!(has_words("a-b") && !has_words(" - ") && !has_words(""));
    }

    #[test]
    fn members_may_be_written_in_capitals() {
        let phrases = Phrases { alike: vec![vec!["VAN".into(), "Lorry".into()]], ..Phrases::default() };
        let said: BTreeSet<String> =
            (0..50).map(|seed| phrases.reworded("the van", &mut blocks::seeded::stream(seed, "test"))).collect();
        assert_eq!(said.iter().map(String::as_str).collect::<Vec<_>>(), ["the lorry", "the van"]);
    }
}
