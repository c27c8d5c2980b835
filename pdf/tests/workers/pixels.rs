//! A page looks the same on every machine.

use std::fs;
use std::path::{Path, PathBuf};

use pagesight_core::{DrawSize, Filter, PageImage, PictureSize};
use pagesight_pdf::{Renderer, Sandbox};
use pagesight_simd::resize;

use crate::{fixtures, start};

fn pages(renderer: &mut Renderer, file: &Path) -> Vec<PageImage> {
    let bytes = fs::read(file).unwrap();
    let (count, _) = renderer.open(&bytes, &["pagesight".into()]).unwrap();
    (1..=count).map(|number| renderer.draw(number, DrawSize::Width(300)).unwrap()).collect()
}

/// Every fixture that opens.
fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["pdf", "pdf/debian", "pdf/papers", "fonts", "pages"] {
        let entries = fs::read_dir(fixtures().join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| {
        file.extension().is_some_and(|e| e == "pdf") && !file.ends_with("broken.pdf")
    });
    assert!(files.len() > 10);
    files
}

/// Without the sandbox a worker can read the fonts of the system, within it it cannot.
pub fn do_not_depend_on_the_machine() {
    let mut free = start(Sandbox::Off).unwrap();
    let mut shut_in = start(Sandbox::BestEffort).unwrap();
    for file in files() {
        assert!(pages(&mut free, &file) == pages(&mut shut_in, &file), "{}", file.display());
    }
}

/// A page is loaded once for its text and its picture, and drawn anew for the next one.
pub fn do_not_depend_on_the_text() {
    let mut renderer = start(Sandbox::BestEffort).unwrap();
    let size = DrawSize::exact(PictureSize { width_px: 224, height_px: 448 });
    for file in files() {
        let bytes = fs::read(&file).unwrap();
        let (count, _) = renderer.open(&bytes, &["pagesight".into()]).unwrap();
        for number in 1..=count.min(4) {
            let alone = renderer.draw(number, size).unwrap();
            let first = renderer.text(number, 1_000_000).unwrap();
            assert!(renderer.draw(number, size).unwrap() == alone, "{}", file.display());
            assert_eq!(renderer.text(number, 1_000_000).unwrap(), first);
        }
    }
}

/// A picture for a model is one of twice its size, squeezed with the filter that the model wants.
pub fn are_squeezed_with_the_filter_that_is_asked_for() {
    let drawing = "1 0 0 rg 13 27 90 210 re f 0 0.4 1 RG 3 w 10 390 m 190 12 l S";
    let pdf = format!(
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n\
         2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n\
         3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 400]/Contents 4 0 R>>endobj\n\
         4 0 obj<</Length {}>>stream\n{drawing}\nendstream endobj\ntrailer<</Root 1 0 R>>",
        drawing.len()
    );
    let mut renderer = start(Sandbox::BestEffort).unwrap();
    renderer.open(pdf.as_bytes(), &[]).unwrap();
    let size = PictureSize { width_px: 90, height_px: 180 };
    let large = renderer.draw(1, DrawSize::Width(180)).unwrap();
    assert_eq!((large.width_px(), large.height_px()), (180, 360));
    let pictures = [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos].map(|filter| {
        let picture = renderer.draw(1, DrawSize::Exact { size, filter }).unwrap();
        assert!(picture == resize(&large, 90, 180, filter), "{filter:?}");
        picture
    });
    assert!(pictures[0] != pictures[1] && pictures[1] != pictures[2]);
    assert!(renderer.draw(1, DrawSize::exact(size)).unwrap() == pictures[1]);
}

pub fn fonts_that_are_not_embedded_are_drawn() {
    let mut renderer = start(Sandbox::BestEffort).unwrap();
    let drawn = pages(&mut renderer, &fixtures().join("fonts/not-embedded.pdf"));
    // Of each line of Chinese, Japanese and Korean something is there: see `fixtures/README.md`.
    let line = |image: &PageImage, y_pt: u32| {
        let scale = image.height_px() as f32 / 842.0;
        let row = |pt: u32| ((842 - pt) as f32 * scale) as usize * image.width_px() as usize * 3;
        let pixels = &image.rgb()[row(y_pt + 40)..row(y_pt - 10)];
        pixels.iter().filter(|value| **value < 128).count()
    };
    for n in 0..6 {
        assert!(line(&drawn[1], 780 - 60 * n) > 200, "line {n}");
    }
    // SimSun by its name in GBK looks as by its name in ASCII.
    assert_eq!(line(&drawn[2], 780), line(&drawn[1], 780 - 60));
    assert!(line(&drawn[0], 780) > 200);
}

/// `named.pdf` of `fixtures/pages/make.py`: letters 40 points apart, in two fonts.
pub fn letters_beyond_latin_1_are_drawn() {
    const LETTERS: [(&str, usize); 12] = [
        ("Polish", 7),
        ("Czech", 5),
        ("Hungarian", 2),
        ("Turkish", 4),
        ("Vietnamese", 5),
        ("Greek", 5),
        ("Russian", 5),
        ("Ukrainian", 3),
        ("Hebrew", 3),
        ("Arabic", 3),
        ("Thai", 3),
        ("signs", 8),
    ];
    let mut renderer = start(Sandbox::BestEffort).unwrap();
    let bytes = fs::read(fixtures().join("pages/named.pdf")).unwrap();
    let (count, _) = renderer.open(&bytes, &[]).unwrap();
    assert_eq!(count as usize, LETTERS.len() + 1);
    let western = renderer.draw(count, DrawSize::Width(420)).unwrap();
    for (number, (script, letters)) in (1..).zip(LETTERS) {
        let image = renderer.draw(number, DrawSize::Width(420)).unwrap();
        for (font, base) in [("Arial", 100), ("Times", 200)] {
            for index in 0..letters {
                let (left, top) = (30 + 40 * index as u32, base - 24);
                let letter = image.crop(left, top, 30, 34);
                let ink = letter.rgb().iter().filter(|value| **value < 128).count();
                assert!(ink > 20, "{script} letter {index} in {font}: {ink}");
            }
        }
        // Read before or not, it is the same picture.
        renderer.text(number, 1 << 20).unwrap();
        assert!(image == renderer.draw(number, DrawSize::Width(420)).unwrap(), "{script}");
    }
    let again = renderer.draw(count, DrawSize::Width(420)).unwrap();
    assert!(western == again, "a page without such letters looks as ever");
}

/// `named-signs.pdf` of `fixtures/pages/make.py`: an ideograph and signs 40 points apart.
pub fn signs_in_fonts_of_ideographs_are_drawn() {
    let mut renderer = start(Sandbox::BestEffort).unwrap();
    let bytes = fs::read(fixtures().join("pages/named-signs.pdf")).unwrap();
    let (count, _) = renderer.open(&bytes, &[]).unwrap();
    assert_eq!(count, 3);
    for number in 1..=count {
        let image = renderer.draw(number, DrawSize::Width(420)).unwrap();
        for (index, sign) in "漢→①※★℃§".chars().enumerate() {
            let place = image.crop(28 + 40 * index as u32, 70, 34, 40);
            let ink = place.rgb().iter().filter(|value| **value < 128).count();
            assert!(ink > 20, "{sign} on page {number}: {ink}");
        }
        let text = renderer.text(number, 1 << 20).unwrap().text;
        let text: String = text.split_whitespace().collect();
        assert!(text.starts_with("漢→①※★℃§"), "{text}");
    }
}
