//! What a worker and its parent say to each other: a JSON header and raw bytes a message, each
//! with its length. Every length is checked before memory is taken for it, and the parent takes
//! a worker's word for nothing: a document may have taken it over.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::pdfium::{MAX_PIXELS, MAX_SIDE_PX};
use crate::sandbox::Confinement;

/// Memory taken for a message before its bytes arrive.
const MAX_AT_ONCE: u64 = 16 << 20;

/// No reason or title is longer, bytes.
pub const MAX_LINE: usize = 2_000;

/// The most that one message may hold, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub header: u32,
    pub body: u64,
}

impl Bounds {
    /// Passwords, and a file.
    pub const REQUEST: Self = Self { header: 1 << 20, body: 4 << 30 };

    /// A page with at most `text_bytes` of text, of which JSON may escape each to six, and
    /// `body` bytes of picture.
    pub fn response(text_bytes: usize, body: usize) -> Self {
        const REST: usize = 64 << 10;
        let header = text_bytes.saturating_mul(6).saturating_add(REST);
        Self { header: u32::try_from(header).unwrap_or(u32::MAX), body: body as u64 }
    }
}

/// Parent to worker. `Open` carries the file's bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Opens a document in place of the one before.
    Open { passwords: Vec<String> },
    /// Reads and draws a page of it.
    Page { number: u32, asked: Asked },
}

/// How much of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Text, at most, bytes.
    pub text_bytes: usize,
    /// Pixels drawn, at most.
    pub pixels: u64,
    pub draw: Option<Draw>,
}

/// How large to draw a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Draw {
    /// Squeezed to a model's input, px.
    Squeezed { width_px: u32, height_px: u32 },
    /// This wide, as high as the page's shape asks.
    Width(u32),
    /// For OCR.
    Dpi(u32),
}

/// Worker to parent. `Page` carries the picture's bytes, RGB, unless they lie on a shared canvas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// Once, at the start.
    Ready {
        confinement: Confinement,
    },
    /// Instead, at the start: libpdfium cannot be loaded.
    NotReady {
        reason: String,
    },
    Opened {
        pages: u32,
        title: Option<String>,
    },
    NotOpened {
        reason: String,
        password: bool,
    },
    Page {
        width_pt: f32,
        height_pt: f32,
        text: String,
        /// There is more text than was asked for.
        text_cut: bool,
        width_px: u32,
        height_px: u32,
    },
    NoPage {
        reason: String,
    },
}

impl Response {
    /// Whether this is something that a worker of ours may say when it is `asked` for a page, or
    /// for nothing in particular. `Err` says what is wrong.
    pub fn check(&self, asked: Option<&Asked>) -> Result<(), &'static str> {
        let line = |text: &str| match text.len() <= MAX_LINE {
            true => Ok(()),
            false => Err("a reason or title without end"),
        };
        match (self, asked) {
            (Self::Ready { .. }, None) => Ok(()),
            (Self::Opened { title, .. }, None) => line(title.as_deref().unwrap_or_default()),
            (Self::NotReady { reason } | Self::NotOpened { reason, .. }, None)
            | (Self::NoPage { reason }, Some(_)) => line(reason),
            (Self::Page { width_pt, height_pt, text, width_px, height_px, .. }, Some(asked)) => {
                let is_length = |pt: &f32| pt.is_finite() && *pt > 0.0;
                if !is_length(width_pt) || !is_length(height_pt) {
                    return Err("a page without a size");
                }
                if text.len() > asked.text_bytes {
                    return Err("more text than was asked for");
                }
                let (width, height) = (*width_px, *height_px);
                let pixels = u64::from(width) * u64::from(height);
                let fits = match asked.draw {
                    None => (width, height) == (0, 0),
                    Some(Draw::Squeezed { width_px, height_px }) => {
                        (width, height) == (width_px, height_px)
                    }
                    Some(Draw::Width(_) | Draw::Dpi(_)) => {
                        let side = 1..=MAX_SIDE_PX;
                        side.contains(&width) && side.contains(&height) && pixels <= MAX_PIXELS
                    }
                };
                if fits { Ok(()) } else { Err("a picture of another size") }
            }
            _ => Err("an answer to another question"),
        }
    }
}

/// Writes one message.
pub fn send<T: Serialize>(mut to: impl Write, header: &T, body: &[u8]) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    to.write_all(&(header.len() as u32).to_le_bytes())?;
    to.write_all(&(body.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    to.write_all(body)?;
    to.flush()
}

/// Reads one message within `bounds`; `None` when the other side closed between messages.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for what is no message of ours; other kinds come from `from`.
pub fn receive<T: DeserializeOwned>(
    mut from: impl Read,
    bounds: Bounds,
) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut lengths = [0u8; 12];
    if from.read(&mut lengths[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut lengths[1..])?;
    let (header, body) = lengths.split_at(4);
    let header = u32::from_le_bytes(header.try_into().expect("four bytes"));
    let body = u64::from_le_bytes(body.try_into().expect("eight bytes"));
    if header > bounds.header || body > bounds.body {
        let message = format!("a message of {header} + {body} bytes is over the limit");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    // Grown as bytes arrive: a length alone takes little memory.
    let mut read = |length: u64| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length.min(MAX_AT_ONCE) as usize);
        from.by_ref().take(length).read_to_end(&mut bytes)?;
        match bytes.len() as u64 == length {
            true => Ok(bytes),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    let header = read(u64::from(header))?;
    let body = read(body)?;
    let header = serde_json::from_slice(&header)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((header, body)))
}

/// What the fuzzer and the test of mutations do with bytes from a worker: read them as a parent
/// would, and hold what passes to its limits. Returns whether a message passed.
///
/// # Panics
/// When something passes that must not.
#[cfg(any(test, fuzzing))]
pub fn exercise(bytes: &[u8]) -> bool {
    let asked = Asked {
        text_bytes: 100,
        pixels: 1000,
        draw: Some(Draw::Squeezed { width_px: 4, height_px: 2 }),
    };
    let bounds = Bounds::response(asked.text_bytes, 24);
    // The worker's side, with the same bytes.
    let _ = receive::<Request>(bytes, Bounds { header: 4096, body: 4096 });
    let Ok(Some((response, body))) = receive::<Response>(bytes, bounds) else { return false };
    assert!(body.len() <= 24);
    let passed = [None, Some(&asked)].map(|asked| response.check(asked).is_ok());
    match &response {
        Response::Page { width_pt, height_pt, text, width_px, height_px, .. } if passed[1] => {
            assert!(width_pt * height_pt > 0.0 && width_pt.is_finite() && height_pt.is_finite());
            assert!(text.len() <= 100 && (*width_px, *height_px) == (4, 2));
        }
        Response::NotReady { reason }
        | Response::NotOpened { reason, .. }
        | Response::NoPage { reason } => assert!(reason.len() <= MAX_LINE || passed == [false; 2]),
        _ => {}
    }
    assert!(passed != [true; 2], "an answer to two questions: {response:?}");
    // What passed goes on as it came.
    let mut again = Vec::new();
    send(&mut again, &response, &body).expect("memory takes all");
    if passed != [false; 2] {
        let back = receive::<Response>(&again[..], Bounds { header: u32::MAX, body: 24 });
        assert_eq!(back.expect("as sent").expect("a message"), (response, body));
    }
    passed != [false; 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Layer;

    const WIDE: Bounds = Bounds { header: 1 << 20, body: 4 << 30 };

    fn asked(draw: Option<Draw>) -> Asked {
        Asked { text_bytes: 10, pixels: 100, draw }
    }

    fn page(text: &str, width_pt: f32, width_px: u32, height_px: u32) -> Response {
        Response::Page {
            width_pt,
            height_pt: 1.0,
            text: text.into(),
            text_cut: false,
            width_px,
            height_px,
        }
    }

    #[test]
    fn messages_come_back() {
        let request = Request::Page { number: 3, asked: asked(Some(Draw::Width(5))) };
        let mut bytes = Vec::new();
        send(&mut bytes, &request, b"body").unwrap();
        let (got, body) = receive::<Request>(&bytes[..], WIDE).unwrap().unwrap();
        assert_eq!((got, body.as_slice()), (request, &b"body"[..]));
        assert!(receive::<Request>(&b""[..], WIDE).unwrap().is_none());
    }

    #[test]
    fn cut_and_lying_messages_are_errors() {
        let mut bytes = Vec::new();
        send(&mut bytes, &Request::Open { passwords: vec![] }, b"body").unwrap();
        for length in 1..bytes.len() {
            assert!(receive::<Request>(&bytes[..length], WIDE).is_err(), "{length} bytes");
        }
        // A message at its bounds passes; one byte less does not.
        let header = (bytes.len() - 12 - 4) as u32;
        assert!(receive::<Request>(&bytes[..], Bounds { header, body: 4 }).is_ok());
        for tight in [Bounds { header: header - 1, body: 4 }, Bounds { header, body: 3 }] {
            let error = receive::<Request>(&bytes[..], tight).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        // A body that is announced but does not come takes no memory.
        bytes[4..12].copy_from_slice(&(3u64 << 30).to_le_bytes());
        assert!(receive::<Request>(&bytes[..], WIDE).is_err());
    }

    #[test]
    fn only_what_was_asked_for_is_taken() {
        let squeezed = Some(Draw::Squeezed { width_px: 4, height_px: 2 });
        let reason = |bytes: usize| Response::NoPage { reason: "x".repeat(bytes) };
        let opened = Response::Opened { pages: u32::MAX, title: None };
        for (response, asked, expected) in [
            (page("text", 1.0, 4, 2), Some(asked(squeezed)), true),
            (page("text", 1.0, 4, 3), Some(asked(squeezed)), false),
            (page("text", 1.0, 4, 2), Some(asked(None)), false),
            (page("text", 1.0, 0, 0), Some(asked(None)), true),
            (page("text", 1.0, 0, 7), Some(asked(Some(Draw::Width(7)))), false),
            (page("text", 1.0, 10_000, 10_000), Some(asked(Some(Draw::Dpi(7)))), false),
            (page("eleven chars", 1.0, 4, 2), Some(asked(squeezed)), false),
            (page("text", f32::INFINITY, 4, 2), Some(asked(squeezed)), false),
            (page("text", -1.0, 4, 2), Some(asked(squeezed)), false),
            (page("text", 1.0, 4, 2), None, false),
            (reason(MAX_LINE), Some(asked(None)), true),
            (reason(MAX_LINE + 1), Some(asked(None)), false),
            (opened.clone(), None, true),
            (opened, Some(asked(None)), false),
        ] {
            assert_eq!(response.check(asked.as_ref()).is_ok(), expected, "{response:?}");
        }
    }

    /// The fuzz target of `fuzz/` in small: seeded mutations of each message.
    #[test]
    fn mutated_messages_pass_within_their_limits_or_not_at_all() {
        let layer = || Layer::Missing("no".into());
        let messages = [
            Response::Ready { confinement: Confinement { landlock: layer(), seccomp: layer() } },
            Response::NotReady { reason: "no".into() },
            Response::Opened { pages: 7, title: Some("Title \u{7}".into()) },
            Response::NotOpened { reason: "locked".into(), password: true },
            page("words", 595.0, 4, 2),
            Response::NoPage { reason: "damaged".into() },
        ];
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below.max(1) as u64) as usize
        };
        let (mut passed, mut refused) = (0, 0);
        for round in 0..60_000 {
            let mut bytes = Vec::new();
            let body = [7; 24];
            send(&mut bytes, &messages[round % messages.len()], &body[..next(25)]).unwrap();
            for _ in 0..next(4) {
                if bytes.is_empty() {
                    break;
                }
                let at = next(bytes.len());
                match next(5) {
                    0 => bytes[at] ^= 1 << next(8),
                    1 => bytes[at] = next(256) as u8,
                    2 => bytes.truncate(at),
                    3 => bytes.insert(at, b"0129\"{}[],:\\eE-u"[next(16)]),
                    _ => {
                        let copied = bytes[at..].to_vec();
                        bytes.extend(copied);
                    }
                }
            }
            match exercise(&bytes) {
                true => passed += 1,
                false => refused += 1,
            }
        }
        assert!(passed > 10_000 && refused > 10_000, "{passed} passed, {refused} refused");
    }
}
