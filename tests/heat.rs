//! Heat maps and regions on real pages: what the model sees of a word lies where the word stands.

use pagesight::Index;
use pagesight::index::SyncOptions;
use pagesight::model::{LoadOptions, ModelSource};
use pagesight::pdf::{OcrChoice, RenderOptions};
use pagesight::region::{HeatScale, MapOf, PlacedText};
use pagesight::search::{Page, Rect};

use super::{Place, pdfium};

/// An index of fixtures by nano.
fn index(place: &Place) -> Index {
    let index = Index::create(place.path().join(".pagesight")).unwrap();
    let pdfium = Some(pdfium());
    let worker_program = Some(super::PROGRAM.into());
    index.set_renderer(RenderOptions { pdfium, worker_program, ..RenderOptions::default() });
    index.load_model(&ModelSource::Nano, &LoadOptions::default()).unwrap();
    let options = SyncOptions { ocr: OcrChoice::Off, ..SyncOptions::default() };
    index.sync(place.path(), &options).unwrap();
    index
}

fn pages(index: &Index) -> Vec<Page> {
    let records = index.documents().unwrap();
    let pages = records.iter().flat_map(|record| {
        (1..=record.page_count).filter_map(|number| index.page(&record.path, number).ok())
    });
    pages.collect()
}

/// Words of letters alone that stand once on their page, each with its place.
fn once(words: &[PlacedText]) -> Vec<&PlacedText> {
    let is_word = |word: &&PlacedText| {
        word.text.chars().count() >= 6 && word.text.chars().all(char::is_alphabetic)
    };
    let count = |text: &str| {
        words.iter().filter(|word| word.text.to_lowercase().contains(&text.to_lowercase())).count()
    };
    words.iter().filter(is_word).filter(|word| count(&word.text) == 1).collect()
}

fn meets(one: Rect, other: Rect) -> bool {
    one.x0 < other.x1 && other.x0 < one.x1 && one.y0 < other.y1 && other.y0 < one.y1
}

#[test]
fn the_hottest_cell_lies_on_the_word_and_the_first_region_holds_it() {
    let place = Place::new();
    for file in ["form.pdf", "rotated.pdf", "slides.pdf"] {
        place.add(file, file);
    }
    let index = index(&place);
    let (mut asked, mut hit, mut held, mut small) = (0, 0, 0, 0);
    for page in pages(&index) {
        let words = page.words().unwrap();
        let size = page.size();
        let line = |word: &PlacedText| word.line;
        for word in once(&words).into_iter().step_by(3).take(8) {
            let question = index.encode(&word.text).unwrap();
            let heat = page.heat(&question, MapOf::Word(0), HeatScale::Page).unwrap();
            let (column, row) = heat.map.peak();
            let area = heat.map.area(column, row);
            // A patch sees what stands at its edge: a cell beside the word counts.
            let (wide, high) = (
                size.width_pt / heat.map.columns() as f32,
                size.height_pt / heat.map.rows() as f32,
            );
            let cell = Rect {
                x0: area.x0 * size.width_pt - wide,
                y0: area.y0 * size.height_pt - high,
                x1: area.x1 * size.width_pt + wide,
                y1: area.y1 * size.height_pt + high,
            };
            asked += 1;
            hit += usize::from(meets(cell, word.rect));
            // A phrase: the word with its neighbours on the line.
            let at = words.iter().position(|other| other.rect == word.rect).unwrap();
            let phrase: Vec<&PlacedText> =
                words[at..].iter().take(3).filter(|other| line(other) == word.line).collect();
            let text: Vec<&str> = phrase.iter().map(|word| word.text.as_str()).collect();
            let question = index.encode(&text.join(" ")).unwrap();
            let regions = page.regions(&question, MapOf::Question, 1).unwrap();
            let first = &regions[0];
            let inside = |word: &&PlacedText| meets(first.rect, word.rect);
            held += usize::from(phrase.iter().all(inside));
            let surface = (first.rect.x1 - first.rect.x0) * (first.rect.y1 - first.rect.y0);
            small += usize::from(surface < 0.25 * size.width_pt * size.height_pt);
        }
    }
    println!("{asked} words: hottest cell on {hit}, first region holds {held}, small {small}");
    assert!(asked >= 30, "{asked} words");
    let share = |count: usize| count as f64 / asked as f64;
    assert!(share(hit) >= 0.5, "the hottest cell lies on {hit} of {asked} words");
    assert!(share(held) >= 0.9, "the first region holds {held} of {asked} phrases");
    assert!(share(small) >= 0.9, "{small} of {asked} first regions are small");
}
