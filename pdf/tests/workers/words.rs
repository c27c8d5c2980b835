//! The words of a page are those that it shows. The PDFs are those of `fixtures/pages/make.py`,
//! which says what is on each page.

use std::fs;

use pagesight_core::{Attachment, DrawSize, FailureKind, PageText};
use pagesight_pdf::{Renderer, Sandbox};

use crate::{fixtures, start};

fn read(renderer: &mut Renderer, file: &str) -> Vec<PageText> {
    let bytes = fs::read(fixtures().join("pages").join(file)).unwrap();
    let (count, _) = renderer.open(&bytes, &[]).unwrap();
    (1..=count).map(|number| renderer.text(number, 1 << 20).unwrap()).collect()
}

/// File, page, what its words hold, and what they must not hold.
type Case = (&'static str, usize, &'static [&'static str], &'static [&'static str]);

fn check(cases: &[Case]) {
    let mut renderer = start(Sandbox::BestEffort).unwrap();
    for (file, page, has, has_not) in cases {
        let text = &read(&mut renderer, file)[page - 1].text;
        for words in *has {
            assert!(text.contains(words), "{file}#{page}: {words} in {text:?}");
        }
        for words in *has_not {
            assert!(!text.contains(words), "{file}#{page}: no {words} in {text:?}");
        }
    }
}

pub fn outside_the_page_and_its_clips_are_none() {
    check(&[
        ("shown.pdf", 1, &["Windmills of the visible chapter"], &["submarines"]),
        ("shown.pdf", 2, &["Lighthouses of the whole page"], &[]),
        // The word at the margin is whole, what comes after it is not there.
        ("shown.pdf", 3, &["Ferries", "runs over"], &["zeppelins", "bathyscaphes", "margin"]),
        ("shown.pdf", 4, &["Herons", "badgers"], &["cormorants", "pelicans", "weasels"]),
        ("shown.pdf", 5, &["Beavers", "Voles", "Form"], &["martens", "shrews"]),
        ("shown.pdf", 6, &["Turned"], &["lemmings"]),
    ]);
    let size = read(&mut start(Sandbox::BestEffort).unwrap(), "shown.pdf")[1].size;
    assert_eq!((size.width_pt, size.height_pt), (420.0, 300.0), "the page is the MediaBox");
}

pub fn of_layers_that_are_off_are_none() {
    for file in ["layers.pdf", "layers-packed.pdf"] {
        let shown = &["Ostriches", "English emus", "Tinamous", "Kiwis in a form"][..];
        let hidden = &["deutsche", "rheas", "moas", "cassowaries"][..];
        check(&[(file, 1, shown, hidden), (file, 2, &["Auks under a scan"], &[])]);
    }
}

pub fn of_annotations_are_read() {
    let shown = &[
        "Savanna",
        "Typewritten gazelles",
        "Unpainted okapis",
        "SUPERSEDED impalas",
        "A comment on kudus",
        "Marked elands",
        "Digitally signed by Oryx Waterbuck",
        "Hartebeest",
        "Submit to nyalas",
    ];
    let hidden = &["bongos", "dik-diks", "reedbuck", "sitatunga", "***", "nowhere"];
    check(&[("annotations.pdf", 1, shown, hidden)]);
    let mut renderer = start(Sandbox::BestEffort).unwrap();
    let first = read(&mut renderer, "annotations.pdf");
    assert_eq!(first[0].text.matches("gazelles").count(), 1, "what is drawn is not said twice");
    assert_eq!(first[0].text.matches("Hartebeest").count(), 1);
    // Reading makes annotations part of a copy of the page; the second time it is one.
    assert_eq!(renderer.text(1, 1 << 20).unwrap(), first[0]);
    let cut = renderer.text(1, 60).unwrap();
    assert!(cut.cut && cut.text.len() <= 60 && cut.text.starts_with("Savanna"), "{cut:?}");
}

pub fn of_annotations_on_layers_that_are_off_are_none() {
    for file in ["annotation-layers.pdf", "annotation-layers-packed.pdf"] {
        let shown = &["Layered", "Gazelles that are typed", "Comment on kudus", "Hartebeests"][..];
        check(&[
            (file, 1, &["First", "Note on oryxes", "Rich lechwes"], &[]),
            (file, 2, shown, &["hidden"]),
        ]);
        // Neither are they drawn, whether the page was read or not.
        let mut renderer = start(Sandbox::BestEffort).unwrap();
        let bytes = fs::read(fixtures().join("pages").join(file)).unwrap();
        renderer.open(&bytes, &[]).unwrap();
        let image = renderer.draw(2, DrawSize::Width(420)).unwrap();
        for (index, is_shown) in [true, false, false, true, false, false, true].iter().enumerate() {
            let place = image.crop(30, 300 - 278 + 22 * index as u32, 300, 20);
            let ink = place.rgb().iter().filter(|value| **value < 128).count();
            assert_eq!(ink > 20, *is_shown, "{file}: annotation {index} has {ink}");
        }
        renderer.text(2, 1 << 20).unwrap();
        assert!(image == renderer.draw(2, DrawSize::Width(420)).unwrap(), "{file}");
    }
}

pub fn of_a_choice_are_its_label() {
    check(&[("pinned.pdf", 1, &["Guanaco"], &["k2", "Vicuna"])]);
}

pub fn of_tags_stand_for_their_content() {
    let shown = &["Wordless", "Graš", "as it stands", "Together", "untagged"];
    check(&[("tagged.pdf", 1, shown, &["zz"])]);
}

pub fn keep_every_letter() {
    for file in ["letters.pdf", "letters-packed.pdf"] {
        check(&[
            (file, 1, &["𠮷野𩸽𝐸𝜆😀a𝐇𝐢"], &["\u{FFFD}"]),
            (
                file,
                2,
                &["Specifications of efficient Thermals", "flying fish"],
                &["\u{1}", "\u{2}"],
            ),
            (
                file,
                3,
                &["turn the valve off by hand\nIlluminated\nW𠮷", "whole and the rest"],
                &["xx", "w-h", "o-l-e"],
            ),
            (file, 4, &["an electro\u{AD}magnet of iron", "Outermost"], &["innermost", "yy"]),
        ]);
    }
}

pub fn in_fonts_that_are_drawn_have_the_names_of_their_glyphs() {
    for file in ["drawn.pdf", "drawn-packed.pdf"] {
        check(&[
            (file, 1, &["Hydraulic spillway 1fishé łΩж"], &["\u{1}", "\u{FFFD}"]),
            (file, 2, &["gates", "turbines"], &[]),
        ]);
    }
}

pub fn say_where_they_stand() {
    let mut renderer = start(Sandbox::BestEffort).unwrap();
    let pages = read(&mut renderer, "scans.pdf");
    assert!(pages.iter().all(|page| page.images > 0.99), "{pages:?}");
    // The stamp at the foot of the first scan is all that its text explains.
    let areas = renderer.text_areas(1).unwrap();
    let [stamp] = areas[..] else { panic!("one piece of text: {areas:?}") };
    assert!(stamp.y0 > 0.93 && stamp.y1 < 1.0 && stamp.x0 > 0.18 && stamp.x1 < 0.8, "{stamp:?}");
    assert!(renderer.text_areas(2).unwrap().is_empty());
    // As displayed: of a page that is turned and cropped.
    read(&mut renderer, "shown.pdf");
    let areas = renderer.text_areas(6).unwrap();
    let [turned] = areas[..] else { panic!("what is cropped stands nowhere: {areas:?}") };
    // Text at the left of a page 420 wide and 200 high stands at the top when it is turned.
    assert!(turned.y0 < 0.1 && turned.y1 < 0.3 && turned.x1 - turned.x0 < 0.1, "{turned:?}");
    assert!(renderer.text_areas(99).is_err());
    // Word by word, as displayed.
    let words = renderer.words(6).unwrap();
    let first = &words[0];
    assert!(turned.y0 <= first.area.y0 + 0.01 && first.area.y1 <= turned.y1 + 0.01, "{words:?}");
    assert!(renderer.words(99).is_err());
}

/// Each word with a place is a word of the page's text, and stands on the page; together they are
/// nearly all of it.
pub fn stand_where_they_are_displayed() {
    let mut renderer = start(Sandbox::BestEffort).unwrap();
    for file in ["shown.pdf", "scans.pdf", "annotations.pdf"] {
        let pages = read(&mut renderer, file);
        for (page, number) in pages.iter().zip(1..) {
            let words = renderer.words(number).unwrap();
            for word in &words {
                assert!(page.text.contains(&word.text), "{file}#{number}: {word:?}");
                let a = word.area;
                assert!(a.x0 < a.x1 && a.y0 < a.y1 && a.x1 <= 1.0 && a.y1 <= 1.0, "{word:?}");
            }
        }
    }
    // What is filled into a form stands in its field, beside its label.
    let bytes = fs::read(fixtures().join("pdf/form.pdf")).unwrap();
    renderer.open(&bytes, &[]).unwrap();
    let words = renderer.words(1).unwrap();
    let area = |text: &str| words.iter().find(|word| word.text == text).expect(text).area;
    let (label, value) = (area("Total"), area("741.60"));
    assert!(
        label.x1 < value.x0 && label.y0 < value.y1 && value.y0 < label.y1,
        "{label:?} {value:?}"
    );
}

pub fn notes_say_what_is_not_read() {
    let mut renderer = start(Sandbox::BestEffort).unwrap();
    for (file, has) in [("forms.pdf", Some("XFA")), ("annotations.pdf", None), ("shown.pdf", None)]
    {
        read(&mut renderer, file);
        let notes = renderer.notes();
        match has {
            Some(has) => {
                assert!(notes.len() == 1 && notes[0].contains(has), "{file}: {notes:?}");
            }
            None => assert!(notes.is_empty(), "{file}: {notes:?}"),
        }
    }
    assert_eq!(renderer.attachments(), []);

    read(&mut renderer, "portfolio.pdf");
    let notes = renderer.notes().join("; ");
    assert!(notes.contains("a cover for 3 attached files"), "{notes}");
    assert!(notes.contains("1 attached file that cannot be read (table.csv)"), "{notes}");
    let attachments = renderer.attachments().to_vec();
    let names: Vec<&str> = attachments.iter().map(|a| &*a.name).collect();
    assert_eq!(names, ["plan.pdf", "torn.pdf"]);
    let plan = renderer.attached(&attachments[0], 1 << 20).unwrap();
    assert!(plan.starts_with(b"%PDF-1.7") && plan.ends_with(b"%%EOF\n"));
    let most = plan.len() as u64;
    assert_eq!(renderer.attached(&attachments[0], most).unwrap(), plan);
    let too_large = renderer.attached(&attachments[0], most - 1).unwrap_err();
    assert_eq!(too_large.into_failure().kind, FailureKind::TooLarge);
    let none = Attachment::new(99, "none.pdf".into());
    assert_eq!(
        renderer.attached(&none, most).unwrap_err().into_failure().kind,
        FailureKind::Damaged
    );
    // One that says what it is, and one that is pinned to a page.
    let mut other = start(Sandbox::BestEffort).unwrap();
    read(&mut other, "pinned.pdf");
    let pinned = other.attachments().to_vec();
    let names: Vec<&str> = pinned.iter().map(|a| &*a.name).collect();
    assert_eq!(names, ["contract", "clip.pdf"]);
    let clip = other.attached(&pinned[1], most).unwrap();
    assert_eq!(other.open(&clip, &[]).unwrap().0, 1);
    assert!(other.text(1, 1 << 20).unwrap().text.contains("Pinned llamas"));
    // The worker goes on, and what was taken out is a document.
    assert_eq!(renderer.open(&plan, &[]).unwrap().0, 1);
    assert_eq!(renderer.attachments()[0].name, "annex.pdf");
}
