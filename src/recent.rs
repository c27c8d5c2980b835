//! What was made lately, kept because it is likely to be asked for again.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The values that were used last, at most as many as it was made for. Shared by threads.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    most: usize,
    /// The one that was used last comes last.
    kept: Mutex<Vec<(K, V)>>,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    /// Keeps `most` values.
    pub fn new(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        let mut kept = self.lock();
        let at = kept.iter().rposition(|(known, _)| known == key)?;
        let found = kept.remove(at);
        let value = found.1.clone();
        kept.push(found);
        Some(value)
    }

    /// Keeps `value`; the one that was not used for longest goes.
    pub fn keep(&self, key: K, value: V) {
        let mut kept = self.lock();
        kept.retain(|(known, _)| *known != key);
        kept.push((key, value));
        let surplus = kept.len().saturating_sub(self.most);
        kept.drain(..surplus);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(K, V)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let recent = Recent::new(2);
        recent.keep("a", 1);
        recent.keep("b", 2);
        assert_eq!(recent.get(&"a"), Some(1));
        recent.keep("c", 3);
        assert_eq!(
            (recent.get(&"b"), recent.get(&"a"), recent.get(&"c")),
            (None, Some(1), Some(3))
        );
        recent.keep("c", 4);
        assert_eq!((recent.get(&"c"), recent.get(&"a")), (Some(4), Some(1)));
    }
}
