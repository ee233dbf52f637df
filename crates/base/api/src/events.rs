//! What happened, as `GET /events` streams it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::filters::Filters;
use crate::json::{nullable, zero};

/// One event. `status`, `id` and `from` repeat action, actor and image for clients of the first API versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventMessage {
    #[serde(skip_serializing_if = "zero", deserialize_with = "nullable")]
    pub status: String,
    #[serde(skip_serializing_if = "zero", deserialize_with = "nullable")]
    pub id: String,
    #[serde(skip_serializing_if = "zero", deserialize_with = "nullable")]
    pub from: String,
    /// `container`, `image`, `network`, `volume`, `builder` or `daemon`.
    #[serde(rename = "Type")]
    pub typ: String,
    /// `start`, `exec_create: sh -c true`, `health_status: healthy`, …
    #[serde(rename = "Action")]
    pub action: String,
    #[serde(rename = "Actor")]
    pub actor: Actor,
    #[serde(skip_serializing_if = "zero", deserialize_with = "nullable")]
    pub scope: String,
    /// Unix seconds.
    #[serde(skip_serializing_if = "zero")]
    pub time: i64,
    /// Unix nanoseconds.
    #[serde(rename = "timeNano", skip_serializing_if = "zero")]
    pub time_nano: i64,
}

/// The thing that an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Actor {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Attributes", deserialize_with = "nullable")]
    pub attributes: BTreeMap<String, String>,
}

/// Query parameters of `GET /events`; times as in [`crate::time::parse_instant`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventsOptions {
    pub since: String,
    pub until: String,
    pub filters: Filters,
}
