//! A description of the gateway in OpenAPI 3, made of the descriptors: `/openapi.json`.

use serde_json::{Map, Value, json};

use super::routes::ROUTES;
use super::schema::{Enum, Field, Kind, Message, Schema};
use crate::flags::SERVER_VERSION;

/// The whole description.
pub(super) fn description(schema: &Schema) -> String {
    let mut paths = Map::new();
    for (path, service, name) in ROUTES {
        if let Some(method) = schema.method(service, name) {
            let input = reference(&schema.message(method.input).name);
            let output = reference(&schema.message(method.output).name);
            let described = operation(
                path,
                service,
                name,
                &Shape {
                    input,
                    output,
                    is_stream: method.streams_responses,
                    is_bidi: method.streams_requests,
                },
            );
            paths.insert(path.to_owned(), json!({ "post": described }));
        }
    }
    let mut schemas = Map::new();
    for message in schema.messages() {
        schemas.insert(message.name.clone(), object(schema, message));
    }
    for values in schema.enums() {
        schemas.insert(values.name.clone(), enumeration(values));
    }
    schemas.insert("Error".to_owned(), error());
    schemas.insert("StreamError".to_owned(), stream_error());
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "etcd",
            "version": SERVER_VERSION,
            "description": "The gRPC API as JSON. 64-bit integers are strings, bytes are Base64, zeros are left out.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "apiKey", "in": "header", "name": "Authorization",
                           "description": "What /v3/auth/authenticate gave." },
            },
        },
        "security": [{ "token": [] }, {}],
    })
    .to_string()
}

struct Shape {
    input: Value,
    output: Value,
    is_stream: bool,
    is_bidi: bool,
}

fn operation(path: &str, service: &str, name: &str, shape: &Shape) -> Value {
    let lines = "One JSON object a line.";
    let (request_text, response_text) = match (shape.is_bidi, shape.is_stream) {
        (true, _) => ("JSON objects, one after the other.", lines),
        (false, true) => ("A JSON object.", lines),
        (false, false) => ("A JSON object; no body counts as an empty one.", "The answer."),
    };
    let output = if shape.is_stream {
        let failed = reference("StreamError");
        json!({ "type": "object", "properties": { "result": shape.output, "error": failed } })
    } else {
        shape.output.clone()
    };
    // Some methods have two paths.
    let number =
        ROUTES.iter().filter(|route| (route.1, route.2) == (service, name)).position(|route| route.0 == path);
    let suffix =
        number.filter(|number| *number > 0).map(|number| (number + 1).to_string()).unwrap_or_default();
    json!({
        "operationId": format!("{}_{name}{suffix}", service.rsplit('.').next().unwrap_or(service)),
        "tags": [service.rsplit('.').next().unwrap_or(service)],
        "requestBody": {
            "description": request_text,
            "content": { "application/json": { "schema": shape.input } },
        },
        "responses": {
            "200": {
                "description": response_text,
                "content": { "application/json": { "schema": output } },
            },
            "default": {
                "description": "The call failed.",
                "content": { "application/json": { "schema": reference("Error") } },
            },
        },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn object(schema: &Schema, message: &Message) -> Value {
    let properties: Map<String, Value> =
        message.fields.iter().map(|field| (field.name.clone(), property(schema, field))).collect();
    json!({ "type": "object", "properties": properties })
}

fn property(schema: &Schema, field: &Field) -> Value {
    let one = match field.kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int32 => json!({ "type": "integer", "format": "int32" }),
        Kind::Uint32 => json!({ "type": "integer", "format": "int64" }),
        Kind::Int64 => json!({ "type": "string", "format": "int64" }),
        Kind::Uint64 => json!({ "type": "string", "format": "uint64" }),
        Kind::String => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "format": "byte" }),
        Kind::Enum(id) => reference(&schema.enumeration(id).name),
        Kind::Message(id) => reference(&schema.message(id).name),
    };
    if field.is_repeated { json!({ "type": "array", "items": one }) } else { one }
}

fn enumeration(values: &Enum) -> Value {
    let names: Vec<&str> = values.values.iter().map(|(name, _)| name.as_str()).collect();
    json!({ "type": "string", "enum": names })
}

fn error() -> Value {
    json!({ "type": "object", "properties": {
        "error": { "type": "string" },
        "code": { "type": "integer", "format": "int32", "description": "The gRPC code." },
        "message": { "type": "string" },
    } })
}

fn stream_error() -> Value {
    json!({ "type": "object", "properties": {
        "code": { "type": "integer", "format": "int32", "description": "The gRPC code." },
        "message": { "type": "string" },
        "grpc_code": { "type": "integer", "format": "int32" },
        "http_code": { "type": "integer", "format": "int32" },
        "http_status": { "type": "string" },
    } })
}
