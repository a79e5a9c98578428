//! Where the name of a server leads: looked up by the keeper's thread, read by the workers.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::config::UpstreamAddress;

/// The last good answer for a name. Empty and `asked`: there has been none yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub addresses: Arc<[SocketAddr]>,
    /// Priority and weight of each address that came from an SRV record; empty for others.
    pub ranks: Arc<[(u16, u16)]>,
    /// The name has been looked up, with or without an answer.
    pub asked: bool,
}

/// A name and its answer.
#[derive(Debug)]
pub(super) struct Name {
    pub answer: watch::Sender<Answer>,
    /// A connection failed: the name may have moved.
    pub again: Notify,
}

impl Name {
    /// `None` for addresses that are no names. `localhost` is both loopback addresses, whatever the system says: development
    /// servers listen on either.
    pub fn of(address: &UpstreamAddress) -> Option<Arc<Name>> {
        let is_name = match address {
            UpstreamAddress::Tcp { host, .. } => {
                !host.eq_ignore_ascii_case("localhost") && host.parse::<std::net::IpAddr>().is_err()
            }
            UpstreamAddress::Srv(_) => true,
            UpstreamAddress::Unix(_) | UpstreamAddress::Builtin => false,
        };
        is_name.then(|| Arc::new(Name { answer: watch::Sender::new(Answer::default()), again: Notify::new() }))
    }

    /// What a worker or a check keeps of the name.
    pub fn subscribe(self: &Arc<Name>) -> Following {
        let mut receiver = self.answer.subscribe();
        let addresses = receiver.borrow_and_update().addresses.clone();
        Following { name: self.clone(), receiver, addresses }
    }
}

/// One worker's side of a name: no lock is touched until the answer has changed.
#[derive(Debug)]
pub(super) struct Following {
    name: Arc<Name>,
    receiver: watch::Receiver<Answer>,
    addresses: Arc<[SocketAddr]>,
}

impl Following {
    /// The addresses, when they are others than before.
    pub fn changed(&mut self) -> Option<Arc<[SocketAddr]>> {
        if !self.receiver.has_changed().unwrap_or(false) {
            return None;
        }
        let addresses = self.receiver.borrow_and_update().addresses.clone();
        let changed = addresses != self.addresses;
        self.addresses.clone_from(&addresses);
        changed.then_some(addresses)
    }

    /// The addresses as they are known.
    pub fn addresses(&self) -> &Arc<[SocketAddr]> {
        &self.addresses
    }

    /// A receiver to wait with.
    pub fn receiver(&self) -> watch::Receiver<Answer> {
        self.receiver.clone()
    }

    /// Has the name looked up again soon.
    pub fn ask_again(&self) {
        self.name.again.notify_one();
    }
}
