//! Whether a request is let in: its host, its origin and its size, before anything else is looked
//! at.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};

use super::problem::{Code, Problem};

/// The longest target, bytes.
const TARGET: usize = 8 << 10;

/// All headers together, bytes.
const HEADERS: usize = 32 << 10;

/// Who is served under which names.
#[derive(Debug)]
pub struct Gate {
    /// IP literals pass on a bind that is not loopback: a literal cannot be rebound.
    literals: bool,
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    /// From a program, or a page of this server.
    Own,
    /// From a page of an origin that was listed.
    Listed,
}

impl Gate {
    /// The gate of a server on `bind`.
    pub fn new(bind: SocketAddr, hosts: &[String], origins: &[String]) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect();
        Self { literals: !bind.ip().is_loopback(), hosts: lower(hosts), origins: lower(origins) }
    }

    /// Lets a request in, or says why not.
    ///
    /// # Errors
    /// [`Code::HostNotAllowed`], [`Code::OriginNotAllowed`], [`Code::BadRequest`] without exactly
    /// one host, [`Code::UriTooLong`], [`Code::HeadersTooLarge`].
    pub fn check(&self, request: &Parts) -> Result<Comes, Problem> {
        let host = host_of(&request.uri, &request.headers)?;
        if !self.is_served(&host.name) {
            let detail = "this name is not served: ask by localhost or an address, or start the \
                          server with --allow-host NAME";
            return Err(Problem::new(Code::HostNotAllowed, detail));
        }
        let comes = self.origin(request, &host)?;
        let target = request.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if target > TARGET {
            let detail = format!("the target has {target} bytes, at most {TARGET} are read");
            return Err(Problem::new(Code::UriTooLong, detail));
        }
        let headers: usize =
            request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if headers > HEADERS {
            let detail = format!("the headers have {headers} bytes, at most {HEADERS} are read");
            return Err(Problem::new(Code::HeadersTooLarge, detail));
        }
        Ok(comes)
    }

    fn is_served(&self, name: &str) -> bool {
        let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(address) = literal.unwrap_or(name).parse::<IpAddr>() {
            // Of IPv6 only what stands in brackets is a host.
            let written_so = address.is_ipv6() == literal.is_some();
            return written_so && (self.literals || address.to_canonical().is_loopback())
                || self.hosts.iter().any(|host| host == name);
        }
        name == "localhost" || self.hosts.iter().any(|host| host == name)
    }

    fn origin(&self, request: &Parts, host: &Host) -> Result<Comes, Problem> {
        let refused = || {
            let detail = "this origin may not ask: start the server with --allow-origin ORIGIN";
            Problem::new(Code::OriginNotAllowed, detail)
        };
        let mut origins = request.headers.get_all(ORIGIN).iter();
        if let Some(origin) = origins.next() {
            let origin = origin.to_str().map_err(|_| refused())?.to_lowercase();
            if origins.next().is_some() {
                return Err(refused());
            }
            if self.origins.contains(&origin) {
                let own = origin == host.origin();
                return Ok(if own { Comes::Own } else { Comes::Listed });
            }
            if origin != host.origin() {
                return Err(refused());
            }
        }
        // A page elsewhere that leads here opens the first page and nothing else.
        let site = request.headers.get("sec-fetch-site");
        let across = site.is_some_and(|site| site.as_bytes() == b"cross-site");
        let looks = matches!(request.method, Method::GET | Method::HEAD);
        let first_page = looks && request.uri.path() == "/";
        if across && !first_page {
            return Err(refused());
        }
        Ok(Comes::Own)
    }
}

struct Host {
    /// In lower case, without its port.
    name: String,
    /// As it was given, in lower case.
    whole: String,
}

impl Host {
    /// The origin of pages that this host serves.
    fn origin(&self) -> String {
        let whole = self.whole.strip_suffix(":80").unwrap_or(&self.whole);
        format!("http://{whole}")
    }
}

/// The host that a request asks, of which there must be exactly one.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<Host, Problem> {
    let bad = |detail: &str| Problem::new(Code::BadRequest, detail);
    let mut hosts = headers.get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("a request has one header `Host`"));
    }
    let header = first.map(|value| value.to_str().unwrap_or("\0"));
    let whole = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => header.ok_or_else(|| bad("a request has a header `Host`"))?,
    };
    let whole = whole.trim().to_lowercase();
    let (name, port) = match whole.rfind(']') {
        Some(end) => (&whole[..=end], &whole[end + 1..]),
        None => match whole.split_once(':') {
            Some((name, port)) => (name, &whole[name.len()..name.len() + 1 + port.len()]),
            None => (&whole[..], ""),
        },
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|p| p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()));
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    if name.is_empty() || !is_port || !name.chars().all(fits) {
        return Err(bad("the header `Host` is not a name and a port"));
    }
    Ok(Host { name: name.to_string(), whole })
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn check(gate: &Gate, target: &str, headers: &[(&str, &str)]) -> Result<Comes, u16> {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        gate.check(&parts).map_err(|problem| problem.status)
    }

    #[test]
    fn hosts_are_loopback_or_listed_and_one() {
        let loopback = Gate::new("127.0.0.1:1".parse().unwrap(), &["Docs.example".into()], &[]);
        let open = Gate::new("0.0.0.0:1".parse().unwrap(), &[], &[]);
        for (host, on_loopback, on_all) in [
            ("localhost", None, None),
            ("LOCALHOST:8731", None, None),
            ("127.0.0.1:8731", None, None),
            ("127.9.9.9", None, None),
            ("[::1]:8731", None, None),
            ("[::ffff:127.0.0.1]", None, None),
            ("docs.example:80", None, Some(403)),
            ("evil.example", Some(403), Some(403)),
            ("localhost.evil.example", Some(403), Some(403)),
            ("localhost.", Some(403), Some(403)),
            ("192.168.1.5:8731", Some(403), None),
            ("::1", Some(400), Some(400)),
            ("127.0.0.1.evil.example", Some(403), Some(403)),
            ("0x7f.1", Some(403), Some(403)),
            ("user@localhost", Some(400), Some(400)),
            ("localhost:80:80", Some(400), Some(400)),
            ("local host", Some(400), Some(400)),
            ("", Some(400), Some(400)),
        ] {
            let headers = [("host", host)];
            assert_eq!(check(&loopback, "/", &headers).err(), on_loopback, "{host}");
            assert_eq!(check(&open, "/", &headers).err(), on_all, "{host}");
        }
        assert_eq!(check(&loopback, "/", &[]).err(), Some(400));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(check(&loopback, "/", &twice).err(), Some(400));
        let absolute = check(&loopback, "http://evil.example/", &[("host", "localhost")]);
        assert_eq!(absolute.err(), Some(403));
    }

    #[test]
    fn origins_are_our_own_or_listed() {
        let listed = ["https://app.example".to_string()];
        let gate = Gate::new("127.0.0.1:1".parse().unwrap(), &[], &listed);
        let host = ("host", "localhost:8731");
        for (origin, expected) in [
            ("http://localhost:8731", Ok(Comes::Own)),
            ("https://app.example", Ok(Comes::Listed)),
            ("https://localhost:8731", Err(403)),
            ("http://localhost:9999", Err(403)),
            ("http://127.0.0.1:8731", Err(403)),
            ("https://app.example.evil", Err(403)),
            ("null", Err(403)),
            ("", Err(403)),
        ] {
            assert_eq!(
                check(&gate, "/v1/status", &[host, ("origin", origin)]),
                expected,
                "{origin}"
            );
        }
        let across = ("sec-fetch-site", "cross-site");
        assert_eq!(check(&gate, "/", &[host, across]), Ok(Comes::Own));
        let head = Request::head("/").header(host.0, host.1).header(across.0, across.1);
        let (head, ()) = head.body(()).unwrap().into_parts();
        assert_eq!(gate.check(&head).ok(), Some(Comes::Own));
        assert_eq!(check(&gate, "/v1/status", &[host, across]), Err(403));
        let from_listed = [host, across, ("origin", "https://app.example")];
        assert_eq!(check(&gate, "/v1/status", &from_listed), Ok(Comes::Listed));
    }

    #[test]
    fn requests_have_a_size() {
        let gate = Gate::new("127.0.0.1:1".parse().unwrap(), &[], &[]);
        let host = ("host", "localhost");
        let long = format!("/{}", "a".repeat(9 << 10));
        assert_eq!(check(&gate, &long, &[host]), Err(414));
        let large = "a".repeat(33 << 10);
        assert_eq!(check(&gate, "/", &[host, ("x-large", &large)]), Err(431));
    }
}
