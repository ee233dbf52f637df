//! `moby.buildkit.v1.sourcepolicy.policysession`: what is asked of a client about a source. The numbers of the fields are the
//! protocol's; the published types end before it.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ResolveSourceMetaRequest, ResolveSourceMetaResponse,
};
use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::PolicyAction;
use bollard_buildkit_proto::pb::{Platform, SourceOp};

/// The method that a client serves.
pub const METHOD: &str = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy";

#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckPolicyRequest {
    #[prost(message, optional, tag = "1")]
    pub platform: Option<Platform>,
    /// The source, and what was found out about it.
    #[prost(message, optional, tag = "2")]
    pub source: Option<ResolveSourceMetaResponse>,
    #[prost(map = "string, bool", tag = "3")]
    pub caps: HashMap<String, bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckPolicyResponse {
    #[prost(oneof = "Answer", tags = "1, 2")]
    pub result: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Answer {
    #[prost(message, tag = "1")]
    Decision(Decision),
    /// The client wants to know more of the source first.
    #[prost(message, boxed, tag = "2")]
    Request(Box<ResolveSourceMetaRequest>),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Decision {
    #[prost(enumeration = "PolicyAction", tag = "1")]
    pub action: i32,
    #[prost(message, repeated, tag = "2")]
    pub deny_messages: Vec<DenyMessage>,
    /// What is to be taken instead.
    #[prost(message, optional, tag = "3")]
    pub update: Option<SourceOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DenyMessage {
    #[prost(string, tag = "1")]
    pub message: String,
}
