//! Why a handshake failed, in the words of one log line.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError};

use crate::metrics::HandshakeFailure;

/// How a handshake ended without a connection.
pub enum HandshakeError {
    /// Nobody serves this server name; `unrecognized_name` was sent.
    UnknownHost(Box<str>),
    /// The certificate of this host is still to come; `internal_error` was sent. The state is what is being done about it.
    NoCertificateYet { name: Box<str>, state: Arc<str> },
    /// The files of this host cannot be used, for this reason; `unrecognized_name` was sent.
    UnusableCertificate { name: Box<str>, why: Arc<str> },
    /// No failure: an ACME server has seen the answer to its challenge for this name (RFC 8737).
    Challenge(Box<str>),
    /// The client named no server, and there is no certificate for that; `missing_extension` was sent.
    NoServerName,
    /// The client broke off with an alert.
    ClientAlert(AlertDescription),
    /// The first byte is not TLS: what was read, for an answer in clear.
    NotTls { read: Vec<u8> },
    /// The client went away.
    Closed,
    /// The client offers nothing we can agree on, or breaks the protocol; an alert was sent.
    Protocol(rustls::Error),
    /// The socket failed.
    Io(io::Error),
}

impl HandshakeError {
    pub(super) fn of_tls(error: rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) => HandshakeError::ClientAlert(alert),
            other => HandshakeError::Protocol(other),
        }
    }

    /// Errors of the TLS library come wrapped in those of the socket.
    pub(super) fn of_io(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof) {
            return HandshakeError::Closed;
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(inner) => Self::of_tls(inner.clone()),
            None => HandshakeError::Io(error),
        }
    }

    /// Whether an alert, or the answer to a challenge, was the last word: the other side may still be about to read it.
    pub fn has_last_word(&self) -> bool {
        !matches!(self, HandshakeError::ClientAlert(_) | HandshakeError::Closed | HandshakeError::Io(_))
    }

    /// What the failure is counted as; `None`: it is none.
    pub fn counted_as(&self) -> Option<HandshakeFailure> {
        Some(match self {
            HandshakeError::UnknownHost(_) => HandshakeFailure::UnknownHost,
            HandshakeError::NoCertificateYet { .. } => HandshakeFailure::NoCertificateYet,
            HandshakeError::UnusableCertificate { .. } => HandshakeFailure::UnusableCertificate,
            HandshakeError::Challenge(_) => return None,
            HandshakeError::NoServerName => HandshakeFailure::NoServerName,
            HandshakeError::ClientAlert(_) => HandshakeFailure::ClientAlert,
            HandshakeError::NotTls { .. } => HandshakeFailure::NotTls,
            HandshakeError::Closed => HandshakeFailure::Closed,
            HandshakeError::Protocol(_) => HandshakeFailure::Protocol,
            HandshakeError::Io(_) => HandshakeFailure::Io,
        })
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::UnknownHost(name) => {
                write!(f, "no site for {name:?} (alert unrecognized_name sent)")
            }
            HandshakeError::NoCertificateYet { name, state } => {
                write!(f, "no certificate for {name:?} yet (alert internal_error sent): {state}")
            }
            HandshakeError::UnusableCertificate { name, why } => {
                write!(f, "no usable certificate for {name:?} (alert unrecognized_name sent): {why}")
            }
            HandshakeError::Challenge(name) => write!(f, "the ACME server has checked {name:?} by tls-alpn-01"),
            HandshakeError::NoServerName => {
                f.write_str("the client named no server (SNI), and no certificate serves that")
            }
            HandshakeError::ClientAlert(alert) => write!(f, "{} (alert {})", meaning(*alert), alert_name(*alert)),
            HandshakeError::NotTls { read } => {
                let first = read.first().copied().unwrap_or_default();
                let http = first.is_ascii_uppercase();
                let what = if http { "plain HTTP on the TLS port" } else { "not TLS" };
                write!(f, "{what} (first byte 0x{first:02x})")
            }
            HandshakeError::Closed => f.write_str("the client closed the connection during the handshake"),
            HandshakeError::Protocol(rustls::Error::NoApplicationProtocol) => f.write_str(
                "the client offers no protocol of this listener by ALPN (alert no_application_protocol sent)",
            ),
            HandshakeError::Protocol(rustls::Error::NoCertificatesPresented) => f.write_str(
                "the client shows no certificate, and the site requires one (alert certificate_required sent)",
            ),
            HandshakeError::Protocol(rustls::Error::InvalidCertificate(error)) => {
                write!(f, "the client's certificate is not accepted: {}", refusal(error))
            }
            HandshakeError::Protocol(error) => write!(f, "{error}"),
            HandshakeError::Io(error) => write!(f, "{error}"),
        }
    }
}

impl fmt::Debug for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandshakeError({self})")
    }
}

impl std::error::Error for HandshakeError {}

/// Why a client's certificate was not accepted.
fn refusal(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".into(),
        CertificateError::UnknownIssuer => "none of client_auth.ca has signed it".into(),
        CertificateError::Revoked => "it is revoked (client_auth.crl)".into(),
        CertificateError::UnknownRevocationStatus => "client_auth.crl has no list of its issuer".into(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for clients (extended key usage)".into()
        }
        other => other.to_string(),
    }
}

/// What a client means by an alert it sends while it checks our certificate and parameters.
fn meaning(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA => "the client does not trust the issuer of this certificate",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => "the client does not accept this certificate",
        AlertDescription::CertificateExpired => "the client finds this certificate expired",
        AlertDescription::CertificateRevoked => "the client finds this certificate revoked",
        AlertDescription::CloseNotify | AlertDescription::UserCanceled => "the client gave up the handshake",
        _ => "the client refused the handshake",
    }
}

/// The name of RFC 8446 section 6; the library spells them in its own case.
fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "unknown_ca".into(),
        AlertDescription::UnrecognisedName => "unrecognized_name".into(),
        AlertDescription::UnknownPSKIdentity => "unknown_psk_identity".into(),
        other => match other.as_str() {
            Some(name) => snake_case(name),
            None => u8::from(other).to_string(),
        },
    }
}

fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    type Error = HandshakeError;

    #[test]
    fn each_error_is_one_clear_line() {
        let table: [(Error, &str); 14] = [
            (Error::UnknownHost("x.test".into()), "no site for \"x.test\" (alert unrecognized_name sent)"),
            (
                Error::NoCertificateYet { name: "x.example.com".into(), state: "it is being ordered".into() },
                "no certificate for \"x.example.com\" yet (alert internal_error sent): it is being ordered",
            ),
            (
                Error::UnusableCertificate { name: "x.test".into(), why: "cert-not-found: no file".into() },
                "no usable certificate for \"x.test\" (alert unrecognized_name sent): cert-not-found: no file",
            ),
            (Error::Challenge("x.example.com".into()), "the ACME server has checked \"x.example.com\" by tls-alpn-01"),
            (
                Error::ClientAlert(AlertDescription::UnknownCA),
                "the client does not trust the issuer of this certificate (alert unknown_ca)",
            ),
            (
                Error::ClientAlert(AlertDescription::CertificateUnknown),
                "the client does not accept this certificate (alert certificate_unknown)",
            ),
            (Error::ClientAlert(AlertDescription::Unknown(99)), "the client refused the handshake (alert 99)"),
            (Error::NotTls { read: b"GET /".to_vec() }, "plain HTTP on the TLS port (first byte 0x47)"),
            (Error::NotTls { read: vec![0x80, 1] }, "not TLS (first byte 0x80)"),
            (
                Error::of_io(io::ErrorKind::ConnectionReset.into()),
                "the client closed the connection during the handshake",
            ),
            (
                Error::of_io(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::NoApplicationProtocol)),
                "the client offers no protocol of this listener by ALPN (alert no_application_protocol sent)",
            ),
            (
                Error::of_tls(rustls::Error::NoCertificatesPresented),
                "the client shows no certificate, and the site requires one (alert certificate_required sent)",
            ),
            (
                Error::of_tls(CertificateError::Revoked.into()),
                "the client's certificate is not accepted: it is revoked (client_auth.crl)",
            ),
            (Error::of_io(io::Error::other("disk on fire")), "disk on fire"),
        ];
        for (error, expected) in table {
            assert_eq!(error.to_string(), expected);
        }
    }
}
