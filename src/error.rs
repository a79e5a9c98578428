//! Why a request was refused or failed, and the one table from that to what the peer sees.
//!
//! A [`Why`] is a closed list. Its code stands in the access log, in `Proxy-Status` (RFC 9209), on the error page and in
//! `vestibule why`, so that one word can be searched everywhere.

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client sent something wrong, or left.
    Client,
    /// The configuration, a rule or a limit of this proxy.
    Proxy,
    /// A server behind the proxy.
    Upstream,
}

/// The cause of an answer that the proxy itself makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    RequestMalformed,
    RequestFraming,
    RequestHost,
    RequestTarget,
    RequestVersion,
    RequestExpectation,
    RequestConnect,
    RequestCut,
    LimitHeaderBytes,
    LimitHeaderFields,
    LimitUriBytes,
    LimitBody,
    TimeoutRequestHeader,
    TimeoutRequestBody,
    RouteNoHost,
    RouteNoRoute,
    RouteAmbiguousPath,
    AccessDenied,
    AuthRequired,
    AuthBusy,
    LimitRate,
    TlsSniMismatch,
    TlsClientCert,
    TlsUnusableCertificate,
    TlsPlainHttp,
    ProxyHeaderMissing,
    ProxyHeaderMalformed,
    ProxyHeaderTimeout,
    UpstreamRefused,
    UpstreamUnreachable,
    UpstreamDns,
    UpstreamConnectTimeout,
    UpstreamClosed,
    UpstreamClosedReused,
    UpstreamMalformed,
    UpstreamHeaderTimeout,
    UpstreamCut,
    UpstreamUpgrade,
    UpstreamQueueTimeout,
    UpstreamQueueFull,
    BufferFull,
    UpstreamNoUpgrade,
    UpstreamReset,
    UpstreamTlsHandshake,
    UpstreamTlsCertificate,
    UpstreamTlsAlpn,
    UpstreamWebsocket,
    ProxyLoop,
    ProxyCompress,
    ProxyReloaded,
    ProxyStopped,
    InspectorHost,
    InspectorOrigin,
    InspectorToken,
    InspectorMethod,
    ClientGone,
}

/// One row of the table: what a [`Why`] is called and what it becomes on the wire.
#[derive(Debug)]
pub struct Row {
    pub why: Why,
    /// The stable code, `area.cause`.
    pub code: &'static str,
    pub status: u16,
    pub fault: Fault,
    /// The error type of RFC 9209 section 2.3.
    pub proxy_status: &'static str,
    /// One sentence for a person.
    pub cause: &'static str,
    /// What to do about it, naming the config key where there is one.
    pub remedy: &'static str,
}

macro_rules! table {
    ($($why:ident $code:literal $status:literal $fault:ident $token:literal $cause:literal $remedy:literal;)*) => {
        /// Every why-code, in the order of the enum.
        pub const TABLE: &[Row] = &[$(Row {
            why: Why::$why, code: $code, status: $status, fault: Fault::$fault, proxy_status: $token,
            cause: $cause, remedy: $remedy,
        },)*];
    };
}

table! {
    RequestMalformed "request.malformed" 400 Client "http_request_error"
        "The request is not valid HTTP." "Mend the client: RFC 9112 section 2 says what a message looks like.";
    RequestFraming "request.framing" 400 Client "http_request_error"
        "The request does not say clearly where its body ends." "Send one Content-Length, or Transfer-Encoding: chunked, never both (RFC 9112 section 6.3).";
    RequestHost "request.host" 400 Client "http_request_error"
        "The request needs exactly one valid Host field." "Send one Host field (RFC 9112 section 3.2).";
    RequestTarget "request.target" 400 Client "http_request_error"
        "The request target is not valid." "Percent-encode what RFC 3986 does not allow, and send no fragment.";
    RequestVersion "request.version" 505 Client "http_request_error"
        "This HTTP version is not spoken here." "Use HTTP/1.0, HTTP/1.1 or HTTP/2.";
    RequestExpectation "request.expectation" 417 Client "http_request_error"
        "The Expect field asks for something unknown." "Only Expect: 100-continue is defined (RFC 9110 section 10.1.1).";
    RequestConnect "request.connect" 405 Client "http_request_denied"
        "CONNECT is refused: this is a reverse proxy." "Ask for the resource itself.";
    RequestCut "request.cut" 400 Client "http_request_error"
        "The request ended before its body was whole." "The client closed too early, or its Content-Length is wrong.";
    LimitHeaderBytes "limit.header_bytes" 431 Client "http_request_error"
        "The request head is too large." "Send fewer or smaller fields (often cookies), or raise limits.header_bytes.";
    LimitHeaderFields "limit.header_fields" 431 Client "http_request_error"
        "The request has too many header fields." "Send fewer fields, or raise limits.header_fields.";
    LimitUriBytes "limit.uri_bytes" 414 Client "http_request_error"
        "The request target is too long." "Send long parameters in the body of a POST, or raise limits.uri_bytes.";
    LimitBody "limit.body" 413 Client "http_request_error"
        "The request body is too large." "Send less, or raise limits.body of the site or route.";
    TimeoutRequestHeader "timeout.request_header" 408 Client "http_request_error"
        "The request head did not arrive in time." "A slow client, or raise timeouts.request_header.";
    TimeoutRequestBody "timeout.request_body" 408 Client "http_request_error"
        "The request body stopped arriving." "A slow client, or raise timeouts.request_body_idle.";
    RouteNoHost "route.no_host" 404 Proxy "destination_not_found"
        "No site answers for this host." "Add it under [sites], or check the Host the client sends.";
    RouteNoRoute "route.no_route" 404 Proxy "destination_not_found"
        "The site has no route for this path." "Add a route, or an action on the site itself.";
    RouteAmbiguousPath "route.ambiguous_path" 400 Client "http_request_denied"
        "The path as sent and its normal form would meet different routes." "Ask for the path in its normal form.";
    AccessDenied "access.denied" 403 Proxy "http_request_denied"
        "A rule refuses this address." "Add the client's network to allow, or take it out of deny.";
    AuthRequired "auth.required" 401 Client "http_request_denied"
        "A user and password are needed." "Send those of a user of basic_auth.users_file; after a wrong one the answer takes a second.";
    AuthBusy "auth.busy" 503 Proxy "destination_unavailable"
        "Too many passwords are being checked." "Try again. Somebody may be guessing: rate_limit bounds what one client can try.";
    LimitRate "limit.rate" 429 Client "connection_limit_reached"
        "Too many requests." "Wait as long as Retry-After says, or raise rate_limit of the site or route.";
    TlsSniMismatch "tls.sni_mismatch" 421 Client "http_request_denied"
        "The Host is served with another certificate than the one of this connection, or asks clients for another one." "Open a new connection for this host (RFC 9110 section 15.5.20).";
    TlsClientCert "tls.client_cert" 403 Client "http_request_denied"
        "The site wants a client certificate, and this connection can show none." "Use https:// with a certificate that a root of tls.client_auth.ca has signed.";
    TlsUnusableCertificate "tls.unusable_certificate" 503 Proxy "proxy_configuration_error"
        "The site's certificate cannot be used, and without it there is no https to go to." "The proxy's log and `vestibule status` name the file and the remedy; it is served as soon as the file is mended.";
    TlsPlainHttp "tls.plain_http" 400 Client "http_request_error"
        "Plain HTTP was sent to the TLS port: use https:// with it." "Correct the address, or send plain HTTP to the port of listeners.http.";
    ProxyHeaderMissing "proxy_protocol.missing" 400 Client "http_request_error"
        "A peer that is trusted to send a PROXY protocol header sent none." "Switch the header on in the balancer (send-proxy, proxy_protocol on), or take the peer out of proxy_protocol.trust of the listener.";
    ProxyHeaderMalformed "proxy_protocol.malformed" 400 Client "http_request_error"
        "The PROXY protocol header is cut or not valid." "Check the balancer: the header is version 1 or 2, at most 4096 bytes, and a checksum in it must be right.";
    ProxyHeaderTimeout "proxy_protocol.timeout" 408 Client "http_request_error"
        "The PROXY protocol header did not arrive in time." "Check that the balancer sends the header, or raise proxy_protocol.timeout of the listener.";
    UpstreamRefused "upstream.refused" 502 Upstream "connection_refused"
        "The backend refused the connection." "Start the backend, or mend the address in proxy or servers.";
    UpstreamUnreachable "upstream.unreachable" 502 Upstream "destination_unavailable"
        "The backend cannot be reached." "Check the address and the network between.";
    UpstreamDns "upstream.dns" 502 Upstream "dns_error"
        "The name of the backend does not resolve." "Check the name in proxy or servers; it is asked again on every try.";
    UpstreamConnectTimeout "upstream.connect_timeout" 504 Upstream "connection_timeout"
        "The backend did not accept the connection in time." "Check the backend's load and the network, or raise timeouts.connect.";
    UpstreamClosed "upstream.closed" 502 Upstream "connection_terminated"
        "The backend closed the connection without an answer." "Read the backend's log: it may have crashed.";
    UpstreamClosedReused "upstream.closed_reused" 502 Upstream "connection_terminated"
        "The backend closed a kept-alive connection while the request was on its way." "Raise the backend's keep-alive timeout above keepalive.idle_timeout. The request was not repeated because that could do its work twice.";
    UpstreamMalformed "upstream.malformed" 502 Upstream "http_protocol_error"
        "The backend's answer is not valid HTTP." "Check that the port speaks the upstream's protocol and read the proxy's log.";
    UpstreamHeaderTimeout "upstream.header_timeout" 504 Upstream "http_response_timeout"
        "The backend did not answer in time." "Check the backend, or raise timeouts.response_header.";
    UpstreamCut "upstream.cut" 502 Upstream "http_response_incomplete"
        "The backend closed in the middle of its answer." "Read the backend's log.";
    UpstreamUpgrade "upstream.upgrade" 502 Upstream "http_upgrade_failed"
        "The backend switched protocols without being asked." "Check the backend.";
    UpstreamQueueTimeout "upstream.queue_timeout" 503 Upstream "connection_limit_reached"
        "Every server was busy, and none became free in time." "Add servers, or raise max_requests or queue_timeout of the upstream.";
    UpstreamQueueFull "upstream.queue_full" 503 Upstream "connection_limit_reached"
        "Every server is busy, and too many requests wait already." "Add servers, or raise max_requests of the upstream.";
    BufferFull "limit.buffer" 503 Proxy "http_request_denied"
        "Too many request bodies are held in memory already." "Try again; or lower limits.body where buffer_request is on, so that fewer large bodies are held at once.";
    UpstreamNoUpgrade "upstream.no_upgrade" 502 Proxy "http_upgrade_failed"
        "The backend is spoken to over HTTP/2 in clear, which takes no WebSocket from this proxy." "Send the WebSocket's route to an upstream with protocol = \"http/1.1\".";
    UpstreamReset "upstream.reset" 502 Upstream "connection_terminated"
        "The backend reset the request's stream." "Read the backend's log.";
    UpstreamTlsHandshake "upstream.tls_handshake" 502 Upstream "tls_protocol_error"
        "The TLS handshake with the backend failed." "Check that the port speaks TLS and whether it wants tls.client_cert; the proxy's log has the reason.";
    UpstreamTlsCertificate "upstream.tls_certificate" 502 Upstream "tls_certificate_error"
        "The backend's certificate is not accepted." "Read the proxy's log for the name that was expected and what the certificate holds; set tls.ca or tls.server_name of the upstream.";
    UpstreamTlsAlpn "upstream.tls_alpn" 502 Upstream "tls_protocol_error"
        "The backend does not agree to the protocol by ALPN." "Set protocol = \"http/1.1\" on the upstream, or turn HTTP/2 on at the backend.";
    UpstreamWebsocket "upstream.websocket" 502 Upstream "http_upgrade_failed"
        "The backend answered a WebSocket handshake in a way that opens no WebSocket." "Check that the path serves WebSocket: a 101 with the right Sec-WebSocket-Accept, or an error status.";
    ProxyLoop "proxy.loop" 508 Proxy "proxy_loop_detected"
        "The request came back to this proxy." "A backend address points at the proxy itself.";
    ProxyCompress "proxy.compress" 500 Proxy "proxy_internal_error"
        "The answer could not be compressed." "The codec had no memory: look at the machine's.";
    ProxyReloaded "proxy.reloaded" 503 Proxy "destination_unavailable"
        "A reload has changed or removed what the request began under, and the time for such requests is over." "Send it again: it meets the new config. Raise server.generation_grace where what has begun needs longer.";
    ProxyStopped "proxy.stopped" 503 Proxy "destination_unavailable"
        "The proxy was stopped before the answer was whole." "Send it again. Raise server.shutdown_grace where requests need longer.";
    InspectorHost "inspector.host" 403 Client "http_request_denied"
        "The inspector answers only to the names of this machine." "Open it as 127.0.0.1, localhost or [::1]: any other name may be a page of a stranger that was pointed here (DNS rebinding).";
    InspectorOrigin "inspector.origin" 403 Client "http_request_denied"
        "The inspector answers no request that another page makes." "Open the inspector in a tab of its own.";
    InspectorToken "inspector.token" 401 Client "http_request_denied"
        "The inspector wants the token that the proxy printed at its start." "Open the whole address the proxy printed, token included; each start makes a new one.";
    InspectorMethod "inspector.method" 405 Client "http_request_denied"
        "The inspector only shows: it takes GET and HEAD." "Use `vestibule reload` and the config file to change something.";
    ClientGone "client.gone" 499 Client "http_request_error"
        "The client left before the answer." "Nothing, unless it happens often: then look at the response times.";
}

impl Why {
    /// This cause's row of the [`TABLE`].
    pub fn row(self) -> &'static Row {
        // The table is in the order of the enum; a test holds it there.
        &TABLE[self as usize]
    }

    pub fn code(self) -> &'static str {
        self.row().code
    }

    pub fn status(self) -> u16 {
        self.row().status
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl std::error::Error for Why {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_why_code_stands_in_its_own_row() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.why as usize, index, "{}", row.code);
            assert_eq!(row.why.row().code, row.code);
        }
    }

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        for row in TABLE {
            assert_eq!(TABLE.iter().filter(|other| other.code == row.code).count(), 1, "{}", row.code);
            assert!((400..600).contains(&row.status), "{}", row.code);
            assert!(row.code.contains('.') && !row.cause.is_empty() && !row.remedy.is_empty());
        }
    }
}
