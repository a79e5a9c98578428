//! UDP beside TCP: the same question and answer over both, on loopback, with nothing between.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::{Lesson, Topic};
use crate::observe::tcp_info;

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run() -> Result<Lesson, String> {
    talk().map_err(|error| format!("a socket on loopback failed: {error}"))
}

fn talk() -> std::io::Result<Lesson> {
    let mut lesson = Lesson {
        topic: Topic::Transport,
        title: "UDP beside TCP: \"one\" and \"two\", and the answer \"yes\"",
        columns: &["", "TCP", "UDP"],
        rows: Vec::new(),
        sentences: vec![
            "TCP makes a stream of packets: connected, in order, acknowledged, sent again when lost. UDP is a packet and a port: \
             who wants order or repetition makes it above, as QUIC does for HTTP/3.",
            "HTTP/1.1 and HTTP/2 need TCP's stream, so both doors are TCP. This version does not speak HTTP/3.",
        ],
    };

    let listener = TcpListener::bind(ANY)?;
    let address = listener.local_addr()?;
    let mut client = TcpStream::connect(address)?;
    let (mut accepted, _) = listener.accept()?;
    for stream in [&client, &accepted] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
    }
    // Before a byte of ours: SYN and ACK out, SYN-ACK in.
    let opening = tcp_info::of(client.local_addr()?, address).map(|info| info.segments_out + info.segments_in);
    client.write_all(b"one")?;
    client.write_all(b"two")?;
    let mut both = [0; 6];
    accepted.read_exact(&mut both)?;
    accepted.write_all(b"yes")?;
    client.read_exact(&mut [0; 3])?;
    let all = tcp_info::of(client.local_addr()?, address).map(|info| info.segments_out + info.segments_in);

    let server = UdpSocket::bind(ANY)?;
    let peer = UdpSocket::bind(ANY)?;
    for socket in [&server, &peer] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    peer.connect(server.local_addr()?)?;
    peer.send(b"one")?;
    peer.send(b"two")?;
    let mut datagram = [0; 64];
    let (first, from) = server.recv_from(&mut datagram)?;
    let one = String::from_utf8_lossy(datagram.get(..first).unwrap_or_default()).into_owned();
    let (second, _) = server.recv_from(&mut datagram)?;
    let two = String::from_utf8_lossy(datagram.get(..second).unwrap_or_default()).into_owned();
    server.send_to(b"yes", from)?;
    peer.recv(&mut datagram)?;

    let counted = |count: std::io::Result<u32>| count.map_or("not seen".into(), |count| format!("{count} packets"));
    lesson.row(&["before the first byte", &counted(opening), "0 packets"]);
    lesson.row(&["until the answer", &counted(all), "3 packets"]);
    lesson.row(&[
        "the receiver reads",
        &format!("\"{}\"", String::from_utf8_lossy(&both)),
        &format!("\"{one}\", \"{two}\""),
    ]);
    let (gone, deaf) = (refused_tcp()?, refused_udp()?);
    lesson.row(&["nobody listens", &gone, &deaf]);
    lesson.row(&["a packet is lost", "sent again by the kernel", "gone"]);
    Ok(lesson)
}

fn refused_tcp() -> std::io::Result<String> {
    let address = TcpListener::bind(ANY)?.local_addr()?;
    Ok(match TcpStream::connect(address) {
        Ok(_) => "connects".into(),
        Err(error) => format!("connecting fails: {:?}", error.kind()),
    })
}

fn refused_udp() -> std::io::Result<String> {
    let address = UdpSocket::bind(ANY)?.local_addr()?;
    let socket = UdpSocket::bind(ANY)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.connect(address)?;
    let sent = socket.send(b"one").is_ok();
    let heard = match socket.recv(&mut [0; 8]) {
        Ok(_) => "an answer comes".into(),
        Err(error) => format!("no answer ({:?})", error.kind()),
    };
    Ok(if sent { format!("sending works; {heard}") } else { "sending fails".into() })
}
