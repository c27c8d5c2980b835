//! The log of snapshots: the only truth of an index in a bucket.
//!
//! Snapshot `n` is the object `snapshots/<n>.json`. It is put where there is none, by whoever read
//! `n - 1`, and that is the commit: of two that try, one loses and begins again on what the other
//! published. It is never rewritten; when nothing needs it any more, collecting garbage empties it,
//! and its name is never free again: a writer that slept through a day cannot put number 6 into a
//! world that is at 20. `latest.json` is a hint that may lag.

use super::entry::Entry;
use super::objects::{LATEST, Objects, Put};
use crate::error::StoreError;

/// Folder of the snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots/";

/// What stands under the number of a snapshot.
#[derive(Debug)]
pub(crate) enum Slot {
    /// Nothing yet.
    Free,
    /// There was one; nothing needs it any more.
    Emptied,
    /// A snapshot.
    Held(Box<Entry>),
}

/// The object of snapshot `number`.
pub(crate) fn name(number: u64) -> String {
    format!("{SNAPSHOTS}{number:020}.json")
}

/// The number of the snapshot whose object is called `name`.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(SNAPSHOTS)?.strip_suffix(".json")?.parse().ok()
}

/// What stands under `number`.
///
/// # Errors
/// [`StoreError::Bucket`], [`StoreError::Pointer`], [`StoreError::NewerFormat`], and
/// [`StoreError::DamagedFile`] for lists that are not as they were written.
pub(crate) async fn at(objects: &Objects, number: u64) -> Result<Slot, StoreError> {
    Ok(match without_lists(objects, number).await? {
        Slot::Held(entry) => Slot::Held(Box::new(entry.with_lists(objects).await?)),
        other => other,
    })
}

/// As [`at`], but a snapshot whose lists lie in objects of their own comes without their entries: it can be
/// asked for its files, and put as it was.
///
/// # Errors
/// As [`at`].
pub(crate) async fn without_lists(objects: &Objects, number: u64) -> Result<Slot, StoreError> {
    let name = name(number);
    Ok(match objects.get(&name).await? {
        None => Slot::Free,
        Some(bytes) if bytes.is_empty() => Slot::Emptied,
        Some(bytes) => {
            let entry = Entry::parse(&objects.path_of(&name), &bytes)?;
            if entry.snapshot.number != number {
                let what = "it is another snapshot than its name says";
                return Err(StoreError::Pointer { path: objects.path_of(&name), what });
            }
            Slot::Held(Box::new(entry))
        }
    })
}

/// The newest snapshot; `None` where there is no index.
///
/// # Errors
/// As [`at`].
pub(crate) async fn newest(objects: &Objects) -> Result<Option<Entry>, StoreError> {
    let mut first = hinted(objects).await?;
    loop {
        let begin = match first {
            Some(number) => number,
            None => match last_listed(objects).await? {
                Some(number) => number,
                None => return Ok(None),
            },
        };
        if let Some(entry) = newest_from(objects, begin).await? {
            return Ok(Some(entry));
        }
        if first.is_none() {
            // Of an index that is there, the newest is never empty.
            let what = "the newest snapshot is empty, which no program of ours leaves behind";
            return Err(StoreError::Pointer { path: objects.path_of(&name(begin)), what });
        }
        // A hint that nothing stands behind.
        first = None;
    }
}

/// The newest snapshot from `number` on; `None` when there is none.
///
/// # Errors
/// As [`at`].
pub(crate) async fn newest_from(
    objects: &Objects,
    mut number: u64,
) -> Result<Option<Entry>, StoreError> {
    let mut found: Option<Box<Entry>> = None;
    loop {
        match without_lists(objects, number).await? {
            Slot::Emptied => {
                number += 1;
                continue;
            }
            Slot::Held(entry) => {
                (found, number) = (Some(entry), number + 1);
                continue;
            }
            Slot::Free => {}
        }
        let Some(entry) = found.take() else { return Ok(None) };
        match entry.with_lists(objects).await {
            Ok(entry) => return Ok(Some(entry)),
            // Its lists may be swept away by now, if another was published meanwhile.
            Err(error) => {
                if matches!(without_lists(objects, number).await?, Slot::Free) {
                    return Err(error);
                }
            }
        }
    }
}

/// What `latest.json` says; `None` where it says nothing that can be read.
async fn hinted(objects: &Objects) -> Result<Option<u64>, StoreError> {
    let Some(bytes) = objects.get(LATEST).await? else { return Ok(None) };
    let hint: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    Ok(hint.and_then(|hint| hint.get("number")?.as_u64()).filter(|number| *number > 0))
}

async fn last_listed(objects: &Objects) -> Result<Option<u64>, StoreError> {
    let listed = objects.list(SNAPSHOTS).await?;
    Ok(listed.iter().filter_map(|object| number_of(&object.name)).max())
}

/// Publishes `entry` under its number. False when another took the number first.
///
/// # Errors
/// [`StoreError::Bucket`]; then it is not known whether it is published.
pub(crate) async fn publish(objects: &Objects, entry: &Entry) -> Result<bool, StoreError> {
    let number = entry.snapshot.number;
    let entry = entry.laid_out(objects).await?;
    match objects.put_new(&name(number), &entry.to_bytes()).await? {
        Put::Taken(_) => return Ok(false),
        Put::Done => {}
    }
    // A hint: who finds it behind goes on from there.
    let _ = hint(objects, number).await;
    Ok(true)
}

/// Writes the hint that `number` is the newest.
///
/// # Errors
/// [`StoreError::Bucket`].
pub(crate) async fn hint(objects: &Objects, number: u64) -> Result<(), StoreError> {
    objects.put(LATEST, format!("{{\"number\":{number}}}\n").into_bytes()).await
}

/// Empties snapshot `number`, which keeps its name taken.
///
/// # Errors
/// [`StoreError::Bucket`].
pub(crate) async fn empty(objects: &Objects, number: u64) -> Result<(), StoreError> {
    objects.put(&name(number), Vec::new()).await
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entry;
    use super::super::faults::{Faults, objects};
    use super::*;

    #[tokio::test]
    async fn the_newest_is_found_with_and_without_a_hint() {
        let objects = objects("log-newest", &Faults::default()).await;
        assert!(newest(&objects).await.unwrap().is_none());
        for number in 1..=5 {
            assert!(publish(&objects, &entry(number, "a")).await.unwrap());
        }
        let number = async || newest(&objects).await.unwrap().unwrap().snapshot.number;
        assert_eq!(number().await, 5);
        for hint in ["{\"number\":1}", "{\"number\":99}", "no JSON", "{\"number\":0}"] {
            objects.put(LATEST, hint.into()).await.unwrap();
            assert_eq!(number().await, 5, "{hint}");
        }
        for number in 1..=4 {
            empty(&objects, number).await.unwrap();
        }
        objects.remove(&[LATEST.into()]).await.unwrap();
        assert_eq!(number().await, 5);
        hint(&objects, 2).await.unwrap();
        assert_eq!(number().await, 5, "through empty ones");
    }

    #[tokio::test]
    async fn a_number_is_taken_once_and_never_free_again() {
        let objects = objects("log-once", &Faults::default()).await;
        assert!(publish(&objects, &entry(1, "a")).await.unwrap());
        assert!(publish(&objects, &entry(1, "a")).await.unwrap(), "our own, whose answer was lost");
        assert!(!publish(&objects, &entry(1, "b")).await.unwrap());
        empty(&objects, 1).await.unwrap();
        assert!(!publish(&objects, &entry(1, "b")).await.unwrap());
        assert!(!publish(&objects, &entry(1, "a")).await.unwrap());
    }

    #[tokio::test]
    async fn a_lost_answer_is_looked_into() {
        for (name, fault) in [("after", "after"), ("before", "before"), ("conflict", "conflict")] {
            let faults = Faults::default();
            let objects = objects(&format!("log-lost-{name}"), &faults).await;
            faults.at_put(1, fault);
            assert!(publish(&objects, &entry(1, "a")).await.unwrap(), "{name}");
            assert_eq!(newest(&objects).await.unwrap().unwrap().nonce, "a");
            // One that another took meanwhile is lost, whatever the store said.
            faults.at_put(1, fault);
            assert!(!publish(&objects, &entry(1, "b")).await.unwrap(), "{name}");
        }
    }

    #[tokio::test]
    async fn of_many_that_race_one_wins_each_number() {
        let objects = objects("log-race", &Faults::default()).await;
        for number in 1..=20 {
            let nonces: Vec<String> = (0..8).map(|n| format!("{n}")).collect();
            let put = nonces.iter().map(|nonce| {
                let (objects, entry) = (objects.clone(), entry(number, nonce));
                tokio::spawn(async move { publish(&objects, &entry).await.unwrap() })
            });
            let outcomes = futures::future::join_all(put.collect::<Vec<_>>()).await;
            let won = outcomes.into_iter().filter(|won| *won.as_ref().unwrap()).count();
            assert_eq!(won, 1, "number {number}");
        }
    }
}
