//! Tests on every vector unit.

use super::tile::Tile;
use super::vector::{FORCED, VectorUnit};

/// Runs a test's work with every unit that the processor has, on this thread, and with both tiles where there are two.
pub(super) fn on_each(mut work: impl FnMut(VectorUnit)) {
    for unit in VectorUnit::ALL.into_iter().filter(|unit| *unit <= VectorUnit::best()) {
        FORCED.set(Some(unit));
        work(unit);
        if unit == VectorUnit::Avx512 {
            for tile in [Tile::Two, Tile::One] {
                tile.set();
                work(unit);
            }
        }
    }
    FORCED.set(None);
}
