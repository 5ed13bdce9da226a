//! Tests on every vector unit.

use super::bf16::Way;
use super::tile::Tile;
use super::vector::VectorUnit;

/// Runs a test's work with every unit that the processor has, with both tiles and both ways of bf16 where there are two: in a
/// pool all of whose threads are forced to them, so that tasks are too.
pub(super) fn on_each(mut work: impl FnMut(VectorUnit) + Send) {
    for unit in VectorUnit::ALL.into_iter().filter(|unit| unit.available()) {
        let tiles = if unit == VectorUnit::Avx512 { &[Tile::One, Tile::Two][..] } else { &[Tile::One] };
        for way in [Way::Wide, Way::Native].into_iter().filter(|way| way.available(unit)) {
            for &tile in tiles {
                let force = move |_| {
                    unit.force();
                    tile.force();
                    way.force();
                };
                let pool = rayon::ThreadPoolBuilder::new().num_threads(2).start_handler(force);
                pool.build().expect("threads").install(|| work(unit));
            }
        }
    }
}

/// Tasks of a pool are forced as well as who starts them.
#[test]
fn tasks_use_what_is_forced() {
    use rayon::prelude::*;

    let mut seen = Vec::new();
    on_each(|unit| {
        let found: Vec<_> =
            (0..64).into_par_iter().map(|_| (VectorUnit::current(), Tile::current(), Way::current())).collect();
        assert!(found.iter().all(|one| one.0 == unit && *one == found[0]), "{unit:?}: {found:?}");
        seen.push(found[0]);
    });
    let units = VectorUnit::ALL.into_iter().filter(|unit| unit.available());
    assert!(units.into_iter().all(|unit| seen.iter().any(|one| one.0 == unit)), "{seen:?}");
    let two = seen.iter().any(|one| (one.0, one.1) == (VectorUnit::Avx512, Tile::Two));
    assert_eq!(two, VectorUnit::Avx512.available(), "{seen:?}");
    let native = seen.iter().any(|one| one.2 == Way::Native);
    assert_eq!(native, Way::Native.available(VectorUnit::best()), "{seen:?}");
}
