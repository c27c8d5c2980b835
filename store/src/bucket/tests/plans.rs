//! Plans: two at once, two of one folder, one that is made again, one that is given up.

use super::{Bench, SOME, check_same, one_machine};
use crate::bucket::gc::Keeping;
use crate::bucket::record::Plan;
use crate::error::StoreError;

#[test]
fn of_many_committers_one_publishes_and_all_say_so() {
    let bench = Bench::new("fleet-committers");
    let plans: Vec<Plan> =
        SOME.iter().map(|document| bench.plan(&[*document], 1).unwrap()).collect();
    for plan in &plans {
        bench.work(plan, 0, &SOME).unwrap();
    }
    std::thread::scope(|scope| {
        for plan in plans.iter().chain(&plans) {
            scope.spawn(|| bench.fleet.commit(&plan.id, false).unwrap());
        }
        scope.spawn(|| bench.sweep());
    });
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    bench.sweep();
    bench.check_closure();
}

#[test]
fn rivals_bring_each_page_once() {
    let bench = Bench::new("fleet-rivals");
    let one = bench.plan(&SOME[..4], 2).unwrap();
    let two = bench.plan(&SOME[1..], 1).unwrap();
    for shard in 0..2 {
        bench.work(&one, shard, &SOME).unwrap();
    }
    bench.work(&two, 0, &SOME).unwrap();
    bench.fleet.commit(&two.id, false).unwrap();
    bench.fleet.commit(&one.id, false).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    bench.sweep();
    bench.check_closure();
}

#[test]
fn a_plan_is_the_same_when_it_is_made_again_and_can_be_abandoned() {
    let bench = Bench::new("fleet-plan");
    let plan = bench.plan(&SOME, 2).unwrap();
    assert_eq!(bench.plan(&SOME, 2).unwrap(), plan);
    bench.work(&plan, 0, &SOME).unwrap();
    bench.sweep();
    assert!(bench.names().iter().any(|name| name.starts_with(&format!("codes/{}", plan.id))));
    let keeping = Keeping { abandon: Some(plan.id.clone()), ..Keeping::default() };
    bench.fleet.collect_garbage(&keeping).unwrap();
    assert!(!bench.names().iter().any(|name| name.contains(&plan.id)));
    let refused = |error: StoreError| assert!(error.to_string().contains("abandoned"), "{error}");
    refused(bench.fleet.commit(&plan.id, false).unwrap_err());
    refused(bench.work(&plan, 1, &SOME).unwrap_err());
    bench.all(&SOME, 2).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
}
