//! The three content codings, behind one shape: write, flush, take what is there, finish.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::config::Coding;

/// Measured on the texts of this repository, docs/performance.md has the numbers: zstd 3 takes half the time of nginx's gzip 1
/// and gzip 2 three quarters, both with a smaller result. Brotli 3 takes about half the time of brotli 4 for 1 % more size;
/// 2 is no faster.
const GZIP_LEVEL: u32 = 2;
const BROTLI_QUALITY: u32 = 3;
const ZSTD_LEVEL: i32 = 3;
/// What a stream may look back, in powers of two: a bound on its memory, on both sides (RFC 9659).
const BROTLI_WINDOW: u32 = 18;
const ZSTD_WINDOW: u32 = 18;
/// Where brotli's encoder gathers its output.
const BROTLI_BUFFER: usize = 4096;

/// A stream being encoded.
pub enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Br(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// `length`: how much will be written, where that is known.
    ///
    /// # Errors
    /// The codec has no memory.
    pub fn new(coding: Coding, length: Option<u64>) -> io::Result<Encoder> {
        Ok(match coding {
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Br => Encoder::Br(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER,
                BROTLI_QUALITY,
                BROTLI_WINDOW,
            ))),
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW)?;
                encoder.set_pledged_src_size(length)?;
                Encoder::Zstd(encoder)
            }
        })
    }

    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Gzip(encoder) => encoder.write_all(data),
            Encoder::Br(encoder) => encoder.write_all(data),
            Encoder::Zstd(encoder) => encoder.write_all(data),
        }
    }

    /// Brings out all that was written, so that the other side can read it now.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Br(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }

    /// What has come out so far.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Br(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
        })
    }

    /// Bytes that have come out and were not taken.
    pub fn pending(&self) -> usize {
        match self {
            Encoder::Gzip(encoder) => encoder.get_ref().len(),
            Encoder::Br(encoder) => encoder.get_ref().len(),
            Encoder::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    /// The rest, with the end of the stream.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Br(encoder) => Ok(encoder.into_inner()),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    /// Decodes what there is; the end may be missing.
    pub fn decoded(coding: Coding, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let _ = match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(data).read_to_end(&mut out),
            Coding::Br => brotli::Decompressor::new(data, 4096).read_to_end(&mut out),
            Coding::Zstd => match zstd::stream::read::Decoder::new(data) {
                Ok(mut decoder) => decoder.read_to_end(&mut out),
                Err(error) => Err(error),
            },
        };
        out
    }

    #[test]
    fn what_was_flushed_can_be_read_before_the_end() {
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding, None).unwrap();
            encoder.write(b"hello ").unwrap();
            encoder.flush().unwrap();
            let first = encoder.take();
            assert_eq!(decoded(coding, &first), b"hello ", "{coding:?}");
            encoder.write(b"world").unwrap();
            let all = [first, encoder.finish().unwrap()].concat();
            assert_eq!(decoded(coding, &all), b"hello world", "{coding:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_pieces_come_back_whole(pieces in prop::collection::vec(prop::collection::vec(0u8..4, 0..40_000), 0..6)) {
            for coding in Coding::ALL {
                let mut encoder = Encoder::new(coding, None).unwrap();
                let mut out = Vec::new();
                for (index, piece) in pieces.iter().enumerate() {
                    encoder.write(piece).unwrap();
                    if index % 2 == 0 {
                        encoder.flush().unwrap();
                    }
                    out.extend(encoder.take());
                }
                out.extend(encoder.finish().unwrap());
                prop_assert_eq!(decoded(coding, &out), pieces.concat());
            }
        }
    }
}
