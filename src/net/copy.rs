//! Copies that are fast on every processor.

use tokio::io::ReadBuf;

/// The size up to which they are. Above, the C library's memcpy turns to `rep movsb`, which is several times slower on AMD
/// where source or target is not aligned, and what goes into a TLS record never is. In pieces a download costs a quarter
/// less CPU (docs/performance.md).
pub(super) const PIECE: usize = 2048;

/// Appends `data`, for which `buf` has room.
pub(super) fn put_in_pieces(buf: &mut ReadBuf<'_>, data: &[u8]) {
    data.chunks(PIECE).for_each(|piece| buf.put_slice(piece));
}
