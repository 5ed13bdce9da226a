//! The readers of labelled pictures, on small data sets in the real layout of each format.

mod edges;
mod faults;
mod formats;
mod measured;
mod sources;
mod trees;
