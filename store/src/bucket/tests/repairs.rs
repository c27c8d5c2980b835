//! What is gone or damaged in the bucket is made again, whatever fails on the way and whoever else writes.

use std::collections::{BTreeMap, BTreeSet};

use pagesight_core::seam::VectorSource;
use pagesight_core::{DocumentStatus, QueryVectors};
use pagesight_maxsim::Neutral;

use super::{Bench, SOME, check_same, coded, id, model, one_machine};
use crate::bucket::entry::write_manifests;
use crate::bucket::log;
use crate::bucket::record::DroppedPath;
use crate::codes::neutral::LazyNeutral;
use crate::error::StoreError;
use crate::runtime::wait;
use crate::upkeep::repair::Repaired;

/// How a file goes wrong.
const CHANGES: [&str; 3] = ["gone", "damaged", "short"];

impl Bench {
    /// The files of the newest snapshot whose names begin so.
    fn files(&self, begin: &str) -> Vec<String> {
        let files = wait(async {
            let newest = log::newest(&self.objects).await?.expect("there is one");
            newest.files(&self.objects).await
        });
        files.unwrap().into_keys().filter(|name| name.starts_with(begin)).collect()
    }

    fn harm(&self, name: &str, change: &str) {
        match change {
            "gone" => wait(self.objects.remove(&[name.into()])).unwrap(),
            _ => {
                let mut bytes = wait(self.objects.get_required(name)).unwrap();
                match change {
                    "short" => bytes.truncate(bytes.len() / 2),
                    _ => {
                        let middle = bytes.len() / 2;
                        bytes[middle] ^= 1;
                    }
                }
                wait(self.objects.put(name, bytes)).unwrap();
            }
        }
    }

    /// Without what this machine has copied, as on another one.
    fn forget(&self) {
        let _ = std::fs::remove_dir_all(self.local().folder);
        crate::bucket::mirror::forget();
    }

    fn repair(&self) -> Repaired {
        self.forget();
        self.fleet.repair(None).unwrap()
    }

    /// All is as on one machine with `documents`, now and after garbage was collected.
    fn check_whole(&self, documents: &[(&str, &str)]) {
        self.forget();
        assert_eq!(self.verify(), BTreeSet::new());
        let one = one_machine(self.place.path(), documents);
        check_same(&self.reader(), &one);
        self.sweep();
        self.sweep();
        self.check_closure();
        self.forget();
        check_same(&self.reader(), &one);
    }
}

/// An index with documents that were changed, dropped and read again; `joined` once more.
fn lived(name: &str, joined: bool) -> (Bench, Vec<(&'static str, &'static str)>) {
    let bench = Bench::new(name);
    for document in &SOME {
        bench.all(&[*document], 1).unwrap();
    }
    if joined {
        for document in [("f.pdf", "doc6"), ("g.pdf", "doc7"), ("h.pdf", "doc8")] {
            bench.all(&[document], 1).unwrap();
        }
        assert!(bench.sweep().joined);
    }
    let changed = [("c.pdf", "doc3 changed"), ("i.pdf", "doc9")];
    let plan = bench.plan_with(&changed, 2, |work| {
        work.dropped = vec![DroppedPath { path: "b/b.pdf".into(), document: Some(id("doc2")) }];
    });
    let plan = plan.unwrap();
    (0..2).for_each(|shard| bench.work(&plan, shard, &changed).unwrap());
    bench.fleet.commit(&plan.id, false).unwrap();
    let mut documents = vec![SOME[0], changed[0], SOME[3], SOME[4], changed[1]];
    if joined {
        documents.extend([("f.pdf", "doc6"), ("g.pdf", "doc7"), ("h.pdf", "doc8")]);
    }
    documents.sort_unstable();
    (bench, documents)
}

#[test]
fn nothing_is_done_where_nothing_is_damaged() {
    let (bench, documents) = lived("repair-nothing", false);
    let before = (bench.fleet.newest().unwrap().unwrap().number(), bench.names());
    let repaired = bench.repair();
    assert_eq!((repaired.mended.len(), repaired.to_read.len()), (0, 0), "{repaired:?}");
    assert_eq!(repaired.snapshot, before.0);
    assert_eq!(bench.names(), before.1);
    bench.check_whole(&documents);
}

#[test]
fn codes_and_words_that_are_gone_or_damaged_are_made_again() {
    for joined in [false, true] {
        let (bench, documents) = lived(&format!("repair-derived-{joined}"), joined);
        for folder in ["codes/", "text/"] {
            // Each file once, the way it goes wrong in turn; each was put by the repair before or a part.
            let count = bench.files(folder).len();
            for n in 0..count.min(8) {
                let files = bench.files(folder);
                let name = &files[n * files.len() / count.min(8)];
                let change = CHANGES[n % 3];
                let number = bench.fleet.newest().unwrap().unwrap().number();
                bench.harm(name, change);
                bench.forget();
                assert!(bench.verify().contains(name), "{name} {change}");
                let repaired = bench.repair();
                assert!(repaired.mended.iter().any(|line| line.contains(&**name)), "{repaired:?}");
                assert_eq!((repaired.snapshot, repaired.to_read.len()), (number + 1, 0));
                assert!(!bench.files(folder).contains(name));
                bench.check_whole(&documents);
            }
        }
        // And it goes on from there.
        bench.all(&[("z.pdf", "doc10")], 1).unwrap();
        let mut more = documents.clone();
        more.push(("z.pdf", "doc10"));
        bench.check_whole(&more);
    }
}

#[test]
fn all_that_is_derived_is_made_again_at_once() {
    let (bench, documents) = lived("repair-all", true);
    let derived: Vec<String> =
        ["codes/", "text/", "rows/"].iter().flat_map(|folder| bench.files(folder)).collect();
    derived.iter().for_each(|name| bench.harm(name, "gone"));
    let coder = bench.names().into_iter().find(|name| name.starts_with("coders/")).unwrap();
    bench.harm(&coder, "damaged");
    let repaired = bench.repair();
    for name in derived.iter().chain([&coder]) {
        assert!(repaired.mended.iter().any(|line| line.contains(&**name)), "{name}: {repaired:?}");
    }
    assert_eq!(repaired.to_read.len(), 0);
    assert_eq!(bench.files("rows/").len(), 1);
    bench.check_whole(&documents);
    bench.all(&[("z.pdf", "doc10")], 1).unwrap();
    let mut more = documents;
    more.push(("z.pdf", "doc10"));
    bench.check_whole(&more);
}

#[test]
fn the_coder_is_put_again_as_the_codes_have_it() {
    for change in CHANGES {
        let (bench, documents) = lived(&format!("repair-coder-{change}"), false);
        let name = bench.names().into_iter().find(|name| name.starts_with("coders/")).unwrap();
        let bytes = wait(bench.objects.get_required(&name)).unwrap();
        bench.harm(&name, change);
        assert!(bench.repair().mended[0].contains(&name));
        assert_eq!(wait(bench.objects.get_required(&name)).unwrap(), bytes);
        bench.check_whole(&documents);
    }
}

#[test]
fn pages_that_are_gone_are_named_and_read_again_by_the_next_plan() {
    for change in CHANGES {
        let (bench, documents) = lived(&format!("repair-pages-{change}"), false);
        // The rows of `doc4`, and of no other.
        let wanted = id("doc4");
        let ledger = || bench.fleet.begin(Some(&model())).unwrap().1;
        let has_doc4 = |name: &String| {
            let bytes = wait(bench.objects.get_required(name)).unwrap();
            let hex = wanted.to_string();
            bytes.windows(hex.len()).any(|some| some == hex.as_bytes())
        };
        let files = bench.files("pages.lance/data/");
        let name = files.iter().find(|name| has_doc4(name)).expect("its rows lie somewhere");
        bench.harm(name, change);
        let repaired = bench.repair();
        let pages: Vec<(String, u32)> = (1..=3).map(|page| ("d.pdf".into(), page)).collect();
        assert_eq!(repaired.to_read, pages, "{repaired:?}");
        assert!(repaired.mended.iter().any(|line| line.contains(&**name)), "{repaired:?}");
        bench.forget();
        assert_eq!(bench.verify(), BTreeSet::new());
        let record = ledger().into_iter().find(|record| record.path == "d.pdf").unwrap();
        assert_eq!((record.status, record.pages_indexed), (DocumentStatus::InProgress, 0));
        let reader = bench.reader();
        let mut seen = 0;
        reader
            .scan(None, &mut |batch| {
                seen += batch.len();
                assert!(batch.iter().all(|(page, _)| page.document != wanted));
            })
            .unwrap();
        assert_eq!(seen, 3 * (documents.len() - 1));
        drop(reader);
        assert_eq!(bench.repair().mended, [] as [String; 0], "once is enough");
        bench.sweep();
        bench.check_closure();
        bench.all(&[("d.pdf", "doc4")], 1).unwrap();
        bench.check_whole(&documents);
    }
}

#[test]
fn a_part_of_the_ledger_that_is_gone_is_forgotten_and_planned_again() {
    let (bench, documents) = lived("repair-ledger", false);
    let before = bench.fleet.begin(Some(&model())).unwrap().1;
    let files = bench.files("documents.lance/data/");
    bench.harm(&files[0], "gone");
    let repaired = bench.repair();
    assert!(repaired.mended.iter().any(|line| line.contains(&files[0])), "{repaired:?}");
    bench.forget();
    assert_eq!(bench.verify(), BTreeSet::new());
    let after = bench.fleet.begin(Some(&model())).unwrap().1;
    let paths: BTreeSet<&String> = after.iter().map(|record| &record.path).collect();
    let lost: Vec<(&str, &str)> =
        documents.iter().filter(|(path, _)| !paths.contains(&path.to_string())).copied().collect();
    assert_eq!(after.len() + lost.len(), before.len());
    assert!(!lost.is_empty());
    bench.all(&lost, 1).unwrap();
    bench.check_whole(&documents);
}

#[test]
fn a_list_of_deleted_rows_that_is_gone_takes_its_fragment_with_it() {
    // The rows of a document that is dropped lie in one file with those of another.
    let bench = Bench::new("repair-deleted");
    let plan = bench.plan(&SOME[..2], 1).unwrap();
    bench.work(&plan, 0, &SOME).unwrap();
    bench.fleet.commit(&plan.id, false).unwrap();
    let half = [("a.pdf", "doc1"), ("x.pdf", "doc1 and more")];
    let plan = bench.plan_with(&half[1..], 1, |work| {
        work.dropped = vec![DroppedPath { path: "a.pdf".into(), document: Some(id("doc1")) }];
    });
    let plan = plan.unwrap();
    bench.work(&plan, 0, &half).unwrap();
    bench.fleet.commit(&plan.id, false).unwrap();
    let deleted = bench.files("documents.lance/_deletions/");
    for name in &deleted {
        bench.harm(name, "gone");
    }
    assert!(!deleted.is_empty());
    let repaired = bench.repair();
    assert!(repaired.mended.iter().any(|line| line.contains(&deleted[0])), "{repaired:?}");
    bench.forget();
    assert_eq!(bench.verify(), BTreeSet::new());
    bench.all(&[SOME[1], half[1]], 1).unwrap();
    bench.check_whole(&[SOME[1], half[1]]);
}

#[test]
fn manifests_that_are_gone_are_made_again() {
    for (n, change) in CHANGES.iter().enumerate() {
        let (bench, documents) = lived(&format!("repair-manifest-{change}"), true);
        // Of two, as an index with very many files has them, all or one.
        let newest = wait(async {
            let mut newest = log::newest(&bench.objects).await?.expect("there is one");
            let (mut one, mut other) = (BTreeMap::new(), BTreeMap::new());
            for (n, (name, mark)) in newest.files(&bench.objects).await?.into_iter().enumerate() {
                if n % 2 == 0 { &mut one } else { &mut other }.insert(name, mark);
            }
            newest.snapshot.number += 1;
            newest.nonce = "two manifests".into();
            newest.manifests.clear();
            for files in [one, other] {
                let number = newest.snapshot.number;
                newest
                    .manifests
                    .extend(write_manifests(&bench.objects, number, &[], &files).await?);
            }
            assert!(log::publish(&bench.objects, &newest).await?);
            Ok(newest)
        });
        let newest = newest.unwrap();
        let names: Vec<&String> = newest.manifests.iter().map(|mark| &mark.name).collect();
        let names = [&names[..], &names[..1], &names[1..]][n];
        names.iter().for_each(|name| bench.harm(name, change));
        bench.forget();
        assert!(!bench.verify().is_empty());
        let repaired = bench.repair();
        for &name in names {
            assert!(repaired.mended.iter().any(|line| line.contains(&**name)), "{repaired:?}");
        }
        assert_eq!(repaired.to_read.len(), 0);
        bench.check_whole(&documents);
    }
}

/// Codes that are made again are measured as those of before were.
#[test]
fn pages_that_are_coded_again_are_measured_by_the_neutral_questions() {
    let (bench, documents) = lived("repair-neutral", false);
    let neutral = |name: &str| {
        LazyNeutral::new(name, |name| {
            Neutral::new(name, &[QueryVectors::of_rows(2, vec![0.6, 0.8]).unwrap()])
        })
    };
    let measured = || {
        bench.forget();
        let codes = bench.reader().codes().unwrap().unwrap();
        codes.living().iter().filter(|slot| codes.background(slot).is_some()).count()
    };
    let harm_all = || bench.files("codes/").iter().for_each(|name| bench.harm(name, "gone"));
    assert_eq!(measured(), 0);
    harm_all();
    assert!(!bench.fleet.repair(Some(&neutral("any one"))).unwrap().mended.is_empty());
    assert_eq!(measured(), 3 * documents.len());
    bench.check_whole(&documents);
    harm_all();
    assert!(!bench.repair().mended.is_empty());
    assert_eq!(measured(), 0, "where no model is at hand, searches measure");
}

#[test]
fn what_nothing_has_a_second_time_is_named() {
    for begin in ["documents.lance/_versions/", "pages.lance/_versions/", "snapshots/"] {
        let (bench, documents) = lived(&format!("repair-refused-{}", &begin[..5]), false);
        let name = match begin {
            "snapshots/" => log::name(bench.fleet.newest().unwrap().unwrap().number()),
            _ => bench.files(begin)[0].clone(),
        };
        let bytes = wait(bench.objects.get_required(&name)).unwrap();
        bench.harm(&name, "damaged");
        let names = bench.names();
        let error = bench.fleet.repair(None).unwrap_err();
        assert!(matches!(error, StoreError::Irreplaceable { .. }), "{error}");
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(bench.names(), names, "nothing is left behind");
        wait(bench.objects.put(&name, bytes)).unwrap();
        bench.check_whole(&documents);
    }
}

#[test]
fn codes_of_what_was_read_again_are_those_of_its_rows() {
    let mut bench = Bench::new("repair-again");
    for document in &SOME[..3] {
        bench.all(&[*document], 1).unwrap();
    }
    let first = bench.files("codes/");
    let rows = bench.files("pages.lance/data/");
    let of_doc1 = rows.iter().find(|name| {
        let hex = id("doc1").to_string();
        let bytes = wait(bench.objects.get_required(name)).unwrap();
        bytes.windows(hex.len()).any(|some| some == hex.as_bytes())
    });
    bench.harm(of_doc1.unwrap(), "gone");
    assert_eq!(bench.repair().to_read.len(), 3);
    // Read again it has other vectors, as by a model on another kind of machine.
    bench.times = 2;
    bench.all(&SOME[..1], 1).unwrap();
    let before = coded(&bench.reader());
    let names = bench.reader().snapshot().codes.clone().unwrap();
    // With what dropped the codes of before and with those that came after them, these live again.
    for name in names.iter().map(|name| format!("codes/{name}")) {
        if !first.contains(&name) {
            bench.harm(&name, "gone");
        }
    }
    let repaired = bench.repair();
    assert!(repaired.mended[0].contains("3 pages are derived"), "{repaired:?}");
    assert_eq!(coded(&bench.reader()), before);
    assert_eq!(bench.verify(), BTreeSet::new());
}

/// An index with damage of every kind that can be mended without reading a document again.
fn harmed(name: &str) -> (Bench, Vec<(&'static str, &'static str)>) {
    let (bench, documents) = lived(name, true);
    for (folder, change) in [("codes/", "gone"), ("text/", "damaged"), ("rows/", "gone")] {
        bench.harm(&bench.files(folder)[0], change);
    }
    let coder = bench.names().into_iter().find(|name| name.starts_with("coders/")).unwrap();
    bench.harm(&coder, "gone");
    (bench, documents)
}

#[test]
fn repairing_may_stop_at_some_puts() {
    repairing_stops(5);
}

#[test]
#[ignore = "minutes: `make fleet` runs it"]
fn repairing_may_stop_at_any_put() {
    repairing_stops(1);
}

fn repairing_stops(step: usize) {
    let (counted, documents) = harmed("repair-counted");
    let before = counted.faults.puts();
    assert!(!counted.repair().mended.is_empty());
    let puts = counted.faults.puts() - before;
    counted.check_whole(&documents);
    assert!(puts > 8, "{puts}");
    for (n, nth) in (1..=puts).step_by(step).enumerate() {
        let kinds = ["die", "die-after", "before", "after", "instead", "conflict"];
        let kinds = if step == 1 { &kinds[..] } else { &kinds[n % 6..=n % 6] };
        for what in kinds {
            let (bench, _) = harmed(&format!("repair-{nth}-{step}-{what}"));
            let number = bench.fleet.newest().unwrap().unwrap().number();
            bench.faults.at_put(nth, what);
            bench.forget();
            let first = bench.fleet.repair(None);
            bench.faults.heal();
            let newest = bench.fleet.newest().unwrap().unwrap().number();
            match &first {
                Ok(repaired) => assert_eq!((repaired.snapshot, newest), (number + 1, number + 1)),
                // As it was, or, where it was killed after the last put, mended.
                Err(_) => assert!(newest == number || newest == number + 1, "{what} at {nth}"),
            }
            let second = bench.repair();
            assert_eq!(second.mended.is_empty(), newest == number + 1, "{second:?}");
            assert_eq!(bench.repair().mended, [] as [String; 0], "{what} at {nth}");
            bench.check_whole(&documents);
        }
    }
}

#[test]
fn repairs_commits_and_sweeps_at_once_lose_nothing() {
    let (bench, mut documents) = harmed("repair-race");
    // Workers need the coder, which is gone.
    assert!(!bench.repair().mended.is_empty());
    let more = [("x.pdf", "doc11"), ("y.pdf", "doc12")];
    let codes = bench.files("codes/");
    let plans: Vec<_> = more.iter().map(|one| bench.plan(&[*one], 1).unwrap()).collect();
    plans.iter().for_each(|plan| bench.work(plan, 0, &more).unwrap());
    bench.harm(&codes[0], "gone");
    bench.forget();
    std::thread::scope(|scope| {
        scope.spawn(|| bench.fleet.repair(None).unwrap());
        scope.spawn(|| bench.fleet.repair(None).unwrap());
        scope.spawn(|| bench.sweep());
        for plan in &plans {
            scope.spawn(|| bench.fleet.commit(&plan.id, false).unwrap());
        }
    });
    documents.extend(more);
    documents.sort_unstable();
    assert_eq!(bench.repair().mended, [] as [String; 0]);
    bench.check_whole(&documents);
}
