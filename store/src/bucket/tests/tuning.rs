//! What searches are tuned to, in a bucket: a snapshot of its own.

use pagesight_core::Quality;

use super::{Bench, SOME, check_same, one_machine};
use crate::Tuning;

#[test]
fn a_setting_is_a_snapshot_of_its_own_that_commits_and_sweeps_keep() {
    let bench = Bench::new("tuned");
    bench.all(&SOME[..2], 1).unwrap();
    let reader = bench.reader();
    let tuning =
        Tuning::new(Some(64), Quality { overlap10: 0.99, ndcg_ratio: 1.0, questions: 40 }, 2);
    let plan = bench.plan(&SOME[2..], 1).unwrap();
    bench.work(&plan, 0, &SOME).unwrap();
    // Beside a commit: whoever is second begins again.
    std::thread::scope(|scope| {
        scope.spawn(|| bench.fleet.set_tuning(Some(&tuning)).unwrap());
        scope.spawn(|| bench.fleet.commit(&plan.id, false).unwrap());
    });
    let newest = || bench.fleet.newest().unwrap().unwrap();
    assert_eq!((newest().number(), newest().tuning()), (4, Some(&tuning)));
    bench.sweep();
    let newer = reader.newer().unwrap().expect("a newer one");
    assert_eq!(newer.snapshot().tuning(), Some(&tuning));
    check_same(&newer, &one_machine(bench.place.path(), &SOME));
    assert_eq!(bench.fleet.set_tuning(None).unwrap().tuning(), None);
    drop((reader, newer));
    bench.sweep();
    bench.check_closure();
}
