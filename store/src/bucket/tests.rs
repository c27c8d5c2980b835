//! A fleet over a bucket in memory, beside one machine with a folder. What the tests share is here; each
//! file below is of some rows of the table of what may go wrong in docs/scale.md.

mod damage;
mod equality;
mod hundred_million;
mod joining;
mod local_copy;
mod out_of_reach;
mod plans;
mod puts;
mod readers;
mod repairs;
mod requests;
mod rights;
mod shares;
mod sleeper;
mod tuning;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pagesight_core::seam::{Batch, PageSink, TextIndex, VectorSource};
use pagesight_core::testing::{document_record, page_record};
use pagesight_core::{DocumentId, DocumentRecord, ModelId, ModelRecord, PageId, PageRecord};
use pagesight_maxsim::Slot;
use tempfile::TempDir;

use super::faults::{Faults, objects};
use super::fleet::Fleet;
use super::gc::Keeping;
use super::log;
use super::mirror::{LocalCopy, Mirror};
use super::objects::Objects;
use super::record::{DroppedPath, Plan, PlannedDocument, PlannedFile, Work};
use super::sparse::Pieces;
use crate::error::StoreError;
use crate::reader::AsyncReader;
use crate::runtime::wait;
use crate::{Reader, Writer};

const QUESTIONS: [&str; 6] =
    ["apple", "orchard harvest", "number3", "zebra", "doc2", "apple number1 zebra"];

pub(super) fn model() -> ModelRecord {
    ModelRecord::new(ModelId("test-model".into()), 2)
}

pub(super) fn id(name: &str) -> DocumentId {
    DocumentId::of(name.as_bytes())
}

/// A document of three pages: its record and its pages, which depend on its content alone.
fn document(path: &str, content: &str) -> (DocumentRecord, Vec<PageRecord>) {
    document_of(path, content, 1)
}

/// The same, with so many times the vectors.
fn document_of(path: &str, content: &str, times: usize) -> (DocumentRecord, Vec<PageRecord>) {
    let id = id(content);
    let mut record = document_record(path, id, 3);
    record.model = Some(model().id);
    let pages = (1..=3).map(|number| {
        let angle = f32::from(id.0[0]) + number as f32;
        let row = |n: usize| {
            let (sin, cos) = (angle + n as f32 / times as f32).sin_cos();
            [cos, sin, sin, cos]
        };
        let rows: Vec<f32> = (0..times).flat_map(row).collect();
        let words = ["apple", "orchard", "harvest", "zebra"][(id.0[1] as usize + number) % 4];
        let text =
            format!("{content} {words} number{number} {}", "filler ".repeat(id.0[2] as usize % 5));
        page_record(id, number as u32, &text, Some((2, &rows)))
    });
    (record, pages.collect())
}

fn planned(path: &str, content: &str) -> PlannedDocument {
    let file = PlannedFile { path: path.into(), bytes: 1, modified_ns: 0 };
    PlannedDocument { document: Some(id(content)), files: vec![file] }
}

/// The fleet and what it works in.
pub(super) struct Bench {
    /// How many vectors pages have, as times those of others.
    times: usize,
    pieces: Pieces,
    pub faults: Faults,
    pub objects: Objects,
    pub fleet: Fleet,
    place: TempDir,
}

impl Bench {
    pub fn new(name: &str) -> Self {
        let (faults, place) = (Faults::default(), tempfile::tempdir().unwrap());
        let objects = wait(async { Ok(objects(name, &faults).await) }).unwrap();
        let fleet = Fleet::over(objects.clone(), place.path());
        Self { times: 1, pieces: Pieces::default(), faults, objects, fleet, place }
    }

    /// Plans to read `documents`, of path and content, in `shards`.
    pub fn plan(&self, documents: &[(&str, &str)], shards: usize) -> Result<Plan, StoreError> {
        self.plan_with(documents, shards, |_| {})
    }

    fn plan_with(
        &self,
        documents: &[(&str, &str)],
        shards: usize,
        change: impl FnOnce(&mut Work),
    ) -> Result<Plan, StoreError> {
        let (snapshot, _) = self.fleet.begin(Some(&model()))?;
        let mut work = Work {
            base: snapshot.number(),
            model: Some(model()),
            documents: documents.iter().map(|(path, content)| planned(path, content)).collect(),
            shards: Some(shards),
            ..Work::default()
        };
        change(&mut work);
        Ok(self.fleet.plan(work)?.unwrap())
    }

    /// Does a shard to its end, a part a document; `contents` by path.
    fn work(&self, plan: &Plan, shard: usize, contents: &[(&str, &str)]) -> Result<(), StoreError> {
        let contents: BTreeMap<&str, &str> = contents.iter().copied().collect();
        let model = model().id;
        let worker = self.fleet.worker(&plan.id, shard, plan.shards, Some(&model))?;
        let Some(mut worker) = worker else { return Ok(()) };
        for path in worker.paths() {
            let known = worker.documents().unwrap();
            if known.iter().any(|record| record.path == path) {
                continue;
            }
            let (record, pages) = document_of(&path, contents[&*path], self.times);
            let dropped_pages = record.document.into_iter().collect();
            let documents = vec![record];
            let batch = Batch { documents, pages, dropped_pages, ..Batch::default() };
            match worker.commit(batch).map_err(|error| *error.downcast::<StoreError>().unwrap()) {
                Err(StoreError::PartTaken { .. }) => worker.go_on()?,
                other => other?,
            }
        }
        worker.finish()
    }

    /// Plans, works and commits.
    fn all(&self, documents: &[(&str, &str)], shards: usize) -> Result<Plan, StoreError> {
        let plan = self.plan(documents, shards)?;
        for shard in 0..shards {
            self.work(&plan, shard, documents)?;
        }
        self.fleet.commit(&plan.id, false)?;
        Ok(plan)
    }

    /// Drops the first of [`SOME`], and puts `documents`, others of them, in its place.
    fn put_in_place_of_the_first(&self, documents: &[(&str, &str)]) -> Result<(), StoreError> {
        let (path, content) = SOME[0];
        let plan = self.plan_with(documents, 1, |work| {
            work.dropped = vec![DroppedPath { path: path.into(), document: Some(id(content)) }];
        })?;
        self.work(&plan, 0, &SOME)?;
        self.fleet.commit(&plan.id, false).map(drop)
    }

    fn reader(&self) -> Reader {
        self.reader_with(&self.local()).unwrap()
    }

    fn local(&self) -> LocalCopy {
        LocalCopy::in_folder(self.place.path().join("local"))
    }

    fn reader_with(&self, local: &LocalCopy) -> Result<Reader, StoreError> {
        let mirror = Mirror::new(local, &self.objects).with_pieces(self.pieces);
        wait(AsyncReader::open_bucket(self.objects.clone(), mirror)).map(Reader::over)
    }

    /// The files that are not as they were written, or do not fit each other.
    fn verify(&self) -> BTreeSet<String> {
        let mirror = Mirror::new(&self.local(), &self.objects);
        let verified = crate::upkeep::verify::verify_bucket(self.objects.clone(), mirror);
        let damage = wait(verified).unwrap().damage;
        damage.into_iter().map(|damage| damage.file).collect()
    }

    fn sweep(&self) -> super::gc::Swept {
        let keeping = Keeping { keep: std::time::Duration::ZERO, ..Keeping::default() };
        self.fleet.collect_garbage(&keeping).unwrap()
    }

    fn names(&self) -> BTreeSet<String> {
        let listed = wait(self.objects.list("")).unwrap();
        listed.into_iter().map(|object| object.name).collect()
    }

    /// What may lie in a bucket that was swept with no reader and no open plan.
    fn closure(&self) -> BTreeSet<String> {
        let newest = wait(log::newest(&self.objects)).unwrap().unwrap();
        let mut names: BTreeSet<String> =
            wait(newest.files(&self.objects)).unwrap().into_keys().collect();
        names.extend(newest.manifests.iter().map(|manifest| manifest.name.clone()));
        names.extend(newest.lists.iter().map(|list| list.name.clone()));
        names.extend((1..=newest.snapshot.number).map(log::name));
        names.extend(["latest.json", "conditional-put"].map(String::from));
        names
    }

    fn check_closure(&self) {
        let closure = self.closure();
        let is_extra = |name: &&String| {
            let own_line = name.contains(".lance/_versions/") && !name.contains("/_versions/d");
            !closure.contains(*name) && !name.starts_with("coders/") && !own_line
        };
        let names = self.names();
        let extra: Vec<_> = names.iter().filter(is_extra).collect();
        assert!(extra.is_empty(), "{extra:?}");
        let lost: Vec<_> = closure.iter().filter(|name| !names.contains(*name)).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

/// One machine with the same documents in a folder.
fn one_machine(place: &Path, documents: &[(&str, &str)]) -> Reader {
    one_machine_of(place, documents, 1)
}

fn one_machine_of(place: &Path, documents: &[(&str, &str)], times: usize) -> Reader {
    let folder = place.join(format!("one-{}", super::random()));
    let mut writer = Writer::create(&folder).unwrap();
    writer.set_model(model()).unwrap();
    let (mut records, mut pages) = (Vec::new(), BTreeMap::new());
    for (path, content) in documents {
        let (record, of_document) = document_of(path, content, times);
        records.push(record);
        pages.extend(of_document.into_iter().map(|page| (page.id, page)));
    }
    let pages = pages.into_values().collect();
    writer.commit(Batch { documents: records, pages, ..Batch::default() }).unwrap();
    Reader::open(&folder).unwrap()
}

/// The codes of all pages, wherever they are.
fn coded(reader: &Reader) -> BTreeMap<PageId, Vec<u32>> {
    let codes = reader.codes().unwrap().unwrap();
    let here = codes.here(codes.living()).unwrap();
    let rows = |slot: &Slot| {
        here.page(slot).unwrap().to_rows().iter().map(|value| value.to_bits()).collect()
    };
    codes.ids().zip(codes.living().iter().map(rows)).collect()
}

/// Both have the same documents, pages, vectors and codes, and find the same by words.
fn check_same(fleet: &Reader, one: &Reader) {
    let paths = |reader: &Reader| -> Vec<(String, Option<DocumentId>)> {
        reader.documents().unwrap().into_iter().map(|r| (r.path, r.document)).collect()
    };
    assert_eq!(paths(fleet), paths(one));
    let all = |reader: &Reader| {
        let mut pages: BTreeMap<PageId, Vec<u32>> = BTreeMap::new();
        reader
            .scan(None, &mut |batch| {
                for (page, vectors) in batch {
                    let values = vectors.values().iter().map(|v| v.to_f32().to_bits()).collect();
                    assert!(pages.insert(*page, values).is_none(), "{page} is there twice");
                }
            })
            .unwrap();
        pages
    };
    let pages = all(one);
    assert_eq!(all(fleet), pages);
    assert_eq!(fleet.snapshot().pages(), one.snapshot().pages());
    let ids: Vec<PageId> = pages.keys().copied().collect();
    assert_eq!(fleet.pages(&ids).unwrap(), one.pages(&ids).unwrap());
    assert_eq!(coded(fleet), coded(one));
    for question in QUESTIONS {
        let found = |reader: &Reader| reader.search_text(question, 1000, None).unwrap().pages;
        assert_eq!(found(fleet), found(one), "{question}");
    }
}

const SOME: [(&str, &str); 5] = [
    ("a.pdf", "doc1"),
    ("b/b.pdf", "doc2"),
    ("c.pdf", "doc3"),
    ("d.pdf", "doc4"),
    ("e.pdf", "doc5"),
];
