//! Objects that never change and are read again and again, kept in memory: the manifests and lists that one
//! snapshot has in common with the next.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

/// What is kept, bytes: the manifests and lists of an index of some hundred million pages.
const MOST_BYTES: usize = 128 << 20;

/// And how many objects.
const MOST: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Objects by their name and BLAKE3, those that were asked for last.
pub(crate) struct Kept(Mutex<Contents>);

/// What objects have, by their names and hashes.
type Contents = LruCache<(String, String), Arc<[u8]>>;

impl Default for Kept {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }
}

impl Kept {
    /// The bytes of `name` with this hash.
    pub fn get(&self, name: &str, blake3: &str) -> Option<Arc<[u8]>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&(name.to_string(), blake3.to_string())).cloned()
    }

    /// Keeps `bytes`, whose hash was compared.
    pub fn keep(&self, name: &str, blake3: &str, bytes: &Arc<[u8]>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.put((name.to_string(), blake3.to_string()), Arc::clone(bytes));
        while kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > MOST_BYTES {
            kept.pop_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_longest_goes_when_there_is_too_much() {
        let kept = Kept::default();
        let large: Arc<[u8]> = vec![7; MOST_BYTES / 2].into();
        for name in ["a", "b"] {
            kept.keep(name, "hash", &large);
        }
        assert!(kept.get("a", "hash").is_some() && kept.get("a", "another").is_none());
        kept.keep("c", "hash", &large);
        let is_there = |name| kept.get(name, "hash").is_some();
        assert_eq!(["a", "b", "c"].map(is_there), [true, false, true]);
        kept.keep("d", "hash", &vec![7; MOST_BYTES + 1].into());
        assert!(!is_there("d"));
    }
}
