//! What is asked of a labelled set, and how often.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which fixed questions. All but `phrases` need a completely labelled set; of others they ask nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Questions {
    /// Each class of which there is one thing, over a hundredth of the picture: "the dog".
    Names,
    /// The outermost of two or three of a class: "the dog on the left".
    Place,
    /// Every class of the set in every picture, whether it is there or not. Where there are several, the box around all
    /// of them. Left out where all that is there is hard to make out, where captions speak of what has no
    /// box, and where something else may be called so.
    Absence,
    /// Pairs: one thing by a known word, then by one of the synonyms of [`HELD_OUT`](super::nouns::HELD_OUT).
    Synonyms,
    /// Every phrase of every referent.
    Phrases,
}

/// What is asked. Weights say how often each kind is drawn among those that a picture can fairly answer; a kind of
/// weight 0 is never drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ask {
    /// People's own words.
    pub phrases: f64,
    /// "the dog", "the animal".
    pub names: f64,
    /// "the red car". Few boxes show a clear colour, so this weighs more than its share of questions.
    pub attributes: f64,
    /// "the dog on the left", "the middle dog".
    pub places: f64,
    /// "the second dog from the left".
    pub ordinals: f64,
    /// "the largest dog".
    pub sizes: f64,
    /// "the dog left of the bench".
    pub relations: f64,
    /// Share of people's phrases, 0..1, that are drawn from all that they said, also of what may mean something else in the
    /// picture as well ("another man"). Who said it meant one thing, and data sets measure all of it.
    pub unclear: f64,
    /// Share of questions about what is not there, 0..1.
    pub absent: f64,
    /// Share of those, 0..1, that ask for something much like what is there.
    pub near: f64,
    /// Whether the synonyms of [`HELD_OUT`](super::nouns::HELD_OUT) are never said.
    pub hold_out: bool,
    /// Least share of the picture, 0..1, that a thing must cover to be asked for; questions that smaller ones may answer
    /// are not fair.
    pub least_area: f64,
    /// What `example` asks of a picture follows from it.
    pub seed: u64,
    /// In place of all this: a fixed list of questions, one after the other, for measuring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub questions: Option<Questions>,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            phrases: 1.0,
            names: 0.3,
            attributes: 0.6,
            places: 0.2,
            ordinals: 0.1,
            sizes: 0.1,
            relations: 0.18,
            unclear: 0.0,
            absent: 0.2,
            near: 0.5,
            hold_out: false,
            least_area: 0.004,
            seed: 0,
            questions: None,
        }
    }
}

/// A kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Phrase,
    Name,
    Attribute,
    Place,
    Ordinal,
    Size,
    Relation,
}

impl Ask {
    /// With every key set, for strict reading.
    pub fn example() -> Self {
        Self { questions: Some(Questions::Names), ..Self::default() }
    }

    /// Kinds with their weights.
    pub(crate) fn weights(&self) -> [(Kind, f64); 7] {
        [
            (Kind::Phrase, self.phrases),
            (Kind::Name, self.names),
            (Kind::Attribute, self.attributes),
            (Kind::Place, self.places),
            (Kind::Ordinal, self.ordinals),
            (Kind::Size, self.sizes),
            (Kind::Relation, self.relations),
        ]
    }

    /// # Errors
    /// A weight that is no number from 0, a share that is not in 0..1; the first such key is named.
    pub fn check(&self) -> Result<()> {
        let keys = ["phrases", "names", "attributes", "places", "ordinals", "sizes", "relations"];
        let weights = keys.into_iter().zip(self.weights().map(|(_, weight)| weight));
        if let Some((key, weight)) = weights.clone().find(|(_, weight)| !(weight.is_finite() && *weight >= 0.0)) {
            return Err(Error::Unsupported(format!("`{key}` is {weight}, expected a weight from 0")));
        }
        if weights.map(|(_, weight)| weight).sum::<f64>() <= 0.0 && self.questions.is_none() {
            return Err(Error::Unsupported("all weights are 0, expected one kind of question that is asked".into()));
        }
        let shares =
            [("unclear", self.unclear), ("absent", self.absent), ("near", self.near), ("least_area", self.least_area)];
        match shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            Some((key, share)) => Err(Error::Unsupported(format!("`{key}` is {share}, expected a share from 0 to 1"))),
            None => Ok(()),
        }
    }
}
