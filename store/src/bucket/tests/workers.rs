//! Workers: two at one shard, and those that are refused. What a killed one leaves is in `puts`.

use pagesight_core::seam::{Batch, PageSink};
use pagesight_core::{ModelId, ModelRecord};

use super::{Bench, SOME, check_same, document, model, one_machine};
use crate::error::StoreError;

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
fn new_words_for_pages_of_before_are_refused_and_nothing_is_laid_down() {
    let bench = Bench::new("fleet-words");
    let plan = bench.plan(&SOME, 1).unwrap();
    let mut worker = bench.fleet.worker(&plan.id, 0, 1, Some(&model().id)).unwrap().unwrap();
    let before = bench.names();
    let (_, words) = document("a.pdf", "doc1");
    let error = worker.commit(Batch { words, ..Batch::default() }).unwrap_err();
    let error = *error.downcast::<StoreError>().unwrap();
    assert!(matches!(error, StoreError::WordsOfPart { shard: 0, pages: 3 }), "{error}");
    assert_eq!(bench.names(), before);
    // The shard goes on as if nothing had been asked.
    bench.work(&plan, 0, &SOME).unwrap();
    bench.fleet.commit(&plan.id, false).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
}
