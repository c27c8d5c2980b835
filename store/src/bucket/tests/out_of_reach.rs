//! A bucket that is out of reach, or does not keep to what was asked.

use std::time::{Duration, Instant};

use pagesight_core::PageId;
use pagesight_core::seam::{OutOfReach, TextIndex, VectorSource};
use pagesight_maxsim::HereError;

use super::local_copy::in_pieces;
use super::{Bench, QUESTIONS, SOME, coded, one_machine};
use crate::Reader;
use crate::bucket::mirror::{LocalCopy, Mirror};
use crate::error::StoreError;
use crate::runtime::wait;

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
fn a_copy_that_was_filled_shows_every_page_without_the_store() {
    let bench = Bench::new("fleet-texts");
    bench.all(&SOME[..3], 1).unwrap();
    bench.put_in_place_of_the_first(&SOME[3..]).unwrap();
    let one = one_machine(bench.place.path(), &SOME[1..]);
    let ids: Vec<PageId> = coded(&one).into_keys().collect();
    let local = LocalCopy { fill: true, ..bench.local() };
    let reader = bench.reader_with(&local).unwrap();
    let start = Instant::now();
    while reader.pages_here(&ids).unwrap().len() < ids.len() {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(reader);
    // Another process, to which the store answers until it is open.
    let reader = bench.reader_with(&local).unwrap();
    bench.faults.at_put(1, "die");
    assert!(wait(bench.objects.put("x", Vec::new())).is_err());
    bench.faults.asked();
    assert_eq!(reader.pages(&ids).unwrap(), one.pages(&ids).unwrap());
    assert!(bench.faults.asked().is_empty(), "a text that is here is read here");
    bench.faults.heal();
    // One that is damaged here is read there.
    let folder = Mirror::new(&local, &bench.objects).folder().join("texts");
    let reader = bench.reader_with(&bench.local()).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 3;
        bytes[at..at + 200].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(reader.pages(&ids).unwrap(), one.pages(&ids).unwrap());
}

#[test]
fn nobody_waits_for_a_store_that_does_not_answer() {
    let bench = Bench::new("fleet-silent");
    bench.all(&SOME[..2], 1).unwrap();
    let (reader, one) = (bench.reader(), one_machine(bench.place.path(), &SOME[..2]));
    let ids: Vec<PageId> = coded(&one).into_keys().collect();
    bench.faults.fall_silent();
    // The first who asks finds out, as long as it takes; the others do not wait.
    assert!(matches!(reader.pages(&ids), Err(StoreError::OutOfReach { source: Some(_), .. })));
    let start = Instant::now();
    assert!(matches!(reader.pages(&ids), Err(StoreError::OutOfReach { source: None, .. })));
    let error = reader.vectors_of(&ids).unwrap_err();
    assert!(error.is::<OutOfReach>(), "{error}");
    assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    assert!(reader.newer().is_err());
    bench.faults.heal();
    // Who looks for newer snapshots sees that it is back.
    assert!(reader.newer().unwrap().is_none());
    assert_eq!(reader.pages(&ids).unwrap(), one.pages(&ids).unwrap());
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
fn a_store_that_ignores_conditions_is_refused_and_nothing_is_left() {
    let bench = Bench::new("fleet-careless");
    bench.faults.ignore_conditions();
    let error = bench.plan(&SOME, 1).unwrap_err();
    assert!(matches!(error, StoreError::Conditions { .. }), "{error}");
    assert!(error.to_string().contains("conditional"), "{error}");
    assert_eq!(bench.names().into_iter().collect::<Vec<_>>(), ["conditional-put"]);
}
