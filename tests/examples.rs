//! The examples of examples/, run as a reader would run them.

use pagesight::Index;
use pagesight::model::{LoadOptions, ModelSource};

use crate::library::index;
use crate::{Place, fixtures};

#[path = "../examples/axum.rs"]
mod axum;
#[path = "../examples/index_and_search.rs"]
mod index_and_search;
#[path = "../examples/lit_page.rs"]
mod lit_page;
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

#[test]
fn the_patches_that_a_question_met_are_lit() {
    let place = Place::with(&["scan.pdf"]);
    let index = index(&place);
    index.load_model(&ModelSource::Nano, &LoadOptions::default()).unwrap();
    index.sync(place.path(), &pagesight::index::SyncOptions::default()).unwrap();
    let file = place.path().join("lit.png");
    let question = "booting from the network with a TFTP server";
    assert_eq!(lit_page::run(&index, question, &file).unwrap(), "scan.pdf#2");
    let picture = image::open(file).unwrap().to_rgb8();
    // The scan is grey; what is lit has less blue than red.
    let lit = picture.pixels().filter(|pixel| pixel[0] > 150 && pixel[2] < pixel[0] / 2).count();
    let share = lit as f64 / f64::from(picture.width() * picture.height());
    assert!((0.001..0.1).contains(&share), "{share} of the page is lit");
}

#[test]
fn a_web_server_shares_an_index_and_shuts_down_without_a_panic() {
    use std::io::{Read, Write};
    let place = Place::with(&["form.pdf"]);
    place.json(0, &["index", "--json", "."]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let body = runtime.block_on(async {
        // Opened, cloned into the server's state, and dropped with it: all inside async code.
        let opened = Index::open(place.path().join(".pagesight")).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = ::axum::serve(listener, axum::router(opened)).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        let server = tokio::spawn(async move { server.await });
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let request = "GET /search?q=travel+expenses HTTP/1.0\r\nhost: localhost\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = answer.await.unwrap();
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        answer
    });
    assert!(body.starts_with("HTTP/1.0 200"), "{body}");
    let json = body.split("\r\n\r\n").nth(1).unwrap();
    let answer: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(answer["hits"][0]["path"], "form.pdf", "{answer}");
    assert!(answer["snapshot"].as_u64().unwrap() > 0);
}
