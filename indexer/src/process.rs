//! The parent's side of a worker: start it, ask it, and kill it when its time is over.

use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::{PageImage, PageSize};

use crate::canvas::View;
use crate::protocol::{Draw, Request, Response, receive, send};
use crate::settings::Limits;
use crate::worker::VERB;

/// A page as drawn and read by a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// Size as displayed.
    pub size: PageSize,
    /// The text layer, in its own order.
    pub text: String,
    /// The picture, when one was asked for.
    pub image: Option<PageImage>,
}

/// What went wrong with a worker or in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RendererError {
    /// The program could not be started.
    #[error("starting {program}")]
    Start {
        /// The worker program.
        program: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// libpdfium could not be loaded.
    #[error("libpdfium cannot be loaded: {reason}")]
    Library {
        /// What the loader says.
        reason: String,
    },
    /// The document cannot be opened; the worker is fine.
    #[error("{reason}")]
    Document {
        /// One line.
        reason: String,
        /// Whether a password would help.
        password: bool,
    },
    /// The page cannot be read; the worker is fine.
    #[error("{reason}")]
    Page {
        /// One line.
        reason: String,
    },
    /// The worker took longer than it may and was stopped.
    #[error("took longer than {seconds} s and was stopped")]
    Timeout {
        /// The limit, s.
        seconds: u64,
    },
    /// The worker died: a crash of the reader or the end of its memory.
    #[error("crashed the PDF reader or needed more than {megabytes} MB ({status})")]
    Died {
        /// How it ended.
        status: String,
        /// Its memory limit, MB.
        megabytes: u64,
    },
}

impl RendererError {
    /// Whether the worker must be replaced.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Document { .. } | Self::Page { .. })
    }
}

/// One worker process with at most one open document.
#[derive(Debug)]
pub struct Renderer {
    requests: ChildStdin,
    responses: BufReader<ChildStdout>,
    /// Where the worker draws; without it pictures come as bytes.
    canvas: Option<View>,
    watch: Arc<Watch>,
    limits: Limits,
}

#[derive(Debug)]
struct Watch {
    state: Mutex<WatchState>,
    changed: Condvar,
}

#[derive(Debug)]
struct WatchState {
    child: Child,
    deadline: Option<Instant>,
    timed_out: bool,
    over: bool,
}

impl Renderer {
    /// Starts `program` as a worker that loads the libpdfium at `pdfium`.
    ///
    /// # Errors
    /// [`RendererError::Start`] and [`RendererError::Library`].
    pub fn start(program: &Path, pdfium: &Path, limits: &Limits) -> Result<Self, RendererError> {
        let mut command = Command::new(program);
        command.arg(VERB).arg(pdfium).arg(limits.worker_bytes.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Ctrl-C is for the parent, which ends its workers in its own time.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let failed = |source| RendererError::Start { program: program.to_path_buf(), source };
        let canvas = View::create().ok();
        if let Some(canvas) = &canvas {
            let fd = canvas.pass_to(&mut command);
            command.arg(fd.to_string());
        }
        let mut child = command.spawn().map_err(failed)?;
        let requests = child.stdin.take().expect("stdin is piped");
        let responses = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let state = WatchState { child, deadline: None, timed_out: false, over: false };
        let watch = Arc::new(Watch { state: Mutex::new(state), changed: Condvar::new() });
        thread::spawn({
            let watch = Arc::clone(&watch);
            move || watch.run()
        });
        let mut renderer = Self { requests, responses, canvas, watch, limits: limits.clone() };
        match renderer.under_watch(|this| receive::<Response>(&mut this.responses))? {
            (Response::Opened { .. }, _) => Ok(renderer),
            (Response::NotOpened { reason, .. }, _) => Err(RendererError::Library { reason }),
            _ => Err(renderer.died()),
        }
    }

    /// Opens a document in place of the one before: its page count and title.
    ///
    /// # Errors
    /// [`RendererError::Document`] when it cannot be opened; the fatal ones when the worker ended.
    pub fn open(
        &mut self,
        bytes: &[u8],
        passwords: &[String],
    ) -> Result<(u32, Option<String>), RendererError> {
        let request = Request::Open { passwords: passwords.to_vec() };
        match self.ask(&request, bytes)?.0 {
            Response::Opened { pages, title } => Ok((pages, title)),
            Response::NotOpened { reason, password } => {
                Err(RendererError::Document { reason, password })
            }
            _ => Err(self.died()),
        }
    }

    /// Reads page `number` (1-based) and squeezes its picture to `width_px` x `height_px`, a
    /// model's input; no picture for `None`.
    ///
    /// # Errors
    /// [`RendererError::Page`]; the fatal ones when the worker ended.
    pub fn read(
        &mut self,
        number: u32,
        input: Option<(u32, u32)>,
    ) -> Result<Drawing, RendererError> {
        let draw = input.map(|(width_px, height_px)| Draw::Squeezed { width_px, height_px });
        self.page(number, self.limits.text_bytes, draw)
    }

    /// Draws page `number` (1-based) `width_px` wide, in its own shape.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn draw(&mut self, number: u32, width_px: u32) -> Result<PageImage, RendererError> {
        self.picture(number, Draw::Width(width_px))
    }

    /// Draws page `number` (1-based) for OCR.
    pub(crate) fn scan(&mut self, number: u32, dpi: u32) -> Result<PageImage, RendererError> {
        self.picture(number, Draw::Dpi(dpi))
    }

    fn picture(&mut self, number: u32, draw: Draw) -> Result<PageImage, RendererError> {
        let image = self.page(number, 0, Some(draw))?.image;
        image.ok_or_else(|| RendererError::Page { reason: "no picture came back".into() })
    }

    fn page(
        &mut self,
        number: u32,
        text_bytes: usize,
        draw: Option<Draw>,
    ) -> Result<Drawing, RendererError> {
        let (response, body) = self.ask(&Request::Page { number, text_bytes, draw }, &[])?;
        match response {
            Response::Page { width_pt, height_pt, text, width_px, height_px } => {
                let size = PageSize { width_pt, height_pt };
                let wrong =
                    |e: pagesight_core::ImageError| RendererError::Page { reason: e.to_string() };
                let bytes =
                    (width_px as usize).saturating_mul(height_px as usize).saturating_mul(3);
                let rgb = match &self.canvas {
                    Some(canvas) => canvas.read(bytes).ok_or_else(|| self.died())?,
                    None => body,
                };
                let image = match draw {
                    None => None,
                    Some(_) => Some(PageImage::new(width_px, height_px, rgb).map_err(wrong)?),
                };
                Ok(Drawing { size, text, image })
            }
            Response::NoPage { reason } => Err(RendererError::Page { reason }),
            _ => Err(self.died()),
        }
    }

    fn ask(
        &mut self,
        request: &Request,
        body: &[u8],
    ) -> Result<(Response, Vec<u8>), RendererError> {
        self.under_watch(|this| {
            send(&mut this.requests, request, body)?;
            receive::<Response>(&mut this.responses)
        })
    }

    /// Runs an exchange that the watch ends, by killing the worker, when the time is over.
    fn under_watch(
        &mut self,
        exchange: impl FnOnce(&mut Self) -> io::Result<Option<(Response, Vec<u8>)>>,
    ) -> Result<(Response, Vec<u8>), RendererError> {
        self.watch.set(Some(Instant::now() + self.limits.page_time));
        let answer = exchange(self);
        self.watch.set(None);
        match answer {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(self.died()),
        }
    }

    fn died(&mut self) -> RendererError {
        let mut state = self.watch.state.lock().expect("no panic under the lock");
        if state.timed_out {
            return RendererError::Timeout { seconds: self.limits.page_time.as_secs() };
        }
        // It may be alive and talk nonsense.
        let ended = state.child.try_wait().ok().flatten();
        let status = ended.map_or_else(
            || {
                thread::sleep(Duration::from_millis(20));
                let _ = state.child.kill();
                state.child.wait().map_or("no answer".into(), |status| status.to_string())
            },
            |status| status.to_string(),
        );
        RendererError::Died { status, megabytes: self.limits.worker_bytes >> 20 }
    }
}

impl Drop for Renderer {
    fn drop(&mut self) {
        let mut state = self.watch.state.lock().expect("no panic under the lock");
        state.over = true;
        let _ = state.child.kill();
        let _ = state.child.wait();
        self.watch.changed.notify_all();
    }
}

impl Watch {
    fn set(&self, deadline: Option<Instant>) {
        let mut state = self.state.lock().expect("no panic under the lock");
        state.deadline = deadline;
        self.changed.notify_all();
    }

    fn run(&self) {
        let mut state = self.state.lock().expect("no panic under the lock");
        while !state.over {
            state = match state.deadline {
                None => self.changed.wait(state).expect("no panic under the lock"),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        state.timed_out = true;
                        state.deadline = None;
                        let _ = state.child.kill();
                        state
                    } else {
                        let waited = self.changed.wait_timeout(state, left);
                        waited.expect("no panic under the lock").0
                    }
                }
            };
        }
    }
}
