//! Spotter finds what a sentence describes in a moving picture.
//!
//! The program's library: a GStreamer source hands decoded frames to the grounding [`stage`], which runs QRNet against a
//! query compiled once; [`records::track`] makes claims of its measurements over time; they leave as JSON Lines ([`records`]), as
//! metadata on the frames' own buffers ([`frames::meta`]), and drawn on the picture ([`frames::overlay`]) in an output pipeline
//! ([`sink`]). ARCHITECTURE.md follows one frame from source to sink.

mod batch;
pub mod cli;
mod clock;
pub mod config;
mod database;
pub mod error;
pub mod heap;
mod limits;
pub mod logging;
mod models;
mod mp4_boxes;
pub mod notify;
pub mod page;
pub mod pipeline;
pub mod profile;
mod recent;
pub mod run;
pub mod secrets;
pub mod service;
pub mod sightings;
mod signals;
pub mod sink;
pub mod source;
pub mod stage;
mod threads;
pub mod verbs;

pub use error::{Error, Result};
