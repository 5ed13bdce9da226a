//! Training and evaluation of QRNet: data sets, losses, metric, optimiser, schedule, the loop.
//!
//! This crate depends on `qrnet` and on no GStreamer; video comes in through a trait that the program implements.

pub mod augment;
pub mod batch;
pub mod boxes;
pub mod checkpoint;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod expressions;
pub mod features;
pub mod feed;
pub mod log;
pub mod loss;
pub mod meter;
pub mod metrics;
pub mod objective;
pub mod optim;
pub mod recipe;
mod scalar;
pub mod scenes;
pub mod schedule;
pub mod start;
pub mod trainer;

pub use error::{Error, Result};
