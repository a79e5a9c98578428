//! What is served under which name, for many names: a question reads one line of memory, and few others are read for all. With
//! thousands of hosts every further place would be a wait for it.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use super::Host;

/// Bytes of a name that stand beside what is served under it; longer ones are a place of their own.
const SHORT: usize = 30;

#[derive(Debug)]
pub(super) struct Hosts<T>(HashSet<Named<T>>);

/// A line of the cache on most processors. It is found by its name.
#[derive(Debug)]
#[repr(align(64))]
struct Named<T> {
    name: Name,
    host: Host<T>,
}

#[derive(Debug)]
enum Name {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl<T: Copy> Hosts<T> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last host of a name counts.
    pub fn insert(&mut self, name: &[u8], host: Host<T>) {
        const { assert!(size_of::<Named<T>>() == 64) };
        self.0.replace(Named { name: Name::new(name), host });
    }

    pub fn get(&self, name: &[u8]) -> Option<Host<T>> {
        self.0.get(name).map(|named| named.host)
    }
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Hosts(HashSet::new())
    }
}

impl<T> Borrow<[u8]> for Named<T> {
    fn borrow(&self) -> &[u8] {
        self.name.text()
    }
}

impl<T> Hash for Named<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.text().hash(state);
    }
}

impl<T> PartialEq for Named<T> {
    fn eq(&self, other: &Self) -> bool {
        self.name.text() == other.name.text()
    }
}

impl<T> Eq for Named<T> {}

impl Name {
    fn new(name: &[u8]) -> Name {
        let mut short = [0; SHORT];
        match (short.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(begin), Ok(length)) => {
                begin.copy_from_slice(name);
                Name::Short(length, short)
            }
            _ => Name::Long(name.into()),
        }
    }

    fn text(&self) -> &[u8] {
        match self {
            Name::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Name::Long(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(site: u32) -> Host<u32> {
        Host { site, first: site, alias: false, single: true, of_first: site }
    }

    #[test]
    fn each_of_many_names_of_all_lengths_is_found_and_no_other() {
        let mut hosts = Hosts::default();
        let name = |site: u32| format!("{site}{}.test", "x".repeat(site as usize % 60));
        for site in 0..1000 {
            hosts.insert(name(site).as_bytes(), host(site));
        }
        let site = |name: &str| hosts.get(name.as_bytes()).map(|host| (host.site, host.of_first));
        for expected in 0..1000 {
            assert_eq!(site(&name(expected)), Some((expected, expected)));
        }
        for other in ["", "0", "0.tes", "0.test.", ".test", &"x".repeat(300)] {
            assert_eq!(site(other), None, "{other}");
        }
    }

    #[test]
    fn the_last_host_of_a_name_counts() {
        let mut hosts = Hosts::default();
        assert!(hosts.is_empty());
        (0..3).for_each(|site| hosts.insert(b"a.test", host(site)));
        hosts.insert(b"b.test", host(7));
        assert_eq!(hosts.get(b"a.test").map(|host| host.site), Some(2));
        assert_eq!(hosts.get(b"b.test").map(|host| host.site), Some(7));
    }
}
