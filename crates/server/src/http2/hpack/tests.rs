//! The examples of RFC 7541, appendix C, and what the format forbids.

use proptest::prelude::*;

use super::decode::read_integer;
use super::encode::write_integer;
use super::table::TABLE_BYTES_MAX;
use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| {
        fields.push(format!("{}: {}", String::from_utf8_lossy(&name), String::from_utf8_lossy(&value)));
    })?;
    Ok(fields)
}

/// Decodes blocks of one connection, each with the table's size behind it.
fn check(blocks: &[(&str, &[&str], usize)]) {
    let mut decoder = Decoder::new(1 << 16);
    for (hex, wanted, table_bytes) in blocks {
        assert_eq!(fields(&mut decoder, &bytes(hex)).unwrap(), *wanted);
        assert_eq!(decoder.table_bytes(), *table_bytes);
    }
}

#[test]
fn integers_are_those_of_appendix_c_1() {
    for (encoded, prefix_bits, value) in [("0a", 5, 10), ("1f9a0a", 5, 1337), ("2a", 8, 42)] {
        let encoded = bytes(encoded);
        assert_eq!(read_integer(&mut &encoded[..], prefix_bits), Ok(value));
        let mut written = Vec::new();
        write_integer(&mut written, 0, prefix_bits, value);
        assert_eq!(written, encoded);
    }
    assert!(read_integer(&mut &bytes("1fffffffffff0f")[..], 5).is_err(), "it is too large");
    assert!(read_integer(&mut &bytes("1f9a")[..], 5).is_err(), "it is cut off");
}

#[test]
fn single_fields_are_those_of_appendix_c_2() {
    check(&[(
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        &["custom-key: custom-header"],
        55,
    )]);
    check(&[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"], 0)]);
    check(&[("1008 7061 7373 776f 7264 0673 6563 7265 74", &["password: secret"], 0)]);
    check(&[("82", &[":method: GET"], 0)]);
}

const REQUEST_1: &[&str] = &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
const REQUEST_2: &[&str] =
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"];
const REQUEST_3: &[&str] = &[
    ":method: GET",
    ":scheme: https",
    ":path: /index.html",
    ":authority: www.example.com",
    "custom-key: custom-value",
];

#[test]
fn requests_are_those_of_appendix_c_3() {
    check(&[
        ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUEST_1, 57),
        ("8286 84be 5808 6e6f 2d63 6163 6865", REQUEST_2, 110),
        ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", REQUEST_3, 164),
    ]);
}

#[test]
fn coded_requests_are_those_of_appendix_c_4() {
    check(&[
        ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUEST_1, 57),
        ("8286 84be 5886 a8eb 1064 9cbf", REQUEST_2, 110),
        ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", REQUEST_3, 164),
    ]);
}

#[test]
fn responses_push_each_other_out_of_a_small_table_as_in_appendix_c_6() {
    let dated = |status: &'static str, date: &'static str| {
        [status, "cache-control: private", date, "location: https://www.example.com"]
    };
    check(&[
        ("3fe1 01", &[], 0),
        (
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
             919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            &dated(":status: 302", "date: Mon, 21 Oct 2013 20:13:21 GMT"),
            222,
        ),
        (
            "4883 640e ffc1 c0bf",
            &dated(":status: 307", "cache-control: private")[..1]
                .iter()
                .chain(&[
                    "cache-control: private",
                    "date: Mon, 21 Oct 2013 20:13:21 GMT",
                    "location: https://www.example.com",
                ])
                .copied()
                .collect::<Vec<_>>(),
            222,
        ),
    ]);
}

#[test]
fn what_the_format_forbids_is_refused() {
    for (hex, why) in [
        ("80", "index zero"),
        ("be", "an index behind the tables"),
        ("3fe21f", "a table of 4097 bytes"),
        ("8220", "a size behind a field"),
        ("0005", "a text that is cut off"),
        ("00", "a field without a name"),
        ("7f", "an integer that is cut off"),
        ("0081ff00", "padding of eight bits"),
    ] {
        assert!(fields(&mut Decoder::new(1 << 16), &bytes(hex)).is_err(), "{why}");
    }
    // Twice at the front is allowed, and 4096 is the size that was announced.
    assert!(fields(&mut Decoder::new(1 << 16), &bytes("203fe11f82")).is_ok());
}

#[test]
fn a_list_that_is_too_long_is_read_to_its_end_and_given_out_in_part() {
    let mut decoder = Decoder::new(100);
    let mut block = Vec::new();
    for _ in 0..3 {
        write_field(&mut block, b"name", b"value");
    }
    // The last field is kept for later blocks all the same.
    block.extend_from_slice(&bytes("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572"));
    let mut count = 0;
    assert_eq!(decoder.decode(&block, |_, _| count += 1), Ok(false));
    assert_eq!(count, 2);
    assert_eq!(fields(&mut decoder, &bytes("be")).unwrap(), ["custom-key: custom-header"]);
}

#[test]
fn changes_tell_when_a_block_may_mean_something_else() {
    let mut decoder = Decoder::new(1 << 16);
    fields(&mut decoder, &bytes("8286 8401 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d")).unwrap();
    assert_eq!(decoder.changes(), 0);
    fields(&mut decoder, &bytes("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d")).unwrap();
    assert_eq!(decoder.changes(), 1);
    fields(&mut decoder, &bytes("20")).unwrap();
    assert_eq!(decoder.changes(), 2);
}

proptest! {
    #[test]
    fn what_is_written_is_read(list in prop::collection::vec(("[a-z-]{1,20}", ".{0,60}"), 0..20), status in 100u16..600) {
        let mut block = Vec::new();
        write_status(&mut block, status);
        for (name, value) in &list {
            write_field(&mut block, name.as_bytes(), value.as_bytes());
        }
        let mut wanted = vec![format!(":status: {status}")];
        wanted.extend(list.iter().map(|(name, value)| format!("{name}: {value}")));
        prop_assert_eq!(fields(&mut Decoder::new(1 << 20), &block).unwrap(), wanted);
    }

    #[test]
    fn coded_texts_are_read(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let coded = huffman::encode(&text);
        prop_assert_eq!(huffman::decode(&coded).unwrap(), text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5)) {
        let mut decoder = Decoder::new(1000);
        for block in blocks {
            let mut given = 0;
            let decoded = decoder.decode(&block, |name, value| given += name.len() + value.len() + 32);
            prop_assert!(given <= 1000);
            prop_assert!(decoder.table_bytes() <= TABLE_BYTES_MAX);
            if decoded.is_err() {
                break;
            }
        }
    }
}
