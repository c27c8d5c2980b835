//! What a worker and its parent say to each other: a JSON header and raw bytes a message, each
//! with its length. Every length is checked before memory is taken for it.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A header holds a page's text, which the parent's limit keeps near 1 MB; JSON may escape each
/// character to six.
const MAX_HEADER: u32 = 64 << 20;

/// A file is at most 4 GiB, a picture at most 100 Mpx.
const MAX_BODY: u64 = 4 << 30;

/// Memory taken for a message before its bytes arrive.
const MAX_AT_ONCE: u64 = 16 << 20;

/// Parent to worker. `Open` carries the file's bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Opens a document in place of the one before.
    Open { passwords: Vec<String> },
    /// Reads and draws a page of it.
    Page { number: u32, text_bytes: usize, draw: Option<Draw> },
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
    Opened { pages: u32, title: Option<String> },
    NotOpened { reason: String, password: bool },
    Page { width_pt: f32, height_pt: f32, text: String, width_px: u32, height_px: u32 },
    NoPage { reason: String },
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

/// Reads one message; `None` when the other side closed between messages.
pub fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut lengths = [0u8; 12];
    if from.read(&mut lengths[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut lengths[1..])?;
    let (header, body) = lengths.split_at(4);
    let header = u32::from_le_bytes(header.try_into().expect("four bytes"));
    let body = u64::from_le_bytes(body.try_into().expect("eight bytes"));
    if header > MAX_HEADER || body > MAX_BODY {
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
    Ok(Some((serde_json::from_slice(&header)?, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        let request = Request::Page { number: 3, text_bytes: 10, draw: Some(Draw::Width(5)) };
        let mut bytes = Vec::new();
        send(&mut bytes, &request, b"body").unwrap();
        let (got, body) = receive::<Request>(&bytes[..]).unwrap().unwrap();
        assert_eq!((got, body.as_slice()), (request, &b"body"[..]));
        assert!(receive::<Request>(&b""[..]).unwrap().is_none());
    }

    #[test]
    fn cut_and_lying_messages_are_errors() {
        let mut bytes = Vec::new();
        send(&mut bytes, &Request::Open { passwords: vec![] }, b"body").unwrap();
        for length in 1..bytes.len() {
            assert!(receive::<Request>(&bytes[..length]).is_err(), "{length} bytes");
        }
        // A body of 2^64 - 1 bytes is refused before it is read.
        bytes[4..12].fill(0xFF);
        let error = receive::<Request>(&bytes[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        // A body that is announced but does not come takes no memory.
        bytes[4..12].copy_from_slice(&(3u64 << 30).to_le_bytes());
        assert!(receive::<Request>(&bytes[..]).is_err());
    }
}
