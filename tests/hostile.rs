//! PDFs that mean harm, made here.

use std::fs;
#[cfg(target_os = "linux")]
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use crate::{PROGRAM, Ran, pdfium};
use crate::{Place, bombs, of_type};

/// A PDF of `objects`, numbered from 1; the first is the catalog.
pub fn pdf<T: AsRef<[u8]>>(objects: &[T]) -> Vec<u8> {
    let mut out = b"%PDF-1.7\n".to_vec();
    let mut offsets = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        offsets.push(out.len());
        out.extend(format!("{} 0 obj\n", i + 1).bytes());
        out.extend(object.as_ref());
        out.extend(b"\nendobj\n");
    }
    let start = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for offset in offsets {
        out.extend(format!("{offset:010} 00000 n \n").bytes());
    }
    let size = objects.len() + 1;
    out.extend(format!("trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF").bytes());
    out
}

pub fn stream(dictionary: &str, content: &str) -> String {
    format!("<<{dictionary}/Length {}>>\nstream\n{content}\nendstream", content.len())
}

pub fn catalog() -> String {
    "<</Type/Catalog/Pages 2 0 R>>".into()
}

pub fn page(media_box: &str, rest: &str) -> String {
    format!("<</Type/Page/Parent 2 0 R/MediaBox[{media_box}]{rest}>>")
}

/// Two pages: the first draws a form that draws the next one ten times, twelve deep; the second
/// is a plain one.
pub fn billion_laughs() -> Vec<u8> {
    let mut objects = vec![
        catalog(),
        "<</Type/Pages/Kids[3 0 R 4 0 R]/Count 2>>".into(),
        page("0 0 100 100", "/Contents 5 0 R/Resources<</XObject<</X 6 0 R>>>>"),
        page("0 0 100 100", ""),
        stream("", "/X Do"),
    ];
    for depth in 0..12 {
        let next = 7 + depth;
        let dictionary = format!(
            "/Type/XObject/Subtype/Form/BBox[0 0 100 100]/Resources<</XObject<</X {next} 0 R>>>>"
        );
        objects.push(stream(&dictionary, &"/X Do 1 0 0 1 0.1 0 cm ".repeat(10)));
    }
    objects.push(stream("/Type/XObject/Subtype/Form/BBox[0 0 100 100]", "0 0 50 50 re f"));
    pdf(&objects)
}

#[test]
fn a_page_that_does_not_end_costs_that_page() {
    let place = Place::with(&["form.pdf"]);
    fs::write(place.path().join("laughs.pdf"), billion_laughs()).unwrap();
    let start = Instant::now();
    // Drawing is what takes long; it is done for a model.
    let model = crate::fixtures().join("parity/hf");
    let model = model.to_str().unwrap();
    let arguments = ["index", "--json", "--no-ocr", "--page-timeout", "1", "--model", model, "."];
    let lines = place.json(3, &arguments);
    assert!(start.elapsed() < Duration::from_secs(60));
    let line = lines.iter().find(|line| line["path"] == "laughs.pdf").unwrap();
    assert_eq!((&line["status"], &line["pages"]), (&"partial".into(), &1.into()), "{line}");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.starts_with("page 1: took longer than 1 s"), "{reason}");
    let form = lines.iter().find(|line| line["path"] == "form.pdf").unwrap();
    assert_eq!(form["status"], "ok");
}

/// An update on disk does not stop a run: its workers start from what runs, by no name.
#[cfg(target_os = "linux")]
#[test]
fn a_run_outlives_the_file_of_its_program() {
    let place = Place::with(&["form.pdf"]);
    // The worker that meets it is stopped, and a new one is needed.
    fs::write(place.path().join("a-laughs.pdf"), billion_laughs()).unwrap();
    let program = place.path().join("pagesight");
    if fs::hard_link(PROGRAM, &program).is_err() {
        fs::copy(PROGRAM, &program).unwrap();
    }
    let model = crate::fixtures().join("parity/hf");
    let arguments = ["index", "--json", "--no-ocr", "--workers", "1", "--page-timeout", "1"];
    let mut command = Command::new(&program);
    command.args(arguments).arg("--model").arg(model).arg(".").current_dir(place.path());
    command.env_remove("PAGESIGHT_INDEX").env("PAGESIGHT_PDFIUM", pdfium());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    fs::remove_file(&program).unwrap();
    fs::write(&program, "another version").unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    let status = place.json(0, &["status", "--json"]);
    let pages = |path: &str| {
        let line = status.iter().find(|line| line["path"] == path).unwrap();
        line["pages"].as_u64()
    };
    assert_eq!((pages("a-laughs.pdf"), pages("form.pdf")), (Some(1), Some(2)), "{}", ran.out);
}

#[test]
fn shapes_and_counts_without_measure_end_well() {
    let place = Place::new();
    let one = |media_box: &str| {
        let kids = "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_string();
        pdf(&[catalog(), kids, page(media_box, "")])
    };
    let kids: Vec<String> = (3..303).map(|n| format!("{n} 0 R")).collect();
    let mut many = vec![catalog(), format!("<</Type/Pages/Kids[{}]/Count 300>>", kids.join(" "))];
    many.extend((0..300).map(|_| page("0 0 200 200", "")));
    for (name, bytes) in [
        ("huge.pdf", one("0 0 1e9 1e9")),
        ("strip.pdf", one("0 0 20000 1")),
        ("none.pdf", pdf(&[catalog(), "<</Type/Pages/Kids[]/Count 0>>".to_string()])),
        ("many.pdf", pdf(&many)),
    ] {
        fs::write(place.path().join(name), bytes).unwrap();
    }
    let model = crate::fixtures().join("parity/hf");
    let arguments = [
        "index",
        "--json",
        "--no-ocr",
        "--max-pages",
        "20",
        "--model",
        model.to_str().unwrap(),
        ".",
    ];
    let lines = place.json(3, &arguments);
    let line = |name: &str| lines.iter().find(|line| line["path"] == name).unwrap();
    for name in ["huge.pdf", "strip.pdf"] {
        assert_eq!(line(name)["pages"], 1, "{}", line(name));
    }
    assert_eq!(
        (&line("none.pdf")["status"], &line("none.pdf")["pages"]),
        (&"failed".into(), &0.into())
    );
    let many = line("many.pdf");
    assert_eq!((&many["status"], &many["pages"]), (&"ok".into(), &20.into()));
    assert!(many["notes"].to_string().contains("--max-pages"));
    assert_eq!(of_type(&lines, "summary")[0]["pages"]["indexed"], 22);
}

#[test]
fn a_file_beyond_the_limit_is_not_read() {
    let place = Place::with(&["form.pdf"]);
    let big = fs::File::create(place.path().join("big.pdf")).unwrap();
    big.set_len(3 << 20).unwrap();
    let lines = place.json(3, &["index", "--json", "--max-file-size", "2", "."]);
    let line = lines.iter().find(|line| line["path"] == "big.pdf").unwrap();
    assert!(line["reason"].as_str().unwrap().contains("--max-file-size"), "{line}");
}

#[test]
fn bombs_end_at_their_limit_and_the_other_files_are_indexed() {
    let place = Place::with(&["form.pdf"]);
    let bombs = bombs::all();
    for bomb in &bombs {
        fs::write(place.path().join(bomb.name), &bomb.bytes).unwrap();
    }
    let model = crate::fixtures().join("parity/hf");
    let model = model.to_str().unwrap();
    let limits = ["--page-timeout", "1", "--max-pages", "20", "--worker-memory", "512"];
    let arguments = [&["index", "--json", "--no-ocr", "--model", model][..], &limits, &["."]];
    let start = Instant::now();
    let lines = place.json(3, &arguments.concat());
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(of_type(&lines, "document").len(), bombs.len() + 1);
    for document in of_type(&lines, "document") {
        let whole = document["status"] == "ok";
        assert_eq!(document["reason"].is_null(), whole, "{document}");
    }
    let form = lines.iter().find(|line| line["path"] == "form.pdf").unwrap();
    assert_eq!((&form["status"], &form["pages"]), (&"ok".into(), &2.into()));
}

#[test]
fn text_without_end_is_cut_and_noted() {
    let place = Place::with(&["form.pdf"]);
    let line = |n: u32| format!("BT /F 1 Tf {} {} Td (wordswords) Tj ET ", n % 60 * 9, n / 60 * 9);
    let words: String = (0..2_000).map(line).collect();
    let font = "/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>";
    let objects = [
        catalog(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".into(),
        page("0 0 600 800", &format!("/Contents 4 0 R{font}")),
        stream("", &words),
    ];
    fs::write(place.path().join("words.pdf"), pdf(&objects)).unwrap();
    let lines = place.json(0, &["index", "--json", "--no-ocr", "--max-text", "5", "."]);
    let line = |name: &str| lines.iter().find(|line| line["path"] == name).unwrap();
    let note = line("words.pdf")["notes"][0].as_str().unwrap();
    assert!(note.starts_with("page 1 has more than 5 KB of text"), "{note}");
    assert_eq!(line("form.pdf")["notes"].as_array().map(Vec::len), Some(0));
    let text = place.run(&["get", "words.pdf#1"]).out;
    assert!((4_900..=5_001).contains(&text.len()), "{} bytes", text.len());
}
