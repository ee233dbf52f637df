//! Streams and packets.

use api::stdcopy::Decoder;

/// Framed output gives the same whatever portions it comes in.
pub fn frames(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    assert_eq!(decoded(stream, stream.len().max(1)), decoded(stream, usize::from(size).max(1)));
}

/// The payload, and whether an error came after it.
fn decoded(stream: &[u8], portion: usize) -> (Vec<(u8, u8)>, bool) {
    let mut decoder = Decoder::new();
    let mut payload = Vec::new();
    for portion in stream.chunks(portion) {
        decoder.push(portion);
        loop {
            match decoder.next_part() {
                Ok(Some((stream, part))) => payload.extend(part.iter().map(|byte| (stream.number(), *byte))),
                Ok(None) => break,
                Err(_) => return (payload, true),
            }
        }
    }
    (payload, false)
}

/// A question to a container's name server. An answer is no question, and fits.
pub fn dns(data: &[u8]) {
    use dns::wire::{Answer, Packet};
    match dns::wire::read(data) {
        Packet::Query(query) => {
            let limit = query.udp_limit();
            let addresses = (0..100).map(|last| [10, 0, 0, last].into()).collect();
            for answer in [Answer::Addresses(addresses), Answer::Name("web.front".into())] {
                let packet = query.answer(&answer, limit);
                assert!(packet.len() <= limit, "{} bytes of {limit}", packet.len());
                assert!(matches!(dns::wire::read(&packet), Packet::Noise), "answers are not answered");
            }
        }
        Packet::Refused(packet) => assert!(matches!(dns::wire::read(&packet), Packet::Noise)),
        Packet::Noise => {}
    }
}
