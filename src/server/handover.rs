//! Listening sockets on their way from a running process to the one that takes its place.
//!
//! Both ends of a pair of unix sockets that keeps messages apart (SOCK_SEQPACKET): the new process has its end as standard
//! input. A message names an address and carries its sockets (SCM_RIGHTS, unix(7)); an empty one ends the list. The new
//! process answers with one message: `ready`, or what stands in its way.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
};

/// Names the process that hands over, in the environment of the new one.
pub(super) const VARIABLE: &str = "VESTIBULE_HANDOVER";

/// Sockets in one message; the kernel takes 253.
const AT_A_TIME: usize = 64;
/// Bytes of a message.
const LENGTH: usize = 32 << 10;
const READY: &str = "ready";

/// Sockets of one address: its text, and what is listened with.
pub(super) type Listening = (String, Vec<OwnedFd>);

/// One end of the pair.
#[derive(Debug)]
pub(super) struct Handover(OwnedFd);

impl Handover {
    /// Our end, and the one that becomes the new process's standard input.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn pair(limit: Duration) -> io::Result<(Handover, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&ours, Timeout::Recv, Some(limit))?;
        set_socket_timeout(&ours, Timeout::Send, Some(limit))?;
        Ok((Handover(ours), theirs))
    }

    /// The end that this process was started with; `None` when it was started otherwise.
    pub fn inherited() -> Option<Handover> {
        let from: i32 = std::env::var(VARIABLE).ok()?.parse().ok()?;
        let parent = rustix::process::getppid()?.as_raw_nonzero().get();
        // A grandchild inherits the variable, but not its meaning.
        if parent != from {
            return None;
        }
        io::stdin().as_fd().try_clone_to_owned().ok().map(Handover)
    }

    /// Sends the sockets of every address.
    ///
    /// # Errors
    /// The new process is gone, or takes nothing.
    pub fn give(&self, all: &[(String, Vec<BorrowedFd<'_>>)]) -> io::Result<()> {
        for (name, sockets) in all {
            for some in sockets.chunks(AT_A_TIME) {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_A_TIME))];
                let mut rights = SendAncillaryBuffer::new(&mut space);
                rights.push(SendAncillaryMessage::ScmRights(some));
                sendmsg(&self.0, &[IoSlice::new(name.as_bytes())], &mut rights, SendFlags::NOSIGNAL)?;
            }
        }
        self.say(".")
    }

    /// Receives what [`Handover::give`] has sent.
    ///
    /// # Errors
    /// The old process is gone.
    pub fn take(&self) -> io::Result<Vec<Listening>> {
        let mut all: Vec<Listening> = Vec::new();
        loop {
            let mut name = [0; 512];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_A_TIME))];
            let mut rights = RecvAncillaryBuffer::new(&mut space);
            let got = recvmsg(&self.0, &mut [IoSliceMut::new(&mut name)], &mut rights, RecvFlags::CMSG_CLOEXEC)?.bytes;
            let name = String::from_utf8_lossy(name.get(..got).unwrap_or_default()).into_owned();
            let sockets = rights.drain().flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(sockets) => sockets.collect(),
                _ => Vec::new(),
            });
            match name.as_str() {
                "" => return Err(io::ErrorKind::UnexpectedEof.into()),
                "." => return Ok(all),
                _ => match all.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => known.extend(sockets),
                    None => all.push((name, sockets.collect())),
                },
            }
        }
    }

    /// Tells the other side one thing.
    ///
    /// # Errors
    /// It is gone.
    pub fn say(&self, text: &str) -> io::Result<()> {
        let end = text.floor_char_boundary(LENGTH.min(text.len()));
        send(&self.0, &text.as_bytes()[..end], SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The new process serves.
    ///
    /// # Errors
    /// The old process is gone.
    pub fn say_ready(&self) -> io::Result<()> {
        self.say(READY)
    }

    /// Waits for the new process's word. Blocks.
    ///
    /// # Errors
    /// What stands in its way, as far as it could say; empty when it ended without a word.
    pub fn outcome(&self, limit: Duration) -> Result<(), String> {
        let mut word = vec![0; LENGTH];
        match rustix::net::recv(&self.0, &mut word[..], RecvFlags::empty()) {
            Ok((got, _)) => match String::from_utf8_lossy(word.get(..got).unwrap_or_default()).as_ref() {
                READY => Ok(()),
                problem => Err(problem.to_owned()),
            },
            Err(rustix::io::Errno::AGAIN) => Err(format!("it was not ready within {limit:?}\n")),
            Err(rustix::io::Errno::CONNRESET) => Err(String::new()),
            Err(error) => Err(format!("{error}\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn sockets_arrive_under_their_addresses_however_many_there_are() {
        let (ours, theirs) = Handover::pair(LIMIT).unwrap();
        let theirs = Handover(theirs);
        let sockets: Vec<TcpListener> = (0..70).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let first: Vec<_> = sockets[..67].iter().map(AsFd::as_fd).collect();
        let second: Vec<_> = sockets[67..].iter().map(AsFd::as_fd).collect();
        ours.give(&[("a".into(), first), ("b".into(), second)]).unwrap();
        let got = theirs.take().unwrap();
        assert_eq!(got.iter().map(|(name, all)| (name.as_str(), all.len())).collect::<Vec<_>>(), [("a", 67), ("b", 3)]);
        let again = TcpListener::from(got.into_iter().next().unwrap().1.into_iter().next().unwrap());
        assert_eq!(again.local_addr().unwrap(), sockets[0].local_addr().unwrap());
    }

    #[test]
    fn a_word_a_problem_and_silence_are_told_apart() {
        for (word, expected) in [("ready", Ok(())), ("error[x]: y\n", Err("error[x]: y\n".to_owned()))] {
            let (ours, theirs) = Handover::pair(LIMIT).unwrap();
            Handover(theirs).say(word).unwrap();
            assert_eq!(ours.outcome(LIMIT), expected);
        }
        let (ours, theirs) = Handover::pair(LIMIT).unwrap();
        drop(theirs);
        assert_eq!(ours.outcome(LIMIT), Err(String::new()));
        let (ours, _theirs) = Handover::pair(Duration::from_millis(20)).unwrap();
        assert_eq!(ours.outcome(LIMIT), Err("it was not ready within 5s\n".into()));
    }
}
