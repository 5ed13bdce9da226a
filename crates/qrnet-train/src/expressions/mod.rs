//! Questions about labelled pictures: boxes with class names, people's phrases and captions become examples of
//! (picture, phrase, box or absent).
//!
//! A question has exactly one right answer, or there is proof that what it asks for is not there. What is small or hard to
//! make out is never asked for, and spoils every question that it might answer. The [`nouns`] say what else a thing is
//! called, and what a word might mean, too.

mod absent;
mod asked;
mod colours;
pub(crate) mod grammar;
mod guesses;
mod known;
pub mod nouns;
mod paint;
mod present;
pub mod questions;
mod settings;
mod vocabulary;

pub use asked::Asked;
pub use questions::{Question, Questions};
pub use settings::Ask;
