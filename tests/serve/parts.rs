//! An index that is shared out over several servers, beside one that has all of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;
use crate::Place;

const QUESTIONS: [&str; 6] = [
    "travel expenses in total",
    "a chart of sales by region",
    "name and address",
    "\"net sales\" report",
    "the",
    "xyzzy",
];

/// A bucket with an index by nano, of several parts.
struct Bucket {
    place: Place,
    address: String,
}

impl Bucket {
    fn new(files: &[&str]) -> Self {
        let place = Place::new();
        for file in files {
            place.add(file, &format!("pdfs/{file}"));
        }
        let address = format!("file://{}", place.path().join("bucket/index").display());
        let bucket = Self { place, address };
        let planned = bucket.run(&["plan", "--no-ocr", "--shards", "4", "pdfs"]);
        let plan = planned.trim();
        for shard in ["0/4", "1/4", "2/4", "3/4"] {
            bucket.run(&["index", "--plan", plan, "--shard", shard, "--commit-every", "1", "-q"]);
        }
        bucket.run(&["commit", "--plan", plan]);
        bucket
    }

    fn run(&self, arguments: &[&str]) -> String {
        let place = ["--index", &*self.address, "--local", "writer"];
        let ran = self.place.run(&[&place, arguments].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        ran.out
    }

    fn serve(&self, arguments: &[&str]) -> Server {
        self.serve_at("127.0.0.1:0", arguments)
    }

    fn serve_at(&self, bind: &str, arguments: &[&str]) -> Server {
        let place = [&*self.address, "--local", "copies", "--refresh", "1"];
        Server::start_at(&self.place, bind, &[&place, arguments].concat())
    }

    fn parts(&self, of: usize) -> Vec<Server> {
        (0..of).map(|at| self.serve(&["--part", &format!("{at}/{of}")])).collect()
    }

    fn router(&self, parts: &[Server]) -> Server {
        let urls: Vec<String> =
            parts.iter().map(|part| format!("http://{}", part.address)).collect();
        self.serve(&["--parts", &urls.join(",")])
    }
}

/// What a server answers, without what depends on its clock.
fn answer(server: &Server, asked: &Value) -> Value {
    let answer = server.post("/v1/search", asked);
    assert_eq!(answer.status, 200, "{asked}: {}", String::from_utf8_lossy(&answer.body));
    let mut answer = answer.json();
    answer.as_object_mut().unwrap().remove("ms");
    answer
}

fn check_same(router: &Server, whole: &Server) {
    let mut found = 0;
    for question in QUESTIONS {
        for channel in ["both", "visual", "text"] {
            for more in [
                json!({}),
                json!({"explain": true, "regions": 1, "k": 3}),
                json!({"paths": ["s*.pdf"], "text": "full", "all": true}),
            ] {
                let mut asked = json!({"query": question, "channel": channel});
                asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                let (one, many) = (answer(whole, &asked), answer(router, &asked));
                assert_eq!(many, one, "{asked}");
                found += one["hits"].as_array().unwrap().len();
            }
        }
    }
    assert!(found > 50, "{found} hits in all");
}

#[test]
fn a_router_answers_as_one_machine_does_to_the_last_bit() {
    let bucket = Bucket::new(&["form.pdf", "slides.pdf", "rotated.pdf", "scan.pdf", "persian.pdf"]);
    let whole = bucket.serve(&[]);
    let parts = bucket.parts(3);
    let router = bucket.router(&parts);
    check_same(&router, &whole);
    // A part answers nobody but its router.
    assert_eq!(parts[0].post("/v1/search", &json!({"query": "form"})).code(), "not_found");
    assert_eq!(parts[0].get("/readyz").status, 200);
    // A page of a router is that of the index.
    let page = answer(&router, &json!({"query": "travel expenses", "k": 1}));
    let page = page["hits"][0]["ref"].as_str().unwrap();
    let (here, there) =
        (router.ok(&format!("/v1/pages/{page}")), whole.ok(&format!("/v1/pages/{page}")));
    assert_eq!(here, there);
    // One part more than there are files has nothing, and changes nothing.
    let many = bucket.parts(12);
    check_same(&bucket.router(&many), &whole);
}

#[test]
fn a_part_that_is_down_is_said_and_its_return_is_seen() {
    let bucket = Bucket::new(&["form.pdf", "slides.pdf", "rotated.pdf"]);
    let mut parts = bucket.parts(2);
    let router = bucket.router(&parts);
    let asked = json!({"query": "travel expenses"});
    let before = answer(&router, &asked);
    let down = parts.remove(1);
    let bind = down.address.clone();
    drop(down);
    for channel in ["both", "visual", "text"] {
        let asked = json!({"query": "travel expenses in total", "channel": channel});
        let refused = router.post("/v1/search", &asked);
        assert_eq!((refused.status, &*refused.code()), (503, "part_unavailable"), "{channel}");
        assert_eq!(refused.header("retry-after"), "1");
    }
    assert_eq!(router.get("/readyz").status, 200);
    parts.push(bucket.serve_at(&bind, &["--part", "1/2"]));
    assert_eq!(answer(&router, &asked), before);
}

#[test]
fn a_router_that_is_not_given_each_part_once_does_not_start() {
    let bucket = Bucket::new(&["form.pdf", "slides.pdf"]);
    let mut parts = bucket.parts(3);
    let missing = parts.pop().unwrap();
    let twin = bucket.serve(&["--part", "1/3"]);
    for (more, said) in [(None, "0/3, 1/3:"), (Some(&twin), "0/3, 1/3, 1/3:")] {
        let urls: Vec<String> =
            parts.iter().chain(more).map(|part| format!("http://{}", part.address)).collect();
        let arguments = ["serve", &bucket.address, "--bind", "127.0.0.1:0", "--local", "copies"];
        let ran = bucket.place.run(&[&arguments[..], &["--parts", &urls.join(",")]].concat());
        assert!(ran.code == 2 && ran.err.contains(said), "{} {}", ran.code, ran.err);
    }
    drop(missing);
}

#[test]
fn a_router_and_its_parts_go_on_to_a_newer_snapshot_together() {
    let bucket = Bucket::new(&["form.pdf", "slides.pdf"]);
    let whole = bucket.serve(&[]);
    let parts = bucket.parts(2);
    let router = bucket.router(&parts);
    let asked = json!({"query": "travel expenses"});
    let before = answer(&router, &asked);
    bucket.place.add("rotated.pdf", "pdfs/rotated.pdf");
    bucket.run(&["index", "--model", "nano", "--no-ocr", "pdfs"]);
    let start = Instant::now();
    loop {
        let now = answer(&router, &asked);
        if now["snapshot"] != before["snapshot"] {
            break;
        }
        // Until then it is the answer of before, whole.
        assert_eq!(now, before);
        assert!(start.elapsed() < Duration::from_secs(30), "still {}", before["snapshot"]);
        std::thread::sleep(Duration::from_millis(50));
    }
    while answer(&whole, &asked)["snapshot"] == before["snapshot"] {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
    check_same(&router, &whole);
}

#[test]
fn what_cannot_be_a_part_or_a_router_is_refused() {
    let place = Place::with(&["form.pdf"]);
    assert_eq!(place.run(&["index", "--no-ocr", "."]).code, 0);
    for (arguments, said) in [
        (&["--part", "0/2"][..], "bucket"),
        (&["--parts", "http://127.0.0.1:1"], "bucket"),
        (&["--part", "2/2"], "0/40"),
        (&["--part", "0/2", "--parts", "http://127.0.0.1:1"], "cannot be used with"),
        (&["file:///nowhere/index", "--parts", "127.0.0.1:1"], "http://HOST:PORT"),
        (&["file:///nowhere/index", "--parts", "http://a:1,http://a:1/"], "twice"),
    ] {
        let ran = place.run(&[&["serve", "--bind", "127.0.0.1:0"], arguments].concat());
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
}
