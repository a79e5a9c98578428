//! The HTTP/1.1 codec (RFC 9112): sans-io, for both sides.
//!
//! Strict where leniency lets two programs see different messages in the same bytes: no bare LF, no obs-fold, exactly one
//! Host, one Content-Length or a lone `chunked`, never both. What is refused here never reaches a backend.

mod body;
mod chunked;
mod request;
mod response;
mod tokens;
mod write;

pub use body::{Decoder, Step};
pub use chunked::Malformed;
pub use request::{Limits, Parsed, parse_request};
pub use response::{Request as ResponseTo, parse_response};
pub use tokens::{content_length, is_authority, is_target};
pub use write::{last_chunk, write_chunk_head, write_fields, write_length, write_status_line};

/// More fields than this are refused whatever the configuration says: the size of the tokenizer's table.
pub const MAX_FIELDS: usize = 256;
