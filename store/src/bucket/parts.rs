//! All that workers laid down of a plan.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};

use super::objects::Objects;
use super::record::{self, Part, Plan};
use crate::error::StoreError;

/// Objects read at once.
const READ: usize = 32;

/// All that workers laid down of a plan, shard by shard.
pub(crate) struct Parts {
    pub all: Vec<Part>,
    /// Shards that are not done.
    pub open: Vec<usize>,
}

impl Parts {
    pub async fn read(objects: &Objects, plan: &Plan) -> Result<Self, StoreError> {
        let listed = objects.list(&format!("{}{}/parts/", record::PLANS, plan.id)).await?;
        let place = |name: &str| {
            let file = name.rsplit('/').next()?.strip_suffix(".json")?;
            let (shard, seq) = file.split_once('-')?;
            Some((shard.parse::<usize>().ok()?, seq.parse::<u64>().ok()?))
        };
        let mut places: Vec<(usize, u64)> =
            listed.iter().filter_map(|object| place(&object.name)).collect();
        places.sort_unstable();
        let mut reading = Vec::with_capacity(places.len());
        for &(shard, seq) in &places {
            reading.push(Part::read(objects, &plan.id, shard, seq));
        }
        let read = futures::stream::iter(reading).buffered(READ);
        let read: Vec<Option<Part>> = read.try_collect().await?;
        let mut all: Vec<Part> = Vec::new();
        for part in read.into_iter().flatten() {
            // One after a hole is of nobody that went on after the one before.
            let next = all.last().filter(|last| last.shard == part.shard).map_or(0, |l| l.seq + 1);
            if part.seq == next {
                all.push(part);
            }
        }
        let done: BTreeSet<usize> =
            all.iter().filter(|part| part.done).map(|part| part.shard).collect();
        let open = (0..plan.shards).filter(|shard| !done.contains(shard)).collect();
        Ok(Self { all, open })
    }

    pub fn paths(&self) -> BTreeSet<&str> {
        self.all.iter().flat_map(|part| &part.documents).map(|record| &*record.path).collect()
    }

    pub fn documents(&self) -> u64 {
        let ids = self.all.iter().flat_map(|part| &part.documents);
        ids.map(|record| &record.path).collect::<BTreeSet<_>>().len() as u64
    }

    pub fn pages(&self) -> u64 {
        self.all.iter().flat_map(|part| part.pages.values()).sum()
    }

    /// Makes sure that every file of `parts` is there as it was put.
    pub async fn check_files(&self, objects: &Objects, id: &str) -> Result<(), StoreError> {
        let mut there: BTreeMap<String, u64> = BTreeMap::new();
        for folder in ["pages.lance/data/", "codes/", "text/"] {
            let listed = objects.list(&format!("{folder}{id}-")).await?;
            there.extend(listed.into_iter().map(|object| (object.name, object.bytes)));
        }
        for part in &self.all {
            for (name, mark) in &part.files {
                if there.get(name) != Some(&mark.bytes) {
                    let state = if there.contains_key(name) { "short" } else { "gone" };
                    let what = format!(
                        "cannot be committed: file {name} of shard {} is {state}",
                        part.shard
                    );
                    return Err(StoreError::Plan { plan: id.into(), what });
                }
            }
        }
        Ok(())
    }
}
