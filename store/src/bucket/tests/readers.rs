//! Readers hold what they read; of one that was killed the lease runs out.

use super::{Bench, SOME, check_same, one_machine};
use crate::bucket::gc::Keeping;

#[test]
fn a_reader_keeps_its_snapshot_while_garbage_is_collected() {
    let bench = Bench::new("fleet-reader");
    bench.all(&SOME[..2], 1).unwrap();
    let reader = bench.reader();
    bench.put_in_place_of_the_first(&SOME[2..]).unwrap();
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
