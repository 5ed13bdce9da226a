//! What was made lately, kept by what it was made of.

use std::sync::{Mutex, PoisonError};

/// The last few values that were asked for, by their keys.
pub struct Recent<K, V> {
    /// The latest first.
    kept: Mutex<Vec<(K, V)>>,
    most: usize,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    /// Keeps `most` values.
    pub fn new(most: usize) -> Self {
        Self { kept: Mutex::default(), most }
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
        kept.truncate(self.most);
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
}
