//! The messages between a worker and its parent: each is a JSON header and raw bytes, both after
//! their lengths. Every length is checked before memory is taken for it, and the parent trusts
//! nothing that a worker sends, because a document may have taken the worker over.

use std::io::{self, Read, Write};

use pagesight_core::{Area, Attachment, DrawSize, Failure, PageSize, PageWord};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::{MAX_PIXELS, MAX_SIDE_PX};
use crate::sandbox::Confinement;

/// Memory taken for a message before its bytes arrive, at most.
const MAX_AT_ONCE: u64 = 16 << 20;

/// No reason or title is longer, bytes.
pub const MAX_LINE: usize = 2_000;

/// A document has no more notes.
pub const MAX_NOTES: usize = 8;

/// A page has no more areas with words.
pub const MAX_AREAS: usize = 20_000;

/// A page has no more words with a place.
pub const MAX_WORDS: usize = 20_000;

/// Words with a place have no more letters in all, bytes.
pub const MAX_WORD_BYTES: usize = 400_000;

/// A document has no more attached PDFs that are read.
pub const MAX_ATTACHMENTS: usize = 500;

/// No name of an attached file is longer, characters.
pub const MAX_NAME: usize = 200;

/// The most that one message may hold, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub header: u32,
    pub body: u64,
}

impl Bounds {
    /// A request: passwords, and a file.
    pub const REQUEST: Self = Self { header: 1 << 20, body: 4 << 30 };

    /// An answer with at most `text_bytes` of text, each of which JSON may escape to six bytes,
    /// and at most `body` bytes of picture.
    pub fn response(text_bytes: usize, body: usize) -> Self {
        const REST: usize = 64 << 10;
        let header = text_bytes.saturating_mul(6).saturating_add(REST);
        Self { header: u32::try_from(header).unwrap_or(u32::MAX), body: body as u64 }
    }

    /// What a document says when it is opened.
    pub fn opened() -> Self {
        Self::response((MAX_NOTES + 1) * MAX_LINE + MAX_ATTACHMENTS * (MAX_NAME * 4 + 50), 0)
    }

    /// The areas of a page, of which JSON takes about eighty bytes each.
    pub fn areas() -> Self {
        Self::response(MAX_AREAS * 20, 0)
    }

    /// The words of a page with their areas.
    pub fn words() -> Self {
        Self::response(MAX_WORD_BYTES + MAX_WORDS * 20, 0)
    }
}

/// Parent to worker. `Open` carries the bytes of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Opens a document in place of the one before.
    Open { passwords: Vec<String> },
    /// Reads or draws a page of it.
    Page { number: u32, asked: Asked },
    /// Takes an attached file out of it, of at most this many bytes.
    Attached { index: u32, bytes: u64 },
}

/// What is asked of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// Its words, at most this many bytes.
    Text { bytes: usize },
    /// Its picture, of at most this many pixels.
    Picture { size: DrawSize, pixels: u64 },
    /// Where its words stand.
    Areas,
    /// Its words, each with the place where it stands.
    Words,
}

/// Worker to parent. `Picture` carries its bytes, RGB, unless they lie on a shared canvas, and
/// `Attached` those of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// Once, at the start.
    Ready { confinement: Confinement },
    /// Instead, at the start: libpdfium cannot be loaded.
    NotReady { reason: String },
    /// The document is open.
    Opened {
        pages: u32,
        title: Option<String>,
        #[serde(default)]
        notes: Vec<String>,
        /// The attached files that are PDFs.
        #[serde(default)]
        attachments: Vec<Attachment>,
    },
    /// The document cannot be opened.
    NotOpened { failure: Failure },
    /// The words of a page.
    Text {
        page: PageSize,
        text: String,
        /// There is more text than was asked for.
        cut: bool,
        /// The share of the page that images cover.
        #[serde(default)]
        images: f32,
        /// Lines and shapes.
        #[serde(default)]
        paths: u32,
    },
    /// Where the words of a page stand.
    Areas { areas: Vec<Area> },
    /// The words of a page and where each stands.
    Words { words: Vec<PageWord> },
    /// A page is drawn.
    Picture { page: PageSize, width_px: u32, height_px: u32 },
    /// An attached file.
    Attached,
    /// The attached file cannot be taken out.
    NotAttached { failure: Failure },
    /// The page cannot be read or drawn.
    NoPage { failure: Failure },
}

impl Response {
    /// Whether this is something that a worker of ours may send when a page is `asked` for, or
    /// when something else is. `Err` says what is wrong.
    pub fn check(&self, asked: Option<&Asked>) -> Result<(), &'static str> {
        let line = |text: &str| {
            if text.len() <= MAX_LINE { Ok(()) } else { Err("a reason or title without end") }
        };
        let sized = |page: &PageSize| {
            let is_length = |pt: f32| pt.is_finite() && pt > 0.0;
            if is_length(page.width_pt) && is_length(page.height_pt) {
                Ok(())
            } else {
                Err("a page without a size")
            }
        };
        let is_share = |share: f32| (0.0..=1.0).contains(&share);
        let is_area = |a: &Area| [a.x0, a.y0, a.x1, a.y1].into_iter().all(is_share) && a.x0 <= a.x1;
        match (self, asked) {
            (Self::Ready { .. }, None) => Ok(()),
            (Self::Attached, None) => Ok(()),
            (Self::NotAttached { failure }, None) => line(&failure.reason),
            (Self::Opened { title, notes, attachments, .. }, None) => {
                let is_name = |a: &Attachment| a.name.chars().count() <= MAX_NAME;
                if attachments.len() > MAX_ATTACHMENTS || !attachments.iter().all(is_name) {
                    return Err("attached files without end");
                }
                line(title.as_deref().unwrap_or_default())?;
                if notes.len() > MAX_NOTES {
                    return Err("notes without end");
                }
                notes.iter().try_for_each(|note| line(note))
            }
            (Self::NotReady { reason }, None) => line(reason),
            (Self::NotOpened { failure }, None) | (Self::NoPage { failure }, Some(_)) => {
                line(&failure.reason)
            }
            (Self::Words { words }, Some(Asked::Words)) => {
                let letters: usize = words.iter().map(|word| word.text.len()).sum();
                let placed = |word: &PageWord| is_area(&word.area) && word.area.y0 <= word.area.y1;
                if words.len() > MAX_WORDS || letters > MAX_WORD_BYTES {
                    return Err("words without end");
                }
                if words.iter().all(placed) { Ok(()) } else { Err("words outside the page") }
            }
            (Self::Areas { areas }, Some(Asked::Areas)) => {
                if areas.len() <= MAX_AREAS && areas.iter().all(is_area) {
                    Ok(())
                } else {
                    Err("areas outside the page")
                }
            }
            (Self::Text { page, text, images, .. }, Some(Asked::Text { bytes })) => {
                sized(page)?;
                if !(0.0..=1.0).contains(images) {
                    return Err("images larger than the page");
                }
                if text.len() <= *bytes { Ok(()) } else { Err("more text than was asked for") }
            }
            (
                &Self::Picture { ref page, width_px: width, height_px: height },
                Some(Asked::Picture { size, .. }),
            ) => {
                sized(page)?;
                let fits = match size {
                    DrawSize::Exact { size, .. } => {
                        (width, height) == (size.width_px, size.height_px)
                    }
                    DrawSize::Width(_) | DrawSize::Dpi(_) => {
                        let side = 1..=MAX_SIDE_PX;
                        let pixels = u64::from(width) * u64::from(height);
                        side.contains(&width) && side.contains(&height) && pixels <= MAX_PIXELS
                    }
                };
                if fits { Ok(()) } else { Err("a picture of another size") }
            }
            _ => Err("an answer to another request"),
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
        if bytes.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    };
    let header = read(u64::from(header))?;
    let body = read(body)?;
    let header = serde_json::from_slice(&header)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((header, body)))
}

/// What the fuzzer and the test of mutations do with bytes from a worker: they read them as a
/// parent would, and hold what passes to its limits. Returns whether a message passed.
///
/// # Panics
/// When something passes that must not.
#[cfg(any(test, fuzzing))]
pub fn exercise(bytes: &[u8]) -> bool {
    use pagesight_core::PictureSize;
    let size = DrawSize::exact(PictureSize { width_px: 4, height_px: 2 });
    let (text, picture) = (Asked::Text { bytes: 100 }, Asked::Picture { size, pixels: 1000 });
    // The worker's side, with the same bytes.
    let _ = receive::<Request>(bytes, Bounds { header: 4096, body: 4096 });
    let bounds = Bounds::response(100, 24);
    let Ok(Some((response, body))) = receive::<Response>(bytes, bounds) else { return false };
    assert!(body.len() <= 24);
    let passed = [None, Some(&text), Some(&picture), Some(&Asked::Areas), Some(&Asked::Words)]
        .map(|asked| response.check(asked).is_ok());
    let is_sized = |page: &PageSize| {
        page.width_pt * page.height_pt > 0.0
            && page.width_pt.is_finite()
            && page.height_pt.is_finite()
    };
    match &response {
        Response::Text { page, text, .. } if passed[1] => {
            assert!(is_sized(page) && text.len() <= 100);
        }
        Response::Picture { page, width_px, height_px } if passed[2] => {
            assert!(is_sized(page) && (*width_px, *height_px) == (4, 2));
        }
        Response::Areas { areas } if passed[3] => {
            assert!(areas.iter().all(|area| (0.0..=1.0).contains(&area.y1)));
        }
        Response::NotReady { reason } => assert!(reason.len() <= MAX_LINE || passed == [false; 5]),
        Response::NotOpened { failure }
        | Response::NotAttached { failure }
        | Response::NoPage { failure } => {
            assert!(failure.reason.len() <= MAX_LINE || passed == [false; 5]);
        }
        _ => {}
    }
    // Only a failure answers more than one request, and that only where a page was asked for.
    let failed = matches!(response, Response::NoPage { .. });
    let most = if failed { 4 } else { 1 };
    assert!(passed.iter().filter(|passed| **passed).count() <= most);
    assert!(!(passed[0] && failed), "an answer to another request: {response:?}");
    // What passed goes on as it came.
    let mut again = Vec::new();
    send(&mut again, &response, &body).expect("memory takes all");
    if passed != [false; 5] {
        let back = receive::<Response>(&again[..], Bounds { header: u32::MAX, body: 24 });
        assert_eq!(back.expect("as sent").expect("a message"), (response, body));
    }
    passed != [false; 5]
}

#[cfg(test)]
mod tests {
    use pagesight_core::{FailureKind, PictureSize};

    use super::*;
    use crate::sandbox::Layer;

    const WIDE: Bounds = Bounds { header: 1 << 20, body: 4 << 30 };

    fn size(width_pt: f32) -> PageSize {
        PageSize { width_pt, height_pt: 1.0 }
    }

    fn text(text: &str, width_pt: f32) -> Response {
        Response::Text {
            page: size(width_pt),
            text: text.into(),
            cut: false,
            images: 0.5,
            paths: 7,
        }
    }

    fn picture(width_pt: f32, width_px: u32, height_px: u32) -> Response {
        Response::Picture { page: size(width_pt), width_px, height_px }
    }

    fn failure(reason: String) -> Failure {
        Failure::new(FailureKind::Damaged, reason)
    }

    #[test]
    fn messages_come_back() {
        let asked = Asked::Picture { size: DrawSize::Width(5), pixels: 100 };
        let request = Request::Page { number: 3, asked };
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
        let words = Some(Asked::Text { bytes: 10 });
        let drawn = |size| Some(Asked::Picture { size, pixels: 100 });
        let exact = drawn(DrawSize::exact(PictureSize { width_px: 4, height_px: 2 }));
        let reason = |bytes: usize| Response::NoPage { failure: failure("x".repeat(bytes)) };
        let opened = Response::Opened {
            pages: u32::MAX,
            title: None,
            notes: Vec::new(),
            attachments: Vec::new(),
        };
        for (response, asked, expected) in [
            (text("text", 1.0), words, true),
            (text("", 1.0), words, true),
            (text("eleven chars", 1.0), words, false),
            (text("text", f32::INFINITY), words, false),
            (text("text", -1.0), words, false),
            (text("text", 1.0), exact, false),
            (text("text", 1.0), None, false),
            (picture(1.0, 4, 2), exact, true),
            (picture(1.0, 4, 3), exact, false),
            (picture(f32::NAN, 4, 2), exact, false),
            (picture(1.0, 4, 2), words, false),
            (picture(1.0, 4, 2), None, false),
            (picture(1.0, 7, 9), drawn(DrawSize::Width(7)), true),
            (picture(1.0, 0, 7), drawn(DrawSize::Width(7)), false),
            (picture(1.0, 10_000, 10_000), drawn(DrawSize::Dpi(7)), false),
            (reason(MAX_LINE), words, true),
            (reason(MAX_LINE + 1), words, false),
            (reason(1), exact, true),
            (reason(1), None, false),
            (opened.clone(), None, true),
            (opened, words, false),
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
            Response::Opened {
                pages: 7,
                title: Some("Title \u{7}".into()),
                notes: vec!["a note".into()],
                attachments: vec![Attachment::new(0, "a.pdf".into())],
            },
            Response::Attached,
            Response::NotAttached { failure: failure("too large".into()) },
            Response::Areas { areas: vec![Area { x0: 0.25, y0: 0.5, x1: 0.5, y1: 0.75 }] },
            Response::NotOpened { failure: failure("locked".into()) },
            text("words", 595.0),
            picture(595.0, 4, 2),
            Response::NoPage { failure: failure("damaged".into()) },
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
            if exercise(&bytes) {
                passed += 1;
            } else {
                refused += 1;
            }
        }
        assert!(passed > 10_000 && refused > 10_000, "{passed} passed, {refused} refused");
    }
}
