//! One worker's doors: what it accepts on, and what connections need to know of where they came in. A reload changes both
//! without closing a socket that stays.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpListener};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::accept::{self, Handed};
use super::worker::Seat;
use super::wrong_door;
use crate::config::ProxyProtocol;
use crate::http::serve::Protocols;
use crate::http::term::Term;
use crate::http::{Rare, Shared};
use crate::proxy::Proxy;
use crate::tls::Acceptor;

/// One door of a generation, as a worker is told of it.
pub(super) struct Door {
    /// The same in every generation and on every worker while the address is listened on.
    pub id: usize,
    /// The worker's listening sockets; none where it has them already.
    pub sockets: Vec<TcpListener>,
    /// Index into the config's listeners.
    pub index: usize,
    pub local: SocketAddr,
    /// TLS ends here.
    pub acceptor: Option<Acceptor>,
    pub protocols: Protocols,
    /// Whose PROXY protocol header is read.
    pub proxy_protocol: Option<Arc<ProxyProtocol>>,
    /// Somebody asks for the exact address a client connected to, not only for the one that is bound.
    pub exact_local: bool,
}

/// What connections need to know of their door.
pub(super) struct Facts {
    pub index: usize,
    pub local: SocketAddr,
    pub acceptor: Option<Acceptor>,
    pub protocols: Protocols,
    pub proxy_protocol: Option<Arc<ProxyProtocol>>,
    pub exact_local: bool,
    /// Till the door is gone, and a grace.
    pub term: Rc<Term>,
    pub wrong_door: Option<Rc<Shared<Rare>>>,
}

/// The place where a worker's connections begin.
pub(super) struct Hall {
    pub seat: Seat,
    shared: RefCell<Rc<Shared<Proxy>>>,
    /// By id.
    doors: RefCell<Vec<Option<Open>>>,
    /// Handed over by a worker that has adopted a generation which this one has not seen yet.
    early: RefCell<Vec<Handed>>,
    /// The terms of doors that are gone, while connections that came in there go on.
    gone: RefCell<Vec<Weak<Term>>>,
    /// Connections whose task has not begun yet.
    arriving: Rc<Cell<usize>>,
    /// Doors with lower ids have been seen; one of them that is not there is gone.
    seen: Cell<usize>,
}

/// A connection between accept and the registry; dropping it says that it has arrived.
pub(super) struct Arriving(Rc<Cell<usize>>);

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

struct Open {
    facts: Rc<Facts>,
    accepting: Vec<JoinHandle<()>>,
}

impl Hall {
    pub fn new(seat: Seat, shared: Rc<Shared<Proxy>>) -> Rc<Hall> {
        Rc::new(Hall {
            seat,
            shared: RefCell::new(shared),
            doors: RefCell::default(),
            early: RefCell::default(),
            gone: RefCell::default(),
            arriving: Rc::default(),
            seen: Cell::default(),
        })
    }

    /// Notes a connection whose task begins soon.
    pub fn arriving(&self) -> Arriving {
        self.arriving.set(self.arriving.get() + 1);
        Arriving(self.arriving.clone())
    }

    /// Connections that are open or whose task is about to begin: a burst is accepted in one go.
    pub fn busy(&self) -> usize {
        self.arriving.get() + self.shared.borrow().connections.open()
    }

    /// What new connections share.
    pub fn shared(&self) -> Rc<Shared<Proxy>> {
        self.shared.borrow().clone()
    }

    /// What is known of a door; `None` when it is closed or not open yet.
    pub fn facts(&self, id: usize) -> Option<Rc<Facts>> {
        self.doors.borrow().get(id)?.as_ref().map(|open| open.facts.clone())
    }

    /// Puts the doors of a generation in place: those that stay go on accepting with new facts, new ones are opened, and
    /// those that are gone close their sockets. Gives the terms of those.
    pub fn adopt(self: &Rc<Self>, doors: Vec<Door>, shared: Rc<Shared<Proxy>>) -> Vec<Rc<Term>> {
        self.shared.replace(shared.clone());
        let mut before = self.doors.take();
        let mut now: Vec<Option<Open>> = Vec::new();
        for door in doors {
            let Door { id, sockets, index, local, acceptor, protocols, proxy_protocol, exact_local } = door;
            let wrong_door = acceptor.is_some().then(|| wrong_door::shared(shared.settings.clone()));
            let accept = |socket| tokio::task::spawn_local(accept::accept(socket, id, local, self.clone()));
            let (accepting, term) = match before.get_mut(id).and_then(Option::take) {
                Some(open) => (open.accepting, open.facts.term.clone()),
                None if sockets.is_empty() => continue,
                None => (sockets.into_iter().map(accept).collect(), Rc::default()),
            };
            let facts = Facts { index, local, acceptor, protocols, proxy_protocol, exact_local, term, wrong_door };
            if now.len() <= id {
                now.resize_with(id + 1, || None);
            }
            now[id] = Some(Open { facts: Rc::new(facts), accepting });
            self.seen.set(self.seen.get().max(id + 1));
        }
        let gone: Vec<Open> = before.into_iter().flatten().collect();
        gone.iter().flat_map(|gone| &gone.accepting).for_each(JoinHandle::abort);
        let gone: Vec<Rc<Term>> = gone.iter().map(|gone| gone.facts.term.clone()).collect();
        let still = self.gone.take().into_iter().filter(|term| term.strong_count() > 0);
        self.gone.replace(still.chain(gone.iter().map(Rc::downgrade)).collect());
        self.doors.replace(now);
        for handed in self.early.take() {
            accept::take(handed, self);
        }
        gone
    }

    /// The terms of all doors, of those that are gone too.
    pub fn terms(&self) -> Vec<Rc<Term>> {
        let doors = self.doors.borrow();
        let open = doors.iter().flatten().map(|open| open.facts.term.clone());
        open.chain(self.gone.borrow().iter().filter_map(Weak::upgrade)).collect()
    }

    /// Keeps a connection until the generation that knows its door is here. One whose door has gone is closed.
    pub fn keep(&self, handed: Handed) {
        if handed.door() >= self.seen.get() {
            self.early.borrow_mut().push(handed);
        }
    }

    /// Stops accepting. What another worker has accepted before it stopped too is still served.
    pub fn close(&self) {
        let mut doors = self.doors.borrow_mut();
        doors.iter_mut().flatten().flat_map(|open| open.accepting.drain(..)).for_each(|accepting| accepting.abort());
        self.early.take();
    }
}
