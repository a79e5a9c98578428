//! What a site or route does to requests and responses beyond forwarding them. One file each.

pub mod door;
pub mod headers;
pub mod redirect;
