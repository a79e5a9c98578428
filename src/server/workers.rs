//! The workers as the control thread sees them: what they report, whether they are alive, and how one that has panicked
//! begins anew.

use tokio::sync::mpsc;

use super::build::{acceptors, generation};
use super::control::{Control, sockets};
use super::status::Report;
use super::worker::Handle;

impl Control {
    /// What each worker says of itself; asked all at once, so that one that hangs costs its own wait only.
    pub(super) async fn reports(&self) -> Vec<Option<Report>> {
        let asked: Vec<_> = self.workers.iter().map(Handle::report).collect();
        let mut reports = Vec::new();
        for report in asked {
            reports.push(report.await);
        }
        reports
    }

    /// Tells the service manager that the workers are alive, when they are.
    pub async fn watchdog(&self) {
        if self.reports().await.iter().all(Option::is_some) {
            self.systemd.alive();
        } else {
            tracing::error!("a worker does not answer: the service manager is not told that all is well");
        }
    }

    /// The numbers of workers that have panicked, for the one that raises them.
    pub fn take_fallen(&mut self) -> mpsc::UnboundedReceiver<usize> {
        std::mem::replace(&mut self.fallen, mpsc::unbounded_channel().1)
    }

    /// Lets a worker that has panicked begin anew.
    pub fn raise(&mut self, worker: usize) {
        let begin = acceptors(&self.snapshot, &self.doors, &self.tickets).and_then(|acceptors| {
            let place = (worker, self.count);
            let sinks = self.outputs.sinks(&self.snapshot);
            generation(&self.snapshot, &sinks, &self.doors, &acceptors, place, true).map_err(sockets)
        });
        match (begin, self.workers.get(worker)) {
            (Ok(generation), Some(handle)) => {
                self.restarts += 1;
                tracing::error!("worker {worker} has panicked, its connections are lost: it begins anew");
                handle.adopt(generation);
            }
            (Err(error), _) => {
                tracing::error!("worker {worker} has panicked and cannot begin anew: {}", self.text(&error))
            }
            (Ok(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::path::Path;
    use std::sync::Arc;

    use super::super::worker::Command;
    use super::*;
    use crate::config;
    use crate::http::connections::Haste;

    fn ask(address: SocketAddr) -> String {
        let mut tcp = TcpStream::connect(address).unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_worker_that_panics_begins_anew_and_takes_the_connections_that_waited() {
        let text = "server.workers = 1\n[listeners]\nhttp = \"127.0.0.1:0\"\nhttps = \"off\"\n\
                    [sites.\"a.localhost\"]\nhttp = \"serve\"\nrespond = { status = 200, body = \"here\" }\n";
        let loaded = config::parse("t", text, Path::new("")).unwrap();
        let bound = super::super::bind(&loaded.config).unwrap();
        let address = bound.addresses().next().unwrap().1;
        let mut control = Control::start(loaded, Arc::default(), bound.doors, bound.workers, None, false).unwrap();
        assert!(ask(address).ends_with("here"));
        let mut fallen = control.take_fallen();
        control.workers[0].tell(Command::Panic);
        let number = fallen.blocking_recv().unwrap();
        // The kernel takes it, and nobody serves it yet.
        let waiting = std::thread::spawn(move || ask(address));
        control.raise(number);
        assert!(waiting.join().unwrap().ends_with("here"));
        assert!(ask(address).ends_with("here"));
        assert_eq!(control.restarts, 1);
        control.stop(Haste::Now);
    }
}
