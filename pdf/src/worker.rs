//! The worker: a program that does nothing but read PDFs for the parent that started it.

use std::ffi::OsString;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::exit;

use pagesight_core::{Failure, PageText};
use pdfium_render::prelude::Pdfium;

use crate::canvas::Canvas;
use crate::document::Opened;
use crate::pdfium::{Pages, bind};
use crate::protocol::{Asked, Bounds, Request, Response, receive, send};
use crate::raw::Library;
use crate::restrict::restrict;
use crate::sandbox::{Sandbox, shut_in};

/// First argument of a program that is to serve as worker; the second is libpdfium, the third
/// the limit on its address space, bytes, the fourth its sandbox, the fifth the descriptor of its
/// canvas, if it has one.
pub(crate) const VERB: &str = "__pagesight-worker";

/// Turns this process into a worker when its parent started it as one, and then never returns.
///
/// A program that reads PDFs calls this first in `main`, because its workers are the same program,
/// started again. See [`serve_worker`] for hosts whose arguments are not the program's own.
pub fn serve_worker_if_asked() {
    serve_worker(std::env::args_os().skip(1));
}

/// Turns this process into a worker when `arguments` are those of a worker, and then never
/// returns. They follow what was set as
/// [`worker_arguments`](crate::RenderOptions::worker_arguments).
pub fn serve_worker(arguments: impl IntoIterator<Item = OsString>) {
    let mut arguments = arguments.into_iter();
    if arguments.next().is_none_or(|verb| verb != VERB) {
        return;
    }
    let library = PathBuf::from(arguments.next().unwrap_or_default());
    let bytes = arguments.next().and_then(|bytes| bytes.to_str()?.parse().ok());
    let sandbox = arguments.next().unwrap_or_default();
    let sandbox = Sandbox::from_word(sandbox.to_str().unwrap_or_default());
    let canvas = arguments.next().and_then(|fd| fd.to_str()?.parse().ok());
    exit(match serve(library, bytes, sandbox, canvas) {
        Ok(()) => 0,
        Err(error) => {
            // The parent does not show what a worker writes here; a person with a debugger does.
            eprintln!("worker: {error}");
            1
        }
    })
}

fn serve(
    library: PathBuf,
    limit: Option<u64>,
    sandbox: Sandbox,
    canvas: Option<i32>,
) -> io::Result<()> {
    restrict(limit)?;
    // For `ps`: a worker may have been started as /proc/self/exe.
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/comm", "pagesight worker");
    let mut canvas = Canvas::inherited(canvas)?;
    let mut requests = BufReader::new(io::stdin().lock());
    let mut responses = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let pdfium = match bind(&library) {
        Ok(pdfium) => pdfium,
        Err(reason) => {
            send(&mut responses, &Response::NotReady { reason }, &[])?;
            return Ok(());
        }
    };
    let confinement = shut_in(sandbox);
    // The parent sees the same and opens no document; the worker does not rely on that.
    let refused = sandbox == Sandbox::Require && !confinement.is_whole();
    send(&mut responses, &Response::Ready { confinement }, &[])?;
    if refused {
        return Ok(());
    }
    let mut next = receive::<Request>(&mut requests, Bounds::REQUEST)?;
    while let Some((request, bytes)) = next {
        let Request::Open { passwords } = request else {
            return Err(io::Error::other("a page was asked for before a document"));
        };
        next = serve_document(
            &pdfium,
            &bytes,
            &passwords,
            &mut canvas,
            &mut requests,
            &mut responses,
        )?;
    }
    Ok(())
}

/// Serves pages of one document until another one is opened.
fn serve_document(
    pdfium: &Pdfium,
    bytes: &[u8],
    passwords: &[String],
    canvas: &mut Canvas,
    mut requests: impl io::Read,
    mut responses: impl Write,
) -> io::Result<Option<(Request, Vec<u8>)>> {
    let document = Opened::open(Library::of(pdfium), bytes, passwords);
    let response = match &document {
        Ok(opened) => {
            let (pages, title) = (opened.document.page_count(), opened.title());
            let (notes, attachments) = (opened.notes(), opened.attachments());
            Response::Opened { pages, title, notes, attachments }
        }
        Err(failure) => Response::NotOpened { failure: failure.clone() },
    };
    send(&mut responses, &response, &[])?;
    let mut pages = document.as_ref().map(Pages::new);
    loop {
        match receive::<Request>(&mut requests, Bounds::REQUEST)? {
            Some((Request::Page { number, asked }, _)) => {
                let response = match &mut pages {
                    Ok(pages) => answer(pages, number, asked, canvas),
                    Err(failure) => Response::NoPage { failure: failure.clone() },
                };
                let body = match &response {
                    Response::Picture { .. } => canvas.to_send(),
                    _ => &[],
                };
                send(&mut responses, &response, body)?;
            }
            Some((Request::Attached { index, bytes }, _)) => {
                let file = document.as_ref().map_err(Failure::clone);
                match file.and_then(|opened| opened.attached(index, bytes)) {
                    Ok(file) => send(&mut responses, &Response::Attached, &file)?,
                    Err(failure) => {
                        send(&mut responses, &Response::NotAttached { failure }, &[])?;
                    }
                }
            }
            other => return Ok(other),
        }
    }
}

fn answer(pages: &mut Pages<'_, '_>, number: u32, asked: Asked, canvas: &mut Canvas) -> Response {
    let answered = match asked {
        Asked::Text { bytes } => pages.text(number, bytes).map(|page| {
            let PageText { size, text, cut, images, paths, .. } = page;
            Response::Text { page: size, text, cut, images, paths }
        }),
        Asked::Areas => pages.areas(number).map(|areas| Response::Areas { areas }),
        Asked::Words => pages.words(number).map(|words| Response::Words { words }),
        Asked::Picture { size, pixels } => pages
            .draw(number, size, pixels, canvas)
            .map(|(page, (width_px, height_px))| Response::Picture { page, width_px, height_px }),
    };
    answered.unwrap_or_else(|failure| Response::NoPage { failure })
}
