//! What is on a page is found as people ask for it, from the PDF to the answer. The rules of words
//! are tested where they are, in `store/src/text`.

use std::fs;

use serde_json::Value;

use crate::hostile::{catalog, page, pdf, stream};
use crate::{Place, Ran, fixtures, hits, of_type};

/// A PDF with a page for each of `pages`, in a font that every reader has; lines end where theirs do.
fn written(pages: &[&str]) -> Vec<u8> {
    let count = pages.len();
    let kids: Vec<String> = (0..count).map(|i| format!("{} 0 R", 3 + 2 * i)).collect();
    let mut objects =
        vec![catalog(), format!("<</Type/Pages/Kids[{}]/Count {count}>>", kids.join(" "))];
    let font =
        "<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>>>>>";
    for (i, text) in pages.iter().enumerate() {
        let lines: Vec<String> = text.lines().map(|line| format!("({line}) Tj T*")).collect();
        let content = format!("BT /F 12 Tf 14 TL 40 760 Td {} ET", lines.join("\n"));
        let rest = format!("/Contents {} 0 R/Resources{font}", 4 + 2 * i);
        objects.extend([page("0 0 612 792", &rest), stream("", &content)]);
    }
    pdf(&objects)
}

fn place(files: &[(&str, &[&str])]) -> Place {
    let place = Place::new();
    for (name, pages) in files {
        fs::write(place.path().join(name), written(pages)).unwrap();
    }
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    place
}

/// Pages whose words have an answer, best first.
fn found(place: &Place, question: &str) -> Vec<(String, u64)> {
    let ran = place.run(&["query", "--json", "--channel", "text", "--", question]);
    let lines: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let hits_on_page: Vec<Value> = lines.into_iter().filter(|l| l["by_name"] == false).collect();
    hits(&hits_on_page)
}

#[test]
fn words_of_a_page_are_found() {
    let invoice = "Invoice of the Ljubljana foundry\nCasting of bronze bells ................ 14,250\n\
                   Tuning fork assembly ................... 96\nTotal due ............... 14,346";
    let compound = "The committee calls it a well-\nknown state-of-the-\nart process, and an inter-\n\
                    national agreement.";
    let phrase = ["The white house was sold", "The house had white shutters"];
    let place =
        place(&[("invoice.pdf", &[invoice]), ("compound.pdf", &[compound]), ("p.pdf", &phrase)]);
    for question in ["bronze", "14250", "tuning"] {
        assert_eq!(found(&place, question), [("invoice.pdf".into(), 1)], "{question}");
    }
    for question in ["known", "well-known", "art", "international"] {
        assert_eq!(found(&place, question), [("compound.pdf".into(), 1)], "{question}");
    }
    assert_eq!(found(&place, "\"white house\""), [("p.pdf".into(), 1)]);
    assert_eq!(found(&place, "white house").len(), 2);
    // Who reads the page gets the word in one piece.
    let text = place.run(&["get", "compound.pdf#1"]).out;
    assert!(text.contains("international"), "{text}");
}

#[test]
fn a_question_may_begin_with_a_dash() {
    let place = place(&[("a.pdf", &["At -5 degrees the windmills stop"])]);
    for arguments in [
        vec!["query", "--json", "-5 degrees windmills"],
        vec!["query", "-5 degrees windmills", "--json", "-k", "3"],
        vec!["search", "--json", "- windmills"],
    ] {
        assert_eq!(hits(&place.json(0, &arguments)), [("a.pdf".into(), 1)], "{arguments:?}");
    }
    // What cannot be a question is still a wrong call.
    assert_eq!(place.run(&["query", "--jsn", "windmills"]).code, 2);
}

#[cfg(target_os = "linux")]
#[test]
fn paths_are_known_in_both_forms_of_their_letters_and_by_themselves() {
    let apart = "Bu\u{308}ro.pdf";
    let place = place(&[
        (apart, &["desks and lamps"]),
        ("[draft] x.pdf", &["a first draft"]),
        ("{a,b}.pdf", &["both of them"]),
        ("d x.pdf", &["no draft"]),
    ]);
    assert!(place.run(&["get", "B\u{FC}ro.pdf#1"]).out.contains("lamps"));
    assert!(place.run(&["get", &format!("{apart}#1")]).out.contains("lamps"));
    for (path, question, expected) in [
        ("B\u{FC}ro.pdf", "lamps", apart),
        (apart, "lamps", apart),
        ("[draft] x.pdf", "draft", "[draft] x.pdf"),
        ("{a,b}.pdf", "both", "{a,b}.pdf"),
    ] {
        let lines = place.json(0, &["query", "--json", "--path", path, question]);
        assert_eq!(hits(&lines), [(expected.into(), 1)], "{path}");
    }
    // By its name alone.
    let lines = place.json(0, &["query", "--json", "B\u{FC}ro"]);
    assert_eq!(hits(&lines), [(apart.into(), 1)]);
}

/// A PDF within a portfolio is a document: found, read and drawn by its own name.
#[test]
fn attached_pdfs_are_found_and_drawn() {
    let place = Place::new();
    fs::copy(fixtures().join("pages/portfolio.pdf"), place.path().join("portfolio.pdf")).unwrap();
    let lines = place.json(3, &["index", "--json", "."]);
    assert_eq!(of_type(&lines, "document").len(), 4, "{lines:?}");
    let annex = "portfolio.pdf!plan.pdf!annex.pdf";
    let found = hits(&place.json(0, &["query", "--json", "grazing of alpacas"]));
    assert_eq!(found, [(annex.to_string(), 1)]);
    let within = ["query", "--json", "--path", "*!plan.pdf", "meadow"];
    assert_eq!(hits(&place.json(0, &within)), [("portfolio.pdf!plan.pdf".to_string(), 1)]);
    let page = format!("{annex}#1");
    assert!(place.run(&["get", &page]).out.contains("Annex on the grazing"));
    let ran = place.run(&["get", &page, "--image", "annex.png"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(fs::read(place.path().join("annex.png")).unwrap().starts_with(b"\x89PNG"));

    fs::copy(fixtures().join("pages/forms.pdf"), place.path().join("portfolio.pdf")).unwrap();
    let ran = place.run(&["get", &page, "--image", "annex.png"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("is not attached to portfolio.pdf any more"), "{}", ran.err);
    place.json(0, &["index", "--json", "."]);
    assert_eq!(place.run(&["query", "grazing of alpacas"]).code, 1);
}

/// With pictures beside the words: to nano, something always looks like anything.
#[test]
fn a_word_that_is_nowhere_gets_no_page_unless_all_are_wanted() {
    let place = Place::with(&["form.pdf", "papers/chart.pdf"]);
    let fresh = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        Ran::from(command.env_remove("PAGESIGHT_MODEL").output().unwrap())
    };
    assert_eq!(fresh(&["index", "--quiet", "--no-ocr", "."]).code, 0);
    let ran = fresh(&["query", "xyzzyqwv"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(ran.err.contains("nothing found") && ran.err.contains("--all"), "{}", ran.err);
    let ran = fresh(&["query", "--json", "xyzzyqwv"]);
    let summary: Value = serde_json::from_str(ran.out.trim()).unwrap();
    assert_eq!((ran.code, &summary["verdict"]), (1, &"none".into()), "{summary}");
    assert_eq!((&summary["hits"], &summary["held_back"]), (&0.into(), &4.into()));
    assert_eq!(summary["probability"], 0.0);
    let ran = fresh(&["query", "--all", "--json", "xyzzyqwv"]);
    let lines: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((ran.code, hits(&lines).len()), (1, 4), "{}", ran.out);
    assert_eq!(lines[0]["verdict"], "none");
    // A word that is there has its page.
    let ran = fresh(&["query", "--json", "mileage"]);
    let lines = read(&ran);
    assert_eq!(hits(&lines)[0].0, "form.pdf", "{}", ran.out);
    assert_ne!(lines[0]["verdict"], "none");
    let quoted = read(&fresh(&["query", "--json", "\"private cars\""]));
    assert_eq!(hits(&quoted)[0].0, "form.pdf");
}

fn read(ran: &Ran) -> Vec<Value> {
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
