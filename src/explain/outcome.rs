//! The answer to the question: the code that serves decides, and what it made of the request is written down.

use super::steps::{self, Watcher};
use super::{Answer, Explanation, Place};
use crate::config::Action;
use crate::error::Why;
use crate::filter::{Chain, Notes, Step, Verdict, challenge};
use crate::http::{ConnInfo, Response};
use crate::message::{Fields, RequestHead};
use crate::proxy::{self, Early, Entry, Outcome, forward};
use crate::snapshot::View;
use crate::upstream::{Cluster, Outgoing};

/// A request under way.
struct Way<'a> {
    view: &'a View,
    conn: &'a ConnInfo,
    head: RequestHead,
    watcher: Watcher,
    notes: Notes,
}

impl Explanation {
    /// Lets the request be decided, and writes what a server would get.
    pub(super) fn decide(&mut self, view: &View, conn: &ConnInfo, head: RequestHead) {
        let own = |by, response: &Response| Answer::Own { by, status: response.status, fields: fields(response) };
        if proxy::is_health_check(conn, &head) {
            self.answer = own("health", &Response::new(200));
            return;
        }
        if let Some(challenges) = &view.snapshot.challenges
            && let Some(response) = challenge::answer(challenges, conn, &head)
        {
            self.answer = own("challenge", &response);
            return;
        }
        let watcher = Watcher::new(&head);
        let mut way = Way { view, conn, head, watcher, notes: Notes::default() };
        let entry = proxy::enter(view, conn, &mut way.head, &mut way.watcher);
        let client = way.watcher.client.as_ref();
        self.client = client.map(|client| (client.ip.to_string(), if client.https { "https" } else { "http" }));
        self.answer = match entry {
            Err(why) => Answer::Refused { why, fields: Vec::new() },
            Ok(mut entry) => match entry.early.take() {
                Some((Early::Door, response)) => own("door", &response),
                Some((Early::Alias, response)) => own("alias", &way.leave(&entry, response)),
                None => {
                    let answer = way.through(&entry, &mut self.steps);
                    answer.unwrap_or_else(|why| way.refused(&entry, why, &Fields::default()))
                }
            },
        };
    }
}

impl Way<'_> {
    /// The filters, and what the route is for.
    fn through(&mut self, entry: &Entry<'_>, steps: &mut Vec<Step>) -> Result<Answer, Why> {
        steps.extend(self.watcher.steps());
        if let Some(chain) = entry.chain {
            let (verdict, said) = chain.dry_run(&mut self.head, &entry.client, &mut self.notes);
            steps.extend(said);
            match verdict {
                Verdict::Pass => {}
                // The one filter that answers by itself: who is asked elsewhere is not asked now.
                Verdict::Answer(response) => return Ok(self.own("cors", entry, response)),
                Verdict::Refuse(why, fields) => return Ok(self.refused(entry, why, &fields)),
            }
        }
        let outcome = proxy::act(entry, self.conn, &mut self.head, &self.watcher);
        let Outcome::Own(mut response) = (match outcome? {
            Outcome::Forward(_, cluster) => return self.forward(entry, cluster, steps),
            own @ Outcome::Own(_) => own,
        }) else {
            return Err(Why::RouteNoRoute);
        };
        proxy::finish(entry, self.conn, &self.head, &mut response, &self.watcher);
        let by = if matches!(entry.route()?.action, Action::Redirect(_)) { "redirect" } else { "respond" };
        Ok(self.own(by, entry, response))
    }

    fn forward(&mut self, entry: &Entry<'_>, cluster: &Cluster, steps: &mut Vec<Step>) -> Result<Answer, Why> {
        let route = entry.route()?;
        steps::rules(route, &self.head, steps);
        forward::prepare(route.settings.limits.body, &mut self.head)?;
        if route.settings.buffer_request {
            let what = "reads the whole body first, and states its length".to_owned();
            steps.push(Step { by: "buffer_request", what });
        }
        let target = entry.target(&self.head)?;
        steps.extend(steps::target(route, &self.head, &target));
        let outgoing = Outgoing { head: &self.head, target: &target, host: &cluster.host_header };
        let bytes = match cluster.endpoints.first() {
            Some(endpoint) => outgoing.as_sent_to(endpoint)?,
            None => Vec::new(),
        };
        let mut response = Response::new(200);
        proxy::finish(entry, self.conn, &self.head, &mut response, &self.watcher);
        steps.extend(entry.chain.iter().flat_map(|chain| chain.outlook(&self.notes, entry.client.https)));
        let upstream = self.view.snapshot.config.upstreams.iter().find(|there| there.name == cluster.name);
        Ok(Answer::Forward {
            upstream: Place {
                name: cluster.name.clone(),
                origin: upstream.map(|upstream| upstream.origin.clone()).unwrap_or_default(),
            },
            balance: upstream.map_or("", |upstream| steps::balance(&upstream.balance)),
            servers: upstream.map(steps::servers).unwrap_or_default(),
            head: bytes,
            fields: fields(&self.leave(entry, response)),
        })
    }

    fn own(&self, by: &'static str, entry: &Entry<'_>, response: Box<Response>) -> Answer {
        let response = self.leave(entry, response);
        Answer::Own { by, status: response.status, fields: fields(&response) }
    }

    fn refused(&self, entry: &Entry<'_>, why: Why, with: &Fields) -> Answer {
        let mut response = Response::new(why.status());
        with.iter().for_each(|field| response.fields.push(field.name, field.value));
        Answer::Refused { why, fields: fields(&self.leave(entry, response)) }
    }

    /// The way back through the filters.
    fn leave(&self, entry: &Entry<'_>, mut response: Box<Response>) -> Box<Response> {
        let back = |chain: &Chain| chain.response(&self.notes, &self.head, entry.client.https, &mut response);
        entry.chain.into_iter().for_each(back);
        response
    }
}

fn fields(response: &Response) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // When it is said is no part of what is said.
    let lasting = response.fields.iter().filter(|field| !field.name.eq_ignore_ascii_case(b"date"));
    lasting.map(|field| (text(field.name), text(field.value))).collect()
}
