//! A bucket that is out of reach, or does not keep to what was asked.

use pagesight_core::PageId;
use pagesight_core::seam::TextIndex;
use pagesight_maxsim::HereError;

use super::local_copy::in_pieces;
use super::{Bench, QUESTIONS, SOME, coded, one_machine};
use crate::Reader;
use crate::error::StoreError;
use crate::runtime::wait;

#[test]
fn a_reader_goes_on_with_what_it_holds_while_the_store_is_out_of_reach() {
    let bench = Bench::new("fleet-out-of-reach");
    bench.all(&SOME, 1).unwrap();
    let (reader, one) = (bench.reader(), one_machine(bench.place.path(), &SOME));
    let ids: Vec<PageId> = coded(&one).into_keys().collect();
    assert_eq!(reader.pages(&ids).unwrap(), one.pages(&ids).unwrap());
    bench.faults.at_put(1, "die");
    assert!(wait(bench.objects.put("x", Vec::new())).is_err());
    assert!(reader.newer().is_err());
    for question in QUESTIONS {
        let found = |reader: &Reader| reader.search_text(question, 1000, None).unwrap().pages;
        assert_eq!(found(&reader), found(&one), "{question}");
    }
    assert_eq!(coded(&reader), coded(&one));
    // What was shown before is shown still.
    assert_eq!(reader.pages(&ids).unwrap(), one.pages(&ids).unwrap());
    bench.faults.heal();
    assert!(reader.newer().unwrap().is_none());
}

#[test]
fn codes_that_are_not_here_and_cannot_be_fetched_are_an_error() {
    let bench = in_pieces("sparse-gone");
    bench.all(&SOME[..2], 1).unwrap();
    let reader = bench.reader();
    bench.faults.at_put(1, "die");
    assert!(wait(bench.objects.put("x", Vec::new())).is_err());
    let codes = reader.codes().unwrap().unwrap();
    assert!(matches!(codes.here(codes.living()), Err(HereError::Elsewhere(_))));
    bench.faults.heal();
    assert!(codes.here(codes.living()).is_ok());
}

#[test]
fn a_store_that_ignores_conditions_is_refused_and_nothing_is_left() {
    let bench = Bench::new("fleet-careless");
    bench.faults.ignore_conditions();
    let error = bench.plan(&SOME, 1).unwrap_err();
    assert!(matches!(error, StoreError::Conditions { .. }), "{error}");
    assert!(error.to_string().contains("conditional"), "{error}");
    assert_eq!(bench.names().into_iter().collect::<Vec<_>>(), ["conditional-put"]);
}
