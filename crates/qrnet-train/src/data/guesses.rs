//! What those get who do not look at a picture, or are deaf to the question.

use serde::{Deserialize, Serialize};

/// Acc@0.5 over the questions about things that are there, shares 0..1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Guesses {
    /// Questions about things that are there.
    pub present: usize,
    /// Of the mean box of what each list asks for, as shares of the picture.
    pub mean_box: f64,
    /// Of the whole picture.
    pub whole_picture: f64,
    /// Of the largest person; wrong where nobody is labelled.
    pub largest_person: f64,
    /// Of a labelled thing of the picture, at random.
    pub random_thing: f64,
}

impl Guesses {
    /// Of two sets of questions together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let present = self.present + other.present;
        let mean = |own: f64, others: f64| {
            let sum = own * self.present as f64 + others * other.present as f64;
            if present == 0 { 0.0 } else { sum / present as f64 }
        };
        Self {
            present,
            mean_box: mean(self.mean_box, other.mean_box),
            whole_picture: mean(self.whole_picture, other.whole_picture),
            largest_person: mean(self.largest_person, other.largest_person),
            random_thing: mean(self.random_thing, other.random_thing),
        }
    }

    /// What they are called, with their shares.
    pub fn named(&self) -> [(&'static str, f64); 4] {
        [
            ("the mean box", self.mean_box),
            ("the whole picture", self.whole_picture),
            ("the largest person", self.largest_person),
            ("a random labelled thing", self.random_thing),
        ]
    }
}
