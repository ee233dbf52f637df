use super::*;
use hickory_proto::op::Query as Question;
use proptest::prelude::*;

fn question(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(Name::from_labels(name.split('.').map(str::as_bytes)).unwrap(), kind));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn query(packet: &[u8]) -> Query {
    match read(packet) {
        Packet::Query(query) => *query,
        other => panic!("{other:?}"),
    }
}

fn refusal_code(packet: &[u8]) -> u8 {
    match read(packet) {
        Packet::Refused(reply) => {
            assert_eq!((reply.len(), &reply[..2], reply[2] & 0x80), (HEADER, &packet[..2], 0x80));
            reply[3] & 0xf
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn questions() {
    let table = [
        ("Web", RecordType::A, Kind::V4),
        ("a_b.front", RecordType::AAAA, Kind::V6),
        ("web", RecordType::MX, Kind::Other),
        ("2.0.18.172.in-addr.arpa", RecordType::PTR, Kind::Pointer("172.18.0.2".parse().ok())),
        ("2.0.18.172.IN-ADDR.ARPA", RecordType::PTR, Kind::Pointer("172.18.0.2".parse().ok())),
        ("1.2.0.18.172.in-addr.arpa", RecordType::PTR, Kind::Pointer(None)),
        ("18.172.in-addr.arpa", RecordType::PTR, Kind::Pointer(None)),
        ("300.0.18.172.in-addr.arpa", RecordType::PTR, Kind::Pointer(None)),
        (
            "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            RecordType::PTR,
            Kind::Pointer("fd00::2".parse().ok()),
        ),
        ("2.0.d.f.ip6.arpa", RecordType::PTR, Kind::Pointer(None)),
        ("web", RecordType::PTR, Kind::Pointer(None)),
    ];
    for (name, kind, expected) in table {
        let packet = question(name, kind, None);
        let query = query(&packet);
        assert_eq!((query.name, query.kind), (Some(name.to_lowercase()), expected), "{name}");
        assert_eq!(question_end(&packet), Some(packet.len()));
    }
    assert_eq!(query(&question("w\u{fc}b", RecordType::A, None)).name, None);
}

#[test]
fn a_dot_within_a_label_is_no_separator() {
    let mut packet = question("a.b", RecordType::A, None);
    packet.splice(HEADER.., [3, b'a', b'.', b'b', 0, 0, 1, 0, 1]);
    assert_eq!(query(&packet).name, None);
}

#[test]
fn what_is_no_sound_question() {
    let sound = question("web", RecordType::A, None);
    let with = |at: usize, byte: u8| {
        let mut packet = sound.clone();
        packet[at] = byte;
        packet
    };
    assert!(matches!(read(&with(2, 0x81)), Packet::Noise), "an answer");
    assert!(matches!(read(&sound[..11]), Packet::Noise), "less than a header");
    assert!(matches!(read(&[]), Packet::Noise));
    assert_eq!(refusal_code(&with(2, 0x21)), 4, "an update");
    assert_eq!(refusal_code(&sound[..HEADER]), 1, "no question where one is announced");
    assert_eq!(refusal_code(&sound[..sound.len() - 1]), 1, "half of a class");
    assert_eq!(refusal_code(&with(5, 0)), 1, "no question");
    assert_eq!(refusal_code(&with(5, 2)), 1, "one of two questions");
    assert_eq!(refusal_code(&with(7, 1)), 1, "an answer that is not there");
    assert_eq!(refusal_code(&with(HEADER, 200)), 1, "a reference to nowhere");
    let mut compressed = sound[..HEADER].to_vec();
    // A name that refers to itself, to the header, and to what comes later.
    for target in [HEADER as u8, 0, 4, 16] {
        compressed.truncate(HEADER);
        compressed.extend([0xc0, target, 0, 1, 0, 1]);
        assert_eq!(refusal_code(&compressed), 1);
    }
    let mut twice = sound.clone();
    twice[5] = 2;
    twice.extend_from_slice(&sound[HEADER..]);
    assert_eq!(refusal_code(&twice), 1, "two questions");
}

#[test]
fn answers() {
    let packet = question("Web", RecordType::A, Some(1232));
    let query = query(&packet);
    let reply = query.answer(&Answer::Addresses(vec!["10.0.0.2".parse().unwrap()]), query.udp_limit());
    // The question comes back as it was written.
    assert_eq!(reply[HEADER..question_end(&packet).unwrap()], packet[HEADER..question_end(&packet).unwrap()]);
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (0x1234, ResponseCode::NoError));
    assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available && reply.edns.is_some());
    assert_eq!(reply.answers[0].data.ip_addr(), "10.0.0.2".parse().ok());
    assert_eq!(reply.answers[0].ttl, TTL);
    let empty = Message::from_vec(&query.answer(&Answer::Addresses(vec![]), 512)).unwrap();
    assert!(empty.answers.is_empty() && empty.metadata.response_code == ResponseCode::NoError);
    let failure = Message::from_vec(&query.answer(&Answer::Failure(ResponseCode::ServFail), 512)).unwrap();
    assert_eq!(failure.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn pointers() {
    let query = query(&question("2.0.18.172.in-addr.arpa", RecordType::PTR, None));
    let told = |name: &str| {
        let reply = Message::from_vec(&query.answer(&Answer::Name(name.into()), 512)).unwrap();
        reply.answers.first().map(|record| record.data.to_string())
    };
    assert_eq!(told("web_1.my.front").as_deref(), Some("web_1.my.front."));
    assert_eq!(told(&format!("{}.front", "x".repeat(64))), None);
    assert_eq!(told("a..b"), None);
}

#[test]
fn what_does_not_fit_is_left_out() {
    let many: Vec<IpAddr> = (0..5000_u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes())).collect();
    let table = [(None, 512, 29), (Some(100), 512, 29), (Some(1232), 1232, 70), (Some(65000), 4096, 220)];
    for (payload, limit, least) in table {
        let query = query(&question("web", RecordType::A, payload));
        assert_eq!(query.udp_limit(), limit);
        let reply = query.answer(&Answer::Addresses(many.clone()), limit);
        assert!(reply.len() <= limit);
        let reply = Message::from_vec(&reply).unwrap();
        assert!(reply.metadata.truncation && reply.answers.len() >= least, "{}", reply.answers.len());
    }
    let query = query(&question("web", RecordType::A, None));
    let reply = query.answer(&Answer::Addresses(many[..3000].to_vec()), MAX);
    let reply = Message::from_vec(&reply).unwrap();
    assert!(!reply.metadata.truncation && reply.answers.len() == 3000);
    let reply = query.answer(&Answer::Addresses(many), MAX);
    let reply = Message::from_vec(&reply).unwrap();
    assert!(reply.metadata.truncation && reply.answers.len() > 3000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn nothing_panics(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&packet)?;
    }

    #[test]
    fn nothing_panics_behind_a_sound_header(tail in prop::collection::vec(any::<u8>(), 0..300), counts in any::<[u8; 4]>()) {
        let mut packet = vec![1, 2, 1, 0, 0, 1, 0, counts[0] % 4, 0, counts[1] % 4, 0, counts[2] % 4];
        packet.extend(tail);
        check(&packet)?;
    }

    #[test]
    fn nothing_panics_with_a_bent_question(at in 0_usize..60, byte: u8, cut in 0_usize..60, payload in any::<Option<u16>>()) {
        let mut packet = question("some.Name.of_mine", RecordType::A, payload);
        let length = packet.len();
        packet[at % length] = byte;
        packet.truncate(length - cut % length);
        check(&packet)?;
    }
}

/// Whatever the packet, what is said about it is a sound answer to it.
fn check(packet: &[u8]) -> Result<(), TestCaseError> {
    let reply = match read(packet) {
        Packet::Noise => return Ok(()),
        Packet::Refused(reply) => reply,
        Packet::Query(query) => {
            prop_assert!(question_end(packet).is_some());
            let addresses = (0..100).map(|n| IpAddr::from([10, 0, 0, n])).collect();
            let reply = query.answer(&Answer::Addresses(addresses), query.udp_limit());
            prop_assert!(reply.len() <= query.udp_limit());
            reply
        }
    };
    let message = Message::from_vec(&reply).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(message.metadata.id.to_be_bytes(), [packet[0], packet[1]]);
    prop_assert_eq!(message.metadata.message_type, MessageType::Response);
    Ok(())
}
