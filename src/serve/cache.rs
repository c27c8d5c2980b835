//! Encoded pictures and maps, kept while there is room: those that were not asked for longest go.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::problem::Problem;

/// An encoded picture.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub bytes: Bytes,
    /// Its media type.
    pub kind: &'static str,
    pub width_px: u32,
    pub height_px: u32,
}

/// Encoded pictures by what they show.
#[derive(Debug)]
pub struct Cache {
    most_bytes: usize,
    kept: Mutex<Kept>,
    /// One lock for each that is being made: the same asked ten times at once is made once.
    making: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<String, (Encoded, u64)>,
    by_use: BTreeMap<u64, String>,
    uses: u64,
    bytes: usize,
}

/// What an entry costs beside its bytes, about.
const OVERHEAD: usize = 300;

impl Cache {
    /// Keeps up to `most_bytes`.
    pub fn new(most_bytes: usize) -> Self {
        Self { most_bytes, kept: Mutex::default(), making: Mutex::default() }
    }

    /// What is kept, bytes.
    pub fn bytes(&self) -> usize {
        locked(&self.kept).bytes
    }

    /// The picture of `key`, made by `make` when it is not there. `kind` is for the metrics.
    ///
    /// # Errors
    /// What `make` says; that is not kept.
    pub async fn get_or_make(
        &self,
        kind: &'static str,
        key: &str,
        make: impl Future<Output = Result<Encoded, Problem>>,
    ) -> Result<Encoded, Problem> {
        let count = |hit: &'static str| {
            let name = "pagesight_cache_requests_total";
            metrics::counter!(name, "kind" => kind, "hit" => hit).increment(1);
        };
        if let Some(found) = self.get(key) {
            count("true");
            return Ok(found);
        }
        let lock = Arc::clone(locked(&self.making).entry(key.into()).or_default());
        let made = {
            let _making = lock.lock().await;
            match self.get(key) {
                Some(found) => {
                    count("true");
                    Ok(found)
                }
                None => {
                    count("false");
                    let made = make.await;
                    if let Ok(made) = &made {
                        self.keep(key, made.clone());
                    }
                    made
                }
            }
        };
        // The last of those who wait takes the lock away.
        let mut making = locked(&self.making);
        if Arc::strong_count(&lock) <= 2 {
            making.remove(key);
        }
        made
    }

    fn get(&self, key: &str) -> Option<Encoded> {
        let mut kept = locked(&self.kept);
        kept.uses += 1;
        let now = kept.uses;
        let (found, used) = kept.by_key.get_mut(key)?;
        let (found, before) = (found.clone(), std::mem::replace(used, now));
        kept.by_use.remove(&before);
        kept.by_use.insert(now, key.into());
        Some(found)
    }

    fn keep(&self, key: &str, made: Encoded) {
        let size = made.bytes.len() + key.len() + OVERHEAD;
        if size > self.most_bytes {
            return;
        }
        let mut kept = locked(&self.kept);
        kept.uses += 1;
        let now = kept.uses;
        if let Some((old, used)) = kept.by_key.insert(key.into(), (made, now)) {
            kept.bytes -= old.bytes.len() + key.len() + OVERHEAD;
            kept.by_use.remove(&used);
        }
        kept.by_use.insert(now, key.into());
        kept.bytes += size;
        while kept.bytes > self.most_bytes {
            let Some((_, oldest)) = kept.by_use.pop_first() else { break };
            if let Some((gone, _)) = kept.by_key.remove(&oldest) {
                kept.bytes -= gone.bytes.len() + oldest.len() + OVERHEAD;
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn encoded(bytes: usize) -> Encoded {
        let bytes = Bytes::from(vec![0; bytes]);
        Encoded { bytes, kind: "image/png", width_px: 1, height_px: 1 }
    }

    #[tokio::test]
    async fn what_is_asked_at_once_is_made_once_and_the_oldest_goes() {
        let cache = Arc::new(Cache::new(3000));
        let made = Arc::new(AtomicUsize::new(0));
        let asked: Vec<_> = (0..10)
            .map(|_| {
                let (cache, made) = (Arc::clone(&cache), Arc::clone(&made));
                tokio::spawn(async move {
                    let make = async {
                        made.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        Ok(encoded(500))
                    };
                    cache.get_or_make("image", "a", make).await.unwrap().bytes.len()
                })
            })
            .collect();
        for one in asked {
            assert_eq!(one.await.unwrap(), 500);
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
        assert!(locked(&cache.making).is_empty());
        let ask = |key: &'static str| cache.get_or_make("image", key, async { Ok(encoded(1000)) });
        ask("b").await.unwrap();
        assert!(cache.get("a").is_some());
        ask("c").await.unwrap();
        // `b` was not asked for longest.
        assert!(cache.get("b").is_none() && cache.get("a").is_some() && cache.get("c").is_some());
        assert!(cache.bytes() <= 3000);
        let failed = cache.get_or_make("image", "d", async { Err(Problem::internal("no")) }).await;
        assert!(failed.is_err() && cache.get("d").is_none());
    }
}
