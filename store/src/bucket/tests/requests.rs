//! How many requests a reader takes to open an index and to show its first pages, and what it takes them
//! for.

use pagesight_core::PageId;

use super::local_copy::{here, in_pieces};
use super::{Bench, SOME, check_same, id, one_machine, one_machine_of};
use crate::Reader;
use crate::bucket::mirror::{LocalCopy, Mirror};
use crate::bucket::record::DroppedPath;
use crate::bucket::sparse::Pieces;
use crate::reader::AsyncReader;
use crate::runtime::wait;

/// Twenty documents.
fn many() -> Vec<(String, String)> {
    (0..20).map(|n| (format!("{n:02}.pdf"), format!("doc{n}"))).collect()
}

fn page(content: &str) -> PageId {
    PageId { document: id(content), number: 2 }
}

/// What of the bucket was read since that was asked last, by folder.
fn read(bench: &Bench, folder: &str) -> usize {
    let asked = bench.faults.asked();
    asked.iter().filter(|(kind, name)| *kind == "get" && name.starts_with(folder)).count()
}

#[test]
fn where_rows_lie_is_known_without_a_request_to_each_file_of_the_table() {
    let bench = Bench::new("requests-rows");
    let documents = many();
    let documents: Vec<(&str, &str)> = documents.iter().map(|(a, b)| (&**a, &**b)).collect();
    bench.all(&documents, 2).unwrap();
    let reader = bench.reader();
    bench.faults.asked();
    // The second time a process asks, it wants to know where all pages lie.
    for content in ["doc3", "doc7"] {
        assert_eq!(reader.pages(&[page(content)]).unwrap().len(), 1);
    }
    let of_two = read(&bench, "pages.lance/data/");
    assert!((1..=16).contains(&of_two), "{of_two} requests for two of 20 files");
    check_same(&reader, &one_machine(bench.place.path(), &documents));
    // A list is fetched once: the next reader of this machine has it.
    drop(reader);
    bench.faults.asked();
    drop(bench.reader());
    assert_eq!(read(&bench, "rows/"), 0);
}

#[test]
fn rows_that_were_dropped_or_that_no_list_names_are_found_as_they_are() {
    let bench = Bench::new("requests-old");
    // As a worker laid it down that wrote no lists.
    let plan = bench.plan(&SOME[..3], 1).unwrap();
    bench.work(&plan, 0, &SOME).unwrap();
    for name in bench.names().iter().filter(|name| name.contains("/parts/")) {
        wait(async {
            let bytes = bench.objects.get_required(name).await?;
            let mut part: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            part.as_object_mut().unwrap().remove("rows").expect("it has a list");
            bench.objects.put(name, serde_json::to_vec(&part).unwrap()).await
        })
        .unwrap();
    }
    bench.fleet.commit(&plan.id, false).unwrap();
    assert!(!bench.names().iter().any(|name| name.starts_with("rows/")));
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME[..3]));
    // One of these goes, and one that a list names, and one comes anew.
    bench.all(&SOME[3..], 1).unwrap();
    let dropped =
        |path: &str, content| DroppedPath { path: path.into(), document: Some(id(content)) };
    let changed = [("d.pdf", "doc4 changed")];
    let plan = bench
        .plan_with(&changed, 1, |work| {
            work.dropped = vec![dropped("a.pdf", "doc1"), dropped("e.pdf", "doc5")];
        })
        .unwrap();
    bench.work(&plan, 0, &changed).unwrap();
    bench.fleet.commit(&plan.id, false).unwrap();
    let reader = bench.reader();
    let after = [("b/b.pdf", "doc2"), ("c.pdf", "doc3"), ("d.pdf", "doc4 changed")];
    check_same(&reader, &one_machine(bench.place.path(), &after));
    for gone in ["doc1", "doc4", "doc5"] {
        assert!(reader.pages(&[page(gone)]).unwrap().is_empty(), "{gone}");
    }
}

#[test]
fn a_ledger_of_many_commits_is_read_as_quickly_as_one_of_a_few() {
    let bench = Bench::new("requests-ledger");
    let documents = many();
    let documents: Vec<(&str, &str)> = documents.iter().map(|(a, b)| (&**a, &**b)).collect();
    for document in &documents[..12] {
        bench.all(&[*document], 1).unwrap();
    }
    bench.faults.asked();
    drop(bench.reader().documents().unwrap());
    let before = read(&bench, "documents.lance/data/");
    assert!(bench.sweep().joined);
    let files = |folder: &str| bench.names().iter().filter(|name| name.starts_with(folder)).count();
    assert_eq!((files("documents.lance/data/"), files("rows/")), (1, 1));
    bench.faults.asked();
    let reader = bench.reader();
    assert_eq!(reader.documents().unwrap().len(), 12);
    let after = read(&bench, "documents.lance/data/");
    assert!(after * 8 <= before, "{before} {after}");
    check_same(&reader, &one_machine(bench.place.path(), &documents[..12]));
    drop(reader);
    bench.sweep();
    bench.check_closure();
    // And it goes on from there.
    bench.all(&documents[12..], 3).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &documents));
}

#[test]
fn the_sketches_of_a_file_of_codes_come_in_one_request_with_its_lists() {
    let bench = in_pieces("requests-codes");
    bench.all(&SOME, 1).unwrap();
    let one = one_machine_of(bench.place.path(), &SOME, bench.times);
    let opened = |pieces: Pieces, folder: &str| {
        let local = LocalCopy::in_folder(bench.place.path().join(folder));
        let mirror = Mirror::new(&local, &bench.objects).with_pieces(pieces);
        bench.faults.asked();
        let reader =
            wait(AsyncReader::open_bucket(bench.objects.clone(), mirror)).map(Reader::over);
        (reader.unwrap(), read(&bench, "codes/"))
    };
    // A tenth of these files, and then no more than the lists of a page.
    let (reader, together) = opened(Pieces { small: 0, end: 100, part: 10 }, "together");
    let (_, apart) = opened(Pieces { small: 0, end: 100, part: 1000 }, "apart");
    assert_eq!(together, SOME.len());
    assert!(apart >= 3 * SOME.len(), "{apart}");
    let codes = reader.codes().unwrap().unwrap();
    assert!(codes.segments().iter().all(pagesight_maxsim::Segment::are_sketches_sound));
    assert_eq!(here(&reader).0, 0);
    check_same(&reader, &one);
}
