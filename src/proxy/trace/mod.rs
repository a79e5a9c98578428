//! Traces: the context of W3C Trace Context, kept and continued, and spans on their way to a collector (OTLP).

mod context;
mod export;
mod protobuf;
mod span;

use std::io;

pub use self::context::Trace;
use self::export::Queue;
pub use self::export::{Exporter, Stats};
pub use self::span::Span;
use crate::config;
use crate::message::Fields;

/// Takes part in traces; cheap to clone, one a worker.
#[derive(Debug, Clone)]
pub struct Tracer {
    sample: f32,
    queue: Queue,
}

impl Tracer {
    /// Starts the thread that sends spans.
    ///
    /// # Errors
    /// The system has no room for it.
    pub fn start(settings: &config::Tracing) -> io::Result<(Tracer, Exporter)> {
        let (queue, exporter) = export::start(settings.collector.clone())?;
        Ok((Tracer { sample: settings.sample, queue }, exporter))
    }

    /// Continues the trace of a request, or begins one, and puts our context in its place (W3C Trace Context section 3.2).
    pub fn join(&self, fields: &mut Fields) -> Trace {
        let trace = Trace::of(fields, self.sample);
        trace.pass_on(fields);
        trace
    }

    /// Queues the spans of a sampled request.
    pub fn send(&self, span: &Span<'_>) {
        self.queue.send(span.encode());
    }

    /// What has become of the spans so far.
    pub fn stats(&self) -> Stats {
        self.queue.stats()
    }
}
