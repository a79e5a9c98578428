//! Work that no request waits for: a thread with a runtime of its own, which begins with the first work it gets.

use std::future::Future;
use std::io;

use tokio::sync::mpsc;

/// A queue to a thread. The thread ends when its queue is closed and what it does has ended.
pub struct Background<W> {
    name: &'static str,
    work: Option<mpsc::UnboundedSender<W>>,
}

impl<W: Send + 'static> Background<W> {
    /// No thread yet; `name` is what the system calls it.
    pub fn new(name: &'static str) -> Background<W> {
        Background { name, work: None }
    }

    /// Hands over work. `run` is what the thread does with the queue, where one must begin; it may spawn local tasks.
    ///
    /// # Errors
    /// There is no thread and none can be made.
    pub fn send<F: Future<Output = ()>>(
        &mut self,
        work: W,
        run: impl FnOnce(mpsc::UnboundedReceiver<W>) -> F + Send + 'static,
    ) -> io::Result<()> {
        let work = match &self.work {
            Some(sender) => match sender.send(work) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::SendError(work)) => work,
            },
            None => work,
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let run = move || tokio::task::LocalSet::new().block_on(&runtime, run(receiver));
        std::thread::Builder::new().name(self.name.into()).spawn(run)?;
        // The receiver is in the thread that has just begun.
        let _ = sender.send(work);
        self.work = Some(sender);
        Ok(())
    }

    /// Closes the queue: the thread ends.
    pub fn end(&mut self) {
        self.work = None;
    }
}
