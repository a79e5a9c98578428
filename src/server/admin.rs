//! The administration socket: HTTP on a unix socket that only its owner can open. It asks the control thread and answers
//! with JSON or text; nothing of it touches a worker's sockets.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::explain;
use crate::config::{self, Defaults};
use crate::error::Why;
use crate::http::connections::{Connections, Haste};
use crate::http::respond::{self, Format};
use crate::http::serve::{self, Protocols};
use crate::http::wire::Wire;
use crate::http::{ConnInfo, Handler, Rare, Request, Response, Settings, Shared};
use crate::message::Method;
use crate::net::Io;
use crate::snapshot::Snapshot;
use crate::tls::private_files;

/// Questions that may wait for the control thread.
const QUEUE: usize = 16;
/// Idle time of a connection here.
const IDLE: Duration = Duration::from_secs(10);

/// Where the socket of a config is; `None` where it is off, or where there is no folder for it. `source` names the config:
/// several that run on one machine have a socket each.
pub fn socket_path(setting: &config::AdminSocket, source: &str) -> Option<PathBuf> {
    match setting {
        config::AdminSocket::Off => None,
        config::AdminSocket::Path(path) => Some(path.clone()),
        config::AdminSocket::Auto => {
            let name = format!("admin-{:08x}.sock", short_hash(source));
            runtime_folder(|name| std::env::var_os(name)).map(|folder| folder.join(name))
        }
    }
}

/// The state folder of a container, the runtime folder of a service or a user, else root's own.
fn runtime_folder(var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| private_files::folder_in(var(name));
    folder("VESTIBULE_STATE_DIR")
        .or_else(|| folder("RUNTIME_DIRECTORY"))
        .or_else(|| folder("XDG_RUNTIME_DIR").map(|folder| folder.join("vestibule")))
        .or_else(|| rustix::process::geteuid().is_root().then(|| "/run/vestibule".into()))
}

/// FNV-1a: the same in every build, unlike the standard library's.
fn short_hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What is asked of the control thread.
#[derive(Debug)]
pub(super) enum Question {
    Status,
    Reload,
    /// Everything a reload does before it changes something.
    DryRun,
    /// What would happen to a request.
    Explain(Box<explain::Asked>),
    /// What the inspector shows.
    Look,
    /// A reload that is undone after this time unless it is confirmed.
    Trial(Duration),
    Confirm,
    /// Back to this generation, or to the last one.
    Rollback(Option<u64>),
    Upgrade,
}

impl Question {
    /// The question that a request asks.
    fn of(method: &Method, target: &[u8]) -> Option<Question> {
        let target = std::str::from_utf8(target).ok()?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Some(match (method, path, query) {
            (&Method::GET, "/status", "") => Question::Status,
            (&Method::POST, "/reload", "") => Question::Reload,
            (&Method::POST, "/reload", "dry_run") => Question::DryRun,
            (&Method::POST, "/reload", query) => {
                Question::Trial(Duration::from_secs(query.strip_prefix("confirm=")?.parse().ok()?))
            }
            (&Method::POST, "/confirm", "") => Question::Confirm,
            (&Method::POST, "/rollback", "") => Question::Rollback(None),
            (&Method::POST, "/rollback", query) => {
                Question::Rollback(Some(query.strip_prefix("generation=")?.parse().ok()?))
            }
            (&Method::POST, "/upgrade", "") => Question::Upgrade,
            _ => return None,
        })
    }
}

/// A question and where its answer goes.
pub(super) struct Ask {
    pub question: Question,
    pub reply: oneshot::Sender<Reply>,
}

/// The control thread's answer: JSON or text.
pub(super) enum Reply {
    Json(String),
    Done(String),
    /// What stands in the way; nothing was changed.
    Refused(String),
    Seen(Box<Seen>),
}

/// What the inspector sees of the process.
pub struct Seen {
    pub snapshot: Arc<Snapshot>,
    /// As `vestibule status --json` shows it.
    pub status: serde_json::Value,
    /// Index of the listener, and the address it has.
    pub doors: Vec<(usize, SocketAddr)>,
    /// The root of the development CA, where it is in use.
    pub dev_root: Option<CertificateDer<'static>>,
}

/// Asks the control thread, from any thread.
#[derive(Clone)]
pub struct Asker(pub(super) mpsc::Sender<Ask>);

impl Asker {
    /// What the process looks like now; `None` when it ends.
    pub async fn look(&self) -> Option<Seen> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask { question: Question::Look, reply }).await.ok()?;
        match answer.await.ok()? {
            Reply::Seen(seen) => Some(*seen),
            _ => None,
        }
    }
}

/// The questions of the administration socket and of the inspector, in one queue.
pub(super) fn questions() -> (Asker, mpsc::Receiver<Ask>) {
    let (asks, questions) = mpsc::channel(QUEUE);
    (Asker(asks), questions)
}

/// The open socket; dropping it removes the file.
pub(super) struct AdminSocket {
    path: PathBuf,
    listener: std::os::unix::net::UnixListener,
    accepting: RefCell<Option<JoinHandle<()>>>,
    /// Another process has the socket now, and the file is its own.
    given: Cell<bool>,
    open: Rc<Connections>,
}

impl AdminSocket {
    /// Opens the socket at `path`. A file that a dead process has left is replaced.
    ///
    /// # Errors
    /// Another process listens there, or the folder cannot be written.
    pub fn open(path: &Path) -> io::Result<AdminSocket> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if path.exists() {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another vestibule listens there"));
            }
            std::fs::remove_file(path)?;
        }
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        AdminSocket::adopt(path, listener)
    }

    /// Takes the socket at `path` over from another process.
    ///
    /// # Errors
    /// It is no socket.
    pub fn adopt(path: &Path, listener: std::os::unix::net::UnixListener) -> io::Result<AdminSocket> {
        listener.set_nonblocking(true)?;
        Ok(AdminSocket {
            path: path.into(),
            listener,
            accepting: RefCell::default(),
            given: Cell::new(false),
            open: Rc::default(),
        })
    }

    /// The socket and its path, for the process that takes our place.
    pub fn listening(&self) -> (&Path, BorrowedFd<'_>) {
        (&self.path, self.listener.as_fd())
    }

    /// Leaves the socket to the process that has it now.
    pub fn leave(&self) {
        self.given.set(true);
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }

    /// Waits until whoever has asked has the answer.
    pub async fn answered(&self) {
        self.open.drain(Haste::Gently);
        let gone = async {
            while self.open.open() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // One that does not read is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), gone).await;
    }

    /// Serves until the socket is left or dropped. Questions go into the queue.
    pub fn serve(&self, asks: mpsc::Sender<Ask>) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        self.accepting.replace(Some(tokio::task::spawn_local(accept(listener, asks, self.open.clone()))));
        Ok(())
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
        if !self.given.get() {
            // A file that cannot be removed is replaced at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn accept(listener: UnixListener, asks: mpsc::Sender<Ask>, open: Rc<Connections>) {
    let mut defaults = Defaults::default();
    defaults.timeouts.keep_alive = Some(IDLE);
    let settings = Settings { timeouts: defaults.timeouts, limits: defaults.limits, h2_keep_alive: IDLE };
    let shared = Rc::new(Shared::new(Rare::new(Admin { asks }), settings).counted_in(open));
    // There are no addresses on a unix socket; nothing here asks for them.
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::task::spawn_local(async move {
                    let _place = shared.connections.enter();
                    let conn = Rc::new(ConnInfo::new(nobody, nobody, 0, None));
                    let wire = Wire::new(Io::Unix(stream));
                    serve::connection(wire, conn, &shared, Protocols { h1: true, h2: false }).await;
                });
            }
            // Out of descriptors: the workers need them more.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

struct Admin {
    asks: mpsc::Sender<Ask>,
}

impl Admin {
    async fn ask(&self, question: Question) -> Box<Response> {
        let (reply, answer) = oneshot::channel();
        if self.asks.send(Ask { question, reply }).await.is_err() {
            return respond::own(503, TEXT, "stopping\n".into());
        }
        match answer.await {
            Ok(Reply::Json(text)) => respond::own(200, "application/json", text.into()),
            Ok(Reply::Done(text)) => respond::own(200, TEXT, text.into()),
            Ok(Reply::Refused(text)) => respond::own(422, TEXT, text.into()),
            Ok(Reply::Seen(_)) | Err(_) => respond::own(503, TEXT, "stopping\n".into()),
        }
    }
}

impl Handler for Admin {
    async fn handle(&self, request: Request) -> Box<Response> {
        let head = &request.head;
        if head.method == Method::GET && head.target().starts_with(b"/explain?") {
            return match explain::Asked::read(head.target()) {
                Ok(asked) => self.ask(Question::Explain(Box::new(asked))).await,
                Err(why) => respond::own(422, TEXT, format!("{why}\n").into()),
            };
        }
        let Some(question) = Question::of(&head.method, head.target()) else {
            return respond::own(404, TEXT, QUESTIONS.into());
        };
        self.ask(question).await
    }

    fn refuse(&self, _: &Rc<ConnInfo>, why: Why) -> Box<Response> {
        respond::error(why, Format::Text, "-")
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const QUESTIONS: &str = "GET /status, GET /explain?url=URL, POST /reload, POST /reload?dry_run, POST /reload?confirm=SECONDS, POST /confirm, \
                         POST /rollback, POST /rollback?generation=N, POST /upgrade\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_a_dead_process_left_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/admin.sock");
        let first = AdminSocket::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(AdminSocket::open(&path).err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        // As a killed process leaves it: the file, and nobody behind it.
        first.leave();
        drop(first);
        assert!(path.exists());
        let second = AdminSocket::open(&path).unwrap();
        drop(second);
        assert!(!path.exists());
    }
}
