//! Reading a body out of a buffer, whatever its framing.

use bytes::{Bytes, BytesMut};

use super::Malformed;
use super::chunked::{Chunked, Piece};
use crate::message::{Fields, Framing};

/// Takes a body out of the bytes of a connection, piece by piece.
#[derive(Debug)]
pub struct Decoder(State);

#[derive(Debug)]
enum State {
    Length(u64),
    Chunked(Box<Chunked>),
    Close,
    Done,
}

/// What [`Decoder::step`] found.
#[derive(Debug)]
pub enum Step {
    Data(Bytes),
    /// The body ended; a chunked one may bring trailer fields.
    End(Option<Fields>),
    /// The buffer holds no more of this body yet.
    NeedMore,
}

impl Decoder {
    pub fn new(framing: Framing) -> Decoder {
        Decoder(match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Box::new(Chunked::new())),
            Framing::Close => State::Close,
        })
    }

    pub fn is_done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// Bytes still to come, where the framing says so.
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece from the front of `buffer` without copying it.
    ///
    /// # Errors
    /// [`Malformed`] when a chunked body breaks its coding: the connection cannot be used any more.
    pub fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, Malformed> {
        match &mut self.0 {
            State::Done => Ok(Step::End(None)),
            _ if buffer.is_empty() => Ok(Step::NeedMore),
            State::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= take as u64;
                if *left == 0 {
                    self.0 = State::Done;
                }
                Ok(Step::Data(buffer.split_to(take).freeze()))
            }
            State::Close => Ok(Step::Data(buffer.split().freeze())),
            State::Chunked(chunked) => match chunked.step(buffer)? {
                Piece::Data { skip, data } => {
                    drop(buffer.split_to(skip));
                    Ok(Step::Data(buffer.split_to(data).freeze()))
                }
                Piece::End { skip } => {
                    drop(buffer.split_to(skip));
                    let trailers = chunked.take_trailers()?;
                    self.0 = State::Done;
                    Ok(Step::End(trailers))
                }
                Piece::More { skip } => {
                    drop(buffer.split_to(skip));
                    Ok(Step::NeedMore)
                }
            },
        }
    }

    /// The connection ended: right for a body that ends with it, a cut for every other.
    ///
    /// # Errors
    /// [`Malformed`] when the framing promised more.
    pub fn end_of_input(&mut self) -> Result<(), Malformed> {
        match self.0 {
            State::Close | State::Done => {
                self.0 = State::Done;
                Ok(())
            }
            _ => Err(Malformed),
        }
    }
}
