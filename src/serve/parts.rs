//! The parts of an index, asked over HTTP.

use std::fmt;
use std::io::Read;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use pagesight::parts::{Ask, OtherSnapshot, PartsAt, Reply};
use pagesight::search::QueryError;
use ureq::http::Uri;

use super::part::{AskOf, PATH, Said};
use crate::agent::settings;

/// How long it may take until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);

/// The largest answer, bytes.
const ANSWER: u64 = 256 << 20;

/// Connections to a part that are kept for the next question.
const IDLE: usize = 32;

/// How long a router that starts waits for its parts, which may start at the same time.
const STARTING: Duration = Duration::from_secs(60);

/// The parts of an index, each at an address.
pub struct OverHttp {
    agent: ureq::Agent,
    urls: Vec<String>,
    token: Option<String>,
    /// Until when parts that have not answered yet are asked again: they start at the same time as this.
    patient: Instant,
    /// All parts have answered once. One that does not answer from then on is down.
    started: AtomicBool,
}

impl fmt::Debug for OverHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OverHttp({:?})", self.urls)
    }
}

impl OverHttp {
    /// Asks the parts at `urls`, in this order, with `token`; each question within `deadline`.
    ///
    /// # Errors
    /// What is wrong with one of the addresses.
    pub fn new(urls: &[String], token: Option<String>, deadline: Duration) -> Result<Self, String> {
        let mut known: Vec<String> = Vec::with_capacity(urls.len());
        for url in urls {
            let url = url.trim().trim_end_matches('/');
            let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no address"))?;
            let names_a_host = uri.authority().is_some_and(|host| !host.as_str().contains('@'));
            let is_bare = uri.path().trim_end_matches('/').is_empty() && uri.query().is_none();
            if !matches!(uri.scheme_str(), Some("http" | "https")) || !names_a_host || !is_bare {
                return Err(format!("{url:?} is no address of a server, http://HOST:PORT"));
            }
            if known.iter().any(|other| other == url) {
                return Err(format!("{url} stands twice, and each part is asked once"));
            }
            known.push(url.to_string());
        }
        let config = settings(CONNECT)
            .timeout_global(Some(deadline))
            .max_idle_connections(IDLE * known.len())
            .max_idle_connections_per_host(IDLE)
            .build();
        let patient = Instant::now() + STARTING;
        let started = AtomicBool::new(false);
        Ok(Self { agent: config.into(), urls: known, token, patient, started })
    }

    /// Asks one part, until it answers or nobody would wait any longer.
    fn ask_one(&self, url: &str, number: u64, body: &[u8]) -> Result<Reply, QueryError> {
        let mut tries = 0;
        loop {
            let said = self.send(url, body);
            tries += 1;
            match said {
                Ok(Said::Reply(reply)) => return Ok(reply),
                Ok(Said::Newest(newest)) => {
                    let source = Box::new(OtherSnapshot { wanted: number, newest });
                    return Err(QueryError::Part { part: url.into(), source });
                }
                // A connection that was kept may have been closed by a part that was started anew.
                Err(_) if tries < 2 => {}
                Err(_) if !self.started.load(Relaxed) && Instant::now() < self.patient => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(reason) => {
                    return Err(QueryError::Part { part: url.into(), source: reason.into() });
                }
            }
        }
    }

    fn send(&self, url: &str, body: &[u8]) -> Result<Said, String> {
        let mut request = self
            .agent
            .post(format!("{url}{PATH}"))
            .header("content-type", "application/json")
            .header("accept-encoding", "identity");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.send(body).map_err(|error| error.to_string())?;
        let status = response.status();
        let mut answer = Vec::new();
        let reader = response.body_mut().as_reader();
        let read = reader.take(ANSWER).read_to_end(&mut answer);
        read.map_err(|error| error.to_string())?;
        if status != 200 {
            let problem: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or("no reason was given");
            return Err(format!("it answered {status}: {detail}"));
        }
        serde_json::from_slice(&answer).map_err(|error| format!("its answer is none: {error}"))
    }
}

impl PartsAt for OverHttp {
    fn ask(&self, number: u64, ask: &Ask) -> Result<Vec<Reply>, QueryError> {
        let asked = AskOf { snapshot: number, ask };
        let body = serde_json::to_vec(&asked).expect("a question is plain data");
        // Each on a thread of its own: a search waits for the slowest, and for nobody twice.
        let replies: Vec<Result<Reply, QueryError>> = std::thread::scope(|scope| {
            let asking: Vec<_> = self
                .urls
                .iter()
                .map(|url| scope.spawn(|| self.ask_one(url, number, &body)))
                .collect();
            let panicked = || {
                let source = "what asked it panicked".into();
                Err(QueryError::Part { part: "unknown".into(), source })
            };
            asking.into_iter().map(|one| one.join().unwrap_or_else(|_| panicked())).collect()
        });
        let replies: Result<Vec<Reply>, QueryError> = replies.into_iter().collect();
        self.started.fetch_or(replies.is_ok(), Relaxed);
        replies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_parts_are_those_of_servers() {
        let parts = |urls: &[&str]| {
            let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
            OverHttp::new(&urls, None, Duration::from_secs(1)).map(|parts| parts.urls)
        };
        let two = parts(&["http://a:8731/", "https://b"]).unwrap();
        assert_eq!(two, ["http://a:8731", "https://b"]);
        for wrong in
            ["a:8731", "ftp://a", "http://", "http://a/v1", "http://a?x=1", "http://u:p@a", ""]
        {
            assert!(parts(&[wrong]).is_err(), "{wrong}");
        }
        assert!(parts(&["http://a", "http://a/"]).is_err());
    }

    #[test]
    fn a_part_that_is_not_there_is_named() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{port}");
        let parts =
            OverHttp::new(std::slice::from_ref(&url), None, Duration::from_secs(1)).unwrap();
        let parts = OverHttp { patient: Instant::now(), ..parts };
        let error = parts.ask(1, &Ask::facts()).unwrap_err();
        assert!(matches!(error, QueryError::Part { part, .. } if part == url));
    }
}
