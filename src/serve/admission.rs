//! How many requests work at once, and how many may wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Code, Problem};

/// Places for work of one kind.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
    what: &'static str,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sets a flag when it is dropped: whoever asked has gone or has waited long enough.
pub struct StopOnDrop(pub Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Admission {
    /// `at_once` places, and `most_waiting` for those who wait; `what` is what too many of are.
    pub fn new(what: &'static str, at_once: usize, most_waiting: usize) -> Self {
        let places = Arc::new(Semaphore::new(at_once.max(1)));
        Self { places, waiting: AtomicUsize::new(0), most_waiting, what }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A place, as soon as there is one.
    ///
    /// # Errors
    /// [`Code::TooBusy`] when too many wait already.
    pub async fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.most_waiting {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            metrics::counter!("pagesight_rejected_total", "reason" => "too_busy").increment(1);
            return Err(Problem::too_busy(self.what));
        }
        let _waiting = Waiting(&self.waiting);
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| Problem::new(Code::Stopping, "the server is stopping"))
    }

    /// Runs `work`, which blocks, in a place of its own. When `deadline` is over, or whoever asked
    /// is gone, the flag that it is given is set, and it keeps its place until it ends.
    ///
    /// # Errors
    /// What `work` says, [`Code::TooBusy`], [`Code::Deadline`].
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl FnOnce(&Arc<AtomicBool>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let stop = Arc::new(AtomicBool::new(false));
        let _stop = StopOnDrop(Arc::clone(&stop));
        let done = async {
            let place = self.enter().await?;
            let ended = tokio::task::spawn_blocking(move || {
                let _place = place;
                work(&stop)
            });
            match ended.await {
                Ok(done) => done,
                Err(error) => Err(Problem::internal(format!("a panic: {error}"))),
            }
        };
        match tokio::time::timeout(deadline, done).await {
            Ok(done) => done,
            Err(_) => {
                let detail = format!("not done within {} s: ask for less", deadline.as_secs_f64());
                Err(Problem::new(Code::Deadline, detail))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn too_many_are_sent_away_and_the_late_are_stopped() {
        let admission = Arc::new(Admission::new("searches", 1, 1));
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let hour = Duration::from_secs(3600);
        let first = Arc::clone(&admission);
        let first =
            tokio::spawn(async move { first.run(hour, move |_| Ok(wait.recv().is_ok())).await });
        while admission.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let second = Arc::clone(&admission);
        let second = tokio::spawn(async move { second.run(hour, |_| Ok(2)).await });
        while admission.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let third = admission.run(hour, |_| Ok(3)).await;
        assert_eq!(third.unwrap_err().code, Code::TooBusy);
        release.send(()).unwrap();
        assert!(first.await.unwrap().unwrap());
        assert_eq!((second.await.unwrap().unwrap(), admission.waiting()), (2, 0));
        // The one whose time is over is told to stop.
        let (say, hear) = std::sync::mpsc::channel();
        let late = admission.run(Duration::from_millis(20), move |stop| {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            say.send(()).unwrap();
            Ok(())
        });
        assert_eq!(late.await.unwrap_err().code, Code::Deadline);
        hear.recv_timeout(Duration::from_secs(10)).unwrap();
        let panicked: Result<(), _> = admission.run(hour, |_| panic!("on purpose")).await;
        assert_eq!(panicked.unwrap_err().code, Code::Internal);
    }
}
