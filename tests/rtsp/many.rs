//! Several streams on one model.
