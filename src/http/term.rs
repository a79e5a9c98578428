//! How long a request may go on: as long as the config has what it began under, and a grace after a reload has changed that.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use crate::error::Why;

/// The term of one thing that requests depend on (a listener, a route, a server), on one worker. It is the same in every
/// generation that has the thing unchanged.
#[derive(Debug, Default)]
pub struct Term {
    /// When it will be over, once a reload has taken the thing away.
    notice: Cell<Option<Instant>>,
    over: Cell<Option<Why>>,
    ended: Cell<usize>,
}

impl Term {
    /// It will be over at `at`, unless it is [kept](Term::keep).
    pub fn give_notice(&self, at: Instant) {
        self.notice.set(Some(at));
    }

    /// The thing is back as it was. False when that is too late.
    pub fn keep(&self) -> bool {
        self.notice.set(None);
        self.over.get().is_none()
    }

    /// Whether it is to be over at `at`: nobody has kept it, or moved its end, since.
    pub fn ends_at(&self, at: Instant) -> bool {
        self.notice.get() == Some(at)
    }

    /// Whoever depends on it ends when it is polled next.
    pub fn end(&self, why: Why) {
        self.over.set(Some(why));
    }

    pub fn is_over(&self) -> bool {
        self.over.get().is_some()
    }

    /// Requests that it has ended.
    pub fn ended(&self) -> usize {
        self.ended.get()
    }
}

/// What one request depends on.
#[derive(Debug, Default)]
pub struct Standing {
    /// The listener its connection came in by.
    door: Option<Rc<Term>>,
    route: OnceCell<Rc<Term>>,
    /// The server of the last attempt.
    server: RefCell<Option<Rc<Term>>>,
    ended: Cell<bool>,
}

impl Standing {
    /// A request on a connection that came in by `door`.
    pub fn new(door: Option<Rc<Term>>) -> Standing {
        Standing { door, ..Standing::default() }
    }

    /// It has met its route.
    pub fn on_route(&self, term: &Rc<Term>) {
        self.route.get_or_init(|| term.clone());
    }

    /// It goes to a server.
    pub fn at_server(&self, term: &Rc<Term>) {
        self.server.replace(Some(term.clone()));
    }

    /// Why the request has to end, once something that it depends on is over. To be asked whenever its task is polled: the
    /// task is woken.
    pub fn over(&self) -> Option<Why> {
        let server = self.server.borrow();
        let all = [self.door.as_ref(), self.route.get(), server.as_ref()];
        let (term, why) = all.into_iter().flatten().find_map(|term| Some((term, term.over.get()?)))?;
        if !self.ended.replace(true) {
            term.ended.set(term.ended.get() + 1);
        }
        Some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_once_with_the_first_thing_it_depends_on() {
        let [door, route, old, new]: [Rc<Term>; 4] = Default::default();
        let standing = Standing::new(Some(door.clone()));
        standing.on_route(&route);
        standing.at_server(&old);
        standing.at_server(&new);
        old.end(Why::ProxyReloaded);
        assert_eq!(standing.over(), None);
        new.end(Why::ProxyReloaded);
        door.end(Why::ProxyStopped);
        assert_eq!((standing.over(), standing.over()), (Some(Why::ProxyStopped), Some(Why::ProxyStopped)));
        assert_eq!((door.ended(), route.ended(), new.ended()), (1, 0, 0));
    }

    #[test]
    fn what_comes_back_in_time_is_kept() {
        let (term, at) = (Term::default(), Instant::now());
        term.give_notice(at);
        assert!(term.ends_at(at) && term.keep() && !term.ends_at(at));
        term.give_notice(at);
        term.end(Why::ProxyReloaded);
        assert!(!term.keep());
    }
}
