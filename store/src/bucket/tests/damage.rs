//! Files of a snapshot or of a part that are gone, short or damaged in the bucket, and a cleanup by
//! another client.

use pagesight_core::seam::{TextIndex, VectorSource};

use super::{Bench, SOME, check_same, one_machine};
use crate::error::StoreError;
use crate::runtime::wait;

#[test]
fn files_that_are_gone_or_damaged_are_named_and_words_answer_without_codes() {
    let bench = Bench::new("fleet-damaged");
    bench.all(&SOME, 2).unwrap();
    let named = |begin: &str| {
        bench.names().into_iter().find(|name| name.starts_with(begin)).expect("there is one")
    };
    let verify = || bench.verify();
    assert!(verify().is_empty());
    let codes = named("codes/");
    let bytes = wait(bench.objects.get_required(&codes)).unwrap();
    for change in ["damaged", "gone"] {
        if change == "gone" {
            wait(bench.objects.remove(std::slice::from_ref(&codes))).unwrap();
        } else {
            let mut bytes = bytes.clone();
            let last = bytes.len() - 70;
            bytes[last] ^= 1;
            wait(bench.objects.put(&codes, bytes)).unwrap();
        }
        assert!(verify().contains(&codes), "{change}");
        std::fs::remove_dir_all(bench.place.path().join("local")).unwrap();
        crate::bucket::mirror::forget();
        let (reader, one) = (bench.reader(), one_machine(bench.place.path(), &SOME));
        assert!(matches!(reader.codes(), Err(StoreError::Codes { .. })), "{change}");
        assert!(!reader.search_text("apple", 10, None).unwrap().pages.is_empty());
        let mut seen = 0;
        reader.scan(None, &mut |batch| seen += batch.len()).unwrap();
        assert_eq!(seen as u64, one.snapshot().pages());
    }
    wait(bench.objects.put(&codes, bytes)).unwrap();
    check_same(&bench.reader(), &one_machine(bench.place.path(), &SOME));
    let words = named("text/");
    wait(bench.objects.remove(std::slice::from_ref(&words))).unwrap();
    assert!(verify().contains(&words));
    std::fs::remove_dir_all(bench.place.path().join("local")).unwrap();
    let error = bench.reader_with(&bench.local()).err().unwrap().to_string();
    assert!(error.contains(&words), "{error}");
}

#[test]
fn a_part_whose_file_is_gone_or_short_is_named() {
    let bench = Bench::new("fleet-lost");
    let plan = bench.plan(&SOME, 1).unwrap();
    bench.work(&plan, 0, &SOME).unwrap();
    let begin = format!("pages.lance/data/{}", plan.id);
    let name = bench.names().into_iter().find(|name| name.starts_with(&begin)).unwrap();
    let bytes = wait(bench.objects.get_required(&name)).unwrap();
    for (state, change) in [("short", Some(bytes[1..].to_vec())), ("gone", None)] {
        match change {
            Some(bytes) => wait(bench.objects.put(&name, bytes)).unwrap(),
            None => wait(bench.objects.remove(std::slice::from_ref(&name))).unwrap(),
        }
        let error = bench.fleet.commit(&plan.id, false).unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains(state), "{error}");
        assert_eq!(bench.fleet.newest().unwrap().unwrap().number(), 1);
    }
}

#[test]
fn a_cleanup_by_lance_itself_takes_nothing_that_a_snapshot_needs() {
    let bench = Bench::new("fleet-foreign");
    bench.all(&SOME[..3], 1).unwrap();
    bench.put_in_place_of_the_first(&SOME[3..]).unwrap();
    let one = one_machine(bench.place.path(), &SOME[1..]);
    for name in ["documents", "pages"] {
        wait(async {
            let table = bench.objects.tables().open(name, None).await?;
            let dataset = table.dataset().await?;
            let cleaned = dataset.cleanup_old_versions(
                lancedb::table::Duration::zero(),
                Some(true),
                Some(false),
            );
            let removed = cleaned.await.expect("a cleanup");
            assert!(removed.old_versions > 0, "{removed:?}");
            Ok(())
        })
        .unwrap();
    }
    check_same(&bench.reader(), &one);
    // And pages are added as before.
    bench.all(&[("g.pdf", "doc7")], 1).unwrap();
    let mut more = SOME[1..].to_vec();
    more.push(("g.pdf", "doc7"));
    check_same(&bench.reader(), &one_machine(bench.place.path(), &more));
}
