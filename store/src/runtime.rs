//! The one place where blocking callers and async work meet.
//!
//! Lance is async. Everything async of this crate runs on one tokio runtime of the process. It is
//! made when it is first needed and never dropped: an index that owned a runtime could not be
//! dropped in async code, where dropping a runtime panics.

use std::future::Future;
use std::io;
use std::sync::OnceLock;
use std::thread;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::StoreError;

/// The runtime of the process.
///
/// # Errors
/// [`StoreError::Threads`] when the system gives no threads for it.
pub(crate) fn runtime() -> Result<&'static Runtime, StoreError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = Builder::new_multi_thread().enable_all().thread_name("pagesight-store").build();
    if let Err(second) = RUNTIME.set(made.map_err(|source| StoreError::Threads { source })?) {
        // Another thread was first. This may be async code, where a plain drop would panic.
        second.shutdown_background();
    }
    Ok(RUNTIME.get().expect("set above, here or by another thread"))
}

/// Waits for `work`, which runs on the runtime of the process. The calling thread blocks; it may be
/// any thread: one of no runtime, or one inside any tokio runtime, where tokio itself refuses to
/// block and another thread therefore waits in its place.
///
/// # Errors
/// Those of `work`, and [`StoreError::Threads`].
///
/// # Panics
/// When `work` panics.
pub(crate) fn wait<T: Send>(
    work: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    let runtime = runtime()?;
    if Handle::try_current().is_err() {
        return runtime.block_on(work);
    }
    thread::scope(|scope| {
        let name = "pagesight-store-wait".to_string();
        let waiting = thread::Builder::new().name(name);
        let waiting = waiting.spawn_scoped(scope, || runtime.block_on(work));
        let waiting = waiting.map_err(|source: io::Error| StoreError::Threads { source })?;
        waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Work that needs the runtime's timer and its threads.
    fn waits() -> u32 {
        let work = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let other = tokio::spawn(async { tokio::task::yield_now().await });
            other.await.expect("no panic");
            Ok(7)
        };
        wait(work).expect("nothing fails")
    }

    #[test]
    fn a_thread_of_no_runtime_waits() {
        assert_eq!(waits(), 7);
        let threads: Vec<_> = (0..8).map(|_| thread::spawn(waits)).collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 7));
    }

    #[test]
    fn threads_of_every_kind_of_runtime_wait() {
        for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
            let runtime = builder.worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                assert_eq!(waits(), 7, "in the thread that blocks on the runtime");
                assert_eq!(tokio::spawn(async { waits() }).await.unwrap(), 7, "in a task");
                let blocking = tokio::task::spawn_blocking(waits);
                assert_eq!(blocking.await.unwrap(), 7, "in spawn_blocking");
            });
            let _entered = runtime.enter();
            assert_eq!(waits(), 7, "where a runtime is only entered");
        }
        // Another executor, which tokio does not know.
        assert_eq!(futures::executor::block_on(async { waits() }), 7);
    }

    #[test]
    fn work_on_the_runtime_itself_can_wait() {
        let nested = async {
            let inner = tokio::task::spawn_blocking(waits);
            Ok(inner.await.expect("no panic"))
        };
        assert_eq!(wait(nested).unwrap(), 7);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let panics = || wait::<()>(async { panic!("of the work") });
        assert!(std::panic::catch_unwind(panics).is_err());
        let runtime = Builder::new_current_thread().build().unwrap();
        let inside = || runtime.block_on(async { panics() });
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(inside)).is_err());
        assert_eq!(waits(), 7, "the runtime of the process goes on");
    }

    #[test]
    fn errors_reach_the_caller() {
        let fails = || {
            wait::<()>(async { Err(StoreError::Interrupted { action: "testing" }) }).unwrap_err()
        };
        assert!(matches!(fails(), StoreError::Interrupted { .. }));
        let runtime = Builder::new_current_thread().build().unwrap();
        assert!(matches!(runtime.block_on(async { fails() }), StoreError::Interrupted { .. }));
    }
}
