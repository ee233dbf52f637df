use api::networks::{ConnectRequest, EndpointIpamConfig, EndpointSettings};

use crate::context::Cli;
use crate::error::Error;
use crate::flags::integer;
use crate::options::env;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Another name of the container on this network
    #[arg(long)]
    alias: Vec<String>,
    /// Option of the network's driver, as name=value
    #[arg(long)]
    driver_opt: Vec<String>,
    /// The network with the highest number gives the default route
    #[arg(long, value_name = "int", value_parser = integer)]
    gw_priority: Option<i64>,
    /// IPv4 address
    #[arg(long)]
    ip: Option<String>,
    /// IPv6 address
    #[arg(long)]
    ip6: Option<String>,
    /// Not supported: containers on one network find each other by name
    #[arg(long)]
    link: Vec<String>,
    /// Link-local address
    #[arg(long)]
    link_local_ip: Vec<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    if !args.link.is_empty() {
        return Err(Error::new("--link is not supported: containers on one network find each other by name"));
    }
    if let Some(option) = args.driver_opt.iter().find(|option| !option.contains('=')) {
        return Err(Error::new(format!("invalid key/value pair format in driver options: {option}")));
    }
    let ipam = EndpointIpamConfig {
        ipv4_address: args.ip.unwrap_or_default(),
        ipv6_address: args.ip6.unwrap_or_default(),
        link_local_ips: args.link_local_ip,
    };
    let endpoint = EndpointSettings {
        ipam_config: (ipam != EndpointIpamConfig::default()).then_some(ipam),
        aliases: args.alias,
        driver_opts: env::map(&args.driver_opt),
        gw_priority: args.gw_priority.unwrap_or_default(),
        ..EndpointSettings::default()
    };
    let request = ConnectRequest { container: args.args[1].clone(), endpoint_config: Some(endpoint) };
    client::networks::connect(cli.client()?, &args.args[0], &request).await?;
    Ok(0)
}
