//! What an index survives: kill -9, Ctrl-C, and everything at once; full disks are in `promises`. Each test has a
//! short form that always runs and a long one behind `make torture`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::random::Random;
use crate::sync::model;
use crate::{Place, Ran, fixtures, of_type};

pub const FIXTURES: [&str; 5] = [
    "debian/install-tables.pdf",
    "papers/chart.pdf",
    "form.pdf",
    "debian/history-ru.pdf",
    "papers/two-columns.pdf",
];

/// A PDF with the pages of a fixture and bytes of its own, so that it is a document of its own.
pub fn variant(fixture: &str, number: u64) -> Vec<u8> {
    let mut bytes = fs::read(fixtures().join("pdf").join(fixture)).unwrap();
    bytes.extend(format!("\n% variant {number}\n").bytes());
    bytes
}

pub fn documents(place: &Place, count: u64) {
    for n in 0..count {
        let fixture = FIXTURES[n as usize % FIXTURES.len()];
        fs::write(place.path().join(format!("{n:02}.pdf")), variant(fixture, n)).unwrap();
    }
}

/// Small batches, so that there are many commits to fall into.
pub fn index(place: &Place) -> Command {
    let mut command = place.command(&[
        "index",
        "--json",
        "--no-ocr",
        "--commit-every",
        "4",
        "--model",
        &model(),
        ".",
    ]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn index_to_the_end(place: &Place) -> Vec<Value> {
    let ran = Ran::from(index(place).output().unwrap());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    lines(&ran.out)
}

/// The lines of a program that may have been killed while it wrote the last one.
pub fn lines(out: &str) -> Vec<Value> {
    out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Everything that a user sees of an index: its documents, and rankings with their scores.
fn content(place: &Place) -> Vec<Value> {
    let status = place.run(&["status", "--json"]);
    assert_eq!(status.code, 0, "{}", status.err);
    let mut all: Vec<Value> = lines(&status.out);
    all.retain(|line| line["type"] == "document");
    for (channel, query) in [
        ("text", "table of hardware"),
        ("text", "travel expense claim"),
        ("visual", "a chart"),
        ("both", "Debian release"),
    ] {
        let ran = place.run(&["query", "--json", "-k", "200", "--channel", channel, query]);
        assert!([0, 1].contains(&ran.code), "{}", ran.err);
        all.extend(lines(&ran.out).into_iter().filter(|line| line["type"] == "hit"));
    }
    all
}

/// What a clean build of the PDFs in `place` gives.
fn clean_build(place: &Place) -> Vec<Value> {
    let clean = Place::new();
    copy_pdfs(place.path(), clean.path());
    index_to_the_end(&clean);
    content(&clean)
}

/// Says where two contents part, and not all of both.
#[track_caller]
fn assert_same(got: &[Value], expected: &[Value], when: &str) {
    let apart = got.iter().zip(expected).position(|(got, expected)| got != expected);
    let at = apart.unwrap_or(got.len().min(expected.len()));
    assert!(got == expected, "{when}, line {at}: {:?}\nclean: {:?}", got.get(at), expected.get(at));
}

fn copy_pdfs(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() && entry.file_name() != ".pagesight" {
            fs::create_dir_all(&target).unwrap();
            copy_pdfs(&path, &target);
        } else if path.is_file() {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[track_caller]
fn is_sound(place: &Place) {
    let ran = place.run(&["verify"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}

fn pages(place: &Place) -> u64 {
    match place.path().join(".pagesight/snapshot.json").exists() {
        true => {
            let status = place.json(0, &["status", "--json"]);
            of_type(&status, "summary")[0]["pages"].as_u64().unwrap()
        }
        false => 0,
    }
}

/// Pages that a run said are committed.
pub fn acknowledged(lines: &[Value]) -> u64 {
    of_type(lines, "commit").last().map_or(0, |commit| commit["pages"].as_u64().unwrap())
}

/// Ends the child after `moment`, unless it ended before, and gives its output.
fn stop_after(child: Child, moment: Duration, signal: &str) -> (Ran, Option<Duration>) {
    sleep(moment);
    let asked = Instant::now();
    // One that has ended is still ours until we wait for it, so the number is no other's.
    let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
    let ran = Ran::from(child.wait_with_output().unwrap());
    (ran, Some(asked.elapsed()))
}

/// Kills a run at `times` random moments; now and then lets it end, compares with a clean build,
/// and changes the folder.
fn survives_kills(times: usize, seed: u64) {
    let mut random = Random::new(seed);
    let place = Place::new();
    documents(&place, 10);
    let start = Instant::now();
    let mut clean = clean_build(&place);
    let longest = start.elapsed().mul_f64(0.8);
    let (mut killed, mut rounds, mut acknowledged_pages, mut next) = (0, 0, 0, 100);
    while killed < times {
        let before = pages(&place);
        let child = index(&place).spawn().unwrap();
        let (ran, _) = stop_after(child, random.moment(longest), "-KILL");
        let said = lines(&ran.out);
        if ran.code == -1 {
            killed += 1;
        }
        if place.path().join(".pagesight/snapshot.json").exists() {
            is_sound(&place);
        }
        let after = pages(&place);
        let acknowledged = acknowledged(&said);
        acknowledged_pages += acknowledged;
        assert!(after >= acknowledged, "{acknowledged} pages were acknowledged, {after} are there");
        if rounds == 0 {
            // Nothing was dropped yet: pages only come.
            assert!(after >= before + acknowledged, "{before} + {acknowledged} pages, now {after}");
        }
        if ran.code == 0 || random.below(8) == 0 {
            let there = pages(&place);
            let run = index_to_the_end(&place);
            let read = of_type(&run, "summary")[0]["pages"]["indexed"].as_u64().unwrap();
            if rounds == 0 {
                assert_eq!(there + read, pages(&place), "committed pages are not read again");
            }
            is_sound(&place);
            assert_same(&content(&place), &clean, &format!("after {killed} kills"));
            rounds += 1;
            // Another folder: some gone, some new, one renamed; sometimes from nothing.
            if random.below(3) == 0 {
                fs::remove_dir_all(place.path().join(".pagesight")).unwrap();
            }
            for _ in 0..3 {
                let files = pdfs(place.path());
                fs::remove_file(&files[random.below(files.len())]).unwrap();
                next += 1;
                let fixture = FIXTURES[random.below(FIXTURES.len())];
                let name = place.path().join(format!("{next}.pdf"));
                fs::write(name, variant(fixture, next)).unwrap();
            }
            let files = pdfs(place.path());
            next += 1;
            let name = place.path().join(format!("{next}.pdf"));
            fs::rename(&files[random.below(files.len())], name).unwrap();
            clean = clean_build(&place);
        }
    }
    index_to_the_end(&place);
    is_sound(&place);
    assert_same(&content(&place), &clean, "in the end");
    println!(
        "{killed} kills over {rounds} folders, {acknowledged_pages} pages acknowledged before \
         them: 0 lost, 0 duplicates, 0 torn, every index equal to a clean build"
    );
}

fn pdfs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "pdf")).collect();
    files.sort();
    files
}

#[cfg(unix)]
#[test]
fn a_killed_run_loses_nothing() {
    survives_kills(6, 1);
}

#[cfg(unix)]
#[test]
#[ignore = "minutes: make torture"]
fn torture_200_kills() {
    survives_kills(200, 2);
}

/// Interrupts a run at `times` random moments: exit code 130 within 2 s, and the next goes on.
fn survives_interrupts(times: usize, seed: u64) {
    let mut random = Random::new(seed);
    let place = Place::new();
    documents(&place, 10);
    let start = Instant::now();
    let clean = clean_build(&place);
    let longest = start.elapsed().mul_f64(0.7);
    let (mut interrupted, mut slowest) = (0, Duration::ZERO);
    while interrupted < times {
        let child = index(&place).spawn().unwrap();
        // A program that does not listen yet ends by the signal itself, as every program does.
        let moment = Duration::from_millis(30) + random.moment(longest);
        let (ran, took) = stop_after(child, moment, "-INT");
        if ran.code != 0 {
            assert_eq!(ran.code, 130, "{}{}", ran.out, ran.err);
            interrupted += 1;
            slowest = slowest.max(took.unwrap());
        }
        if place.path().join(".pagesight/snapshot.json").exists() {
            is_sound(&place);
            assert!(pages(&place) >= acknowledged(&lines(&ran.out)));
        }
        if ran.code == 0 || random.below(6) == 0 {
            index_to_the_end(&place);
            assert_same(&content(&place), &clean, "after interrupts");
            fs::remove_dir_all(place.path().join(".pagesight")).unwrap();
        }
    }
    println!("{interrupted} interrupts: exit 130 each, the slowest after {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_ends_soon_and_goes_on() {
    survives_interrupts(4, 3);
}

#[cfg(unix)]
#[test]
#[ignore = "minutes: make torture"]
fn torture_20_interrupts() {
    survives_interrupts(20, 4);
}

/// Random sequences of changes to a folder, each followed by a run: in the end as a clean build.
fn equals_a_clean_build(sequences: u64, steps: usize) {
    let mut done = 0;
    for seed in 0..sequences {
        let mut random = Random::new(seed + 100);
        let place = Place::new();
        documents(&place, 4);
        let mut gone: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        for step in 0..steps {
            for _ in 0..=random.below(3) {
                change(&mut random, place.path(), &mut gone);
            }
            let ran = Ran::from(index(&place).output().unwrap());
            assert!([0, 1].contains(&ran.code), "{}{}", ran.out, ran.err);
            done += 1;
            // Between the steps too, but not each time: that is the slow part.
            if step + 1 == steps || random.below(4) == 0 {
                is_sound(&place);
                let when = format!("seed {seed}, step {step}");
                assert_same(&content(&place), &clean_build_of_any(&place), &when);
            }
        }
    }
    println!("{sequences} sequences, {done} runs: each index equal to a clean build");
}

/// As [`clean_build`], also of a folder without PDFs.
fn clean_build_of_any(place: &Place) -> Vec<Value> {
    let clean = Place::new();
    copy_pdfs(place.path(), clean.path());
    let ran = Ran::from(index(&clean).output().unwrap());
    assert!([0, 1].contains(&ran.code), "{}{}", ran.out, ran.err);
    content(&clean)
}

fn change(random: &mut Random, folder: &Path, gone: &mut Vec<(PathBuf, Vec<u8>)>) {
    let sub = folder.join("sub");
    fs::create_dir_all(&sub).unwrap();
    let files = [pdfs(folder), pdfs(&sub)].concat();
    let any = |random: &mut Random| files[random.below(files.len())].clone();
    let fresh = random.number();
    let fixture = FIXTURES[random.below(FIXTURES.len())];
    let place = [folder, &sub][random.below(2)].join(format!("{:06}.pdf", fresh % 1_000_000));
    match random.below(7) {
        _ if files.is_empty() => fs::write(place, variant(fixture, fresh)).unwrap(),
        0 => fs::write(place, variant(fixture, fresh)).unwrap(),
        1 => fs::write(any(random), variant(fixture, fresh)).unwrap(),
        2 => fs::rename(any(random), place).unwrap(),
        3 => drop(fs::copy(any(random), place).unwrap()),
        4 => {
            let file = any(random);
            let name = file.file_name().unwrap().to_owned();
            let to = if file.parent() == Some(folder) { sub.join(name) } else { folder.join(name) };
            fs::rename(file, to).unwrap();
        }
        5 => {
            let file = any(random);
            gone.push((file.clone(), fs::read(&file).unwrap()));
            fs::remove_file(file).unwrap();
        }
        _ => {
            if let Some((file, bytes)) = gone.pop() {
                fs::write(file, bytes).unwrap();
            }
        }
    }
}

#[test]
fn any_sequence_of_changes_equals_a_clean_build() {
    equals_a_clean_build(3, 4);
}

#[test]
#[ignore = "minutes: make torture"]
fn torture_40_sequences() {
    equals_a_clean_build(40, 8);
}

/// Two runs, a folder that changes, garbage collection and `askers` query processes, for `time`.
fn survives_everything_at_once(askers: usize, time: Duration, seed: u64) {
    let place = Place::new();
    documents(&place, 6);
    index_to_the_end(&place);
    let first = space_of(&place.path().join(".pagesight"));
    let over = AtomicBool::new(false);
    let (answers, runs, refused) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let collected = AtomicU64::new(0);
    // What each snapshot answered: the same each time, or it was not seen whole.
    let seen: Mutex<HashMap<u64, Vec<Value>>> = Mutex::default();
    let most = Mutex::new(first);
    let goes_on = || !over.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while goes_on() {
                    let ran = Ran::from(index(&place).output().unwrap());
                    match ran.code {
                        // A file may go while it is read; that is that file's record.
                        0 | 1 | 3 => runs.fetch_add(1, Ordering::Relaxed),
                        2 if ran.err.contains("is being written by process") => {
                            sleep(Duration::from_millis(50));
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        code => panic!("index ended with {code}: {}{}", ran.out, ran.err),
                    };
                }
            });
        }
        scope.spawn(|| {
            let (mut random, mut gone) = (Random::new(seed), Vec::new());
            while goes_on() {
                // About as many documents as at first.
                match pdfs(place.path()).len() {
                    n if n > 12 => {
                        let files = pdfs(place.path());
                        fs::remove_file(&files[random.below(files.len())]).unwrap();
                    }
                    _ => change(&mut random, place.path(), &mut gone),
                }
                gone.truncate(4);
                sleep(Duration::from_millis(150));
            }
        });
        scope.spawn(|| {
            while goes_on() {
                let ran = place.run(&["gc", "--json"]);
                let locked = ran.err.contains("is being written by process");
                assert!(ran.code == 0 || (ran.code == 2 && locked), "{}", ran.err);
                collected.fetch_add(u64::from(ran.code == 0), Ordering::Relaxed);
                let now = space_of(&place.path().join(".pagesight"));
                let mut most = most.lock().unwrap();
                *most = now.max(*most);
                drop(most);
                sleep(Duration::from_millis(200));
            }
        });
        for _ in 0..askers {
            scope.spawn(|| {
                while goes_on() {
                    let ran = place.run(&["query", "--json", "-k", "300", "a table of hardware"]);
                    assert!([0, 1].contains(&ran.code), "{}{}", ran.out, ran.err);
                    let mut lines = lines(&ran.out);
                    let summary = lines.pop().unwrap();
                    let number = summary["snapshot"].as_u64().unwrap();
                    let scored = summary["pages_scored"].as_u64().unwrap();
                    // A channel looks as deep as there are hits to give.
                    let visual = lines.iter().filter(|line| !line["visual"].is_null()).count();
                    assert_eq!(visual as u64, scored.min(300), "every page has a MaxSim");
                    let mut seen = seen.lock().unwrap();
                    let before = seen.entry(number).or_insert_with(|| lines.clone());
                    assert_eq!(*before, lines, "snapshot {number}");
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        sleep(time);
        over.store(true, Ordering::Relaxed);
    });
    index_to_the_end(&place);
    is_sound(&place);
    assert_same(&content(&place), &clean_build(&place), "in the end");
    let (most, last) = (*most.lock().unwrap(), space_of(&place.path().join(".pagesight")));
    println!(
        "{} s: {} answers from {} snapshots, {} runs, {} told to wait, {} collections: 0 errors; \
         disk {:.1} MB at first, {:.1} MB at most, {:.1} MB at the end",
        time.as_secs(),
        answers.load(Ordering::Relaxed),
        seen.lock().unwrap().len(),
        runs.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed),
        collected.load(Ordering::Relaxed),
        first as f64 / 1e6,
        most as f64 / 1e6,
        last as f64 / 1e6,
    );
    assert!(most < 10 * first + (20 << 20), "{most} bytes at most, {first} at first");
}

#[test]
fn everything_at_once_gives_whole_answers() {
    survives_everything_at_once(3, Duration::from_secs(6), 7);
}

#[test]
#[ignore = "10 minutes: make torture"]
fn torture_10_minutes_of_everything_at_once() {
    survives_everything_at_once(8, Duration::from_secs(600), 8);
}

/// A reader that stays open sees what another process commits, within the stated interval.
#[test]
fn a_reader_that_stays_open_sees_new_snapshots() {
    let place = Place::with(&["papers/chart.pdf"]);
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    let index = pagesight::Index::open(place.path().join(".pagesight")).unwrap();
    let answer = index.search("travel expense").run().unwrap();
    let before = answer.snapshot;
    place.add("form.pdf", "form.pdf");
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    // The old answer is whole still.
    assert!(answer.hits.iter().all(|hit| hit.page.path() == "papers/chart.pdf"));
    sleep(pagesight::REFRESH);
    let answer = index.search("travel expense").run().unwrap();
    assert!(answer.snapshot > before);
    assert_eq!(answer.hits[0].page.path(), "form.pdf");
}

/// What a reader holds stays on disk, and goes when it lets go.
#[test]
fn garbage_is_collected_but_not_from_under_a_reader() {
    let place = Place::with(&["papers/chart.pdf", "form.pdf"]);
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    let index = pagesight::Index::open(place.path().join(".pagesight")).unwrap();
    let held: Vec<String> = index.snapshot().files.keys().cloned().collect();
    fs::remove_file(place.path().join("form.pdf")).unwrap();
    place.add("debian/history-ru.pdf", "new.pdf");
    place.json(0, &["index", "--json", "--no-ocr", "."]);
    let lines = place.json(0, &["gc", "--json"]);
    assert_eq!(lines[0]["snapshots_held"], 1);
    let is_there = |name: &String| place.path().join(".pagesight").join(name).exists();
    assert!(held.iter().all(is_there), "a file that a reader needs is gone");
    drop(index);
    let lines = place.json(0, &["gc", "--json"]);
    assert_eq!(lines[0]["snapshots_held"], 0);
    assert!(lines[0]["files_removed"].as_u64().unwrap() > 0);
    assert!(!held.iter().all(is_there), "nothing was removed");
    is_sound(&place);
}

#[test]
fn the_second_writer_ends_at_once_and_names_the_first() {
    let place = Place::new();
    documents(&place, 10);
    index_to_the_end(&place);
    for (n, file) in pdfs(place.path()).into_iter().enumerate() {
        fs::write(file, variant(FIXTURES[n % FIXTURES.len()], 1000 + n as u64)).unwrap();
    }
    let first = index(&place).spawn().unwrap();
    let pid = first.id().to_string();
    let lock = place.path().join(".pagesight/write.lock");
    while fs::read_to_string(&lock).unwrap().trim() != pid {
        sleep(Duration::from_millis(5));
    }
    let start = Instant::now();
    let ran = Ran::from(index(&place).output().unwrap());
    let took = start.elapsed();
    let _ = first.wait_with_output();
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains(&format!("process {pid}")), "{}", ran.err);
    assert!(took < Duration::from_secs(1), "{took:?}");
}
