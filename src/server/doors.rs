//! One worker's doors: what it accepts on, and what connections need to know of where they came in. A reload changes both
//! without closing a socket that stays.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use tokio::task::JoinHandle;

use super::accept::{self, Handed};
use super::worker::Seat;
use super::wrong_door::{self, WrongDoor};
use crate::http::Shared;
use crate::http::serve::Protocols;
use crate::proxy::Proxy;
use crate::tls::Acceptor;

/// One door of a generation, as a worker is told of it.
pub(super) struct Door {
    /// The same in every generation and on every worker while the address is listened on.
    pub id: usize,
    /// The worker's listening socket; none where it has one already.
    pub socket: Option<TcpListener>,
    /// Index into the config's listeners.
    pub index: usize,
    pub local: SocketAddr,
    /// TLS ends here.
    pub acceptor: Option<Acceptor>,
    pub protocols: Protocols,
}

/// What connections need to know of their door.
pub(super) struct Facts {
    pub index: usize,
    pub local: SocketAddr,
    pub acceptor: Option<Acceptor>,
    pub protocols: Protocols,
    pub wrong_door: Option<Rc<Shared<WrongDoor>>>,
}

/// The place where a worker's connections begin.
pub(super) struct Hall {
    pub seat: Seat,
    shared: RefCell<Rc<Shared<Proxy>>>,
    /// By id.
    doors: RefCell<Vec<Option<Open>>>,
    /// Handed over by a worker that has adopted a generation which this one has not seen yet.
    early: RefCell<Vec<Handed>>,
}

struct Open {
    facts: Rc<Facts>,
    accepting: JoinHandle<()>,
}

impl Hall {
    pub fn new(seat: Seat, shared: Rc<Shared<Proxy>>) -> Rc<Hall> {
        Rc::new(Hall { seat, shared: RefCell::new(shared), doors: RefCell::default(), early: RefCell::default() })
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
    /// those that are gone close their sockets.
    pub fn adopt(self: &Rc<Self>, doors: Vec<Door>, shared: Rc<Shared<Proxy>>) {
        self.shared.replace(shared.clone());
        let mut before = self.doors.take();
        let mut now: Vec<Option<Open>> = Vec::new();
        for door in doors {
            let Door { id, socket, index, local, acceptor, protocols } = door;
            let wrong_door = acceptor.is_some().then(|| wrong_door::shared(shared.settings.clone()));
            let facts = Rc::new(Facts { index, local, acceptor, protocols, wrong_door });
            let accepting = match (before.get_mut(id).and_then(Option::take), socket) {
                (Some(open), _) => open.accepting,
                (None, Some(socket)) => tokio::task::spawn_local(accept::accept(socket, id, local, self.clone())),
                (None, None) => continue,
            };
            if now.len() <= id {
                now.resize_with(id + 1, || None);
            }
            now[id] = Some(Open { facts, accepting });
        }
        before.into_iter().flatten().for_each(|gone| gone.accepting.abort());
        self.doors.replace(now);
        for handed in self.early.take() {
            accept::take(handed, self);
        }
    }

    /// Keeps a connection until the generation that knows its door is here.
    pub fn keep(&self, handed: Handed) {
        self.early.borrow_mut().push(handed);
    }

    /// Stops accepting.
    pub fn close(&self) {
        self.doors.take().into_iter().flatten().for_each(|open| open.accepting.abort());
        self.early.take();
    }
}
