//! The chain of a certificate, link by link: order, doubles, signatures, who may sign, strength.

use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;

use crate::config::diagnostics::Diagnostic;
use crate::tls::CertFacts;
use crate::tls::load;

/// Signatures by what names them (RFC 8017, RFC 5758, RFC 8410), and whether clients refuse them.
const SIGNATURES: [(&str, &str, bool); 14] = [
    ("1.2.840.113549.1.1.2", "RSA with MD2", true),
    ("1.2.840.113549.1.1.4", "RSA with MD5", true),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1", true),
    ("1.3.14.3.2.29", "RSA with SHA-1", true),
    ("1.2.840.113549.1.1.10", "RSA-PSS", false),
    ("1.2.840.113549.1.1.11", "RSA with SHA-256", false),
    ("1.2.840.113549.1.1.12", "RSA with SHA-384", false),
    ("1.2.840.113549.1.1.13", "RSA with SHA-512", false),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1", true),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256", false),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384", false),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512", false),
    ("1.2.840.10040.4.3", "DSA with SHA-1", true),
    ("1.3.101.112", "Ed25519", false),
];

/// One certificate of the chain.
#[derive(Debug, Clone)]
pub struct Link {
    /// Common name, or the first name of the SAN.
    pub subject: String,
    pub facts: CertFacts,
    /// "ECDSA P-256".
    pub public_key: String,
    /// How its issuer signed it.
    pub signature: String,
    pub signed: Signed,
    /// Its number in the file, from 1.
    pub place: usize,
}

/// Whether the issuer's signature holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// The next one of the chain signed it.
    ByNext,
    /// The next one has the issuer's name and did not sign it, or may not.
    NotByNext,
    /// It signed itself: a root, or nobody's certificate.
    ByItself,
    /// Its issuer is not in the file.
    Elsewhere,
    /// The issuer is there; the kind of signature cannot be checked here.
    Unchecked,
}

/// The leaf and the certificates above it, as places in `certs`; then those that belong to nobody.
pub(super) fn path(certs: &[X509Certificate<'_>], leaf: usize) -> (Vec<usize>, Vec<usize>) {
    let mut order = load::in_order(certs, leaf);
    let mut above = 1;
    while above < order.len() && certs[order[above]].subject().as_raw() == certs[order[above - 1]].issuer().as_raw() {
        above += 1;
    }
    let strays = order.split_off(above);
    (order, strays)
}

/// The links of a path; what is wrong with them goes into `out`.
pub(super) fn links(certs: &[X509Certificate<'_>], path: &[usize], out: &mut Vec<Diagnostic>) -> Vec<Link> {
    let mut all = Vec::with_capacity(path.len());
    for (depth, &place) in path.iter().enumerate() {
        let cert = &certs[place];
        let signed = match path.get(depth + 1) {
            Some(&issuer) => by_next(cert, &certs[issuer], depth, out),
            None if cert.subject().as_raw() == cert.issuer().as_raw() => Signed::ByItself,
            None => Signed::Elsewhere,
        };
        let oid = cert.signature_algorithm.algorithm.to_id_string();
        let known = SIGNATURES.iter().find(|(number, ..)| *number == oid);
        let signature = known.map_or(oid.as_str(), |(_, name, _)| name).to_owned();
        if known.is_some_and(|(.., weak)| *weak) && signed != Signed::ByItself {
            out.push(
                Diagnostic::error("cert-weak-signature", format!("`{}` is signed by {signature}", name_of(cert)))
                    .note("clients refuse it: such signatures can be forged")
                    .help("have it issued anew, signed with SHA-256"),
            );
        }
        let facts = CertFacts::of_parsed(cert);
        let public_key = load::key_kind(cert.public_key().raw);
        out.extend(short_key(cert, &public_key));
        all.push(Link { subject: name_of(cert), facts, public_key, signature, signed, place: place + 1 });
    }
    all
}

/// RSA keys that are short for some clients, or for all.
fn short_key(cert: &X509Certificate<'_>, kind: &str) -> Option<Diagnostic> {
    let bits: u32 = kind.strip_prefix("RSA ")?.parse().ok()?;
    let message = format!("the key of `{}` is {kind}", name_of(cert));
    let found = match bits {
        2048.. => return None,
        1024.. => Diagnostic::warning("cert-weak-key", message).note(
            "Chromium takes it from a root of somebody's own; curl, Python and this program refuse RSA below 2048 bits",
        ),
        _ => Diagnostic::error("cert-weak-key", message).note("every client refuses it"),
    };
    Some(found.help("have it issued for a new key"))
}

fn by_next(
    cert: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    depth: usize,
    out: &mut Vec<Diagnostic>,
) -> Signed {
    let (name, above) = (name_of(cert), name_of(issuer));
    let misused = |why: String| Diagnostic::error("cert-usage", why);
    let may_sign = issuer.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
    if !issuer.is_ca() || !may_sign {
        let found = misused(format!("`{above}` may not sign `{name}`: it is no certificate authority"));
        out.push(found.help("take the intermediate that the authority gives with the certificate"));
        return Signed::NotByNext;
    }
    let allowed = issuer.basic_constraints().ok().flatten().and_then(|found| found.value.path_len_constraint);
    if let Some(allowed) = allowed.filter(|allowed| usize::try_from(*allowed).is_ok_and(|allowed| allowed < depth)) {
        out.push(misused(format!("`{above}` allows {allowed} authorities below it, and there are {depth}")));
        return Signed::NotByNext;
    }
    match cert.verify_signature(Some(issuer.public_key())) {
        Ok(()) => Signed::ByNext,
        Err(X509Error::SignatureUnsupportedAlgorithm) => Signed::Unchecked,
        Err(_) => {
            let message = format!("`{name}` is not signed by the `{above}` of this file");
            let found = Diagnostic::error("cert-chain-broken", message);
            let found = found.note("the name is the issuer's, the key is another one");
            out.push(found.help("take the intermediate that the authority gave with this certificate"));
            Signed::NotByNext
        }
    }
}

/// Certificates that stand twice, in another order than servers send them, or without a part in the chain.
pub(super) fn arrangement(certs: &[X509Certificate<'_>], path: &[usize], strays: &[usize], out: &mut Vec<Diagnostic>) {
    let ours = "vestibule serves them in order, each once; other servers send them as they stand";
    for (place, cert) in certs.iter().enumerate() {
        if let Some(first) = certs[..place].iter().position(|other| other.as_raw() == cert.as_raw()) {
            let message = format!("`{}` stands twice, as number {} and {}", name_of(cert), first + 1, place + 1);
            let found = Diagnostic::warning("cert-duplicate", message);
            out.push(found.note(ours).help(format!("take number {} out of the file", place + 1)));
        }
    }
    if path.windows(2).any(|pair| pair[0] > pair[1]) {
        let right: Vec<String> = path.iter().map(|place| (place + 1).to_string()).collect();
        let found =
            Diagnostic::warning("cert-order", "the certificates are not in order: the leaf, then each one's issuer");
        out.push(found.note(ours).help(format!("put them in this order: {}", right.join(", "))));
    }
    for &place in strays {
        let message = format!("`{}` has no part in the chain", name_of(&certs[place]));
        let found = Diagnostic::warning("cert-stray", message).note("it is sent, and clients pass over it");
        out.push(found.help(format!("take number {} out of the file", place + 1)));
    }
}

/// What a certificate is called: its common name, the first name of its SAN, else the whole subject.
pub(super) fn name_of(cert: &X509Certificate<'_>) -> String {
    let common = cert.subject().iter_common_name().next().and_then(|name| name.as_str().ok().map(str::to_owned));
    let names = crate::tls::CertNames::of(cert);
    let first = || names.dns.first().cloned().or_else(|| names.ips.first().map(ToString::to_string));
    let name = common.filter(|name| !name.is_empty()).or_else(first).unwrap_or_else(|| cert.subject().to_string());
    // A name of the file goes to a terminal: no control characters.
    name.chars().filter(|c| !c.is_control()).collect()
}
