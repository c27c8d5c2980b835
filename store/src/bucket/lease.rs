//! A reader's hold on its snapshot in a bucket: an object that says which snapshot it reads, put again
//! before it is too old to count.
//!
//! A reader puts its lease and then reads its snapshot again; who collects garbage empties a snapshot,
//! then lists the leases again, and only then removes what it needed. So one of the two sees the
//! other. How old a lease is, is said by the store's clock alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::log::{self, Slot};
use super::objects::Objects;
use super::random;
use crate::error::StoreError;
use crate::runtime::runtime;

/// Folder of the leases.
pub(crate) const LEASES: &str = "leases/";

/// How long a lease counts, seconds, unless whoever collects garbage says otherwise.
const LIFE_S: u64 = 600;

/// How often a snapshot is looked for that is not swept away meanwhile.
const ATTEMPTS: u32 = 20;

/// What stands in a lease.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub snapshot: u64,
    pub expires_s: u64,
}

/// Held while a snapshot is read.
pub(crate) struct BucketLease {
    objects: Objects,
    name: String,
    held: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl BucketLease {
    /// Finds the newest snapshot and holds it.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is no index; what cannot be read or put.
    pub async fn take(objects: &Objects) -> Result<(Entry, Self), StoreError> {
        let lease = Self {
            objects: objects.clone(),
            name: format!("{LEASES}{}.json", random()),
            held: Arc::default(),
            over: Arc::default(),
        };
        let entry = lease.hold_newest().await?;
        lease.renew();
        Ok((entry, lease))
    }

    async fn hold_newest(&self) -> Result<Entry, StoreError> {
        for _ in 0..ATTEMPTS {
            let newest = log::newest(&self.objects).await?;
            let missing = || StoreError::Missing { path: self.objects.shown() };
            let number = newest.ok_or_else(missing)?.snapshot.number;
            self.held.store(number, Ordering::Relaxed);
            put(&self.objects, &self.name, number).await?;
            if let Slot::Held(entry) = log::at(&self.objects, number).await? {
                return Ok(*entry);
            }
        }
        let what = "its snapshots are swept away faster than they can be opened";
        Err(StoreError::Pointer { path: self.objects.shown(), what })
    }

    /// Puts the lease again at a third of its life, until it is dropped.
    fn renew(&self) {
        let Ok(runtime) = runtime() else { return };
        let (objects, name) = (self.objects.clone(), self.name.clone());
        let (held, over) = (Arc::clone(&self.held), Arc::clone(&self.over));
        runtime.spawn(async move {
            let mut seconds = 0;
            while !over.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                seconds += 1;
                if seconds >= LIFE_S / 3 && !over.load(Ordering::Relaxed) {
                    seconds = 0;
                    // One that cannot be put is put at the next turn, which is in time still.
                    let _ = put(&objects, &name, held.load(Ordering::Relaxed)).await;
                }
            }
        });
    }
}

impl Drop for BucketLease {
    /// Empties the lease: it needs no right to remove objects, and what is empty holds nothing.
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let (objects, name) = (self.objects.clone(), self.name.clone());
        // A process that ends does not wait for it longer than a moment; the lease runs out then.
        let _ = crate::runtime::wait(async move {
            let emptied = objects.put(&name, Vec::new());
            let _ = tokio::time::timeout(Duration::from_secs(2), emptied).await;
            Ok(())
        });
    }
}

async fn put(objects: &Objects, name: &str, snapshot: u64) -> Result<(), StoreError> {
    let held = Held { snapshot, expires_s: LIFE_S };
    objects.put(name, serde_json::to_vec(&held).expect("two numbers")).await
}
