//! A chat model behind an HTTP address that a user named: anything that speaks OpenAI's
//! `/chat/completions`, such as llama.cpp's server, vLLM, Ollama or LM Studio.
//!
//! What it says is data from a stranger. It is read in bounded lines within bounded times, it may
//! end in the middle, and nothing in it is fetched, opened or run. Redirects are refused, and proxies
//! of the environment are not used, so that what is sent, and the key, reach the named host alone.

mod error;
mod reply;

use std::fmt;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Uri;

use crate::agent::settings;
use crate::endpoint::reply::Reading;

pub use crate::endpoint::error::EndpointError;
pub use crate::endpoint::reply::Reply;

/// How long it may take until a connection stands.
const CONNECT: Duration = Duration::from_secs(10);
/// How long until the first byte of an answer.
const FIRST: Duration = Duration::from_secs(120);
/// How long from one piece to the next.
const BETWEEN: Duration = Duration::from_secs(60);
/// How often it is asked whether to stop.
const TICK: Duration = Duration::from_millis(100);
/// The longest line of a stream, bytes; a piece of an answer has some hundred.
const LONGEST_LINE: usize = 1 << 20;
/// The longest answer, bytes.
const LONGEST: usize = 4 << 20;
/// How often a busy endpoint is asked again.
const RETRIES: u32 = 2;
/// The longest wait that a busy endpoint may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A secret that no message shows.
#[derive(Clone)]
struct Key(String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// An endpoint.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: String,
    host: String,
    model: String,
    key: Option<Key>,
}

impl Endpoint {
    /// The endpoint at `base`, e.g. `http://127.0.0.1:8080/v1`, that runs `model`. `key` is sent to
    /// that host alone. HTTP without encryption reaches this machine alone unless `insecure`.
    ///
    /// # Errors
    /// [`EndpointError::Address`] and [`EndpointError::Insecure`].
    ///
    /// ```
    /// use pagesight::endpoint::Endpoint;
    /// let endpoint = Endpoint::new("http://127.0.0.1:8080/v1", "qwen3-vl", None, false)?;
    /// assert_eq!(endpoint.host(), "127.0.0.1:8080");
    /// assert!(Endpoint::new("http://example.com/v1", "m", None, false).is_err());
    /// assert!(Endpoint::new("https://example.com/v1", "m", None, false).is_ok());
    /// # Ok::<(), pagesight::endpoint::EndpointError>(())
    /// ```
    pub fn new(
        base: &str,
        model: impl Into<String>,
        key: Option<String>,
        insecure: bool,
    ) -> Result<Self, EndpointError> {
        // What stands before an @ or behind a ? may be a password, so it is in no message.
        let plain = base.rsplit('@').next().unwrap_or_default();
        let plain = plain.split('?').next().unwrap_or_default();
        let shown = || plain.chars().take(200).collect();
        let wrong = |reason| EndpointError::Address { url: shown(), reason };
        let uri: Uri = base.parse().map_err(|_| wrong("it does not parse"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("a password in it would be shown; put the key into the environment"));
        }
        if uri.query().is_some() {
            return Err(wrong("it ends with the path, e.g. /v1"));
        }
        let host = authority.to_string();
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if insecure || is_this_machine(authority.host()) => {}
            Some("http") => return Err(EndpointError::Insecure { host }),
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        }
        let key = key.filter(|key| !key.is_empty()).map(Key);
        Ok(Self { url: base.trim_end_matches('/').into(), host, model: model.into(), key })
    }

    /// Host and port that everything is sent to.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The model that is asked for.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Sends `messages`, and gives each piece of the answer to `reader` as it comes. Ends within a
    /// tenth of a second when `stop` is set.
    ///
    /// # Errors
    /// [`EndpointError`]; pieces that came before it were given to `reader`.
    pub fn chat(
        &self,
        messages: &Value,
        stop: &AtomicBool,
        reader: &mut dyn FnMut(&str),
    ) -> Result<Reply, EndpointError> {
        let body = serde_json::json!({
            "model": self.model,
            "messages": messages,
            "stream": true,
            "stream_options": { "include_usage": true },
            "temperature": 0,
        });
        let body = body.to_string();
        for attempt in 0.. {
            let pieces = self.send(body.clone());
            let head = self.next(&pieces, FIRST + CONNECT, stop)?;
            let (status, wait) = match head {
                Some(Piece::Head { status, wait }) => (status, wait),
                other => return Err(self.broken(other)),
            };
            match status {
                200..=299 => return self.read(&pieces, stop, reader),
                300..=399 => {
                    return Err(EndpointError::Redirect { host: self.host.clone(), status });
                }
                429 | 503 if attempt < RETRIES => self.wait(wait, stop)?,
                _ => return Err(self.refused(status, &pieces, stop)),
            }
        }
        unreachable!("the last attempt returns")
    }

    fn wait(&self, wait: Option<Duration>, stop: &AtomicBool) -> Result<(), EndpointError> {
        let until = Instant::now() + wait.unwrap_or(Duration::from_secs(1)).min(LONGEST_WAIT);
        while Instant::now() < until {
            if stop.load(Ordering::Relaxed) {
                return Err(EndpointError::Stopped);
            }
            thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Sends a request on a thread of its own, so that a connection that hangs keeps nobody.
    fn send(&self, body: String) -> Receiver<Piece> {
        let (to, pieces) = sync_channel(16);
        let this = self.clone();
        thread::spawn(move || this.fetch(body, &to));
        pieces
    }

    fn fetch(&self, body: String, to: &SyncSender<Piece>) {
        let config = settings(CONNECT).timeout_recv_response(Some(FIRST)).build();
        let agent: ureq::Agent = config.into();
        let mut request = agent
            .post(format!("{}/chat/completions", self.url))
            .header("content-type", "application/json")
            .header("accept", "text/event-stream");
        if let Some(Key(key)) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let response = match request.send(body.as_bytes()) {
            Ok(response) => response,
            Err(error) => {
                let _ = to.send(Piece::Failed(error.to_string()));
                return;
            }
        };
        let wait = response.headers().get("retry-after");
        let wait = wait.and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
        let wait = wait.map(Duration::from_secs);
        if to.send(Piece::Head { status: response.status().as_u16(), wait }).is_err() {
            return;
        }
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; 16 << 10];
        loop {
            let piece = match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => Piece::Bytes(buffer[..n].to_vec()),
                Err(error) => Piece::Failed(error.to_string()),
            };
            let is_last = matches!(piece, Piece::Failed(_));
            // Nobody listens any more.
            if to.send(piece).is_err() || is_last {
                return;
            }
        }
    }

    /// What comes next; `None` at the end.
    fn next(
        &self,
        pieces: &Receiver<Piece>,
        most: Duration,
        stop: &AtomicBool,
    ) -> Result<Option<Piece>, EndpointError> {
        let until = Instant::now() + most;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(EndpointError::Stopped);
            }
            match pieces.recv_timeout(TICK) {
                Ok(piece) => return Ok(Some(piece)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                    let (host, seconds) = (self.host.clone(), most.as_secs());
                    return Err(EndpointError::Silent { host, seconds });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn broken(&self, piece: Option<Piece>) -> EndpointError {
        let host = self.host.clone();
        match piece {
            Some(Piece::Failed(reason)) => EndpointError::Unreachable { host, reason },
            _ => EndpointError::Cut { host },
        }
    }

    fn refused(&self, status: u16, pieces: &Receiver<Piece>, stop: &AtomicBool) -> EndpointError {
        let mut said = Vec::new();
        while said.len() < 2000
            && let Ok(Some(Piece::Bytes(bytes))) = self.next(pieces, CONNECT, stop)
        {
            said.extend(bytes);
        }
        let said = String::from_utf8_lossy(&said);
        // Most say {"error": {"message": ".."}}.
        let json: Option<Value> = serde_json::from_str(&said).ok();
        let message = json.as_ref().and_then(|json| json["error"]["message"].as_str());
        let message = beginning(message.unwrap_or(&said));
        EndpointError::Status { host: self.host.clone(), status, message }
    }

    /// Reads an answer: a stream of events, or one object.
    fn read(
        &self,
        pieces: &Receiver<Piece>,
        stop: &AtomicBool,
        reader: &mut dyn FnMut(&str),
    ) -> Result<Reply, EndpointError> {
        let too_long = |most| EndpointError::TooLong { host: self.host.clone(), most };
        let mut reading = Reading::default();
        let (mut pending, mut total) = (Vec::new(), 0);
        let mut most = FIRST;
        while let Some(piece) = self.next(pieces, most, stop)? {
            most = BETWEEN;
            let bytes = match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Failed(_) => return Err(EndpointError::Cut { host: self.host.clone() }),
                Piece::Head { .. } => continue,
            };
            total += bytes.len();
            if total > 4 * LONGEST {
                return Err(too_long(4 * LONGEST));
            }
            pending.extend(bytes);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                reading.line(&line, reader).map_err(|got| self.garbage(&got))?;
                if reading.reply.text.len() > LONGEST {
                    return Err(too_long(LONGEST));
                }
                if reading.is_done {
                    return Ok(reading.reply);
                }
            }
            if pending.len() > LONGEST_LINE {
                return Err(too_long(LONGEST_LINE));
            }
        }
        reading.line(&pending, reader).map_err(|got| self.garbage(&got))?;
        // A server that streams says why it ends, and a cut connection does not.
        if reading.is_done || reading.has_finished {
            Ok(reading.reply)
        } else {
            Err(EndpointError::Cut { host: self.host.clone() })
        }
    }

    fn garbage(&self, got: &str) -> EndpointError {
        EndpointError::Garbage { host: self.host.clone(), got: beginning(got) }
    }
}

/// What a request's thread tells.
enum Piece {
    Head { status: u16, wait: Option<Duration> },
    Bytes(Vec<u8>),
    Failed(String),
}

/// Whether a host is this machine, whatever a name server says.
fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The beginning of a stranger's text, for a message.
fn beginning(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_would_leak_are_refused() {
        for (base, insecure, is_good) in [
            ("http://127.0.0.1:8080/v1", false, true),
            ("http://127.8.0.1/v1", false, true),
            ("http://[::1]:8080/v1/", false, true),
            ("http://localhost:11434/v1", false, true),
            ("https://api.example.com/v1", false, true),
            ("http://api.example.com/v1", false, false),
            ("http://api.example.com/v1", true, true),
            ("http://127.0.0.1.example.com/v1", false, false),
            ("http://localhost.example.com/v1", false, false),
            ("http://user:secret@127.0.0.1/v1", false, false),
            ("https://api.example.com/v1?key=secret", false, false),
            ("ftp://127.0.0.1/v1", false, false),
            ("127.0.0.1:8080", false, false),
            ("/v1", false, false),
            ("", false, false),
        ] {
            let got = Endpoint::new(base, "m", Some("s3cret".into()), insecure);
            assert_eq!(got.is_ok(), is_good, "{base}: {got:?}");
            if let Err(error) = &got {
                assert!(!error.to_string().contains("secret"), "{error}");
            }
            assert!(!format!("{got:?}").contains("s3cret"));
        }
    }
}
