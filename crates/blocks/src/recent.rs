//! What was made lately, kept by what it was made of.

use std::sync::{Mutex, PoisonError};

/// The last values that were asked for, by their keys.
pub struct Recent<K, V> {
    /// The latest first.
    kept: Mutex<Vec<(K, V)>>,
    most: usize,
    weigh: fn(&V) -> usize,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    /// Keeps `most` values.
    pub fn new(most: usize) -> Self {
        Self::by_weight(most, |_| 1)
    }

    /// Keeps as many as weigh `most` together, and the latest in any case.
    pub fn by_weight(most: usize, weigh: fn(&V) -> usize) -> Self {
        Self { kept: Mutex::default(), most, weigh }
    }

    /// The value of `key`, kept or made now.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn get_or_make<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut kept = kept();
            if let Some(place) = kept.iter().position(|(own, _)| *own == key) {
                kept[..=place].rotate_right(1);
                return Ok(kept[0].1.clone());
            }
        }
        // Made without the lock: threads that compute may be lent to others who want it meanwhile.
        let made = make()?;
        let mut kept = kept();
        kept.insert(0, (key, made.clone()));
        let mut weight = 0;
        let fits = kept.iter().take_while(|(_, value)| {
            weight += (self.weigh)(value);
            weight <= self.most
        });
        let count = fits.count().max(1);
        kept.truncate(count);
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_longest_ago_goes_first() {
        let recent = Recent::new(2);
        let made = std::cell::RefCell::new(Vec::new());
        let get = |key: usize| {
            recent.get_or_make(key, || {
                made.borrow_mut().push(key);
                Ok::<_, ()>(10 * key)
            })
        };
        for key in [1, 2, 1, 3, 1, 2] {
            assert_eq!(get(key), Ok(10 * key));
        }
        assert_eq!(*made.borrow(), [1, 2, 3, 2]);
        assert_eq!(recent.get_or_make(4, || Err("broken")), Err("broken"));
        assert_eq!(recent.get_or_make(4, || Ok::<_, ()>(5)), Ok(5));
    }

    #[test]
    fn heavy_ones_push_out_many_and_light_ones_none() {
        let recent = Recent::by_weight(100, |weight: &usize| *weight);
        let made = std::cell::Cell::new(0);
        let get = |key: usize, weight: usize| {
            recent.get_or_make(key, || {
                made.set(made.get() + 1);
                Ok::<_, ()>(weight)
            })
        };
        // In turns, more than a fixed count of them would be: all stay.
        for key in (0..100).chain(0..100) {
            assert_eq!(get(key, 1), Ok(1));
        }
        assert_eq!(made.get(), 100);
        assert_eq!(get(100, 1000), Ok(1000), "one that is too heavy is made");
        assert_eq!((get(100, 1000), made.get()), (Ok(1000), 101), "and kept");
        assert_eq!((get(7, 1), made.get()), (Ok(1), 102), "alone");
    }
}
