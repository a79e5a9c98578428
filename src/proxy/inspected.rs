//! What the inspector is told of one request, gathered on its way.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::error::Why;
use crate::http::{Ended, OnEnd, Request, Response};
use crate::inspect::{Entry, Head, Recorder, Times, text};
use crate::message::ResponseHead;
use crate::route::Found;
use crate::snapshot::Snapshot;
use crate::upstream::Outgoing;

pub(super) struct Inspected {
    recorder: Arc<Recorder>,
    snapshot: Arc<Snapshot>,
    entry: Entry,
    began: Instant,
    /// When the last attempt began, and when it had a connection.
    attempted: Option<Instant>,
    connected: Option<Instant>,
    /// The client is told the times: the site is a development one.
    says_times: bool,
}

impl Inspected {
    /// `None` where the inspector is off or has no room: then nothing is gathered.
    pub fn begin(snapshot: &Arc<Snapshot>, request: &Request) -> Option<Box<Inspected>> {
        let recorder = snapshot.recorder.as_ref()?;
        if !recorder.has_room() {
            return None;
        }
        let (head, conn) = (&request.head, &request.conn);
        let (method, version) = (head.method.as_str().to_string(), head.version.as_str());
        let target = recorder.masks.url(&text(head.target()));
        let received = Head::new(format!("{method} {target} {version}"), &head.fields, &recorder.masks);
        let entry = Entry {
            at: SystemTime::now(),
            id: String::new(),
            peer: conn.peer,
            local_port: conn.local_port.clone(),
            tls: conn.tls.clone(),
            method,
            host: text(head.authority()),
            target,
            version,
            received,
            forwarded: None,
            answered: None,
            sent: Head::default(),
            status: 0,
            why: None,
            site: None,
            route: None,
            server: None,
            attempts: 0,
            times: Times { tls: conn.handshake, ..Times::default() },
            bytes: 0,
        };
        let (recorder, snapshot) = (recorder.clone(), snapshot.clone());
        let (attempted, connected) = (None, None);
        Some(Box::new(Inspected {
            recorder,
            snapshot,
            entry,
            began: Instant::now(),
            attempted,
            connected,
            says_times: false,
        }))
    }

    pub fn meet(&mut self, found: Found) {
        let Some(site) = self.snapshot.config.sites.get(found.site) else { return };
        self.entry.site = Some(site.host.to_string());
        self.entry.route = site.routes.get(found.route).map(|route| route.path.to_string());
        self.says_times = self.snapshot.dev.get(found.site).copied().unwrap_or(false);
    }

    pub fn attempt(&mut self, server: &str) {
        let now = Instant::now();
        self.entry.times.route = now - self.began;
        self.attempted = Some(now);
        self.entry.attempts += 1;
        self.entry.server = Some(server.into());
    }

    pub fn forwarded(&mut self, outgoing: &Outgoing<'_>) {
        let now = Instant::now();
        self.connected = Some(now);
        self.entry.times.connect = self.attempted.map(|attempted| now - attempted).unwrap_or_default();
        let mut bytes = Vec::new();
        outgoing.write(&mut bytes, self.entry.server.as_deref().unwrap_or_default());
        self.entry.forwarded = Some(Head::of_bytes(&bytes, &self.recorder.masks));
    }

    pub fn answered(&mut self, head: &ResponseHead) {
        self.entry.times.first_byte = self.connected.map(|connected| connected.elapsed()).unwrap_or_default();
        let start = format!("{} {}", head.version.as_str(), head.status);
        self.entry.answered = Some(Head::new(start, &head.fields, &self.recorder.masks));
    }

    /// Puts the times into the response where the client is told, and hands the entry over at the end.
    pub fn attach(mut self: Box<Self>, mut response: Box<Response>, why: Option<Why>, id: String) -> Box<Response> {
        if self.entry.attempts == 0 {
            self.entry.times.route = self.began.elapsed();
        }
        if self.says_times {
            response.fields.push(b"Server-Timing", self.server_timing().as_bytes());
        }
        let Inspected { recorder, mut entry, began, .. } = *self;
        entry.status = response.status;
        entry.why = why;
        entry.id = id;
        entry.sent = Head::new(format!("{} {}", entry.version, response.status), &response.fields, &recorder.masks);
        response.on_end = Some(OnEnd(Box::new(move |ended: Ended| {
            entry.times.total = began.elapsed();
            entry.bytes = ended.bytes;
            entry.why = entry.why.or(ended.cut);
            recorder.send(entry);
        })));
        response
    }

    /// `Server-Timing` (W3C): browsers draw it beside the request.
    fn server_timing(&self) -> String {
        let times = &self.entry.times;
        let parts =
            [("tls", times.tls), ("route", times.route), ("connect", times.connect), ("first-byte", times.first_byte)];
        let parts = parts.into_iter().filter(|(_, time)| !time.is_zero());
        let parts: Vec<String> =
            parts.map(|(name, time)| format!("{name};dur={:.3}", time.as_secs_f64() * 1000.0)).collect();
        parts.join(", ")
    }
}
