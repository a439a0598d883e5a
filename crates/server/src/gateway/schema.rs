//! What messages look like: the part of the descriptors that JSON needs, with names resolved.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// The descriptors use something that this module does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the descriptor of {0} cannot be used")]
pub(crate) struct SchemaError(String);

/// The position of a message in its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MessageId(usize);

/// The position of an enumeration in its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EnumId(usize);

/// All messages, enumerations and methods.
#[derive(Debug)]
pub(crate) struct Schema {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    methods: BTreeMap<(String, String), Method>,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its full name.
    pub(crate) name: String,
    /// In the order of the declaration.
    pub(crate) fields: Vec<Field>,
    /// The names of its groups of which one field may be set.
    pub(crate) oneofs: Vec<String>,
    by_name: BTreeMap<String, usize>,
    by_number: Vec<(u32, usize)>,
}

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its name in the declaration, which is written.
    pub(crate) name: String,
    /// The name that JSON prefers, which is read too and stands in errors.
    pub(crate) json_name: String,
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    pub(crate) is_repeated: bool,
    /// The position of its group.
    pub(crate) oneof: Option<usize>,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    String,
    Bytes,
    Enum(EnumId),
    Message(MessageId),
}

/// One enumeration.
#[derive(Debug)]
pub(crate) struct Enum {
    /// Its full name.
    pub(crate) name: String,
    /// Names and numbers, in the order of the declaration.
    pub(crate) values: Vec<(String, i32)>,
}

/// One method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) input: MessageId,
    pub(crate) output: MessageId,
    /// Whether many requests may be sent.
    pub(crate) streams_requests: bool,
    /// Whether many responses may come.
    pub(crate) streams_responses: bool,
}

impl Schema {
    /// The schema of the server's services.
    ///
    /// # Errors
    ///
    /// When the descriptors cannot be used, which a test excludes.
    pub(crate) fn new() -> Result<Self, SchemaError> {
        let set = FileDescriptorSet::decode(etched_proto::FILE_DESCRIPTOR_SET)
            .map_err(|error| SchemaError(error.to_string()))?;
        let mut names = Names::default();
        for file in &set.file {
            let package = format!(".{}", file.package());
            file.message_type.iter().for_each(|message| names.gather(&package, message));
            file.enum_type.iter().for_each(|values| names.gather_enum(&package, values));
        }
        let mut schema = Self {
            messages: Vec::new(),
            enums: names.enums.iter().map(enumeration).collect(),
            methods: BTreeMap::new(),
        };
        for (name, descriptor) in &names.messages {
            schema.messages.push(message(name, descriptor, &names)?);
        }
        for file in &set.file {
            for service in &file.service {
                let full_name = format!("{}.{}", file.package(), service.name());
                for method in &service.method {
                    let described = Method {
                        input: names.message(method.input_type())?,
                        output: names.message(method.output_type())?,
                        streams_requests: method.client_streaming(),
                        streams_responses: method.server_streaming(),
                    };
                    schema.methods.insert((full_name.clone(), method.name().to_owned()), described);
                }
            }
        }
        Ok(schema)
    }

    /// All messages.
    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// All enumerations.
    pub(crate) fn enums(&self) -> &[Enum] {
        &self.enums
    }

    /// A message.
    pub(crate) fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0]
    }

    /// An enumeration.
    pub(crate) fn enumeration(&self, id: EnumId) -> &Enum {
        &self.enums[id.0]
    }

    /// A method of a service.
    pub(crate) fn method(&self, service: &str, name: &str) -> Option<Method> {
        self.methods.get(&(service.to_owned(), name.to_owned())).copied()
    }

    /// The message of a name.
    #[cfg(test)]
    pub(crate) fn find(&self, name: &str) -> Option<MessageId> {
        self.messages.iter().position(|message| message.name == name).map(MessageId)
    }
}

impl Message {
    /// The field of a name, in either form.
    pub(crate) fn by_name(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The field of a number.
    pub(crate) fn by_number(&self, number: u32) -> Option<usize> {
        let found = self.by_number.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(self.by_number[found].1)
    }
}

impl Enum {
    /// The number of a name.
    pub(crate) fn number(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
    }

    /// The name of a number.
    pub(crate) fn value_name(&self, number: i32) -> Option<&str> {
        self.values.iter().find(|(_, known)| *known == number).map(|(name, _)| name.as_str())
    }
}

/// Full names of all types, each with a leading point, as references have them.
#[derive(Default)]
struct Names {
    messages: Vec<(String, DescriptorProto)>,
    enums: Vec<(String, EnumDescriptorProto)>,
}

impl Names {
    fn gather(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        message.nested_type.iter().for_each(|nested| self.gather(&name, nested));
        message.enum_type.iter().for_each(|values| self.gather_enum(&name, values));
        self.messages.push((name, message.clone()));
    }

    fn gather_enum(&mut self, scope: &str, values: &EnumDescriptorProto) {
        self.enums.push((format!("{scope}.{}", values.name()), values.clone()));
    }

    fn message(&self, name: &str) -> Result<MessageId, SchemaError> {
        let found = self.messages.iter().position(|(known, _)| known == name);
        found.map(MessageId).ok_or_else(|| SchemaError(name.to_owned()))
    }

    fn enumeration(&self, name: &str) -> Result<EnumId, SchemaError> {
        let found = self.enums.iter().position(|(known, _)| known == name);
        found.map(EnumId).ok_or_else(|| SchemaError(name.to_owned()))
    }
}

fn enumeration((name, descriptor): &(String, EnumDescriptorProto)) -> Enum {
    let values = descriptor.value.iter().map(|value| (value.name().to_owned(), value.number()));
    Enum { name: without_point(name), values: values.collect() }
}

fn without_point(name: &str) -> String {
    name.trim_start_matches('.').to_owned()
}

fn message(name: &str, descriptor: &DescriptorProto, names: &Names) -> Result<Message, SchemaError> {
    let fields: Vec<Field> =
        descriptor.field.iter().map(|described| field(name, described, names)).collect::<Result<_, _>>()?;
    let mut by_name = BTreeMap::new();
    let mut by_number = Vec::new();
    for (position, field) in fields.iter().enumerate() {
        by_name.insert(field.json_name.clone(), position);
        by_name.insert(field.name.clone(), position);
        by_number.push((field.number, position));
    }
    by_number.sort_unstable();
    let oneofs = descriptor.oneof_decl.iter().map(|oneof| oneof.name().to_owned()).collect();
    Ok(Message { name: without_point(name), fields, oneofs, by_name, by_number })
}

fn field(message: &str, field: &FieldDescriptorProto, names: &Names) -> Result<Field, SchemaError> {
    let unusable = || SchemaError(format!("{message}.{}", field.name()));
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "etcd uses no other type; a test tells if that changes"
    )]
    let kind = match field.r#type() {
        Type::Bool => Kind::Bool,
        Type::Int32 => Kind::Int32,
        Type::Int64 => Kind::Int64,
        Type::Uint32 => Kind::Uint32,
        Type::Uint64 => Kind::Uint64,
        Type::String => Kind::String,
        Type::Bytes => Kind::Bytes,
        Type::Enum => Kind::Enum(names.enumeration(field.type_name())?),
        Type::Message => Kind::Message(names.message(field.type_name())?),
        _ => return Err(unusable()),
    };
    Ok(Field {
        name: field.name().to_owned(),
        json_name: field.json_name().to_owned(),
        number: u32::try_from(field.number()).map_err(|_| unusable())?,
        kind,
        is_repeated: field.label() == Label::Repeated,
        oneof: field.oneof_index.map(|index| usize::try_from(index).map_err(|_| unusable())).transpose()?,
    })
}
