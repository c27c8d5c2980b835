//! Puts that fail: a worker, a committer or a sweeper is killed before or after any of them, or the
//! answer is lost.

use super::{Bench, SOME, check_same, model, one_machine};
use crate::bucket::gc::Keeping;
use crate::error::StoreError;

/// A whole life: plan, work, commit, a second plan that drops and changes, and garbage collected.
fn life(bench: &Bench) -> Result<(), StoreError> {
    let newest = bench.fleet.newest()?.map_or(0, |snapshot| snapshot.documents());
    if newest == 0 {
        bench.all(&SOME[..2], 1)?;
    }
    let ledger = bench.fleet.begin(Some(&model()))?.1;
    if ledger.iter().any(|record| record.path == "a.pdf") {
        bench.put_in_place_of_the_first(&SOME[2..3])?;
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
