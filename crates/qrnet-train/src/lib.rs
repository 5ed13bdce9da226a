//! Training and evaluation of QRNet: losses, metric, optimiser, schedule; data sets and the loop come next.
//!
//! This crate depends on `qrnet` and on no GStreamer; video will come in through a trait that the program implements.

pub mod boxes;
pub mod loss;
pub mod optim;
pub mod schedule;
