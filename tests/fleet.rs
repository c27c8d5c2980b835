//! An index in a bucket, by the real program on real PDFs: workers and committers are killed, and what
//! comes out is what one machine makes.
//!
//! The bucket is a folder that is used like one (`file://`), or what `PAGESIGHT_TEST_BUCKET` names:
//! `make fleet` sets it to a bucket of moto, with a program that has feature `s3`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::random::Random;
use super::{Place, Ran, hits, of_type};

const FILES: [&str; 6] =
    ["form.pdf", "slides.pdf", "rotated.pdf", "broken.pdf", "persian.pdf", "scan.pdf"];

const QUESTIONS: [&str; 4] = ["form", "a chart of sales", "name and address", "table"];

/// A folder of PDFs, and the address of an index for them.
struct Fleet {
    place: Place,
    address: String,
}

impl Fleet {
    fn new(files: &[&str]) -> Self {
        let fleet = Self::in_folder(files);
        // Each test has an index of its own.
        let own = fleet.place.path().file_name().unwrap().to_string_lossy().replace('.', "-");
        match std::env::var("PAGESIGHT_TEST_BUCKET") {
            Ok(bucket) => Self { address: format!("{bucket}/{own}"), ..fleet },
            Err(_) => fleet,
        }
    }

    /// Whose bucket is a folder, whatever the others are.
    fn in_folder(files: &[&str]) -> Self {
        let place = Place::new();
        for file in files {
            place.add(file, &format!("pdfs/{file}"));
        }
        let address = format!("file://{}", place.path().join("bucket/index").display());
        Self { place, address }
    }

    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--index", &*self.address, "--local", "local"], arguments].concat()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.place.run(&self.with(arguments))
    }

    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let lines = self.place.json(code, &self.with(&[arguments, &["--json"]].concat()));
        lines.last().expect("a line").clone()
    }

    /// Makes a plan; its id and its shards.
    fn plan(&self, arguments: &[&str]) -> (String, u64) {
        let mut command = self.place.command(&self.with(&["plan", "--json", "pdfs"]));
        let planned = Ran::from(command.args(arguments).output().unwrap());
        assert_eq!(planned.code, 0, "{}", planned.err);
        let line: Value = serde_json::from_str(planned.out.trim()).unwrap();
        let id = line["plan"].as_str().unwrap_or_default().to_string();
        (id, line["shards"].as_u64().unwrap())
    }

    fn shard(&self, plan: &str, shard: u64, of: u64) -> Ran {
        let shard = format!("{shard}/{of}");
        self.run(&["index", "--plan", plan, "--shard", &shard, "--commit-every", "1", "--json"])
    }

    /// Starts the program and kills it after `time`; whether it ended before.
    fn killed(&self, arguments: &[&str], time: Duration) -> bool {
        let mut command = self.place.command(&self.with(arguments));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(time);
        let ended = child.try_wait().unwrap().is_some();
        let _ = child.kill();
        child.wait().unwrap();
        ended
    }

    fn answers(&self) -> Vec<Vec<(String, u64)>> {
        let ask = |question: &&str| {
            let ran = self.run(&["query", "--json", "-k", "20", "--channel", "text", question]);
            let lines: Vec<Value> =
                ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            hits(&lines)
        };
        QUESTIONS.iter().map(ask).collect()
    }
}

/// What one machine finds with the same PDFs in a folder, whose paths begin at the PDFs too.
fn one_machine(fleet: &Fleet) -> Vec<Vec<(String, u64)>> {
    let index = fleet.place.path().join("pdfs/.pagesight");
    let index = index.to_str().unwrap();
    let ran = fleet.place.run(&["--index", index, "index", "--json", "--no-ocr", "pdfs"]);
    assert!([0, 3].contains(&ran.code), "{}", ran.err);
    let ask = |question: &&str| {
        let arguments = ["--index", index, "query", "--json", "-k", "20", "--channel", "text"];
        let ran = fleet.place.run(&[&arguments[..], &[question]].concat());
        let lines: Vec<Value> =
            ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        hits(&lines)
    };
    let answers = QUESTIONS.iter().map(ask).collect();
    std::fs::remove_dir_all(index).unwrap();
    answers
}

#[test]
fn a_fleet_of_real_programs_finds_what_one_machine_finds() {
    let fleet = Fleet::new(&FILES);
    let (plan, shards) = fleet.plan(&["--model", "none", "--no-ocr", "--shards", "3"]);
    assert_eq!((plan.len(), shards), (16, 3));
    assert_eq!(fleet.plan(&["--model", "none", "--no-ocr", "--shards", "3"]).0, plan);
    // Not done yet.
    let early = fleet.run(&["commit", "--plan", &plan]);
    assert_eq!(early.code, 2);
    assert!(early.err.contains("0/3"), "{}", early.err);
    let mut failed = 0;
    for shard in 0..shards {
        let ran = fleet.shard(&plan, shard, shards);
        assert!([0, 3].contains(&ran.code), "{}", ran.err);
        failed += i32::from(ran.code == 3);
        let line: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
        assert_eq!((&line["plan"], &line["done"]), (&plan.clone().into(), &true.into()));
        assert_eq!(line["shard"], format!("{shard}/3"));
    }
    assert_eq!(failed, 1, "broken.pdf is in one shard");
    let committed = fleet.json(3, &["commit", "--plan", &plan]);
    assert_eq!((&committed["snapshot"], &committed["already"]), (&2.into(), &false.into()));
    let again = fleet.json(3, &["commit", "--plan", &plan]);
    assert_eq!((&again["snapshot"], &again["already"]), (&2.into(), &true.into()));
    let expected = one_machine(&fleet);
    assert!(expected.iter().any(|hits| hits.len() > 1), "{expected:?}");
    assert_eq!(fleet.answers(), expected);
    assert_eq!(fleet.run(&["verify"]).code, 0);
    let (nothing, none) = fleet.plan(&["--model", "none", "--no-ocr"]);
    assert_eq!((&*nothing, none), ("", 0));
    // A worker that comes late has nothing to do.
    assert_eq!(fleet.shard(&plan, 0, shards).code, 0);
    let swept = fleet.json(0, &["gc", "--keep", "0s"]);
    assert!(swept["files_removed"].as_u64() > Some(0), "{swept}");
    assert_eq!(fleet.answers(), expected);
    let status = fleet.json(0, &["status"]);
    assert_eq!((&status["plans"], &status["leases"]), (&Value::Array(vec![]), &0.into()));
    assert_eq!(status["index"], fleet.address);
}

/// The coder of the index, around which all of its sketches are made.
fn coder(fleet: &Fleet) -> Vec<u8> {
    let folder = fleet.place.path().join("bucket/index/coders");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::read(files.remove(0)).unwrap()
}

#[test]
fn the_sketches_of_an_index_do_not_depend_on_which_shard_was_begun_first() {
    let files = ["form.pdf", "slides.pdf", "rotated.pdf"];
    let coders = [[0, 1, 2], [2, 1, 0]].map(|order| {
        // What lies in the bucket is looked at as files.
        let fleet = Fleet::in_folder(&files);
        let (plan, shards) = fleet.plan(&["--no-ocr", "--shards", "3"]);
        for shard in order {
            assert_eq!(fleet.shard(&plan, shard, shards).code, 0);
        }
        fleet.json(0, &["commit", "--plan", &plan]);
        coder(&fleet)
    });
    assert_eq!(coders[0], coders[1]);
    assert!(coders[0].iter().any(|&byte| byte != 0));
}

/// Workers and committers are killed at any moment, and started again.
fn survives_kills(rounds: usize, kills: usize, seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..rounds {
        let fleet = Fleet::new(&FILES);
        let (plan, shards) = fleet.plan(&["--model", "none", "--no-ocr", "--shards", "2"]);
        for shard in 0..shards {
            let name = format!("{shard}/{shards}");
            let work = ["index", "--plan", &plan, "--shard", &name, "--commit-every", "1"];
            for _ in 0..kills {
                fleet.killed(&work, Duration::from_millis(20 + random.below(1500) as u64));
            }
            let ran = fleet.shard(&plan, shard, shards);
            assert!([0, 3].contains(&ran.code), "{}", ran.err);
        }
        for _ in 0..kills {
            let commit = ["commit", "--plan", &plan];
            fleet.killed(&commit, Duration::from_millis(20 + random.below(1000) as u64));
            fleet.killed(
                &["gc", "--keep", "0s"],
                Duration::from_millis(20 + random.below(1000) as u64),
            );
        }
        let committed = fleet.json(3, &["commit", "--plan", &plan]);
        assert_eq!(fleet.answers(), one_machine(&fleet));
        let verified = fleet.json(0, &["verify"]);
        assert_eq!(verified["damage"], 0, "{committed} {verified}");
        // Readers that were killed hold a lease still.
        fleet.json(0, &["gc", "--keep", "0s", "--lease", "0s"]);
        assert_eq!(fleet.answers(), one_machine(&fleet));
    }
}

#[test]
fn killed_workers_and_committers_lose_and_double_nothing() {
    survives_kills(1, 1, 1);
}

#[test]
#[ignore = "minutes: `make fleet` runs it"]
fn torture_a_fleet_that_is_killed_all_the_time() {
    survives_kills(2, 5, 2);
}

#[test]
fn one_process_plans_reads_and_commits() {
    let fleet = Fleet::new(&["form.pdf"]);
    let run = |code| fleet.json(code, &["index", "--no-ocr", "pdfs"]);
    let first = run(0);
    assert_eq!((&first["documents"]["indexed"], &first["snapshot"]), (&1.into(), &2.into()));
    let second = run(0);
    assert_eq!((&second["documents"]["skipped"], &second["snapshot"]), (&1.into(), &2.into()));
    std::fs::rename(
        fleet.place.path().join("pdfs/form.pdf"),
        fleet.place.path().join("pdfs/other.pdf"),
    )
    .unwrap();
    let third = run(0);
    assert_eq!((&third["documents"]["renamed"], &third["snapshot"]), (&1.into(), &3.into()));
    let found = fleet.answers().concat();
    assert!(found.iter().all(|(path, _)| path == "other.pdf"), "{found:?}");
    // And back into a folder.
    assert_eq!(fleet.run(&["export", "moved"]).code, 0);
    let folder = ["--index", "pdfs/.pagesight", "import", "moved"];
    assert_eq!(fleet.place.run(&folder).code, 0);
    let local = fleet.place.json(0, &["--index", "pdfs/.pagesight", "status", "--json"]);
    assert_eq!(of_type(&local, "summary")[0]["documents"]["ok"], 1);
}

/// The objects of the index, below one folder of it.
fn objects(fleet: &Fleet, folder: &str) -> Vec<PathBuf> {
    let folder = fleet.place.path().join("bucket/index").join(folder);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            let inner = std::fs::read_dir(entry.path()).unwrap();
            found.extend(inner.map(|file| file.unwrap().path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_gone_or_damaged_in_a_bucket_is_repaired() {
    let files = ["form.pdf", "slides.pdf", "rotated.pdf"];
    // What lies in the bucket is harmed as files.
    let fleet = Fleet::in_folder(&files);
    let (plan, shards) = fleet.plan(&["--no-ocr", "--shards", "3"]);
    for shard in 0..shards {
        assert_eq!(fleet.shard(&plan, shard, shards).code, 0);
    }
    fleet.json(0, &["commit", "--plan", &plan]);
    let local = fleet.place.path().join("local");
    let all = || {
        // As on a machine that has no copy yet.
        let _ = std::fs::remove_dir_all(&local);
        let asked = ["query", "--json", "--all", "-k", "20", "name and address", "--channel"];
        ["text", "visual", "both"].map(|channel| {
            let ran = fleet.run(&[&asked[..], &[channel]].concat());
            assert!([0, 1].contains(&ran.code), "{}", ran.err);
            let lines: Vec<Value> =
                ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let found = of_type(&lines, "hit").into_iter();
            found.map(|hit| (hit["ref"].to_string(), hit["score"].to_string())).collect()
        })
    };
    let verify = |code| {
        let _ = std::fs::remove_dir_all(&local);
        fleet.place.json(code, &fleet.with(&["verify", "--json"]))
    };
    let expected: [Vec<(String, String)>; 3] = all();
    assert!(expected.iter().all(|hits| !hits.is_empty() && hits[0].1 != "null"), "{expected:?}");

    // Codes and words.
    let (codes, words) = (objects(&fleet, "codes"), objects(&fleet, "text"));
    std::fs::remove_file(&codes[0]).unwrap();
    let mut bytes = std::fs::read(&words[0]).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&words[0], bytes).unwrap();
    assert!(of_type(&verify(2), "damage").len() >= 2);
    let lines = fleet.place.json(0, &fleet.with(&["repair", "--json"]));
    let summary = &of_type(&lines, "summary")[0];
    assert_eq!((&summary["snapshot"], &summary["to_read"]), (&3.into(), &0.into()), "{summary}");
    assert_eq!(summary["index"], fleet.address);
    for name in [&codes[0], &words[0]] {
        let name = name.file_name().unwrap().to_str().unwrap();
        assert!(summary["mended"].to_string().contains(name), "{summary}");
    }
    assert_eq!(of_type(&verify(0), "damage").len(), 0);
    assert_eq!(all(), expected);
    let again = fleet.run(&["repair"]);
    assert_eq!((again.code, again.out.trim()), (0, "nothing was damaged"), "{}", again.err);
    fleet.json(0, &["gc", "--keep", "0s"]);
    assert!(objects(&fleet, "codes").iter().all(|file| !codes[..1].contains(file)));
    assert_eq!(all(), expected);

    // Rows of pages.
    std::fs::remove_file(&objects(&fleet, "pages.lance/data")[0]).unwrap();
    let lines = fleet.place.json(0, &fleet.with(&["repair", "--json"]));
    let lost = of_type(&lines, "to_read");
    assert!(!lost.is_empty() && lost.iter().all(|page| page["path"] == lost[0]["path"]));
    assert_eq!(of_type(&lines, "summary")[0]["to_read"], lost.len());
    assert_eq!(of_type(&verify(0), "damage").len(), 0);
    let run = fleet.json(0, &["index", "--no-ocr", "pdfs"]);
    assert_eq!(
        (&run["documents"]["indexed"], &run["documents"]["skipped"]),
        (&1.into(), &2.into())
    );
    assert_eq!(of_type(&verify(0), "damage").len(), 0);
    assert_eq!(all(), expected);

    // What nothing has a second time.
    for version in objects(&fleet, "pages.lance/_versions") {
        std::fs::write(&version, b"x").unwrap();
    }
    let refused = fleet.run(&["repair"]);
    assert_eq!(refused.code, 2, "{}", refused.out);
    assert!(refused.err.contains("cannot be made again"), "{}", refused.err);
    assert!(refused.err.contains("new prefix"), "{}", refused.err);
}

/// Puts the file `name` of the folder of PDFs into the bucket of the tests, as the object `key`.
fn put(fleet: &Fleet, name: &str, key: &str) {
    use std::io::{Read as _, Write as _};
    let endpoint = std::env::var("AWS_ENDPOINT_URL").unwrap();
    let host = endpoint.strip_prefix("http://").unwrap();
    let bytes = std::fs::read(fleet.place.path().join("pdfs").join(name)).unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let (bucket, length) = ("pagesight", bytes.len());
    let head = format!(
        "PUT /{bucket}/{key} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), &bytes].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn pdfs_that_lie_in_a_bucket_are_read_as_those_of_a_folder() {
    let fleet = Fleet::new(&FILES);
    // The folder itself is a bucket, or what moto has of it.
    let own = fleet.place.path().file_name().unwrap().to_string_lossy().replace('.', "-");
    let pdfs = match std::env::var("PAGESIGHT_TEST_BUCKET") {
        Ok(_) => {
            FILES.iter().for_each(|name| put(&fleet, name, &format!("pdfs-{own}/{name}")));
            format!("s3://pagesight/pdfs-{own}")
        }
        Err(_) => format!("file://{}", fleet.place.path().join("pdfs").display()),
    };
    let plan = ["plan", "--model", "none", "--no-ocr", "--shards", "2", &pdfs];
    let planned = fleet.json(0, &plan);
    assert_eq!((&planned["documents"]["to_read"], &planned["shards"]), (&6.into(), &2.into()));
    let id = planned["plan"].as_str().unwrap();
    assert_eq!(fleet.json(0, &plan)["plan"], id, "planned again it is the same");
    for shard in 0..2 {
        let ran = fleet.shard(id, shard, 2);
        assert!([0, 3].contains(&ran.code), "{}", ran.err);
    }
    fleet.json(3, &["commit", "--plan", id]);
    assert_eq!(fleet.answers(), one_machine(&fleet));
    // Nothing of them is left on this machine, and nothing is to be read again.
    let left = std::fs::read_dir(fleet.place.path().join("local")).unwrap().flatten();
    let left: Vec<_> =
        left.filter(|e| e.file_name().to_string_lossy().starts_with("pdfs")).collect();
    assert!(left.is_empty(), "{left:?}");
    let again = fleet.json(0, &plan);
    assert_eq!((&again["plan"], &again["documents"]["unchanged"]), (&Value::Null, &6.into()));
    // In one process, with another name for one and without another.
    if pdfs.starts_with("file:") {
        let folder = fleet.place.path().join("pdfs");
        std::fs::rename(folder.join("form.pdf"), folder.join("a form.pdf")).unwrap();
        std::fs::remove_file(folder.join("slides.pdf")).unwrap();
        let line = fleet.json(0, &["index", "--no-ocr", &pdfs]);
        let documents = &line["documents"];
        assert_eq!((&documents["renamed"], &documents["skipped"]), (&1.into(), &4.into()));
        assert_eq!(fleet.answers(), one_machine(&fleet));
    }
    // An index in a folder is not made of them.
    let refused = fleet.place.run(&["--index", "own/.pagesight", "index", &pdfs]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("is a bucket"), "{}", refused.err);
}

#[test]
fn what_is_no_address_or_cannot_be_done_there_is_said() {
    let place = Place::with(&["form.pdf"]);
    let bucket = format!("file://{}", place.path().join("bucket/index").display());
    for (arguments, said) in [
        (&["--index", "s3://b", "query", "x"][..], "prefix"),
        (&["--index", "s3://u:secret@b/p", "query", "x"], "user or a password"),
        (&["--index", "s3://b/p?x=secret", "index", "."], "query"),
        (&["--index", "http://b/p", "status"], "s3://"),
        (&["--index", &bucket, "query", "x"], "no index"),
        (&["--index", &bucket, "commit", "--plan", "zz"], "no index"),
        (&["plan", "."], "in a bucket"),
        (&["commit", "--plan", "0123456789abcdef"], "in a bucket"),
        (&["--index", &bucket, "index", "--watch", "."], "--watch"),
        (&["--index", &bucket, "repair"], "no index"),
        (&["--index", &bucket, "serve", "--write"], "--write"),
        (&["--index", &bucket, "index", "--plan", "0123456789abcdef", "--shard", "2/2"], "0/40"),
        (&["--index", "gs://b/p", "index", "--no-ocr", "."], "gcs"),
    ] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
        assert!(!ran.err.contains("secret"), "{}", ran.err);
    }
    #[cfg(not(feature = "s3"))]
    for arguments in [&["index", "."][..], &["plan", "."], &["query", "x"], &["gc"]] {
        let ran = place.run(&[&["--index", "s3://b/p"], arguments].concat());
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains("feature s3"), "{arguments:?}: {}", ran.err);
    }
    assert!(!Path::new(&place.path().join("s3:")).exists());
}

#[test]
fn a_flag_that_contradicts_the_plan_is_refused() {
    let fleet = Fleet::new(&["form.pdf"]);
    let (plan, _) = fleet.plan(&["--model", "none", "--no-ocr", "--max-pages", "1"]);
    let work = ["index", "--plan", &plan, "--shard", "0/1"];
    let ran = fleet.run(&[&work[..], &["--max-pages", "10000"]].concat());
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--max-pages contradicts"), "{}", ran.err);
    assert_eq!(fleet.run(&[&work[..], &["--max-pages", "1"]].concat()).code, 0);
}
