//! A committer that sleeps while others commit and sweep.

use super::{Bench, SOME, check_same, one_machine};
use crate::bucket::{commit, log};
use crate::runtime::wait;

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
    let woken = commit::attempt(&bench.objects, &tables, &late.id, false, &before, &scratch);
    // Its number is taken, or what it built on is gone.
    assert!(matches!(wait(woken), Ok(None) | Err(_)));
    assert_eq!(newest(), number);
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME[2..]));
    assert!(!bench.fleet.commit(&late.id, false).unwrap().already);
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    bench.sweep();
    bench.check_closure();
}
