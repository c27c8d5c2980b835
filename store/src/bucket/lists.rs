//! The long lists of a snapshot: the segments of its words, and the names of its files of codes.
//!
//! Both grow by one entry a part, some 140 bytes together: an index of a hundred million pages has fifty
//! thousand parts. While they are short they stand in the snapshot itself, which is then one request and of
//! a format that earlier programs read. When they are long they lie in objects of their own, some thousand
//! entries each, which snapshots share as long as they have the same entries in the same order.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::objects::Objects;
use crate::error::StoreError;

/// Folder of the lists.
pub(crate) const LISTS: &str = "lists/";

/// Lists that have no more bytes together stand in the snapshot.
pub(super) const INLINE: usize = 256 << 10;

/// Entries of one object; of words that is half a megabyte.
const MOST_ENTRIES: usize = 5_000;

/// An object with fewer entries is written anew together with those beside it, unless it has all.
const FEW_ENTRIES: usize = MOST_ENTRIES / 4;

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Segments of words, as tantivy describes them.
    Words,
    /// Names of files of codes, the oldest first.
    Codes,
}

/// A list, and how it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListMark {
    /// What it is of.
    pub of: Kind,
    /// The object, below the prefix.
    pub name: String,
    pub bytes: u64,
    pub blake3: String,
    pub entries: usize,
}

/// The entries of all lists `marks` of a kind, one after another.
///
/// # Errors
/// [`StoreError::Bucket`], and [`StoreError::DamagedFile`] for a list that is not as it was written.
pub(crate) async fn read(
    objects: &Objects,
    marks: &[ListMark],
    of: Kind,
) -> Result<Vec<Value>, StoreError> {
    let mut entries = Vec::new();
    for mark in marks.iter().filter(|mark| mark.of == of) {
        entries.extend(read_one(objects, mark).await?);
    }
    Ok(entries)
}

async fn read_one(objects: &Objects, mark: &ListMark) -> Result<Vec<Value>, StoreError> {
    let path = objects.path_of(&mark.name);
    let damaged = |what: &str| StoreError::DamagedFile { path: path.clone(), what: what.into() };
    if !mark.name.starts_with(LISTS) || mark.name.contains("..") {
        return Err(damaged("a list has another name"));
    }
    let bytes = objects.get_marked(&mark.name, mark.bytes, &mark.blake3).await?;
    let entries: Vec<Value> =
        serde_json::from_slice(&bytes).map_err(|_| damaged("it does not parse"))?;
    if entries.len() == mark.entries {
        Ok(entries)
    } else {
        Err(damaged("it has another number of entries"))
    }
}

/// Writes lists of a kind for a snapshot `number` that has `wanted`. Those `before` that have the same
/// entries in a row are taken over; new ones have the others.
///
/// # Errors
/// As [`read`].
pub(crate) async fn write(
    objects: &Objects,
    number: u64,
    before: &[ListMark],
    (of, wanted): (Kind, &[Value]),
) -> Result<Vec<ListMark>, StoreError> {
    // By the first entry: none is there twice.
    let mut known: HashMap<String, (&ListMark, Vec<Value>)> = HashMap::new();
    for mark in before.iter().filter(|mark| mark.of == of && mark.entries >= FEW_ENTRIES) {
        let entries = read_one(objects, mark).await?;
        known.insert(entries[0].to_string(), (mark, entries));
    }
    let (mut marks, mut new, mut at) = (Vec::new(), Vec::new(), 0);
    while at < wanted.len() {
        let same = known.get(&wanted[at].to_string());
        match same.filter(|(_, entries)| wanted[at..].starts_with(entries)) {
            Some((mark, entries)) => {
                put(objects, number, of, &mut new, &mut marks).await?;
                marks.push((*mark).clone());
                at += entries.len();
            }
            None => {
                new.push(&wanted[at]);
                at += 1;
            }
        }
    }
    put(objects, number, of, &mut new, &mut marks).await?;
    Ok(marks)
}

/// Puts the entries `new` and says so in `marks`.
async fn put(
    objects: &Objects,
    number: u64,
    of: Kind,
    new: &mut Vec<&Value>,
    marks: &mut Vec<ListMark>,
) -> Result<(), StoreError> {
    for entries in std::mem::take(new).chunks(MOST_ENTRIES) {
        let bytes = serde_json::to_vec(entries).expect("plain data");
        let mark = ListMark {
            of,
            name: format!("{LISTS}{number}-{}.json", super::random()),
            bytes: bytes.len() as u64,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
            entries: entries.len(),
        };
        objects.put(&mark.name, bytes).await?;
        marks.push(mark);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::faults::{Faults, objects};
    use super::*;

    fn entries(range: std::ops::Range<usize>) -> Vec<Value> {
        range.map(|n| Value::from(format!("{n:016x}-0-0-aa.codes"))).collect()
    }

    #[tokio::test]
    async fn lists_are_shared_where_entries_follow_each_other_as_before() {
        let objects = objects("lists", &Faults::default()).await;
        let mut before: Vec<ListMark> = Vec::new();
        let mut write = async |number, wanted: &[Value]| {
            let marks = write(&objects, number, &before, (Kind::Codes, wanted)).await.unwrap();
            assert_eq!(read(&objects, &marks, Kind::Codes).await.unwrap(), wanted);
            assert!(read(&objects, &marks, Kind::Words).await.unwrap().is_empty());
            let same = marks.iter().filter(|mark| before.contains(mark)).count();
            before = marks;
            (same, before.len() - same)
        };
        assert_eq!(write(1, &entries(0..12_000)).await, (0, 3));
        assert_eq!(write(2, &entries(0..12_000)).await, (3, 0));
        // One is added: to the last, which has few beside the others.
        assert_eq!(write(3, &entries(0..12_001)).await, (3, 1));
        assert_eq!(write(4, &entries(0..12_002)).await, (3, 1));
        // Some in the middle are joined: what is before and behind stays.
        let mut joined = entries(0..12_002);
        joined.splice(6000..6100, entries(50_000..50_001));
        assert_eq!(write(5, &joined).await, (2, 2));
        // The first is gone.
        assert_eq!(write(6, &joined[1..]).await, (2, 2));
        assert_eq!(write(7, &[]).await, (0, 0));
    }

    #[tokio::test]
    async fn a_damaged_list_is_named() {
        let objects = objects("lists-damaged", &Faults::default()).await;
        let marks = write(&objects, 1, &[], (Kind::Words, &entries(0..7))).await.unwrap();
        objects.put(&marks[0].name, b"[]".to_vec()).await.unwrap();
        let error = read(&objects, &marks, Kind::Words).await.unwrap_err();
        assert!(matches!(error, StoreError::DamagedFile { .. }), "{error}");
        let elsewhere = ListMark { name: "lists/../snapshots/1.json".into(), ..marks[0].clone() };
        assert!(read(&objects, &[elsewhere], Kind::Words).await.is_err());
    }
}
