//! An index that is shared out over several machines: what each has, and what they have together.

use std::collections::BTreeMap;

use pagesight_core::seam::{TextIndex, WordsPart};
use pagesight_core::{Found, Frequencies, PageId, Sums, WordFacts};

use super::local_copy::{here, in_pieces};
use super::{Bench, SOME, coded, id, one_machine_of};
use crate::bucket::mirror::LocalCopy;
use crate::bucket::record::DroppedPath;
use crate::bucket::share::Share;
use crate::error::StoreError;
use crate::{JoinedWords, Reader};

/// Questions of every kind of word that is looked up in its own way.
const ASKED: [&str; 8] = [
    "apple",
    "orchard harvest",
    "number3",
    "\"doc4 apple\"",
    "a",
    "doc2 pdf",
    "the harvest of number1 zebra",
    "nowhere",
];

fn part(bench: &Bench, at: usize, of: usize) -> Reader {
    bench.reader_with(&LocalCopy { share: Share::Part { at, of }, ..bench.local() }).unwrap()
}

/// An index of several commits, one of which drops a document and brings another.
fn shared(name: &str) -> (Bench, Vec<(&'static str, &'static str)>) {
    let bench = in_pieces(name);
    bench.all(&SOME[..4], 4).unwrap();
    let dropped = DroppedPath { path: "b/b.pdf".into(), document: Some(id("doc2")) };
    let plan = bench.plan_with(&SOME[4..], 1, |work| work.dropped = vec![dropped]).unwrap();
    bench.work(&plan, 0, &SOME).unwrap();
    bench.fleet.commit(&plan.id, false).unwrap();
    let mut documents = SOME.to_vec();
    documents.remove(1);
    (bench, documents)
}

/// What the parts find together.
fn found(parts: &[Reader], query: &str, k: usize) -> (Found, Frequencies) {
    let all = parts.iter().fold(WordFacts::default(), |all, part| all.and(&part.facts()));
    let have = parts.iter().fold(Frequencies::default(), |have, part| {
        have.and(&part.frequencies(query, &all).unwrap())
    });
    let (mut pages, mut sums, mut searched, mut most) = (Vec::new(), Sums::default(), 0, 0.0);
    for part in parts {
        let here = part.search_words(query, k, None, (&all, &have)).unwrap();
        pages.extend(here.pages);
        (sums, searched, most) = (sums.and(here.sums), searched + here.searched, here.most);
    }
    pages.sort_by(|a: &(PageId, f32), b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    pages.truncate(k);
    (Found { pages, scale: sums.scale(searched, most) }, have)
}

#[test]
fn parts_have_every_page_once_and_find_by_words_what_one_machine_finds() {
    let (bench, documents) = shared("shares");
    let one = one_machine_of(bench.place.path(), &documents, bench.times);
    for of in [1, 2, 3, 4] {
        let parts: Vec<Reader> = (0..of).map(|at| part(&bench, at, of)).collect();
        // Nothing of the codes of pages is here before they are compared.
        assert!(parts.iter().all(|part| here(part).0 == 0));
        let mut all = BTreeMap::new();
        for part in &parts {
            for (page, codes) in coded(part) {
                assert!(all.insert(page, codes).is_none(), "{page} is in two parts");
            }
        }
        assert_eq!(all, coded(&one));
        let extent = |reader: &Reader| reader.codes().unwrap().unwrap().extent();
        let sum = parts.iter().map(extent).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        assert_eq!(sum, extent(&bench.reader()));
        let facts: Vec<WordFacts> = parts.iter().map(WordsPart::facts).collect();
        assert_eq!(JoinedWords::of(&facts).facts(), &one.facts());
        for query in ASKED {
            for k in [1, 3, 100] {
                let (found, have) = found(&parts, query, k);
                let expected = one.search_text(query, k, None).unwrap();
                let bits = |found: &Found| -> Vec<(PageId, u32)> {
                    found.pages.iter().map(|(page, score)| (*page, score.to_bits())).collect()
                };
                assert_eq!(
                    (bits(&found), found.scale),
                    (bits(&expected), expected.scale),
                    "{query}"
                );
                let text = "A zebra in the orchard: apple, harvest and number3 of doc2 in a row";
                let snippet = JoinedWords::of(&facts).snippet(query, text, &have);
                assert_eq!(snippet, one.snippet(query, text), "{query}");
            }
        }
    }
}

#[test]
fn a_part_copies_the_sketches_and_words_of_its_own_files_alone() {
    let (bench, _) = shared("shares-disk");
    let folder = |share: Share| {
        let local = LocalCopy { share, ..bench.local() };
        drop(bench.reader_with(&local).unwrap());
        let mirror = crate::bucket::mirror::Mirror::new(&local, &bench.objects);
        let bytes = crate::bucket::room::Room::of(mirror.folder(), Some(u64::MAX)).used();
        let words = std::fs::read_dir(mirror.folder().join("text")).unwrap().count();
        (bytes, words)
    };
    let whole = folder(Share::Whole);
    let parts: Vec<(u64, usize)> = (0..3).map(|at| folder(Share::Part { at, of: 3 })).collect();
    assert_eq!(parts.iter().map(|part| part.1).sum::<usize>(), whole.1);
    let names = bench.names();
    for (at, part) in parts.iter().enumerate() {
        let mut codes = names.iter().filter_map(|name| name.strip_prefix("codes/"));
        // By chance one part may have all files.
        let has_all = codes.all(|name| Share::Part { at, of: 3 }.has(name)) && part.1 == whole.1;
        assert_eq!(part.0 < whole.0, !has_all, "{parts:?} {whole:?}");
    }
    assert_eq!(folder(Share::Nothing).1, 0);
    // After a restart nothing is fetched again but the snapshot and the tables.
    crate::bucket::mirror::forget();
    bench.faults.asked();
    drop(part(&bench, 1, 3));
    let asked = bench.faults.asked();
    let fetched =
        |begin: &str| asked.iter().any(|(kind, name)| *kind == "get" && name.starts_with(begin));
    assert!(!fetched("codes/") && !fetched("text/"), "{asked:?}");
}

#[test]
fn a_part_that_lost_its_lists_of_another_says_so() {
    let (bench, _) = shared("shares-lost");
    let names: Vec<String> =
        bench.names().into_iter().filter(|name| name.starts_with("codes/")).collect();
    crate::runtime::wait(bench.objects.remove(&names[..1])).unwrap();
    crate::bucket::mirror::forget();
    for at in 0..2 {
        let part = part(&bench, at, 2);
        // Without it nobody knows which pages are replaced: no codes are better than wrong ones.
        assert!(matches!(part.codes(), Err(StoreError::Codes { .. })));
    }
}
