//! The parent's side of a worker: start it, and ask it.

use std::io::{self, BufReader};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pagesight_core::{Area, Attachment, DrawSize, PageImage, PageText, PageWord};

use crate::canvas::{CANVAS_BYTES, View};
use crate::child::{Ended, Watched};
use crate::error::{RendererError, StartError};
use crate::limits::{MAX_PIXELS, MAX_SIDE_PX, WorkerLimits};
use crate::options::RenderOptions;
use crate::protocol::{Asked, Bounds, Request, Response, receive, send};
use crate::sandbox::{Confinement, Sandbox};
use crate::worker::VERB;

/// One worker process with at most one open document. [`RendererPool`](crate::RendererPool) keeps
/// several and replaces those that end; use this where you want to meet every error yourself.
///
/// Dropping it ends the process, and waits for nothing.
#[derive(Debug)]
pub struct Renderer {
    requests: ChildStdin,
    responses: BufReader<ChildStdout>,
    /// Where the worker draws; without it pictures come as bytes.
    canvas: Option<View>,
    child: Watched,
    limits: WorkerLimits,
    confinement: Confinement,
    /// Documents opened so far.
    documents: u32,
    /// What is to be known of the document that is open.
    notes: Vec<String>,
    attachments: Vec<Attachment>,
}

impl RenderOptions {
    /// Starts a worker and ends it again: the libpdfium that it loads, and what shuts it in.
    ///
    /// # Errors
    /// [`StartError`] says why PDFs cannot be read here.
    pub fn check(&self) -> Result<(std::path::PathBuf, Confinement), StartError> {
        let confinement = Renderer::start(self)?.confinement().clone();
        Ok((self.found_pdfium()?, confinement))
    }
}

impl Renderer {
    /// Starts a worker, which loads libpdfium and then shuts itself in.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(options: &RenderOptions) -> Result<Self, StartError> {
        let (program, pdfium) = (options.program()?, options.found_pdfium()?);
        let limits = &options.limits;
        let mut command = Command::new(&program);
        command.args(&options.worker_arguments).arg(VERB).arg(pdfium);
        command.arg(limits.worker_bytes.to_string()).arg(options.sandbox.as_str());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Ctrl-C is for the parent, which ends its workers in its own time.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let canvas = View::create().ok();
        if let Some(canvas) = &canvas {
            let fd = canvas.pass_to(&mut command);
            command.arg(fd.to_string());
        }
        let started = Watched::start(command);
        let failed = |source| StartError::Program { program: program.clone(), source };
        let (child, requests, responses) = started.map_err(failed)?;
        let mut renderer = Self {
            requests,
            responses: BufReader::new(responses),
            canvas,
            child,
            limits: limits.clone(),
            confinement: Confinement::unknown(),
            documents: 0,
            notes: Vec::new(),
            attachments: Vec::new(),
        };
        let bounds = Bounds::response(0, 0);
        let greeting = renderer.under_watch(None, |this| receive(&mut this.responses, bounds));
        match greeting {
            Ok((Response::Ready { confinement }, _)) => renderer.confinement = confinement,
            Ok((Response::NotReady { reason }, _)) => {
                return Err(StartError::Library { program, reason });
            }
            Ok(_) => {
                let source = renderer.nonsense("no greeting");
                return Err(StartError::Worker { program, source });
            }
            Err(source) => return Err(StartError::Worker { program, source }),
        }
        if options.sandbox == Sandbox::Require && !renderer.confinement.is_whole() {
            return Err(StartError::Sandbox { confinement: renderer.confinement.clone() });
        }
        Ok(renderer)
    }

    /// What shuts the worker in.
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// Whether its process runs.
    pub fn is_alive(&self) -> bool {
        self.child.is_alive()
    }

    /// Number of its process.
    pub fn process_id(&self) -> u32 {
        self.child.pid()
    }

    /// Whether a new worker should open the next document: this one has opened as many as it
    /// may, or keeps more memory than it may.
    pub(crate) fn has_served(&self) -> bool {
        let keeps_too_much =
            || self.resident_bytes().is_some_and(|bytes| bytes > self.limits.worker_kept_bytes);
        // One document each, whatever the limits: a new worker is no smaller.
        self.documents > 0 && (self.documents >= self.limits.worker_documents || keeps_too_much())
    }

    /// The worker's own memory now, bytes, without what it shares with others; `None` where the
    /// system does not say.
    fn resident_bytes(&self) -> Option<u64> {
        let pages = std::fs::read_to_string(format!("/proc/{}/statm", self.process_id())).ok()?;
        let mut pages = pages.split(' ').skip(1).map(|n| n.parse::<u64>().ok());
        let (resident, shared) = (pages.next()??, pages.next()??);
        Some(resident.saturating_sub(shared) * page_bytes())
    }

    /// Ends the worker, whatever it is doing, when `stop` is set from elsewhere.
    pub(crate) fn stop_when(&mut self, stop: Option<Arc<AtomicBool>>) {
        self.child.stop_when(stop);
    }

    /// Opens a document in place of the one before, with the first of `passwords` that fits if it
    /// needs one: its page count and title.
    ///
    /// # Errors
    /// [`RendererError::Document`] when it cannot be opened; the
    /// [fatal](RendererError::is_fatal) ones when the worker has ended.
    pub fn open(
        &mut self,
        bytes: &[u8],
        passwords: &[String],
    ) -> Result<(u32, Option<String>), RendererError> {
        self.documents += 1;
        let request = Request::Open { passwords: passwords.to_vec() };
        match self.ask(&request, None, bytes)?.0 {
            Response::Opened { pages, title, notes, attachments } => {
                (self.notes, self.attachments) = (notes, attachments);
                Ok((pages, title))
            }
            Response::NotOpened { failure } => Err(RendererError::Document(failure)),
            _ => Err(self.nonsense("no answer to a document")),
        }
    }

    /// What a person should know of the document that was opened last, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The PDFs among the files that are attached to the document that was opened last.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// The bytes of one of its attached files, at most `most_bytes` of them.
    ///
    /// # Errors
    /// [`RendererError::Document`] when there are more, or none; the fatal ones when the worker has
    /// ended.
    pub fn attached(
        &mut self,
        attachment: &Attachment,
        most_bytes: u64,
    ) -> Result<Vec<u8>, RendererError> {
        let request = Request::Attached { index: attachment.index, bytes: most_bytes };
        match self.ask(&request, None, &[])? {
            (Response::Attached, bytes) => Ok(bytes),
            (Response::NotAttached { failure }, _) => Err(RendererError::Document(failure)),
            _ => Err(self.nonsense("no answer to an attached file")),
        }
    }

    /// Where the words of page `number` (1-based) stand, as it is displayed.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub fn text_areas(&mut self, number: u32) -> Result<Vec<Area>, RendererError> {
        let asked = Asked::Areas;
        match self.ask(&Request::Page { number, asked }, Some(&asked), &[])?.0 {
            Response::Areas { areas } => Ok(areas),
            Response::NoPage { failure } => Err(RendererError::Page(failure)),
            _ => Err(self.nonsense("no answer to a page")),
        }
    }

    /// The words that page `number` (1-based) shows of its text layer, and where each stands.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub fn words(&mut self, number: u32) -> Result<Vec<PageWord>, RendererError> {
        let asked = Asked::Words;
        match self.ask(&Request::Page { number, asked }, Some(&asked), &[])?.0 {
            Response::Words { words } => Ok(words),
            Response::NoPage { failure } => Err(RendererError::Page(failure)),
            _ => Err(self.nonsense("no answer to a page")),
        }
    }

    /// The size of page `number` (1-based), and its words, at most `most_bytes` bytes of them.
    ///
    /// # Errors
    /// [`RendererError::Page`]; the fatal ones when the worker has ended.
    pub fn text(&mut self, number: u32, most_bytes: usize) -> Result<PageText, RendererError> {
        let asked = Asked::Text { bytes: most_bytes };
        match self.ask(&Request::Page { number, asked }, Some(&asked), &[])?.0 {
            Response::Text { page, text, cut, images, paths } => {
                Ok(PageText::new(page, text, cut).with_drawings(images, paths))
            }
            Response::NoPage { failure } => Err(RendererError::Page(failure)),
            _ => Err(self.nonsense("no answer to a page")),
        }
    }

    /// Draws page `number` (1-based).
    ///
    /// # Errors
    /// [`RendererError::Page`] and [`RendererError::Picture`]; the fatal ones when the worker has
    /// ended.
    pub fn draw(&mut self, number: u32, size: DrawSize) -> Result<PageImage, RendererError> {
        if let DrawSize::Exact { size, .. } = size {
            let (width_px, height_px) = (size.width_px, size.height_px);
            let side = 1..=MAX_SIDE_PX;
            let pixels = u64::from(width_px) * u64::from(height_px);
            if !side.contains(&width_px) || !side.contains(&height_px) || pixels > MAX_PIXELS {
                return Err(RendererError::Picture { width_px, height_px });
            }
        }
        let asked = Asked::Picture { size, pixels: self.limits.pixels };
        let (response, body) = self.ask(&Request::Page { number, asked }, Some(&asked), &[])?;
        match response {
            Response::Picture { width_px, height_px, .. } => {
                // Within the canvas: the sides were checked.
                let bytes = width_px as usize * height_px as usize * 3;
                let rgb = match &self.canvas {
                    Some(canvas) => canvas.read(bytes),
                    None => Some(body),
                };
                match rgb.map(|rgb| PageImage::new(width_px, height_px, rgb)) {
                    Some(Ok(image)) => Ok(image),
                    _ => Err(self.nonsense("a picture of another size")),
                }
            }
            Response::NoPage { failure } => Err(RendererError::Page(failure)),
            _ => Err(self.nonsense("no answer to a page")),
        }
    }

    fn ask(
        &mut self,
        request: &Request,
        asked: Option<&Asked>,
        body: &[u8],
    ) -> Result<(Response, Vec<u8>), RendererError> {
        let bounds = match (request, asked) {
            (Request::Open { .. }, _) => Bounds::opened(),
            (&Request::Attached { bytes, .. }, _) => {
                Bounds::response(0, usize::try_from(bytes).unwrap_or(usize::MAX))
            }
            (_, Some(Asked::Text { bytes })) => Bounds::response(*bytes, 0),
            (_, Some(Asked::Areas)) => Bounds::areas(),
            (_, Some(Asked::Words)) => Bounds::words(),
            (_, Some(Asked::Picture { .. })) if self.canvas.is_none() => {
                Bounds::response(0, CANVAS_BYTES)
            }
            _ => Bounds::response(0, 0),
        };
        self.under_watch(asked, |this| {
            send(&mut this.requests, request, body)?;
            receive(&mut this.responses, bounds)
        })
    }

    /// Runs an exchange that the watch ends, by killing the worker, when the time is over. What
    /// comes back is an answer to what was `asked`.
    fn under_watch(
        &mut self,
        asked: Option<&Asked>,
        exchange: impl FnOnce(&mut Self) -> io::Result<Option<(Response, Vec<u8>)>>,
    ) -> Result<(Response, Vec<u8>), RendererError> {
        self.child.arm(self.limits.page_time);
        let answer = exchange(self);
        self.child.disarm();
        match answer {
            Ok(Some(answer)) => match answer.0.check(asked) {
                Ok(()) => Ok(answer),
                Err(what) => Err(self.nonsense(what)),
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(self.nonsense(&error.to_string()))
            }
            Ok(None) | Err(_) => Err(self.died()),
        }
    }

    /// Ends the worker, which cannot be trusted any more.
    fn nonsense(&mut self, what: &str) -> RendererError {
        self.child.kill();
        RendererError::Nonsense { what: what.into() }
    }

    fn died(&mut self) -> RendererError {
        match self.child.ended() {
            Some(Ended::TimedOut) => {
                RendererError::Timeout { seconds: self.limits.page_time.as_secs() }
            }
            Some(Ended::Stopped) => RendererError::Stopped,
            None => {
                let status = self.child.status();
                let status = status.map_or("no answer".into(), |status| status.to_string());
                RendererError::Died { status, megabytes: self.limits.worker_bytes >> 20 }
            }
        }
    }
}

#[cfg(unix)]
fn page_bytes() -> u64 {
    // SAFETY: takes an integer and reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(not(unix))]
fn page_bytes() -> u64 {
    4096
}
