//! Values and texts as etcd 3.7.2 was seen to take and give them.

use etched_proto::etcdserverpb as pb;
use etched_proto::mvccpb::KeyValue;
use proptest::prelude::*;
use prost::Message;

use super::super::schema::Schema;
use super::*;

fn read<M: Message + Default>(name: &str, json: &str) -> Result<M, String> {
    let schema = Schema::new().unwrap();
    let message = schema.find(name).unwrap();
    to_wire(&schema, message, json.as_bytes()).map(|wire| M::decode(&wire[..]).unwrap())
}

fn range(json: &str) -> Result<pb::RangeRequest, String> {
    read("etcdserverpb.RangeRequest", json)
}

fn write(name: &str, message: &impl Message, escape: Escape) -> String {
    let schema = Schema::new().unwrap();
    let id = schema.find(name).unwrap();
    let mut json = Vec::new();
    to_json(&schema, id, &message.encode_to_vec(), escape, &mut json).unwrap();
    String::from_utf8(json).unwrap()
}

fn scan(json: &[u8]) -> Result<Option<usize>, String> {
    let mut scanner = Scanner::new();
    Ok(scanner.find_end(json)?.or_else(|| scanner.may_end().then_some(json.len())))
}

#[test]
fn what_is_no_json_is_refused_in_gos_words() {
    for (json, why) in [
        ("{\"key\":x}", "invalid character 'x' looking for beginning of value"),
        ("{\"key\" \"a\"}", "invalid character '\"' after object key"),
        ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
        ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("nulx", "invalid character 'x' in literal null (expecting 'l')"),
        ("\"a\\x\"", "invalid character 'x' in string escape code"),
        ("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"),
        ("\"a\tb\"", "invalid character '\\t' in string literal"),
        ("-a", "invalid character 'a' in numeric literal"),
        ("1.a", "invalid character 'a' after decimal point in numeric literal"),
        ("1e+a", "invalid character 'a' in exponent of numeric literal"),
        ("'", "invalid character '\\'' looking for beginning of value"),
        ("\u{7f}", "invalid character '\\x7f' looking for beginning of value"),
        ("\u{e4}", "invalid character '\u{c3}' looking for beginning of value"),
    ] {
        assert_eq!(scan(json.as_bytes()), Err(why.to_owned()), "{json}");
    }
    let deep = "[".repeat(10_001);
    assert_eq!(scan(deep.as_bytes()), Err("invalid character '[' exceeded max depth".to_owned()));
}

#[test]
fn a_value_ends_where_it_is_whole() {
    for (json, end) in [
        ("{} trailing", Some(2)),
        (" {\"a\":[1,{}]}}", Some(13)),
        ("01", Some(1)),
        ("12", Some(2)),
        ("\"a\"b", Some(3)),
        ("null", Some(4)),
        ("{\"a\"", None),
        ("1.", None),
        ("  ", None),
    ] {
        assert_eq!(scan(json.as_bytes()), Ok(end), "{json}");
    }
}

#[test]
fn numbers_may_be_strings_and_integers_may_look_like_others() {
    for (json, limit) in [
        ("5", 5),
        ("\"5\"", 5),
        ("1e2", 100),
        ("5.0", 5),
        ("100e-2", 1),
        ("0.001e3", 1),
        ("\"1.0\"", 1),
        ("-0", 0),
        ("\"1,2\"", 1),
        ("-9223372036854775808", i64::MIN),
        ("null", 0),
    ] {
        assert_eq!(range(&format!("{{\"limit\":{json}}}")).unwrap().limit, limit, "{json}");
    }
    for json in [
        "1.5",
        "1e400",
        "\"\"",
        "\" 1\"",
        "\"01\"",
        "\"0x1\"",
        "9223372036854775808",
        "true",
        "\"abc\"",
        "1e-1",
    ] {
        let why = format!("proto: (line 1:10): invalid value for int64 field limit: {json}");
        assert_eq!(range(&format!("{{\"limit\":{json}}}")), Err(why), "{json}");
    }
}

#[test]
fn bytes_are_base64_of_either_alphabet() {
    for (text, key) in [
        ("Zm9v", &b"foo"[..]),
        ("Zg", b"f"),
        ("Zg==", b"f"),
        ("Zh==", b"f"),
        ("-_-_", b"\xfb\xff\xbf"),
        ("+/+/", b"\xfb\xff\xbf"),
        ("Zm9v\\r\\nZm9v", b"foofoo"),
        ("", b""),
    ] {
        assert_eq!(range(&format!("{{\"key\":\"{text}\"}}")).unwrap().key, key, "{text}");
    }
    for text in ["a", "***", "Zg=", "Z-/=", "Zm9v Zm9v", "====", "Zm=v"] {
        let why = format!("proto: (line 1:8): invalid value for bytes field key: \"{text}\"");
        assert_eq!(range(&format!("{{\"key\":\"{text}\"}}")), Err(why), "{text}");
    }
}

#[test]
fn enumerations_are_names_or_numbers_and_unknown_names_nothing() {
    for (json, order) in [("\"DESCEND\"", 2), ("1", 1), ("1.0", 1), ("99", 99), ("\"X\"", 0), ("\"1\"", 0)] {
        assert_eq!(range(&format!("{{\"sort_order\":{json}}}")).unwrap().sort_order, order, "{json}");
    }
    let why = "proto: (line 1:14): invalid value for enum field sortOrder: true";
    assert_eq!(range("{\"sortOrder\":true}"), Err(why.to_owned()));
}

#[test]
fn names_stand_in_two_forms_and_none_twice() {
    assert_eq!(range("{\"range_end\":\"AA==\"}").unwrap().range_end, &b"\0"[..]);
    assert_eq!(range("{\"range\\u0045nd\":\"AA==\"}").unwrap().range_end, &b"\0"[..]);
    assert_eq!(range("{\"bogus\":{\"a\":[1,{\"b\":null}]},\"limit\":1}").unwrap().limit, 1);
    let why = "proto: (line 1:21): duplicate field \"rangeEnd\"";
    assert_eq!(range("{\"range_end\":\"AA==\",\"rangeEnd\":\"AA==\"}"), Err(why.to_owned()));
    let why = "proto: (line 2:7): invalid value for bytes field key: 1";
    assert_eq!(range("{\n\"key\":1}"), Err(why.to_owned()));
    let why = "proto: syntax error (line 1:1): unexpected token [";
    assert_eq!(range("[]"), Err(why.to_owned()));
}

#[test]
fn one_field_of_a_group_may_be_set_and_a_zero_in_it_counts() {
    let op: pb::Compare = read("etcdserverpb.Compare", "{\"version\":\"0\"}").unwrap();
    assert_eq!(op.target_union, Some(pb::compare::TargetUnion::Version(0)));
    let both = "{\"request_put\":{},\"request_range\":{}}";
    let why = "proto: (line 1:19): error parsing \"request_range\", oneof etcdserverpb.RequestOp.request is already set";
    assert_eq!(read::<pb::RequestOp>("etcdserverpb.RequestOp", both), Err(why.to_owned()));
    let null = "{\"request_put\":null,\"request_range\":{}}";
    assert!(read::<pb::RequestOp>("etcdserverpb.RequestOp", null).unwrap().request.is_some());
}

#[test]
fn strings_must_be_text() {
    let why = "proto: syntax error (line 1:8): invalid UTF-8 in string";
    let schema = Schema::new().unwrap();
    let message = schema.find("etcdserverpb.RangeRequest").unwrap();
    assert_eq!(to_wire(&schema, message, b"{\"key\":\"\xff\"}"), Err(why.to_owned()));
    assert_eq!(range("{\"x\":\"\\ud800\"}"), Err("proto: unexpected EOF".to_owned()));
    let why = "proto: syntax error (line 1:6): invalid escape code \"abcdef\" in string";
    assert_eq!(range("{\"x\":\"\\ud800abcdefgh\"}"), Err(why.to_owned()));
}

#[test]
fn nesting_that_no_service_takes_is_refused() {
    let json =
        (0..300).fold("{}".to_owned(), |inner, _| format!("{{\"success\":[{{\"request_txn\":{inner}}}]}}"));
    let refused = read::<pb::TxnRequest>("etcdserverpb.TxnRequest", &json).unwrap_err();
    assert_eq!(refused, "proto: exceeded maximum recursion depth");
}

#[test]
fn answers_have_declared_names_in_declared_order_and_no_zeros() {
    let kv =
        KeyValue { key: "a".into(), value: "b".into(), mod_revision: 7, lease: -1, ..Default::default() };
    let header = pb::ResponseHeader { cluster_id: u64::MAX, ..Default::default() };
    let range = pb::RangeResponse { header: Some(header), kvs: vec![kv.clone(), kv], more: true, count: 2 };
    assert_eq!(
        write("etcdserverpb.RangeResponse", &range, Escape::Json),
        "{\"header\":{\"cluster_id\":\"18446744073709551615\"},\"kvs\":[\
         {\"key\":\"YQ==\",\"mod_revision\":\"7\",\"value\":\"Yg==\",\"lease\":\"-1\"},\
         {\"key\":\"YQ==\",\"mod_revision\":\"7\",\"value\":\"Yg==\",\"lease\":\"-1\"}],\"more\":true,\"count\":\"2\"}"
    );
    assert_eq!(write("etcdserverpb.RangeResponse", &pb::RangeResponse::default(), Escape::Json), "{}");
    let alarms = vec![
        pb::AlarmMember { member_id: 1, alarm: 2 },
        pb::AlarmMember { member_id: 0, alarm: 0 },
        pb::AlarmMember { member_id: 0, alarm: 9 },
    ];
    assert_eq!(
        write("etcdserverpb.AlarmResponse", &pb::AlarmResponse { header: None, alarms }, Escape::Json),
        "{\"alarms\":[{\"memberID\":\"1\",\"alarm\":\"CORRUPT\"},{},{\"alarm\":9}]}"
    );
    let ask = pb::WatchCreateRequest { filters: vec![0, 1], ..Default::default() };
    assert_eq!(
        write("etcdserverpb.WatchCreateRequest", &ask, Escape::Json),
        "{\"filters\":[\"NOPUT\",\"NODELETE\"]}"
    );
}

#[test]
fn only_streams_escape_for_pages() {
    let user = pb::AuthUserListResponse { header: None, users: vec!["\u{e4}<>&\u{7f}\u{1}\n\"\\".into()] };
    assert_eq!(
        write("etcdserverpb.AuthUserListResponse", &user, Escape::Json),
        "{\"users\":[\"\u{e4}<>&\u{7f}\\u0001\\n\\\"\\\\\"]}"
    );
    assert_eq!(
        write("etcdserverpb.AuthUserListResponse", &user, Escape::Html),
        "{\"users\":[\"\u{e4}\\u003c\\u003e\\u0026\u{7f}\\u0001\\n\\\"\\\\\"]}"
    );
}

#[test]
fn every_method_with_a_path_has_messages() {
    let schema = Schema::new().unwrap();
    for (path, service, method) in super::super::routes::ROUTES {
        assert!(schema.method(service, method).is_some(), "{path}");
    }
}

proptest! {
    #[test]
    fn a_message_comes_back_from_its_json(
        key in prop::collection::vec(any::<u8>(), 0..20),
        limit in any::<i64>(),
        order in 0..4i32,
        flags in any::<[bool; 3]>(),
    ) {
        let [serializable, keys_only, count_only] = flags;
        let message = pb::RangeRequest {
            range_end: key.clone().into(),
            key: key.into(),
            limit,
            sort_order: order,
            serializable,
            keys_only,
            count_only,
            max_mod_revision: limit.wrapping_neg(),
            ..Default::default()
        };
        prop_assert_eq!(range(&write("etcdserverpb.RangeRequest", &message, Escape::Json)), Ok(message));
    }

    #[test]
    fn no_bytes_make_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), wire in any::<bool>()) {
        let schema = Schema::new().unwrap();
        let message = schema.find("etcdserverpb.TxnRequest").unwrap();
        if wire {
            let mut out = Vec::new();
            let _ = to_json(&schema, message, &bytes, Escape::Json, &mut out);
        } else {
            let mut value = bytes;
            let _ = to_wire(&schema, message, &value);
            value.insert(0, b'{');
            if let Ok(Some(end)) = scan(&value) {
                let _ = to_wire(&schema, message, &value[..end]);
            }
        }
    }
}
