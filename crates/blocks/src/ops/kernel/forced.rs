//! Tests on every vector unit.

use std::cell::Cell;

use super::tile::Tile;
use super::vector::VectorUnit;

/// What kernels use instead of what they would choose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forced {
    pub(super) unit: VectorUnit,
    pub(super) tile: Tile,
}

thread_local! {
    /// Used on this thread.
    pub(super) static FORCED: Cell<Option<Forced>> = const { Cell::new(None) };
}

/// Runs a test's work with every unit that the processor has, and with both tiles where there are two: in a pool all of
/// whose threads are forced to them, so that tasks are too.
pub(super) fn on_each(mut work: impl FnMut(VectorUnit) + Send) {
    for unit in VectorUnit::ALL.into_iter().filter(|unit| unit.available()) {
        let tiles = if unit == VectorUnit::Avx512 { &[Tile::One, Tile::Two][..] } else { &[Tile::One] };
        for &tile in tiles {
            let forced = Forced { unit, tile };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).start_handler(move |_| FORCED.set(Some(forced)));
            pool.build().expect("threads").install(|| work(unit));
        }
    }
}

/// Tasks of a pool are forced as well as who starts them.
#[test]
fn tasks_use_what_is_forced() {
    use rayon::prelude::*;

    let mut seen = Vec::new();
    on_each(|unit| {
        let found: Vec<_> = (0..64).into_par_iter().map(|_| (VectorUnit::current(), Tile::current())).collect();
        assert!(found.iter().all(|(current, tile)| *current == unit && *tile == found[0].1), "{unit:?}: {found:?}");
        seen.push(found[0]);
    });
    let units = VectorUnit::ALL.into_iter().filter(|unit| unit.available());
    assert!(units.into_iter().all(|unit| seen.iter().any(|(current, _)| *current == unit)), "{seen:?}");
    let two = seen.contains(&(VectorUnit::Avx512, Tile::Two));
    assert_eq!(two, VectorUnit::Avx512.available(), "{seen:?}");
}
