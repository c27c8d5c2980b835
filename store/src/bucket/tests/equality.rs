//! What a fleet makes is what one machine makes, whole or in part, changed or moved.

use super::{Bench, SOME, check_same, document, id, one_machine};
use crate::bucket::record::DroppedPath;
use crate::error::StoreError;

#[test]
fn a_fleet_makes_what_one_machine_makes() {
    let bench = Bench::new("fleet-one");
    let plan = bench.all(&SOME, 3).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    let again = bench.fleet.commit(&plan.id, false).unwrap();
    assert!(again.already && again.snapshot == 2);
    assert_eq!(bench.fleet.committed_in(&plan.id).unwrap(), Some(2));
    bench.sweep();
    bench.check_closure();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    // Said again after its parts were swept away.
    assert!(bench.fleet.commit(&plan.id, false).unwrap().already);
}

#[test]
fn changes_drops_and_renames_leave_what_one_machine_has() {
    let bench = Bench::new("fleet-changes");
    bench.all(&SOME, 2).unwrap();
    let renamed = document("z/renamed.pdf", "doc2").0;
    let plan = bench
        .plan_with(&[("a.pdf", "doc1 changed"), ("f.pdf", "doc6")], 2, |work| {
            let dropped = |path: &str, content| DroppedPath {
                path: path.into(),
                document: Some(id(content)),
            };
            work.dropped = vec![dropped("b/b.pdf", "doc2"), dropped("c.pdf", "doc3")];
            work.renamed = vec![renamed];
        })
        .unwrap();
    for shard in 0..2 {
        bench.work(&plan, shard, &[("a.pdf", "doc1 changed"), ("f.pdf", "doc6")]).unwrap();
    }
    bench.fleet.commit(&plan.id, false).unwrap();
    let after = [
        ("a.pdf", "doc1 changed"),
        ("d.pdf", "doc4"),
        ("e.pdf", "doc5"),
        ("f.pdf", "doc6"),
        ("z/renamed.pdf", "doc2"),
    ];
    check_same(&bench.reader(), &one_machine(bench.place.path(), &after));
    bench.sweep();
    bench.check_closure();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &after));
}

#[test]
fn an_open_shard_is_named_and_a_partial_commit_takes_what_is_there() {
    let bench = Bench::new("fleet-partial");
    let plan = bench.plan(&SOME, 5).unwrap();
    bench.work(&plan, 0, &SOME).unwrap();
    bench.work(&plan, 2, &SOME).unwrap();
    let error = bench.fleet.commit(&plan.id, false).unwrap_err().to_string();
    assert!(error.contains("1/5, 3/5, 4/5"), "{error}");
    assert_eq!(bench.fleet.newest().unwrap().unwrap().number(), 1);
    let partial = bench.fleet.commit(&plan.id, true).unwrap();
    assert_eq!((partial.snapshot, partial.open), (2, vec![1, 3, 4]));
    let open = bench.fleet.plans().unwrap().0;
    assert_eq!((open[0].shards, open[0].done), (5, 2));
    bench.sweep();
    for shard in 0..5 {
        bench.work(&plan, shard, &SOME).unwrap();
    }
    bench.fleet.commit(&plan.id, false).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    bench.sweep();
    bench.check_closure();
}

#[test]
fn an_export_becomes_an_index_in_a_bucket_and_back() {
    let bench = Bench::new("fleet-import");
    let one = one_machine(bench.place.path(), &SOME);
    let (out, back) = (bench.place.path().join("out"), bench.place.path().join("back"));
    crate::export(&one.folder(), &out).unwrap();
    let snapshot = bench.fleet.import(&out).unwrap();
    assert_eq!((snapshot.documents(), snapshot.pages()), (5, 15));
    check_same(&bench.reader(), &one);
    assert!(matches!(bench.fleet.import(&out), Err(StoreError::Exists { .. })));
    // And pages are added to it.
    bench.all(&[("g.pdf", "doc7")], 1).unwrap();
    let mut more = SOME.to_vec();
    more.push(("g.pdf", "doc7"));
    check_same(&bench.reader(), &one_machine(bench.place.path(), &more));
    let _ = back;
}
