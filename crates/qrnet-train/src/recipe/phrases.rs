//! Other words for the same: people will not ask as the labels do.

use std::collections::BTreeSet;

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

    /// Every word of `phrases` and of the groups, once, in alphabetical order.
    pub fn words<'a>(&'a self, phrases: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let groups = self.alike.iter().flatten().map(String::as_str);
        phrases.chain(groups).flat_map(words).map(str::to_lowercase).collect()
    }

    /// `phrase` in other words, in lower case.
    pub fn reworded(&self, phrase: &str, rng: &mut ChaCha8Rng) -> String {
        let lower = phrase.to_lowercase();
        let said: Vec<&str> = words(&lower).collect();
        let mut out: Vec<&str> = Vec::with_capacity(said.len());
        let mut at = 0;
        while at < said.len() {
            let (taken, others) = self.group_at(&said[at..]);
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
            if may_go > 0 && rng.random_bool(self.forget) {
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

    /// The longest member of a group that `said` begins with: how many words it has, and its group.
    fn group_at(&self, said: &[&str]) -> (usize, Option<&[String]>) {
        let begins = |member: &str| {
            let count = words(member).count();
            (count <= said.len() && words(member).eq(said[..count].iter().copied())).then_some(count)
        };
        let found = self.alike.iter().flat_map(|group| group.iter().filter_map(move |m| Some((begins(m)?, group))));
        let longest = found.max_by_key(|(count, _)| *count);
        longest.map_or((1, None), |(count, group)| (count, Some(group)))
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
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
            let mut rng = qrnet::init::stream(seed, "test");
            seen.insert(phrases().reworded("The woman in dark blue", &mut rng));
        }
        let wanted = ["the lady in dark blue", "the lady in navy", "the woman in dark blue", "the woman in navy"];
        assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn at_most_half_is_forgotten() {
        let forgetful = Phrases { forget: 0.49, ..Phrases::default() };
        for seed in 0..200 {
            let mut rng = qrnet::init::stream(seed, "test");
            let phrase = forgetful.reworded("a b c d e", &mut rng);
            let known = phrase.split(' ').filter(|word| *word != UNHEARD).count();
            assert!((3..=5).contains(&known), "{phrase}");
        }
    }

    #[test]
    fn learns_words_once() {
        let words = phrases().words(["Woman, in Black", "the woman"].into_iter());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(words, ["black", "blue", "dark", "in", "lady", "navy", "the", "woman"]);
    }
}
