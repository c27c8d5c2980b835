//! Who may ask what: tokens, and sessions of the web page.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use schemars::JsonSchema;
use serde::Serialize;
use subtle::ConstantTimeEq;

use super::problem::{Code, Problem};

/// The name of the cookie.
pub const COOKIE_NAME: &str = "pagesight_session";

/// A session ends after this.
pub const LASTS: Duration = Duration::from_secs(12 * 3600);

/// Wrong tokens a minute from one address.
const WRONG: usize = 5;

/// Sessions at once; the one that ends first makes room.
const SESSIONS: usize = 10_000;

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Searches and pages.
    Read,
    /// Everything.
    Full,
}

/// Tokens and sessions.
#[derive(Debug)]
pub struct Access {
    /// Hashes, so that a comparison takes the same time whatever is compared.
    full: Option<blake3::Hash>,
    read: Option<blake3::Hash>,
    /// By the hash of what the cookie says.
    sessions: Mutex<HashMap<[u8; 32], (Scope, Instant)>>,
    wrong: Mutex<HashMap<IpAddr, Vec<Instant>>>,
}

impl Access {
    /// With these tokens; with none everybody may do everything.
    pub fn new(full: Option<&str>, read: Option<&str>) -> Self {
        let hash = |token: &str| blake3::hash(token.as_bytes());
        Self {
            full: full.map(hash),
            read: read.map(hash),
            sessions: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    /// Whether there is no token.
    pub fn is_open(&self) -> bool {
        self.full.is_none() && self.read.is_none()
    }

    fn scope_of(&self, token: &str) -> Option<Scope> {
        let got = blake3::hash(token.as_bytes());
        let is = |known: &Option<blake3::Hash>| match known {
            Some(known) => bool::from(known.as_bytes().ct_eq(got.as_bytes())),
            None => false,
        };
        // Both are compared, whichever it is.
        let (full, read) = (is(&self.full), is(&self.read));
        if full { Some(Scope::Full) } else { read.then_some(Scope::Read) }
    }

    /// What a request with these headers may do. A cookie counts only where `takes_cookie`: not
    /// for another origin.
    ///
    /// # Errors
    /// [`Code::Unauthorized`].
    pub fn scope(&self, headers: &HeaderMap, takes_cookie: bool) -> Result<Scope, Problem> {
        if self.is_open() {
            return Ok(Scope::Full);
        }
        let mut given = headers.get_all(AUTHORIZATION).iter();
        if let Some(value) = given.next() {
            let token = value.to_str().ok().and_then(|text| text.split_once(' '));
            let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let scope = token.and_then(|(_, token)| self.scope_of(token.trim()));
            let alone = given.next().is_none();
            return scope.filter(|_| alone).ok_or_else(wrong_token);
        }
        let session = session_of(headers).filter(|_| takes_cookie);
        let scope = session.and_then(|value| {
            let sessions = locked(&self.sessions);
            let (scope, ends) = sessions.get(blake3::hash(value.as_bytes()).as_bytes())?;
            (*ends > Instant::now()).then_some(*scope)
        });
        scope.ok_or_else(|| {
            Problem::new(
                Code::Unauthorized,
                "a token is needed: send the header `Authorization: Bearer TOKEN`",
            )
        })
    }

    /// Begins a session for whoever knows a token: the value of its cookie.
    ///
    /// # Errors
    /// [`Code::Unauthorized`] for a wrong token, [`Code::TooBusy`] after several of them.
    pub fn begin(&self, token: &str, from: IpAddr) -> Result<String, Problem> {
        let minute = Duration::from_secs(60);
        {
            let mut wrong = locked(&self.wrong);
            wrong.retain(|_, times| {
                times.retain(|time| time.elapsed() < minute);
                !times.is_empty()
            });
            if let Some(times) = wrong.get(&from).filter(|times| times.len() >= WRONG) {
                let wait = minute.saturating_sub(times[0].elapsed()).as_secs() + 1;
                let mut problem = Problem::too_busy("too many wrong tokens");
                problem.detail = format!("too many wrong tokens: try again in {wait} s");
                problem.retry_after_s = Some(wait);
                return Err(problem);
            }
        }
        let scope = if self.is_open() { Some(Scope::Full) } else { self.scope_of(token) };
        let Some(scope) = scope else {
            locked(&self.wrong).entry(from).or_default().push(Instant::now());
            return Err(wrong_token());
        };
        let mut secret = [0u8; 32];
        getrandom::fill(&mut secret).map_err(|error| Problem::internal(error.to_string()))?;
        let value: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut sessions = locked(&self.sessions);
        let now = Instant::now();
        sessions.retain(|_, (_, ends)| *ends > now);
        if sessions.len() >= SESSIONS
            && let Some(first) = sessions.iter().min_by_key(|(_, (_, ends))| *ends)
        {
            let first = *first.0;
            sessions.remove(&first);
        }
        sessions.insert(*blake3::hash(value.as_bytes()).as_bytes(), (scope, now + LASTS));
        Ok(value)
    }

    /// Ends the session of a request, if it has one.
    pub fn end(&self, headers: &HeaderMap) {
        if let Some(value) = session_of(headers) {
            locked(&self.sessions).remove(blake3::hash(value.as_bytes()).as_bytes());
        }
    }
}

fn wrong_token() -> Problem {
    Problem::new(Code::Unauthorized, "this is not the token of the server")
}

fn session_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut parts = cookies.flat_map(|line| line.split(';')).map(str::trim);
    parts.find_map(|part| part.strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_token_has_its_scope_and_a_session_its_own() {
        let access = Access::new(Some("the-full-token-of-all"), Some("the-read-token-of-all"));
        let bearer = |token: &str| {
            let headers = with(AUTHORIZATION, &format!("Bearer {token}"));
            access.scope(&headers, true).map_err(|problem| problem.status)
        };
        assert_eq!(bearer("the-full-token-of-all"), Ok(Scope::Full));
        assert_eq!(bearer("the-read-token-of-all"), Ok(Scope::Read));
        assert_eq!(bearer("the-full-token-of-al"), Err(401));
        let none = HeaderMap::new();
        assert_eq!(access.scope(&none, true).unwrap_err().status, 401);
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let value = access.begin("the-read-token-of-all", here).unwrap();
        assert_eq!(value.len(), 64);
        let cookie = with(COOKIE, &format!("a=b; {COOKIE_NAME}={value}"));
        assert_eq!(access.scope(&cookie, true).unwrap(), Scope::Read);
        assert!(access.scope(&cookie, false).is_err());
        access.end(&cookie);
        assert!(access.scope(&cookie, true).is_err());
        // A sixth wrong token in a minute is not looked at, nor is a right one then.
        for _ in 0..5 {
            assert_eq!(access.begin("wrong", here).unwrap_err().status, 401);
        }
        assert_eq!(access.begin("the-full-token-of-all", here).unwrap_err().status, 429);
        assert!(access.begin("the-full-token-of-all", "10.0.0.1".parse().unwrap()).is_ok());
        assert_eq!(Access::new(None, None).scope(&none, true).unwrap(), Scope::Full);
    }
}
