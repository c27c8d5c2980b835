//! A fleet over a bucket in memory, beside one machine with a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pagesight_core::seam::{Batch, PageSink, TextIndex, VectorSource};
use pagesight_core::testing::{document_record, page_record};
use pagesight_core::{DocumentId, DocumentRecord, ModelId, ModelRecord, PageId, PageRecord};
use pagesight_maxsim::{HereError, Slot};
use tempfile::TempDir;

use super::faults::{Faults, objects};
use super::fleet::Fleet;
use super::gc::Keeping;
use super::log;
use super::mirror::{LocalCopy, Mirror};
use super::objects::Objects;
use super::record::{DroppedPath, Plan, PlannedDocument, PlannedFile, Work};
use super::room::Room;
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
    codes.living().iter().map(|slot| (slot.id, rows(slot))).collect()
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

#[test]
fn a_fleet_makes_what_one_machine_makes() {
    let bench = Bench::new("fleet-one");
    let plan = bench.all(&SOME, 3).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    let again = bench.fleet.commit(&plan.id, false).unwrap();
    assert!(again.already && again.snapshot == 2);
    assert_eq!(bench.fleet.committed_in(&plan.id).unwrap(), Some(2));
    bench.sweep();
    bench.check_closure();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    // Said again after its parts were swept away.
    assert!(bench.fleet.commit(&plan.id, false).unwrap().already);
}

#[test]
fn changes_drops_and_renames_leave_what_one_machine_has() {
    let bench = Bench::new("fleet-changes");
    bench.all(&SOME, 2).unwrap();
    let renamed = document("z/renamed.pdf", "doc2").0;
    let plan = bench
        .plan_with(&[("a.pdf", "doc1 changed"), ("f.pdf", "doc6")], 2, |work| {
            let dropped = |path: &str, content| DroppedPath {
                path: path.into(),
                document: Some(id(content)),
            };
            work.dropped = vec![dropped("b/b.pdf", "doc2"), dropped("c.pdf", "doc3")];
            work.renamed = vec![renamed];
        })
        .unwrap();
    for shard in 0..2 {
        bench.work(&plan, shard, &[("a.pdf", "doc1 changed"), ("f.pdf", "doc6")]).unwrap();
    }
    bench.fleet.commit(&plan.id, false).unwrap();
    let after = [
        ("a.pdf", "doc1 changed"),
        ("d.pdf", "doc4"),
        ("e.pdf", "doc5"),
        ("f.pdf", "doc6"),
        ("z/renamed.pdf", "doc2"),
    ];
    check_same(&bench.reader(), &one_machine(bench.place.path(), &after));
    bench.sweep();
    bench.check_closure();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &after));
}

#[test]
fn rivals_bring_each_page_once() {
    let bench = Bench::new("fleet-rivals");
    let one = bench.plan(&SOME[..4], 2).unwrap();
    let two = bench.plan(&SOME[1..], 1).unwrap();
    for shard in 0..2 {
        bench.work(&one, shard, &SOME).unwrap();
    }
    bench.work(&two, 0, &SOME).unwrap();
    bench.fleet.commit(&two.id, false).unwrap();
    bench.fleet.commit(&one.id, false).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    bench.sweep();
    bench.check_closure();
}

#[test]
fn an_open_shard_is_named_and_a_partial_commit_takes_what_is_there() {
    let bench = Bench::new("fleet-partial");
    let plan = bench.plan(&SOME, 5).unwrap();
    bench.work(&plan, 0, &SOME).unwrap();
    bench.work(&plan, 2, &SOME).unwrap();
    let error = bench.fleet.commit(&plan.id, false).unwrap_err().to_string();
    assert!(error.contains("1/5, 3/5, 4/5"), "{error}");
    assert_eq!(bench.fleet.newest().unwrap().unwrap().number(), 1);
    let partial = bench.fleet.commit(&plan.id, true).unwrap();
    assert_eq!((partial.snapshot, partial.open), (2, vec![1, 3, 4]));
    let open = bench.fleet.plans().unwrap().0;
    assert_eq!((open[0].shards, open[0].done), (5, 2));
    bench.sweep();
    for shard in 0..5 {
        bench.work(&plan, shard, &SOME).unwrap();
    }
    bench.fleet.commit(&plan.id, false).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    bench.sweep();
    bench.check_closure();
}

#[test]
fn workers_readers_and_committers_need_no_more_rights_than_the_policies_give() {
    let bench = Bench::new("fleet-rights");
    bench.all(&SOME[..2], 1).unwrap();
    let plan = bench.plan(&SOME[2..], 1).unwrap();
    bench.faults.asked();
    bench.work(&plan, 0, &SOME).unwrap();
    let asked = bench.faults.asked();
    assert!(asked.iter().all(|(kind, _)| ["get", "put"].contains(kind)), "{asked:?}");
    bench.fleet.commit(&plan.id, false).unwrap();
    assert!(bench.faults.asked().iter().all(|(kind, _)| *kind != "delete" && *kind != "copy"));
    let reader = bench.reader();
    check_same(&reader, &one_machine(bench.place.path(), &SOME));
    assert!(reader.newer().unwrap().is_none());
    drop(reader);
    for (kind, name) in bench.faults.asked() {
        let is_allowed =
            ["get", "list"].contains(&kind) || (kind == "put" && name.starts_with("leases/"));
        assert!(is_allowed, "{kind} {name}");
    }
}

#[test]
fn two_workers_at_one_shard_do_the_work_once() {
    let bench = Bench::new("fleet-two");
    let plan = bench.plan(&SOME, 1).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| bench.work(&plan, 0, &SOME).unwrap());
        }
    });
    let committed = bench.fleet.commit(&plan.id, false).unwrap();
    assert_eq!((committed.parts, committed.pages), (6, 15));
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    bench.sweep();
    bench.check_closure();
}

#[test]
fn of_many_committers_one_publishes_and_all_say_so() {
    let bench = Bench::new("fleet-committers");
    let plans: Vec<Plan> =
        SOME.iter().map(|document| bench.plan(&[*document], 1).unwrap()).collect();
    for plan in &plans {
        bench.work(plan, 0, &SOME).unwrap();
    }
    std::thread::scope(|scope| {
        for plan in plans.iter().chain(&plans) {
            scope.spawn(|| bench.fleet.commit(&plan.id, false).unwrap());
        }
        scope.spawn(|| bench.sweep());
    });
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    bench.sweep();
    bench.check_closure();
}

#[test]
fn a_committer_that_slept_loses_its_number_and_nothing_else() {
    let bench = Bench::new("fleet-sleeper");
    let late = bench.plan(&SOME[..2], 1).unwrap();
    bench.work(&late, 0, &SOME).unwrap();
    let before = wait(log::newest(&bench.objects)).unwrap().unwrap();
    // It read that one and slept; others commit and sweep, again and again.
    for document in &SOME[2..] {
        bench.all(&[*document], 1).unwrap();
        bench.sweep();
    }
    let newest = || bench.fleet.newest().unwrap().unwrap().number();
    let (number, tables) = (newest(), bench.objects.tables());
    let scratch = bench.place.path().join("sleeper");
    let woken = super::commit::attempt(&bench.objects, &tables, &late.id, false, &before, &scratch);
    // Its number is taken, or what it built on is gone.
    assert!(matches!(wait(woken), Ok(None) | Err(_)));
    assert_eq!(newest(), number);
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME[2..]));
    assert!(!bench.fleet.commit(&late.id, false).unwrap().already);
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    bench.sweep();
    bench.check_closure();
}

#[test]
fn a_reader_keeps_its_snapshot_while_garbage_is_collected() {
    let bench = Bench::new("fleet-reader");
    bench.all(&SOME[..2], 1).unwrap();
    let reader = bench.reader();
    let plan = bench
        .plan_with(&SOME[2..], 1, |work| {
            work.dropped = vec![DroppedPath { path: "a.pdf".into(), document: Some(id("doc1")) }];
        })
        .unwrap();
    bench.work(&plan, 0, &SOME).unwrap();
    bench.fleet.commit(&plan.id, false).unwrap();
    assert_eq!(bench.sweep().held, 1);
    check_same(&reader, &one_machine(bench.place.path(), &SOME[..2]));
    let newer = reader.newer().unwrap().unwrap();
    check_same(&newer, &one_machine(bench.place.path(), &SOME[1..]));
    assert!(newer.newer().unwrap().is_none());
    drop((reader, newer));
    assert_eq!(bench.sweep().held, 0);
    bench.check_closure();
}

#[test]
fn the_lease_of_a_reader_that_was_killed_runs_out() {
    let bench = Bench::new("fleet-killed-reader");
    bench.all(&SOME[..2], 1).unwrap();
    std::mem::forget(bench.reader());
    bench.all(&SOME[2..], 1).unwrap();
    assert_eq!(bench.sweep().held, 1);
    let none = std::time::Duration::ZERO;
    let keeping = Keeping { keep: none, lease: none, ..Keeping::default() };
    assert_eq!(bench.fleet.collect_garbage(&keeping).unwrap().held, 0);
    bench.check_closure();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
}

#[test]
fn a_reader_goes_on_with_what_it_holds_while_the_store_is_out_of_reach() {
    let bench = Bench::new("fleet-out-of-reach");
    bench.all(&SOME, 1).unwrap();
    let (reader, one) = (bench.reader(), one_machine(bench.place.path(), &SOME));
    let ids: Vec<PageId> = coded(&one).into_keys().collect();
    assert_eq!(reader.pages(&ids).unwrap(), one.pages(&ids).unwrap());
    bench.faults.at_put(1, "die");
    assert!(wait(bench.objects.put("x", Vec::new())).is_err());
    assert!(reader.newer().is_err());
    for question in QUESTIONS {
        let found = |reader: &Reader| reader.search_text(question, 1000, None).unwrap().pages;
        assert_eq!(found(&reader), found(&one), "{question}");
    }
    assert_eq!(coded(&reader), coded(&one));
    // What was shown before is shown still.
    assert_eq!(reader.pages(&ids).unwrap(), one.pages(&ids).unwrap());
    bench.faults.heal();
    assert!(reader.newer().unwrap().is_none());
}

#[test]
fn files_that_are_gone_or_damaged_are_named_and_words_answer_without_codes() {
    let bench = Bench::new("fleet-damaged");
    bench.all(&SOME, 2).unwrap();
    let named = |begin: &str| {
        bench.names().into_iter().find(|name| name.starts_with(begin)).expect("there is one")
    };
    let verify = || {
        let mirror = Mirror::new(&bench.local(), &bench.objects);
        let verified = crate::upkeep::verify::verify_bucket(bench.objects.clone(), mirror);
        let damage = wait(verified).unwrap().damage;
        damage.into_iter().map(|damage| damage.file).collect::<BTreeSet<String>>()
    };
    assert!(verify().is_empty());
    let codes = named("codes/");
    let bytes = wait(bench.objects.get_required(&codes)).unwrap();
    for change in ["damaged", "gone"] {
        if change == "gone" {
            wait(bench.objects.remove(std::slice::from_ref(&codes))).unwrap();
        } else {
            let mut bytes = bytes.clone();
            let last = bytes.len() - 70;
            bytes[last] ^= 1;
            wait(bench.objects.put(&codes, bytes)).unwrap();
        }
        assert!(verify().contains(&codes), "{change}");
        std::fs::remove_dir_all(bench.place.path().join("local")).unwrap();
        super::mirror::forget();
        let (reader, one) = (bench.reader(), one_machine(bench.place.path(), &SOME));
        assert!(matches!(reader.codes(), Err(StoreError::Codes { .. })), "{change}");
        assert!(!reader.search_text("apple", 10, None).unwrap().pages.is_empty());
        let mut seen = 0;
        reader.scan(None, &mut |batch| seen += batch.len()).unwrap();
        assert_eq!(seen as u64, one.snapshot().pages());
    }
    wait(bench.objects.put(&codes, bytes)).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    let words = named("text/");
    wait(bench.objects.remove(std::slice::from_ref(&words))).unwrap();
    assert!(verify().contains(&words));
    std::fs::remove_dir_all(bench.place.path().join("local")).unwrap();
    let error = bench.reader_with(&bench.local()).err().unwrap().to_string();
    assert!(error.contains(&words), "{error}");
}

#[test]
fn a_cleanup_by_lance_itself_takes_nothing_that_a_snapshot_needs() {
    let bench = Bench::new("fleet-foreign");
    bench.all(&SOME[..3], 1).unwrap();
    let plan = bench
        .plan_with(&SOME[3..], 1, |work| {
            work.dropped = vec![DroppedPath { path: "a.pdf".into(), document: Some(id("doc1")) }];
        })
        .unwrap();
    bench.work(&plan, 0, &SOME).unwrap();
    bench.fleet.commit(&plan.id, false).unwrap();
    let one = one_machine(bench.place.path(), &SOME[1..]);
    for name in ["documents", "pages"] {
        wait(async {
            let table = bench.objects.tables().open(name, None).await?;
            let dataset = table.dataset().await?;
            let cleaned = dataset.cleanup_old_versions(
                lancedb::table::Duration::zero(),
                Some(true),
                Some(false),
            );
            let removed = cleaned.await.expect("a cleanup");
            assert!(removed.old_versions > 0, "{removed:?}");
            Ok(())
        })
        .unwrap();
    }
    check_same(&bench.reader(), &one);
    // And pages are added as before.
    bench.all(&[("g.pdf", "doc7")], 1).unwrap();
    let mut more = SOME[1..].to_vec();
    more.push(("g.pdf", "doc7"));
    check_same(&bench.reader(), &one_machine(bench.place.path(), &more));
}

#[test]
fn a_plan_is_the_same_when_it_is_made_again_and_can_be_abandoned() {
    let bench = Bench::new("fleet-plan");
    let plan = bench.plan(&SOME, 2).unwrap();
    assert_eq!(bench.plan(&SOME, 2).unwrap(), plan);
    bench.work(&plan, 0, &SOME).unwrap();
    bench.sweep();
    assert!(bench.names().iter().any(|name| name.starts_with(&format!("codes/{}", plan.id))));
    let keeping = Keeping { abandon: Some(plan.id.clone()), ..Keeping::default() };
    bench.fleet.collect_garbage(&keeping).unwrap();
    assert!(!bench.names().iter().any(|name| name.contains(&plan.id)));
    let refused = |error: StoreError| assert!(error.to_string().contains("abandoned"), "{error}");
    refused(bench.fleet.commit(&plan.id, false).unwrap_err());
    refused(bench.work(&plan, 1, &SOME).unwrap_err());
    bench.all(&SOME, 2).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
}

#[test]
fn a_part_whose_file_is_gone_or_short_is_named() {
    let bench = Bench::new("fleet-lost");
    let plan = bench.plan(&SOME, 1).unwrap();
    bench.work(&plan, 0, &SOME).unwrap();
    let begin = format!("pages.lance/data/{}", plan.id);
    let name = bench.names().into_iter().find(|name| name.starts_with(&begin)).unwrap();
    let bytes = wait(bench.objects.get_required(&name)).unwrap();
    for (state, change) in [("short", Some(bytes[1..].to_vec())), ("gone", None)] {
        match change {
            Some(bytes) => wait(bench.objects.put(&name, bytes)).unwrap(),
            None => wait(bench.objects.remove(std::slice::from_ref(&name))).unwrap(),
        }
        let error = bench.fleet.commit(&plan.id, false).unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains(state), "{error}");
        assert_eq!(bench.fleet.newest().unwrap().unwrap().number(), 1);
    }
}

#[test]
fn a_store_that_ignores_conditions_is_refused_and_nothing_is_left() {
    let bench = Bench::new("fleet-careless");
    bench.faults.ignore_conditions();
    let error = bench.plan(&SOME, 1).unwrap_err();
    assert!(matches!(error, StoreError::Conditions { .. }), "{error}");
    assert!(error.to_string().contains("conditional"), "{error}");
    assert_eq!(bench.names().into_iter().collect::<Vec<_>>(), ["conditional-put"]);
}

#[test]
fn another_model_or_shard_is_refused() {
    let bench = Bench::new("fleet-wrong");
    let plan = bench.plan(&SOME, 2).unwrap();
    let (model, other) = (model().id, ModelId("other".into()));
    for (id, shard, of, model) in [
        (&*plan.id, 2, 2, Some(&model)),
        (&*plan.id, 0, 3, Some(&model)),
        (&*plan.id, 0, 2, Some(&other)),
        (&*plan.id, 0, 2, None),
        ("0123456789abcdef", 0, 2, Some(&model)),
        ("../snapshots", 0, 2, Some(&model)),
    ] {
        let error = bench.fleet.worker(id, shard, of, model).err().expect("refused");
        assert!(matches!(error, StoreError::Plan { .. }), "{error}");
    }
    assert!(matches!(
        bench.fleet.begin(Some(&ModelRecord::new(other, 2))),
        Err(StoreError::OtherModel { .. })
    ));
}

#[test]
fn a_damaged_local_copy_is_fetched_again() {
    let bench = Bench::new("fleet-local");
    bench.all(&SOME, 1).unwrap();
    drop(bench.reader());
    let mut changed = 0;
    for folder in ["text", "codes"] {
        let folder = Mirror::new(&bench.local(), &bench.objects).folder().join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            changed += 1;
        }
    }
    assert!(changed > 2);
    super::mirror::forget();
    let (reader, one) = (bench.reader(), one_machine(bench.place.path(), &SOME));
    check_same(&reader, &one);
    // What a running search finds damaged is fetched and mapped anew with the next look.
    assert!(reader.newer().unwrap().is_none());
    reader.report_damaged_codes();
    let again = reader.newer().unwrap().expect("opened anew");
    assert_eq!(again.snapshot().number(), reader.snapshot().number());
    check_same(&again, &one);
}

/// An index that grew by one document a commit; some are dropped and changed.
fn grown(name: &str) -> (Bench, Vec<(&'static str, &'static str)>) {
    let bench = Bench::new(name);
    let mut documents: Vec<(&str, &str)> = SOME.to_vec();
    documents.extend([("f.pdf", "doc6"), ("g.pdf", "doc7"), ("h.pdf", "doc8"), ("i.pdf", "doc9")]);
    for document in &documents {
        bench.all(&[*document], 1).unwrap();
    }
    let dropped = DroppedPath { path: "b/b.pdf".into(), document: Some(id("doc2")) };
    let changed = [("c.pdf", "doc3 changed")];
    let plan = bench.plan_with(&changed, 1, |work| work.dropped = vec![dropped]).unwrap();
    bench.work(&plan, 0, &changed).unwrap();
    bench.fleet.commit(&plan.id, false).unwrap();
    documents.remove(1);
    documents[1] = changed[0];
    (bench, documents)
}

#[test]
fn small_files_are_joined_and_all_is_found_as_before() {
    let (bench, documents) = grown("joined");
    let one = one_machine(bench.place.path(), &documents);
    let held = bench.reader();
    let files = |kind: &str| {
        bench
            .names()
            .iter()
            .filter(|name| name.starts_with(kind) && !name.ends_with(".store"))
            .count()
    };
    let (codes, words) = (files("codes/"), files("text/"));
    let newest = bench.fleet.newest().unwrap().unwrap();
    assert!(newest.codes.as_ref().unwrap().len() > 9);
    assert!(bench.sweep().joined);
    let newest = bench.fleet.newest().unwrap().unwrap();
    assert_eq!(newest.codes.as_ref().unwrap().len(), 1);
    check_same(&held, &one);
    check_same(&held.newer().unwrap().unwrap(), &one);
    drop(held);
    assert!(!bench.sweep().joined, "there is nothing left to join");
    bench.check_closure();
    assert!(files("codes/") == 1 && files("text/") < words / 4, "{codes} {words}");
    check_same(&bench.reader(), &one);
    // And it goes on from there.
    bench.all(&[("j.pdf", "doc10")], 1).unwrap();
    let mut documents = documents;
    documents.push(("j.pdf", "doc10"));
    check_same(&bench.reader(), &one_machine(bench.place.path(), &documents));
}

#[test]
fn joining_may_stop_at_some_puts() {
    joining_stops(11);
}

#[test]
#[ignore = "minutes: `make fleet` runs it"]
fn joining_may_stop_at_any_put() {
    joining_stops(1);
}

fn joining_stops(step: usize) {
    let (counted, documents) = grown("joined-counted");
    let one = one_machine(counted.place.path(), &documents);
    let before = counted.faults.puts();
    assert!(counted.sweep().joined);
    let puts = counted.faults.puts() - before;
    assert!(puts > 8, "{puts}");
    for nth in (1..=puts).step_by(step) {
        let (bench, _) = grown(&format!("joined-{nth}-{step}"));
        let keeping = Keeping { keep: std::time::Duration::ZERO, ..Keeping::default() };
        bench.faults.at_put(nth, if nth % 2 == 0 { "die" } else { "die-after" });
        let _ = bench.fleet.collect_garbage(&keeping);
        bench.faults.heal();
        check_same(&bench.reader(), &one);
        bench.sweep();
        bench.sweep();
        bench.check_closure();
        check_same(&bench.reader(), &one);
    }
}

#[test]
fn a_commit_and_a_sweep_that_joins_at_once_lose_nothing() {
    let (bench, mut documents) = grown("joined-race");
    let more = [("j.pdf", "doc10"), ("k.pdf", "doc11"), ("l.pdf", "doc12")];
    let plans: Vec<Plan> = more.iter().map(|one| bench.plan(&[*one], 1).unwrap()).collect();
    plans.iter().for_each(|plan| bench.work(plan, 0, &more).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| bench.sweep());
        scope.spawn(|| bench.sweep());
        for plan in &plans {
            scope.spawn(|| bench.fleet.commit(&plan.id, false).unwrap());
        }
    });
    documents.extend(more);
    check_same(&bench.reader(), &one_machine(bench.place.path(), &documents));
    bench.sweep();
    bench.check_closure();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &documents));
}

/// Files come in pieces, however small they are.
fn in_pieces(name: &str) -> Bench {
    Bench { times: 2000, pieces: Pieces { small: 0, end: 100 }, ..Bench::new(name) }
}

/// How many pages have their codes in the files here, of how many.
fn here(reader: &Reader) -> (usize, usize) {
    let codes = reader.codes().unwrap().unwrap();
    let has = |slot: &&Slot| codes.segments()[slot.segment as usize].has(slot.index as usize);
    (codes.living().iter().filter(has).count(), codes.living().len())
}

#[test]
fn codes_come_when_they_are_compared_and_stay() {
    let bench = in_pieces("sparse-compared");
    bench.all(&SOME, 2).unwrap();
    let one = one_machine_of(bench.place.path(), &SOME, bench.times);
    let reader = bench.reader();
    assert_eq!(here(&reader), (0, 15));
    let codes = reader.codes().unwrap().unwrap();
    assert!(codes.segments().iter().all(pagesight_maxsim::Segment::are_sketches_sound));
    codes.here(&codes.living()[3..5]).unwrap();
    assert_eq!(here(&reader), (2, 15));
    check_same(&reader, &one);
    assert_eq!(here(&reader), (15, 15));
    drop(reader);
    // After a restart, and with the store out of reach, what is here is here.
    super::mirror::forget();
    let again = bench.reader();
    assert_eq!(here(&again), (15, 15));
    bench.faults.at_put(1, "die");
    assert!(wait(bench.objects.put("x", Vec::new())).is_err());
    assert_eq!(coded(&again), coded(&one));
}

#[test]
fn codes_that_are_not_here_and_cannot_be_fetched_are_an_error() {
    let bench = in_pieces("sparse-gone");
    bench.all(&SOME[..2], 1).unwrap();
    let reader = bench.reader();
    bench.faults.at_put(1, "die");
    assert!(wait(bench.objects.put("x", Vec::new())).is_err());
    let codes = reader.codes().unwrap().unwrap();
    assert!(matches!(codes.here(codes.living()), Err(HereError::Elsewhere(_))));
    bench.faults.heal();
    assert!(codes.here(codes.living()).is_ok());
}

#[test]
fn all_codes_come_in_the_background_where_that_is_wanted() {
    let bench = in_pieces("sparse-fill");
    bench.all(&SOME, 2).unwrap();
    let reader = bench.reader_with(&LocalCopy { fill: true, ..bench.local() }).unwrap();
    let start = std::time::Instant::now();
    while here(&reader).0 < 15 {
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", here(&reader));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_copy_keeps_to_its_room_and_answers_the_same() {
    let bench = in_pieces("sparse-room");
    bench.all(&SOME, 5).unwrap();
    let one = one_machine_of(bench.place.path(), &SOME, bench.times);
    let with = |most_bytes| LocalCopy { most_bytes: Some(most_bytes), ..bench.local() };
    let error = bench.reader_with(&with(1000)).err().unwrap();
    let StoreError::NoRoom { wanted, limit: 1000, .. } = error else { panic!("{error}") };
    assert!(wanted > 1000, "{wanted}");
    // A copy without the codes of pages, and one with all.
    let on_disk = || {
        let folder = Mirror::new(&bench.local(), &bench.objects).folder().to_path_buf();
        Room::of(&folder, Some(0)).used()
    };
    drop(bench.reader());
    let least = on_disk();
    check_same(&bench.reader(), &one);
    let most = on_disk();
    assert!(most > least + 200_000, "{least} {most}");
    // In between: it is made to fit, and codes that there is no room for are compared too.
    let between = with((least + most) / 2);
    super::mirror::forget();
    let mut reader = bench.reader_with(&between).unwrap();
    for _ in 0..3 {
        check_same(&reader, &one);
        reader = reader.newer().unwrap().unwrap_or(reader);
        assert!(on_disk() <= (least + most) / 2, "{least} {} {most}", on_disk());
    }
    assert!(here(&reader).0 < 15);
}

#[test]
fn flipped_bits_of_a_copy_in_pieces_change_no_answer() {
    let bench = in_pieces("sparse-flipped");
    bench.all(&SOME, 2).unwrap();
    let one = one_machine_of(bench.place.path(), &SOME, bench.times);
    check_same(&bench.reader(), &one);
    let folder = Mirror::new(&bench.local(), &bench.objects).folder().join("codes");
    for round in 0..8 {
        super::mirror::forget();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let at = (bytes.len() - 1) * round / 7;
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        check_same(&bench.reader(), &one);
    }
}

#[test]
fn an_export_becomes_an_index_in_a_bucket_and_back() {
    let bench = Bench::new("fleet-import");
    let one = one_machine(bench.place.path(), &SOME);
    let (out, back) = (bench.place.path().join("out"), bench.place.path().join("back"));
    crate::export(&one.folder(), &out).unwrap();
    let snapshot = bench.fleet.import(&out).unwrap();
    assert_eq!((snapshot.documents(), snapshot.pages()), (5, 15));
    check_same(&bench.reader(), &one);
    assert!(matches!(bench.fleet.import(&out), Err(StoreError::Exists { .. })));
    // And pages are added to it.
    bench.all(&[("g.pdf", "doc7")], 1).unwrap();
    let mut more = SOME.to_vec();
    more.push(("g.pdf", "doc7"));
    check_same(&bench.reader(), &one_machine(bench.place.path(), &more));
    let _ = back;
}

/// A whole life: plan, work, commit, a second plan that drops and changes, and garbage collected.
fn life(bench: &Bench) -> Result<(), StoreError> {
    let newest = bench.fleet.newest()?.map_or(0, |snapshot| snapshot.documents());
    if newest == 0 {
        bench.all(&SOME[..2], 1)?;
    }
    let ledger = bench.fleet.begin(Some(&model()))?.1;
    if ledger.iter().any(|record| record.path == "a.pdf") {
        let plan = bench.plan_with(&SOME[2..3], 1, |work| {
            work.dropped = vec![DroppedPath { path: "a.pdf".into(), document: Some(id("doc1")) }];
        })?;
        bench.work(&plan, 0, &SOME)?;
        bench.fleet.commit(&plan.id, false)?;
    }
    let keeping = Keeping { keep: std::time::Duration::ZERO, ..Keeping::default() };
    bench.fleet.collect_garbage(&keeping).map(drop)
}

/// How many puts a life has.
fn puts_of_a_life() -> usize {
    let bench = Bench::new("life-count");
    life(&bench).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME[1..3]));
    bench.faults.puts()
}

/// At put after put something goes wrong; what is done again afterwards leaves all in order.
fn goes_wrong_at(step: usize, kinds: &[&'static str]) {
    let puts = puts_of_a_life();
    assert!(puts > 30, "{puts}");
    for what in kinds {
        for nth in (1..=puts).step_by(step) {
            let bench = Bench::new(&format!("life-{what}-{nth}-{step}"));
            bench.faults.at_put(nth, what);
            let first = life(&bench);
            let over = bench.faults.is_over();
            bench.faults.heal();
            if first.is_err() {
                for _ in 0..3 {
                    life(&bench).unwrap_or_else(|error| panic!("{what} at {nth}: {error}"));
                }
            }
            let one = one_machine(bench.place.path(), &SOME[1..3]);
            check_same(&bench.reader(), &one);
            // Plans of the first try that nobody goes on with are given up.
            for plan in bench.fleet.plans().unwrap().0 {
                let keeping = Keeping { abandon: Some(plan.id), ..Keeping::default() };
                bench.fleet.collect_garbage(&keeping).unwrap();
            }
            bench.sweep();
            bench.check_closure();
            check_same(&bench.reader(), &one);
            assert!(over || nth > 1, "{what} at {nth} did not happen");
        }
    }
}

#[test]
fn some_puts_may_go_wrong() {
    goes_wrong_at(23, &["before", "after", "die", "die-after"]);
}

#[test]
#[ignore = "minutes: `make fleet` runs it"]
fn every_put_may_go_wrong() {
    goes_wrong_at(1, &["before", "after", "instead", "conflict", "die", "die-after"]);
}
