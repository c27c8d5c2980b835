//! Small files are joined while others commit, and the joining may stop at any put.

use super::{Bench, SOME, check_same, id, one_machine};
use crate::bucket::gc::Keeping;
use crate::bucket::record::{DroppedPath, Plan};

/// An index that grew by one document a commit; some are dropped and changed.
fn grown(name: &str) -> (Bench, Vec<(&'static str, &'static str)>) {
    let bench = Bench::new(name);
    let mut documents: Vec<(&str, &str)> = SOME.to_vec();
    documents.extend([("f.pdf", "doc6"), ("g.pdf", "doc7"), ("h.pdf", "doc8"), ("i.pdf", "doc9")]);
    for document in &documents {
        bench.all(&[*document], 1).unwrap();
    }
    let dropped = DroppedPath { path: "b/b.pdf".into(), document: Some(id("doc2")) };
    let changed = [("c.pdf", "doc3 changed")];
    let plan = bench.plan_with(&changed, 1, |work| work.dropped = vec![dropped]).unwrap();
    bench.work(&plan, 0, &changed).unwrap();
    bench.fleet.commit(&plan.id, false).unwrap();
    documents.remove(1);
    documents[1] = changed[0];
    (bench, documents)
}

#[test]
fn small_files_are_joined_and_all_is_found_as_before() {
    let (bench, documents) = grown("joined");
    let one = one_machine(bench.place.path(), &documents);
    let held = bench.reader();
    let files = |kind: &str| {
        bench
            .names()
            .iter()
            .filter(|name| name.starts_with(kind) && !name.ends_with(".store"))
            .count()
    };
    let (codes, words) = (files("codes/"), files("text/"));
    let newest = bench.fleet.newest().unwrap().unwrap();
    assert!(newest.codes.as_ref().unwrap().len() > 9);
    assert!(bench.sweep().joined);
    let newest = bench.fleet.newest().unwrap().unwrap();
    assert_eq!(newest.codes.as_ref().unwrap().len(), 1);
    check_same(&held, &one);
    check_same(&held.newer().unwrap().unwrap(), &one);
    drop(held);
    assert!(!bench.sweep().joined, "there is nothing left to join");
    bench.check_closure();
    assert!(files("codes/") == 1 && files("text/") < words / 4, "{codes} {words}");
    check_same(&bench.reader(), &one);
    // And it goes on from there.
    bench.all(&[("j.pdf", "doc10")], 1).unwrap();
    let mut documents = documents;
    documents.push(("j.pdf", "doc10"));
    check_same(&bench.reader(), &one_machine(bench.place.path(), &documents));
}

#[test]
fn joining_may_stop_at_some_puts() {
    joining_stops(11);
}

#[test]
#[ignore = "minutes: `make fleet` runs it"]
fn joining_may_stop_at_any_put() {
    joining_stops(1);
}

fn joining_stops(step: usize) {
    let (counted, documents) = grown("joined-counted");
    let one = one_machine(counted.place.path(), &documents);
    let before = counted.faults.puts();
    assert!(counted.sweep().joined);
    let puts = counted.faults.puts() - before;
    assert!(puts > 8, "{puts}");
    for nth in (1..=puts).step_by(step) {
        let (bench, _) = grown(&format!("joined-{nth}-{step}"));
        let keeping = Keeping { keep: std::time::Duration::ZERO, ..Keeping::default() };
        bench.faults.at_put(nth, if nth % 2 == 0 { "die" } else { "die-after" });
        let _ = bench.fleet.collect_garbage(&keeping);
        bench.faults.heal();
        check_same(&bench.reader(), &one);
        bench.sweep();
        bench.sweep();
        bench.check_closure();
        check_same(&bench.reader(), &one);
    }
}

#[test]
fn a_commit_and_a_sweep_that_joins_at_once_lose_nothing() {
    let (bench, mut documents) = grown("joined-race");
    let more = [("j.pdf", "doc10"), ("k.pdf", "doc11"), ("l.pdf", "doc12")];
    let plans: Vec<Plan> = more.iter().map(|one| bench.plan(&[*one], 1).unwrap()).collect();
    plans.iter().for_each(|plan| bench.work(plan, 0, &more).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| bench.sweep());
        scope.spawn(|| bench.sweep());
        for plan in &plans {
            scope.spawn(|| bench.fleet.commit(&plan.id, false).unwrap());
        }
    });
    documents.extend(more);
    check_same(&bench.reader(), &one_machine(bench.place.path(), &documents));
    bench.sweep();
    bench.check_closure();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &documents));
}
