use std::net::IpAddr;

use api::networks::{CreateRequest, Ipam, IpamConfig};

use crate::context::Cli;
use crate::error::Error;
use crate::options::env;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Containers may be connected by hand
    #[arg(long)]
    attachable: bool,
    /// Address that is taken already, as name=address
    #[arg(long, value_name = "map")]
    aux_address: Vec<String>,
    /// Not supported: networks are made of their own flags
    #[arg(long, hide = true)]
    config_from: Option<String>,
    /// Not supported: networks are made of their own flags
    #[arg(long, hide = true)]
    config_only: bool,
    /// Kind of network
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Address of the gateway
    #[arg(long, value_delimiter = ',')]
    gateway: Vec<String>,
    /// Not supported: there is no swarm
    #[arg(long, hide = true)]
    ingress: bool,
    /// Without a way out
    #[arg(long)]
    internal: bool,
    /// Part of the subnet to give addresses of
    #[arg(long, value_delimiter = ',')]
    ip_range: Vec<String>,
    /// Who gives addresses
    #[arg(long, default_value = "default")]
    ipam_driver: String,
    /// Option for who gives addresses
    #[arg(long, value_name = "map")]
    ipam_opt: Vec<String>,
    /// Give IPv4 addresses
    #[arg(long, default_value_t = true)]
    ipv4: bool,
    /// Give IPv6 addresses
    #[arg(long)]
    ipv6: bool,
    /// Set a label
    #[arg(long, value_parser = env::label)]
    label: Vec<String>,
    /// Option of the driver
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    /// How far the network reaches; only "local" exists
    #[arg(long)]
    scope: Option<String>,
    /// Addresses of the network, such as 10.1.0.0/16
    #[arg(long, value_delimiter = ',')]
    subnet: Vec<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    if args.ingress || args.config_only || args.config_from.is_some() {
        return Err(Error::new("--ingress, --config-only and --config-from are not supported"));
    }
    let config = ipam(&args.subnet, &args.ip_range, &args.gateway, &env::map(&args.aux_address))?;
    let request = CreateRequest {
        name: args.args[0].clone(),
        driver: args.driver,
        scope: args.scope.unwrap_or_default(),
        enable_ipv4: (!args.ipv4).then_some(false),
        enable_ipv6: args.ipv6.then_some(true),
        ipam: Some(Ipam { driver: args.ipam_driver, options: Some(env::map(&args.ipam_opt)), config }),
        internal: args.internal,
        attachable: args.attachable,
        options: env::map(&args.opt),
        labels: env::map(&args.label),
        ..CreateRequest::default()
    };
    let answer = client::networks::create(cli.client()?, &request).await?;
    if !answer.warning.is_empty() {
        cli.complain(&format!("WARNING: {}", answer.warning));
    }
    cli.println(&answer.id)?;
    Ok(0)
}

/// A network's address and the length of its prefix in bits.
struct Net {
    address: u128,
    prefix: u32,
    v6: bool,
}

impl Net {
    fn parse(text: &str) -> Option<Net> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix: u32 = prefix.parse().ok()?;
        let width = if address.is_ipv6() { 128 } else { 32 };
        (prefix <= width).then(|| Net {
            address: bits(address),
            prefix: prefix + 128 - width,
            v6: address.is_ipv6(),
        })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
        address.is_ipv6() == self.v6 && bits(address) & mask == self.address & mask
    }
}

/// Both families as one number; the bits above an IPv4 address are equal.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// Puts each range, gateway and taken address to its subnet.
fn ipam(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    taken: &std::collections::BTreeMap<String, String>,
) -> Result<Vec<IpamConfig>, Error> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err(Error::new("every ip-range or gateway must have a corresponding subnet"));
    }
    let mut out: Vec<(Net, IpamConfig)> = Vec::new();
    for subnet in subnets {
        let net = Net::parse(subnet).ok_or_else(|| Error::new(format!("invalid CIDR address: {subnet}")))?;
        let overlaps = |other: &Net| {
            let mask = u128::MAX.checked_shl(128 - net.prefix.min(other.prefix)).unwrap_or(0);
            net.v6 == other.v6 && net.address & mask == other.address & mask
        };
        if out.iter().any(|(other, _)| overlaps(other)) {
            return Err(Error::new("multiple overlapping subnet configuration is not supported"));
        }
        out.push((net, IpamConfig { subnet: subnet.clone(), ..IpamConfig::default() }));
    }
    for range in ranges {
        let start = range.split('/').next().and_then(|text| text.parse::<IpAddr>().ok());
        let start = start.ok_or_else(|| Error::new(format!("invalid CIDR address: {range}")))?;
        let Some((_, config)) = out.iter_mut().find(|(net, _)| net.contains(start)) else {
            return Err(Error::new(format!("no matching subnet for range {range}")));
        };
        if !config.ip_range.is_empty() {
            let (first, subnet) = (&config.ip_range, &config.subnet);
            return Err(Error::new(format!(
                "cannot configure multiple ranges ({range}, {first}) on the same subnet ({subnet})"
            )));
        }
        config.ip_range.clone_from(range);
    }
    for gateway in gateways {
        let address: IpAddr =
            gateway.parse().map_err(|_| Error::new(format!("invalid IP address: {gateway}")))?;
        let Some((_, config)) = out.iter_mut().find(|(net, _)| net.contains(address)) else {
            return Err(Error::new(format!("no matching subnet for gateway {gateway}")));
        };
        if !config.gateway.is_empty() {
            let (first, subnet) = (&config.gateway, &config.subnet);
            return Err(Error::new(format!(
                "cannot configure multiple gateways ({gateway}, {first}) for the same subnet ({subnet})"
            )));
        }
        config.gateway.clone_from(gateway);
    }
    for (name, text) in taken {
        let address: IpAddr = text.parse().map_err(|_| Error::new(format!("invalid IP address: {text}")))?;
        let Some((_, config)) = out.iter_mut().find(|(net, _)| net.contains(address)) else {
            return Err(Error::new(format!("no matching subnet for aux-address {text}")));
        };
        config.auxiliary_addresses.insert(name.clone(), text.clone());
    }
    Ok(out.into_iter().map(|(_, config)| config).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn each_to_its_subnet() {
        let config = ipam(
            &list(&["10.1.0.0/16", "fd00::/64"]),
            &list(&["10.1.4.0/24"]),
            &list(&["fd00::1", "10.1.0.254"]),
            &[("printer".to_owned(), "10.1.9.9".to_owned())].into(),
        )
        .unwrap();
        assert_eq!(config[0].ip_range, "10.1.4.0/24");
        assert_eq!(config[0].gateway, "10.1.0.254");
        assert_eq!(config[0].auxiliary_addresses["printer"], "10.1.9.9");
        assert_eq!(config[1].gateway, "fd00::1");
    }

    #[test]
    fn errors() {
        let run = |subnets: &[&str], ranges: &[&str], gateways: &[&str]| {
            ipam(&list(subnets), &list(ranges), &list(gateways), &Default::default()).unwrap_err().message
        };
        assert_eq!(
            run(&[], &[], &["10.0.0.1"]),
            "every ip-range or gateway must have a corresponding subnet"
        );
        assert_eq!(run(&["10.0.0.0"], &[], &[]), "invalid CIDR address: 10.0.0.0");
        assert_eq!(run(&["10.0.0.0/24"], &[], &["10.0.1.1"]), "no matching subnet for gateway 10.0.1.1");
        assert_eq!(
            run(&["10.0.0.0/8", "10.1.0.0/16"], &[], &[]),
            "multiple overlapping subnet configuration is not supported"
        );
    }
}
