//! How long a request may go on: as long as the config has what it began under, and a grace after a reload has changed that.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use crate::error::Why;

thread_local! {
    /// Terms that this worker has ended.
    static ENDED: Cell<u64> = const { Cell::new(0) };
}

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
        ENDED.set(ENDED.get() + 1);
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
    route: RefCell<OnRoute>,
    /// What [`ENDED`] was when it met its route.
    since: Cell<u64>,
    /// The server of the last attempt.
    server: RefCell<Option<Rc<Term>>>,
    ended: Cell<bool>,
}

/// The term of a request's route. There may be very many routes, and most requests end before anybody has to look at it: so it
/// is left where it stands, in memory that no cache has.
#[derive(Debug, Default)]
enum OnRoute {
    #[default]
    None,
    /// By its place in the list of its generation.
    Listed(Rc<Vec<Rc<Term>>>, usize),
    Own(Rc<Term>),
}

impl Standing {
    /// A request on a connection that came in by `door`.
    pub fn new(door: Option<Rc<Term>>) -> Standing {
        Standing { door, ..Standing::default() }
    }

    /// It has met its route, whose term is in this place and not over: it is one of the generation that is served now.
    pub fn on_route(&self, terms: &Rc<Vec<Rc<Term>>>, place: usize) {
        self.route.replace(OnRoute::Listed(terms.clone(), place));
        self.since.set(ENDED.get());
    }

    /// It may take long: it is to hold no more of its generation than the term of its route.
    pub fn settle(&self) {
        let mut route = self.route.borrow_mut();
        if let OnRoute::Listed(terms, place) = &*route {
            let own = terms.get(*place).cloned();
            *route = own.map_or(OnRoute::None, OnRoute::Own);
        }
    }

    /// It goes to a server.
    pub fn at_server(&self, term: &Rc<Term>) {
        self.server.replace(Some(term.clone()));
    }

    /// Why the request has to end, once something that it depends on is over. To be asked whenever its task is polled: the
    /// task is woken.
    pub fn over(&self) -> Option<Why> {
        let over = |term: &Rc<Term>| term.over.get().map(|why| (term.clone(), why));
        let route = || match &*self.route.borrow() {
            OnRoute::None => None,
            OnRoute::Listed(terms, place) => terms.get(*place).and_then(over),
            OnRoute::Own(term) => over(term),
        };
        // Where nothing has ended since it met its route, that is not over.
        let route = || if self.since.get() == ENDED.get() { None } else { route() };
        let server = || self.server.borrow().as_ref().and_then(over);
        let (term, why) = self.door.as_ref().and_then(over).or_else(route).or_else(server)?;
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
        standing.on_route(&Rc::new(vec![Rc::default(), route.clone()]), 1);
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
    fn a_request_ends_with_its_route_whether_it_holds_its_generation_or_the_term_alone() {
        for settled in [false, true] {
            let terms = Rc::new(vec![Rc::default(), Rc::<Term>::default()]);
            let standing = Standing::new(None);
            standing.on_route(&terms, 1);
            if settled {
                standing.settle();
            }
            assert_eq!(Rc::strong_count(&terms), if settled { 1 } else { 2 });
            terms[0].end(Why::ProxyReloaded);
            assert_eq!(standing.over(), None);
            terms[1].end(Why::ProxyReloaded);
            assert_eq!(standing.over(), Some(Why::ProxyReloaded));
            assert_eq!(terms[1].ended(), 1);
        }
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
