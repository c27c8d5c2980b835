//! Garbage in a bucket: what neither the newest snapshot needs, nor a young one, nor one that a
//! reader holds, nor an open plan.
//!
//! Nobody is locked out. What is to go is listed first; then a snapshot is published that changes
//! nothing. It is a fence: whoever was about to commit on the former one loses its number, and
//! writes its files anew, under other names. Only what was listed before the fence is removed after
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::coder::CODERS;
use super::commit::now_s;
use super::entry::{Closed, Entry};
use super::lease::{Held, LEASES};
use super::log::{self, SNAPSHOTS, Slot};
use super::objects::{LATEST, Listed, Objects, TRIAL_NAME};
use super::record::{self, plan_of};
use super::{join, random};
use crate::error::StoreError;
use crate::lance::detached::TablePlace;

/// How often it begins again when others publish.
const ATTEMPTS: u32 = 100;

/// How long the log remembers of a plan that it was committed.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is kept for how long.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Keeping {
    /// Snapshots that are younger stay, with all that they need.
    pub keep: Duration,
    /// Leases that are older do not count: their readers were killed.
    pub lease: Duration,
    /// An open plan that is given up.
    pub abandon: Option<String>,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { keep: Duration::from_secs(3600), lease: Duration::from_secs(600), abandon: None }
    }
}

/// What a collection of garbage in a bucket removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Objects removed.
    pub files: u64,
    /// Their sizes, bytes.
    pub bytes: u64,
    /// Older snapshots that readers hold.
    pub held: u64,
    /// Plans that are not committed yet.
    pub open_plans: u64,
    /// Many small files of words, codes or the ledger were made few.
    pub joined: bool,
}

/// Joins small files, and removes what nothing needs.
///
/// # Errors
/// [`StoreError::Conditions`], [`StoreError::Plan`] for one that cannot be abandoned; what cannot be
/// read, put or removed. Nothing that is needed is removed, whatever fails.
pub(crate) async fn collect(
    objects: &Objects,
    tables: &TablePlace,
    keeping: &Keeping,
    scratch: &Path,
) -> Result<Swept, StoreError> {
    objects.try_conditions().await?;
    // Snapshots have most of their manifests in common.
    let objects = &objects.clone().remembering();
    if let Some(id) = &keeping.abandon {
        record::read_plan(objects, id).await?;
    }
    let missing = || StoreError::Missing { path: objects.shown() };
    let newest = log::newest(objects).await?.ok_or_else(missing)?;
    // What cannot be joined now stays as it is: garbage is collected all the same.
    let joined = join::join((objects, tables), &newest, scratch).await.ok().flatten();
    for _ in 0..ATTEMPTS {
        let newest = log::newest(objects).await?.ok_or_else(missing)?;
        if let Some(swept) = attempt(objects, tables, keeping, newest).await? {
            return Ok(Swept { joined: joined.is_some(), ..swept });
        }
    }
    let what = "others publish faster than garbage can be collected: try again";
    Err(StoreError::Pointer { path: objects.shown(), what })
}

/// One attempt after the snapshot `newest`; `None` when another took the next number.
async fn attempt(
    objects: &Objects,
    tables: &TablePlace,
    keeping: &Keeping,
    newest: Entry,
) -> Result<Option<Swept>, StoreError> {
    // Lance's own line holds the newest rows, so that what it needs is needed anyway.
    bring_up(tables, &newest).await;
    log::hint(objects, newest.snapshot.number).await?;
    let now = objects.modified(LATEST).await?.unwrap_or(SystemTime::UNIX_EPOCH);
    let listed = objects.list("").await?;
    let age = |object: &Listed| now.duration_since(object.modified).unwrap_or_default();

    // The fence.
    let mut fence = newest.clone();
    fence.snapshot.number += 1;
    fence.snapshot.created_s = now_s();
    fence.nonce = random();
    if let Some(id) = &keeping.abandon {
        abandon(&mut fence, id, &listed)?;
    }
    let modified: BTreeMap<u64, Duration> = listed
        .iter()
        .filter_map(|object| Some((log::number_of(&object.name)?, age(object))))
        .collect();
    fence.plans.retain(|_, closed| match closed {
        Closed::Committed(number) => modified.get(number).is_none_or(|age| *age < REMEMBERED),
        Closed::Abandoned(_) => true,
    });
    if !log::publish(objects, &fence).await? {
        return Ok(None);
    }

    // Snapshots that stay. Only the newest is needed by all; the others by those who hold them.
    let mut needed: BTreeSet<String> = BTreeSet::new();
    need(objects, &fence, &mut needed).await?;
    let mut swept = Swept::default();
    let held = leases(objects, now, keeping.lease).await?;
    let mut emptied: BTreeMap<u64, Box<Entry>> = BTreeMap::new();
    let mut known: BTreeSet<u64> = BTreeSet::from([fence.snapshot.number]);
    for object in &listed {
        let Some(number) = log::number_of(&object.name) else { continue };
        if object.bytes == 0 || number > newest.snapshot.number {
            continue;
        }
        let Slot::Held(entry) = log::without_lists(objects, number).await? else { continue };
        let is_held = held.contains(&number);
        if is_held || age(object) < keeping.keep {
            swept.held += u64::from(is_held);
            known.insert(number);
            need(objects, &entry, &mut needed).await?;
        } else {
            log::empty(objects, number).await?;
            emptied.insert(number, entry);
        }
    }
    // A reader that put its lease before its snapshot was emptied saw it whole, and is seen here.
    let again = leases(objects, now, keeping.lease).await?;
    for (number, entry) in emptied.iter().filter(|(number, _)| again.contains(number)) {
        objects.put(&log::name(*number), entry.to_bytes()).await?;
        swept.held += 1;
        known.insert(*number);
        need(objects, entry, &mut needed).await?;
    }
    swept.open_plans = open_plans(&listed, &fence).len() as u64;
    let is_past = |number: &&u64| **number <= newest.snapshot.number;
    if again.iter().filter(is_past).any(|number| !known.contains(number)) {
        // Another who collects garbage has emptied what a reader holds, and may have been killed
        // before it saw that: nobody knows which files are needed until the lease runs out.
        return Ok(Some(swept));
    }

    let open = open_plans(&listed, &fence);
    let planned: BTreeSet<&str> = listed
        .iter()
        .filter_map(|object| {
            plan_of(&object.name).filter(|id| object.name == record::plan_name(id))
        })
        .collect();
    let last_line = last_of_own_line(&listed);
    let is_needed = |object: &&Listed| -> bool {
        let name = &*object.name;
        needed.contains(name)
            || [LATEST, TRIAL_NAME].contains(&name)
            || name.starts_with(SNAPSHOTS)
            || name.starts_with(CODERS)
            || last_line.contains(name)
            || plan_of(name).is_some_and(|id| {
                // What names a plan that is not there yet is of one that is just being put, or of one
                // that ended before the log began to forget.
                open.contains(id) && (planned.contains(id) || age(object) < REMEMBERED)
            })
            || (name.starts_with(LEASES) && object.bytes > 0 && age(object) < keeping.lease)
    };
    let garbage: Vec<&Listed> = listed.iter().filter(|object| !is_needed(object)).collect();
    let names: Vec<String> = garbage.iter().map(|object| object.name.clone()).collect();
    objects.remove(&names).await?;
    swept.files = garbage.len() as u64;
    swept.bytes = garbage.iter().map(|object| object.bytes).sum();
    Ok(Some(swept))
}

async fn bring_up(tables: &TablePlace, newest: &Entry) {
    use crate::lance::detached::Detached;
    let snapshot = &newest.snapshot;
    let versions = [("documents", snapshot.documents_version), ("pages", snapshot.pages_version)];
    for (name, version) in versions {
        if let Ok(table) = tables.open(name, Some(version)).await
            && let Ok(table) = Detached::of(&table).await
        {
            let _ = table.bring_up().await;
        }
    }
}

/// Adds all that `entry` needs to `needed`.
async fn need(
    objects: &Objects,
    entry: &Entry,
    needed: &mut BTreeSet<String>,
) -> Result<(), StoreError> {
    needed.extend(entry.manifests.iter().map(|manifest| manifest.name.clone()));
    needed.extend(entry.lists.iter().map(|list| list.name.clone()));
    needed.extend(entry.files(objects).await?.into_keys());
    Ok(())
}

/// The snapshots that leases hold.
async fn leases(
    objects: &Objects,
    now: SystemTime,
    life: Duration,
) -> Result<BTreeSet<u64>, StoreError> {
    let mut held = BTreeSet::new();
    for object in objects.list(LEASES).await? {
        let age = now.duration_since(object.modified).unwrap_or_default();
        if object.bytes == 0 || age >= life {
            continue;
        }
        if let Some(bytes) = objects.get(&object.name).await?
            && let Ok(lease) = serde_json::from_slice::<Held>(&bytes)
        {
            held.insert(lease.snapshot);
        }
    }
    Ok(held)
}

/// Closes plan `id` in `fence`.
fn abandon(fence: &mut Entry, id: &str, listed: &[Listed]) -> Result<(), StoreError> {
    let wrong = |what: &str| StoreError::Plan { plan: id.into(), what: what.into() };
    match fence.plans.get(id) {
        Some(Closed::Committed(number)) => {
            return Err(wrong(&format!("is committed, in snapshot {number}")));
        }
        Some(Closed::Abandoned(_)) => return Ok(()),
        None => {}
    }
    if !listed.iter().any(|object| plan_of(&object.name) == Some(id)) {
        return Err(wrong("is not in this index"));
    }
    fence.plans.insert(id.into(), Closed::abandoned());
    Ok(())
}

/// The plans that have a plan and are not closed. A file of a plan that is only being put is of an
/// open one too.
fn open_plans<'a>(listed: &'a [Listed], fence: &Entry) -> BTreeSet<&'a str> {
    let plans = listed.iter().filter_map(|object| plan_of(&object.name));
    plans.filter(|id| !fence.plans.contains_key(*id)).collect()
}

/// The newest version of each table in Lance's own line, and what points to it.
fn last_of_own_line(listed: &[Listed]) -> BTreeSet<&str> {
    let mut kept = BTreeSet::new();
    for table in ["documents.lance/_versions/", "pages.lance/_versions/"] {
        // Detached versions begin with a d; the others count down, so that the first is the newest.
        let of_line = |object: &&Listed| {
            object
                .name
                .strip_prefix(table)
                .and_then(|file| file.strip_suffix(".manifest"))
                .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
        };
        kept.extend(listed.iter().filter(of_line).map(|object| &*object.name).min());
        let hint = listed.iter().filter(|o| o.name.starts_with(table) && o.name.ends_with(".json"));
        kept.extend(hint.map(|object| &*object.name));
    }
    kept
}

/// An open plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenPlan {
    /// Its id.
    pub id: String,
    /// Since it was planned, seconds, by the store's clock.
    pub age_s: u64,
    /// Its shards.
    pub shards: usize,
    /// Those that are done.
    pub done: usize,
}

/// The open plans, and how many readers hold a lease.
///
/// # Errors
/// What cannot be read.
pub(crate) async fn plans(objects: &Objects) -> Result<(Vec<OpenPlan>, u64), StoreError> {
    let missing = || StoreError::Missing { path: objects.shown() };
    let newest = log::newest(objects).await?.ok_or_else(missing)?;
    let leases = objects.list(LEASES).await?;
    let readers = leases.iter().filter(|object| object.bytes > 0).count() as u64;
    let listed = objects.list(record::PLANS).await?;
    // Without the right to put something, the newest object says about what time it is.
    let newest_time = listed.iter().chain(&leases).map(|object| object.modified).max();
    let now = newest_time.unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::now());
    let mut found = Vec::new();
    for id in open_plans(&listed, &newest) {
        let Some(plan) = record::read_plan(objects, id).await? else { continue };
        let made = listed.iter().find(|object| object.name == record::plan_name(id));
        let age = made.and_then(|made| now.duration_since(made.modified).ok()).unwrap_or_default();
        let parts = super::parts::Parts::read(objects, &plan).await?;
        found.push(OpenPlan {
            id: id.into(),
            age_s: age.as_secs(),
            shards: plan.shards,
            done: plan.shards - parts.open.len(),
        });
    }
    Ok((found, readers))
}
