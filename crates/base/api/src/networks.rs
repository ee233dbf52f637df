//! Documents of networks and of a container's endpoints in them.

use std::collections::BTreeMap;

use crate::json::{null_if_empty, zero};

document! {
    /// A container's place in a network, as asked for and as allotted.
    pub struct EndpointSettings {
        #[serde(rename = "IPAMConfig")]
        pub ipam_config: Option<EndpointIpamConfig>,
        #[serde(serialize_with = "null_if_empty")]
        pub links: Vec<String>,
        /// Extra names for the container in this network.
        #[serde(serialize_with = "null_if_empty")]
        pub aliases: Vec<String>,
        pub mac_address: String,
        #[serde(serialize_with = "null_if_empty")]
        pub driver_opts: BTreeMap<String, String>,
        /// The endpoint with the highest gives the default route.
        pub gw_priority: i64,
        #[serde(rename = "NetworkID")]
        pub network_id: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        /// All names that resolve to this endpoint.
        #[serde(rename = "DNSNames", serialize_with = "null_if_empty")]
        pub dns_names: Vec<String>,
    }
}

document! {
    /// Addresses that the user asked for.
    pub struct EndpointIpamConfig {
        #[serde(rename = "IPv4Address", skip_serializing_if = "zero")]
        pub ipv4_address: String,
        #[serde(rename = "IPv6Address", skip_serializing_if = "zero")]
        pub ipv6_address: String,
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "zero")]
        pub link_local_ips: Vec<String>,
    }
}

document! {
    /// The networks that a new container joins; `null` settings join with defaults.
    pub struct NetworkingConfig {
        pub endpoints_config: BTreeMap<String, Option<EndpointSettings>>,
    }
}

document! {
    /// The answer of `GET /networks/{id}`, and a line of `GET /networks`.
    pub struct Network {
        pub name: String,
        pub id: String,
        /// RFC 3339.
        pub created: String,
        pub scope: String,
        pub driver: String,
        #[serde(rename = "EnableIPv4")]
        pub enable_ipv4: bool,
        #[serde(rename = "EnableIPv6")]
        pub enable_ipv6: bool,
        #[serde(rename = "IPAM")]
        pub ipam: Ipam,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_from: ConfigReference,
        pub config_only: bool,
        /// Container id to endpoint; filled by inspect, empty in lists.
        pub containers: BTreeMap<String, EndpointResource>,
        pub options: BTreeMap<String, String>,
        pub labels: BTreeMap<String, String>,
    }
}

document! {
    pub struct ConfigReference {
        pub network: String,
    }
}

document! {
    pub struct Ipam {
        pub driver: String,
        pub options: Option<BTreeMap<String, String>>,
        pub config: Vec<IpamConfig>,
    }
}

document! {
    pub struct IpamConfig {
        #[serde(skip_serializing_if = "zero")]
        pub subnet: String,
        #[serde(rename = "IPRange", skip_serializing_if = "zero")]
        pub ip_range: String,
        #[serde(skip_serializing_if = "zero")]
        pub gateway: String,
        /// Host names to addresses that are taken.
        #[serde(skip_serializing_if = "zero")]
        pub auxiliary_addresses: BTreeMap<String, String>,
    }
}

document! {
    pub struct EndpointResource {
        pub name: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub mac_address: String,
        /// With its prefix length.
        #[serde(rename = "IPv4Address")]
        pub ipv4_address: String,
        #[serde(rename = "IPv6Address")]
        pub ipv6_address: String,
    }
}

document! {
    /// The body of `POST /networks/create`.
    pub struct CreateRequest {
        pub name: String,
        #[serde(skip_serializing_if = "zero")]
        pub check_duplicate: Option<bool>,
        pub driver: String,
        pub scope: String,
        #[serde(rename = "EnableIPv4", skip_serializing_if = "zero")]
        pub enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6", skip_serializing_if = "zero")]
        pub enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        pub ipam: Option<Ipam>,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_only: bool,
        pub config_from: Option<ConfigReference>,
        pub options: BTreeMap<String, String>,
        pub labels: BTreeMap<String, String>,
    }
}

document! {
    pub struct CreateResponse {
        pub id: String,
        pub warning: String,
    }
}

document! {
    /// The body of `POST /networks/{id}/connect`.
    pub struct ConnectRequest {
        pub container: String,
        #[serde(skip_serializing_if = "zero")]
        pub endpoint_config: Option<EndpointSettings>,
    }
}

document! {
    /// The body of `POST /networks/{id}/disconnect`.
    pub struct DisconnectRequest {
        pub container: String,
        pub force: bool,
    }
}

document! {
    pub struct PruneReport {
        #[serde(serialize_with = "null_if_empty")]
        pub networks_deleted: Vec<String>,
    }
}
