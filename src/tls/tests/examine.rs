//! What clients make of a certificate, whatever its bytes. The faults themselves are in the suite `cert_explain`.

use std::sync::LazyLock;

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::support::chain;
use crate::config::HostPattern;
use crate::tls::{Examined, RootList, Signed, Subject, examine};

/// Leaf and intermediate, the root above them, and the key of the leaf.
static MADE: LazyLock<([CertificateDer<'static>; 3], String)> = LazyLock::new(|| {
    let ([root, middle, leaf], key) = chain(&["shop.test"]);
    ([leaf, middle, root].map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()), key.serialize_pem())
});

fn look(certs: Vec<CertificateDer<'static>>, trusted: bool) -> Result<Examined, usize> {
    let key = any_supported_type(&PrivateKeyDer::from_pem_slice(MADE.1.as_bytes()).unwrap()).unwrap();
    let subject = Subject::shown(&CertifiedKey::new(certs, key));
    let host = HostPattern::Exact("shop.test".into());
    let lists = RootList::all(Some((MADE.0[2].clone(), trusted)));
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    examine(&subject, Some(&host), &lists, now).map_err(|problems| problems.len())
}

#[test]
fn a_chain_is_accepted_where_its_root_is_believed_and_nowhere_else() {
    let [leaf, middle, _] = MADE.0.clone();
    for trusted in [true, false] {
        let examined = look(vec![leaf.clone(), middle.clone()], trusted).unwrap_or_else(|count| panic!("{count}"));
        assert_eq!(examined.is_accepted(), trusted, "{:?}", examined.problems);
        let signed: Vec<_> = examined.links.iter().map(|link| link.signed).collect();
        assert_eq!(signed, [Signed::ByNext, Signed::Elsewhere]);
        assert_eq!(examined.errors, if trusted { vec![] } else { vec!["ERR_CERT_AUTHORITY_INVALID"] });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_of_a_certificate_make_the_reader_panic_or_accept(
        which in 0usize..2, at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut certs = MADE.0[..2].to_vec();
        let mut bytes = certs[which].to_vec();
        let place = at.index(bytes.len());
        if cut { bytes.truncate(place) } else { bytes[place] = value }
        let same = certs[which].as_ref() == bytes.as_slice();
        certs[which] = CertificateDer::from(bytes);
        let accepted = look(certs, true).is_ok_and(|examined| examined.is_accepted());
        prop_assert!(same || !accepted);
    }
}
