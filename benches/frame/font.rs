//! What charts are lettered in.

use plotters::style::{FontStyle, register_font};

/// What charts are lettered in.
pub(crate) const FONT: &str = "bench-sans";

/// Makes [`FONT`] known.
pub(crate) fn font() -> Result<(), &'static str> {
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the font")
}
