//! How much of the words on pages do the readers find, how many do they make up, and what does a
//! page cost?
//!
//! Pages whose text is known are drawn as the program draws them for reading, and read from their
//! pixels by the embedded reader and by tesseract, side by side in one run. Arguments:
//!
//! * `NAME:LANGUAGES=FILE.pdf#1,5,9`: pages of a PDF with a text layer, and tesseract's languages for
//!   them (those that are not installed are left out; without any, only the embedded reader reads);
//! * `NAME:LANGUAGES=FOLDER`: pictures (PNG, JPEG) on which there are no words: each that is found
//!   is made up;
//! * `NAME:LANGUAGES=noise`: the same for grey noise of six grains, from one pixel to 32.
//!
//! A word counts once for each time that it stands on the page; Chinese and Japanese are counted by
//! characters. Letters are compared in small form, marks are not compared. Time is that of the
//! processor, all threads together.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use pagesight::model::PageImage;
use pagesight::pdf::{
    DrawSize, Embedded, Ocr, OcrText, RenderOptions, Renderer, Tesseract, WeightSearch,
};

/// Something to read, and the words that are there.
struct Page {
    image: PageImage,
    words: HashMap<String, usize>,
}

/// What a reader came to on one set of pages.
#[derive(Default)]
struct Tally {
    found: usize,
    right: usize,
    there: usize,
    seconds: f64,
    pages: usize,
}

fn main() {
    pagesight::pdf::serve_worker_if_asked();
    let search = WeightSearch {
        folder: std::env::var_os("PAGESIGHT_OCR").map(PathBuf::from),
        ..WeightSearch::default()
    };
    let folder = search.found().expect("the weights: cargo xtask setup fetches them");
    let embedded = Embedded::open(&folder).expect("the published weights");
    let options = RenderOptions {
        pdfium: std::env::var_os("PAGESIGHT_PDFIUM").map(PathBuf::from),
        ..RenderOptions::default()
    };
    let mut renderer = Renderer::start(&options).expect("libpdfium");
    // Loading the networks is not part of the first page.
    let white = PageImage::new(64, 64, vec![255; 64 * 64 * 3]).expect("a picture");
    embedded.read(&white, &AtomicBool::new(false)).expect("the networks load");
    println!("{:14} {:>5} {:>7}   {:>27}   {:>27}", "", "", "", "embedded", "tesseract");
    println!(
        "{:14} {:>5} {:>7}   {:>8} {:>9} {:>8}   {:>8} {:>9} {:>8}",
        "pages",
        "count",
        "words",
        "recall",
        "precision",
        "s a page",
        "recall",
        "precision",
        "s a page"
    );
    for argument in std::env::args().skip(1) {
        let (name, source) = argument.split_once('=').expect("NAME:LANGUAGES=FILE#PAGES");
        let (name, languages) = name.split_once(':').unwrap_or((name, "eng"));
        let by_character = ["chi_sim", "chi_tra", "jpn"].iter().any(|l| languages.contains(l));
        let pages = match Path::new(source) {
            _ if source == "noise" => (0..6).map(|grain| noise(1 << grain)).collect(),
            folder if folder.is_dir() => pictures(folder),
            _ => pages(&mut renderer, source, embedded.dpi(), by_character),
        };
        let tesseract = Tesseract::find(languages).ok();
        let (mut ours, mut theirs) = (Tally::default(), Tally::default());
        for page in &pages {
            ours.add(page, &embedded, by_character);
            if let Some(tesseract) = &tesseract {
                theirs.add(page, tesseract, by_character);
            }
        }
        let shown = |tally: &Tally| {
            if tally.pages == 0 {
                return format!("{:>8} {:>9} {:>8}", "-", "-", "-");
            }
            let share = |of: usize| match of {
                0 => "-".to_string(),
                of => format!("{:.3}", tally.right as f64 / of as f64),
            };
            // Where there are no words, those that were made up.
            let precision = match tally.there {
                0 => format!("{} made up", tally.found),
                _ => share(tally.found),
            };
            let seconds = tally.seconds / tally.pages as f64;
            format!("{:>8} {precision:>9} {seconds:>8.2}", share(tally.there))
        };
        println!(
            "{name:14} {:>5} {:>7}   {}   {}",
            pages.len(),
            ours.there,
            shown(&ours),
            shown(&theirs)
        );
    }
}

impl Tally {
    fn add(&mut self, page: &Page, reader: &dyn Ocr, by_character: bool) {
        let before = processor_seconds();
        let found = reader.read(&page.image, &AtomicBool::new(false));
        self.seconds += processor_seconds() - before;
        let found = words(
            &found
                .unwrap_or_else(|error| {
                    eprintln!("{error}");
                    OcrText::default()
                })
                .text,
            by_character,
        );
        self.pages += 1;
        self.found += found.values().sum::<usize>();
        self.there += page.words.values().sum::<usize>();
        let common = found.iter().map(|(word, n)| n.min(page.words.get(word).unwrap_or(&0)));
        self.right += common.sum::<usize>();
    }
}

/// The words of a text and how often each is there.
fn words(text: &str, by_character: bool) -> HashMap<String, usize> {
    let mut words = HashMap::new();
    let mut count = |word: &str| *words.entry(word.to_lowercase()).or_default() += 1;
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if by_character {
            word.chars().for_each(|c| count(c.encode_utf8(&mut [0; 4])));
        } else {
            count(word);
        }
    }
    words
}

/// Pages of a PDF, drawn as they are for reading.
fn pages(renderer: &mut Renderer, source: &str, dpi: u32, by_character: bool) -> Vec<Page> {
    let (file, numbers) = source.split_once('#').unwrap_or((source, ""));
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let (count, _) = renderer.open(&bytes, &[]).expect("a sound PDF");
    let numbers: Vec<u32> = match numbers {
        "" => (1..=count).collect(),
        list => list.split(',').map(|n| n.parse().expect("a page number")).collect(),
    };
    numbers
        .into_iter()
        .map(|number| {
            let text = renderer.text(number, 1_000_000).expect("its text").text;
            let image = renderer.draw(number, DrawSize::Dpi(dpi)).expect("its picture");
            // A line that ends within a word: the parts are one.
            let text = text.replace("\u{AD}\n", "").replace('\u{AD}', "");
            Page { image, words: words(&text, by_character) }
        })
        .collect()
}

/// Pictures on which there are no words, each as large as a page shows it.
fn pictures(folder: &Path) -> Vec<Page> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let decoded = files.iter().filter_map(|file| image::open(file).ok());
    decoded
        .map(|picture| {
            let picture = picture.to_rgb8();
            let scale = 1_400.0 / picture.width().max(picture.height()) as f32;
            let side = |px: u32| ((px as f32 * scale) as u32).max(1);
            let (width, height) = (side(picture.width()), side(picture.height()));
            let filter = image::imageops::FilterType::Triangle;
            let large = image::imageops::resize(&picture, width, height, filter);
            let image = PageImage::new(width, height, large.into_raw()).expect("the size fits");
            Page { image, words: HashMap::new() }
        })
        .collect()
}

/// Noise in fields of `grain` pixels, mixed with the same in fields of twice as many.
fn noise(grain: u32) -> Page {
    const SIDES: (u32, u32) = (1_400, 1_000);
    let mut state = 0x2545_F491_4F6C_DD1D_u64 + u64::from(grain);
    let mut field = |grain: u32| -> Vec<u8> {
        let (cols, rows) = (SIDES.0 / grain + 1, SIDES.1 / grain + 1);
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as u8
        };
        let values: Vec<u8> = (0..cols * rows).map(next).collect();
        let of = |at: u32| (at / SIDES.0 / grain * cols + at % SIDES.0 / grain) as usize;
        (0..SIDES.0 * SIDES.1).map(|at| values[of(at)]).collect()
    };
    let (fine, coarse) = (field(grain), field(2 * grain));
    let grey = fine.iter().zip(coarse).map(|(fine, coarse)| fine / 2 + coarse / 2);
    let rgb = grey.flat_map(|value| [value; 3]).collect();
    let image = PageImage::new(SIDES.0, SIDES.1, rgb).expect("the size fits");
    Page { image, words: HashMap::new() }
}

/// Seconds that this process and its ended children have used.
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let after = stat.rsplit_once(')').expect("the name of the program").1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    // utime, stime, cutime, cstime; in hundredths.
    let ticks = fields[11..15].iter().filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
