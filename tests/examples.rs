//! The examples of examples/, run as a reader would run them.

use pagesight::model::{LoadOptions, ModelSource};

use crate::library::index;
use crate::{Place, fixtures};

#[path = "../examples/index_and_search.rs"]
mod index_and_search;
#[path = "../examples/own_encoder.rs"]
mod own_encoder;
#[path = "../examples/vectors_only.rs"]
mod vectors_only;

#[test]
fn index_and_search_finds_the_page_that_answers() {
    let place = Place::with(&["form.pdf", "papers/chart.pdf"]);
    let best = index_and_search::run(&index(&place), place.path(), "travel expenses in total");
    assert_eq!(best.unwrap().as_deref(), Some("form.pdf#1"));
}

#[test]
fn a_model_that_a_program_brings_is_indexed_and_asked() {
    let place = Place::with(&["form.pdf", "papers/chart.pdf", "slides.pdf"]);
    let found = own_encoder::run(index(&place), place.path(), "blue").unwrap();
    assert_eq!(found.len(), 3);
    // Asked again from disk by a program that brings no model, words answer and say why.
    let again = index(&place);
    let answer = again.search("travel").run().unwrap();
    assert!(answer.notice().unwrap().contains("colours-1"), "{:?}", answer.notices);
    // nano is another model: its vectors are not compared with these.
    let error = again.load_model(&ModelSource::Nano, &LoadOptions::default()).unwrap_err();
    assert!(matches!(error, pagesight::Error::ModelChanged { .. }), "{error}");
}

#[test]
fn vectors_made_elsewhere_are_ranked_and_read_back() {
    let place = Place::new();
    let found = vectors_only::run(index(&place), &fixtures().join("pdf/form.pdf")).unwrap();
    // The second page answers; the page like it is the first, since a page is not like itself.
    let numbers: Vec<u32> = found.iter().map(|page| page.number).collect();
    assert_eq!(numbers, [2, 1, 1]);
}
