//! The embedded reader with the published weights, on pictures of print and on what is none.
//! `cargo xtask setup` fetches the weights, and `.cargo/config.toml` says where they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::seam::Ocr;
use pagesight_core::testing::ocr_contract;
use pagesight_core::{OcrChoice, OcrText, PageImage, Turn};
use pagesight_ocr::{DETECTOR, Embedded, OcrError, RECOGNISER, Readers, WeightSearch};

fn weights() -> PathBuf {
    let folder = std::env::var_os("PAGESIGHT_OCR").map(PathBuf::from);
    folder.expect(".cargo/config.toml sets PAGESIGHT_OCR; run the tests with cargo")
}

/// One for all tests: its networks take a while to load.
static READER: LazyLock<Embedded> =
    LazyLock::new(|| Embedded::open(&weights()).expect("cargo xtask setup fetches the weights"));

fn picture(name: &str) -> PageImage {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/ocr").join(name);
    let decoded = image::open(file.with_extension("png")).unwrap().to_rgb8();
    PageImage::new(decoded.width(), decoded.height(), decoded.into_raw()).unwrap()
}

fn read(page: &PageImage) -> OcrText {
    READER.read(page, &AtomicBool::new(false)).unwrap()
}

/// Text without the room between its words.
fn closed(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn the_reader_keeps_the_contract() {
    ocr_contract(&*READER, &picture("table"), "gigabytes");
}

#[test]
fn english_is_read_word_by_word() {
    let found = read(&picture("english"));
    for line in [
        "For 64-bit PC you have the option of using a graphical version of the installation system. \
         For more information",
        "The installer software, debian-installer, is the primary concern of this manual. It detects \
         hardware and",
    ] {
        assert!(found.text.contains(line), "{}", found.text);
    }
    // The first line begins at the left, above the others.
    let first = found.words.iter().find(|word| word.text == "64-bit").unwrap();
    let area = first.area;
    assert!((0.10..0.16).contains(&area.x0) && (0.14..0.22).contains(&area.x1), "{area:?}");
    assert!(area.y0 < 0.12 && (0.08..0.25).contains(&area.y1), "{area:?}");
    assert!(first.confidence > 0.9);
}

#[test]
fn chinese_and_japanese_are_read() {
    let found = closed(&read(&picture("chinese")).text);
    for text in ["本章包括运行Debian所需硬件的信息", "支持的硬件", "请参考移植页面"]
    {
        assert!(found.contains(text), "{found}");
    }
    let found = closed(&read(&picture("japanese")).text);
    assert!(found.contains(JAPANESE), "{found}");
}

const JAPANESE: &str = "この時点で数十人規模に成長していました";

#[test]
fn tables_are_read_row_by_row_and_columns_one_after_the_other() {
    let found = read(&picture("table")).text;
    for row in [
        "Install Type RAM (minimum) RAM (recommended) Hard Drive",
        "No desktop 256 megabytes 512 megabytes 4 gigabytes",
        "With Desktop 1 gigabytes 2 gigabytes 10 gigabytes",
    ] {
        assert!(found.contains(row), "{found}");
    }
    let found = read(&picture("columns")).text;
    let at = |text: &str| found.find(text).unwrap_or_else(|| panic!("no {text} in {found}"));
    let order =
        ["Keywords", "Roman letters", "Heat flux vector", "To begin", "will be placed into"];
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{found}");
}

#[test]
fn pages_on_their_side_and_head_are_known() {
    let upright = picture("english");
    for turn in [Turn::None, Turn::Right, Turn::Around, Turn::Left] {
        let lying = upright.turned(turn.back());
        let told = READER.turn(&lying, &AtomicBool::new(false)).unwrap();
        assert_eq!(told, Some(turn));
    }
    let noise = noise(400, 300);
    assert_eq!(READER.turn(&noise, &AtomicBool::new(false)).unwrap(), None);
}

/// What is read of a page on its side has its lines, each read the right way.
#[test]
fn words_of_a_page_on_its_side_stand_on_end() {
    let lying = picture("table").turned(Turn::Right);
    let found = read(&lying);
    assert!(found.text.contains("Recommended Minimum System Requirements"), "{}", found.text);
    let word = found.words.iter().find(|word| word.text == "Recommended").unwrap().area;
    let (width, height) = (lying.width_px() as f32, lying.height_px() as f32);
    assert!((word.y1 - word.y0) * height > 2.0 * (word.x1 - word.x0) * width, "{word:?}");
}

fn noise(width: u32, height: u32) -> PageImage {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let rgb = (0..width * height * 3).map(|_| next()).collect();
    PageImage::new(width, height, rgb).unwrap()
}

#[test]
fn hostile_pictures_have_no_words_and_do_no_harm() {
    let plain = |width: u32, height: u32, value: u8| {
        PageImage::new(width, height, vec![value; (width * height * 3) as usize]).unwrap()
    };
    let stripes = |every: u32| {
        let pixel = |at: u32| [if (at % 600) % every < every / 2 { 0u8 } else { 255 }; 3];
        PageImage::new(600, 600, (0..600 * 600).flat_map(pixel).collect()).unwrap()
    };
    for (what, page) in [
        ("one pixel", plain(1, 1, 0)),
        ("a thread", plain(1, 20_000, 7)),
        ("a ribbon", plain(20_000, 9, 200)),
        ("black", plain(700, 900, 0)),
        ("white", plain(700, 900, 255)),
        ("noise", noise(900, 700)),
        ("fine stripes", stripes(4)),
        ("stripes", stripes(24)),
    ] {
        let found = read(&page);
        assert!(found.words.is_empty() && found.text.is_empty(), "{what}: {found:?}");
        let turn = READER.turn(&page, &AtomicBool::new(false)).unwrap();
        assert_eq!(turn, None, "{what}");
    }
}

#[test]
fn reading_stops_when_it_is_told_to() {
    let page = picture("columns");
    let (stop, start) = (AtomicBool::new(false), Mutex::new(None));
    read(&picture("table"));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            *start.lock().unwrap() = Some(Instant::now());
            stop.store(true, Ordering::Relaxed);
        });
        let error = READER.read(&page, &stop).unwrap_err().to_string();
        assert!(error.contains("stopped"), "{error}");
    });
    assert!(start.lock().unwrap().is_some(), "it went on until it was told to stop");
}

#[test]
fn many_threads_read_at_once_as_one_does() {
    let page = picture("table");
    let alone = read(&page);
    thread::scope(|scope| {
        let others: Vec<_> = (0..3).map(|_| scope.spawn(|| read(&page))).collect();
        for other in others {
            assert_eq!(other.join().unwrap(), alone);
        }
    });
}

#[test]
fn weights_that_are_wrong_or_missing_are_errors_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let search = WeightSearch { folder: Some(folder.path().into()), ..WeightSearch::default() };
    let missing = Readers::find(OcrChoice::Embedded, None, &search);
    let Err(OcrError::NoWeights { looked }) = missing else { panic!("{missing:?}") };
    assert_eq!(looked[0].folder, folder.path());
    fs::copy(weights().join(DETECTOR.name), folder.path().join(DETECTOR.name)).unwrap();
    let mut bytes = fs::read(weights().join(RECOGNISER.name)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(folder.path().join(RECOGNISER.name), bytes).unwrap();
    // Also where the choice is left open: what is there and wrong is said, not passed over.
    for choice in [OcrChoice::Embedded, OcrChoice::Auto] {
        let error = Readers::find(choice, None, &search).unwrap_err();
        let OcrError::WrongWeights { path, expected, got } = &error else { panic!("{error}") };
        assert_eq!(path, &folder.path().join(RECOGNISER.name));
        assert!(*expected == RECOGNISER.sha256 && got != expected && got.len() == 64, "{error}");
    }
}

#[test]
fn the_choice_decides_who_reads() {
    let here = WeightSearch { folder: Some(weights()), ..WeightSearch::default() };
    let readers = Readers::find(OcrChoice::Embedded, None, &here).unwrap();
    assert_eq!(readers.describe(), "the embedded reader");
    let readers = Readers::find(OcrChoice::Auto, Some("eng+deu"), &here).unwrap();
    assert!(readers.describe().starts_with("the embedded reader"), "{}", readers.describe());
    assert!(matches!(Readers::find(OcrChoice::Off, None, &here), Err(OcrError::Off)));
    // Without weights it is tesseract, or nothing.
    let nowhere = WeightSearch { folder: Some("/nowhere".into()), ..WeightSearch::default() };
    match Readers::find(OcrChoice::Auto, None, &nowhere) {
        Ok(readers) => assert!(readers.describe().starts_with("tesseract")),
        Err(error) => {
            assert!(
                matches!(error, OcrError::NotInstalled | OcrError::NoLanguage { .. }),
                "{error}"
            );
        }
    }
}
