//! Spotter.
