//! The local copy: damaged, half written, in pieces, and as large as it may be.

use pagesight_maxsim::Slot;

use super::{Bench, SOME, check_same, coded, one_machine, one_machine_of};
use crate::Reader;
use crate::bucket::mirror::{LocalCopy, Mirror};
use crate::bucket::room::Room;
use crate::bucket::sparse::Pieces;
use crate::error::StoreError;
use crate::runtime::wait;

/// Files come in pieces, however small they are.
pub(super) fn in_pieces(name: &str) -> Bench {
    Bench { times: 2000, pieces: Pieces { small: 0, end: 100, part: 1000 }, ..Bench::new(name) }
}

/// How many pages have their codes in the files here, of how many.
pub(super) fn here(reader: &Reader) -> (usize, usize) {
    let codes = reader.codes().unwrap().unwrap();
    let has = |slot: &&Slot| codes.segments()[slot.segment as usize].has(slot.index as usize);
    (codes.living().iter().filter(has).count(), codes.living().len())
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
    crate::bucket::mirror::forget();
    let (reader, one) = (bench.reader(), one_machine(bench.place.path(), &SOME));
    check_same(&reader, &one);
    // What a running search finds damaged is fetched and mapped anew with the next look.
    assert!(reader.newer().unwrap().is_none());
    reader.report_damaged_codes();
    let again = reader.newer().unwrap().expect("opened anew");
    assert_eq!(again.snapshot().number(), reader.snapshot().number());
    check_same(&again, &one);
}

#[test]
fn flipped_bits_of_a_copy_in_pieces_change_no_answer() {
    let bench = in_pieces("sparse-flipped");
    bench.all(&SOME, 2).unwrap();
    let one = one_machine_of(bench.place.path(), &SOME, bench.times);
    check_same(&bench.reader(), &one);
    let folder = Mirror::new(&bench.local(), &bench.objects).folder().join("codes");
    for round in 0..8 {
        crate::bucket::mirror::forget();
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
    crate::bucket::mirror::forget();
    let again = bench.reader();
    assert_eq!(here(&again), (15, 15));
    bench.faults.at_put(1, "die");
    assert!(wait(bench.objects.put("x", Vec::new())).is_err());
    assert_eq!(coded(&again), coded(&one));
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
    crate::bucket::mirror::forget();
    let mut reader = bench.reader_with(&between).unwrap();
    for _ in 0..3 {
        check_same(&reader, &one);
        reader = reader.newer().unwrap().unwrap_or(reader);
        assert!(on_disk() <= (least + most) / 2, "{least} {} {most}", on_disk());
    }
    assert!(here(&reader).0 < 15);
}
