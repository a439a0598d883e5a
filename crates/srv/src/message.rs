//! The messages of the domain name system, as far as SRV records need them (RFC 1035 and 2782).
//!
//! ```text
//! message: id u16 | flags u16 | four counts u16 | questions | answers | ...
//! question: name | type u16 | class u16
//! answer: name | type u16 | class u16 | ttl u32 | length u16 | data
//! data of SRV: priority u16 | weight u16 | port u16 | name
//! name: (length u8 | bytes)* | 0, or a pointer 11xxxxxx xxxxxxxx to an earlier name in the place of its tail
//! ```

const TYPE_SRV: u16 = 33;
const CLASS_INTERNET: u16 = 1;
const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const CODE_NO_SUCH_NAME: u16 = 3;
/// A name has at most 255 bytes, so more pointers than this lead in a circle.
const POINTERS_MAX: usize = 127;

/// Where a service is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Services with a lower number are used first.
    pub priority: u16,
    /// The share that a service gets of those with the same priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// The name of its host, without the dot at its end.
    pub target: String,
}

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// None, if the name does not exist.
    Services(Vec<Service>),
    /// It did not fit; TCP has room for it.
    TooLong,
    /// The server failed, with this code.
    Failure(u16),
}

/// The question for the SRV records of a name; `None` if the name cannot be written.
pub(super) fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in [id, FLAG_RECURSION_DESIRED, 1, 0, 0, 0] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    let head = bytes.len();
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    if bytes.len() - head > 255 {
        return None;
    }
    for word in [TYPE_SRV, CLASS_INTERNET] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    Some(bytes)
}

/// Reads an answer; `None` if it belongs to another question, or is no answer at all.
pub(super) fn answer(id: u16, message: &[u8]) -> Option<Answer> {
    let mut reader = Reader { message, at: 0 };
    let (its_id, flags, questions, answers) = (reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?);
    reader.skip(4)?;
    if its_id != id || flags & FLAG_RESPONSE == 0 {
        return None;
    }
    if flags & FLAG_TRUNCATED != 0 {
        return Some(Answer::TooLong);
    }
    match flags & 0xf {
        0 | CODE_NO_SUCH_NAME => {}
        code => return Some(Answer::Failure(code)),
    }
    for _ in 0..questions {
        reader.name()?;
        reader.skip(4)?;
    }
    let mut services = Vec::new();
    for _ in 0..answers {
        reader.name()?;
        let kind = reader.u16()?;
        reader.skip(6)?;
        let length = usize::from(reader.u16()?);
        let end = reader.at + length;
        if kind == TYPE_SRV {
            let (priority, weight, port) = (reader.u16()?, reader.u16()?, reader.u16()?);
            services.push(Service { priority, weight, port, target: reader.name()? });
        }
        reader.at = end;
    }
    Some(Answer::Services(services))
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u16(&mut self) -> Option<u16> {
        let bytes = self.message.get(self.at..self.at + 2)?;
        self.at += 2;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at += bytes;
        (self.at <= self.message.len()).then_some(())
    }

    /// A name, without the dot at its end.
    fn name(&mut self) -> Option<String> {
        let mut labels = Vec::new();
        let mut at = self.at;
        let mut pointers = 0;
        loop {
            let length = usize::from(*self.message.get(at)?);
            match length {
                0 => {
                    at += 1;
                    break;
                }
                1..=63 => {
                    let label = self.message.get(at + 1..at + 1 + length)?;
                    labels.push(String::from_utf8_lossy(label).into_owned());
                    at += 1 + length;
                }
                192..=255 => {
                    let low = usize::from(*self.message.get(at + 1)?);
                    if pointers == 0 {
                        self.at = at + 2;
                    }
                    pointers += 1;
                    if pointers > POINTERS_MAX {
                        return None;
                    }
                    at = (length & 0x3f) << 8 | low;
                }
                _ => return None,
            }
        }
        if pointers == 0 {
            self.at = at;
        }
        Some(labels.join("."))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An answer with these services, whose targets end in a pointer to the root of the question's name.
    pub(crate) fn response(id: u16, name: &str, services: &[(u16, u16, u16, &str)]) -> Vec<u8> {
        let mut bytes = question(id, name).unwrap();
        bytes[2..4].copy_from_slice(&(FLAG_RESPONSE | FLAG_RECURSION_DESIRED).to_be_bytes());
        bytes[6..8].copy_from_slice(&u16::try_from(services.len()).unwrap().to_be_bytes());
        let root = u16::try_from(bytes.len() - 5).unwrap();
        for (priority, weight, port, target) in services {
            let labels = target
                .split('.')
                .flat_map(|label| std::iter::once(u8::try_from(label.len()).unwrap()).chain(label.bytes()));
            let target: Vec<u8> = labels.chain((0xc000 | root).to_be_bytes()).collect();
            // The name is a pointer to that of the question.
            for word in [0xc00c, TYPE_SRV, CLASS_INTERNET, 0, 60, u16::try_from(6 + target.len()).unwrap()] {
                bytes.extend_from_slice(&word.to_be_bytes());
            }
            for word in [priority, weight, port] {
                bytes.extend_from_slice(&word.to_be_bytes());
            }
            bytes.extend_from_slice(&target);
        }
        bytes
    }

    #[test]
    fn a_question_has_its_name_in_labels() {
        let bytes = question(0x1234, "_s._tcp.a.").unwrap();
        assert_eq!(bytes, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02_s\x04_tcp\x01a\0\0\x21\0\x01");
        assert_eq!(question(1, &"x".repeat(64)), None);
        assert_eq!(question(1, "a..b"), None);
        assert_eq!(question(1, &["abcdefg"; 40].join(".")), None);
    }

    #[test]
    fn services_are_read_through_pointers() {
        let message = response(7, "_s._tcp.a", &[(1, 2, 2379, "m1.a"), (3, 4, 5, "m2.a")]);
        let service = |priority, weight, port, target: &str| Service {
            priority,
            weight,
            port,
            target: target.to_owned(),
        };
        let expected = vec![service(1, 2, 2379, "m1.a"), service(3, 4, 5, "m2.a")];
        assert_eq!(answer(7, &message), Some(Answer::Services(expected)));
        assert_eq!(answer(8, &message), None, "it is the answer to another question");
    }

    #[test]
    fn refusals_and_missing_names_are_told_apart() {
        let with_flags = |flags: u16| {
            let mut message = response(7, "a", &[]);
            message[2..4].copy_from_slice(&flags.to_be_bytes());
            answer(7, &message)
        };
        assert_eq!(with_flags(0x8003), Some(Answer::Services(Vec::new())));
        assert_eq!(with_flags(0x8002), Some(Answer::Failure(2)));
        assert_eq!(with_flags(0x8200), Some(Answer::TooLong));
        assert_eq!(with_flags(0), None, "a question is no answer");
    }

    #[test]
    fn no_bytes_do_harm() {
        let whole = response(7, "_s._tcp.a", &[(1, 2, 3, "m1.a")]);
        for length in 0..whole.len() {
            answer(7, &whole[..length]);
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x3f, 0x40, 0xc0, 0xff] {
                let mut message = whole.clone();
                message[at] = byte;
                answer(7, &message);
            }
        }
        // A pointer to itself.
        let mut circle = whole[..12].to_vec();
        circle[6..8].copy_from_slice(&[0, 1]);
        circle[4..6].copy_from_slice(&[0, 0]);
        circle.extend_from_slice(&[0xc0, 12, 0, 33]);
        assert_eq!(answer(7, &circle), None);
    }
}
