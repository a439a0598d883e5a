//! The table, and its requests as messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Everybody,
    /// Whoever says who he is.
    Somebody,
    /// Who may read and write `a` to `c`.
    Alice,
    Root,
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) who: Who,
    pub(super) method: String,
    pub(super) path: Option<String>,
    pub(super) json: String,
    pub(super) message: Vec<u8>,
    /// Whether there may be more than one answer.
    pub(super) is_stream: bool,
}

impl Call {
    /// A call that is not in the table.
    pub(super) fn new(method: &str, json: &str) -> Self {
        Self::read(&pool(), Who::Root, method, "-", json)
    }

    fn read(pool: &DescriptorPool, who: Who, method: &str, path: &str, json: &str) -> Self {
        let json = keys(json);
        let (message, is_stream) = match descriptor(pool, method) {
            Some(descriptor) => {
                let mut from = serde_json::Deserializer::from_str(&json);
                let message = DynamicMessage::deserialize(descriptor.input(), &mut from).expect(&json);
                (message.encode_to_vec(), descriptor.is_server_streaming())
            }
            // The health service is not ours.
            None => (Vec::new(), false),
        };
        let path = (path != "-").then(|| path.to_owned());
        Self { who, method: method.to_owned(), path, json, message, is_stream }
    }

    pub(super) fn is_health(&self) -> bool {
        self.method == "grpc.health.v1.Health/Check"
    }

    /// What a call does, for people.
    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.method, self.json)
    }

    /// What the message of an answer says of a stream that goes on in spite of a refusal.
    pub(super) fn refusal_within(&self, answer: &[u8]) -> Option<String> {
        (self.method == "etcdserverpb.Watch/Watch").then_some(())?;
        let answer = etched_proto::etcdserverpb::WatchResponse::decode(answer).unwrap();
        answer.canceled.then_some(answer.cancel_reason)
    }
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(etched_proto::FILE_DESCRIPTOR_SET).unwrap()
}

/// All lines of the table.
pub(super) fn all() -> Vec<Call> {
    let pool = pool();
    let lines = include_str!("calls.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let line = line.split(" #").next().unwrap();
            let [who, method, path, json] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("a line has four columns: {line}");
            };
            let who = match who {
                "everybody" => Who::Everybody,
                "somebody" => Who::Somebody,
                "alice" => Who::Alice,
                "root" => Who::Root,
                other => panic!("nobody is {other}"),
            };
            Call::read(&pool, who, method, path, json)
        })
        .collect()
}

/// All methods of the services that need a line.
pub(super) fn methods() -> Vec<String> {
    let pool = pool();
    let services = pool.services().filter(|service| service.parent_file().name() != "health.proto");
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.map(|method| format!("{}/{}", method.parent_service().full_name(), method.name())).collect()
}

fn descriptor(pool: &DescriptorPool, method: &str) -> Option<MethodDescriptor> {
    let (service, name) = method.split_once('/').unwrap();
    pool.get_service_by_name(service)?.methods().find(|method| method.name() == name)
}

/// Puts keys into a request: `<a>` is the key `a`, `<\0>` the zero byte.
fn keys(json: &str) -> String {
    let mut parts = json.split('<');
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (key, rest) = part.split_once('>').unwrap();
        out.push_str(&STANDARD.encode(key.replace("\\0", "\0")));
        out.push_str(rest);
    }
    out
}
