//! A store that speaks S3's protocol and breaks its word: what the program makes of one that ignores
//! conditions, does not know them, throttles, or never answers. The real program, over HTTP.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Place, Ran};

/// What must not be in any output.
const SECRET: &str = "f3Secr3tOfTheBucket";

/// What a store does with a put that has a condition.
#[derive(Clone, Copy, PartialEq)]
enum Conditions {
    Kept,
    Ignored,
    /// 501, as stores say that do not know the header.
    Unknown,
    /// 503 SlowDown.
    Throttled,
    /// No answer at all.
    Silent,
}

/// A request of which a part was asked.
struct Request {
    method: String,
    key: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A bucket in the memory of this test, over HTTP.
struct Store {
    url: String,
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Store {
    fn new(conditions: Conditions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (objects, asked) = (Arc::default(), Arc::default());
        let store = Self { url, objects: Arc::clone(&objects), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (objects, asked) = (Arc::clone(&objects), Arc::clone(&asked));
                std::thread::spawn(move || serve(&stream, conditions, &objects, &asked));
            }
        });
        store
    }

    fn run(&self, place: &Place, arguments: &[&str]) -> Ran {
        let mut command = place
            .command(&[&["--index", "s3://archive/index", "--local", "local"], arguments].concat());
        command.env("AWS_ENDPOINT_URL", &self.url).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("RUST_LOG", "debug");
        let ran = Ran::from(command.output().unwrap());
        assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET), "{}{}", ran.out, ran.err);
        ran
    }

    fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }
}

fn read(stream: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => _ = headers.insert(name.to_lowercase(), value.trim().into()),
            None => break,
        }
    }
    let length = headers.get("content-length").and_then(|length: &String| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (key, query) = (path.trim_start_matches("/archive/").into(), query.into());
    Some(Request { method, key, query, headers, body })
}

fn serve(
    stream: &TcpStream,
    conditions: Conditions,
    objects: &Mutex<BTreeMap<String, Vec<u8>>>,
    asked: &Mutex<Vec<String>>,
) {
    let mut input = BufReader::new(stream);
    while let Some(request) = read(&mut input) {
        asked.lock().unwrap().push(format!("{} {}", request.method, request.key));
        let has_condition = request.headers.contains_key("if-none-match");
        if has_condition && conditions == Conditions::Silent {
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        let (status, body) = answer(&request, conditions, &mut objects.lock().unwrap());
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\netag: \"e\"\r\n\
             last-modified: Fri, 27 Nov 2026 10:00:00 GMT\r\n\r\n",
            body.len()
        );
        let mut out = stream;
        let _ = out.write_all(head.as_bytes());
        if request.method != "HEAD" && out.write_all(&body).is_err() {
            return;
        }
    }
}

fn answer(
    request: &Request,
    conditions: Conditions,
    objects: &mut BTreeMap<String, Vec<u8>>,
) -> (&'static str, Vec<u8>) {
    let is_taken = objects.contains_key(&request.key);
    match &*request.method {
        "PUT" if request.headers.contains_key("if-none-match") => match conditions {
            Conditions::Unknown => ("501 Not Implemented", Vec::new()),
            Conditions::Throttled => {
                ("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>".into())
            }
            Conditions::Kept if is_taken => ("412 Precondition Failed", Vec::new()),
            _ => {
                objects.insert(request.key.clone(), request.body.clone());
                ("200 OK", Vec::new())
            }
        },
        "PUT" => {
            objects.insert(request.key.clone(), request.body.clone());
            ("200 OK", Vec::new())
        }
        "GET" if request.query.contains("list-type=2") => {
            let list = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
            ("200 OK", list.into())
        }
        _ => match objects.get(&request.key) {
            Some(bytes) => ("200 OK", bytes.clone()),
            None => ("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>".into()),
        },
    }
}

fn is_refused(conditions: Conditions, arguments: &[&str]) {
    let (store, place) = (Store::new(conditions), Place::with(&["form.pdf"]));
    let start = Instant::now();
    let ran = store.run(&place, arguments);
    let took = start.elapsed();
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("conditional"), "{}", ran.err);
    assert!(took < Duration::from_secs(30), "{took:?}");
    let left: Vec<String> =
        store.names().into_iter().filter(|name| name != "index/conditional-put").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_store_that_ignores_conditions_is_refused() {
    is_refused(Conditions::Ignored, &["plan", "--model", "none", "."]);
    is_refused(Conditions::Ignored, &["index", "--no-ocr", "."]);
    is_refused(Conditions::Ignored, &["gc"]);
}

#[test]
fn a_store_that_does_not_know_conditions_is_refused() {
    is_refused(Conditions::Unknown, &["plan", "--model", "none", "."]);
    is_refused(Conditions::Unknown, &["commit", "--plan", "0123456789abcdef"]);
}

#[test]
#[ignore = "a minute: `make fleet` runs it"]
fn a_store_that_throttles_or_never_answers_is_refused_within_half_a_minute() {
    is_refused(Conditions::Throttled, &["plan", "--model", "none", "."]);
    is_refused(Conditions::Silent, &["plan", "--model", "none", "."]);
}

#[test]
fn an_object_that_is_no_snapshot_is_named_and_the_secret_is_not() {
    let (store, place) = (Store::new(Conditions::Kept), Place::new());
    store.objects.lock().unwrap().insert("index/latest.json".into(), b"{\"number\":1}".into());
    let name = "index/snapshots/00000000000000000001.json";
    store.objects.lock().unwrap().insert(name.into(), b"{\"format\":7}\nno hash".into());
    let ran = store.run(&place, &["query", "--channel", "text", "x"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("00000000000000000001.json"), "{}", ran.err);
    // A reader puts nothing but its lease.
    for asked in &*store.asked.lock().unwrap() {
        assert!(asked.starts_with("GET ") || asked.starts_with("PUT index/leases/"), "{asked}");
    }
}

#[test]
#[ignore = "a minute: `make fleet` runs it"]
fn a_bucket_out_of_reach_is_asked_for_a_minute_and_named() {
    let place = Place::new();
    // A port on which nobody listens.
    let url = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let store = Store { url, ..Store::new(Conditions::Kept) };
    let start = Instant::now();
    let ran = store.run(&place, &["query", "--channel", "text", "x"]);
    let took = start.elapsed();
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("s3://archive/index") && ran.err.contains("reading"), "{}", ran.err);
    assert!(took > Duration::from_secs(45) && took < Duration::from_secs(70), "{took:?}");
}
