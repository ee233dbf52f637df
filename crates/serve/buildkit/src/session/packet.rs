//! The messages by which files are told and sent, `fsutil.types.Packet` and `Stat`.
//!
//! What is declared there as a string is none: clients send file names as the kernel has them, and no client checks that they
//! are UTF-8. On the wire both are the same.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use http::uri::PathAndQuery;
use prost::{Enumeration, Message};
use tonic::client::Grpc;
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Session;
use crate::MESSAGE_MAX;
use crate::line::Line;

#[derive(Clone, PartialEq, Message)]
pub struct Packet {
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub stat: Option<Stat>,
    #[prost(uint32, tag = "3")]
    pub id: u32,
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
pub enum Kind {
    /// An entry; without one, that was all.
    Stat = 0,
    /// A file is wanted.
    Request = 1,
    Data = 2,
    End = 3,
    Error = 4,
}

#[derive(Clone, PartialEq, Message)]
pub struct Stat {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    #[prost(uint32, tag = "3")]
    pub uid: u32,
    #[prost(uint32, tag = "4")]
    pub gid: u32,
    #[prost(int64, tag = "5")]
    pub size: i64,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    pub modified: i64,
    #[prost(bytes = "vec", tag = "7")]
    pub link: Vec<u8>,
    #[prost(int64, tag = "8")]
    pub device_major: i64,
    #[prost(int64, tag = "9")]
    pub device_minor: i64,
    /// A map, which is nothing else on the wire.
    #[prost(message, repeated, tag = "10")]
    pub attributes: Vec<Attribute>,
}

/// An extended attribute.
#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl From<(OsString, Vec<u8>)> for Attribute {
    fn from((name, value): (OsString, Vec<u8>)) -> Attribute {
        Attribute { name: name.into_vec(), value }
    }
}

impl From<Attribute> for (OsString, Vec<u8>) {
    fn from(attribute: Attribute) -> Self {
        (OsString::from_vec(attribute.name), attribute.value)
    }
}

impl Stat {
    pub fn link(&self) -> &OsStr {
        OsStr::from_bytes(&self.link)
    }
}

impl Session {
    /// Opens a stream of packets both ways.
    pub(super) async fn packets(
        &self,
        method: &'static str,
        request: Request<impl Stream<Item = Packet> + Send + 'static>,
    ) -> Result<Streaming<Packet>, Status> {
        let mut client =
            Grpc::with_origin(self.line(), Line::origin()).max_decoding_message_size(MESSAGE_MAX);
        client.ready().await.map_err(|e| Status::unavailable(format!("the client went away: {e}")))?;
        let method = PathAndQuery::from_static(method);
        Ok(client.streaming(request, method, ProstCodec::default()).await?.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard_buildkit_proto::fsutil::types;

    use super::*;

    #[test]
    fn the_published_messages_are_the_same_on_the_wire() {
        let published = types::Packet {
            r#type: types::packet::PacketType::PacketErr.into(),
            stat: Some(types::Stat {
                path: "a/b".into(),
                mode: 1,
                uid: 2,
                gid: 3,
                size: 4,
                mod_time: 5,
                linkname: "c".into(),
                devmajor: 6,
                devminor: 7,
                xattrs: HashMap::from([("user.a".to_owned(), vec![8])]),
            }),
            id: 9,
            data: vec![10],
        };
        let ours = Packet {
            kind: Kind::Error.into(),
            stat: Some(Stat {
                path: b"a/b".into(),
                mode: 1,
                uid: 2,
                gid: 3,
                size: 4,
                modified: 5,
                link: b"c".into(),
                device_major: 6,
                device_minor: 7,
                attributes: vec![Attribute { name: b"user.a".into(), value: vec![8] }],
            }),
            id: 9,
            data: vec![10],
        };
        assert_eq!(published.encode_to_vec(), ours.encode_to_vec());
        assert_eq!(types::Packet::decode(&*ours.encode_to_vec()).unwrap(), published);
    }

    #[test]
    fn names_need_not_be_text() {
        let stat = Stat { path: b"bad\xff".into(), link: b"\xfe".into(), ..Stat::default() };
        let packet = Packet { stat: Some(stat), ..Packet::default() };
        let sent = packet.encode_to_vec();
        assert!(types::Packet::decode(&*sent).is_err(), "as a string it can't be read");
        let read = Packet::decode(&*sent).unwrap();
        assert_eq!(read.stat.unwrap().link(), OsStr::from_bytes(b"\xfe"));
    }
}
