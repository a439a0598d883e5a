//! A front before a scripted member, spoken to by hand: what client libraries do not let a test say.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::api::{Answer, Request};
use crate::front::fake::{FakeApi, Served, serve};
use crate::http2::{PREFACE, write_field};

const RANGE: [(&str, &str); 6] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/etcdserverpb.KV/Range"),
    (":authority", "http://127.0.0.1:2379"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
];

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

struct Peer(TcpStream);

impl Peer {
    fn connect(served: &Served) -> Self {
        let mut peer = Self(TcpStream::connect(served.client).unwrap());
        peer.0.write_all(PREFACE).unwrap();
        peer.frame(SETTINGS, 0, 0, &[]);
        peer
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [.., a, b, c] = (payload.len() as u64).to_be_bytes();
        let mut bytes = vec![a, b, c, kind, flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.0.write_all(&bytes).unwrap();
    }

    /// A range whose message is empty.
    fn range(&mut self, stream: u32, more: &[(&str, &str)]) {
        let mut block = Vec::new();
        for (name, value) in RANGE.iter().chain(more) {
            write_field(&mut block, name.as_bytes(), value.as_bytes());
        }
        self.frame(HEADERS, 4, stream, &block);
        self.frame(0, 1, stream, &[0; 5]);
    }

    /// The next frame of a kind with a flag: its stream and its payload.
    fn wait(&mut self, wanted: u8, flag: u8) -> (u32, String) {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).unwrap();
            let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).unwrap();
            if kind == wanted && flags & flag == flag {
                return (
                    u32::from_be_bytes([s0, s1, s2, s3]),
                    String::from_utf8_lossy(&payload).into_owned(),
                );
            }
        }
    }
}

fn answering() -> Served {
    serve(FakeApi::new(|_: &Request| Some(Ok(Answer::Range(Default::default())))), "")
}

#[test]
fn a_whole_url_as_authority_is_fine() {
    let served = answering();
    let mut peer = Peer::connect(&served);
    for stream in [1, 3, 5] {
        peer.range(stream, &[]);
        let (answered, trailers) = peer.wait(HEADERS, 1);
        assert_eq!(answered, stream);
        assert!(trailers.ends_with("grpc-status\u{1}0"), "{trailers:?}");
    }
    served.stop_now();
}

#[test]
fn a_call_that_takes_longer_than_its_client_wants_is_ended() {
    let served = serve(FakeApi::new(|_| None), "");
    let mut peer = Peer::connect(&served);
    peer.range(1, &[("grpc-timeout", "20m")]);
    let (stream, status) = peer.wait(HEADERS, 1);
    assert_eq!(stream, 1);
    assert!(status.contains("grpc-status\u{1}4") && status.contains("deadline"), "{status:?}");
    // Its completion comes all the same, and meets nobody.
    let waiting = served.api.unanswered.lock().unwrap().pop().unwrap();
    served.api.complete(waiting, Ok(Answer::Done));
    peer.range(3, &[("grpc-timeout", "5x")]);
    let (_, status) = peer.wait(HEADERS, 1);
    assert!(status.contains("malformed%20grpc-timeout"), "{status:?}");
    served.stop_now();
}

#[test]
fn pings_that_come_too_often_end_the_connection() {
    let served = answering();
    let mut peer = Peer::connect(&served);
    for _ in 0..4 {
        peer.frame(PING, 0, 0, &[0; 8]);
    }
    let (_, text) = peer.wait(GOAWAY, 0);
    assert!(text.ends_with("too_many_pings"), "{text:?}");
    // Nothing else comes.
    let mut rest = Vec::new();
    peer.0.read_to_end(&mut rest).unwrap();
    served.stop_now();
}

#[test]
fn a_large_answer_does_not_hold_up_a_small_one() {
    let large = vec![bytes::Bytes::from(vec![7; 1 << 20]); 8];
    let served = serve(
        FakeApi::new(move |request| {
            let Request::Range(range) = request else { return None };
            let records = if range.query.limit == 1 { Vec::new() } else { large.clone() };
            Some(Ok(Answer::Range(etched_state_machine::RangeOutput { records, ..Default::default() })))
        }),
        "",
    );
    let mut peer = Peer::connect(&served);
    // The stream's window stops the large answer in the middle.
    peer.range(1, &[]);
    peer.frame(8, 0, 0, &(1u32 << 30).to_be_bytes());
    let mut block = Vec::new();
    RANGE.iter().for_each(|(name, value)| write_field(&mut block, name.as_bytes(), value.as_bytes()));
    peer.frame(HEADERS, 4, 3, &block);
    // A message that says "limit 1".
    peer.frame(0, 1, 3, &[0, 0, 0, 0, 2, 0x18, 1]);
    assert_eq!(peer.wait(HEADERS, 1).0, 3, "the small one is answered first");
    peer.frame(8, 0, 1, &(1u32 << 30).to_be_bytes());
    assert_eq!(peer.wait(HEADERS, 1).0, 1);
    served.stop_now();
}
