//! What was read from the tables lately. A page that answers one question often answers the next,
//! and reading a page from its table takes a millisecond or two.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use pagesight_core::PageId;

/// Values of the pages that were asked for last, as many as fit. Shared by threads.
pub(crate) struct Lately<V> {
    /// Bytes of all values.
    most: usize,
    kept: Mutex<Kept<V>>,
}

struct Kept<V> {
    /// Each with its bytes.
    values: LruCache<PageId, (V, usize)>,
    bytes: usize,
}

impl<V: Clone> Lately<V> {
    /// Keeps values of at most `most` bytes together.
    pub fn new(most: usize) -> Self {
        Self { most, kept: Mutex::new(Kept { values: LruCache::unbounded(), bytes: 0 }) }
    }

    /// The value of `page`.
    pub fn get(&self, page: PageId) -> Option<V> {
        self.lock().values.get(&page).map(|(value, _)| value.clone())
    }

    /// Keeps the value of `page`, which takes `bytes`; those that were not asked for longest go. One
    /// that is larger than all may be is not kept.
    pub fn keep(&self, page: PageId, value: V, bytes: usize) {
        if bytes > self.most {
            return;
        }
        let mut kept = self.lock();
        if let Some((_, before)) = kept.values.put(page, (value, bytes)) {
            kept.bytes -= before;
        }
        kept.bytes += bytes;
        while kept.bytes > self.most
            && let Some((_, (_, gone))) = kept.values.pop_lru()
        {
            kept.bytes -= gone;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept<V>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use pagesight_core::DocumentId;

    use super::*;

    fn page(number: u32) -> PageId {
        PageId { document: DocumentId([0; 32]), number }
    }

    #[test]
    fn what_was_not_asked_for_longest_goes_when_it_is_full() {
        let lately = Lately::new(10);
        lately.keep(page(1), 'a', 4);
        lately.keep(page(2), 'b', 4);
        assert_eq!(lately.get(page(1)), Some('a'));
        lately.keep(page(3), 'c', 6);
        let kept = |numbers: [u32; 3]| numbers.map(|number| lately.get(page(number)));
        assert_eq!(kept([1, 2, 3]), [Some('a'), None, Some('c')]);
        // The same page again takes the place of what was kept of it.
        lately.keep(page(3), 'd', 1);
        lately.keep(page(4), 'e', 5);
        assert_eq!(kept([1, 3, 4]), [Some('a'), Some('d'), Some('e')]);
        lately.keep(page(5), 'f', 11);
        assert_eq!(kept([5, 1, 3]), [None, Some('a'), Some('d')]);
    }
}
