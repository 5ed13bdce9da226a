//! Training and evaluation of QRNet: data sets, augmentation, losses, optimiser, schedule, checkpoints.
//!
//! Nothing of it is here yet but its place: this crate depends on `qrnet` and on no GStreamer; video will come in through
//! a trait that the program implements.
