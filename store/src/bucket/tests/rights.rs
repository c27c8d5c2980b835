//! Rights: a worker, a reader and a committer ask for no more than their policies give.

use super::{Bench, SOME, check_same, one_machine};

#[test]
fn workers_readers_and_committers_need_no_more_rights_than_the_policies_give() {
    let bench = Bench::new("fleet-rights");
    bench.all(&SOME[..2], 1).unwrap();
    let plan = bench.plan(&SOME[2..], 1).unwrap();
    bench.faults.asked();
    bench.work(&plan, 0, &SOME).unwrap();
    let asked = bench.faults.asked();
    assert!(asked.iter().all(|(kind, _)| ["get", "put"].contains(kind)), "{asked:?}");
    bench.fleet.commit(&plan.id, false).unwrap();
    assert!(bench.faults.asked().iter().all(|(kind, _)| *kind != "delete" && *kind != "copy"));
    let reader = bench.reader();
    check_same(&reader, &one_machine(bench.place.path(), &SOME));
    assert!(reader.newer().unwrap().is_none());
    drop(reader);
    for (kind, name) in bench.faults.asked() {
        let is_allowed =
            ["get", "list"].contains(&kind) || (kind == "put" && name.starts_with("leases/"));
        assert!(is_allowed, "{kind} {name}");
    }
}
